"""The selective scan on integers: sequential by nature, so every step can be rounded to a grid and stays the same.

Per token t, channel c and state n, with step sizes dt >= 0, decays exp(-dt A) from two tables, and states on a grid
of 2^-STEP_BITS (all shifts round, bitstream_spec.md section 5):

    h[t] = clamp(exp(-dt A) h[t-1] + clamp(dt v) B[t])        y[t] = clamp(sum_n C[t] h[t] + D v)
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mvc.blocks.lite import GroupedScan
from mvc.blocks.semantic import Clustering, SemanticScan, cluster_order
from mvc.blocks.vss import Scan
from mvc.errors import WeightsError
from mvc.exact import functions
from mvc.exact.fixed import FINE, Grid, Ranges, shift_round
from mvc.exact.functions import STEP_BITS, rounded
from mvc.exact.weighted import ExactLinear
from mvc.jit import kernel
from mvc.ops.parallel import array, run
from mvc.ops.scan import ORDERS, scan_orders

DECAY_BITS = 24  # of each of the two tables, e^(-i / 2^10) and e^(-j / 2^20)
HALF_BITS = 10
DECAY_END = (functions.REACH << STEP_BITS) - 1  # e^-16 is less than half a unit of 2^-STEP_BITS
STATE_LIMIT = 1 << 32
DRIVE_LIMIT = 1 << 30  # of dt v
PARAMETER_LIMIT = 1 << 22  # of B and C
DECAY_LIMIT, THROUGH_LIMIT = 1 << 18, (1 << 22) - 1  # of a and d
BLOCK = 64  # channels that a thread takes at once


def decay_tables() -> tuple[np.ndarray, np.ndarray]:
    """e^(-i / 2^10) for i up to REACH, and e^(-j / 2^20) below one step of the first."""
    coarse = functions.falling(HALF_BITS, DECAY_BITS, functions.REACH << HALF_BITS)
    return coarse, functions.falling(STEP_BITS, DECAY_BITS, 1 << (STEP_BITS - HALF_BITS))


def scan_reference(
    v: Tensor, order: Tensor, dt: Tensor, b: Tensor, c: Tensor, a: Tensor, d: Tensor, bits: int, limit: int
) -> Tensor:
    """The definition. v, dt [T, C]; order [T]; b, c [T, N]; a [N, C]; d [C], all int64 -> y [T, C].

    v, b, c, a and d have `bits` fraction bits, dt has STEP_BITS; |v| and |y| <= limit.
    """
    coarse, fine = (torch.from_numpy(table).to(v.device) for table in decay_tables())
    h, y = torch.zeros_like(a), torch.zeros_like(v)
    for i in order.tolist():
        index = shift_round(dt[i] * a, bits).clamp(max=DECAY_END)
        decay = shift_round(coarse[index >> HALF_BITS] * fine[index % len(fine)], 2 * DECAY_BITS - STEP_BITS)
        drive = shift_round(dt[i] * v[i], bits).clamp(-DRIVE_LIMIT, DRIVE_LIMIT)
        h = shift_round(decay * h, STEP_BITS) + shift_round(drive * b[i, :, None], bits)
        h = h.clamp(-STATE_LIMIT, STATE_LIMIT)
        total = (c[i, :, None] * shift_round(h, STEP_BITS - bits)).sum(0)
        y[i] = shift_round(total + d * v[i], bits).clamp(-limit, limit)
    return y


@kernel()
def _scan(begin, end, v, order, dt, b, c, a, d, coarse, fine, bits, limit, y):
    """Blocks begin..end of BLOCK channels, as in `scan_reference`."""
    half, one_step = np.int64(1) << (bits - 1), STEP_BITS - bits
    step_half, decay_shift = np.int64(1) << (STEP_BITS - 1), 2 * DECAY_BITS - STEP_BITS
    states = a.shape[0]
    for block in range(begin, end):
        low, high = block * BLOCK, min(block * BLOCK + BLOCK, v.shape[1])
        h = np.zeros((states, high - low), np.int64)
        total = np.empty(high - low, np.int64)
        for t in range(len(order)):
            i = order[t]
            for k in range(high - low):
                total[k] = d[low + k] * v[i, low + k]
            for n in range(states):
                gain, out = b[i, n], c[i, n]
                for k in range(high - low):
                    step = dt[i, low + k]
                    index = min((step * a[n, low + k] + half) >> bits, DECAY_END)
                    decay = coarse[index >> HALF_BITS] * fine[index & ((1 << (STEP_BITS - HALF_BITS)) - 1)]
                    decay = (decay + (np.int64(1) << (decay_shift - 1))) >> decay_shift
                    drive = min(max((step * v[i, low + k] + half) >> bits, -DRIVE_LIMIT), DRIVE_LIMIT)
                    state = ((decay * h[n, k] + step_half) >> STEP_BITS) + ((drive * gain + half) >> bits)
                    state = min(max(state, -STATE_LIMIT), STATE_LIMIT)
                    h[n, k] = state
                    total[k] += out * ((state + (np.int64(1) << (one_step - 1))) >> one_step)
            for k in range(high - low):
                y[i, low + k] = min(max((total[k] + half) >> bits, -limit), limit)


def scan(
    v: Tensor, order: Tensor, dt: Tensor, b: Tensor, c: Tensor, a: Tensor, d: Tensor, bits: int, limit: int
) -> Tensor:
    """As `scan_reference`, by numba; tensors of a GPU come to the CPU for it, whose steps need no kernel launches."""
    y = torch.empty(v.shape, dtype=v.dtype)
    inputs = [array(t.cpu().contiguous()) for t in (v, order, dt, b, c, a, d)]
    run(_scan, -(-v.shape[1] // BLOCK), *inputs, *decay_tables(), bits, limit, array(y))
    return y.to(v.device)


class _Scanning(nn.Module):
    """What all scans share: decays, feedthrough and step sizes of one or more orders."""

    a: Tensor  # int32 [orders, N, C], minus A
    d: Tensor  # int32 [orders, C]
    limits: ClassVar[Ranges] = {"a": (0, DECAY_LIMIT), "d": (-THROUGH_LIMIT, THROUGH_LIMIT)}

    def __init__(self, layer: Scan | GroupedScan | SemanticScan, orders: int, grid: Grid) -> None:
        super().__init__()
        self.grid, self.rank, self.states = grid, layer.rank, len(layer.a_log)
        decays = rounded(functions.exp(layer.a_log.detach().double().numpy()), grid.fraction_bits)
        through = torch.round(layer.d.detach().double() * grid.one)
        if decays.max() > DECAY_LIMIT or not through.abs().max() <= THROUGH_LIMIT:
            raise WeightsError("a scan's decays or feedthrough are too large to be lowered")
        by_order = torch.from_numpy(decays).int().unflatten(1, (orders, -1)).transpose(0, 1)
        self.register_buffer("a", by_order.contiguous())
        self.register_buffer("d", through.int().unflatten(0, (orders, -1)))
        pairs = zip(layer.dt_weight.chunk(orders, 1), layer.dt_bias.chunk(orders), strict=True)
        self.steps = nn.ModuleList(ExactLinear(weight.t(), bias, grid) for weight, bias in pairs)

    def along(self, k: int, v: Tensor, order: Tensor, parameters: Tensor) -> Tensor:
        """Scan v [T, C] in a token order [T] with the weights of order k; parameters [T, R + 2N]. -> int64 [T, C]."""
        raw, b, c = parameters.split([self.rank, self.states, self.states], -1)
        dt = functions.look_up(functions.softplus, self.steps[k](raw), self.grid, STEP_BITS)
        b, c = (t.clamp(-PARAMETER_LIMIT, PARAMETER_LIMIT) for t in (b, c))
        v, order, dt, b, c, a, d = (t.long() for t in (v, order, dt, b, c, self.a[k], self.d[k]))
        return scan(v, order, dt, b, c, a, d, self.grid.fraction_bits, self.grid.limit)


class ExactScan(_Scanning):
    """2DSS along four orders, each with its own weights: all channels along each, added, or grouped, a quarter each."""

    def __init__(self, layer: Scan | GroupedScan, grid: Grid = FINE) -> None:
        super().__init__(layer, ORDERS, grid)
        self.grouped = isinstance(layer, GroupedScan)
        self.projection = ExactLinear(layer.projection, None, grid)

    def forward(self, v: Tensor) -> Tensor:
        limit = self.grid.limit
        orders = scan_orders(v.shape[1], v.shape[2], v.device)
        pictures = []
        for tokens in v.clamp(-limit, limit).flatten(1, 2):
            parameters = self.projection(tokens).unflatten(-1, (ORDERS, -1))
            parts = tokens.chunk(ORDERS, -1) if self.grouped else [tokens] * ORDERS
            scanned = [self.along(k, part, orders[k], parameters[:, k]) for k, part in enumerate(parts)]
            whole = torch.cat(scanned, -1) if self.grouped else torch.stack(scanned).sum(0).clamp(-limit, limit)
            pictures.append(whole)
        return torch.stack(pictures).view_as(v).to(v.dtype)


class ExactClustering(nn.Module):
    """The nearest centre of every token. Its features' length and the temperature do not change which that is."""

    def __init__(self, layer: Clustering, features: nn.Module, grid: Grid = FINE) -> None:
        super().__init__()
        self.grid, self.features = grid, features
        centres = layer.centres.detach().double()
        self.centres = ExactLinear(centres / centres.norm(dim=1, keepdim=True).clamp_min(1e-12), None, grid)

    def position(self, height: int, width: int) -> Tensor:
        """`Clustering.position` from tables that are the same everywhere: int64 [H, W, F]."""
        half = self.centres.weight.shape[1] // 2
        across = np.arange(width) / width
        rows = functions.sin_half_turns(np.arange(height) / height)
        columns = np.sign(0.5 - across) * functions.sin_half_turns(np.abs(0.5 - across))  # cos(pi v)
        u, v = (torch.from_numpy(rounded(values, self.grid.fraction_bits)) for values in (rows, columns))
        shape = height, width, half
        return torch.cat([u[:, None, None].expand(shape), v[None, :, None].expand(shape)], -1)

    def forward(self, v: Tensor) -> Tensor:
        """-> cluster [B, H*W]; of centres that are equally near, the first."""
        seen = self.features(v) + self.position(v.shape[1], v.shape[2]).to(v)
        scores = self.centres(seen).flatten(1, 2)
        index = torch.arange(scores.shape[-1], device=v.device)
        return torch.where(scores == scores.amax(-1, keepdim=True), index, len(index)).amin(-1)


class ExactSemanticScan(_Scanning):
    """SASS: all channels along the order of the clusters."""

    def __init__(self, layer: SemanticScan, features: nn.Module, grid: Grid = FINE) -> None:
        super().__init__(layer, 1, grid)
        self.clusters = len(layer.clustering.centres)
        self.clustering = ExactClustering(layer.clustering, features, grid)
        self.projection = ExactLinear(layer.projection.weight, None, grid)

    def forward(self, v: Tensor) -> Tensor:
        v = v.clamp(-self.grid.limit, self.grid.limit)
        orders = cluster_order(self.clustering(v), self.clusters)
        tokens = v.flatten(1, 2)
        parameters = self.projection(tokens)
        pictures = [self.along(0, *own) for own in zip(tokens, orders, parameters, strict=True)]
        return torch.stack(pictures).view_as(v).to(v.dtype)
