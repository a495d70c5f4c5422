"""Running `adamas` commands against a drill's stage, under the installed mapper or a changed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from drills.stage import Stage


def adamas(stage: Stage, *arguments: str, mapper: Path | None = None, timeout_s: float = 600) -> str:
    """A command's output.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    module = "adamas.cli" if mapper is None else "drills.changed_mapper"
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **stage.environment, **({} if mapper is None else {"DRILL_MAPPER": str(mapper)})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"adamas {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def adamas_json(stage: Stage, *arguments: str, mapper: Path | None = None) -> Any:
    """The JSON that a command prints."""
    return json.loads(adamas(stage, *arguments, mapper=mapper))


def write_mapper(file: Path, version: int, changes: str) -> Path:
    """A mapper's file: the installed table with rows changed by `changes`, a Python expression over `row`."""
    file.write_text(
        "from dataclasses import replace\n"
        "from connectors.feeds.nivoda import mapping\n"
        f"MAPPER_VERSION = {version}\n"
        f"MAPPING = tuple({changes} for row in mapping.MAPPING)\n"
    )
    return file
