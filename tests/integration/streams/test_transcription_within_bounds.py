"""The compiled way from a page to contents, with every array index of its kernel checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.streams import test_transcription


@pytest.mark.timeout(600)
def test_the_kernel_stays_within_its_arrays(tmp_path: Path) -> None:
    # Numba checks no bounds unless told to when it compiles: hence a process and a cache of its own.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=0"),
            test_transcription.__file__,
        ],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
