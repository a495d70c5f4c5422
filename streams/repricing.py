"""Re-pricing as a job: what the owner's loop does with a new rule set, told to operators, and stopped when they say so.

The loop does not wait for the job: with Postgres away stones are re-priced all the same, and nobody sees how far it is.
A cancelled job leaves the rest of its feed under the former numbers until the next rule set; facts are priced by the
newest one in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog

from runtime import jobs
from runtime.job_runner import Cancelled, NotMine, Task
from runtime.postgres import Database
from schemas.errors import Invalid, Retriable

log = structlog.stdlib.get_logger(__name__)

KIND: Final = "reprice"
_LOOK_EVERY_S: Final = 1.0
_TELL_EVERY_S: Final = 0.5


class Repricing:
    """The re-pricing jobs of one worker.

    Args:
        database: where jobs are.
        owned: the feeds the worker owns at the moment.
        head: the newest rule set's number and who published it.
        left: how many stones of a feed are still to be tried under a number.
        cancel: told when somebody cancels the re-pricing of a feed under a number.
    """

    def __init__(
        self,
        database: Database,
        owned: Callable[[], Collection[str]],
        head: Callable[[], tuple[int, str]],
        left: Callable[[str, int], int],
        cancel: Callable[[str, int], None],
    ) -> None:
        self._database = database
        self._owned = owned
        self._head = head
        self._left = left
        self._cancel = cancel
        self._known: set[tuple[str, int]] = set()
        self._cancelled: set[tuple[str, int]] = set()

    async def serve(self) -> None:
        """Ask for a job wherever stones wait for a new rule set, until cancelled."""
        while True:
            number, actor = self._head()
            for feed in self._owned():
                # Looked at to the end: a job that is cancelled before it begins is followed by nobody.
                if (feed, number) not in self._cancelled and (left := self._left(feed, number)):
                    await self._ask(feed, number, left, actor)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _ask(self, feed: str, number: int, left: int, actor: str) -> None:
        try:
            async with self._database.link() as link:
                last = await jobs.last(link, KIND, feed)
                same = last is not None and last.request.get("number") == number
                if last is not None and same and last.cancelled_by is not None:
                    self._cancel(feed, number)
                    self._cancelled.add((feed, number))
                elif (feed, number) not in self._known and (last is None or not same or last.state.final):
                    # How many there were: a small stock is done before anybody begins to follow.
                    asked = {"number": number}
                    await jobs.submit(link, KIND, feed, asked, actor=actor, unit="stones", total=left)
        except Invalid:
            # That of a former number is about to end.
            return
        except Retriable as error:
            log.warning("repricing.untold", feed=feed, reason=str(error))
            return
        self._known.add((feed, number))

    async def run(self, task: Task) -> Mapping[str, Any]:
        """Follow one feed's re-pricing to its end.

        Raises:
            NotMine: the feed has another owner by now, who goes on.
            Cancelled: the rest of the stones stay under their numbers.
        """
        feed, number = task.job.subject, int(task.job.request["number"])
        done = task.job.done
        total = max(task.job.total or 0, done + self._left(feed, number))
        try:
            while (left := self._left(feed, number)) and self._head()[0] == number:
                if feed not in self._owned():
                    raise NotMine
                task.progress(max(done, total - left), total=total)
                await asyncio.sleep(_TELL_EVERY_S)
        except Cancelled:
            self._cancel(feed, number)
            raise
        if self._head()[0] != number:
            return {"superseded_by": self._head()[0], "left": left}
        task.progress(total, total=total)
        return {"stones": total}
