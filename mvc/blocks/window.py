"""Window attention and what the papers build of it. Tensors are channels last: [B, H, W, C]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.conv import Bottleneck, Conv, DropPath
from mvc.blocks.layers import Composite, Linear, SigmoidGate


class WindowAttention(nn.Module):
    """Self-attention inside w x w windows with a learned bias per relative position (Liu et al. 2021, section 3.2).

    Shifted, the windows lie w/2 further down and right. Sides that are no multiple of w are padded, and what is
    padding, or wrapped round from the other side, is never attended to.
    """

    qkv: nn.Module
    out: nn.Module
    bias: Tensor

    def __init__(
        self, channels: int, head_width: int, window: int, shifted: bool, inner: int | None = None
    ) -> None:
        """`inner` is the width of all heads together, that of the channels if None."""
        super().__init__()
        inner = channels if inner is None else inner
        self.heads, self.window, self.shift = inner // head_width, window, window // 2 if shifted else 0
        self.qkv = Linear(channels, 3 * inner)
        self.out = Linear(inner, channels)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, self.heads).normal_(std=0.02))

    def relative_bias(self) -> Tensor:
        """[heads, w*w, w*w]"""
        w = self.window
        place = torch.arange(w * w, device=self.bias.device)
        row, column = place // w, place % w
        index = (row[:, None] - row + w - 1) * (2 * w - 1) + column[:, None] - column + w - 1
        return self.bias[index].permute(2, 0, 1)

    def _windows(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, windows, w*w, C]"""
        batch, height, width, channels = x.shape
        w = self.window
        x = x.reshape(batch, height // w, w, width // w, w, channels).transpose(2, 3)
        return x.reshape(batch, -1, w * w, channels)

    def _hidden(self, height: int, width: int, padded: tuple[int, int], device: torch.device) -> Tensor:
        """True where a query must not see a key: bool [windows, w*w, w*w]."""
        sides = []
        for side, full in ((height, padded[0]), (width, padded[1])):
            places = (torch.arange(full, device=device) + self.shift) % full
            wrapped = places < self.shift  # only the last window of a shifted row holds them
            sides.append(torch.where(places < side, wrapped.long(), 2))
        labels = self._windows((3 * sides[0][:, None] + sides[1])[None, ..., None])[0]
        return labels != labels.transpose(1, 2)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None) -> Tensor:
        """Attention inside windows [B, windows, heads, w*w, d]; hidden [windows, 1, w*w, w*w] as in `_hidden`."""
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + self.relative_bias()
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ v

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        w = self.window
        x = F.pad(x, (0, 0, 0, -width % w, 0, -height % w))
        padded = (x.shape[1], x.shape[2])
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        parts = self.qkv(self._windows(x)).unflatten(-1, (3, self.heads, -1))  # [B, windows, w*w, 3, heads, d]
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5)
        whole = not self.shift and padded == (height, width)
        hidden = None if whole else self._hidden(height, width, padded, x.device)[:, None]
        mixed = self.mix(q, k, v, hidden)
        mixed = mixed.reshape(batch, padded[0] // w, padded[1] // w, self.heads, w, w, -1)
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, *padded, -1)
        if self.shift:
            mixed = mixed.roll((self.shift, self.shift), (1, 2))
        return self.out(mixed[:, :height, :width])


class SwinBlock(Composite):
    """x + attention(norm(x)), then x + mlp(norm(x)) with an MLP of four times the width (Liu et al. 2021)."""

    def __init__(
        self, channels: int, head_width: int, window: int, shifted: bool, drop: float = 0.0, norm: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels) if norm else nn.Identity()
        self.attention = WindowAttention(channels, head_width, window, shifted)
        self.norm2 = nn.LayerNorm(channels) if norm else nn.Identity()
        self.mlp = nn.Sequential(Linear(channels, 4 * channels), nn.GELU(), Linear(4 * channels, channels))
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class AttentionGate(Composite):
    """x + a(x) * sigmoid(b(windows(x))) at an inner width: [B, H, W, C] -> same (Liu et al. 2023, figure 5)."""

    def __init__(self, channels: int, inner: int, head_width: int, window: int) -> None:
        super().__init__()
        self.inp = Conv(channels, inner, 1)
        self.windows = nn.Sequential(*(SwinBlock(inner, head_width, window, shifted) for shifted in (False, True)))
        self.a = nn.Sequential(*(Bottleneck(inner) for _ in range(3)))
        self.b = nn.Sequential(*(Bottleneck(inner) for _ in range(3)), Conv(inner, inner, 1))
        self.gate = SigmoidGate()
        self.out = Conv(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        return self.out(x + self.gate(self.a(x), self.b(self.windows(x))))
