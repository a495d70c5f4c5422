"""`adamas alerts`: what is open, and whether people can be reached."""

from __future__ import annotations

import asyncio
import getpass
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from connectors.notify.notice import Notice, Phase
from connectors.notify.plan import Plan, read_plan
from connectors.postgres import events
from monitor.notices import Notifier
from runtime.postgres import Database
from runtime.settings import NotifySettings, PostgresSettings, load_settings
from schemas.events import KINDS, Kind

app = typer.Typer(help="Events that somebody should know of, and whom they reach.", no_args_is_help=True)

_SETTLED: Final = """
INSERT INTO notices (event_id, phase, state, next_at, settled_at) VALUES ($1, 'raised', 'test', now(), now())
ON CONFLICT (event_id, phase) DO UPDATE SET state = 'test', settled_at = now()"""


@app.command("list")
def list_(everything: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False) -> None:
    """Open events, or with --all the latest hundred."""
    for event in asyncio.run(_list(not everything)):
        state = "open" if event.open else "over"
        typer.echo(
            f"{event.at:%Y-%m-%d %H:%M:%S}  {state}  {event.severity:8}  {event.kind}  {event.subject}: {event.text}"
        )


@app.command("test")
def try_channels(
    channel: Annotated[list[str] | None, typer.Argument(help="Channels to try; all without one.")] = None,
) -> None:
    """Send a test over each channel and say whether it was taken; exit code 1 when one was not."""
    settings = load_settings(PostgresSettings, NotifySettings)
    plan = read_plan(settings.notify.file)
    names = channel or list(plan.channels)
    if not names:
        typer.echo(f"There is no channel: name a file in {NotifySettings.variable('file')}.", err=True)
        raise typer.Exit(1)
    if strangers := [name for name in names if name not in plan.channels]:
        typer.echo(
            f"No channel is called {', '.join(strangers)}; there are {', '.join(plan.channels)}.", err=True
        )
        raise typer.Exit(1)
    dsn = settings.postgres.dsn.get_secret_value()
    results = asyncio.run(send_test(dsn, plan, names, getpass.getuser()))
    for name, taken in results.items():
        typer.echo(
            f"{name}: {'taken' if taken else 'NOT taken; adamas monitor logs why, and so do deliveries in Postgres'}"
        )
    if not all(results.values()):
        raise typer.Exit(1)


async def send_test(dsn: str, plan: Plan, channels: list[str], actor: str) -> dict[str, bool]:
    """Try each channel once; which took it. The test stands among the events with its deliveries."""
    async with Database(dsn, "adamas-alerts", size=8) as database:
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


async def _list(only_open: bool) -> list[events.Event]:
    settings = load_settings(PostgresSettings)
    async with (
        Database(settings.postgres.dsn.get_secret_value(), "adamas-alerts") as database,
        database.link() as link,
    ):
        return await events.list_events(link, only_open=only_open)
