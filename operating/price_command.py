"""`adamas price`: why a stone costs what it costs, now or at a past time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer

from operating.archive import Folder
from operating.price import Explanation, Price, explain
from runtime.commands import with_database
from runtime.settings import DataSettings, KafkaSettings, load_settings

app = typer.Typer(add_completion=False)


@app.command()
def price(
    stone: Annotated[str, typer.Argument(help="feed:vendor's stone id")],
    at: Annotated[datetime | None, typer.Option(help="A past time, UTC unless it says otherwise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Why a stone costs what it costs, now or at a past time."""
    settings = load_settings(KafkaSettings, DataSettings)
    archive = Folder(settings.data.archive_folder)
    found: Explanation = with_database(lambda database: explain(database, settings.kafka, archive, stone, at))
    if as_json:
        typer.echo(json.dumps(found.shown(), indent=2))
        return
    typer.echo(f"{stone}: {line(found.price)}")
    for step in steps(found):
        typer.echo(f"  {step}")
    if found.rules is not None:
        typer.echo(
            f"  rule set {found.price.rules_version} by {found.rules['actor']}: {found.rules['reason']}"
        )
    if found.age_days is not None:
        typer.echo(
            f"  {found.age_days} days in stock then, first seen {found.price.first_seen:%Y-%m-%d %H:%M:%S}"
        )
    source = found.source
    typer.echo(
        f"  from {source.topic} partition {source.partition} offset {source.offset}, run {source.run}"
        f"{f', sha256 {source.sha256} ({source.kept})' if source.kept else ''}"
    )
    if source.not_shown is not None:
        typer.echo(f"  the page is not shown: {source.not_shown}")
    if source.query is not None:
        typer.echo(f"  the vendor was asked for {source.query.text}")
    for later in found.since:
        typer.echo(f"  since: {line(later)}")


def line(price: Price) -> str:
    """A price and its reasons on one line."""
    return (
        f"{price.price_cents} {price.currency} cents for a cost of {price.cost_cents} and {price.margin_bps} bps by {price.rule!r}"
        f" of rule set {price.rules_version}, mapper {price.mapper_version}, {price.cause} at {price.changed_at:%Y-%m-%d %H:%M:%S}"
    )


def steps(found: Explanation) -> Iterator[str]:
    """What else made the price beside cost and margin, in the order in which it did."""
    row, rate = found.row or {}, found.rate
    if when := row.get("when"):
        yield f"holds where {json.dumps(when)}"
    if rate is not None:
        yield f"at {rate['ppm']} cents per million US cents ({rate['id']})"
    if amount := row.get("amount_cents"):
        yield f"{amount:+} cents"
    if rounding := row.get("rounding"):
        yield f"rounded {rounding['mode']} to {rounding['ending_cents']} above a multiple of {rounding['to_cents']} cents"
    if (floor := row.get("floor_cents")) is not None:
        yield f"not below {floor} cents"
    if (ceiling := row.get("ceiling_cents")) is not None:
        yield f"not above {ceiling} cents"
