"""Blocks that can stand in the place of a VSS block of mambavc-lite: window attention, and convolution.

They are there for one comparison, that of MambaVC (section 4.2.2) with its variants SwinVC and ConvVC, at lite size:
each has the VSS block's parameters within 5 %, starts near identity as it does, and keeps x [B, H, W, C] in its type
(bfloat16 in training), with float32 weights. `update_` is `Stage`'s in-place form, without gradients.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.layers import STRIP_TOKENS, Depthwise, Linear, small
from mvc.blocks.window import WindowAttention
from mvc.ops import mixer

HEAD_WIDTH = 32
WIDTH_UNIT = 2 * HEAD_WIDTH  # of a window block: half of its width goes to the heads
WINDOW = 8
SIZE = 5  # of the convolution


class NarrowAttention(WindowAttention):
    """Window attention over an inner width: [B, H, W, C] -> same; in bfloat16 as in float32."""

    def __init__(self, channels: int, inner: int, shifted: bool) -> None:
        super().__init__(channels, HEAD_WIDTH, WINDOW, shifted, inner)
        self.out = small(Linear(inner, channels))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
        """Attention inside windows [B, windows, heads, w*w, d]; hidden [windows, 1, w*w, w*w] as in `_hidden`.

        torch's fused attention is the faster one without gradients; with a bias that learns it goes back to float32
        and takes twice the time of these products. The softmax sums in float32 in either.
        """
        bias = self.relative_bias() if hidden is None else self.relative_bias().masked_fill(hidden, float("-inf"))
        bias = bias.to(q.dtype)
        if torch.is_grad_enabled():
            return ((q * HEAD_WIDTH**-0.5) @ k.transpose(-1, -2) + bias).softmax(-1) @ v
        bias = bias.expand(*q.shape[:3], *bias.shape[-2:]).flatten(0, 1)
        fused = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), bias)
        return fused.unflatten(0, q.shape[:2])


class WindowBlock(nn.Module):
    """Swin's block (Liu et al. 2021): x + attention(norm(x)), then x + mlp(norm(x)), in windows of 8 x 8, heads of 32.

    Attention over the full width alone has a third more weights than a VSS block, 4 C^2 against 3 C^2. So that depth
    and width of the frame stay as they are, attention has an inner width of C / 2 and the MLP one of C / 2 + 16, which
    makes up for what the VSS block has beside its projections. C is a multiple of WIDTH_UNIT.
    """

    def __init__(self, channels: int, shifted: bool) -> None:
        super().__init__()
        hidden = channels // 2 + 16
        self.attention = NarrowAttention(channels, channels // 2, shifted)
        self.mlp = nn.Sequential(Linear(channels, hidden), nn.GELU(), small(Linear(hidden, channels)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(mixer.norm(x))
        return x + self.mlp(mixer.norm(x))

    def update_(self, x: Tensor) -> None:
        """x becomes forward(x); without gradients, x contiguous."""
        x += self.attention(mixer.norm(x))
        for strip in x.view(-1, x.shape[-1]).split(STRIP_TOKENS):
            strip += self.mlp(mixer.norm(strip))


class ConvBlock(nn.Module):
    """x + out(norm(silu(conv(value))) * silu(gate)), with value and gate from norm(x): a gated convolutional block.

    This is the VSS block without its scan, for which the depthwise convolution grows from 3 x 3 to 5 x 5, the largest
    that has a fused kernel here and keeps the count of parameters. The paper's ConvVC (GDN and dense 5 x 5 kernels)
    would lose at this size for want of weights, and say little; MambaOut (Yu and Wang 2024) found gated depthwise
    blocks to be the ones that a scan has to beat. The norm behind the convolution does what GDN does.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value = Linear(channels, channels)
        self.gate = Linear(channels, channels)
        self.conv = Depthwise(channels, SIZE, "silu")
        self.out = small(Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        f = mixer.norm(x)
        return x + self.out(mixer.norm(self.conv(self.value(f))) * F.silu(self.gate(f)))

    def update_(self, x: Tensor) -> None:
        """x becomes forward(x); without gradients, x contiguous and mixer.is_fused."""
        tokens = x.view(-1, x.shape[-1])
        mixed = self.conv(self.value(mixer.norm(x))).view_as(tokens)
        for strip, own in zip(tokens.split(STRIP_TOKENS), mixed.split(STRIP_TOKENS), strict=True):
            strip += self.out(mixer.gated_norm_(own, self.gate(mixer.norm(strip))))
