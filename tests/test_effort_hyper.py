"""The search for a cheaper hyperlatent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_effort import tiny_problem
from tiny_model import CONFIG

from mvc import codec as codecs
from mvc.effort import hyper
from mvc.effort.hyper import Hyperlatents
from mvc.effort.refine import float_prior
from mvc.media import read_picture
from mvc.models.estimate import RateEstimator
from mvc.models.streams import hyper_rows
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"


class Bits(RateEstimator):
    """Of the latents, with a hyperlatent that is whole."""

    def hyper(self, z: torch.Tensor) -> torch.Tensor:
        return z


def bits(network, prior, y, z, index, beside=None) -> float:
    """Of both, as another coder and the tables say."""
    coder = Bits(None, index, noise=False)
    with torch.no_grad():
        features = prior.h_s(z, index)[:, : y.shape[1], : y.shape[2]]
        prior.code_latent(coder, features if beside is None else features + beside, y)
    rows = hyper_rows(network.hyper_tables, int(index), *z.shape[1:])
    return float(coder.latent_bits) + network.hyper_tables.cost_bits(z.numpy().ravel(), rows)


def analysed(monkeypatch):
    """What is searched of a tiny model, and y and z of a picture."""
    network, prior, x, _, index = tiny_problem(monkeypatch)
    with torch.no_grad():
        y, z = network.model.analyse(x, index)
    return network, prior, y, torch.round(z), index


def test_what_is_told_of_a_hyperlatent_is_what_it_costs(monkeypatch):
    network, prior, y, z, index = analysed(monkeypatch)
    beside = 0.3 * torch.randn(1, *y.shape[1:3], CONFIG.features)
    whole = slice(0, z.shape[1]), slice(0, z.shape[2])
    costs = []
    for added in (None, beside):
        state = Hyperlatents(prior, network.hyper_tables, y, index, torch.float32, beside=added).looked_at(z, whole)
        costs.append(float(state.cost.sum()))
        assert costs[-1] == pytest.approx(bits(network, prior, y, z, index, added), rel=1e-4)
    assert abs(costs[0] - costs[1]) > 1
    rows = hyper_rows(network.hyper_tables, int(index), *z.shape[1:])
    own, other = (network.hyper_tables.bits(z.numpy().ravel() + step, rows) for step in (0, 1))
    np.testing.assert_allclose(state.up.numpy().ravel(), other - own, rtol=1e-5, atol=1e-4)


def test_the_gradient_is_that_of_the_latents_bits(monkeypatch):
    """As training has it without noise."""
    network, prior, y, z, index = analysed(monkeypatch)
    found = Hyperlatents(prior, network.hyper_tables, y, index, torch.float32)
    state = found.looked_at(z, (slice(0, z.shape[1]), slice(0, z.shape[2])))
    coder, leaf = Bits(None, index, noise=False), z.clone().requires_grad_()
    prior.code_latent(coder, prior.h_s(leaf, index)[:, : y.shape[1], : y.shape[2]], y)
    coder.latent_bits.sum().backward()
    assert leaf.grad.abs().max() > 1
    torch.testing.assert_close(state.gradient, leaf.grad, rtol=0.01, atol=0.05)


@pytest.mark.parametrize("window", [hyper.WINDOW, 2])
def test_a_search_saves_bits_of_both_together(monkeypatch, window):
    monkeypatch.setattr(hyper, "WINDOW", window)
    network, prior, y, z, index = analysed(monkeypatch)
    before = bits(network, prior, y, z, index)
    found = Hyperlatents(prior, network.hyper_tables, y, index, torch.float32)
    costs = [bits(network, prior, y, found.searched(z, iterations), index) for iterations in (0, 4, 20)]
    assert costs[0] == before
    assert costs[2] < 0.998 * before
    assert costs[2] <= costs[1] < before


def test_only_own_positions_move(monkeypatch):
    network, prior, y, z, index = analysed(monkeypatch)
    found = Hyperlatents(prior, network.hyper_tables, y, index, torch.float32)
    own = torch.zeros(1, *z.shape[1:3], 1, dtype=torch.bool)
    own[:, 1, 1:] = True
    better = found._searched(z, (slice(0, z.shape[1]), slice(0, z.shape[2])), own, 8)
    moved = (better != z).any(-1, keepdim=True)
    assert moved.any() and not (moved & ~own).any()


def test_it_pays_on_a_photograph():
    samples = read_picture(SAMPLES / "kodim15.png").picture.samples[128:384, 256:640]
    codec = codecs.load(device="cpu")
    network, index = codec.network, torch.tensor([8])
    prior = float_prior(network)
    with torch.no_grad():
        y, z = network.model.analyse(codec.to_tensor(Picture(np.ascontiguousarray(samples))), index)
    z, found = torch.round(z), Hyperlatents(prior, network.hyper_tables, y, index, torch.float32)
    assert bits(network, prior, y, found.searched(z, 8), index) < 0.995 * bits(network, prior, y, z, index)
