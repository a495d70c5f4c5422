"""Timed stages that items pass: one that fails an item, or takes too long over it, refuses it and goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from schemas.errors import Invalid
from streams.dead_letters import Refusal

log = structlog.stdlib.get_logger(__name__)

STAGE_LIMIT_S: Final = 1.0


class Stages:
    """Runs stages.

    Args:
        clock: seconds of processor time, for the limit on an item.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def run(self, stage: str, work: Callable[[Any], Any], inputs: Sequence[Any]) -> list[Any]:
        """Results in order, a `Refusal` in the place of each that failed here or earlier."""
        if not inputs:
            return []
        started = self._clock()
        results = _attempt(stage, work, inputs)
        if self._clock() - started > STAGE_LIMIT_S:
            # Which one was it? Only an item that is slow again on its own is at fault.
            results = [
                self._timed(stage, work, given, result) for given, result in zip(inputs, results, strict=True)
            ]
        return results

    def _timed(self, stage: str, work: Callable[[Any], Any], given: Any, result: Any) -> Any:
        started = self._clock()
        _attempt(stage, work, [given])
        took_s = self._clock() - started
        if took_s <= STAGE_LIMIT_S:
            return result
        took_ms = round(took_s * 1000)
        rule = f"took {took_ms} ms in {stage}; a stone is given {STAGE_LIMIT_S * 1000:g}"
        return Refusal(stage, Invalid("item", rule, "too_slow"), took_ms)


def _attempt(stage: str, work: Callable[[Any], Any], inputs: Sequence[Any]) -> list[Any]:
    results: list[Any] = []
    waiting = iter(inputs)
    while len(results) < len(inputs):
        # One `try` for as many as succeed: entering it for each is a tenth of what a stone costs here.
        try:
            results.extend(given if type(given) is Refusal else work(given) for given in waiting)
        except Invalid as error:
            # A copy: the one that was raised holds the frames it went through, and by them its page and the whole batch
            # until the collector looks for cycles.
            results.append(Refusal(stage, Invalid(error.field, error.rule, error.code)))
        except Exception as error:
            # A mistake of ours that one item brings out must not stop the feed; the item waits in the dead letters.
            log.exception("process.stage_failed", stage=stage)
            results.append(Refusal(stage, Invalid("item", f"raised {type(error).__name__}", "unexpected")))
    return results
