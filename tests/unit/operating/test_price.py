"""What an explanation shows of the raw page that a price came from."""

from operating.price import _item
from tests.unit.streams.items import item, page
from tests.unit.streams.records import FEED

STONE = item(2)["diamond"]["id"]


def test_the_vendors_own_words_about_the_stone_are_found_in_its_page() -> None:
    assert _item(FEED, STONE, page(item(1), item(2), item(3))) == item(2)


def test_a_page_without_it_or_that_cannot_be_read_shows_none() -> None:
    assert _item(FEED, STONE, page(item(1))) is None
    assert _item(FEED, STONE, b"<html>") is None
