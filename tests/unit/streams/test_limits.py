"""When a feed must stop: a row of refusals, or too great a share."""

from __future__ import annotations

import random

import pytest

from streams.limits import IN_A_ROW, WINDOW_ITEMS, Limits

DEAD, FINE = True, False


def page(dead: int, items: int = 50) -> list[bool]:
    return [DEAD] * dead + [FINE] * (items - dead)


def test_a_hundred_in_a_row_stop_the_feed_over_the_borders_of_pages() -> None:
    limits = Limits()
    for _ in range(400):
        assert limits.count("a", page(0)) is None
    assert limits.count("a", [*page(0), *page(49, 49)]) is None
    assert limits.count("a", page(50)) is None
    assert limits.count("a", page(1, 10)) == f"{IN_A_ROW} items in a row were refused"


def test_one_good_item_ends_the_row() -> None:
    limits = Limits()
    limits.count("a", page(0, 9000))
    assert limits.count("a", [DEAD] * 99) is None
    assert limits.count("a", [FINE]) is None
    assert limits.count("a", [DEAD] * 99) is None


def test_feeds_are_counted_apart() -> None:
    limits = Limits()
    for feed in ("a", "b"):
        limits.count(feed, page(0, 9000))
        assert limits.count(feed, [DEAD] * 60) is None


@pytest.mark.parametrize(("percent", "stops"), [(4, False), (6, True)])
def test_a_share_over_five_percent_stops_the_feed(percent: int, stops: bool) -> None:
    limits, draw = Limits(), random.Random(1)
    answers = [
        limits.count("a", [DEAD if draw.random() * 100 < percent else FINE for _ in range(50)])
        for _ in range(4 * WINDOW_ITEMS // 50)
    ]
    assert any(answers) is stops


def test_a_few_items_prove_no_share() -> None:
    limits = Limits()
    assert limits.count("a", page(20, 400)) is None
    assert limits.count("a", page(0, 50)) is None


def test_a_share_that_is_over_counts_at_once_where_chance_does_not_explain_it() -> None:
    limits = Limits()
    answer = None
    for _ in range(20):
        answer = answer or limits.count("a", [*page(0, 30), *page(20, 20)])
    assert answer is not None
    assert "of the last" in answer


def test_what_is_forgotten_counts_no_more() -> None:
    limits = Limits()
    limits.count("a", page(0, 9000))
    limits.count("a", [DEAD] * 99)
    limits.forget(["a"])
    assert limits.count("a", [DEAD]) is None
