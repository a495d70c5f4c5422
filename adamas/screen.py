"""What `adamas up` shows: a line for each finished step, then one live line (on a terminal) or a line a second."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from adamas.gauges import Reading


class _Console(Console):
    """Goes on in silence when nobody reads any more, as in `make up | head`: the stack must still stop cleanly."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """Prints for people on a terminal, and plainly everywhere else."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Console(highlight=False, soft_wrap=True)
        self._started = time.monotonic()
        self._live: Live | None = None
        self._shown = ""

    def say(self, text: str) -> None:
        """Print a line, above the live one if there is one."""
        self._console.print(Text(text))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Print that a step is done, with its seconds and the seconds since the start."""
        began = time.monotonic()
        yield
        self.done(name, time.monotonic() - began)

    def done(self, name: str, seconds: float) -> None:
        """Print that a step is done."""
        self.say(f"  {name:<42} {seconds:5.1f} s   (at {time.monotonic() - self._started:5.1f} s)")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the screen was made."""
        return time.monotonic() - self._started

    def show(self, reading: Reading) -> None:
        """Replace the live line; without a terminal, print one more where it says something new."""
        line = line_of(reading)
        if not self._console.is_terminal:
            if line != self._shown:
                self.say(line)
            self._shown = line
            return
        if self._live is None:
            # Drawn when there is something new, not on a timer of its own.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(line, overflow="ellipsis", no_wrap=True), refresh=True)

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def line_of(reading: Reading) -> str:
    """The live line: `fetched 12 340 of 20 000 · ETA 7 s · priced ...`; a dash stands for what is not known.

    What is looked at first comes first: a narrow terminal cuts the end. Without a full sweep since the start there is
    nothing of it to tell, and nothing to expect behind its end.
    """
    is_asking = reading.budget_used is not None
    if is_asking and not (reading.fetched or reading.fetched_per_s or reading.searchable):
        return "waiting for the first page: the vendor is asked what it has"
    of = f" of {_count(reading.expected)}" if reading.expected else ""
    parts = [
        *([] if reading.fetched is None else [f"fetched {_count(reading.fetched)}{of}"]),
        *([] if reading.eta_s is None else [f"ETA {_duration(reading.eta_s)}"]),
        f"priced {_count(reading.priced)}",
        f"searchable {_count(reading.searchable)}",
        f"{_count(reading.fetched_per_s)}/s",
        f"budget {_percent(reading.budget_used)}",
        f"lag {_count(reading.lag)}",
    ]
    return " · ".join(parts)


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", " ")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
