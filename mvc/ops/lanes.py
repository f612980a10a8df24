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
INLINE = {key: value for key, value in JIT.items() if key != "cache"} | {"forceinline": True}


class LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = LanesType()
_F32, _I32, _I16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)
_VF, _VI, _VH = (ir.VectorType(t, WIDTH) for t in (_F32, _I32, _I16))
_FLAGS = ("contract", "nsz", "arcp")


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
def prefetch(typing_context, array, offset):
    """Ask for array.flat[offset] to come into the cache; a hint without any other effect."""

    def codegen(context, builder, signature, args):
        data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(_I32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, types.intp), codegen


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


def _sums(builder, vectors):
    """One vector with the sums of up to 16 vectors, and for each lane whose sum stands in it.

    Vectors are merged in pairs: half of the pieces of each added to the other half, side by side in one vector.
    Pieces are halves, quarters, pairs and single lanes, so that every shuffle is one cheap instruction.
    """
    owners = [[index] * WIDTH for index in range(len(vectors))]
    for piece in (8, 4, 2, 1):
        stretch = WIDTH if piece >= 4 else 4  # pieces of 2 and 1 stay in their 128-bit part
        even = [
            side * WIDTH + base + 2 * piece * pair + lane
            for base in range(0, WIDTH, stretch)
            for side in (0, 1)
            for pair in range(stretch // (2 * piece))
            for lane in range(piece)
        ]
        masks = [ir.Constant(_VI, even), ir.Constant(_VI, [lane + piece for lane in even])]
        pairs = [(first, min(first + 1, len(vectors) - 1)) for first in range(0, len(vectors), 2)]
        halves = [[builder.shuffle_vector(vectors[a], vectors[b], mask) for mask in masks] for a, b in pairs]
        owners = [[(owners[a] + owners[b])[lane] for lane in even] for a, b in pairs]
        vectors = [builder.fadd(*half, flags=_FLAGS) for half in halves]
    return vectors[0], owners[0]


@intrinsic
def total(typing_context, value):
    """Sum of the lanes, in no particular order."""

    def codegen(context, builder, signature, args):
        return builder.extract_element(_sums(builder, args)[0], ir.Constant(_I32, 0))

    return types.float32(LANES), codegen


def _binary(instruction):
    @intrinsic
    def function(typing_context, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, instruction)(*args, flags=_FLAGS)

        return LANES(LANES, LANES), codegen

    return function


def _call(name):
    @intrinsic
    def function(typing_context, a):
        def codegen(context, builder, signature, args):
            function_type = ir.FunctionType(_VF, [_VF])
            return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)

        return LANES(LANES), codegen

    return function


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
nearest, magnitude = _call(f"llvm.nearbyint.v{WIDTH}f32"), _call(f"llvm.fabs.v{WIDTH}f32")


def _select(comparison):
    @intrinsic
    def function(typing_context, a, b):
        def codegen(context, builder, signature, args):
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return LANES(LANES, LANES), codegen

    return function


highest, lowest = _select(">"), _select("<")  # b where either is not a number, as in x86 instructions


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


@intrinsic
def _power_of_two_times(typing_context, value, shifted):
    """value * 2^n, where n was added to _SHIFT to give `shifted`: n goes into the exponent bits."""

    def codegen(context, builder, signature, args):
        value, shifted = (builder.bitcast(lanes, _VI) for lanes in args)
        return builder.bitcast(builder.add(value, builder.shl(shifted, _constant(_VI, 23))), _VF)

    return LANES(LANES, LANES), codegen


LOG2_E = 1.4426950408889634
_SHIFT = 12582912.0  # 1.5 * 2^23: the last bits of x + _SHIFT are the whole number nearest to x


