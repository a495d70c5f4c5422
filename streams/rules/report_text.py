"""A preview's report for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from streams.pricing.guards import Break
from streams.pricing.preview import Report

_MOVERS = 3


def summary(report: Report) -> str:
    """The report as lines."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield (
        f"{report.stones:,} stones, {report.changed:,} change ({report.changed_bps / 100:.2f} %):"
        f" {report.risen:,} rise, {report.fallen:,} fall"
    )
    yield (
        f"together {report.before_cents / 100:,.2f} -> {report.after_cents / 100:,.2f} {report.currency}"
        f" ({report.change_cents / 100:+,.2f})"
    )
    for bar in report.histogram:
        if bar.stones:
            low = "less" if bar.from_bps is None else f"{bar.from_bps / 100:+g} %"
            high = "more" if bar.below_bps is None else f"{bar.below_bps / 100:+g} %"
            yield f"  {low:>7} to {high:>7}  {bar.stones:,}"
    for name, parts in (("type", report.by_type), ("shape", report.by_shape), ("carat", report.by_band)):
        for part in parts:
            moved = f"{part.changed:,} of {part.stones:,} change, {part.change_cents / 100:+,.2f}"
            yield f"  {name} {part.name}: {moved}"
    for mover in (*report.risers[:_MOVERS], *report.fallers[:_MOVERS]):
        yield (
            f"  {mover.id}: {mover.before_cents / 100:,.2f} -> {mover.after_cents / 100:,.2f}"
            f" ({mover.move_bps / 100:+.2f} %) by {mover.rule}"
        )
    for row in report.rows:
        dead = " DEAD" + (" (shadowed)" if row.name in report.shadowed else "")
        yield f"  row {row.name}: {row.hits:,} stones{dead if row.name in report.dead else ''}"
    for broken in report.breaks:
        yield f"GUARDRAIL {guardrail(broken, report.currency)}"


def guardrail(broken: Break, currency: str) -> str:
    """What breaks a guardrail, and how badly, each figure in its own unit."""
    limit = f"{broken.limit / 100:g} %"
    if broken.guard == "below_cost":
        margin = f" and a margin of {limit}" if broken.limit else ""
        told = f"priced below their cost{margin}, the worst by {broken.found / 100:,.2f} {currency}"
    elif broken.guard == "max_move":
        told = f"move by more than {limit}, the worst by {broken.found / 100:,.2f} %"
    else:
        told = f"change, {broken.found / 100:.2f} % of all and more than {limit}"
    example = f" ({broken.example})" if broken.example else ""
    return f"{broken.guard}: {broken.stones:,} stones {told}{example}"
