"""SAMIC's blocks: a scan whose order follows what is in the picture, and low-rank latents. Channels last: [B, H, W, C].

There is no public code; what the paper leaves open is said where it is decided.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.conv import Conv
from mvc.blocks.layers import Composite, Linear
from mvc.blocks.vss import SS2D, Scan, default_rank
from mvc.ops.scan import ORDERS, selective_scan

TINY = 1e-30  # below every singular value that is not zero


def cluster_order(cluster: Tensor, clusters: int) -> Tensor:
    """Token order that visits one cluster after the other: cluster index [B, H*W] -> permutation [B, H*W].

    Clusters come by their mean position (SAMIC, equation 4; the means of row and column as one number in raster
    order), tokens of a cluster in raster order. Exact: integer sums, one division, stable sorts.
    """
    length = cluster.shape[1]
    member = (cluster[..., None] == torch.arange(clusters, device=cluster.device)).double()
    place = torch.arange(length, device=cluster.device, dtype=torch.float64)[:, None]
    key = (member * place).sum(1) / member.sum(1).clamp_min(1)  # width * mean row + mean column
    rank = key.argsort(stable=True, dim=1).argsort(1)
    return rank.gather(1, cluster).argsort(stable=True, dim=1)


class _Reordered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, order, inverse):
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx, grad):
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


def reordered(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Rows of x [N, C] in another order, a permutation of which the inverse is known.

    torch's own gradient of this adds up what may come from several places, at several times the cost.
    """
    y: Tensor = _Reordered.apply(x, order, inverse)
    return y


class Clustering(nn.Module):
    """Cluster of every token by what it shows and where it is: v [B, H, W, D] (SAMIC, equations 1 to 3).

    The permutation that follows has no gradient. So that the clustering learns, training multiplies each token by
    p / p of its own cluster, which is 1 but passes gradients to p; the paper does not say how it does this.
    """

    def __init__(self, channels: int, features: int = 32, clusters: int = 16) -> None:
        super().__init__()
        self.features = self._network(channels, features)
        self.centres = nn.Parameter(torch.randn(clusters, features))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.1)))

    @staticmethod
    def _network(channels: int, features: int) -> nn.Module:
        return nn.Sequential(
            Conv(channels, features, 3), nn.SiLU(), Conv(features, features, 3), nn.SiLU(), Conv(features, features, 1)
        )

    def position(self, height: int, width: int, like: Tensor) -> Tensor:
        """sin(pi u) in the first half of the channels and cos(pi v) in the second, u and v in 0 ... 1: [H, W, F]."""
        half = self.centres.shape[1] // 2
        u, v = (torch.arange(n, device=like.device, dtype=like.dtype) / n for n in (height, width))
        rows = torch.sin(math.pi * u)[:, None, None].expand(height, width, half)
        return torch.cat([rows, torch.cos(math.pi * v)[None, :, None].expand(height, width, half)], -1)

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """-> cluster [B, H*W] and factor [B, H*W, 1], which is one."""
        seen = self.features(v).to(self.centres.dtype)
        seen = seen + self.position(v.shape[1], v.shape[2], seen)
        similarity = F.normalize(seen.flatten(1, 2), dim=-1) @ F.normalize(self.centres, dim=-1).t()
        scores = similarity / self.log_temperature.exp()
        if self.training:  # Gumbel-softmax
            scores = scores - torch.log(-torch.log(torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)))
        cluster = scores.argmax(-1)  # the first where two are equal
        chosen = scores.softmax(-1).gather(-1, cluster[..., None])
        return cluster, chosen / chosen.detach()


