"""Numba, as everything that is compiled here takes it: what was compiled is kept in the user's cache, named by its source.

Numba itself keeps it beside the source, so that every checkout would compile for twenty seconds anew. A folder is named by
all sources of the package, because a kernel holds the code of the kernels it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numba
import platformdirs
from numba.core import caching, config

njit: Final = numba.njit


class ByContent(caching.InTreeCacheLocator):  # type: ignore[misc]
    """Where the compiled code of a function is: a folder of the user's cache. Unwritable, numba takes the next place."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)
        folder = Path(file).parent
        place = (
            Path(platformdirs.user_cache_dir("adamas")) / "kernels" / f"{folder.name}-{fingerprint(folder)}"
        )
        self._cache_path = str(place)


@cache
def fingerprint(package: Path) -> str:
    """16 hex digits over the names and contents of a package's modules."""
    digest = sha256()
    for module in sorted(package.glob("*.py")):
        digest.update(f"{module.name}\0{module.stat().st_size}\0".encode() + module.read_bytes())
    return digest.hexdigest()[:16]


# A folder that was asked for by NUMBA_CACHE_DIR comes first, the one beside the source last.
config.CACHE_LOCATOR_CLASSES = f"UserProvidedCacheLocator,{__name__}.{ByContent.__name__},InTreeCacheLocator"