@njit(**INLINE)
def exp2_of_small(x):
    """2^x for x up to 126, relative error below 3e-7; x below -126 counts as -126."""
    x = highest(splat(-126.0), x)
    shifted = x + splat(_SHIFT)
    r = x - (shifted - splat(_SHIFT))
    q = r * r
    low = splat(1.0) + r * splat(6.931469440460205e-1)
    middle = splat(2.4022120237350464e-1) + r * splat(5.550713092088699e-2)
    high = splat(9.675541892647743e-3) + r * splat(1.3276472454890609e-3)
    return _power_of_two_times(low + q * (middle + q * high), shifted)


@njit(**INLINE)
def sigmoid(x):
    return splat(1.0) / (splat(1.0) + exp2_of_small(lowest(splat(126.0), splat(-LOG2_E) * x)))


@njit(**INLINE)
def softplus_base2(x):
    """log(1 + 2^x) = softplus(x log 2), relative error below 1e-6; and u = 2^-|x| for `sigmoid_base2`."""
    positive = highest(x, splat(0.0))
    u = exp2_of_small(x - splat(2.0) * positive)
    q = u * u
    low = splat(1.0) + u * splat(-4.999817907810211e-1)
    low = low + q * (splat(3.328406512737274e-1) + u * splat(-2.4536865949630737e-1))
    high = splat(1.7847207188606262e-1) + u * splat(-1.0902289301156998e-1)
    high = high + q * (splat(4.498662427067756e-2) + u * splat(-8.778950199484825e-3))
    return splat(1 / LOG2_E) * positive + u * (low + (q * q) * high), u


@njit(**INLINE)
def sigmoid_base2(x, u):
    """1 / (1 + 2^-x), the derivative of softplus at x log 2, from u = 2^-|x|."""
    return where_positive(x, splat(1.0), u) / (splat(1.0) + u)


class RegistersType(types.Type):
    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Registers({count})")


@register_model(RegistersType)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(_VF, fe_type.count).as_pointer())


@intrinsic
def registers(typing_context, each):
    """As many zero lanes as the tuple `each` is long, to be read with `get` and written with `put`.

    The length of a tuple is known to the compiler: loops over it unroll, and the lanes live in registers. A
    kernel calls this in its own body, never in a function that returns them.
    """

    def codegen(context, builder, signature, args):
        kind = ir.ArrayType(_VF, len(each))
        lanes = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, None), lanes)
        return lanes

    return RegistersType(len(each))(each), codegen


@intrinsic
def get(typing_context, lanes, index):
    def codegen(context, builder, signature, args):
        return builder.load(builder.gep(args[0], [ir.Constant(_I32, 0), args[1]]))

    return LANES(lanes, types.intp), codegen


@intrinsic
def put(typing_context, lanes, index, value):
    def codegen(context, builder, signature, args):
        builder.store(args[2], builder.gep(args[0], [ir.Constant(_I32, 0), args[1]]))
        return context.get_dummy_value()

    return types.none(lanes, types.intp, LANES), codegen


@intrinsic
def add_totals(typing_context, array, offset, lanes):
    """array.flat[offset + i] += the sum of lanes i of the registers; the array is float32."""

    def add(context, builder, args, first, count):
        indices = [[ir.Constant(_I32, 0), ir.Constant(_I32, first + i)] for i in range(count)]
        summed, owners = _sums(builder, [builder.load(builder.gep(args[2], index)) for index in indices])
        order = ir.Constant(ir.VectorType(_I32, count), [owners.index(i) for i in range(count)])
        fresh = builder.shuffle_vector(summed, ir.Constant(_VF, ir.Undefined), order)
        data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
        at = builder.add(args[1], ir.Constant(args[1].type, first))
        target = builder.bitcast(builder.gep(data, [at]), ir.VectorType(_F32, count).as_pointer())
        builder.store(builder.fadd(builder.load(target, align=4), fresh, flags=_FLAGS), target, align=4)

    def codegen(context, builder, signature, args):
        for first in range(0, lanes.count, WIDTH):
            add(context, builder, args, first, min(WIDTH, lanes.count - first))
        return context.get_dummy_value()

    return types.none(array, types.intp, lanes), codegen
