"""Numba checks no bounds. Here the searches of the fast index's unit test run once more with every array index checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.api import test_fast_index


@pytest.mark.timeout(600)
def test_kernels_stay_within_their_arrays(tmp_path: Path) -> None:
    # In a process and a cache of its own: numba decides when it compiles.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=0"),
            *(test_fast_index.__file__, "-k", "naive_scan and 5-"),
        ],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "2 passed" in done.stdout
