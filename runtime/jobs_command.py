"""`adamas jobs`: what is under way, how far, and when it will be done; cancel it."""

from __future__ import annotations

import getpass
import json
from typing import Annotated

import typer

from runtime import jobs
from runtime.commands import follow, line, with_database
from runtime.jobs import Job, State
from runtime.postgres import Database

app = typer.Typer(help="Show and cancel long actions.", no_args_is_help=True, add_completion=False)

Id = Annotated[int, typer.Argument(help="The job's number.")]


@app.command("list")
def list_(every: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False) -> None:
    """The jobs, newest first."""
    found = with_database(lambda database: _recent(database, open_only=not every))
    for job in found:
        typer.echo(line(job))
    if not found:
        typer.echo("there is no job" if every else "no job is open; --all shows ended ones", err=True)


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


async def _recent(database: Database, *, open_only: bool) -> list[Job]:
    async with database.link() as link:
        return await jobs.recent(link, open_only=open_only)


async def _get(database: Database, number: int) -> Job:
    async with database.link() as link:
        return await jobs.get(link, number)


async def _cancel(database: Database, number: int, actor: str) -> Job:
    async with database.link() as link:
        return await jobs.cancel(link, number, actor)
