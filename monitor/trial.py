"""Trying whether notifications arrive: what does an `alert-test` job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from connectors.notify.notice import Notice, Phase
from connectors.notify.plan import Plan
from connectors.postgres import events
from monitor.notices import Notifier
from runtime.job_runner import Handler, Task
from runtime.postgres import Database
from runtime.settings import NotifySettings
from schemas.errors import Invalid
from schemas.events import KINDS, Kind

_SETTLED: Final = """
INSERT INTO notices (event_id, phase, state, next_at, settled_at) VALUES ($1, 'raised', 'test', now(), now())
ON CONFLICT (event_id, phase) DO UPDATE SET state = 'test', settled_at = now()"""


def trial(database: Database, plan: Plan) -> Handler:
    """Tries each channel of a job once; its result says which took it.

    The job fails where there is no such channel, or none at all.
    """

    async def run(task: Task) -> Mapping[str, Any]:
        names = task.job.request["channels"] or list(plan.channels)
        if not names:
            raise Invalid("channels", f"there is none: name a file in {NotifySettings.variable('file')}")
        if strangers := [name for name in names if name not in plan.channels]:
            raise Invalid(
                "channels",
                f"no channel is called {', '.join(strangers)}; there are {', '.join(plan.channels) or 'none'}",
            )
        return {"taken": await send_test(database, plan, names, task.job.actor)}

    return run


async def send_test(database: Database, plan: Plan, channels: list[str], actor: str) -> dict[str, bool]:
    """Try each channel once; which took it. The test stands among the events with its deliveries."""
    text = f"{actor} tries whether notifications arrive; nothing has to be done"
    async with database.transaction() as link:
        event_id = await events.record(link, Kind.TEST, "test", text, actor=actor)
        # It goes over the channels named here, and nowhere else.
        await link.execute(_SETTLED, event_id)
    notice = Notice(
        event_id, Phase.RAISED, KINDS[Kind.TEST].severity, Kind.TEST, "test", text, datetime.now(UTC)
    )
    notifier = Notifier(database, plan)
    taken = await asyncio.gather(*(notifier.tell_over(notice, name, tries=1) for name in channels))
    return dict(zip(channels, taken, strict=True))
