"""The fast index held to a naive scan at length, and with every array index of its kernels checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.api import test_fast_index


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("turn", range(test_fast_index.QUICK_ROUNDS, test_fast_index.ROUNDS))
def test_every_answer_equals_a_naive_scan(turn: int, wild: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    test_fast_index.hold_to_a_naive_scan(turn, wild, monkeypatch)


@pytest.mark.timeout(600)
def test_kernels_stay_within_their_arrays(tmp_path: Path) -> None:
    # Numba checks no bounds unless told to when it compiles: hence a process and a cache of its own.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=0"),
            *(test_fast_index.__file__, "-k", "naive_scan and 2-"),
        ],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "2 passed" in done.stdout
