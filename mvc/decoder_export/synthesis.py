"""The synthesis of mambavc-lite (bitstream_spec.md, section 6.2, steps 1 to 8) as ONNX operators, for any size.

Every step is an operator of the default domain. The selective scan is a recurrence over all positions, row by row; here
it is two short ones: along a row, in all rows at once, and then from row to row, which says what each row begins with.
With a[t] the decay and b[t] what is added at a position,

    local[r, t] = a[r, t] local[r, t-1] + b[r, t]        decay[r, t] = a[r, t] decay[r, t-1]
    before[r+1] = decay[r, last] before[r] + local[r, last]
    h[r, t] = local[r, t] + decay[r, t] before[r]

Nothing is divided by, and no decay exceeds 1, so it is as stable as the recurrence itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvc.blocks.layers import QualityGain
from mvc.blocks.lite import GroupedScan
from mvc.decoder_export.graph import Graph
from mvc.exact.fixed import COARSE
from mvc.models.lite import PATCH
from mvc.ops.norm_numba import EPSILON
from mvc.ops.orders import ORDERS
from mvc.quality import INDICES

LATENT, QUALITY, PICTURE = "y_hat", "quality_index", "picture"
UNITS = COARSE.one  # to 1 of y_hat: section 5.2


def values(tensor: Tensor) -> np.ndarray:
    """float32."""
    array: np.ndarray = tensor.detach().float().numpy()
    return array


def linear(g: Graph, x: str, weight: Tensor, bias: Tensor | None, name: str) -> str:
    """x [..., I] -> [..., O], with weight [O, I]."""
    y = g.op("MatMul", x, g.weight(values(weight).T, f"{name}.weight"))
    return y if bias is None else g.op("Add", y, g.weight(values(bias), f"{name}.bias"))


def gained(g: Graph, x: str, gain: QualityGain, name: str) -> str:
    """x [H, W, C] times the gains of the quality index."""
    table = values(gain.gains(torch.arange(INDICES)))
    return g.op("Mul", x, g.op("Gather", g.constant(table, name), QUALITY, axis=0))


def shuffled(g: Graph, x: str, factor: int, channels: int, height: str, width: str) -> str:
    """[H, W, f * f * C] -> [f * H, f * W, C]; `height` and `width` are those of x, int64 [1]."""
    x = g.op("Transpose", g.reshape(x, 0, 0, factor, factor, channels), perm=[0, 2, 1, 3, 4])  # [H, f, W, f, C]
    many = g.constant(np.array([factor], np.int64))
    return g.reshape(x, g.op("Mul", height, many), g.op("Mul", width, many), channels)


def normalised(g: Graph, x: str, channels: int) -> str:
    """(x - mean) / sqrt(variance + 10^-5) over the channels."""
    ones = g.constant(np.ones(channels, np.float32), "ones")
    return g.op("LayerNormalization", x, ones, axis=-1, epsilon=float(EPSILON))


def depthwise(g: Graph, x: str, weight: Tensor, bias: Tensor, name: str) -> str:
    """x [H, W, C] -> its 3 x 3 correlation, zero outside; weight [9, C], bias [C]."""
    kernel = values(weight).T.reshape(-1, 1, 3, 3)
    x = g.op("Unsqueeze", g.op("Transpose", x, perm=[2, 0, 1]), g.constant(np.array([0], np.int64)))
    parts = g.weight(kernel, f"{name}.weight"), g.weight(values(bias), f"{name}.bias")
    y = g.op("Conv", x, *parts, group=len(kernel), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return g.op("Transpose", g.op("Squeeze", y, g.constant(np.array([0], np.int64))), perm=[1, 2, 0])


def block(g: Graph, x: str, vss: Any, name: str) -> str:
    """x [H, W, C] plus what a `VSSBlock` adds."""
    channels = vss.out_proj.weight.shape[0]
    value_weight, gate_weight = vss.in_proj.weight.chunk(2)
    value_bias, gate_bias = vss.in_proj.bias.chunk(2)
    f = normalised(g, x, channels)
    value = linear(g, f, value_weight, value_bias, f"{name}.value")
    gate = linear(g, f, gate_weight, gate_bias, f"{name}.gate")
    v = g.silu(depthwise(g, value, vss.conv.weight, vss.conv.bias, f"{name}.conv"))
    y = normalised(g, scanned(g, v, vss.scan, f"{name}.scan"), channels)
    out = linear(g, g.op("Mul", y, g.silu(gate)), vss.out_proj.weight, vss.out_proj.bias, f"{name}.out")
    return g.op("Add", x, out)


def scanned(g: Graph, v: str, scan: GroupedScan, name: str) -> str:
    """The selective scan of v [H, W, C] (mvc/ops/scan.py), a quarter of the channels along each of the four orders."""
    rank, (states, channels) = scan.rank, scan.a_log.shape
    group = channels // ORDERS
    weights = [part.chunk(ORDERS, -1) for part in (scan.dt_weight, scan.dt_bias, scan.a_log, scan.d)]
    parameters = linear(g, v, scan.projection, None, f"{name}.projection")
    own = g.split(parameters, ORDERS * [rank, *(2 * states) * [1]], 2)
    found = []
    for k, part in enumerate(g.split(v, ORDERS * [group], 2)):
        pre, *rest = own[k * (1 + 2 * states) : (k + 1) * (1 + 2 * states)]
        dt_weight, dt_bias, a_log, d = (weight[k] for weight in weights)
        dt = softplus(g, linear(g, pre, dt_weight.t(), dt_bias, f"{name}.dt"))
        step = g.op("Mul", dt, part)
        y = g.op("Mul", part, g.weight(values(d), f"{name}.d"))
        for n in range(states):
            a = g.op("Exp", g.op("Mul", dt, g.constant(values(-torch.exp(a_log[n])), f"{name}.a")))
            h = recurrence(g, a, g.op("Mul", step, rest[n]), k, group)
            y = g.op("Add", y, g.op("Mul", h, rest[states + n]))
        found.append(y)
    return g.op("Concat", *found, axis=2)


def softplus(g: Graph, x: str) -> str:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|): onnxruntime's own takes a third of the whole time."""
    small = g.op("Exp", g.op("Neg", g.op("Abs", x)))
    return g.op("Add", g.op("Relu", x), g.op("Log", g.op("Add", small, g.constant(np.float32(1)))))


