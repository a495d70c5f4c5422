"""A `process` worker with a planned accident, as a program of its own: what ends a process cannot be tried inside one.

python -m tests.integration.streams.driver BOOTSTRAP SUFFIX GROUP FAULT

FAULT is `none`, or strikes in the third batch, when about half of its records are with Kafka: `raise` (an exception in
the loop), `cancel` (the agent's task is cancelled), `sigterm`, `kill` (kill -9).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from runtime.logs import configure_logs
from runtime.postgres import Database
from runtime.settings import KafkaSettings, LogSettings
from runtime.shutdown import Shutdown
from streams import process as under_test
from streams.app import COMMIT_EVERY_S
from streams.delivery import TopicNames
from streams.process import Process

STRIKE_AT_BATCH = 3
PAGES_A_BATCH = 4


def topic_names(suffix: str) -> TopicNames:
    """Topics of one test's own."""
    plain = TopicNames()
    return TopicNames(*(f"{getattr(plain, name)}-{suffix}" for name in TopicNames.__slots__))


def plan_accident(worker: Process, fault: str) -> None:
    """Make the accident happen once, in the third batch with stones in it."""
    deliver, work = worker.delivery._produce_stones, worker.agent
    batches = 0
    agent: asyncio.Task[Any] | None = None

    async def remember_the_agent(stream: Any) -> None:
        nonlocal agent
        agent = asyncio.current_task()
        await work(stream)

    async def strike(stones: list[Any]) -> None:
        nonlocal batches
        batches += bool(stones)
        if batches != STRIKE_AT_BATCH or not stones:
            await deliver(stones)
            return
        batches += 1
        await deliver(stones[: len(stones) // 2])
        # Time for Faust to commit what was acknowledged too early.
        await asyncio.sleep(COMMIT_EVERY_S + 0.5)
        if fault == "raise":
            raise RuntimeError("planned")
        if fault == "cancel" and agent is not None:
            agent.cancel()
        if fault == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        if fault == "kill":
            worker.delivery._producer.flush(5)
            os.kill(os.getpid(), signal.SIGKILL)
        # And for the accident to reach whoever might acknowledge.
        await asyncio.sleep(COMMIT_EVERY_S + 0.5)
        await deliver(stones[len(stones) // 2 :])

    worker.agent = remember_the_agent  # type: ignore[method-assign]
    worker.delivery._produce_stones = strike  # type: ignore[method-assign]


def main(bootstrap: str, suffix: str, group: str, fault: str) -> None:
    """Work until stopped, or until the accident."""
    configure_logs(LogSettings(format="json"), "process")
    under_test.BATCH_PAGES = PAGES_A_BATCH  # type: ignore[misc]
    dsn = os.environ.get("DRIVER_DSN")
    database = None if dsn is None else Database(dsn, "driver")
    worker = Process(KafkaSettings(bootstrap=bootstrap), database, topics=topic_names(suffix), group=group)
    if fault != "none":
        plan_accident(worker, fault)
    with Shutdown(20) as shutdown:
        asyncio.run(worker.serve(shutdown))


if __name__ == "__main__":
    main(*sys.argv[1:])
