"""The warp of warp.py in torch alone: its definition, and what a GPU runs, with the gradient of a motion field.

Tensors have any leading dimensions: planes [..., H, W], motion [..., H/8, W/8, 3].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mvc.ops.planes import pack, unpack
from mvc.ops.warp_numba import FLOW_BOUND, LEVELS, MOST_SCALE, PHASES, TAPS
from mvc.ops.warp_slopes_numba import SLOPES, WEIGHTS

Planes = tuple[Tensor, Tensor, Tensor]


@cache
def _table(name: str, device: torch.device) -> Tensor:
    """Of the cubic: its taps by phase in whole numbers or as shares, or how these grow. Copied to a device once."""
    return torch.from_numpy({"taps": TAPS, "weights": WEIGHTS, "slopes": SLOPES}[name]).to(device)


def _between(blocks: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For every sample of an axis the two blocks that it lies between, and the weight of the second, of 2 size."""
    place = torch.arange(size * blocks, device=device) + size // 2
    block, weight = place // size, 2 * (place % size) + 1
    return (block - 1).clamp_min(0), block.clamp_max(blocks - 1), weight


def _dense(motion: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Flow right, flow down (sixteenths of a sample) and scale (sixteenths of a level) of every sample, [..., H, W].

    int32; `size` is the side of a block in samples of the plane.
    """
    field = motion.clamp(-FLOW_BOUND, FLOW_BOUND).to(torch.int32)
    for axis in (-3, -2):
        first, second, weight = _between(field.shape[axis], size, field.device)
        weight = weight.to(torch.int32).view(-1, *[1] * (-1 - axis))
        before, after = field.index_select(axis, first), field.index_select(axis, second)
        field = before * (2 * size - weight) + after * weight
    shifts = (7, 7) if size == 8 else (6, 5)
    flow, scale = ((field + (1 << (shift - 1))) >> shift for shift in shifts)
    return flow[..., 0], flow[..., 1], scale[..., 2]


def blurs(plane: Tensor) -> list[Tensor]:
    """All levels of a plane, int32 [..., H, W]."""
    levels = [plane.to(torch.int32)]
    for step in (1, 2, 4):
        total = levels[-1]
        for axis in (-2, -1):
            size = total.shape[axis]
            place = torch.arange(size, device=plane.device)
            taps = [total.index_select(axis, (place + k * step).clamp(0, size - 1)) for k in range(-2, 3)]
            total = taps[0] + taps[4] + 4 * (taps[1] + taps[3]) + 6 * taps[2]
        levels.append((total + 128) >> 8)
    return levels


def _looked_up(levels: Tensor, right: Tensor, down: Tensor) -> Callable[[Tensor | int, int, int], Tensor]:
    """What gives the samples of levels [..., LEVELS, H, W] at the places that a flow leads to, and i down, j right."""
    height, width = levels.shape[-2:]
    flat = levels.flatten(-3)
    y = torch.arange(height, device=levels.device).view(-1, 1) + (down >> 4)
    x = torch.arange(width, device=levels.device) + (right >> 4)

    def at(level: Tensor | int, i: int, j: int) -> Tensor:
        place = (level * height + (y + i).clamp(0, height - 1)) * width + (x + j).clamp(0, width - 1)
        return flat.gather(-1, place.flatten(-2)).view(place.shape)

    return at


def predict_plane(plane: Tensor, motion: Tensor, size: int) -> Tensor:
    """The prediction of one plane, uint8 [..., H, W]."""
    right, down, scale = _dense(motion, size)
    at = _looked_up(torch.stack(blurs(plane), -3), right, down)
    down, right = down & 15, right & 15
    taps = _table("taps", plane.device)
    sharp = torch.full_like(right, 2048)
    for i in range(4):
        across = torch.zeros_like(right)
        for j in range(4):
            across = across + taps[right, j] * at(0, i - 1, j - 1)
        sharp = sharp + taps[down, i] * across
    samples = [(sharp >> 12).clamp(0, 255)]
    for level in range(1, LEVELS):
        above = (16 - right) * at(level, 0, 0) + right * at(level, 0, 1)
        below = (16 - right) * at(level, 1, 0) + right * at(level, 1, 1)
        samples.append(((16 - down) * above + down * below + 128) >> 8)
    scale = scale.clamp(0, MOST_SCALE)
    lower, share = (scale >> 4).to(torch.int64), scale & 15
    stack = torch.stack([*samples, torch.zeros_like(sharp)])  # above the last level nothing has a share
    value, above = (stack.gather(0, k[None])[0] for k in (lower, lower + 1))
    return (((16 - share) * value + share * above + 8) >> 4).to(torch.uint8)


def predict_reference(reference: Planes, motion: Tensor) -> Planes:
    """Plain version of `warp.predict`, on any device; the arguments mean the same."""
    y, u, v = reference
    return predict_plane(y, motion, 8), predict_plane(u, motion, 4), predict_plane(v, motion, 4)


# --- gradient ---------------------------------------------------------------------------------------------------------


def _slopes(plane: Tensor, motion: Tensor, size: int) -> Tensor:
    """How the prediction of a plane grows with the flow right and down, in samples, and the scale: [..., 3, H, W].

    As warp_slopes_numba.py has it: in float32, as if nothing had been rounded.
    """
    right, down, scale = _dense(motion, size)
    at = _looked_up(torch.stack(blurs(plane), -3).float(), right, down)
    down, right = down & 15, right & 15
    held = scale.clamp(0, MOST_SCALE)
    level = (held >> 4).clamp(max=LEVELS - 2)
    p, q = down / PHASES, right / PHASES

    def blurred(level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c, d = at(level, 0, 0), at(level, 0, 1), at(level, 1, 0), at(level, 1, 1)
        above, below = a + q * (b - a), c + q * (d - c)
        return above + p * (below - above), below - above, b - a + p * ((d - c) - (b - a))

    weights, slopes = _table("weights", plane.device), _table("slopes", plane.device)
    value, slope_down, slope_right = (torch.zeros_like(p) for _ in range(3))
    for i in range(4):
        across, along = torch.zeros_like(p), torch.zeros_like(p)
        for j in range(4):
            sample = at(0, i - 1, j - 1)
            across, along = across + weights[right, j] * sample, along + slopes[right, j] * sample
        value, slope_right = value + weights[down, i] * across, slope_right + weights[down, i] * along
        slope_down = slope_down + slopes[down, i] * across
    sharp = value.clamp(0, 255), slope_down, slope_right
    value, slope_down, slope_right = (torch.where(level == 0, *two) for two in zip(sharp, blurred(level), strict=True))
    above, above_down, above_right = blurred(level + 1)
    share = (held - PHASES * level) / PHASES
    deeper = torch.where(scale <= -PHASES, 0.0, above - value)
    along = slope_right + share * (above_right - slope_right)
    return torch.stack([along, slope_down + share * (above_down - slope_down), deeper], -3)


def _spread(blocks: int, size: int, device: torch.device) -> Tensor:
    """How much each of some blocks has a say in every sample along an axis: [size * blocks, blocks]."""
    first, second, weight = _between(blocks, size, device)
    share = (weight / (2 * size)).unsqueeze(1)
    one = torch.eye(blocks, device=device)
    return one[first] * (1 - share) + one[second] * share


def gradient_of(plane: Tensor, motion: Tensor, size: int, gradient: Tensor) -> Tensor:
    """The gradient of motion [..., h, w, 3], given that of samples 0 ... 255; flow in samples of the plane."""
    rows, columns = motion.shape[-3:-1]
    weighted = gradient.unsqueeze(-3) * _slopes(plane, motion, size)
    sums = _spread(rows, size, plane.device).t() @ weighted @ _spread(columns, size, plane.device)
    return sums.movedim(-3, -1)


class TorchWarp(torch.autograd.Function):
    """As `warp.warp`, without leaving the device."""

    @staticmethod
    def forward(ctx, reference, motion):
        field = (motion.detach() * 8).round().clamp(-FLOW_BOUND, FLOW_BOUND).to(torch.int32)
        ctx.save_for_backward(reference, field)
        return pack(*predict_reference(unpack(reference), field)).float().div_(255)

    @staticmethod
    def backward(ctx, grad):
        reference, field = ctx.saved_tensors
        (y, u, v), (for_y, for_u, for_v) = unpack(reference), unpack(grad.float() / 255)
        out = gradient_of(y, field, 8, for_y)
        chroma = gradient_of(u, field, 4, for_u) + gradient_of(v, field, 4, for_v)
        chroma[..., :2] *= 0.5  # a pixel of luma is half a pixel of chroma
        out += chroma
        scale, slope = field[..., 2], out[..., 2]
        stuck = ((scale <= 0) & (slope > 0)) | ((scale > 8 * (LEVELS - 1)) & (slope < 0))
        out[..., 2] = slope.masked_fill(stuck, 0.0)
        return None, out
