"""Single instructions of the processor that numba has no name for."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.extending import intrinsic


@intrinsic
def trailing_zeros(_typing: Any, _word: Any) -> Any:
    """Zero bits below the lowest set bit of a 64-bit word that is not 0."""
    from llvmlite import ir

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), build


@intrinsic
def leading_zeros(_typing: Any, _word: Any) -> Any:
    """Zero bits above the highest set bit of a 64-bit word that is not 0."""
    from llvmlite import ir

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), build
