"""Window attention on integers: the softmax is a table of e^-x, an exact sum and a corrected division."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvc.blocks.window import WindowAttention
from mvc.errors import WeightsError
from mvc.exact import functions
from mvc.exact.fixed import FINE, Grid, divide, shift_round
from mvc.exact.weighted import ExactLinear

QK_LIMIT = 1 << 22  # products of 32 pairs within this add up to less than 2^53
SCALE_BITS, EXP_BITS, SHARE_BITS = 14, 24, 16
EXP_END = 18  # e^-18 rounds to nothing


class ExactWindowAttention(WindowAttention):
    """The windows, shifts and masks of the float layer; its arithmetic on integers."""

    def __init__(self, layer: WindowAttention, grid: Grid = FINE) -> None:
        nn.Module.__init__(self)
        self.grid = grid
        self.heads, self.window, self.shift = layer.heads, layer.window, layer.shift
        for name in ("qkv", "out"):
            own = getattr(layer, name)
            setattr(self, name, ExactLinear(own.weight, own.bias, grid))
        bias = torch.round(layer.bias.detach().double() * grid.one)
        if not bias.abs().max() < 2**31:
            raise WeightsError("a bias of an attention is too large to be lowered")
        self.register_buffer("bias", bias.to(torch.int32))  # int32 [(2w-1)^2, heads]

    def mix(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
        bits = self.grid.fraction_bits
        q, k = (t.clamp(-QK_LIMIT, QK_LIMIT) for t in (q, k))
        scale = round(q.shape[-1] ** -0.5 * (1 << SCALE_BITS))
        scores = shift_round(shift_round(q @ k.transpose(-1, -2), bits) * scale, SCALE_BITS)
        scores = scores + self.relative_bias().to(q.dtype)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -(1 << 50))
        below = scores.amax(-1, keepdim=True) - scores
        end = EXP_END * self.grid.one
        falling = functions.on(q.device, q.dtype, functions.falling, bits, EXP_BITS, end + 1)
        exponentials = falling[below.clamp(max=end).long()]
        shares = divide(exponentials * (1 << SHARE_BITS), exponentials.sum(-1, keepdim=True))
        return shift_round(shares @ v, SHARE_BITS).clamp(-self.grid.limit, self.grid.limit)
