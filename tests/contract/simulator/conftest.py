import pytest

from tests.contract.simulator.buyer import Buyer


@pytest.fixture
def buyer() -> Buyer:
    return Buyer()
