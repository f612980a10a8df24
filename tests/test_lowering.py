"""What `lower` takes: the prior of every model; and what it refuses: every layer that it does not know."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_model import PAPERS, tiny_network, tiny_paper_network
from torch import Tensor, nn

from mvc.blocks.layers import Composite, Depthwise, Leaky, Linear
from mvc.blocks.lite import NarrowAttention
from mvc.errors import WeightsError
from mvc.exact.fixed import FINE
from mvc.exact.lower import lower
from mvc.models import registry, ssf
from mvc.models.prior import CodingPrior
from mvc.models.weights import load


def video_prior(config: ssf.SSFConfig) -> CodingPrior:
    return ssf.SSFModel(ssf.tiny(config)).motion.prior


PRIORS: dict[str, Callable[[], CodingPrior]] = {
    "mambavc-lite": lambda: tiny_network().prior,
    **{name: lambda name=name: tiny_paper_network(name).prior for name in PAPERS},
    "mambavc-ssf": lambda: video_prior(ssf.MAMBAVC_SSF),
    "swinvc-ssf": lambda: video_prior(ssf.SWINVC_SSF),
    "convvc-ssf": lambda: video_prior(ssf.CONVVC_SSF),
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_prior_of_every_model_becomes_integers(name: str) -> None:
    prior = PRIORS[name]()
    lowered = lower(prior, prior.grid)
    assert not list(lowered.parameters()) and list(prior.parameters())
    assert {value.dtype for value in lowered.state_dict().values()} <= {torch.int16, torch.int32}


@pytest.mark.parametrize(("name", "channels"), [("stage16", 256), ("stage8", 128)])
def test_the_blocks_of_the_shipped_synthesis_have_integers_close_to_them(name: str, channels: int) -> None:
    preset = registry.preset("mambavc-lite")
    assert preset
    stage = getattr(load(preset.folder).picture.model.g_s, name)
    torch.manual_seed(0)
    x = torch.round(torch.randn(1, 6, 9, channels) * FINE.one)
    with torch.no_grad():
        exact = lower(stage, FINE)
        got = exact(x.double())
        assert torch.equal(got.long(), exact(x.long()))
        expected, x = stage(x / FINE.one), x / FINE.one
    change = (expected - x).square().mean()
    assert change > 0.1
    assert (got / FINE.one - expected).square().mean() < 1e-4 * change


class Stranger(nn.Module):
    """Known layers, and arithmetic of its own that makes fractions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.layer(x))


class Owner(Composite):
    """A container with a number of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = Linear(4, 4)
        if kind == "parameter":
            self.factor = nn.Parameter(torch.tensor(2.0))
        else:
            self.register_buffer("factor", torch.tensor(2.0))


class NewLinear(Linear):
    """It may do anything: a layer is known by its own class."""


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softmax": nn.Softmax,
    "leaky of another slope": nn.LeakyReLU,
    "dropout": nn.Dropout,
    "an approximate GELU": lambda: nn.GELU("tanh"),
    "torch's linear layer": lambda: nn.Linear(4, 4),
    "torch's convolution": lambda: nn.Conv2d(4, 4, 3),
    "batch norm": lambda: nn.BatchNorm2d(4, affine=False),
    "layer norm without weights": lambda: nn.LayerNorm(4, elementwise_affine=False),
    "a subclass of a layer": lambda: NewLinear(4, 4),
    "attention with another product": lambda: NarrowAttention(64, 64, False),
    "a module of layers": Stranger,
    "a container's parameter": lambda: Owner("parameter"),
    "a container's buffer": lambda: Owner("buffer"),
    "a dictionary": lambda: nn.ModuleDict({"a": Leaky()}),
    "a bare module": nn.Module,
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_layer_that_is_not_known_is_refused_where_it_stands(name: str) -> None:
    known = nn.Sequential(Linear(4, 4), Leaky())
    lower(nn.Sequential(known, Linear(4, 4)), FINE)
    for at in (0, 1, 2):
        layers = list(known)
        layers.insert(at, REFUSED[name]())
        with pytest.raises(WeightsError, match=rf"layer 0\.{at}\b") as refused:
            lower(nn.Sequential(nn.Sequential(*layers), Linear(4, 4)), FINE)
        assert refused.value.hint


def test_an_activation_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="none, silu, leaky"):
        Depthwise(16, 3, "relu")
    layer = Depthwise(16, 3)
    layer.activation = "relu"
    with pytest.raises(WeightsError, match="'relu'"):
        lower(layer, FINE)
