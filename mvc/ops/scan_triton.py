"""Selective scan in Triton, forward and backward, channels last. Imported only when it is used: it needs triton.

One program takes one sample, one scan order and a few of its channels, and walks over the tokens a tile at a time; in
a tile the recurrence is an associative scan. Tensors of a tile have the axes [token, channel, state]. The forward pass
leaves the state before every tile in `kept`; the backward pass walks the tiles in reverse and computes each again from
there. Triton's block sizes are powers of two, so ranks, states and channels are padded and masked. See scan.py for the
meaning of the arrays and the plain reference. Places in memory are 64-bit: samples are counted so.
"""

# mypy: disallow-incomplete-defs=False
# Triton gives meaning to the annotations of a kernel: only its constants have one.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mvc.ops.orders import ORDERS

TILE, CHANNELS = 32, 16  # tokens and channels of one program's tile


@triton.jit
def _combine(decay, state, next_decay, next_state):
    return decay * next_decay, next_decay * state + next_state


@triton.jit
def _token(order, i, height, width):
    """The token that a scan order visits at step i."""
    i = tl.where(order % 2 == 0, i, height * width - 1 - i)
    return tl.where(order < 2, i, i % height * width + i // height)


@triton.jit
def _weights(weights, c, inside, channels, RANK, STATES, N: tl.constexpr):
    """A [C, N] and D [C] of the channels c."""
    n = tl.arange(0, N)
    a_mask = inside[:, None] & (n < STATES)[None]
    a = tl.load(weights + (RANK + 1 + n)[None] * channels + c[:, None], a_mask, 0.0)
    d = tl.load(weights + (RANK + 1 + STATES) * channels + c, inside, 0.0)
    return a, d


@triton.jit
def _parameters(parameters, row, live, first, COUNT, P: tl.constexpr):
    """COUNT numbers from `first` of each token's row of parameters: [T, P]."""
    k = tl.arange(0, P)
    return tl.load(parameters + row[:, None] + first + k[None], live[:, None] & (k < COUNT)[None], 0.0)


@triton.jit
def _step_sizes(parameters, row, live, weights, c, inside, channels, RANK: tl.constexpr):
    """dt [T, C], zero (so that the state stays) for steps past the end, and the argument of its softplus.

    The sum over the ranks stands term by term: of one over an axis Triton makes a product of matrices, in tf32.
    """
    pre = tl.load(weights + RANK * channels + c, inside, 0.0)[None]
    for r in tl.static_range(RANK):
        p_dt = tl.load(parameters + row + r, live, 0.0)
        pre = pre + p_dt[:, None] * tl.load(weights + r * channels + c, inside, 0.0)[None]
    u = tl.exp(-tl.abs(pre))
    log1p = tl.where(u < 1e-3, u - 0.5 * u * u, tl.log(1.0 + u))  # 1 + u would round a small u
    return tl.where(live[:, None], tl.maximum(pre, 0.0) + log1p, 0.0), pre


@triton.jit
def _forward(
    v, parameters, weights, y, kept, height, width, channels,
    RANK: tl.constexpr, STATES: tl.constexpr, N: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    sample, order = (tl.program_id(0) // 4).to(tl.int64), tl.program_id(0) % 4
    length, group = height * width, channels // 4
    inside = tl.program_id(1) * C + tl.arange(0, C) < group
    c = order * group + tl.program_id(1) * C + tl.arange(0, C)
    n = tl.arange(0, N)
    state_mask = inside[:, None] & (n < STATES)[None]
    a, d = _weights(weights, c, inside, channels, RANK, STATES, N)
    tiles = tl.cdiv(length, T)
    h = tl.zeros([C, N], tl.float32)
    for tile in range(tiles):
        i = tile * T + tl.arange(0, T)
        live = i < length
        token = sample * length + _token(order, i, height, width)
        row = (token * 4 + order) * (RANK + 2 * STATES)
        mask = live[:, None] & inside[None]
        tl.store(kept + ((sample * tiles + tile) * STATES + n)[None] * channels + c[:, None], h, state_mask)
        p_b = _parameters(parameters, row, live, RANK, STATES, N)
        p_c = _parameters(parameters, row, live, RANK + STATES, STATES, N)
        dt, _ = _step_sizes(parameters, row, live, weights, c, inside, channels, RANK)
        x = tl.load(v + token[:, None] * channels + c[None], mask, 0.0).to(tl.float32)
        decay = tl.exp(dt[:, :, None] * a[None])
        decays, states = tl.associative_scan((decay, (dt * x)[:, :, None] * p_b[:, None]), 0, _combine)
        states += decays * h[None]
        out = tl.sum(states * p_c[:, None], 2) + x * d[None]
        tl.store(y + token[:, None] * channels + c[None], out.to(y.dtype.element_ty), mask)
        h = tl.sum(tl.where((tl.arange(0, T) == T - 1)[:, None, None], states, 0.0), 0)


@triton.jit
def _backward(
    grad_y, v, parameters, weights, kept, grad_v, grad_parameters, grad_weights, height, width, channels,
    RANK: tl.constexpr, STATES: tl.constexpr, R: tl.constexpr, N: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    sample, order = (tl.program_id(0) // 4).to(tl.int64), tl.program_id(0) % 4
    length, group = height * width, channels // 4
    inside = tl.program_id(1) * C + tl.arange(0, C) < group
    c = order * group + tl.program_id(1) * C + tl.arange(0, C)
    r, n = tl.arange(0, R), tl.arange(0, N)
    state_mask = inside[:, None] & (n < STATES)[None]
    a, d = _weights(weights, c, inside, channels, RANK, STATES, N)
    dt_mask = (r < RANK)[:, None] & inside[None]
    dt_weight = tl.load(weights + r[:, None] * channels + c[None], dt_mask, 0.0)
    tiles = tl.cdiv(length, T)
    carry, sum_a = tl.zeros([C, N], tl.float32), tl.zeros([C, N], tl.float32)
    sum_dt_weight = tl.zeros([R, C], tl.float32)
    sum_bias, sum_d = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
    for back in range(tiles):
        tile = tiles - 1 - back
        i = tile * T + tl.arange(0, T)
        live = i < length
        token = sample * length + _token(order, i, height, width)
        row = (token * 4 + order) * (RANK + 2 * STATES)
        mask = live[:, None] & inside[None]
        h = tl.load(kept + ((sample * tiles + tile) * STATES + n)[None] * channels + c[:, None], state_mask, 0.0)
        p_dt = _parameters(parameters, row, live, 0, RANK, R)
        p_b = _parameters(parameters, row, live, RANK, STATES, N)
        p_c = _parameters(parameters, row, live, RANK + STATES, STATES, N)
        dt, pre = _step_sizes(parameters, row, live, weights, c, inside, channels, RANK)
        x = tl.load(v + token[:, None] * channels + c[None], mask, 0.0).to(tl.float32)
        gy = tl.load(grad_y + token[:, None] * channels + c[None], mask, 0.0).to(tl.float32)
        decay = tl.exp(dt[:, :, None] * a[None])
        drive = (dt * x)[:, :, None] * p_b[:, None]
        decays, states = tl.associative_scan((decay, drive), 0, _combine)
        states += decays * h[None]

        # The gradient of a state comes from its own output and, through the next step's decay, from the next state.
        following = live & (i + 1 < length)
        next_row = ((sample * length + _token(order, i + 1, height, width)) * 4 + order) * (RANK + 2 * STATES)
        next_dt, _ = _step_sizes(parameters, next_row, following, weights, c, inside, channels, RANK)
        next_decay = tl.exp(next_dt[:, :, None] * a[None])
        decays, gh = tl.associative_scan((next_decay, gy[:, :, None] * p_c[:, None]), 0, _combine, reverse=True)
        gh += decays * carry[None]
        carry = tl.sum(tl.where((tl.arange(0, T) == 0)[:, None, None], gh, 0.0), 0)

        g_drive = tl.sum(gh * p_b[:, None], 2)
        g_exponent = gh * (states - drive)  # states - drive is decay times the state before
        g_pre = tl.sum(g_exponent * a[None], 2) + g_drive * x
        g_pre = tl.where(live[:, None], g_pre / (1.0 + tl.exp(-pre)), 0.0)
        sum_a += tl.sum(g_exponent * dt[:, :, None], 0)
        sum_d += tl.sum(gy * x, 0)
        sum_bias += tl.sum(g_pre, 0)
        sum_dt_weight += tl.sum(p_dt[:, :, None] * g_pre[:, None], 0)
        gv = gy * d[None] + g_drive * dt
        tl.store(grad_v + token[:, None] * channels + c[None], gv.to(grad_v.dtype.element_ty), mask)
        share = tl.program_id(1).to(tl.int64) * tl.num_programs(0) * length * (RANK + 2 * STATES)
        shares = grad_parameters + share + row[:, None]
        state_live, rank_live = live[:, None] & (n < STATES)[None], live[:, None] & (r < RANK)[None]
        tl.store(shares + r[None], tl.sum(g_pre[:, None] * dt_weight[None], 2), rank_live)
        tl.store(shares + RANK + n[None], tl.sum(gh * (dt * x)[:, :, None], 1), state_live)
        tl.store(shares + RANK + STATES + n[None], tl.sum(gy[:, :, None] * states, 1), state_live)

    out = grad_weights + sample * (RANK + 2 + STATES) * channels
    tl.store(out + r[:, None] * channels + c[None], sum_dt_weight, dt_mask)
    tl.store(out + RANK * channels + c, sum_bias, inside)
    tl.store(out + (RANK + 1 + n)[None] * channels + c[:, None], sum_a, state_mask)
    tl.store(out + (RANK + 1 + STATES) * channels + c, sum_d, inside)


def _launch(v: Tensor, parameters: Tensor, rank: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid and the constants of a launch."""
    states, group = (parameters.shape[-1] - rank) // 2, v.shape[-1] // ORDERS
    sizes = {"N": triton.next_power_of_2(states), "T": TILE, "C": CHANNELS}
    return (v.shape[0] * ORDERS, triton.cdiv(group, CHANNELS)), {"RANK": rank, "STATES": states, **sizes}


def scan_forward(v: Tensor, parameters: Tensor, weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The scan of contiguous tensors, and what `scan_backward` needs."""
    batch, height, width, channels = v.shape
    grid, constants = _launch(v, parameters, rank)
    y = torch.empty_like(v)
    kept = weights.new_empty(batch, triton.cdiv(height * width, TILE), constants["STATES"], channels)
    _forward[grid](v, parameters, weights, y, kept, height, width, channels, **constants)
    return y, kept


def scan_backward(
    grad: Tensor, v: Tensor, parameters: Tensor, weights: Tensor, kept: Tensor, rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of v, parameters and weights, from the contiguous gradient of y."""
    batch, height, width, channels = v.shape
    grid, constants = _launch(v, parameters, rank)
    grad_v, grad_weights = torch.empty_like(v), weights.new_empty(batch, *weights.shape)
    shares = parameters.new_empty(grid[1], *parameters.shape)  # summed here: atomic sums would have no fixed order
    inputs = (grad, v, parameters, weights, kept)
    constants |= {"R": triton.next_power_of_2(rank)}
    _backward[grid](*inputs, grad_v, shares, grad_weights, height, width, channels, **constants)
    return grad_v, shares.sum(0), grad_weights.sum(0)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v, parameters, weights, rank):
        v, parameters, weights = v.contiguous(), parameters.contiguous(), weights.contiguous()
        y, kept = scan_forward(v, parameters, weights, rank)
        ctx.save_for_backward(v, parameters, weights, kept)
        ctx.rank = rank
        return y

    @staticmethod
    def backward(ctx, grad):
        v, parameters, weights, kept = ctx.saved_tensors
        return *scan_backward(grad.contiguous(), v, parameters, weights, kept, ctx.rank), None


def selective_scan_triton(v: Tensor, parameters: Tensor, weights: Tensor, rank: int) -> Tensor:
    """As scan.selective_scan, in Triton: float32 arithmetic, y in the type of v, any number of channels / 4."""
    return _Scan.apply(v, parameters, weights, rank)
