"""`adamas lag`: where every reader stands, live in the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.board import lag_table
from monitor.lag import METHOD
from monitor.movement import Movements, Status
from monitor.positions import Positions
from runtime.settings import KafkaSettings, load_settings

app = typer.Typer(
    help="Where every reader of Kafka stands: lag in records and seconds, pace, forecast.",
    add_completion=False,
)

EVERY_S: Final = 1.0
_COLORS: Final = {Status.OK: "green", Status.WARN: "yellow", Status.STALLED: "bold red", Status.GONE: "dim"}


@app.command()
def lag(
    group: Annotated[list[str] | None, typer.Argument(help="Groups to show; all without one.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print it once and end; rates need a second look.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line a look.")] = False,
    partitions: Annotated[bool, typer.Option(help="A line for each partition, or one a group.")] = True,
) -> None:
    """Look every second until Ctrl-C."""
    positions, movements = Positions(load_settings(KafkaSettings).kafka), Movements()
    console = Console(highlight=False)
    try:
        if once or as_json or not console.is_terminal:
            _print(positions, movements, group, once=once, as_json=as_json, partitions=partitions)
            return
        with Live(console=console, auto_refresh=False) as live:
            while True:
                look = positions.look(group)
                live.update(_table(lag_table(look, movements.see(look)), partitions=partitions), refresh=True)
                time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return
    finally:
        positions.close()


def _print(
    positions: Positions,
    movements: Movements,
    group: list[str] | None,
    *,
    once: bool,
    as_json: bool,
    partitions: bool,
) -> None:
    # Nobody's screen: as wide as the table.
    console = Console(highlight=False, width=160)
    while True:
        look = positions.look(group)
        groups = lag_table(look, movements.see(look))
        if as_json:
            typer.echo(json.dumps({"at_ms": look.at_ms, "method": METHOD, "groups": groups}))
        else:
            console.print(_table(groups, partitions=partitions))
        if once:
            return
        time.sleep(EVERY_S)


def _table(groups: Iterable[dict[str, Any]], *, partitions: bool) -> Table:
    table = Table(title=None, caption=f"seconds: {METHOD}", box=None, pad_edge=False)
    for name in ("group", "topic/partition", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("committed", "end", "behind", "seconds", "read/s", "written/s", "caught up in"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        status = Status(group["status"])
        pace = [_number(group[key]) for key in ("read_per_s", "written_per_s")]
        table.add_row(
            Text(group["name"], style="bold"),
            "" if group["members"] is None else f"{group['members']} member{'s' * (group['members'] != 1)}",
            Text(status, style=_COLORS[status]),
            "",
            "",
            _number(group["lag"]),
            _number(group["lag_s"]),
            *pace,
            _forecast(group["catches_up_s"]),
        )
        if group["reason"]:
            table.add_row("", Text(group["reason"], style=_COLORS[status]))
        for part in group["partitions"] if partitions else ():
            if not part["end"]:
                # Without any record there is nothing to say.
                continue
            place = f"{part['topic']}/{part['partition']}"
            figures = [_number(part[key]) for key in ("committed", "end", "lag", "lag_s")]
            table.add_row("", place, "", *figures, "", "", "")
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return (
        f"{value:,.0f}".replace(",", " ") if float(value).is_integer() else f"{value:,.1f}".replace(",", " ")
    )


def _forecast(seconds: float | None) -> str:
    if seconds is None:
        return "not at this pace"
    return "–" if seconds == 0 else f"{seconds:,.0f} s".replace(",", " ")
