"""`adamas jobs`: what is under way, how far, and when it will be done; cancel it."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from runtime import jobs
from runtime.jobs import Job, State
from runtime.postgres import Database
from runtime.settings import PostgresSettings, load_settings

app = typer.Typer(help="Show and cancel long actions.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(help="The job's number.")]
ResultT = TypeVar("ResultT")


@app.command("list")
def list_(every: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False) -> None:
    """The jobs, newest first."""
    for job in with_database(lambda database: _recent(database, open_only=not every)):
        typer.echo(line(job))


@app.command()
def show(number: Id) -> None:
    """Everything about one job, as JSON."""
    job = with_database(lambda database: _get(database, number))
    typer.echo(json.dumps(jobs.shown(job), indent=2))


@app.command()
def cancel(number: Id) -> None:
    """Ask a job to stop."""
    job = with_database(lambda database: _cancel(database, number, getpass.getuser()))
    typer.echo(line(job))


@app.command()
def watch(number: Id) -> None:
    """Show a job's progress until its end; exit code 1 unless that is `done`."""
    if with_database(lambda database: follow(database, number)).state is not State.DONE:
        raise typer.Exit(1)


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


async def follow(database: Database, number: int, every_s: float = 1.0) -> Job:
    """Print a job's progress until its end."""
    last = ""
    while True:
        job = await _get(database, number)
        if (now := line(job)) != last:
            typer.echo(now)
            last = now
        if job.state.final:
            return job
        await asyncio.sleep(every_s)


def with_database(work: Callable[[Database], Awaitable[ResultT]]) -> ResultT:
    """Run a command's work with the database of the settings."""
    settings = load_settings(PostgresSettings)

    async def run() -> ResultT:
        async with Database(settings.postgres.dsn.get_secret_value(), "adamas-command") as database:
            return await work(database)

    return asyncio.run(run())


async def _recent(database: Database, *, open_only: bool) -> list[Job]:
    async with database.link() as link:
        return await jobs.recent(link, open_only=open_only)


async def _get(database: Database, number: int) -> Job:
    async with database.link() as link:
        return await jobs.get(link, number)


async def _cancel(database: Database, number: int, actor: str) -> Job:
    async with database.link() as link:
        return await jobs.cancel(link, number, actor)
