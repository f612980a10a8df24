"""The blocks of mambavc-lite: state space (VSS), and window attention or convolution in its place; and their `Stage`.

The other two are there for one comparison, that of MambaVC (section 4.2.2) with its variants SwinVC and ConvVC, at lite
size: each has the VSS block's parameters within 5 %, starts near identity as it does, and keeps x [B, H, W, C] in its
type (bfloat16 in training), with float32 weights. So does the block with SAMIC's scan, in lite_semantic.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.layers import Composite, Depthwise, GatedNorm, Linear, Norm, small
from mvc.blocks.window import WindowAttention
from mvc.ops import mixer
from mvc.ops.product import linear
from mvc.ops.scan import ORDERS, selective_scan

STRIP_TOKENS = 4096
ROW_STRIP_VALUES = 1 << 20  # where neighbours are needed, and computed twice
HEAD_WIDTH = 32
WIDTH_UNIT = 2 * HEAD_WIDTH  # of a window block: half of its width goes to the heads
WINDOW = 8
SIZE = 5  # of the convolution


def strips(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few tokens [T, C] of each of these contiguous tensors [..., C], and then the next, to the last."""
    return zip(*(tensor.view(-1, tensor.shape[-1]).split(STRIP_TOKENS) for tensor in tensors), strict=True)


