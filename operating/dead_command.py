"""`adamas dead`: what was refused, why, and what to do about it."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.postgres import pauses
from connectors.postgres.pauses import Pause
from operating import letters, redrive
from operating.groups import Groups
from operating.letters import Group, Letter
from operating.redrive import Report
from runtime.commands import do_job, with_database
from runtime.jobs import Job, State
from runtime.postgres import Database
from runtime.settings import KafkaSettings, load_settings
from schemas.feeds import FEEDS
from schemas.topics import RAW

app = typer.Typer(
    help="Show, fix, redrive and drop what was refused.", no_args_is_help=True, add_completion=False
)

GroupName = Annotated[str, typer.Argument(help="The group's fingerprint, or its beginning.")]
_EXAMPLE_BYTES: Final = 600


@app.command("list")
def list_(
    feed: Annotated[str | None, typer.Option(help="Only groups with letters of this feed.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Groups without anything to do, too.")] = False,
) -> None:
    """The groups, and the feeds that have stopped because of them."""
    found, stopped = with_database(lambda database: _overview(database, feed, every))
    for pause in stopped:
        if pause.what is pauses.What.FEED:
            typer.echo(f"STOPPED {pause.subject} since {pause.since:%Y-%m-%d %H:%M:%S}: {pause.reason}")
    for group in found:
        typer.echo(line(group))
    if not found:
        typer.echo("there is no letter" if every else "no letter waits; --all shows settled groups", err=True)


@app.command()
def show(group: GroupName, limit: Annotated[int, typer.Option(help="How many examples.")] = 3) -> None:
    """A group with its latest letters."""
    found, latest = with_database(lambda database: _detail(database, group, limit))
    typer.echo(line(found))
    for letter in latest:
        note = f"  {letter.note}\n" if letter.note else ""
        head = (letter.payload or b"")[:_EXAMPLE_BYTES].decode(errors="replace")
        typer.echo(
            f"\n{letter.id}  {letter.state}  {letter.stone or letter.feed}  at {letter.place}  seen {letter.seen} times,"
            f" redriven {letter.redrives}\n  {letter.field}: {letter.reason}\n{note}  {head}"
        )


@app.command()
def fix(
    group: GroupName,
    mapper: Annotated[
        Path | None, typer.Option(help="A candidate: a file like the feed's mapping.py.", exists=True)
    ] = None,
) -> None:
    """Try a group with the installed code or a candidate mapper, in a sandbox; nothing is changed."""
    kafka = load_settings(KafkaSettings).kafka
    report: Report = with_database(lambda database: redrive.fix(database, kafka, group, mapper))
    typer.echo(f"mapper {report.mapper}: {report.passed} would pass, {report.failed.total()} would die again")
    for cause, number in (report.failed + Counter()).most_common():
        typer.echo(f"  {number:>6}  {cause}")
    for reason, number in report.refused.most_common():
        typer.echo(f"  {number:>6}  cannot be redriven: {reason}")


@app.command("redrive")
def redrive_(group: GroupName) -> None:
    """Send what passes the sandbox into the raw log again; exit code 1 where nothing did, or some did not land."""
    kafka = load_settings(KafkaSettings).kafka
    job: Job = with_database(lambda database: _redrive(database, kafka, group))
    result = job.result or {}
    if job.state is not State.DONE:
        raise typer.Exit(1)
    typer.echo(json.dumps(result, indent=2))
    if not result["passed"]:
        typer.echo(
            "nothing was redriven: no letter passes the sandbox with the code that is installed here",
            err=True,
        )
        raise typer.Exit(1)
    if redrive.returned(result):
        typer.echo("some did not land; they wait as new letters again", err=True)
        raise typer.Exit(1)


@app.command()
def drop(group: GroupName, reason: Annotated[str, typer.Option(help="Why; kept for ever.")]) -> None:
    """Give a group's letters up."""
    dropped = with_database(lambda database: _drop(database, group, reason))
    typer.echo(f"discarded: {dropped}")


@app.command()
def resume(
    feed: Annotated[str, typer.Argument(help="A feed that has stopped.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Let everything that is in the raw log now pass, however bad.")
    ] = False,
) -> None:
    """Process a stopped feed on from where it stopped."""
    kafka = load_settings(KafkaSettings).kafka
    with_database(lambda database: _resume(database, kafka, feed, anyway))
    typer.echo(f"{feed} goes on")


def line(group: Group) -> str:
    """A group on one line."""
    states = {
        name: getattr(group, name)
        for name in letters.State
        if getattr(group, name) or name == letters.State.NEW
    }
    counts = ", ".join(f"{number} {name}" for name, number in states.items())
    came_back = f", {group.returned} came back" if group.returned else ""
    return (
        f"{group.fingerprint}  {group.stage}/{group.error}  {group.field}: {counts}{came_back};"
        f" {group.first_at:%m-%d %H:%M:%S} to {group.last_at:%m-%d %H:%M:%S}; {','.join(group.feeds)}; {group.example}"
    )


async def _overview(database: Database, feed: str | None, every: bool) -> tuple[list[Group], list[Pause]]:
    async with database.link() as link:
        return await letters.groups(link, feed=feed, every=every), await pauses.listed(link)


async def _detail(database: Database, name: str, limit: int) -> tuple[Group, list[Letter]]:
    async with database.link() as link:
        group = await letters.group(link, name)
        return group, await letters.examples(link, group.fingerprint, limit)


async def _redrive(database: Database, kafka: KafkaSettings, group: str) -> Job:
    return await do_job(
        database,
        lambda link: redrive.request(link, group, getpass.getuser()),
        redrive.handler(database, kafka),
    )


async def _drop(database: Database, group: str, reason: str) -> int:
    async with database.transaction() as link:
        return await letters.drop(link, group, actor=getpass.getuser(), reason=reason)


async def _resume(database: Database, kafka: KafkaSettings, feed: str, anyway: bool) -> None:
    waive_to = await asyncio.to_thread(raw_end, kafka, feed) if anyway else None
    async with database.transaction() as link:
        await pauses.resume_feed(link, feed, actor=getpass.getuser(), waive_to=waive_to)


def raw_end(kafka: KafkaSettings, feed: str) -> int | None:
    """The end offset of a feed's raw partition; null for a feed that does not exist."""
    if feed not in FEEDS:
        return None
    slot = FEEDS[feed].slot
    return Groups(kafka).bounds(RAW.name, [slot])[slot][1]
