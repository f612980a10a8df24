"""A model's networks: lowered, stored and loaded by name, each writing and reading its own streams."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import tiny_network, tiny_weights

from mvc.models import ssf
from mvc.models.ssf import SSFModel
from mvc.models.weights import Weights, load, save
from mvc.train.export import make_weights

NAMES = ("picture", "motion", "residual")


@pytest.fixture(scope="module")
def video() -> Weights:
    torch.manual_seed(4)
    model = SSFModel(ssf.tiny(ssf.MAMBAVC_SSF)).eval()
    with torch.no_grad():
        for network in model.networks.values():
            network.g_a[-1].weight.mul_(30)
    return make_weights(model, {"about": "random, for tests"}, name="mambavc-ssf")


@pytest.mark.parametrize("name", NAMES)
def test_each_network_of_a_stored_video_model_codes(name: str, video: Weights, tmp_path: Path) -> None:
    save(tmp_path, video)
    stored = load(tmp_path)
    assert tuple(stored.networks) == tuple(video.networks) == NAMES
    assert stored.exact_hash == video.exact_hash
    network = stored.networks[name]
    x = torch.rand(1, 128, 256, 6 if name == "motion" else 3)
    with torch.inference_mode():
        y, z = network.model.analyse(x, torch.zeros(1))
        streams = network.write(y, z, 0)
        y_hat = network.read(streams, 0, (128, 256))
        assert y.std() > 1 and len(streams) == 2
        assert (y_hat - y).abs().max() <= 0.51
        assert torch.equal(video.networks[name].read(streams, 0, (128, 256)), y_hat)


def test_networks_but_that_for_pictures_stand_behind_their_names(video: Weights, tmp_path: Path) -> None:
    save(tmp_path, video)
    starts = {name.split(".")[0] for name in load_file(tmp_path / "weights.safetensors")}
    assert starts == {"g_a", "g_s", "h_a", "exact", "tables", "motion", "residual"}


def test_nothing_untrained_is_left_in_loaded_weights(tmp_path: Path) -> None:
    """The prior is the lowered one, and there is no density: who asks for it finds nothing instead of noise."""
    network = tiny_network()
    save(tmp_path, tiny_weights())
    for weights in (tiny_weights(), load(tmp_path)):
        model = weights.picture.model
        assert not list(model.prior.parameters()) and not hasattr(model, "density")
        floats = {name for name, _ in model.named_parameters()}
        assert floats == {name for name, _ in network.named_parameters() if name[:3] in ("g_a", "g_s", "h_a")}
    assert list(network.prior.parameters()) and network.density is not None  # lowering leaves the trained model whole
