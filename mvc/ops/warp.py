"""The prediction of a frame from its reference and a motion field, in exact integers: a scale-space warp.

Planes are uint8, Y [H, W], U and V [H/2, W/2], H and W multiples of 16. Motion is int32 [H/8, W/8, 3], for each block
of 8 x 8 luma pixels: flow right and flow down in eighths of a luma pixel, and scale in eighths of a level, each held to
-2^20 ... 2^20. The prediction at p is the reference at p + flow, blurred as the scale says. All shifts round down.

*Motion of a sample.* Bilinear between the centres of blocks, those at the edges repeated. In a plane whose blocks have
n samples a side (luma 8, chroma 4), sample i of an axis lies between blocks b - 1 and b with b = (i + n/2) >> log2 n;
with d = (i + n/2) mod n they weigh 2n - (2d + 1) and 2d + 1. The sum of the four blocks around, by products of these,
becomes sixteenths of a sample of the plane (flow) or of a level (scale) by one rounding,
(sum + 2^(shift - 1)) >> shift, where shift is 7 for luma, and 6 for the flow and 5 for the scale of chroma.

*Levels.* Level 0 is the plane; levels 1, 2 and 3 are blurs of the level before by (1 4 6 4 1), across and down, with
steps of 1, 2 and 4 samples, edges repeated, (sum + 128) >> 8.

*Sample of a level.* Level 0: four taps an axis (`warp_numba.TAPS`), (sum + 2048) >> 12, held to 0 ... 255. Levels 1 to
3: bilinear in sixteenths, (sum + 128) >> 8. A place outside the plane has the value of the nearest one inside.

*Prediction.* The scale is held to 0 ... 48; with level k = scale >> 4 and f = scale & 15 it is
((16 - f) * sample of level k + f * sample of level k + 1 + 8) >> 4: sharp for all scales up to 0, and then a copy where
the flow is whole.

No sum leaves int32. On CPU kernels compute it (warp_numba.py), elsewhere `predict_reference`, which is the
definition (warp_torch.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mvc.ops import warp_numba, warp_slopes_numba
from mvc.ops.parallel import array, run
from mvc.ops.planes import pack, unpack
from mvc.ops.warp_torch import Planes, TorchWarp, predict_reference

__all__ = ["Planes", "moved", "predict", "predict_reference", "warp"]

# --- kernels --------------------------------------------------------------------------------------------------------


def _levels(plane: np.ndarray, count: int) -> np.ndarray:
    """The first `count` levels of a plane with their margins."""
    margin = 2 * warp_numba.MARGIN
    levels = np.empty((count, plane.shape[0] + margin, plane.shape[1] + margin), np.uint8)
    run(warp_numba.pad, levels.shape[1], plane, levels)
    for level in range(1, count):
        run(warp_numba.blur, levels.shape[1], levels, level)
    return levels


def _needed(motion: np.ndarray) -> int:
    """How many levels a motion field looks at."""
    return 1 + min(max(-(-int(motion[..., 2].max()) // 8), 0), warp_numba.LEVELS - 1)


def _warp(levels: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """The prediction of a plane from its levels."""
    margin = 2 * warp_numba.MARGIN
    out = np.empty((levels.shape[1] - margin, levels.shape[2] - margin), np.uint8)
    run(warp_numba.warp, out.shape[0], levels, motion, out.shape[0] // motion.shape[0], out)
    return out


def predict(reference: Planes, motion: Tensor) -> Planes:
    """The planes that a motion field makes of a reference, exactly the same on every machine.

    reference: uint8 Y [H, W], U and V [H/2, W/2], H and W multiples of 16. motion: int32 [H/8, W/8, 3], flow right and
    down in eighths of a luma pixel, scale in eighths of a level; any values.
    """
    if reference[0].device.type != "cpu":
        return predict_reference(reference, motion)
    bound = warp_numba.FLOW_BOUND
    field = array(motion.clamp(-bound, bound).to(torch.int32).contiguous())
    count = _needed(field)
    y, u, v = (torch.from_numpy(_warp(_levels(array(p.contiguous()), count), field)) for p in reference)
    return y, u, v


def moved(plane: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A plane alone, uint8 [H, W] as luma, by flow [H/8, W/8, 2], right and down in quarters or eighths of a pixel."""
    field = np.zeros((*flow.shape[:2], 3), np.int32)
    field[..., :2] = np.rint(8 * flow)
    return _warp(_levels(plane, 1), field)


# --- training -------------------------------------------------------------------------------------------------------


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, reference, motion):
        bound = warp_numba.FLOW_BOUND
        fields = array((motion.detach() * 8).round().clamp(-bound, bound).to(torch.int32).contiguous())
        out = torch.empty(reference.shape)
        ctx.levels, ctx.fields = [], fields
        for planes, field, sample in zip(zip(*map(array, unpack(reference)), strict=True), fields, out, strict=True):
            count = _needed(field)
            if ctx.needs_input_grad[1]:  # what a larger scale would do, too
                count = min(max(int(field[..., 2].max()) // 8, 0) + 2, warp_numba.LEVELS)
            levels = [_levels(plane, count) for plane in planes]
            sample.copy_(pack(*(torch.from_numpy(_warp(plane, field)) for plane in levels)))
            ctx.levels.append(levels)
        return out.div_(255)

    @staticmethod
    def backward(ctx, grad):
        gradients = [array(plane / 255) for plane in unpack(grad.float())]
        out = np.zeros(ctx.fields.shape, np.float32)
        for b, levels in enumerate(ctx.levels):
            chroma = np.zeros_like(out[b])
            for plane, total, size in zip(range(3), (out[b], chroma, chroma), (8, 4, 4), strict=True):
                gradient = gradients[plane][b]
                warp_slopes_numba.warp_gradient(0, len(gradient), levels[plane], ctx.fields[b], size, gradient, total)
            chroma[..., :2] *= 0.5  # a pixel of luma is half a pixel of chroma
            out[b] += chroma
        scale, slope = ctx.fields[..., 2], out[..., 2]
        slope[(scale <= 0) & (slope > 0)] = 0
        slope[(scale > 8 * (warp_numba.LEVELS - 1)) & (slope < 0)] = 0
        return None, torch.from_numpy(out)


def warp(reference: Tensor, motion: Tensor) -> Tensor:
    """The predictions of a batch in 0 ... 1, float32 [B, H/2, W/2, 6] (planes.py): those of `predict`, with a gradient.

    reference: uint8 [B, H/2, W/2, 6]. motion: float [B, H/8, W/8, 3], flow right and down in pixels of luma and scale
    in levels, rounded to eighths by the caller. It alone gets a gradient: that of the interpolation. Where a block's
    scale is 0 or less, only a gradient that raises it passes, from samples whose scale is above -1; where it is above
    3, only one that lowers it. By kernels on CPU, elsewhere by torch (warp_torch.py), whose gradient adds up in another
    order.
    """
    method = _Warp if reference.device.type == "cpu" else TorchWarp
    return method.apply(reference, motion.float())