def row_strips(x: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Strips of the rows of x [B, H, W, C], each with a row more on both sides, and where in that it lies."""
    height, rows = x.shape[1], max(8, ROW_STRIP_VALUES // (x.shape[0] * x.shape[2] * x.shape[3]))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        wide = slice(max(0, top - 1), min(height, bottom + 1))
        yield slice(top, bottom), wide, slice(top - wide.start, bottom - wide.start)


def add(x: Tensor, branch: Callable[..., Tensor], *inputs: Tensor, out: Tensor | None = None) -> Tensor:
    """x + branch(*inputs), a function of single tokens; all are [B, H, W, C].

    Without gradients it runs strip by strip, and the sum goes into `out` if there is one. At 4K every full-size tensor
    takes 66 MB, and memory that is touched for the first time costs more than a normalisation that is done twice.
    """
    if torch.is_grad_enabled() or not mixer.by_strips(x, x.shape[-1]):
        return x + branch(*inputs)
    x = x.contiguous()
    out = torch.empty_like(x) if out is None else out
    for target, strip, *own in strips(out, x, *inputs):
        torch.add(strip, branch(*own), out=target)
    return out


class GroupedScan(nn.Module):
    """The input-dependent recurrence S6, a quarter of the channels along each of four orders (ops/scan.py).

    v [B, H, W, C] -> y in its type. What gives a token its step sizes, B and C sees all channels.
    """

    def __init__(self, channels: int, states: int = 1, rank: int = 4, orders: int = ORDERS) -> None:
        """`orders` is how many of them have step sizes, B and C of their own."""
        super().__init__()
        self.rank = rank
        self.projection = nn.Parameter(
            torch.empty(orders * (rank + 2 * states), channels).normal_(std=channels**-0.5)
        )
        self.dt_weight = nn.Parameter(torch.empty(rank, channels).uniform_(-(rank**-0.5), rank**-0.5))
        step = torch.exp(torch.empty(channels).uniform_(math.log(0.003), math.log(0.3)))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # inverse softplus
        self.a_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1))[:, None].repeat(1, channels))
        self.d = nn.Parameter(torch.ones(channels))

    def weights(self) -> Tensor:
        """As `selective_scan` takes them: [R + 1 + N + 1, C]."""
        return torch.cat([self.dt_weight, self.dt_bias[None], -torch.exp(self.a_log), self.d[None]])

    def forward(self, v: Tensor) -> Tensor:
        parameters = F.linear(v.flatten(1, 2), self.projection.to(v.dtype)).to(self.projection.dtype)
        return selective_scan(v, parameters.unflatten(-1, (ORDERS, -1)), self.weights(), self.rank)


class VSSBlock(Composite):
    """x + out(norm(scan(silu(conv(value)))) * silu(gate)), with value and gate from norm(x).

    The visual state-space block of MambaVC (figure 3), expansion 1, with a grouped scan. Where there are kernels
    that do several of these steps at once, they are what runs (ops/mixer.py).
    """

    def __init__(self, channels: int, states: int = 1, rank: int = 4) -> None:
        super().__init__()
        # An optimiser's state in a checkpoint goes by the order in which parameters are made.
        self.conv = Depthwise(channels, 3, "silu")
        self.scan = GroupedScan(channels, states, rank)
        self.in_proj = Linear(channels, 2 * channels)
        self.out_proj = small(Linear(channels, channels))  # near identity: a model can be deepened
        self.norm, self.gated_norm = Norm(), GatedNorm()

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The result may be put into `out`, which may be x; see `add`."""
        training = torch.is_grad_enabled()
        if not (mixer.is_fused if training else mixer.by_strips)(x, x.shape[-1]):
            value, gate = self.in_proj(self.norm(x)).chunk(2, -1)
            return x + self.out_proj(self.gated_norm(self.scan(self.conv(value)), gate))
        scan = self.scan.projection, self.scan.weights(), self.scan.rank
        if training:
            return x + self.out_proj(mixer.mix(self.in_proj(self.norm(x)), self.conv.weight, self.conv.bias, *scan))
        value_weight, gate_weight = self.in_proj.weight.to(x.dtype).chunk(2)
        value_bias, gate_bias = self.in_proj.bias.to(x.dtype).chunk(2)
        x = x.contiguous()
        y = torch.empty_like(x)
        for rows, wide, own in row_strips(x):
            value = linear(self.norm(x[:, wide]), value_weight, value_bias)
            y[:, rows] = self.conv(value)[:, own]
        y = mixer.scanned_(y, *scan)

        def branch(x: Tensor, y: Tensor) -> Tensor:
            return self.out_proj(self.gated_norm(y, linear(self.norm(x), gate_weight, gate_bias)))

        return add(x, branch, x, y, out=out)


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


class WindowBlock(Composite):
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
        self.norm = Norm()

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The result may be put into `out`, which may be x; see `add`."""
        x = torch.add(x, self.attention(self.norm(x)), out=out)
        return add(x, lambda x: self.mlp(self.norm(x)), x, out=x)


class ConvBlock(Composite):
    """x + out(norm(silu(conv(value))) * silu(gate)), with value and gate from norm(x): a gated convolutional block.

    This is the VSS block without its scan, for which the depthwise convolution grows from 3 x 3 to 5 x 5, the largest
    that has a fused kernel here and keeps the count of parameters. The paper's ConvVC (GDN and dense 5 x 5 kernels)
    would lose at this size for want of weights, and say little; MambaOut (Yu and Wang 2024) found gated depthwise
    blocks to be the ones that a scan has to beat. The norm behind the convolution does what GDN does.
    """

    def __init__(self, channels: int, size: int = SIZE) -> None:
        super().__init__()
        self.value = Linear(channels, channels)
        self.gate = Linear(channels, channels)
        self.conv = Depthwise(channels, size, "silu")
        self.out = small(Linear(channels, channels))
        self.norm, self.gated_norm = Norm(), GatedNorm()

    def mixed(self, f: Tensor) -> Tensor:
        """What comes of the value before norm and gate: [B, H, W, C] of norm(x)."""
        y: Tensor = self.conv(self.value(f))
        return y

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The result may be put into `out`, which may be x; see `add`."""
        f = self.norm(x)
        return add(x, lambda f, y: self.out(self.gated_norm(y, self.gate(f))), f, self.mixed(f), out=out)


class Stage(nn.Sequential):
    """Blocks one after the other. Without gradients each may put its result over its input."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().forward(x)
        x = x.contiguous()
        for block in self:
            x = block(x, out=x)
        return x


_MOVED = {"conv": "conv.weight", "conv_bias": "conv.bias"}
_MOVED |= {name: f"scan.{name}" for name in ("projection", "dt_weight", "dt_bias", "a_log", "d")}
_OLD_NAME = re.compile(rf"(.*\bstage\d+\.\d+)\.({'|'.join(_MOVED)})")


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors under the names of today; files from before VSS blocks were made of modules have others."""
    found = {name: _OLD_NAME.fullmatch(name) for name in tensors}
    return {f"{old[1]}.{_MOVED[old[2]]}" if (old := found[name]) else name: value for name, value in tensors.items()}
