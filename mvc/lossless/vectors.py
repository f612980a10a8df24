"""Thirty-two counters at a time: the two steps of an adaptive symbol, as vector code on every processor.

The loops would do, but the compiler unrolls them one number at a time, which is ten times slower. A row is 32 int16:
`row[i]` is where symbol i starts, in 0 .. 32767; symbol 31 ends at 32768.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["SYMBOLS", "find", "learn"]

SYMBOLS = 32
_SHORT, _INT, _LONG = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_ROW = ir.VectorType(_SHORT, SYMBOLS)


def _constant(values: Any) -> Any:
    return ir.Constant(_ROW, [ir.Constant(_SHORT, int(value)) for value in values])


_ONES, _LOWEST = _constant([1] * SYMBOLS), _constant(range(SYMBOLS))
_HIGHEST = _constant(range((1 << 15) - SYMBOLS, 1 << 15))


def _row(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Pointer to the row that starts at an index of a flat array of int16."""
    start = builder.gep(context.make_array(kind)(context, builder, array).data, [at])
    return builder.bitcast(start, _ROW.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    row = builder.load(pointer)
    row.align = 2
    return row


def _everywhere(builder: Any, value: Any) -> Any:
    """A row of one number, given as int64."""
    none = ir.Constant(_ROW, ir.Undefined)
    first = builder.insert_element(none, builder.trunc(value, _SHORT), ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(_INT, SYMBOLS), [0] * SYMBOLS))


@intrinsic
def find(typing: Any, rows: Any, one: Any, two: Any, place: Any) -> Any:
    """find(rows, one, two, place): how many i have (rows[one + i] + rows[two + i]) >> 1 <= place."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = (_load(builder, _row(context, builder, signature.args[0], args[0], at)) for at in args[1:3])
        below = builder.icmp_signed("<=", builder.lshr(builder.add(a, b), _ONES), _everywhere(builder, args[3]))
        return builder.zext(builder.ctpop(builder.bitcast(below, _INT)), _LONG)

    return types.int64(rows, types.int64, types.int64, types.int64), generate


@intrinsic
def learn(typing: Any, rows: Any, at: Any, symbol: Any, shift: Any) -> Any:
    """learn(rows, at, symbol, shift): starts up to the symbol's move 2^-shift towards i, the others to 32736 + i."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _row(context, builder, signature.args[0], args[0], args[1])
        row = _load(builder, pointer)
        above = builder.icmp_signed(">", _LOWEST, _everywhere(builder, args[2]))
        away = builder.sub(builder.select(above, _HIGHEST, _LOWEST), row)
        row = builder.add(row, builder.ashr(away, _everywhere(builder, args[3])))
        builder.store(row, pointer).align = 2
        return context.get_dummy_value()

    return types.void(rows, types.int64, types.int64, types.int64), generate
