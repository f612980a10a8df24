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


class Clustering(nn.Module):
    """Cluster of every token by what it shows and where it is: v [B, H, W, D] (SAMIC, equations 1 to 3).

    The permutation that follows has no gradient. So that the clustering learns, training multiplies each token by
    p / p of its own cluster, which is 1 but passes gradients to p; the paper does not say how it does this.
    """

    def __init__(self, channels: int, features: int = 32, clusters: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Conv(channels, features, 3), nn.SiLU(), Conv(features, features, 3), nn.SiLU(), Conv(features, features, 1)
        )
        self.centres = nn.Parameter(torch.randn(clusters, features))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.1)))

    def position(self, height: int, width: int, like: Tensor) -> Tensor:
        """sin(pi u) in the first half of the channels and cos(pi v) in the second, u and v in 0 ... 1: [H, W, F]."""
        half = self.centres.shape[1] // 2
        u, v = (torch.arange(n, device=like.device, dtype=like.dtype) / n for n in (height, width))
        rows = torch.sin(math.pi * u)[:, None, None].expand(height, width, half)
        return torch.cat([rows, torch.cos(math.pi * v)[None, :, None].expand(height, width, half)], -1)

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """-> cluster [B, H*W] and factor [B, H*W, 1], which is one."""
        seen = self.features(v) + self.position(v.shape[1], v.shape[2], v)
        similarity = F.normalize(seen.flatten(1, 2), dim=-1) @ F.normalize(self.centres, dim=-1).t()
        scores = similarity / self.log_temperature.exp()
        if self.training:  # Gumbel-softmax
            scores = scores - torch.log(-torch.log(torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)))
        index = torch.arange(scores.shape[-1], device=v.device)
        best = scores.amax(-1, keepdim=True)
        cluster = torch.where(scores == best, index, len(index)).amin(-1)  # the lower index where two are equal
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


class LowRank(nn.Module):
    """SVD-RRM: y + alpha (y' - y), y' with every singular value lowered by theta (SAMIC, equations 7 to 10).

    y [B, H, W, M] is a matrix of M x HW for each sample. Encoder only. Of the singular vectors' gradient torch
    computes terms that divide by differences of singular values, so equal ones are undefined in training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(0.01))
        self.alpha = nn.Parameter(torch.tensor(0.1))

    def forward(self, y: Tensor) -> Tensor:
        u, s, vh = torch.linalg.svd(y.flatten(1, 2).float(), full_matrices=False)
        low = (u * F.relu(s - self.theta)[:, None]) @ vh
        return y + self.alpha * (low.view(y.shape).to(y.dtype) - y)
