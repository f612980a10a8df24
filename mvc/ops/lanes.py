"""Sixteen float32 lanes as a numba type, so that kernels say which loads, stores and registers they mean.

LLVM's loop vectoriser has to prove that arrays do not overlap, and with many arrays per loop it gives up; with
explicit lanes nothing needs proving. `Lanes` is an LLVM <16 x float>: one register with AVX-512, two with AVX2,
four with SSE or NEON. bfloat16 tensors reach numba as uint16 arrays; `load` and `store` convert.

Offsets count elements from the start of a C-contiguous array. Nothing here checks bounds.
"""

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 16
JIT = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "nsz", "arcp", "nnan", "ninf"},
    "error_model": "numpy",
}
INLINE = {key: value for key, value in JIT.items() if key != "cache"}


class LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = LanesType()
_F32, _I32, _I16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)
_VF, _VI, _VH = (ir.VectorType(t, WIDTH) for t in (_F32, _I32, _I16))


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VF)


def _constant(llvm_type, value):
    return ir.Constant(llvm_type, [ir.Constant(llvm_type.element, value)] * WIDTH)


def _pointer(context, builder, array_type, array, offset, element):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    address = builder.gep(data, [offset])
    return builder.bitcast(address, ir.VectorType(element, WIDTH).as_pointer())


@intrinsic
def load(typing_context, array, offset):
    """Lanes from array.flat[offset : offset + 16]; float32, or bfloat16 bits in uint16."""

    def codegen(context, builder, signature, args):
        if array.dtype == types.uint16:
            half = builder.load(_pointer(context, builder, array, args[0], args[1], _I16), align=2)
            return builder.bitcast(builder.shl(builder.zext(half, _VI), _constant(_VI, 16)), _VF)
        return builder.load(_pointer(context, builder, array, args[0], args[1], _F32), align=4)

    return LANES(array, types.intp), codegen


@intrinsic
def store(typing_context, array, offset, value):
    """Write lanes to array.flat[offset : offset + 16]; bfloat16 rounds to nearest even."""

    def codegen(context, builder, signature, args):
        target, at, lanes = args
        if array.dtype == types.uint16:
            bits = builder.bitcast(lanes, _VI)
            odd = builder.and_(builder.lshr(bits, _constant(_VI, 16)), _constant(_VI, 1))
            rounded = builder.add(bits, builder.add(odd, _constant(_VI, 0x7FFF)))
            half = builder.trunc(builder.lshr(rounded, _constant(_VI, 16)), _VH)
            builder.store(half, _pointer(context, builder, array, target, at, _I16), align=2)
        else:
            builder.store(lanes, _pointer(context, builder, array, target, at, _F32), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, LANES), codegen


@intrinsic
def _splat(typing_context, value):
    def codegen(context, builder, signature, args):
        first = builder.insert_element(ir.Constant(_VF, ir.Undefined), args[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, ir.Constant(_VF, ir.Undefined), ir.Constant(_VI, [0] * WIDTH))

    return LANES(types.float32), codegen


@njit(**INLINE)
def splat(value):
    """All lanes equal to a scalar."""
    return _splat(np.float32(value))


@intrinsic
def total(typing_context, value):
    """Sum of the lanes, in no particular order."""

    def codegen(context, builder, signature, args):
        lanes, width = args[0], WIDTH
        while width > 1:
            width //= 2
            mask = ir.Constant(_VI, [(i + width) % WIDTH for i in range(WIDTH)])
            lanes = builder.fadd(lanes, builder.shuffle_vector(lanes, lanes, mask))
        return builder.extract_element(lanes, ir.Constant(_I32, 0))

    return types.float32(LANES), codegen


def _binary(instruction):
    @intrinsic
    def function(typing_context, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=("contract", "nsz", "arcp"))

        return LANES(LANES, LANES), codegen

    return function


def _call(name, arguments):
    signature_types = [LANES] * arguments

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(_VF, [_VF] * arguments)
        function = cgutils.get_or_insert_function(builder.module, function_type, f"{name}.v{WIDTH}f32")
        return builder.call(function, args)

    if arguments == 1:

        @intrinsic
        def unary(typing_context, a):
            return LANES(*signature_types), codegen

        return unary

    @intrinsic
    def binary(typing_context, a, b):
        return LANES(*signature_types), codegen

    return binary


def _operator(symbol, function):
    @overload(symbol)
    def implementation(a, b):
        if a is LANES and b is LANES:
            return lambda a, b: function(a, b)
        return None


_operator(operator.add, _binary("fadd"))
_operator(operator.sub, _binary("fsub"))
_operator(operator.mul, _binary("fmul"))
_operator(operator.truediv, _binary("fdiv"))
highest, lowest = _call("llvm.maxnum", 2), _call("llvm.minnum", 2)
nearest, magnitude = _call("llvm.nearbyint", 1), _call("llvm.fabs", 1)


@intrinsic
def power_of_two(typing_context, value):
    """2^value for whole-numbered lanes in -126 ... 127."""

    def codegen(context, builder, signature, args):
        exponent = builder.add(builder.fptosi(args[0], _VI), _constant(_VI, 127))
        return builder.bitcast(builder.shl(exponent, _constant(_VI, 23)), _VF)

    return LANES(LANES), codegen


@intrinsic
def where_positive(typing_context, test, yes, no):
    """Lane by lane: yes where test > 0, else no."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], _constant(_VF, 0.0)), args[1], args[2])

    return LANES(LANES, LANES, LANES), codegen


@njit(**INLINE)
def exp(x):
    """exp, relative error below 1e-6 for -87 ... 88, clamped outside."""
    x = lowest(highest(x, splat(-87.0)), splat(88.0))
    n = nearest(x * splat(1.4426950408889634))
    r = x - n * splat(0.693359375) - n * splat(-2.12194440e-4)
    p = splat(1 / 120) + r * splat(1 / 720)
    p = splat(1 / 24) + r * p
    p = splat(1 / 6) + r * p
    p = splat(0.5) + r * p
    p = splat(1.0) + r * p
    p = splat(1.0) + r * p
    return p * power_of_two(n)


@njit(**INLINE)
def sigmoid(x):
    return splat(1.0) / (splat(1.0) + exp(splat(0.0) - x))


@njit(**INLINE)
def softplus_and_sigmoid(x):
    """log(1 + exp(x)) as max(x, 0) + 2 atanh(u / (2 + u)) with u = exp(-|x|), and its derivative."""
    u = exp(splat(0.0) - magnitude(x))
    s = u / (splat(2.0) + u)
    q = s * s
    p = splat(1 / 9) + q * splat(1 / 11)
    p = splat(1 / 7) + q * p
    p = splat(1 / 5) + q * p
    p = splat(1 / 3) + q * p
    p = splat(1.0) + q * p
    inverse = splat(1.0) / (splat(1.0) + u)
    slope = where_positive(x, inverse, u * inverse)
    return highest(x, splat(0.0)) + splat(2.0) * s * p, slope
