"""What a reader that joins no group writes beside the offsets it commits: that it is one, and when it said so.

Such a group has no members by design; without this every lag tool would take a replica for a group that lost its own,
and the group of a replica that is long gone for one that falls behind.
"""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "reader without members, told at "


def standing_metadata(now_ms: int) -> str:
    """The metadata of a commit made at this time, epoch milliseconds."""
    return f"{_PREFIX}{now_ms}"


def reported_ms(metadata: str | None) -> int | None:
    """When a reader without members committed this, epoch milliseconds; none when a member of a group did."""
    if not metadata or not metadata.startswith(_PREFIX):
        return None
    number = metadata.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else None
