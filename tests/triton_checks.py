"""What tests/test_mixer_triton.py runs in processes of its own: at its import triton decides whether it interprets.

    TRITON_INTERPRET=1 python tests/triton_checks.py interpreted     # the mixer's kernels against their references
    TRITON_CACHE_DIR=... python tests/triton_checks.py compiled      # for an H100, with every argument of a launch
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from test_ops import BFLOAT16, FLOAT32, RANK, assert_same, gated, mixer_tensors, plain_gated, plain_norm
from torch import Tensor, nn
from triton.backends.compiler import GPUTarget

from mvc.blocks.layers import Depthwise
from mvc.blocks.lite import ConvBlock, VSSBlock
from mvc.exact import lower, weighted, weighted_triton
from mvc.exact.fixed import COARSE, FINE
from mvc.ops import depthwise_triton, mixer, mixer_triton, scan_triton

GENERATOR = torch.Generator().manual_seed(1)
TOLERANCES = {torch.float32: FLOAT32, torch.bfloat16: BFLOAT16}


def make(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR) * scale


def interpreted() -> None:
    """Tiles are small, for the interpreter is slow; no height, width or count of tokens is a multiple of them."""
    depthwise_triton.ROWS, depthwise_triton.COLUMNS, depthwise_triton.CHANNELS = 4, 2, 16
    mixer_triton.NUMBERS = 128
    scan_triton.TILE = 8
    for dtype, tolerance in TOLERANCES.items():
        assert_same(mixer.norm, plain_norm, [(3 + 2 * make(1, 3, 5, 48)).to(dtype)], tolerance)
        assert_same(gated, plain_gated, [make(1, 3, 5, 96).to(dtype)], tolerance)
        cases = [(9, "silu", 32), (9, "none", 16), (25, "leaky", 16)]
        for taps, activation, channels in cases if dtype == torch.float32 else cases[:1]:
            tensors = [make(2, 5, 3, channels).to(dtype), make(taps, channels), make(channels)]
            assert_same(
                lambda *t, act=activation: mixer.depthwise(*t, act),
                lambda *t, act=activation: mixer.depthwise_reference(*t, act),
                tensors,
                tolerance,
            )
    turned = make(1, 5, 3, 32).transpose(1, 2)  # its pixels lie at no single distance
    weight, bias, gradients = make(9, 32), make(32), []
    for depthwise in (mixer.depthwise, mixer.depthwise_reference):
        x = turned.detach().requires_grad_()
        depthwise(x, weight, bias, "silu").sum().backward()  # the gradient of a sum has one number in all places
        gradients.append(x.grad)
    assert torch.allclose(*gradients, atol=1e-5)
    tensors = mixer_tensors(make, 1, 3, 5, channels=64)
    with mock.patch.object(mixer.scan, "is_triton", lambda: True):
        assert mixer.is_fused(tensors[0], 64)
        assert_same(lambda *t: mixer.mix(*t, RANK), lambda *t: mixer.mix_reference(*t, RANK), tensors, 2e-5)
    exact()


def exact_layers() -> Iterator[tuple[nn.Module, Tensor]]:
    """Lowered convolutions, and whole numbers in float64 for each, some so large that their sums are clamped."""
    for grid, (channels, size, activation) in product((COARSE, FINE), ((48, 5, "leaky"), (24, 3, "none"))):
        exact = lower.lower(nn.Sequential(Depthwise(channels, size, activation)), grid)[0]
        x = make(2, 5, 9, channels, scale=grid.one)
        x[0, 0] *= 2 * grid.limit / grid.one
        yield exact, x.double().round().clamp(-grid.input_limit, grid.input_limit)


def exact() -> None:
    """The exact layers' kernel against int64, which defines them."""
    weighted_triton.ROWS, weighted_triton.COLUMNS, weighted_triton.CHANNELS = 4, 2, 16
    for layer, x in exact_layers():
        expected = layer(x.long())
        with mock.patch.object(weighted, "gpu_kernels", lambda x: weighted_triton):
            for given in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
                assert torch.equal(layer(given).long(), expected), layer


class Driver:
    """Stands in for CUDA's: kernels are compiled for an H100 with the arguments of each launch, and then not run."""

    def __init__(self) -> None:
        self.launched: set[str] = set()
        self.utils = SimpleNamespace(
            get_device_properties=lambda device: {"max_shared_mem": 227 * 1024},
            load_binary=lambda name, kernel, shared, device: (None, None, 0, 0, 1024),
        )

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        self.launched.add(source.name)
        return lambda *arguments: None


def compiled() -> None:
    driver = Driver()
    triton.runtime.driver.set_active(driver)
    with mock.patch.object(mixer.scan, "is_triton", lambda: True):
        for dtype in TOLERANCES:
            for block in (VSSBlock(64), ConvBlock(48)):
                x = make(1, 6, 7, block.conv.bias.numel()).to(dtype).requires_grad_()
                block(x).sum().backward()
                assert x.grad is not None and x.grad.dtype == dtype
                assert all(p.grad is not None and p.grad.shape == p.shape for p in block.parameters())
        prior = mixer.depthwise(make(1, 6, 7, 48).requires_grad_(), make(25, 48), make(48), "leaky")
        prior.sum().backward()
    with mock.patch.object(weighted, "gpu_kernels", lambda x: weighted_triton):
        for layer, x in exact_layers():
            layer(x)
    print(*sorted(driver.launched))


if __name__ == "__main__":
    with mock.patch.object(mixer, "kernels", lambda x, channels, multiple=16: mixer_triton):
        {"interpreted": interpreted, "compiled": compiled}[sys.argv[1]]()
