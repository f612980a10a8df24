"""Muon for the matrices (Jordan et al. 2024), AdamW for the rest, with Newton-Schulz batched by shape and shared by ranks.

torch.optim.Muon is the reference: the same update, matrix by matrix (tests compare them). Here matrices of one shape
go through one batched product, and with several processes each works on its part and gathers the others'.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of each matrix in [K, m, n] towards one; returns bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = (x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)).contiguous()
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


class Muon:
    """Nesterov momentum, orthogonalised; step size 0.2 sqrt(max(m, n)) lr, which matches AdamW's root mean square."""

    def __init__(self, parameters: list[nn.Parameter], momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            by_shape[parameter.shape].append(parameter)
        self.groups = [by_shape[shape] for shape in sorted(by_shape)]
        self.buffers = [torch.zeros(len(group), *group[0].shape) for group in self.groups]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = gradient.lerp_(buffer, self.momentum)
            share = -(-len(group) // world)  # matrices a rank works on, rounded up
            own = orthogonalise(update[rank * share : (rank + 1) * share])
            if world > 1:
                padded = torch.zeros(share, *update.shape[1:], dtype=own.dtype)
                padded[: len(own)] = own
                gathered = [torch.empty_like(padded) for _ in range(world)]
                dist.all_gather(gathered, padded)
                own = torch.cat(gathered)[: len(group)]
            rate = 0.2 * max(buffer.shape[1:]) ** 0.5 * lr
            for parameter, change in zip(group, own, strict=True):
                parameter.mul_(1 - lr * self.weight_decay).add_(change, alpha=-rate)

    def state_dict(self) -> dict[str, Any]:
        return {"buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for buffer, stored in zip(self.buffers, state["buffers"], strict=True):
            buffer.copy_(stored)


class MuonAdamW:
    """Muon for every weight matrix of at least 16 x 16, AdamW without decay for vectors, tables and small matrices."""

    def __init__(self, model: nn.Module, lr: float) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        matrices = [p for _, p in named if p.ndim == 2 and min(p.shape) >= 16]
        chosen = {id(p) for p in matrices}
        self.rest = [p for _, p in named if id(p) not in chosen]
        self.muon = Muon(matrices)
        self.adamw = torch.optim.AdamW(self.rest, lr=lr, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, foreach=True)

    def step(self, lr: float) -> None:
        self.muon.step(lr)
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
