"""A fixed number of lanes side by side, which stay in registers, and what is done with all of them at once.

A loop over registers in a kernel's source has to be typed and unrolled; what is written here comes unrolled.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from mvc.ops.lanes import F32, FLAGS, I32, LANES, VF, VI, WIDTH, pointer, spread


class RegistersType(types.Type):
    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Registers({count})")


@register_model(RegistersType)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(VF, fe_type.count).as_pointer())


@intrinsic
def registers(typing_context, each):
    """As many zero lanes as the tuple `each` is long, to be read with `get` and written with `put`.

    The length of a tuple is known to the compiler: loops over it unroll, and the lanes live in registers. A
    kernel calls this in its own body, never in a function that returns them.
    """

    def codegen(context, builder, signature, args):
        kind = ir.ArrayType(VF, len(each))
        lanes = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, None), lanes)
        return lanes

    return RegistersType(len(each))(each), codegen


def _register(builder, lanes, index):
    """Address of a register; the index is a number or a value of LLVM."""
    index = ir.Constant(I32, index) if isinstance(index, int) else index
    return builder.gep(lanes, [ir.Constant(I32, 0), index])


def _get(builder, lanes, index):
    return builder.load(_register(builder, lanes, index))


@intrinsic
def get(typing_context, lanes, index):
    def codegen(context, builder, signature, args):
        return _get(builder, *args)

    return LANES(lanes, types.intp), codegen


@intrinsic
def put(typing_context, lanes, index, value):
    def codegen(context, builder, signature, args):
        builder.store(args[2], _register(builder, *args[:2]))
        return context.get_dummy_value()

    return types.none(lanes, types.intp, LANES), codegen


@intrinsic
def load_all(typing_context, lanes, array, offset, stride, factor):
    """Register i of all = load(array, offset + i * stride) * factor; the array is float32."""

    def codegen(context, builder, signature, args):
        target, source, at, step, scale = args
        scale = spread(builder, scale)
        for i in range(lanes.count):
            value = builder.load(pointer(context, builder, array, source, at, F32), align=4)
            builder.store(builder.fmul(value, scale, flags=FLAGS), _register(builder, target, i))
            at = builder.add(at, step)
        return context.get_dummy_value()

    return types.none(lanes, array, types.intp, types.intp, types.float32), codegen


@intrinsic
def store_all(typing_context, lanes, array, offset, stride):
    """store(array, offset + i * stride, register i) of all; the array is float32."""

    def codegen(context, builder, signature, args):
        source, target, at, step = args
        for i in range(lanes.count):
            value = _get(builder, source, i)
            builder.store(value, pointer(context, builder, array, target, at, F32), align=4)
            at = builder.add(at, step)
        return context.get_dummy_value()

    return types.none(lanes, array, types.intp, types.intp), codegen


@intrinsic
def fill_all(typing_context, lanes, value):
    """All registers = value."""

    def codegen(context, builder, signature, args):
        for i in range(lanes.count):
            builder.store(args[1], _register(builder, args[0], i))
        return context.get_dummy_value()

    return types.none(lanes, LANES), codegen


def _window(context, builder, kind, size, args):
    """The K * K vectors of a window in a ring of K rows: array.flat[(slot + r) % K * stride + offset + 16 s]."""
    array, slot, stride, offset = args
    for r in range(size):
        row = builder.urem(builder.add(slot, ir.Constant(slot.type, r)), ir.Constant(slot.type, size))
        line = builder.add(builder.mul(row, stride), offset)
        for s in range(size):
            at = builder.add(line, ir.Constant(line.type, s * WIDTH))
            yield builder.load(pointer(context, builder, kind, array, at, F32), align=4)


@intrinsic
def convolve(typing_context, lanes, array, slot, stride, offset, start, sums, count):
    """sums.flat[16 j :] = start plus the products of K * K registers with the window at offset + 16 j, for j < count.

    The window's first row is in `slot` of the ring (see `_window`); both arrays are float32.
    """

    def codegen(context, builder, signature, args):
        kernel, ring, slot, stride, offset, start, target, count = args
        with cgutils.for_range(builder, count) as loop:
            along = builder.mul(loop.index, ir.Constant(loop.index.type, WIDTH))
            first, acc = builder.add(offset, along), start
            window = _window(context, builder, array, math.isqrt(lanes.count), (ring, slot, stride, first))
            for i, value in enumerate(window):
                acc = builder.fadd(acc, builder.fmul(value, _get(builder, kernel, i), flags=FLAGS), flags=FLAGS)
            builder.store(acc, pointer(context, builder, sums, target, along, F32), align=4)
        return context.get_dummy_value()

    number = types.intp
    return types.none(lanes, array, number, number, number, LANES, sums, number), codegen


@intrinsic
def put_window(typing_context, lanes, factor, array, slot, stride, offset):
    """Add the products of `factor` with a window to K * K registers."""

    def codegen(context, builder, signature, args):
        for i, value in enumerate(_window(context, builder, array, math.isqrt(lanes.count), args[2:])):
            product = builder.fmul(value, args[1], flags=FLAGS)
            added = builder.fadd(_get(builder, args[0], i), product, flags=FLAGS)
            builder.store(added, _register(builder, args[0], i))
        return context.get_dummy_value()

    return types.none(lanes, LANES, array, types.intp, types.intp, types.intp), codegen


@intrinsic
def add_weighted(typing_context, acc, lanes, array, offset):
    """acc + sum_i array.flat[offset + i] * register i of all."""

    def codegen(context, builder, signature, args):
        acc, source, given, at = args
        data = cgutils.create_struct_proxy(array)(context, builder, given).data
        for i in range(lanes.count):
            scalar = builder.load(builder.gep(data, [builder.add(at, ir.Constant(at.type, i))]))
            product = builder.fmul(spread(builder, scalar), _get(builder, source, i), flags=FLAGS)
            acc = builder.fadd(acc, product, flags=FLAGS)
        return acc

    return LANES(LANES, lanes, array, types.intp), codegen


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
        masks = [ir.Constant(VI, even), ir.Constant(VI, [lane + piece for lane in even])]
        pairs = [(first, min(first + 1, len(vectors) - 1)) for first in range(0, len(vectors), 2)]
        halves = [[builder.shuffle_vector(vectors[a], vectors[b], mask) for mask in masks] for a, b in pairs]
        owners = [[(owners[a] + owners[b])[lane] for lane in even] for a, b in pairs]
        vectors = [builder.fadd(*half, flags=FLAGS) for half in halves]
    return vectors[0], owners[0]


@intrinsic
def total(typing_context, value):
    """Sum of the lanes, in no particular order."""

    def codegen(context, builder, signature, args):
        return builder.extract_element(_sums(builder, args)[0], ir.Constant(I32, 0))

    return types.float32(LANES), codegen


@intrinsic
def add_totals(typing_context, array, offset, lanes):
    """array.flat[offset + i] += the sum of lanes i of the registers; the array is float32."""

    def add(context, builder, args, first, count):
        indices = [[ir.Constant(I32, 0), ir.Constant(I32, first + i)] for i in range(count)]
        summed, owners = _sums(builder, [builder.load(builder.gep(args[2], index)) for index in indices])
        order = ir.Constant(ir.VectorType(I32, count), [owners.index(i) for i in range(count)])
        fresh = builder.shuffle_vector(summed, ir.Constant(VF, ir.Undefined), order)
        data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
        at = builder.add(args[1], ir.Constant(args[1].type, first))
        target = builder.bitcast(builder.gep(data, [at]), ir.VectorType(F32, count).as_pointer())
        builder.store(builder.fadd(builder.load(target, align=4), fresh, flags=FLAGS), target, align=4)

    def codegen(context, builder, signature, args):
        for first in range(0, lanes.count, WIDTH):
            add(context, builder, args, first, min(WIDTH, lanes.count - first))
        return context.get_dummy_value()

    return types.none(array, types.intp, lanes), codegen
