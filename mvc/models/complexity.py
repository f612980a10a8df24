"""Parameters, multiply-accumulates and memory of a model, counted on the meta device, where nothing is computed.

Two conventions, both for one picture encoded and decoded (for video: one keyframe and one inter frame):

paper   convolutions, linear layers and GDN: what the papers' counters saw.
full    every matrix product (the projections inside 2DSS, attention) and the selective scan as well, at the Mamba
        authors' 9 operations, 4.5 MACs, per token, channel and state.

Element-wise work (norms, activations, gates, warping) is in neither. The memory estimate is weights plus
the most that tensors take at once, all in float32 and without any fused kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from mvc.blocks.conv import GDN
from mvc.blocks.layers import Depthwise
from mvc.blocks.semantic import SemanticScan
from mvc.models import registry
from mvc.tiling import round_up

PARTS = {"g_a": "g_a", "g_s": "g_s", "h_a": "h_a", "h_s": "h_s", "h_mean": "h_s", "h_scale": "h_s"}
CONTEXTS = "contexts"  # of the slices, and the hyperlatent's density
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, GDN, Depthwise)
SCAN_MACS_PER_STATE = 4.5
_SCAN = torch.ops.mvc.scan_shape.default


@dataclass(frozen=True)
class Complexity:
    """What a model costs at a picture size; the counts are by part: g_a, g_s, h_a, h_s and contexts."""

    width: int
    height: int
    parameters: dict[str, int]
    paper_macs: dict[str, int]
    full_macs: dict[str, int]
    memory_bytes: int


def part_of(name: str) -> str:
    """The part to which a parameter or module belongs, by its dotted name."""
    return next((PARTS[step] for step in name.split(".") if step in PARTS), CONTEXTS)


def _macs(func: Any, args: tuple, kwargs: dict[str, Any], out: Any) -> int:
    if func is _SCAN:
        v, parameters, _, rank = args
        states = (parameters.shape[-1] - rank) // 2
        return int(v.numel() * (rank + SCAN_MACS_PER_STATE * states))
    formula = flop_registry.get(func.overloadpacket)
    return 0 if formula is None else formula(*args, **kwargs, out_val=out) // 2


class _Count(TorchDispatchMode):
    """Sees every operator that runs inside it, and which module runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.modules: list[tuple[str, nn.Module]] = []
        self.paper: Counter[str] = Counter()
        self.full: Counter[str] = Counter()
        self.live_bytes = self.peak_bytes = 0
        self.storages = WeakIdKeyDictionary()

    def watch(self, model: nn.Module) -> list[Callable[[], None]]:
        """Follow which module is running; returns what undoes that."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda m, _, name=name: self.modules.append((name, m))))
            handles.append(module.register_forward_hook(lambda *_: self.modules.pop() and None))
        return [handle.remove for handle in handles]

    def _in_paper(self, func: Any) -> bool:
        """Whether the papers' counters see it: a layer's own, or a convolution with the module's own weight."""
        module = self.modules[-1][1]
        own = func.overloadpacket is torch.ops.aten.convolution and bool(module._parameters)
        return own or isinstance(module, LAYERS)

    def _keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self.storages:
            self.storages[storage] = _Live(self, storage.nbytes())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        macs = _macs(func, args, kwargs or {}, out) if self.modules else 0
        if macs:
            part = part_of(self.modules[-1][0])
            self.full[part] += macs
            self.paper[part] += macs if self._in_paper(func) else 0
            if isinstance(self.modules[-1][1], SemanticScan) and func is _SCAN:
                self.paper[part] += args[0].numel() * args[3]  # SAMIC's step sizes come from a linear layer
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._keep(leaf)
        return out


class _Live:
    """Memory of one storage, given back with it."""

    def __init__(self, count: _Count, size: int) -> None:
        self.count, self.size = count, size
        count.live_bytes += size
        count.peak_bytes = max(count.peak_bytes, count.live_bytes)

    def __del__(self) -> None:
        self.count.live_bytes -= self.size


class ShapeCoder:
    """A coder that codes nothing and leaves the shapes as they are."""

    def hyper(self, z: Tensor) -> Tensor:
        return z

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        return torch.empty_like(y)

    def end_slice(self) -> None:
        pass


def measure(model: Any, width: int, height: int) -> Complexity:
    """Count one pass of a model of models/ (its `trace`) over a picture; it is on the meta device and in eval mode."""
    parameters: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parameters[part_of(name)] += parameter.numel()
    count = _Count()
    undo = count.watch(model)
    try:
        with torch.no_grad(), torch.device("meta"), count:
            model.trace(lambda _: ShapeCoder(), torch.empty(1, height, width, 3))
    finally:
        for remove in undo:
            remove()
    memory = count.peak_bytes + 4 * sum(parameters.values())
    return Complexity(width, height, dict(parameters), dict(count.paper), dict(count.full), memory)


def complexity(name: str, width: int, height: int) -> Complexity:
    """Cost of a model for a picture of this size, which is padded as coding would."""
    with torch.device("meta"):
        model: Any = registry.known(name).make().eval()
    padded = [round_up(side, model.align) for side in (width, height)]
    return measure(model, *padded)
