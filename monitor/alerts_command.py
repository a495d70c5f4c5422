"""`adamas alerts`: what is open, and whether people can be reached."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from connectors.notify.plan import read_plan
from connectors.postgres import events
from monitor.trial import trial
from operating import alert_test
from runtime.commands import do_job, with_database
from runtime.jobs import State
from runtime.postgres import Database
from runtime.settings import NotifySettings, load_settings

app = typer.Typer(
    help="Events that somebody should know of, and whom they reach.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
def list_(everything: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False) -> None:
    """Open events, or with --all the latest hundred."""
    for event in with_database(lambda database: _list(database, not everything)):
        state = "open" if event.open else "over"
        typer.echo(
            f"{event.at:%Y-%m-%d %H:%M:%S}  {state}  {event.severity:8}  {event.kind}  {event.subject}: {event.text}"
        )


@app.command("test")
def try_channels(
    channel: Annotated[list[str] | None, typer.Argument(help="Channels to try; all without one.")] = None,
) -> None:
    """Send a test over each channel and say whether it was taken; exit code 1 when one was not."""
    plan = read_plan(load_settings(NotifySettings).notify.file)
    job = with_database(
        lambda database: do_job(
            database,
            lambda link: alert_test.request(link, channel or (), getpass.getuser()),
            trial(database, plan),
        )
    )
    if job.state is not State.DONE:
        raise typer.Exit(1)
    results: dict[str, bool] = (job.result or {})["taken"]
    for name, taken in results.items():
        typer.echo(f"{name}: {'taken' if taken else 'NOT taken; why stands in deliveries in Postgres'}")
    if not all(results.values()):
        raise typer.Exit(1)


async def _list(database: Database, only_open: bool) -> list[events.Event]:
    async with database.link() as link:
        return await events.list_events(link, only_open=only_open)
