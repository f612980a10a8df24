"""The VSS block of mambavc-lite with SAMIC's scan: one order, which follows what is in the picture (SASS).

For one comparison, like the other kinds in lite.py, and with as many weights: what one order saves against four, in
what makes step sizes, B and C, the clustering takes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.blocks.layers import Depthwise, Linear
from mvc.blocks.lite import ConvBlock, GroupedScan
from mvc.blocks.semantic import Clustering, cluster_order, reordered
from mvc.ops.scan import ORDERS, selective_scan

FEATURES = 16  # of a token, to tell its cluster; the depthwise kernels take multiples of 16
CLUSTERS = 16  # the paper's K
FIRST_GAIN = 2.0


class LiteClustering(Clustering):
    """Clusters by 16 features of a linear layer and depthwise kernels, where the paper has dense ones and 32.

    At C = 128 those would have almost as many weights as the block. v [B, H, W, C] may be bfloat16; similarities are
    float32. The first weights are such that features vary as much as positions do: else a cluster begins as a place.
    """

    @staticmethod
    def _network(channels: int, features: int) -> nn.Module:
        linear = Linear(channels, features), Linear(features, features)
        depthwise = [Depthwise(features, 3, "silu") for _ in range(2)]
        for layer in linear:
            nn.init.normal_(layer.weight, std=FIRST_GAIN * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        for kernel in depthwise:
            nn.init.normal_(kernel.weight)
        return nn.Sequential(linear[0], *depthwise, linear[1])


class SemanticGroupedScan(GroupedScan):
    """SASS: all channels along the order of the clusters, with the same step sizes' inputs, B and C.

    v [B, H, W, C] -> y in its type. As in `SemanticScan` the kernel sees a picture of one row, along which it takes the
    second and fourth quarter of the channels backward; they lie in it reversed.
    """

    def __init__(self, channels: int, states: int = 1, rank: int = 4) -> None:
        super().__init__(channels, states, rank, orders=1)
        self.clustering = LiteClustering(channels, FEATURES, CLUSTERS)

    def forward(self, v: Tensor) -> Tensor:
        batch, height, width, channels = v.shape
        cluster, factor = self.clustering(v)
        if self.training:
            v = v * factor.view(batch, height, width, 1).to(v.dtype)
        order, inverse = quarters_of(cluster_order(cluster, CLUSTERS))
        projection = self.projection.repeat(ORDERS, 1).to(v.dtype)
        parameters = F.linear(v.reshape(-1, channels), projection).to(self.projection.dtype)
        parameters = reordered(parameters.view(-1, len(self.projection)), order, inverse)
        tokens = reordered(v.reshape(-1, channels // ORDERS), order, inverse)
        y = selective_scan(
            tokens.view(batch, 1, height * width, channels),
            parameters.view(batch, height * width, ORDERS, -1),
            self.weights(),
            self.rank,
        )
        return reordered(y.view(-1, channels // ORDERS), inverse, order).view(v.shape)


def quarters_of(order: Tensor) -> tuple[Tensor, Tensor]:
    """Of the order of tokens [B, L] that of the quarters of their channels, odd ones backward; and its inverse.

    Both are permutations of B * L * 4 rows.
    """
    batch, length = order.shape
    first = length * torch.arange(batch, device=order.device)[:, None]
    forward, backward = order + first, order.flip(1) + first
    tokens = torch.stack([forward, backward] * (ORDERS // 2), -1)
    rows = (ORDERS * tokens + torch.arange(ORDERS, device=order.device)).flatten()
    inverse = torch.empty_like(rows).scatter_(0, rows, torch.arange(len(rows), device=order.device))
    return rows, inverse


class SemanticBlock(ConvBlock):
    """x + out(norm(scan(silu(conv(value)))) * silu(gate)), value and gate from norm(x): the VSS block, scanned by SASS.

    Where two computers' last digits differ, a token between two clusters may be in either: then the pictures differ
    there by more than rounding. On one computer it is always the same.
    """

    def __init__(self, channels: int, states: int = 1, rank: int = 4) -> None:
        super().__init__(channels, size=3)
        self.scan = SemanticGroupedScan(channels, states, rank)

    def mixed(self, f: Tensor) -> Tensor:
        y: Tensor = self.scan(super().mixed(f))
        return y
