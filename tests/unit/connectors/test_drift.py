"""A live page against the fields that we rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.feeds.drift import drift
from connectors.feeds.nivoda.form import NIVODA_FORM
from schemas.errors import Invalid
from tests.unit.streams.items import item, page


def drifted(change: Callable[[dict[str, Any]], None], items: int = 20) -> list[str]:
    made = [item(number) for number in range(items)]
    for one in made:
        change(one)
    return drift(page(*made), NIVODA_FORM)


def whole(one: dict[str, Any]) -> None:
    """Every field that we ask for is in a reply, null where the vendor knows nothing."""
    for name in ("supplierStockId", "supplier", "v360", "delivery_time"):
        one["diamond"].setdefault(name, None)


def test_a_page_as_it_always_was_has_not_drifted() -> None:
    found = drifted(whole)
    assert not [text for text in found if "which it never was" in text or "was an object" in text]


def test_a_renamed_field_is_named_with_its_path_and_what_is_new_beside_it() -> None:
    def rename(one: dict[str, Any]) -> None:
        one["diamond"]["certificate"]["colour"] = one["diamond"]["certificate"].pop("color")

    (text,) = [text for text in drifted(rename) if text.startswith("diamond.certificate.color:")]
    assert "in none of 20 items" in text
    assert "colour" in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], ["is a list"]),
        ({"value": 1.0}, ["is an object"]),
        (True, ["is a boolean"]),
        ("1.01", []),
        (2, []),
    ],
)
def test_a_type_that_never_was_is_named(value: object, said: list[str]) -> None:
    def change(one: dict[str, Any]) -> None:
        one["diamond"]["certificate"]["carats"] = value

    field = "diamond.certificate.carats: "
    found = [text for text in drifted(change) if text.startswith(field)]
    assert found == [f"{field}{kind}, which it never was" for kind in said]


def test_an_object_that_became_text_is_named() -> None:
    def change(one: dict[str, Any]) -> None:
        one["diamond"]["certificate"] = "GIA 123"

    assert "diamond.certificate: is text, was an object" in drifted(change)


def test_a_few_items_prove_no_field_gone() -> None:
    assert not drifted(lambda one: one["diamond"]["certificate"].pop("color"), items=3)


def test_another_envelope_is_drift_too() -> None:
    with pytest.raises(Invalid, match="not there any more"):
        drift(json.dumps({"data": {"stones": []}}).encode(), NIVODA_FORM)
