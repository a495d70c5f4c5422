"""`adamas price export`: the price history as CSV on standard output."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

from operating.price_export import Wanted, lines
from runtime.commands import with_database
from runtime.postgres import Database

app = typer.Typer(add_completion=False)


@app.command()
def export(
    stone: Annotated[str | None, typer.Option(help="Only this stone: feed:vendor's stone id.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only prices this rule made.")] = None,
    from_: Annotated[
        datetime | None, typer.Option("--from", help="The first moment, UTC unless it says otherwise.")
    ] = None,
    to: Annotated[datetime | None, typer.Option(help="The first moment no more.")] = None,
) -> None:
    """Every price of a stone, a rule or a period, oldest first."""
    wanted = Wanted(stone, rule, from_, to)
    with_database(lambda database: _write(database, wanted))


async def _write(database: Database, wanted: Wanted) -> None:
    async with database.link() as link:
        async for text in lines(link, wanted):
            sys.stdout.write(text)
