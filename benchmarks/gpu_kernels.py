"""The fused kernels of the mixer against what torch's operators take, forward and backward, in bfloat16.

Part `kernels` of benchmarks/gpu.py. On a CPU they are numba's, on a GPU Triton's (mvc/ops/mixer.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.speed import shortest_seconds
from mvc.blocks.lite import ConvBlock, VSSBlock
from mvc.ops import mixer

# 64 crops of 256 at 1/8 and at 1/16, which the cache of a GPU holds; and what it does not hold.
SHAPES = (64, 32, 32, 128), (64, 16, 16, 256), (64, 96, 96, 128)
REPEATS = 10
Case = tuple[str, float, Callable[..., Tensor], list[Tensor]]  # name, passes, function, what gets gradients


def cases(shape: tuple[int, ...], device: str) -> Iterator[Case]:
    """Passes are how often a tensor of this shape must at least be read or written."""

    def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, device=device, dtype=dtype).requires_grad_()

    x, gate = (random(*shape, dtype=torch.bfloat16) for _ in range(2))
    channels = shape[-1]
    yield "norm", 5, mixer.norm, [x]
    yield "gated norm", 8, mixer.gated_norm, [x, gate]
    for size, activation in ((3, "silu"), (5, "silu"), (5, "leaky")):
        weight, bias = random(size * size, channels), random(channels)

        def depthwise(x: Tensor, weight: Tensor, bias: Tensor, activation: str = activation) -> Tensor:
            return mixer.depthwise(x, weight, bias, activation)

        yield f"depthwise {size}x{size} {activation}", 5, depthwise, [x, weight, bias]
    blocks: list[nn.Module] = [VSSBlock(channels), ConvBlock(channels)]
    for block in blocks:
        block = block.to(device)
        call: Callable[..., Tensor] = lambda x, *parameters, block=block: block(x)  # noqa: E731
        yield type(block).__name__, 0, call, [x, *block.parameters()]


def seconds(call: Callable[..., Tensor], tensors: list[Tensor], device: str, repeats: int) -> float:
    """Of one forward and backward pass; the first, which compiles, does not count."""
    weight = torch.randn_like(call(*tensors))

    def run() -> None:
        for _ in range(repeats):
            torch.autograd.grad(call(*tensors), tensors, weight)
        if device == "cuda":
            torch.cuda.synchronize()

    run()
    return shortest_seconds(3, run)[0] / repeats


def rows(device: str, quick: bool) -> Iterator[tuple[str, str]]:
    """What was measured, and the figures."""
    shapes = ((1, 8, 8, 64),) if quick else SHAPES
    for shape in shapes:
        for name, passes, call, tensors in cases(shape, device):
            repeats = 1 if quick else REPEATS
            ours = seconds(call, tensors, device, repeats)
            with mock.patch.object(mixer, "kernels", lambda *which: None):
                theirs = seconds(call, tensors, device, repeats)
            moved = passes * tensors[0].numel() * tensors[0].element_size() / 1e9
            speed = f", {moved / ours:.0f} GB/s" if passes else ""
            what = f"{name}, {'x'.join(map(str, shape))}: ms (torch's operators)"
            yield what, f"{1e3 * ours:.3f} ({1e3 * theirs:.3f}), {theirs / ours:.2f} times{speed}"
