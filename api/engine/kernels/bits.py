"""Single instructions of the processor that numba has no name for."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.extending import intrinsic


@intrinsic
def pointer(_typing: Any, _address: Any) -> Any:
    """An address as a pointer to bytes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.uint8)(types.int64), build


@intrinsic
def copy(_typing: Any, _target: Any, _source: Any, _size: Any) -> Any:
    """Copy so many bytes from one address to another."""
    from llvmlite import ir
    from numba.core.cgutils import raw_memcpy

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = ir.PointerType(ir.IntType(8))
        target, source = (builder.inttoptr(address, place) for address in arguments[:2])
        raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build
