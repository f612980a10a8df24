"""The ways that layers run without gradients, in place and in parts, against the plain ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvc.blocks import layers
from mvc.blocks.layers import Stage, VSSBlock
from mvc.evaluate.metrics import ms_ssim
from mvc.models import mambavc_lite
from mvc.models.mambavc_lite import Config, Synthesis
from mvc.train.structure import ms_ssim_loss

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def active(stage: Stage) -> Stage:
    """Blocks start as the identity, which would prove nothing."""
    for block in stage:
        torch.nn.init.normal_(block.out_proj.weight, std=0.1)
        torch.nn.init.normal_(block.out_proj.bias, std=0.1)
    return stage


@pytest.mark.parametrize("strip", [1, 7, 64, 4096])
def test_a_stage_in_strips_is_the_stage(strip, monkeypatch):
    monkeypatch.setattr(layers, "STRIP_TOKENS", strip)
    stage, x = active(Stage(VSSBlock(64, 1), VSSBlock(64, 2))), torch.randn(2, 5, 9, 64)
    expected = stage(x)
    assert expected.requires_grad and (expected - x).abs().mean() > 0.1
    with torch.no_grad():
        got = stage(x.clone())
    torch.testing.assert_close(got, expected.detach(), atol=2e-5, rtol=2e-5)


def test_a_stage_in_bfloat16_and_of_an_odd_width():
    stage, x = active(Stage(VSSBlock(64))), torch.randn(1, 6, 4, 64).bfloat16()
    expected = stage(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(stage(x.clone()), expected, atol=0.05, rtol=0.05)
    narrow, x = active(Stage(VSSBlock(16))), torch.randn(1, 6, 4, 16)
    with torch.no_grad():  # no kernel for this width: the plain way, which leaves x alone
        assert torch.equal(narrow(x), narrow(x))


def test_bands_are_the_picture(monkeypatch):
    config = Config(width8=64, width16=64, analysis=(1, 1), synthesis=(1, 1))
    synthesis, y = Synthesis(config), torch.randn(2, 7, 4, config.latents)
    torch.nn.init.normal_(synthesis.head.weight)
    quality = torch.tensor([10, 50])
    whole = synthesis(y, quality)
    monkeypatch.setattr(mambavc_lite, "BAND_TOKENS", 24)  # three rows of two pictures of four tokens
    with torch.no_grad():
        bands = list(synthesis.bands(y, quality))
    assert [band.shape[1] for band in bands] == [48, 48, 16]
    torch.testing.assert_close(torch.cat(bands, 1), whole.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("quality", [30, 80])
def test_the_ms_ssim_of_training_is_close_to_the_real_one(quality):
    with Image.open(SAMPLES / "kodim23.png") as opened:
        coded = io.BytesIO()
        opened.save(coded, "WEBP", quality=quality)
        pair = [np.asarray(image.convert("RGB")) for image in (opened, Image.open(coded))]
    floats = [torch.from_numpy(samples.astype(np.float32) / 255)[None] for samples in pair]
    assert ms_ssim_loss(*floats).item() == pytest.approx(1 - ms_ssim(*pair), rel=0.2)


def test_the_ms_ssim_of_training_has_finite_gradients_at_equality():
    x = torch.rand(2, 96, 128, 3)
    x[0] = 0.5  # flat
    x_hat = x.clone().requires_grad_()
    loss = ms_ssim_loss(x, x_hat)
    loss.sum().backward()
    assert loss.detach().abs().max() < 1e-6
    assert torch.isfinite(x_hat.grad).all()
