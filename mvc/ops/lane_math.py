"""Arithmetic of lanes: operators, exponentials and what follows from them.

A function here is `written`: its Python body runs when a kernel that calls it is compiled, and writes instructions into
that kernel. Nothing of it is typed, optimised or compiled by itself, which used to take longer than the kernels did.
Bodies compute with lanes and plain numbers; a kernel makes lanes of a number with `splat`.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable

from mvc.ops.lanes import FLAGS, LANES, VF, VI, WIDTH, constant, spread

LOG2_E = 1.4426950408889634
_SHIFT = 12582912.0  # 1.5 * 2^23: the last bits of x + _SHIFT are the whole number nearest to x


class Written:
    """Lanes while a kernel is written: operators write instructions. `bits` are int32 lanes, all others float32."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def like(self, value: ir.Value) -> Written:
        return Written(self.builder, value)

    def operand(self, other: Written | float) -> ir.Value:
        return other.value if isinstance(other, Written) else constant(self.value.type, other)

    def __add__(self, other: Written | float) -> Written:
        return self.like(self.builder.fadd(self.value, self.operand(other), flags=FLAGS))

    def __mul__(self, other: Written | float) -> Written:
        return self.like(self.builder.fmul(self.value, self.operand(other), flags=FLAGS))

    def __sub__(self, other: Written | float) -> Written:
        return self.like(self.builder.fsub(self.value, self.operand(other), flags=FLAGS))

    def __rsub__(self, other: float) -> Written:
        return self.like(self.builder.fsub(self.operand(other), self.value, flags=FLAGS))

    def __truediv__(self, other: Written | float) -> Written:
        return self.like(self.builder.fdiv(self.value, self.operand(other), flags=FLAGS))

    def __rtruediv__(self, other: float) -> Written:
        return self.like(self.builder.fdiv(self.operand(other), self.value, flags=FLAGS))

    __radd__, __rmul__ = __add__, __mul__

    def bits(self) -> Written:
        return self.like(self.builder.bitcast(self.value, VI))

    def numbers(self) -> Written:
        """The inverse of `bits`."""
        return self.like(self.builder.bitcast(self.value, VF))

    def plus(self, other: Written | int) -> Written:
        """Of bits."""
        return self.like(self.builder.add(self.value, self.operand(other)))

    def __lshift__(self, count: int) -> Written:
        return self.like(self.builder.shl(self.value, self.operand(count)))

    def __rshift__(self, count: int) -> Written:
        return self.like(self.builder.lshr(self.value, self.operand(count)))

    def function(self, name: str) -> Written:
        """LLVM's function of this name, of one argument."""
        declared = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(VF, [VF]), name)
        return self.like(self.builder.call(declared, [self.value]))


def _chosen(comparison: str, a: Written | float, b: Written | float, yes: Any, no: Any) -> Written:
    """Lane by lane: yes where `a comparison b`, else no, also where one of them is not a number."""
    like = next(x for x in (a, b) if isinstance(x, Written))
    condition = like.builder.fcmp_ordered(comparison, like.operand(a), like.operand(b))
    return like.like(like.builder.select(condition, like.operand(yes), like.operand(no)))


def _lower(key: Any, function: Callable[..., Written], arguments: int) -> None:
    @lower_builtin(key, *(LANES,) * arguments)
    def lower(context, builder, signature, args):
        return function(*(Written(builder, value) for value in args)).value


