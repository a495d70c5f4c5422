"""`adamas replay`: read a range of the log again, undo it, or see beforehand what it would change."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from operating import groups_replay, replay, shadow, undo
from operating.span import Preview, preview, resolve
from runtime import jobs
from runtime.commands import do_job, with_database
from runtime.jobs import Job, State
from runtime.postgres import Database
from runtime.settings import KafkaSettings, load_settings

app = typer.Typer(
    help="Read the log again, undo that, or see beforehand what it would change.",
    no_args_is_help=True,
    add_completion=False,
)


class By(StrEnum):
    """How a range is read again."""

    OFFSETS = "offsets"
    BACKGROUND = "background"


Number = Annotated[int, typer.Argument(help="The job's number.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
From = Annotated[str, typer.Option("--from", help="A time (2026-01-31T02:00), an offset or a run.")]
To = Annotated[str | None, typer.Option("--to", help="The same; by default the run's or the log's end.")]


@app.command()
def raw(
    feed: Annotated[str, typer.Option(help="Whose facts.")],
    from_: From,
    to: To = None,
    by: Annotated[
        By | None, typer.Option(help="The group's offsets, or the owner behind its fresh facts.")
    ] = None,
    shadowed: Annotated[
        bool, typer.Option("--shadow", help="Only say what would differ, field by field.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Preview a replay of the raw log; with --by, do it; with --shadow, say what it would change."""
    kafka = load_settings(KafkaSettings).kafka
    found = with_database(lambda database: _preview(database, kafka, feed, from_, to))
    _say(found)
    if shadowed:
        job = with_database(lambda database: _shadow(database, kafka, found))
    elif by is None:
        typer.echo(json.dumps({"preview": found.shown()}))
        return
    else:
        _confirm(yes, f"Replay {found.records} records by {by}?")
        job = with_database(lambda database: _replay(database, kafka, found, by))
    _end(job, preview=found.shown())


@app.command("group")
def group_(
    name: Annotated[str, typer.Argument(help="A consumer group, e.g. adamas-sink.")],
    partition: Annotated[int, typer.Option(help="Which partition.")],
    from_: Annotated[int, typer.Option("--from", help="The offset to go back to.")],
    topic: Annotated[str | None, typer.Option(help="By default the one topic the group reads.")] = None,
    yes: Yes = False,
) -> None:
    """Have any group read a partition again from an offset on; ours are paused for it, others must have no members."""
    kafka = load_settings(KafkaSettings).kafka
    _confirm(yes, f"Move {name} back to {from_} of partition {partition}?")
    job = with_database(lambda database: _group(database, kafka, name, topic, partition, from_))
    _end(job)


@app.command("undo")
def undo_(number: Number, yes: Yes = False) -> None:
    """Give the stones that a replay changed their former content back."""
    kafka = load_settings(KafkaSettings).kafka
    _confirm(yes, f"Undo replay {number}?")
    _end(
        with_database(
            lambda database: do_job(
                database,
                lambda link: undo.request(link, number, getpass.getuser()),
                undo.handler(database, kafka),
            )
        )
    )


@app.command()
def promote(number: Number, yes: Yes = False) -> None:
    """Make a shadow the truth."""
    kafka = load_settings(KafkaSettings).kafka
    _confirm(yes, f"Make shadow {number} the truth?")
    _end(with_database(lambda database: _promote(database, kafka, number)))


async def _preview(
    database: Database, kafka: KafkaSettings, feed: str, start: str, end: str | None
) -> Preview:
    span = await resolve(kafka, feed, start, end)
    async with database.link() as link:
        return await preview(kafka, link, span)


async def _replay(database: Database, kafka: KafkaSettings, found: Preview, by: By) -> Job:
    return await do_job(
        database,
        lambda link: replay.request(link, found, by.value, getpass.getuser()),
        replay.handler(database, kafka),
    )


async def _shadow(database: Database, kafka: KafkaSettings, found: Preview) -> Job:
    return await do_job(
        database, lambda link: shadow.request(link, found.span, getpass.getuser()), shadow.handler(kafka)
    )


async def _promote(database: Database, kafka: KafkaSettings, number: int) -> Job:
    async with database.link() as link:
        made = await jobs.get(link, number)
        found = await preview(kafka, link, shadow.span_of(made))
    return await do_job(
        database,
        lambda link: shadow.promote(link, made, found, getpass.getuser()),
        replay.handler(database, kafka),
    )


async def _group(
    database: Database, kafka: KafkaSettings, name: str, topic: str | None, partition: int, start: int
) -> Job:
    return await do_job(
        database,
        lambda link: groups_replay.request(link, kafka, name, topic, partition, start, getpass.getuser()),
        groups_replay.handler(database, kafka),
    )


def _say(found: Preview) -> None:
    eta = (
        "an unknown time: there was no replay yet to tell by"
        if found.eta_s is None
        else f"about {found.eta_s:g} s"
    )
    wait = (
        ""
        if found.fresh_wait_s is None
        else f" (by offsets, fresh facts would wait some {found.fresh_wait_s:g} s)"
    )
    for text in (
        f"{found.feed}, partition {found.partition}, offsets {found.start} to {found.end}:"
        f" {found.records} records from {_when(found.first_at)} to {_when(found.last_at)}",
        f"{found.items} items; touches at most {found.stones} stones, {found.rewritten} of them by an older mapper"
        f" than {found.mapper_version}",
        f"takes {eta}{wait}",
    ):
        typer.echo(text, err=True)


def _when(at: datetime | None) -> str:
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _confirm(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo("say --yes to do it", err=True)
        raise typer.Exit(1)
    typer.confirm(question, abort=True, err=True)


def _end(job: Job, **more: Any) -> None:
    typer.echo(
        json.dumps({**more, "job": job.id, "state": job.state, "result": job.result, "failure": job.failure})
    )
    if job.state is not State.DONE:
        raise typer.Exit(1)
