"""Bytes, eight at a time: what the kernels of this package read, compare and copy with.

A word is the number that eight bytes make, the first one lowest; it may begin anywhere. Every array has `SLACK` bytes
behind its last one that counts, so that a word may reach beyond it: what it brings from there is masked off, or
written over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from runtime.kernels import njit

SLACK: Final = 8
_WORD: Final = ir.IntType(64)
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHEST: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = _ONES * np.uint64(ord('"'))
_EIGHT: Final = np.uint64(8)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """To machine code at the first call (seconds), and kept in the user's cache."""
    return cast(FunctionT, njit(cache=True, nogil=True)(function))


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _WORD.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def word(typing: Any, data: Any, at: Any) -> Any:
    """The word that begins at a place."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], *arguments), align=1)

    return types.uint64(data, types.int64), build


@intrinsic  # type: ignore[untyped-decorator]
def _put(typing: Any, out: Any, at: Any, value: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *place, value = arguments
        builder.store(value, _place(context, builder, signature.args[0], *place), align=1)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.uint64), build


@intrinsic  # type: ignore[untyped-decorator]
def _zeros(typing: Any, value: Any) -> Any:
    """How many of the lowest bits are zero."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), build


@compiled
def _beginning(count: int) -> Any:
    """The mask of a word's first bytes, fewer than eight."""
    return (np.uint64(1) << (_EIGHT * np.uint64(count))) - np.uint64(1)


@compiled
def copy(source: Any, begin: int, end: int, out: Any, to: int) -> int:
    """Copy bytes; the place behind them. Up to seven more behind that are written too."""
    for step in range(0, end - begin, 8):
        _put(out, to + step, word(source, begin + step))
    return to + end - begin


@compiled
def same(data: Any, at: int, other: Any, begin: int, count: int) -> bool:
    """Whether two stretches of `count` bytes are equal."""
    step = 0
    while step + 8 <= count:
        if word(data, at + step) != word(other, begin + step):
            return False
        step += 8
    differ = word(data, at + step) ^ word(other, begin + step)
    return bool(differ & _beginning(count - step) == 0)


@compiled
def quote(data: Any, at: int) -> int:
    """The place of the next quote; there must be one."""
    while True:
        # The lowest byte that is zero is the lowest whose highest bit is set here.
        differ = word(data, at) ^ _QUOTES
        found = (differ - _ONES) & ~differ & _HIGHEST
        if found:
            return int(at + (_zeros(found) >> 3))
        at += 8


@compiled
def hash_of(source: int, data: Any, begin: int, end: int) -> Any:
    """The hash (64 bits) under which a value of a source is found."""
    found = np.uint64(source) + np.uint64(end - begin) * _SPREAD
    at = begin
    while at + 8 <= end:
        found = (found ^ word(data, at)) * _SPREAD
        found ^= found >> _HALF
        at += 8
    found = (found ^ (word(data, at) & _beginning(end - at))) * _SPREAD
    return found ^ (found >> _HALF)