def written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let kernels call a function of lanes."""
    signature = inspect.signature(function)

    @type_callable(function)
    def typed(context):
        def typer(*given):
            return LANES if all(each is LANES for each in given) else None

        typer.__signature__ = signature  # type: ignore[attr-defined]
        return typer

    _lower(function, function, len(signature.parameters))
    return function


def _operator(symbol: Callable[..., Any]) -> None:
    @type_callable(symbol)
    def typed(context):
        return lambda a, b: LANES if a is LANES and b is LANES else None

    _lower(symbol, symbol, 2)


for _symbol in (operator.add, operator.sub, operator.mul, operator.truediv):
    _operator(_symbol)


def splat(value: float) -> Any:
    """In kernels: all lanes equal to a scalar."""
    raise TypeError("only kernels have lanes")


@type_callable(splat)
def _type_splat(context):
    return lambda value: LANES if isinstance(value, types.Number) else None


@lower_builtin(splat, types.Number)
def _lower_splat(context, builder, signature, args):
    scalar = context.cast(builder, args[0], signature.args[0], types.float32)
    return spread(builder, scalar)


@written
def nearest(x):
    """The nearest whole number, of two the even one."""
    return x.function(f"llvm.nearbyint.v{WIDTH}f32")


@written
def magnitude(x):
    return x.function(f"llvm.fabs.v{WIDTH}f32")


@written
def highest(a, b):
    """The larger one; b where either is not a number, as in x86 instructions."""
    return _chosen(">", a, b, a, b)


@written
def lowest(a, b):
    """The smaller one; b where either is not a number."""
    return _chosen("<", a, b, a, b)


@written
def where_positive(test, yes, no):
    """Lane by lane: yes where test > 0, else no."""
    return _chosen(">", test, 0.0, yes, no)


@written
def power_of_two(n):
    """2^n for whole-numbered lanes in -126 ... 127."""
    return (n.like(n.builder.fptosi(n.value, VI)).plus(127) << 23).numbers()


@written
def exponent(x):
    """floor(log2(x)) of positive normal lanes."""
    whole = (x.bits() >> 23).plus(-127)
    return whole.like(whole.builder.sitofp(whole.value, VF))


@written
def exp(x):
    """exp, relative error below 1e-6 for -87 ... 88, clamped outside."""
    x = lowest(highest(x, -87.0), 88.0)
    n = nearest(x * LOG2_E)
    r = x - n * 0.693359375 - n * -2.12194440e-4
    p = 1 / 120 + r * (1 / 720)
    p = 1 / 24 + r * p
    p = 1 / 6 + r * p
    p = 0.5 + r * p
    p = 1.0 + r * p
    p = 1.0 + r * p
    return p * power_of_two(n)


@written
def exp2_of_small(x):
    """2^x for x up to 126, relative error below 3e-7; x below -126 counts as -126."""
    x = highest(-126.0, x)
    shifted = x + _SHIFT
    r = x - (shifted - _SHIFT)
    q = r * r
    low = 1.0 + r * 6.931469440460205e-1
    middle = 2.4022120237350464e-1 + r * 5.550713092088699e-2
    high = 9.675541892647743e-3 + r * 1.3276472454890609e-3
    fraction = low + q * (middle + q * high)
    return fraction.bits().plus(shifted.bits() << 23).numbers()  # the whole part of x goes into the exponent


@written
def sigmoid(x):
    return 1.0 / (1.0 + exp2_of_small(lowest(126.0, -LOG2_E * x)))


@written
def falling_power_of_two(x):
    """2^-|x|, from which `softplus_base2` and `sigmoid_base2` follow."""
    return exp2_of_small(x - 2.0 * highest(x, 0.0))


@written
def softplus_base2(x, u):
    """log(1 + 2^x) = softplus(x log 2), relative error below 1e-6, from u = 2^-|x|."""
    q = u * u
    low = 1.0 + u * -4.999817907810211e-1
    low = low + q * (3.328406512737274e-1 + u * -2.4536865949630737e-1)
    high = 1.7847207188606262e-1 + u * -1.0902289301156998e-1
    high = high + q * (4.498662427067756e-2 + u * -8.778950199484825e-3)
    return 1 / LOG2_E * highest(x, 0.0) + u * (low + (q * q) * high)


@written
def sigmoid_base2(x, u):
    """1 / (1 + 2^-x), the derivative of softplus at x log 2, from u = 2^-|x|."""
    return where_positive(x, 1.0, u) / (1.0 + u)
