"""Pauses: a group whose members have left, a feed whose facts are left unread. Fetching goes on in either case.

Workers and sinks look at them every second; without Postgres the last that was seen holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from threading import Thread
from typing import Final, Self

import structlog

from connectors.postgres import actions, events
from runtime.postgres import Database, Link
from schemas.errors import Invalid, Retriable
from schemas.events import Kind
from schemas.feeds import FEEDS

log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0


class What(StrEnum):
    """What is paused; a waiver is the contrary: a feed's limits do not count up to an offset."""

    GROUP = "group"
    FEED = "feed"
    WAIVER = "waiver"


@dataclass(frozen=True, slots=True)
class Pause:
    """Something that stands still because somebody, or a limit, wanted it to."""

    what: What
    subject: str
    reason: str
    actor: str
    job: int | None
    raw_offset: int | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Pauses:
    """All of them at one moment.

    Attributes:
        groups: paused groups with the reason.
        feeds: stopped feeds with the reason.
        waivers: by feed, the raw offset up to which its limits do not count.
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    feeds: Mapping[str, str] = field(default_factory=dict)
    waivers: Mapping[str, int] = field(default_factory=dict)


_PAUSE: Final = """
INSERT INTO pauses (what, subject, reason, actor, job, raw_offset) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (what, subject) DO NOTHING"""
_LIST: Final = "SELECT what, subject, reason, actor, job, raw_offset, since FROM pauses ORDER BY since"


async def listed(link: Link) -> list[Pause]:
    """Everything that is paused, waivers too, oldest first."""
    return [Pause(**{**row, "what": What(row["what"])}) for row in await link.fetch(_LIST)]


async def pause_group(link: Link, group: str, reason: str, *, actor: str, job: int | None = None) -> None:
    """Have a group's members leave it. Nothing happens to a group that is paused already."""
    status = await link.execute(_PAUSE, What.GROUP, group, reason, actor, job, None)
    if status == "INSERT 0 1":
        await actions.note(link, actor, "group.pause", group, {"reason": reason, "job": job})


async def resume_group(link: Link, group: str, *, actor: str, job: int | None = None) -> None:
    """Let a group's members come back. A job ends its own pause only."""
    status = await link.execute(
        "DELETE FROM pauses WHERE what = 'group' AND subject = $1 AND ($2::bigint IS NULL OR job = $2)",
        group,
        job,
    )
    if status != "DELETE 0":
        await actions.note(link, actor, "group.resume", group, {"job": job})


async def stop_feed(link: Link, feed: str, reason: str, *, actor: str, raw_offset: int | None = None) -> None:
    """Leave a feed's facts unread from an offset on, and tell people."""
    await link.execute("DELETE FROM pauses WHERE what = 'waiver' AND subject = $1", feed)
    if await link.execute(_PAUSE, What.FEED, feed, reason, actor, None, raw_offset) == "INSERT 0 1":
        await actions.note(link, actor, "feed.stop", feed, {"reason": reason, "raw_offset": raw_offset})
        await events.record(link, Kind.FEED_STOPPED, feed, reason, actor=actor)


async def resume_feed(link: Link, feed: str, *, actor: str, waive_to: int | None = None) -> None:
    """Read a stopped feed on from where it stopped.

    Args:
        link: a connection.
        feed: its name.
        actor: who says so.
        waive_to: its limits do not count up to this raw offset: the operator knows what is in there.

    Raises:
        Invalid: the feed does not exist, or is not stopped.
    """
    if feed not in FEEDS:
        raise Invalid("feed", f"there is no feed {feed!r}; there are {', '.join(FEEDS)}", "unknown")
    if await link.execute("DELETE FROM pauses WHERE what = 'feed' AND subject = $1", feed) == "DELETE 0":
        raise Invalid("feed", f"{feed} is not stopped", "ended")
    if waive_to is not None:
        await link.execute(_PAUSE, What.WAIVER, feed, "resumed all the same", actor, None, waive_to)
    await actions.note(link, actor, "feed.resume", feed, {"waive_to": waive_to})
    await events.resolve(link, Kind.FEED_STOPPED, feed)


class PauseThread:
    """A watch for a process whose loop is no coroutine. Use it as a context."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._watch: PauseWatch | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="pauses", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def reason(self, group: str) -> str | None:
        """Why the group is paused; null where it is not."""
        return self._watch.now.groups.get(group) if self._watch is not None else None

    def _run(self) -> None:
        database = Database(self._dsn, self._name, size=1)
        self._watch = PauseWatch(database)
        watching = self._loop.create_task(self._watch.serve())
        self._loop.run_forever()
        watching.cancel()
        self._loop.run_until_complete(asyncio.wait([watching]))
        self._loop.run_until_complete(database.close())
        self._loop.close()


class PauseWatch:
    """Knows what is paused, for a process that obeys.

    Attributes:
        now: what was paused when Postgres was last asked; nothing before it first answered.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._away = False
        self.now = Pauses()

    async def serve(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Ask Postgres; what was known stays when it is away."""
        try:
            async with self._database.link() as link:
                found = await listed(link)
        except Retriable as error:
            if not self._away:
                log.warning("pauses.postgres_away", reason=str(error))
            self._away = True
            return
        self._away = False
        self.now = Pauses(
            groups={p.subject: p.reason for p in found if p.what is What.GROUP},
            feeds={p.subject: p.reason for p in found if p.what is What.FEED},
            waivers={p.subject: p.raw_offset or 0 for p in found if p.what is What.WAIVER},
        )
