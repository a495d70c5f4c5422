"""Compiled code is found again by a copy of its source in another folder, and not once the source has changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CALLED = "from runtime.kernels import njit\n\n@njit(cache=True)\ndef one():\n    return 1\n"
CALLER = (
    "from runtime.kernels import njit\nfrom {package}.called import one\n\n"
    "@njit(cache=True)\ndef more(n):\n    return n + one()\n"
)
USE = "from {package}.caller import more; print(more(2), sum(more.stats.cache_hits.values()))"


def run(checkout: Path, cache: Path) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": f"{checkout}:{Path.cwd()}"}
    environment.pop("NUMBA_CACHE_DIR", None)
    use = [sys.executable, "-c", USE.format(package="kernels_of_a_test")]
    return subprocess.run(use, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_a_copy_compiles_nothing_and_a_changed_callee_does(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    package = first / "kernels_of_a_test"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "called.py").write_text(CALLED)
    (package / "caller.py").write_text(CALLER.format(package="kernels_of_a_test"))
    cache = tmp_path / "cache"
    assert run(first, cache) == "3 0"
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(second, cache) == "3 1"
    (second / "kernels_of_a_test" / "called.py").write_text(CALLED.replace("return 1", "return 2"))
    assert run(second, cache) == "4 0"
