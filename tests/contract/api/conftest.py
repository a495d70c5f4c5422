"""A test for each operation has the operation in its id, as it has in its name."""

import pytest
from schemathesis.pytest.plugin import SchemathesisFunction


def pytest_itemcollected(item: pytest.Item) -> None:
    # pytest 9 makes ids of its own parameters only, and schemathesis has others: all operations would share one.
    if isinstance(item, SchemathesisFunction) and item.id.params is None:
        item._id = item.id.with_params(item.operation_label)
