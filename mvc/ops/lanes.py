"""Sixteen float32 lanes as a numba type, so that kernels say which loads, stores and registers they mean.

LLVM's loop vectoriser has to prove that arrays do not overlap, and with many arrays per loop it gives up; with
explicit lanes nothing needs proving. `Lanes` is an LLVM <16 x float>: one register with AVX-512, two with AVX2,
four with SSE or NEON. bfloat16 tensors reach numba as uint16 arrays; `load` and `store` convert.

Offsets count elements from the start of a C-contiguous array. Nothing here checks bounds.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 16


class LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = LanesType()
F32, I32, _I16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)
VF, VI, _VH = (ir.VectorType(t, WIDTH) for t in (F32, I32, _I16))
FLAGS = ("contract", "nsz", "arcp")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, VF)


def constant(llvm_type, value):
    return ir.Constant(llvm_type, [ir.Constant(llvm_type.element, value)] * WIDTH)


def spread(builder, scalar):
    """All lanes equal to a float32 scalar."""
    first = builder.insert_element(ir.Constant(VF, ir.Undefined), scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, ir.Constant(VF, ir.Undefined), constant(VI, 0))


def pointer(context, builder, array_type, array, offset, element):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    address = builder.gep(data, [offset])
    return builder.bitcast(address, ir.VectorType(element, WIDTH).as_pointer())


@intrinsic
def load(typing_context, array, offset):
    """Lanes from array.flat[offset : offset + 16]; float32, or bfloat16 bits in uint16."""

    def codegen(context, builder, signature, args):
        if array.dtype == types.uint16:
            half = builder.load(pointer(context, builder, array, args[0], args[1], _I16), align=2)
            return builder.bitcast(builder.shl(builder.zext(half, VI), constant(VI, 16)), VF)
        return builder.load(pointer(context, builder, array, args[0], args[1], F32), align=4)

    return LANES(array, types.intp), codegen


@intrinsic
def store(typing_context, array, offset, value):
    """Write lanes to array.flat[offset : offset + 16]; bfloat16 rounds to nearest even."""

    def codegen(context, builder, signature, args):
        target, at, lanes = args
        if array.dtype == types.uint16:
            bits = builder.bitcast(lanes, VI)
            odd = builder.and_(builder.lshr(bits, constant(VI, 16)), constant(VI, 1))
            rounded = builder.add(bits, builder.add(odd, constant(VI, 0x7FFF)))
            half = builder.trunc(builder.lshr(rounded, constant(VI, 16)), _VH)
            builder.store(half, pointer(context, builder, array, target, at, _I16), align=2)
        else:
            builder.store(lanes, pointer(context, builder, array, target, at, F32), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, LANES), codegen


@intrinsic
def clear(typing_context, array, offset, count):
    """array.flat[offset : offset + count] = 0; the array is float32."""

    def codegen(context, builder, signature, args):
        start = builder.gep(cgutils.create_struct_proxy(array)(context, builder, args[0]).data, [args[1]])
        size = builder.mul(args[2], ir.Constant(args[2].type, 4))
        cgutils.memset(builder, start, size, 0)
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp), codegen


@intrinsic
def load_one(typing_context, array, offset):
    """All lanes equal to array.flat[offset]; the array is float32."""

    def codegen(context, builder, signature, args):
        data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
        return spread(builder, builder.load(builder.gep(data, [args[1]])))

    return LANES(array, types.intp), codegen


@intrinsic
def prefetch(typing_context, array, offset):
    """Ask for array.flat[offset] to come into the cache; a hint without any other effect."""

    def codegen(context, builder, signature, args):
        data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(I32, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, types.intp), codegen
