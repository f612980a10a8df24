"""Many numbers at a time, as vector code on every processor: an adaptive symbol, and a shelf of keys.

The loops would do, but the compiler unrolls them one number at a time, which is ten times slower. A row is 32 int16:
`row[i]` is where symbol i starts, in 0 .. 32767; symbol 31 ends at 32768. A shelf is 8 int64, keys of pixels or -1;
`codes` is int32 [8], of the pixels on a shelf.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["NONE", "SYMBOLS", "WAYS", "find", "learn", "least", "measure", "order", "to_front"]

SYMBOLS, WAYS = 32, 8
NONE = (1 << 31) - 1
"""Code of a pixel that is not looked at."""
_SHORT, _INT, _LONG = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_ROW, _SHELF, _CODES = ir.VectorType(_SHORT, SYMBOLS), ir.VectorType(_LONG, WAYS), ir.VectorType(_INT, WAYS)
_ZERO = ir.Constant(_LONG, 0)


def _constant(values: Any) -> Any:
    return ir.Constant(_ROW, [ir.Constant(_SHORT, int(value)) for value in values])


_ONES, _LOWEST = _constant([1] * SYMBOLS), _constant(range(SYMBOLS))
_HIGHEST = _constant(range((1 << 15) - SYMBOLS, 1 << 15))


def _row(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Any = _ROW) -> Any:
    """Pointer to the row, or another vector, that starts at an index of a flat array."""
    start = builder.gep(context.make_array(kind)(context, builder, array).data, [at])
    return builder.bitcast(start, vector.as_pointer())


def _load(builder: Any, pointer: Any, align: int = 2) -> Any:
    row = builder.load(pointer)
    row.align = align
    return row


def _everywhere(builder: Any, value: Any, kind: Any = _ROW) -> Any:
    """A row, or another vector, of one number, given as int64."""
    none = ir.Constant(kind, ir.Undefined)
    value = value if kind.element == _LONG else builder.trunc(value, kind.element)
    first = builder.insert_element(none, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(_INT, kind.count), [0] * kind.count))


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


def _size(builder: Any, values: Any) -> Any:
    """The absolute values of a vector."""
    minus = builder.neg(values)
    return builder.select(builder.icmp_signed(">", values, minus), values, minus)


def _less(builder: Any, one: Any, two: Any) -> Any:
    return builder.select(builder.icmp_signed("<", one, two), one, two)


@intrinsic
def measure(typing: Any, codes: Any, held: Any, at: Any, shift: Any, mask: Any, like: Any, off: Any) -> Any:
    """measure(codes, held, at, shift, mask, like, off): add how far a sample of the keys at held[at] is from `like`.

    codes[i] += min(|d|, |d - off|), d = (held[at + i] >> shift & mask) - like.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        pointer = _row(context, builder, kinds[0], args[0], _ZERO, _CODES)
        keys = _load(builder, _row(context, builder, kinds[1], args[1], args[2], _SHELF), 8)
        values = builder.trunc(builder.lshr(keys, _everywhere(builder, args[3], _SHELF)), _CODES)
        values = builder.and_(values, _everywhere(builder, args[4], _CODES))
        apart = builder.sub(values, _everywhere(builder, args[5], _CODES))
        beside = builder.sub(apart, _everywhere(builder, args[6], _CODES))
        nearer = _less(builder, _size(builder, apart), _size(builder, beside))
        builder.store(builder.add(_load(builder, pointer, 4), nearer), pointer).align = 4
        return context.get_dummy_value()

    numbers = [types.int64] * 5
    return types.void(codes, held, *numbers), generate


@intrinsic
def order(typing: Any, codes: Any, held: Any, at: Any, mask: Any, first: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """order(codes, held, at, mask, first, a, b, c, d): the codes of keys at held[at] become ((code + 1) >> 1) * 8 + i.

    Those of keys that are -1, or a, b, c or d, or have another first sample (their bits in `mask`), become NONE.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        pointer = _row(context, builder, kinds[0], args[0], _ZERO, _CODES)
        keys = _load(builder, _row(context, builder, kinds[1], args[1], args[2], _SHELF), 8)
        firsts = builder.and_(keys, _everywhere(builder, args[3], _SHELF))
        there = builder.icmp_signed("==", firsts, _everywhere(builder, args[4], _SHELF))
        there = builder.and_(there, builder.icmp_signed(">=", keys, ir.Constant(_SHELF, [0] * WAYS)))
        for other in args[5:]:
            there = builder.and_(there, builder.icmp_signed("!=", keys, _everywhere(builder, other, _SHELF)))
        one, three = ir.Constant(_CODES, [1] * WAYS), ir.Constant(_CODES, [3] * WAYS)
        codes = builder.shl(builder.lshr(builder.add(_load(builder, pointer, 4), one), one), three)
        codes = builder.or_(codes, ir.Constant(_CODES, list(range(WAYS))))
        codes = builder.select(there, codes, ir.Constant(_CODES, [NONE] * WAYS))
        builder.store(codes, pointer).align = 4
        return context.get_dummy_value()

    numbers = [types.int64] * 7
    return types.void(codes, held, *numbers), generate


@intrinsic
def least(typing: Any, codes: Any, above: Any) -> Any:
    """least(codes, above): the least code above a number, or NONE."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        codes = _load(builder, _row(context, builder, signature.args[0], args[0], _ZERO, _CODES), 4)
        left = builder.icmp_signed(">", codes, _everywhere(builder, args[1], _CODES))
        codes = builder.select(left, codes, ir.Constant(_CODES, [NONE] * WAYS))
        for half in (4, 2, 1):
            places = [(i + half) % WAYS for i in range(WAYS)]
            turned = builder.shuffle_vector(codes, codes, ir.Constant(_CODES, places))
            codes = _less(builder, codes, turned)
        return builder.sext(builder.extract_element(codes, ir.Constant(_INT, 0)), _LONG)

    return types.int64(codes, types.int64), generate


@intrinsic
def to_front(typing: Any, held: Any, at: Any, key: Any) -> Any:
    """to_front(held, at, key): a key moves to the front of the shelf at held[at], or is put there for the last one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _row(context, builder, signature.args[0], args[0], args[1], _SHELF)
        keys, key = _load(builder, pointer, 8), _everywhere(builder, args[2], _SHELF)
        byte = ir.IntType(8)
        found = builder.bitcast(builder.icmp_signed("==", keys, key), byte)
        moved = builder.xor(found, builder.sub(found, ir.Constant(byte, 1)))  # up to the lowest bit that is set
        behind = builder.shuffle_vector(key, keys, ir.Constant(_CODES, [0, *range(WAYS, 2 * WAYS - 1)]))
        chosen = builder.bitcast(moved, ir.VectorType(ir.IntType(1), WAYS))
        builder.store(builder.select(chosen, behind, keys), pointer).align = 8
        return context.get_dummy_value()

    return types.void(held, types.int64, types.int64), generate
