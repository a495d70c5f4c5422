"""`adamas errors`: what went wrong in our own code, by kind."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime import faults
from runtime.commands import with_database
from runtime.faults import Fault
from runtime.postgres import Database

app = typer.Typer(
    help="Show what went wrong in our own code, by kind.", no_args_is_help=True, add_completion=False
)


@app.callback()
def _group() -> None:
    """Say `list`, as of everything else that is listed."""


@app.command("list")
def list_(
    process: Annotated[str | None, typer.Option(help="Only those of this process.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
) -> None:
    """Kinds of errors with count, first and last time and trace, the latest first."""
    found = with_database(lambda database: _listed(database, process, limit))
    for fault in found:
        typer.echo(line(fault))
    if not found:
        typer.echo("no error was logged", err=True)


def line(fault: Fault) -> str:
    """A kind of error on two lines."""
    error = "" if fault.error == "none" else f" {fault.error} in {fault.place or 'a library'}"
    trace = f"; trace {fault.trace_id}" if fault.trace_id else ""
    return (
        f"{fault.fingerprint}  {fault.process}  {fault.action}{error}: {fault.count} times,"
        f" {fault.first_at:%m-%d %H:%M:%S} to {fault.last_at:%m-%d %H:%M:%S}{trace}\n              {fault.text}"
    )


async def _listed(database: Database, process: str | None, limit: int) -> list[Fault]:
    async with database.link() as link:
        return await faults.listed(link, process=process, limit=limit)
