"""What commands share: the database of the settings, and doing a job in the foreground."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from runtime import jobs
from runtime.job_runner import Handler, carry_out, runner_name
from runtime.jobs import Job
from runtime.postgres import Database, Link
from runtime.settings import PostgresSettings, load_settings

ResultT = TypeVar("ResultT")

LOOK_EVERY_S = 1.0


def with_database(work: Callable[[Database], Awaitable[ResultT]]) -> ResultT:
    """Run a command's work with the database of the settings."""
    settings = load_settings(PostgresSettings)

    async def run() -> ResultT:
        async with Database(settings.postgres.dsn.get_secret_value(), "adamas-command") as database:
            return await work(database)

    return asyncio.run(run())


def line(job: Job) -> str:
    """A job on one line."""
    total = f"/{job.total:,}" if job.total is not None else ""
    eta_s = job.eta_s()
    parts = [
        f"{job.id:>5}  {job.kind:16} {job.subject:24} {job.state:9} {job.done:,}{total} {job.unit}",
        f"{eta_s:.0f} s to go" if eta_s is not None else "",
        f"({job.notice()})" if job.notice() else "",
        job.failure or "",
        f"by {job.actor}",
    ]
    return "  ".join(part for part in parts if part)


async def follow(database: Database, number: int) -> Job:
    """Print a job's progress until its end."""
    last = ""
    while True:
        async with database.link() as link:
            job = await jobs.get(link, number)
        if (now := line(job)) != last:
            typer.echo(now, err=True)
            last = now
        if job.state.final:
            return job
        await asyncio.sleep(LOOK_EVERY_S)


async def do_job(database: Database, ask: Callable[[Link], Awaitable[Job]], handler: Handler) -> Job:
    """Ask for a job and do it here, with this installation's code, showing its progress to its end.

    It is asked for and claimed in one transaction, so that no other process begins it. A command that is killed loses
    nothing: the monitor takes the job up.
    """
    async with database.transaction() as link:
        asked = await ask(link)
        job = await jobs.claim(link, runner_name("command"), [asked.kind], job_id=asked.id)
    doing = asyncio.create_task(carry_out(database, job or asked, handler))
    try:
        return await follow(database, asked.id)
    finally:
        doing.cancel()
        await asyncio.wait([doing])
