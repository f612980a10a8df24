"""What only a GPU can show: files cross between devices, kernels agree there, and memory is given back.

Skipped without a CUDA device. `python -m benchmarks.models PICTURE --device cuda` measures speed and memory on one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from test_exact_layers import LAYERS, lowered, values
from test_ops import BFLOAT16, RANK, assert_same, gated, mixer_tensors, plain_gated, plain_norm
from tiny_model import PAPERS, decoded_digests, encoded_digests, picture, tiny_paper_weights, tiny_weights
from torch import Tensor

from mvc.codec import Codec
from mvc.exact.selfcheck import check_backend
from mvc.models.weights import Weights, load, save
from mvc.ops import mixer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SOURCE = picture(200, 300, seed=2)


def both(name: str, folder: Path) -> tuple[Codec, Codec]:
    """The same weights on either device; a codec moves the networks it is given, so each has its own."""
    weights: Weights = tiny_weights() if name == "mambavc-lite" else tiny_paper_weights(name)
    save(folder, weights)
    return Codec(load(folder), "cpu"), Codec(load(folder), "cuda")


@pytest.mark.parametrize("name", ["mambavc-lite", *PAPERS])
@pytest.mark.parametrize("effort", [0, 1])
def test_files_cross_between_devices(name: str, effort: int, tmp_path: Path) -> None:
    check_backend("cuda")
    cpu, gpu = both(name, tmp_path)
    for encoder, decoder in ((cpu, gpu), (gpu, cpu), (gpu, gpu)):
        data, digests = encoded_digests(encoder, SOURCE, 30, effort)
        assert decoded_digests(decoder, data) == digests
        pixels = [codec.decode(data).samples.astype(int) for codec in (encoder, decoder)]
        different = abs(pixels[0] - pixels[1])
        assert (different > 1).mean() <= 1e-4  # specification, section 6.1


@pytest.mark.parametrize("name", ["mambavc-lite", *PAPERS])
def test_tiles_are_the_same_side_by_side(name: str, tmp_path: Path) -> None:
    """Of which a file has the sums: another latent would be an error."""
    cpu, gpu = both(name, tmp_path)
    data = cpu.encode(picture(150, 776, seed=2), 30, 0, 256)
    assert gpu.abreast > 1
    different = abs(cpu.decode(data).samples.astype(int) - gpu.decode(data).samples)
    assert (different > 1).mean() <= 1e-4


@pytest.mark.parametrize("name", LAYERS)
def test_exact_layers_are_the_same_on_both_devices(name: str) -> None:
    make, channels, _ = LAYERS[name]
    torch.manual_seed(1)
    exact, x = lowered(make()), values(2, 6, 10, channels).double()
    with torch.no_grad():
        here = exact(x)
        there = exact.cuda()(x.cuda()).cpu()
    assert torch.equal(here, there)


def test_decoding_gives_its_memory_back(tmp_path: Path) -> None:
    _, gpu = both("mambavc-lite", tmp_path)
    data = gpu.encode(SOURCE, 30)
    gpu.decode(data)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        gpu.decode(data)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before


# --- the mixer's Triton kernels ------------------------------------------------------------------------------------

TOLERANCES = [(torch.float32, 1e-5), (torch.bfloat16, BFLOAT16)]


def make(*shape: int, scale: float = 1.0) -> Tensor:
    """The same numbers for the same shape, on the CPU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * scale


def assert_same_on_a_gpu(
    fast: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    tensors: list[Tensor],
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    """The first tensor in this type, on the device, against float64 on the CPU."""
    pytest.importorskip("triton")
    tensors = [t.cuda() for t in (tensors[0].to(dtype), *tensors[1:])]
    found = mixer.kernels(tensors[0], 64)
    assert found is not None and found.__name__ == "mvc.ops.mixer_triton"
    assert_same(lambda *t: fast(*t).cpu(), lambda *t: plain(*(x.cpu() for x in t)), tensors, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("channels", [16, 128, 320])
def test_norms(channels: int, dtype: torch.dtype, tolerance: float) -> None:
    assert_same_on_a_gpu(mixer.norm, plain_norm, [3 + 2 * make(2, 19, 33, channels)], dtype, tolerance)
    assert_same_on_a_gpu(gated, plain_gated, [make(2, 19, 33, 2 * channels)], dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("activation", ["none", "silu", "leaky"])
@pytest.mark.parametrize("size", [3, 5])
def test_depthwise(size: int, activation: str, dtype: torch.dtype, tolerance: float) -> None:
    for shape in ((2, 19, 33, 80), (1, 1, 1, 16), (3, 4, 4, 320)):
        tensors = [make(*shape), make(size * size, shape[-1]), make(shape[-1])]
        assert_same_on_a_gpu(
            lambda *t: mixer.depthwise(*t, activation),
            lambda *t: mixer.depthwise_reference(*t, activation),
            tensors,
            dtype,
            tolerance,
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.bfloat16, 0.05)])
def test_mix(dtype: torch.dtype, tolerance: float) -> None:
    tensors = mixer_tensors(make, 2, 12, 11, channels=128)
    plain = partial(mixer.mix_reference, rank=RANK)
    assert_same_on_a_gpu(partial(mixer.mix, rank=RANK), plain, tensors, dtype, tolerance)


def test_gradients_are_the_same_every_time() -> None:
    tensors = [t.cuda().requires_grad_() for t in mixer_tensors(make, 4, 33, 40, channels=128)]
    runs = [torch.autograd.grad(mixer.mix(*tensors, RANK).sum(), tensors) for _ in range(3)]
    assert all(torch.equal(*pair) for other in runs[1:] for pair in zip(runs[0], other, strict=True))


def test_more_than_2_to_the_31_numbers() -> None:
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of GPU memory")
    side, channels, rows = 5800, 64, 8
    x = torch.randn(1, side, side, channels, device="cuda", dtype=torch.bfloat16)
    weight, bias = make(9, channels).cuda(), make(channels).cuda()
    near = x[:, -rows - 2 :].clone()  # the last rows, and what they see of the others
    for fast, plain in (
        (mixer.norm, plain_norm),
        (lambda x: mixer.depthwise(x, weight, bias), lambda x: mixer.depthwise_reference(x, weight, bias, "none")),
        (
            lambda x: mixer.depthwise(x, weight, bias, "silu"),
            lambda x: mixer.depthwise_reference(x, weight, bias, "silu"),
        ),
    ):
        found = []
        for op, source in ((fast, x), (plain, near.float())):
            source = source.detach().requires_grad_()
            y = op(source)
            (gradient,) = torch.autograd.grad(y, source, source.detach().abs())
            found.append([t[:, -rows + 1 :].float() for t in (y.detach(), gradient)])
            del y, gradient
        for ours, theirs in zip(*found, strict=True):
            assert (ours - theirs).abs().max() < BFLOAT16 * theirs.abs().max()
