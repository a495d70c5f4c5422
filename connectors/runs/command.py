"""`adamas runs`: what is read, how far, whether it adds up; start, cancel, retry, force, delete, approve."""

from __future__ import annotations

import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from connectors.runs import actions, store
from connectors.runs.actions import Asked
from connectors.runs.store import Run
from connectors.runs.view import whole
from runtime.commands import with_database
from runtime.postgres import Database, Link
from runtime.settings import IngestSettings, load_settings
from schemas.facts import RunKind

app = typer.Typer(
    help="Show runs and their ledgers; start, cancel, retry, approve.",
    no_args_is_help=True,
    add_completion=False,
)

WAIT_S = 10.0

Name = Annotated[str, typer.Argument(help="The run's name.")]
Feed = Annotated[str, typer.Argument(help="The feed's name.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
At = Annotated[
    datetime | None,
    typer.Option(help="Not before this time (UTC).", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]),
]


@app.command("list")
def list_(
    feed: Annotated[str | None, typer.Option(help="Only this feed's.")] = None,
    kind: Annotated[RunKind | None, typer.Option(help="Only of this kind.")] = None,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """The runs, newest first."""
    _print(_ask(lambda link: store.recent(link, feed=feed, kind=kind, state=state, limit=limit)), as_json)


@app.command()
def stuck(
    after_s: Annotated[float | None, typer.Option(help="Still for so long, seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Runs that are due or under way and do not move."""
    patience_s = after_s or load_settings(IngestSettings).ingest.patience_s
    _print(_ask(lambda link: store.stuck(link, patience_s)), as_json)


@app.command()
def show(run: Name, as_json: Json = False) -> None:
    """Everything about one run: ledger, partitions, history."""
    settings = load_settings(IngestSettings).ingest
    view = _ask(lambda link: whole(link, run, settings))
    typer.echo(_json(view) if as_json else "\n".join(_lines(view)))


@app.command()
def start(feed: Feed, kind: Annotated[RunKind, typer.Argument()] = RunKind.FULL, at: At = None) -> None:
    """Read a feed now, or at a time."""
    _act(lambda link, actor: actions.start(link, feed, kind, actor, at=_utc(at)))


@app.command()
def cancel(run: Name, cause: Annotated[str, typer.Option(help="Why.")] = "cancelled", at: At = None) -> None:
    """End a run without completing it."""
    _act(lambda link, actor: actions.cancel(link, run, actor, cause=cause, at=_utc(at)))


@app.command()
def retry(
    run: Name,
    partition: Annotated[int | None, typer.Option(help="Only this partition.")] = None,
    at: At = None,
) -> None:
    """Take a failed run up again, or read one partition of a running one once more."""
    _act(lambda link, actor: actions.retry(link, run, actor, partition=partition, at=_utc(at)))


@app.command()
def force(run: Name, at: At = None) -> None:
    """Complete a running run as it stands; it moves no watermark and retires nothing."""
    _act(lambda link, actor: actions.force(link, run, actor, at=_utc(at)))


@app.command()
def delete(run: Name, at: At = None) -> None:
    """Forget a run that has ended; the log keeps its facts."""
    _act(lambda link, actor: actions.delete(link, run, actor, at=_utc(at)))


@app.command()
def approve(run: Name, at: At = None) -> None:
    """Let a sweep retire what it holds back because it is so much."""
    _act(lambda link, actor: actions.approve(link, run, actor, at=_utc(at)))


@app.command()
def refuse(run: Name, at: At = None) -> None:
    """Let a sweep retire nothing."""
    _act(lambda link, actor: actions.refuse(link, run, actor, at=_utc(at)))


@app.command("set-watermark")
def set_watermark(
    feed: Feed,
    watermark: Annotated[
        datetime,
        typer.Argument(
            help="By the vendor's clock, UTC.", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
        ),
    ],
    at: At = None,
) -> None:
    """Let the next incremental run of a feed begin elsewhere."""
    _act(
        lambda link, actor: actions.set_watermark(
            link, feed, watermark.replace(tzinfo=UTC), actor, at=_utc(at)
        )
    )


@app.command("actions")
def list_actions(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20) -> None:
    """What was asked for, by whom, and what came of it."""
    for asked in _ask(lambda link: actions.recent(link, limit)):
        typer.echo(_asked_line(asked))


def _ask(work: Callable[[Link], Awaitable[Any]]) -> Any:
    async def ask(database: Database) -> Any:
        async with database.link() as link:
            return await work(link)

    return with_database(ask)


def _act(work: Callable[[Link, str], Awaitable[Asked]]) -> None:
    """Ask for an action and wait a while for it; exit code 1 when it was not to be done."""

    async def act(database: Database) -> Asked:
        async with database.link() as link:
            asked = await work(link, getpass.getuser())
        now = datetime.now(UTC)
        return asked if asked.due_at > now else await actions.wait_done(database, asked, WAIT_S)

    asked = with_database(act)
    typer.echo(_asked_line(asked))
    if asked.outcome not in (None, "done"):
        raise typer.Exit(1)


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)


def _asked_line(asked: Asked) -> str:
    about = asked.run or asked.feed
    outcome = asked.outcome or f"waits until {asked.due_at:%Y-%m-%d %H:%M:%S} UTC, or for ingest"
    return f"{asked.id:>5}  {asked.action:13} {about}  by {asked.actor}: {outcome}"


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), indent=2)


def _print(runs: list[Run], as_json: bool) -> None:
    if as_json:
        typer.echo(_json([store.shown(run) for run in runs]))
        return
    for run in runs:
        verdict = (run.ledger or {}).get("verdict", "")
        notes = [f"attempt {run.attempt}" if run.attempt > 1 else "", run.retirement or "", verdict]
        rows = f"{run.rows:,}" if run.rows is not None else "-"
        typer.echo(
            f"{run.run:56} {run.state:9} {run.requested_at:%m-%d %H:%M:%S}  {rows:>9} items  "
            + "  ".join(filter(None, notes))
        )


def _lines(view: dict[str, Any]) -> list[str]:
    lines = [
        f"{view['run']}  {view['state']}  attempt {view['attempt']}  asked for by {view['requested_by']}",
        f"  window      {view['updated_from'] or 'everything'} to {view['watermark'] or '(no plan yet)'}",
    ]
    if ledger := view["ledger"]:
        sums = ", ".join(f"{number:,} {name}" for name, number in ledger["outcomes"].items())
        lines += [
            f"  ledger      {ledger['verdict']}: {ledger['distinct']:,} distinct = {sums}",
            f"  items       {ledger['items']:,} on {ledger['pages']:,} pages, {ledger['receipted']:,} with an outcome",
            f"  vendor      counted {ledger['counted']:,} ({ledger['vendor_off_percent']} % off)",
        ]
        lines += [f"  {_gap_line(gap)}" for gap in ledger["gaps"]]
    if view["retirement"]:
        detail = view["retirement_detail"] or {}
        why = detail.get("why", f"{detail.get('lost', 0)} of {detail.get('stock', 0)} stones")
        lines.append(f"  retirement  {view['retirement']}: {why}  {view['retirement_actor'] or ''}")
    lines.append(f"  partitions  {len(view['partitions'])}")
    for part in view["partitions"]:
        ended = "split" if part["split_into"] else "ended" if part["ended_at"] else "open"
        low, high = part["slice"]["dollars_per_carat_from"], part["slice"]["dollars_per_carat_to"]
        lines.append(
            f"    {part['number']:>4}  {low}-{high} $/ct  estimate {part['estimate']:,}, actual {part['actual']:,}  {ended}"
        )
    lines += [
        f"  {step['at'][:19]}  {step['from_state'] or '(new)'} -> {step['to_state']}  {step['cause']}  by {step['actor']}"
        for step in view["transitions"]
    ]
    return lines


def _gap_line(gap: dict[str, Any]) -> str:
    place = f"partition {gap['partition']}" + (f", page {gap['page']}" if gap["page"] is not None else "")
    reread = f", re-read {gap['reread']}" if gap["reread"] else ""
    offsets = f" at offset {', '.join(map(str, gap['raw_offsets']))}" if gap["raw_offsets"] else ""
    said = {
        "page": "MISSING     page not in the log",
        "receipt": "MISSING     receipt",
        "items": "MISSING     items of a receipt",
        "end": "MISSING     end",
        "doubled": "doubled     page stands twice in the log (counts once)",
    }
    return f"{said[gap['what']]}: {place}{reread}{offsets}"
