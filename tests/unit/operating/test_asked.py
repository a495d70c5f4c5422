"""What the vendor was asked for, as whoever sets prices reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.feeds.protocol import NO_UPPER_END
from operating.asked import asked
from schemas.facts import PlanPartition

BEGAN, ANSWERED = datetime(2026, 11, 29, 2, tzinfo=UTC), datetime(2026, 11, 29, 2, 7, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("feed", "part", "page", "since", "answered", "said"),
    [
        (
            *(
                "nivoda-natural",
                {"dollars_per_carat_from": 1_200, "dollars_per_carat_to": 3_400},
                3,
                None,
                ANSWERED,
            ),
            "natural diamonds that are for sale (feed nivoda-natural), at 1,200 to 3,400 US dollars a carat; of these,"
            " stones 151 to 200 (page 4), answered 2026-11-29 02:07:31 UTC",
        ),
        (
            *(
                "nivoda-labgrown",
                {"carat_from": 1.0, "carat_to": 1.499, "shapes": ("OVAL", "PEAR")},
                0,
                BEGAN,
                None,
            ),
            "lab-grown diamonds that are for sale (feed nivoda-labgrown), 1 to 1.499 carats, of the shape OVAL or PEAR,"
            " changed since 2026-11-29 02:00:00 UTC; of these, stones 1 to 50 (page 1), in the reading that began"
            " 2026-11-29 02:00:00 UTC",
        ),
        (
            *("demo", {"dollars_per_carat_from": 9_000, "gone": True}, 0, None, ANSWERED),
            "diamonds no longer for sale (feed demo), from 9,000 US dollars a carat on; of these, stones 1 to 50 (page 1),"
            " answered 2026-11-29 02:07:31 UTC",
        ),
    ],
)
def test_a_query_is_told_in_words_of_the_shop(
    feed: str, part: dict[str, Any], page: int, since: datetime | None, answered: datetime | None, said: str
) -> None:
    whole = {
        "number": 0,
        "dollars_per_carat_from": 0,
        "dollars_per_carat_to": NO_UPPER_END,
        "estimate": 5_220,
    }
    query = asked(feed, PlanPartition(**{**whole, **part}), page, 50, since, BEGAN, answered)
    assert query.text == said
