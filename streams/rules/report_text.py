"""A preview's report for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

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
        kind = "" if row.hits else " DEAD" + (" (shadowed)" if row.holds else "")
        yield f"  row {row.name}: {row.hits:,} stones{kind}"
    for broken in report.breaks:
        example = f", e.g. {broken.example}" if broken.example else ""
        yield (
            f"GUARDRAIL {broken.guard}: {broken.stones:,} stones, worst {broken.found},"
            f" limit {broken.limit} bps{example}"
        )
