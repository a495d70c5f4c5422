"""`adamas rules`: check, preview, draft and publish rule files; widen, take back, roll back; history and rates."""

from __future__ import annotations

import asyncio
import csv
import getpass
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from runtime.logs import configure_logs
from runtime.postgres import Database
from runtime.settings import KafkaSettings, LogSettings, PostgresSettings, PricingSettings, load_settings
from schemas.errors import AdamasError
from schemas.rule_file import BadRuleFile, parse_rule_file
from schemas.ruleset import WHOLE_BPS, Rate, RuleSet, TrialLimits
from streams.pricing.findings import findings
from streams.pricing.preview import Change
from streams.rules import history as rules_history
from streams.rules import rates
from streams.rules.desk import Intent, RuleDesk
from streams.rules.report_text import summary
from streams.rules.store import Publication

app = typer.Typer(
    help="Check, preview, publish and roll back rule sets.", no_args_is_help=True, add_completion=False
)
rates_app = typer.Typer(help="Exchange rates.", no_args_is_help=True)
app.add_typer(rates_app, name="rates")

ResultT = TypeVar("ResultT")

File = Annotated[Path, typer.Argument(help="rule set, YAML or JSON", exists=True, dir_okay=False)]
Reason = Annotated[str, typer.Option(help="why prices change; kept for ever")]
Base = Annotated[
    int | None, typer.Option(help="the number it was made from; refused when that is not the present one")
]
Override = Annotated[str | None, typer.Option(help="why broken guardrails do not matter; kept for ever")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]
Share = Annotated[
    float, typer.Option(help="share of the stones that take it first, percent", min=0.01, max=100)
]
MeanMove = Annotated[
    int,
    typer.Option(help="basis points by which the share's prices together may move before it is taken back"),
]


@app.command()
def check(file: File) -> None:
    """Say what is wrong with a file, and which rows never hold, are shadowed or contradict."""
    try:
        content = parse_rule_file(file.read_bytes())
    except BadRuleFile as error:
        for mistake in error.mistakes:
            typer.echo(f"{mistake.field}: {mistake.rule}", err=True)
        raise typer.Exit(1) from error
    for finding in (found := findings(content)):
        typer.echo(f"{finding.table} {finding.row}: {finding.kind}: {finding.text}")
    typer.echo(f"{len(content.rules)} rows, {len(found)} findings")


@app.command("preview")
def preview_file(
    file: File,
    as_json: AsJson = False,
    stones: Annotated[
        Path | None, typer.Option(help="also write every stone whose price changes, as CSV", dir_okay=False)
    ] = None,
) -> None:
    """Show what publishing a file would do to the whole stock."""
    content = _read(file)

    async def work(desk: RuleDesk) -> None:
        report = await desk.preview(content)
        typer.echo(json.dumps(msgspec.to_builtins(report), indent=2) if as_json else summary(report))
        if stones is not None:
            write_changes(stones, await desk.changes(content))

    _run(work)


@app.command()
def draft(
    file: File, note: Annotated[str, typer.Option(help="what it is for")] = "", base: Base = None
) -> None:
    """Keep a file as a draft and preview it."""
    content = _read(file)

    async def work(desk: RuleDesk) -> None:
        draft_id = await desk.draft(content, actor=getpass.getuser(), note=note, base=base)
        typer.echo(f"draft {draft_id}")
        typer.echo(summary(await desk.preview_draft(draft_id)))

    _run(work)


@app.command("publish")
def publish_file(
    file: Annotated[
        Path | None, typer.Argument(help="rule set, YAML or JSON", exists=True, dir_okay=False)
    ] = None,
    *,
    reason: Reason,
    draft: Annotated[int | None, typer.Option(help="publish this draft instead of a file")] = None,
    base: Base = None,
    override: Override = None,
    share: Share = 100.0,
    max_mean_move_bps: MeanMove = 1_000,
) -> None:
    """Publish a rule file (or a draft) under a new number, after a look at what it does to the stock."""
    if (file is None) == (draft is None):
        raise typer.BadParameter("give a file or --draft, one of them")
    intent = _intent(reason, base, override, max_mean_move_bps)
    content = None if file is None else _read(file)

    async def work(desk: RuleDesk) -> None:
        if content is not None:
            _tell(await desk.publish(content, intent, _bps(share)))
        elif draft is not None:
            _tell(await desk.publish_draft(draft, intent, _bps(share)))

    _run(work)


@app.command()
def share(
    percent: Annotated[float, typer.Argument(help="share of the stones, percent", min=0.01, max=100)],
    reason: Reason,
    override: Override = None,
    base: Base = None,
    max_mean_move_bps: MeanMove = 1_000,
) -> None:
    """Give the number on trial to another share of the stones; 100 ends the trial."""
    intent = _intent(reason, base, override, max_mean_move_bps)
    _run(lambda desk: _telling(desk.widen(_bps(percent), intent)))


@app.command("take-back")
def take_back(reason: Reason) -> None:
    """End a gradual publish: all stones as before it."""
    _run(lambda desk: _telling(desk.take_back(Intent(getpass.getuser(), reason))))


