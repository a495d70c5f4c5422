"""Trying dead letters without doing anything: the code that is installed here, or a candidate mapper, in a child process.

The child has no settings of ours in its environment and a limit on its processor time, so that neither a mapper that
loops nor one that looks around does harm. A candidate is a Python file that defines `MAPPING` and `MAPPER_VERSION`, as
`connectors/feeds/nivoda/mapping.py` does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import runpy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from connectors.feeds.mappings import MAPPINGS
from connectors.feeds.nivoda import mapping
from connectors.feeds.nivoda.form import NIVODA_FORM
from operating.letters import Letter
from schemas.errors import Invalid
from schemas.feeds import FEEDS, STANDARD
from schemas.ruleset import PublishedRuleSet
from streams.pricing.engine import PriceBook

if TYPE_CHECKING:
    from streams.normalise import Normaliser

ResultT = TypeVar("ResultT")

CPU_LIMIT_S: Final = 120
_BATCH_LIMIT_S: Final = 60.0


class Failure(NamedTuple):
    """Why a letter would die again."""

    stage: str
    error: str
    field: str
    reason: str


class _Given(NamedTuple):
    """What the child is given of a letter."""

    feed: str
    payload: bytes
    is_item: bool


@dataclass(frozen=True, slots=True)
class Mapper:
    """The mapper that is tried.

    Attributes:
        version: its number.
        normalisers: by feed.
    """

    version: int
    normalisers: Mapping[str, Normaliser]


class Sandbox:
    """A child process that tries letters. Use it as a context.

    Args:
        rules: the rule set under which a stone is priced.
        candidate: a mapper's file; without one the installed code is tried.
    """

    def __init__(self, rules: PublishedRuleSet, candidate: Path | None = None) -> None:
        self._rules = rules.model_dump_json(exclude_none=True)
        self._candidate = candidate
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_bar, initargs=(CPU_LIMIT_S,)
        )

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def version(self) -> int:
        """The mapper's number. Raises `Invalid` where the candidate cannot be loaded."""
        return await self._run(_version, self._candidate)

    async def attempt(self, letters: Sequence[Letter]) -> list[Failure | None]:
        """What each letter would die of, in order; nothing for one that passes.

        Raises:
            Invalid: the candidate cannot be loaded, ended its process, or took too long.
        """
        given = [_Given(letter.feed, letter.payload or b"", letter.is_item) for letter in letters]
        return await self._run(_attempt_all, self._candidate, self._rules, given)

    async def _run(self, work: Callable[..., ResultT | Failure], *given: object) -> ResultT:
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *given)
        try:
            result = await asyncio.wait_for(future, _BATCH_LIMIT_S)
        except (BrokenProcessPool, TimeoutError) as error:
            rule = f"ended the sandbox: {type(error).__name__}; it has {CPU_LIMIT_S} s of processor time"
            raise Invalid("mapper", rule, "bad_mapper") from error
        if isinstance(result, Failure):
            raise Invalid(result.field, result.reason, result.error)
        return result


def refusal(letter: Letter) -> str | None:
    """Why a letter cannot be redriven at all; nothing for one that can."""
    if letter.payload is None:
        return "its payload is gone"
    if not letter.is_whole:
        return "only its head was kept: replay its page instead"
    if letter.stage == "write":
        return "the sink refused a canonical record: replay the sink instead"
    if letter.seq is None:
        return "its headers were unreadable, so its place in the order of facts is unknown"
    if letter.feed not in FEEDS:
        return "it is of no feed we know"
    return None


def _bar(cpu_s: int) -> None:
    for name in [name for name in os.environ if name.startswith("ADAMAS_")]:
        del os.environ[name]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))


@lru_cache(maxsize=1)
def _mapper(candidate: Path | None) -> Mapper:
    # Only the child understands items, and what that takes is slow to import.
    from streams.normalise import Normaliser, normalisers

    if candidate is None:
        table, version = mapping.MAPPING, mapping.MAPPER_VERSION
    else:
        names = runpy.run_path(str(candidate))
        table, version = names["MAPPING"], int(names["MAPPER_VERSION"])
    # A candidate is of Nivoda's; the other vendors' stay as they are.
    candidates = {name: Normaliser(table, version, FEEDS[name], NIVODA_FORM) for name in STANDARD}
    return Mapper(version, normalisers() | candidates)


@lru_cache(maxsize=1)
def _book(rules: str) -> PriceBook:
    return PriceBook(PublishedRuleSet.model_validate_json(rules))


def _version(candidate: Path | None) -> int | Failure:
    try:
        return _mapper(candidate).version
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever the code under trial raises is the answer)
        return _unloadable(error)


def _attempt_all(candidate: Path | None, rules: str, given: list[_Given]) -> list[Failure | None] | Failure:
    try:
        mapper = _mapper(candidate)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever the code under trial raises is the answer)
        return _unloadable(error)
    book = _book(rules)
    return [_attempt(mapper.normalisers[one.feed], book, one) for one in given]


def _attempt(normaliser: Normaliser, book: PriceBook, given: _Given) -> Failure | None:
    stage = "decode"
    try:
        reply = MAPPINGS[given.feed].form.around(given.payload) if given.is_item else given.payload
        items = normaliser.pages.decode(reply)
        # A page that can be read passes: each of its items has a fate of its own.
        for item in items if given.is_item else ():
            stage = "decode"
            if isinstance(item, Invalid):
                raise item
            stage = "normalise"
            content = normaliser.content(item)
            stage = "price"
            book.margin(content, 0)
    except Invalid as error:
        return Failure(stage, error.code, error.field, error.rule)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever the code under trial raises is the answer)
        return Failure(stage, "unexpected", "item", f"raised {type(error).__name__}")
    return None


def _unloadable(error: BaseException) -> Failure:
    return Failure("load", "bad_mapper", "mapper", f"cannot be loaded: {type(error).__name__}: {error}")
