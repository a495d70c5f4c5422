"""`adamas rules`: publish rule sets and list them."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from runtime.settings import KafkaSettings, PostgresSettings, Settings, load_settings
from schemas.errors import AdamasError
from schemas.rule_file import parse_rule_file
from streams.rules_store import publish

app = typer.Typer(help="Publish and list rule sets.", no_args_is_help=True)


@app.command("publish")
def publish_file(
    file: Annotated[Path, typer.Argument(help="rule set, YAML or JSON", exists=True, dir_okay=False)],
    reason: Annotated[str, typer.Option(help="why prices change; kept for ever")],
) -> None:
    """Publish a rule file under a new number."""
    data = file.read_bytes()
    _run(lambda settings, database: _publish(settings, database, data, reason))


@app.command("list")
def list_published() -> None:
    """Show what was published: number, when, who, why, and how many rules."""
    _run(lambda _settings, database: _list(database))


async def _publish(settings: Settings, database: Any, data: bytes, reason: str) -> None:
    content = parse_rule_file(data)
    published = await publish(database, settings.kafka, content, actor=getpass.getuser(), reason=reason)
    typer.echo(f"published rule set {published.number} with {len(content.rules)} rules")


async def _list(database: Any) -> None:
    rows = await database.fetch(
        "SELECT number, published_at, actor, reason, jsonb_array_length(content->'rules') AS rules"
        " FROM rulesets ORDER BY number"
    )
    for row in rows:
        moment = row["published_at"].isoformat(timespec="seconds")
        typer.echo(f"{row['number']}  {moment}  {row['actor']}  {row['rules']} rules  {row['reason']}")


def _run(work: Callable[[Settings, Any], Awaitable[None]]) -> None:
    settings = load_settings(KafkaSettings, PostgresSettings)

    async def connected() -> None:
        database = await asyncpg.connect(settings.postgres.dsn.get_secret_value())
        try:
            await work(settings, database)
        finally:
            await database.close()

    try:
        asyncio.run(connected())
    except AdamasError as error:
        typer.echo(f"not published: {error}", err=True)
        raise typer.Exit(1) from error