@app.command()
def rollback(
    number: Annotated[int, typer.Argument(help="the number to go back to", min=1)],
    reason: Reason,
    base: Base = None,
) -> None:
    """Publish a former number's content under a new number."""
    _run(lambda desk: _telling(desk.rollback(number, Intent(getpass.getuser(), reason, base))))


@app.command("list")
def list_published(limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """Show what was published: number, when, who, why, and how many rows."""

    async def work(desk: RuleDesk) -> None:
        async with desk.database.link() as link:
            rows = await rules_history.numbers(link, limit=limit)
        for row in reversed(rows):
            share = "" if row["share_bps"] == WHOLE_BPS else f"  on {row['share_bps'] / 100:g} %"
            waits = "" if row["delivered_at"] else "  (waits for Kafka)"
            why = f"  OVERRIDE: {row['override_reason']}" if row["override_reason"] else ""
            typer.echo(
                f"{row['number']}  {row['published_at']}  {row['actor']}  {row['cause']}  {row['rows']} rules{share}{waits}"
                f"  {row['reason']}{why}"
            )

    _run(work)


@app.command()
def show(number: Annotated[int, typer.Argument(min=1)]) -> None:
    """Everything about one number, as JSON: content, diff, preview, who and why."""

    async def work(desk: RuleDesk) -> None:
        async with desk.database.link() as link:
            typer.echo(json.dumps(await rules_history.number(link, number), indent=2))

    _run(work)


@rates_app.command("list")
def list_rates() -> None:
    """The last known rate of each currency, and its age."""

    async def work(desk: RuleDesk) -> None:
        async with desk.database.link() as link:
            for kept in (await rates.latest(link)).values():
                rate, shown = kept.rate, rates.shown(kept)
                why = f"  by {kept.actor}: {kept.reason}" if kept.reason else ""
                typer.echo(
                    f"{rate.currency}  {rate.ppm / 1e6:g}  {rate.id}  {shown['at']}  {shown['age_s'] / 3600:.1f} h old{why}"
                )

    _run(work)


@rates_app.command("set")
def set_rate(
    currency: Annotated[str, typer.Argument(help="ISO 4217")],
    ppm: Annotated[
        int, typer.Argument(help="minor units of the currency per million US cents", min=1, max=900_000_000)
    ],
    rate_id: Annotated[str | None, typer.Option("--id", help="its name; made from the time without")] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            help=f"why it moves by more than {rates.MAX_MOVE_BPS / 100:g} %, which is refused without; kept for ever"
        ),
    ] = None,
) -> None:
    """Record a rate by hand; the next number is published with it."""
    if not re.fullmatch("[A-Z]{3}", currency):
        raise typer.BadParameter("must be three capital letters, e.g. EUR", param_hint="'currency'")
    now_ms = int(time.time() * 1000)
    actor = getpass.getuser()
    rate = Rate(
        id=rate_id or f"hand:{currency}:{now_ms}", currency=currency, ppm=ppm, at=now_ms, source=actor
    )

    async def work(desk: RuleDesk) -> None:
        async with desk.database.link() as link:
            _, new = await rates.record(link, rate, actor=actor, reason=reason)
        typer.echo(f"recorded {rate.id}" if new else f"{rate.id} is known already, with this value")

    _run(work)


def write_changes(file: Path, changes: Sequence[Change]) -> None:
    """Write a preview's stones as CSV; ends the command where the file cannot be written."""
    try:
        with file.open("w", newline="") as opened:
            lines = csv.writer(opened, lineterminator="\n")
            lines.writerow(Change._fields)
            lines.writerows(changes)
    except OSError as error:
        typer.echo(f"{file} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from error


def _read(file: Path) -> RuleSet:
    try:
        return parse_rule_file(file.read_bytes())
    except BadRuleFile as error:
        for mistake in error.mistakes:
            typer.echo(f"refused: {mistake.field}: {mistake.rule}", err=True)
        raise typer.Exit(1) from error


def _intent(reason: str, base: int | None, override: str | None, mean_move_bps: int) -> Intent:
    return Intent(getpass.getuser(), reason, base, override, TrialLimits(mean_move_bps=mean_move_bps))


def _bps(percent: float) -> int:
    return max(1, round(percent * 100))


async def _telling(publishing: Awaitable[Publication]) -> None:
    _tell(await publishing)


def _tell(publication: Publication) -> None:
    published = publication.published
    share = "" if published.share_bps == WHOLE_BPS else f" on {published.share_bps / 100:g} % of the stones"
    waits = "" if publication.delivered else "; Kafka is away and gets it as soon as it is back"
    typer.echo(
        f"published rule set {published.number} with {len(published.content.rules)} rules{share}{waits}"
    )


def _run(work: Callable[[RuleDesk], Awaitable[ResultT]]) -> ResultT:
    settings = load_settings(KafkaSettings, PostgresSettings, PricingSettings)
    # What is printed is the answer; what went wrong on the way is told all the same.
    configure_logs(LogSettings(level="WARNING"), "rules")

    async def connected() -> ResultT:
        async with Database(settings.postgres.dsn.get_secret_value(), "adamas-command") as database:
            desk = RuleDesk.of(settings, database)
            try:
                return await work(desk)
            finally:
                await desk.shelves.close()

    try:
        return asyncio.run(connected())
    except AdamasError as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(1) from error