class SemanticScan(nn.Module):
    """SASS: one scan along the order of the clusters: v [B, H, W, D] -> y [B, H, W, D] (SAMIC, equations 5 and 6).

    `selective_scan` gives a quarter of the channels to each of four orders. On a picture of one row these are forward
    and backward in turn, so the second and fourth quarter are given to it reversed.
    """

    def __init__(self, channels: int, states: int, rank: int, features: int = 32, clusters: int = 16) -> None:
        super().__init__()
        self.rank = rank
        self.clustering = Clustering(channels, features, clusters)
        one = Scan(channels // ORDERS, states, rank)  # for its initial values: as many weights as one order has
        self.projection = Linear(channels, rank + 2 * states, bias=False)
        self.dt_weight, self.dt_bias, self.a_log, self.d = one.dt_weight, one.dt_bias, one.a_log, one.d

    @staticmethod
    def _turn(x: Tensor) -> Tensor:
        """Reverse the second and the fourth of four [B, H*W, 4, n]."""
        parts = x.unbind(2)
        return torch.stack([part.flip(1) if k % 2 else part for k, part in enumerate(parts)], 2)

    def forward(self, v: Tensor) -> Tensor:
        batch, height, width, channels = v.shape
        cluster, factor = self.clustering(v)
        order = cluster_order(cluster, len(self.clustering.centres))
        tokens = v.float().flatten(1, 2) * factor
        tokens = tokens.gather(1, order[..., None].expand_as(tokens))
        parameters = self._turn(self.projection(tokens)[:, :, None].expand(-1, -1, ORDERS, -1))
        weights = torch.cat([self.dt_weight, self.dt_bias[None], -torch.exp(self.a_log), self.d[None]])
        turned = self._turn(tokens.unflatten(-1, (ORDERS, -1))).flatten(2)
        y = selective_scan(turned[:, None], parameters, weights, self.rank)[:, 0]
        y = self._turn(y.unflatten(-1, (ORDERS, -1))).flatten(2)
        y = y.gather(1, order.argsort(1)[..., None].expand_as(y))
        return y.view(batch, height, width, channels).to(v.dtype)


class MambaBlock(Composite):
    """x + mixer(norm(x)), no gate, no MLP, expansion 2 (SAMIC, figure 3); scan by SASS, or 2DSS if not `semantic`."""

    def __init__(self, channels: int, states: int = 16, semantic: bool = True) -> None:
        super().__init__()
        inner, rank = 2 * channels, default_rank(channels)
        scan = SemanticScan(inner, states, rank) if semantic else Scan(inner, states, rank)
        self.norm = nn.LayerNorm(channels)
        self.mixer = SS2D(channels, inner, scan, gated=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixer(self.norm(x))


class _Shrunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, threshold):
        u, s, vh = torch.linalg.svd(y, full_matrices=False)
        kept = F.relu(s - threshold)
        ctx.save_for_backward(u, s, vh, kept, threshold)
        return (u * kept[:, None]) @ vh

    @staticmethod
    def backward(ctx, grad):
        u, s, vh, kept, threshold = ctx.saved_tensors
        left, right = u.mT @ grad, grad @ vh.mT
        inner = left @ vh.mT
        lost, active = F.relu(threshold - s), kept > 0
        both = active[:, :, None] & active[:, None]
        excess = kept[:, :, None] + kept[:, None]
        # (f(a) - f(b)) / (a - b) and (f(a) + f(b)) / (a + b) for f(s) = max(s - threshold, 0), without a difference
        apart = torch.where(both, 1.0, excess / (excess + lost[:, :, None] + lost[:, None]).clamp_min(TINY))
        together = excess / (s[:, :, None] + s[:, None]).clamp_min(TINY)
        turned = 0.5 * (apart * (inner + inner.mT) + together * (inner - inner.mT))
        share = kept / s.clamp_min(TINY)
        outer = (u * share[:, None]) @ (left - inner @ vh) + ((right - u @ inner) * share[:, None]) @ vh
        return u @ turned @ vh + outer, -(active * inner.diagonal(dim1=1, dim2=2)).sum()


def shrunk(y: Tensor, threshold: Tensor) -> Tensor:
    """Matrices y [B, m, n] with every singular value lowered by a threshold (a number >= 0), to 0 where it is less.

    The gradient is the operator's own (its divided differences lie in 0 ... 1), also where singular values are equal
    or zero. Through the singular vectors, as torch does it, there would be a division by zero in every flat crop.
    """
    low: Tensor = _Shrunk.apply(y, threshold)
    return low


class LowRank(nn.Module):
    """SVD-RRM: y + alpha (y' - y), y' with every singular value lowered by |theta| (SAMIC, equations 7 to 10).

    y [B, H, W, M] is a matrix of M x HW for each sample. Encoder only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(0.01))
        self.alpha = nn.Parameter(torch.tensor(0.1))

    def forward(self, y: Tensor) -> Tensor:
        low = shrunk(y.flatten(1, 2).float(), self.theta.abs())
        return y + self.alpha * (low.view(y.shape).to(y.dtype) - y)
