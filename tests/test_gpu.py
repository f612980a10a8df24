"""What only a GPU can show: files cross between devices, kernels agree there, and memory is given back.

Skipped without a CUDA device. `python -m benchmarks.models PICTURE --device cuda` measures speed and memory on one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_exact_layers import LAYERS, lowered, values
from tiny_model import PAPERS, decoded_digests, encoded_digests, picture, tiny_paper_weights, tiny_weights

from mvc.codec import Codec
from mvc.exact.selfcheck import check_backend
from mvc.models.weights import Weights, load, save

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
