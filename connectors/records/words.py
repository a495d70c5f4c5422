"""Single instructions of the processor that numba has no name for."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.extending import intrinsic


def _word(_typing: Any, array: Any, _place: Any) -> Any:
    """Eight bytes of an array of bytes from a place on, the first in the lowest bits. Nobody looks whether they are in it."""
    from llvmlite import ir

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        at = builder.bitcast(builder.gep(held.data, [arguments[1]]), ir.PointerType(ir.IntType(64)))
        loaded = builder.load(at)
        loaded.align = 1
        return loaded

    return types.uint64(array, types.int64), build


def _trailing_zeros(_typing: Any, _word: Any) -> Any:
    """Zero bits below the lowest set bit of a 64-bit word that is not 0."""
    from llvmlite import ir

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), build


def _prefetch(_typing: Any, _address: Any) -> Any:
    """Have the processor fetch the memory at an address; it need not be there."""
    from llvmlite import ir

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number, place = ir.IntType(32), ir.PointerType(ir.IntType(8))
        of = ir.FunctionType(ir.VoidType(), [place, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [place], of)
        reading, keep, data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(fetch, [builder.inttoptr(arguments[0], place), reading, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), build


word: Any = intrinsic(_word)
trailing_zeros: Any = intrinsic(_trailing_zeros)
prefetch: Any = intrinsic(_prefetch)
