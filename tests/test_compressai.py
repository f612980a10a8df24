"""CompressAI: our models in its evaluation script, its zoo in our bench, its losses and folders beside ours."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import fails, run
from PIL import Image
from tiny_model import picture, tiny_weights

from mvc.errors import BackendError, MvcError, WeightsError
from mvc.evaluate import codecs
from mvc.models import weights

installed = importlib.util.find_spec("compressai") is not None
needs_compressai = pytest.mark.skipif(not installed, reason="needs compressai")


@pytest.fixture
def plugin() -> Any:
    pytest.importorskip("compressai")
    import mvc.compressai_plugin

    return mvc.compressai_plugin


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One that is no multiple of 64, and large enough for MS-SSIM."""
    (tmp_path / "pictures").mkdir()
    Image.fromarray(picture(170, 200).samples).save(tmp_path / "pictures" / "a.png")
    return tmp_path / "pictures"


def evaluated(plugin: Any, capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, list[float]]:
    """The results that the script prints."""
    capsys.readouterr()
    plugin.main([str(argument) for argument in arguments])
    results: dict[str, list[float]] = json.loads(capsys.readouterr().out)["results"]
    return results


def test_its_script_runs_our_models(plugin: Any, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(plugin, capsys, "pretrained", pictures, "-a", "mambavc-lite", "-q", "2,6")
    assert found["bpp"][0] < found["bpp"][1] and found["psnr-rgb"][0] < found["psnr-rgb"][1]
    same = evaluated(plugin, capsys, "pretrained", pictures, "-a", "mambavc-lite", "-q", "2", "--entropy-estimation")
    assert same["bpp"][0] < found["bpp"][0] + 0.1  # it pads in the one case alone


def test_its_script_runs_a_checkpoint(
    plugin: Any, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.save(tmp_path / "tiny", tiny_weights())
    model = plugin.MvcModel.of_folder(str(tmp_path / "tiny"), 4)
    path = tmp_path / "tiny.pth.tar"
    torch.save({"state_dict": model.state_dict()}, path)
    found = evaluated(plugin, capsys, "checkpoint", pictures, "-a", "mambavc-lite", "-p", path)
    x = torch.rand(2, 3, 64, 96)
    coded = model.compress(x)
    again = plugin.MvcModel.from_state_dict(torch.load(path)["state_dict"]).decompress(**coded)
    assert torch.equal(again["x_hat"], model(x)["x_hat"]) and again["x_hat"].shape == x.shape
    assert found["bpp"][0] > 0
    with pytest.raises(WeightsError, match="no checkpoint of an mvc model"):
        plugin.MvcModel.from_state_dict({"g_a.0.weight": torch.zeros(1)})


def test_likelihoods_are_the_bits_of_files(plugin: Any, tmp_path: Path) -> None:
    """By its own loss, which is also ours: lambda times 255^2 times the squared error, plus bits per pixel."""
    from compressai.losses import RateDistortionLoss

    weights.save(tmp_path / "tiny", tiny_weights())
    model = plugin.MvcModel.of_folder(str(tmp_path / "tiny"), 3)
    x = torch.rand(1, 3, 48, 64)
    found = RateDistortionLoss(lmbda=0.02)(model(x), x)
    bpp = 8 * len(model.compress(x)["strings"][0][0]) / (48 * 64)
    assert float(found["bpp_loss"]) == pytest.approx(bpp, rel=1e-4)
    assert float(found["loss"]) == pytest.approx(bpp + 0.02 * 255**2 * float(found["mse_loss"]), rel=1e-4)


def test_its_loss_is_the_recipes_objective() -> None:
    """A recipe's rd_lambda is its lmbda: the same number from the same bits and pictures."""
    pytest.importorskip("compressai")
    from compressai.losses import RateDistortionLoss
    from tiny_model import tiny_paper_network

    from mvc.models.estimate import RateEstimator
    from mvc.train.objective import rate_distortion

    model, index = tiny_paper_network("mambavc"), torch.zeros(1, dtype=torch.long)
    x = torch.rand(1, 64, 64, 3)
    with torch.no_grad():
        ours = rate_distortion(model, x, index, noise=False, fixed_lambda=0.013)
        coder = RateEstimator(model.density, index, False, torch.float32)
        x_hat = model(coder, x, index).permute(0, 3, 1, 2)
        per_pixel = torch.exp2(-coder.bits / 64**2).expand(1, 1, 64, 64)
        theirs = RateDistortionLoss(0.013)({"x_hat": x_hat, "likelihoods": {"y": per_pixel}}, x.permute(0, 3, 1, 2))
    assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-4)


def test_what_the_zoo_of_ours_refuses(plugin: Any) -> None:
    from compressai.zoo import image_models

    for options in ({"metric": "ms-ssim", "pretrained": True}, {"pretrained": False}, {"pretrained": True}):
        with pytest.raises(ValueError, match=r"mvc train|Invalid quality"):
            image_models["mambavc-lite"](quality=9, **options)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of downloads with random weights of one of its models, at quality 1."""
    images = pytest.importorskip("compressai.zoo.image")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    model = images.bmshj2018_hyperprior(1)
    model.update()
    name = images.model_urls["bmshj2018-hyperprior"]["mse"][1].rpartition("/")[2]
    torch.save(model.state_dict(), tmp_path / "hub" / "checkpoints" / name)
    return tmp_path / "hub" / "checkpoints" / name


def test_its_zoo_in_the_bench(zoo: Path, pictures: Path, tmp_path: Path) -> None:
    name = "compressai:bmshj2018-hyperprior"
    done = run("bench", str(pictures), "--codec", name, "--codec", "webp", "--json", str(tmp_path / "r.json"))
    assert done.exit_code == 0, done.output
    assert "CompressAI, bmshj2018-hyperprior, for mse: compressai 1." in done.stderr
    codec = codecs.adapter(name)
    assert codec.settings == (1.0,)
    for samples in (picture(70, 50).samples, picture(64, 130, gray=True).samples):
        back = codec.decode(codec.encode(samples, 1))
        assert back.dtype == np.uint8 and back.shape == (*samples.shape[:2], 3)


def test_what_of_its_zoo_is_not_there(zoo: Path) -> None:
    with pytest.raises(BackendError, match="no weights of compressai:cheng2020-attn lie in"):
        codecs.adapter("compressai:cheng2020-attn")
    with pytest.raises(MvcError, match="no pretrained 'vvc'"):
        codecs.adapter("compressai:vvc")
    zoo.write_bytes(b"nothing")
    with pytest.raises(MvcError, match="cannot be used"):
        codecs.adapter("compressai:bmshj2018-hyperprior").encode(picture(64, 64).samples, 1)


def test_without_compressai(monkeypatch: pytest.MonkeyPatch, pictures: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "compressai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "mvc.compressai_plugin", raising=False)
    monkeypatch.setitem(sys.modules, "compressai", None)
    with pytest.raises(BackendError, match="compressai cannot be imported"):
        importlib.import_module("mvc.compressai_plugin")
    result = run("bench", str(pictures), "--codec", "compressai:mbt2018")
    fails(result, 1, "compressai cannot be imported", "mvc-codec[compressai]")
