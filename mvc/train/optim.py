"""Muon for the matrices (Jordan et al. 2024), AdamW for the rest; Newton-Schulz batched by shape, shared by processes.
Or Adam for all, as the papers have it.

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
Rate = float | Tensor
"""A learning rate; on a GPU it may be a number that is there, [], so that a captured step reads it."""


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


def share_work(shapes: list[tuple[int, int, int]], world: int) -> list[list[list[int]]]:
    """Which matrices of each group [K, m, n] each rank orthogonalises: [group][rank] -> indices into the group.

    The most expensive come first and go to the rank that has least to do, so that all finish together.
    """
    owners: list[list[list[int]]] = [[[] for _ in range(world)] for _ in shapes]
    cost = [min(m, n) ** 2 * (2 * max(m, n) + min(m, n)) for _, m, n in shapes]
    load = [0] * world
    for group in sorted(range(len(shapes)), key=lambda g: -cost[g]):
        for index in range(shapes[group][0]):
            rank = load.index(min(load))
            owners[group][rank].append(index)
            load[rank] += cost[group]
    return owners


class Muon:
    """Nesterov momentum, orthogonalised; step size 0.2 sqrt(max(m, n)) lr, which matches AdamW's root mean square."""

    def __init__(self, parameters: list[nn.Parameter], momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            by_shape[parameter.shape].append(parameter)
        self.groups = [by_shape[shape] for shape in sorted(by_shape)]
        self.buffers = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.owners = share_work([(len(g), g[0].shape[0], g[0].shape[1]) for g in self.groups], self.world)

    @torch.no_grad()
    def step(self, lr: Rate) -> None:
        """Move every parameter; all ranks must call this with the same gradients."""
        own = []
        for group, buffer, owners in zip(self.groups, self.buffers, self.owners, strict=True):
            gradients = [p.grad for p in group if p.grad is not None]
            torch._foreach_lerp_(buffer.unbind(), gradients, 1 - self.momentum)
            mine = owners[self.rank]
            if mine:
                momentum = buffer if len(mine) == len(group) else buffer[mine]
                update = torch.stack([gradients[i] for i in mine]).lerp_(momentum, self.momentum)
                own.append(orthogonalise(update).flatten())
        for rank, changes in enumerate(self._gather(own)):
            sizes = [len(owners[rank]) * g[0].numel() for g, owners in zip(self.groups, self.owners, strict=True)]
            parts = changes[: sum(sizes)].float().split(sizes)
            for group, owners, part in zip(self.groups, self.owners, parts, strict=True):
                moved: list[Any] = [group[index] for index in owners[rank]]
                if moved:
                    keep: Any = 1 - lr * self.weight_decay
                    part *= 0.2 * max(group[0].shape) ** 0.5 * lr
                    torch._foreach_mul_(moved, keep)
                    torch._foreach_sub_(moved, part.view(len(moved), *group[0].shape).unbind())

    def _gather(self, own: list[Tensor]) -> list[Tensor]:
        """Every rank's updates, flat, in the order of its matrices: one exchange for all of them."""
        flat = torch.cat(own) if own else torch.empty(0, dtype=torch.bfloat16, device=self.buffers[0].device)
        if self.world == 1:
            return [flat]
        sizes = [
            sum(len(owners[rank]) * group[0].numel() for group, owners in zip(self.groups, self.owners, strict=True))
            for rank in range(self.world)
        ]
        padded = torch.nn.functional.pad(flat, (0, max(sizes) - len(flat)))
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return gathered

    def state_dict(self) -> dict[str, Any]:
        return {"buffers": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for buffer, stored in zip(self.buffers, state["buffers"], strict=True):
            buffer.copy_(stored)


class MuonAdamW:
    """Muon for every weight matrix of at least 16 x 16, AdamW without decay for vectors, tables and small matrices."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        matrices = [p for p in parameters if p.ndim == 2 and min(p.shape) >= 16]
        chosen = {id(p) for p in matrices}
        self.rest = [p for p in parameters if id(p) not in chosen]
        self.muon = Muon(matrices)
        self.adamw = torch.optim.AdamW(self.rest, lr=lr, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, foreach=True)

        self._captured = False

    def step(self, lr: Rate) -> None:
        self.muon.step(lr)
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()

    def captured(self) -> MuonAdamW:
        """Itself; from now on steps take a learning rate that is on the device, and can be part of a CUDA graph."""
        self._captured = True
        self.adamw._warned_capturable_if_run_uncaptured = True  # the first ones are on their own
        for group in self.adamw.param_groups:
            group["capturable"] = True
        for parameter, values in self.adamw.state.items():
            values["step"] = values["step"].to(parameter.device)
        return self

    def state_dict(self) -> dict[str, Any]:
        adamw = self.adamw.state_dict()
        if self._captured:  # a checkpoint does not know of it
            adamw["state"] = {
                index: {**values, "step": values["step"].cpu()} for index, values in adamw["state"].items()
            }
            adamw["param_groups"] = [
                {**group, "capturable": False, "lr": float(group["lr"])} for group in adamw["param_groups"]
            ]
        return {"muon": self.muon.state_dict(), "adamw": adamw}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        if self._captured:
            self.captured()


class Adam:
    """torch's Adam (Kingma & Ba 2015) with its usual settings for every parameter."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        self.adam = torch.optim.Adam(parameters, lr=lr)

    def step(self, lr: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])


OPTIMIZERS: dict[str, type[MuonAdamW] | type[Adam]] = {"muon": MuonAdamW, "adam": Adam}
"""By the name that a recipe gives."""