def recurrence(g: Graph, a: str, b: str, order: int, channels: int) -> str:
    """h[t] = a[t] h[t-1] + b[t] of a and b [H, W, C] along one of the orders: rows, rows from behind, columns, ..."""
    axis, back = (1, 0)[order // 2], order % 2  # the axis along a row, or a column
    local, decay = _along(g, a, b, axis, back, channels)
    last = g.constant(np.int64(0 if back else -1))
    ends = [g.op("Gather", x, last, axis=axis) for x in (decay, local)]
    before = _between(g, ends, back, channels)
    before = g.op("Unsqueeze", before, g.constant(np.array([axis], np.int64)))
    return g.op("Add", local, g.op("Mul", decay, before))


def _along(g: Graph, a: str, b: str, axis: int, back: int, channels: int) -> list[str]:
    """`local` and `decay` of all rows, or columns."""
    node = g.onnx.helper.make_node
    nodes = [
        node("Mul", ["a", "h"], ["kept"]),
        node("Add", ["kept", "b"], ["h_next"]),
        node("Mul", ["a", "p"], ["p_next"]),
        node("Identity", ["h_next"], ["local"]),
        node("Identity", ["p_next"], ["decay"]),
    ]
    inside = g.body("along", ["h", "p", "a", "b"], nodes, ["h_next", "p_next", "local", "decay"], [None, channels])
    first = g.op("Gather", b, g.constant(np.int64(0)), axis=axis)  # of which only the shape counts
    zero = g.op("Mul", first, g.constant(np.float32(0)))
    one = g.op("Add", zero, g.constant(np.float32(1)))
    return g.ops("Scan", zero, one, a, b, count=4, body=inside, **_directions(axis, back, 2, 2))[2:]


def _between(g: Graph, ends: list[str], back: int, channels: int) -> str:
    """`before` [R, C], from `decay` and `local` at the ends of rows, both [R, C]."""
    node = g.onnx.helper.make_node
    nodes = [
        node("Mul", ["a", "h"], ["kept"]),
        node("Add", ["kept", "b"], ["h_next"]),
        node("Identity", ["h"], ["before"]),
    ]
    inside = g.body("between", ["h", "a", "b"], nodes, ["h_next", "before"], [channels])
    zero = g.constant(np.zeros(channels, np.float32), "zeros")
    return g.ops("Scan", zero, *ends, count=2, body=inside, **_directions(0, back, 2, 1))[1]


def _directions(axis: int, back: int, inputs: int, outputs: int) -> dict[str, Any]:
    """What a Scan runs over."""
    parts: dict[str, Any] = {"num_scan_inputs": inputs}
    for name, count in (("input", inputs), ("output", outputs)):
        parts |= {f"scan_{name}_axes": count * [axis], f"scan_{name}_directions": count * [back]}
    return parts


def synthesis(g_s: Any, about: dict[str, str]) -> Any:
    """The ONNX model of a `Synthesis` (lite.py), `about` being its metadata.

    y_hat int32 [H, W, M], quality_index int64 [1] -> picture float32 [16 H, 16 W, 3].
    """
    g = Graph()
    latents, fine = g_s.embed.weight.shape[1], g_s.fine
    kinds, info = g.onnx.TensorProto, g.onnx.helper.make_tensor_value_info
    shape = g.op("Shape", LATENT)
    height, width, _ = g.split(shape, [1, 1, 1], 0)
    y = g.op("Div", g.op("Cast", LATENT, to=kinds.FLOAT), g.constant(np.float32(UNITS)))
    y = gained(g, y, g_s.gain, "gain")
    f = linear(g, y, g_s.embed.weight, g_s.embed.bias, "embed")
    for k, vss in enumerate(g_s.stage16):
        f = block(g, f, vss, f"stage16.{k}")
    f = linear(g, f, g_s.split.weight, g_s.split.bias, "split")
    f = shuffled(g, f, 2, g_s.split.weight.shape[0] // 4, height, width)
    f = gained(g, f, g_s.gain8, "gain8")
    for k, vss in enumerate(g_s.stage8):
        f = block(g, f, vss, f"stage8.{k}")
    two = g.constant(np.array([2], np.int64))
    f = linear(g, f, g_s.head.weight, g_s.head.bias, "head")
    f = shuffled(g, f, fine, 3, g.op("Mul", height, two), g.op("Mul", width, two))
    skip = shuffled(g, linear(g, y, g_s.skip.weight, None, "skip"), PATCH, 3, height, width)
    x = g.op("Add", g.op("Add", f, skip), g.constant(np.float32(g_s.middle)))
    g.nodes.append(g.onnx.helper.make_node("Identity", [x], [PICTURE]))
    inputs = [info(LATENT, kinds.INT32, ["H", "W", latents]), info(QUALITY, kinds.INT64, [1])]
    return g.model("synthesis", inputs, [info(PICTURE, kinds.FLOAT, ["16*H", "16*W", 3])], about)
