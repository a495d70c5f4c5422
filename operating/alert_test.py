"""Asking whether people can be reached: a job, for only `monitor` (or the command itself) knows the channels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from runtime import jobs
from runtime.jobs import Job
from runtime.postgres import Link

KIND: Final = "alert-test"
ALL: Final = "all"


async def request(link: Link, channels: Collection[str], actor: str) -> Job:
    """Ask for a test over these channels, or over all without one; its result says which of them took it.

    Raises:
        Invalid: the same test is under way.
    """
    names = sorted(set(channels))
    subject = ",".join(names) or ALL
    return await jobs.submit(link, KIND, subject, {"channels": names}, actor=actor, unit="channels")
