"""Latent refinement: what it promises, on a tiny random model and on the shipped one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import CONFIG, decoded_digests, encoded_digests, picture, tiny_codec, tiny_network, tiny_weights

import mvc
from mvc import codec as codecs
from mvc.effort import refine as refining
from mvc.effort.refine import ANCHORS, ITERATIONS, choose_curvature, factors_at, fast_dtype, float_prior, refine
from mvc.entropy.tables import SCALE_MIN
from mvc.exact.fixed import ONE
from mvc.media import read_picture
from mvc.metrics import psnr
from mvc.models.estimate import RateEstimator
from mvc.models.rounding import NEAREST
from mvc.models.weighing import rd_lambda
from mvc.ops.rate import gaussian_bits, step_bits
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"
SIZE = 150, 200
QUALITY = 30


def cost(network, prior, x, size, quality, y, z) -> float:
    """Bits of y as the prior estimates them, plus lambda times the squared error of the real pixels."""

    class Bits(RateEstimator):
        def __init__(self) -> None:
            self.noise, self.dtype, self.latent_bits = False, torch.float32, torch.zeros(1)

        def hyper(self, z: torch.Tensor) -> torch.Tensor:
            return torch.round(z)

    coder = Bits()
    with torch.no_grad():
        x_hat = network.model.g_s(prior.code(coder, quality, z, y).float(), quality)
    error = (x_hat - x)[:, : size[0], : size[1]].square().sum() / 3 * 255**2
    return float(coder.latent_bits + rd_lambda(quality) * error)


def tiny_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refining, "fast_dtype", lambda device: torch.float32)
    source, codec = picture(*SIZE), tiny_codec()
    monkeypatch.setattr(codec.model, "rounding", NEAREST)  # as `cost` has it; test_rounding.py has the other
    return codec.network, float_prior(codec.network), codec.to_tensor(source), SIZE, torch.tensor([QUALITY])


def test_the_float_prior_computes_what_the_exact_one_does():
    network = tiny_weights().picture
    prior = float_prior(network)
    z, quality = torch.randint(-9, 10, (1, 3, 5, CONFIG.hyper)), torch.tensor([17])
    exact = network.prior.h_s(z.double() * ONE, quality) / ONE
    close = prior.h_s(z.float(), quality)
    assert exact.std() > 0.3
    torch.testing.assert_close(close.double(), exact, atol=0.05, rtol=0.01)
    assert not any(parameter.requires_grad for parameter in prior.parameters())


def test_an_analysis_in_bfloat16_is_nearly_the_same():
    network, index = tiny_network(), torch.tensor([QUALITY])
    x = tiny_codec().to_tensor(picture(*SIZE))
    with torch.no_grad():
        (y, z), (near, hyper) = (network.analyse(x, index, dtype=dtype) for dtype in (None, torch.bfloat16))
        assert near.dtype == hyper.dtype == torch.float32
        assert 0 < (near - y).abs().mean() < 0.01 and (hyper - z).abs().mean() < 0.02 * z.abs().mean()
        for parameter in network.g_a.head.parameters():
            parameter.zero_()
        assert torch.equal(network.analyse(x, index, dtype=torch.bfloat16)[0], network.analyse(x, index)[0])


@pytest.mark.parametrize(("name", "value"), [("OMP_DYNAMIC", "TRUE"), ("OMP_THREAD_LIMIT", "2")])
def test_bfloat16_is_left_alone_where_its_products_may_be_wrong(name, value, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setenv("OMP_DYNAMIC", "false")
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    assert fast_dtype(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setenv(name, value)
    assert fast_dtype(torch.device("cpu")) == torch.float32


def test_more_iterations_cost_less(monkeypatch):
    problem = tiny_problem(monkeypatch)
    network, _, x, _, quality = problem
    found = [cost(*problem, *network.model.analyse(x, quality))]
    for iterations in ITERATIONS[1:]:
        found.append(cost(*problem, *refine(*problem, iterations)))
    assert found[1] < 0.999 * found[0]
    assert all(b < 1.0005 * a for a, b in pairwise(found))


def test_the_curvature_is_the_one_with_the_cheapest_files(monkeypatch):
    monkeypatch.setattr(refining, "GRID", (0.01, 1.0, 30.0))
    network, prior, x, _, _ = tiny_problem(monkeypatch)
    chosen = choose_curvature(network, [x])
    assert len(chosen) == ANCHORS and all(later <= first for first, later in chosen)
    size = x.shape[1], x.shape[2]
    for anchor, index in ((0, 0), (ANCHORS - 1, 63)):
        quality, costs = torch.tensor([index]), []
        for factor in refining.GRID:
            fixed = replace(network, curvature=[[factor, factor]] * ANCHORS)
            y, z = refine(fixed, prior, x, size, quality, 1)
            costs.append(cost(fixed, prior, x, size, quality, y, z))
        assert chosen[anchor][0] == refining.GRID[int(np.argmin(costs))]
        assert max(costs) > 1.0005 * min(costs)  # the choice matters


def test_curvatures_follow_the_quality():
    network = replace(tiny_weights().picture, curvature=[[2.0, 1.0], [4.0, 3.0]])
    assert factors_at(network, torch.tensor([0])) == (2.0, 1.0)
    assert factors_at(network, torch.tensor([63])) == (4.0, 3.0)
    assert 2.9 < factors_at(network, torch.tensor([31]))[0] < 3.1


def test_parts_begin_on_even_places_and_cover_everything(monkeypatch):
    monkeypatch.setattr(refining, "LATENTS", (8, 8))
    for height, width in ((1, 1), (8, 9), (23, 50)):
        seen = torch.zeros(height, width, dtype=torch.int32)
        for rows, columns in refining._patches(height, width):
            assert rows.start % 2 == columns.start % 2 == 0
            assert rows.stop - rows.start <= 10 and columns.stop - columns.start <= 10
            seen[rows, columns] += 1
        assert (seen == 1).all()


def test_small_patches_and_patches_of_padding(monkeypatch):
    """Of one row: with a picture of 65 rows padded to 128 some hold nothing but padding and stay as they are."""
    monkeypatch.setattr(refining, "LATENTS", (2, 2))
    codec, source = tiny_codec(), picture(65, 70)
    monkeypatch.setattr(codec.model, "rounding", NEAREST)
    index, x = torch.tensor([QUALITY]), codec.to_tensor(source)
    with torch.no_grad():
        plain = codec.model.g_a(x, index)
    y, _ = refine(codec.network, float_prior(codec.network), x, (65, 70), index, 1)
    changed = (y != plain).any(-1)[0]
    assert changed[:5, :5].any()
    assert not changed[6:].any() and not changed[:, 6:].any()


@pytest.mark.parametrize("effort", range(mvc.MAX_EFFORT + 1))
def test_every_effort_makes_a_file_that_decodes_to_what_was_coded(effort):
    codec, source = tiny_codec(), picture(90, 61)
    data, digests = encoded_digests(codec, source, 40, effort)
    assert decoded_digests(codec, data) == digests
    assert codec.encode(source, 40, effort) == data  # nothing random in it


def test_an_effort_that_does_not_exist():
    assert len(ITERATIONS) == mvc.MAX_EFFORT + 1
    for effort in (-1, mvc.MAX_EFFORT + 1):
        with pytest.raises(ValueError, match="effort"):
            tiny_codec().encode(picture(8, 8), 40, effort)
        with pytest.raises(ValueError, match="effort"):
            mvc.encode(picture(8, 8), effort=effort)


def test_effort_pays_on_a_photograph():
    """At equal PSNR, interpolated between two files of effort 0, higher efforts need fewer bytes."""
    samples = read_picture(SAMPLES / "kodim15.png").picture.samples
    codec, saved = codecs.load(device="cpu"), np.zeros(2)
    crops = [samples[128:384, 256:640], samples[256:, 384:]]  # one alone is luck by half a per cent
    for source in (Picture(np.ascontiguousarray(crop)) for crop in crops):

        def measured(quality: int, effort: int, source: Picture = source) -> tuple[float, float]:
            data = codec.encode(source, quality, effort)
            return psnr(source.samples, codec.decode(data).samples), np.log(len(data))

        low, high = measured(24, 0), measured(32, 0)
        for number, effort in enumerate((1, 2)):
            db, size = measured(28, effort)
            saved[number] += (1 - np.exp(size - np.interp(db, *zip(low, high, strict=True)))) / len(crops)
    assert 0.005 < saved[0] < saved[1]


def test_prices_of_steps_are_differences_of_bits():
    torch.manual_seed(0)
    log_scale = torch.rand(4000) * 8
    symbols = torch.round(torch.randn(4000) * 2 * SCALE_MIN * torch.exp2(log_scale))
    bits, down, up = step_bits(symbols, log_scale)
    expected = [gaussian_bits(symbols + step, log_scale) for step in (0, -1, 1)]
    seen = expected[0] < 12  # beyond, float32 has few digits of a mass either way
    for found, other in ((bits, expected[0]), (down, expected[1] - expected[0]), (up, expected[2] - expected[0])):
        torch.testing.assert_close(found[seen], other[seen], atol=0.02, rtol=0.01)
    assert seen.double().mean() > 0.9
