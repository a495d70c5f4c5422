"""What a benchmark may be told: `make bench-replay STONES=50000 ROUNDS=1`, or `python -m bench.replay --stones 50000`."""

from __future__ import annotations

import argparse
import os


def parser(purpose: str | None, **defaults: int) -> argparse.ArgumentParser:
    """A parser of whole numbers, each of which the environment may give by its name in capitals."""
    made = argparse.ArgumentParser(
        description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    for name, default in defaults.items():
        # As text: what is no number is then refused by its option's name, wherever it comes from.
        given = os.environ.get(name.upper()) or str(default)
        made.add_argument(f"--{name}", type=int, default=given, help=f"{default} where it is not given")
    return made


def read_options(purpose: str | None, **defaults: int) -> argparse.Namespace:
    """The values of such numbers."""
    return parser(purpose, **defaults).parse_args()
