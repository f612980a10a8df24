"""The learned density of the hyperlatent in the papers' models."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (1, 3, 3, 3, 3, 1)
TAIL_MASS = 1e-9


def mass_between(lower: Tensor, upper: Tensor) -> Tensor:
    """What a cumulative distribution rises by between two places, given its logits there."""
    flip = torch.where(lower + upper > 0, -1.0, 1.0)  # subtract in the tail where the sigmoid is small, not near one
    return (torch.sigmoid(flip * upper) - torch.sigmoid(flip * lower)).abs()


class FactorizedDensity(nn.Module):
    """A monotone network per channel is its cumulative distribution (Balle et al. 2018, appendix 6.1).

    `quantiles` [Z, 3] are the lower tail, the median and the upper tail, which `quantile_loss` alone trains (the
    papers' auxiliary loss); tables are built between the tails.
    """

    def __init__(self, channels: int, spread: float = 10.0) -> None:
        super().__init__()
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        gain = spread ** (1 / (len(WIDTHS) - 1))
        for inner, outer in pairwise(WIDTHS):
            self.matrices.append(torch.full((channels, outer, inner), math.log(math.expm1(1 / gain / outer))))
            self.biases.append(torch.empty(channels, outer, 1).uniform_(-0.5, 0.5))
            if outer > 1:
                self.factors.append(torch.zeros(channels, outer, 1))
        self.quantiles = nn.Parameter(torch.tensor([-spread, 0.0, spread]).repeat(channels, 1))

    def logits(self, x: Tensor, frozen: bool = False) -> Tensor:
        """Logit of the cumulative distribution at x [Z, N]."""
        x = x[:, None]
        for k in range(len(WIDTHS) - 1):
            matrix, bias = self.matrices[k], self.biases[k]
            x = F.softplus(matrix.detach() if frozen else matrix) @ x + (bias.detach() if frozen else bias)
            if k < len(self.factors):
                factor = self.factors[k].detach() if frozen else self.factors[k]
                x = x + torch.tanh(factor) * torch.tanh(x)
        return x[:, 0]

    def likelihood(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Probability of the unit interval around z [B, h, w, Z]; there is one density for all quality indices."""
        values = z.float().reshape(-1, z.shape[-1]).t()
        lower, upper = self.logits(values - 0.5), self.logits(values + 0.5)
        return mass_between(lower, upper).t().reshape(z.shape)

    def quantile_loss(self) -> Tensor:
        """Distance of the quantiles' logits from where they belong."""
        tail = math.log(2 / TAIL_MASS - 1)
        return (self.logits(self.quantiles, frozen=True) - self.quantiles.new_tensor([-tail, 0.0, tail])).abs().sum()
