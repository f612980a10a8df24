"""The ways that layers run without gradients, in place and in parts, against the plain ones."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from picture_files import beside_webp
from tiny_model import CONFIG

from mvc.blocks import lite as blocks
from mvc.blocks.lite import Stage, VSSBlock
from mvc.distortion.structure import ms_ssim_loss
from mvc.metrics import ms_ssim
from mvc.models import lite
from mvc.models.lite import Config, MambaVCLite, Synthesis
from mvc.ops.scan import selective_scan_reference
from mvc.tiling import scaled, windows
from mvc.train import state
from mvc.train.optim import MuonAdamW

ROOT = Path(__file__).parent.parent
SAMPLES, CHECKPOINT = ROOT / "samples", ROOT / "checkpoints" / "mambavc-lite.pt"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def active(stage: Stage) -> Stage:
    """Blocks start as the identity, which would prove nothing."""
    for block in stage:
        torch.nn.init.normal_(block.out_proj.weight, std=0.1)
        torch.nn.init.normal_(block.out_proj.bias, std=0.1)
    return stage


@pytest.mark.parametrize("states", [1, 2])
def test_the_fused_forms_of_a_block_are_its_layers_one_after_the_other(states):
    """In float64 no kernel runs: the composition of the layers, here written out once more."""
    (block,) = active(Stage(VSSBlock(64, states)))
    x, wanted = torch.randn(2, 5, 9, 64), torch.randn(2, 5, 9, 64)
    plain = copy.deepcopy(block).double()

    def composed(x):
        norm = partial(F.layer_norm, normalized_shape=(64,), eps=1e-5)
        value, gate = F.linear(norm(x), plain.in_proj.weight, plain.in_proj.bias).chunk(2, -1)
        kernel = plain.conv.weight.t().reshape(64, 1, 3, 3)
        v = F.silu(F.conv2d(value.permute(0, 3, 1, 2), kernel, plain.conv.bias, padding=1, groups=64))
        v = v.permute(0, 2, 3, 1)
        scan = plain.scan
        parameters = (v.flatten(1, 2) @ scan.projection.t()).unflatten(-1, (4, -1))
        weights = torch.cat([scan.dt_weight, scan.dt_bias[None], -scan.a_log.exp(), scan.d[None]])
        y = selective_scan_reference(v, parameters, weights, scan.rank)
        return x + F.linear(norm(y) * F.silu(gate), plain.out_proj.weight, plain.out_proj.bias)

    def gradients(block, function, dtype):
        block.zero_grad()
        leaf = x.to(dtype).requires_grad_()
        y = function(leaf)
        (y * wanted.to(dtype)).sum().backward()
        return y.detach(), [leaf.grad, *(p.grad for p in block.parameters())]

    expected, expected_gradients = gradients(plain, composed, torch.float64)
    torch.testing.assert_close(plain(x.double()), expected)
    assert (expected - x).abs().mean() > 0.1
    got, got_gradients = gradients(block, block, torch.float32)
    torch.testing.assert_close(got, expected.float(), atol=2e-5, rtol=2e-5)
    for one, other in zip(got_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other.float(), atol=1e-3, rtol=1e-3)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected.float(), atol=2e-5, rtol=2e-5)
        assert torch.equal(x, before)  # only where a stage says so, the input is overwritten
        assert block(x, out=x) is x
    torch.testing.assert_close(x, expected.float(), atol=2e-5, rtol=2e-5)


OLD_NAMES = ["conv", "conv_bias", "projection", "dt_weight", "dt_bias", "a_log", "d"]
OLD_NAMES += [f"{layer}.{kind}" for layer in ("in_proj", "out_proj") for kind in ("weight", "bias")]
"""What a block's tensors were called before it was made of modules, in the order that optimisers' states go by."""


def test_tensors_of_before_are_known_by_their_names_and_order():
    today = VSSBlock(64).state_dict()
    shapes = [(9, 64), (64,), (24, 64), (4, 64), (64,), (1, 64), (64,), (128, 64), (128,), (64, 64), (64,)]
    assert [tuple(value.shape) for value in today.values()] == shapes
    for place in ("g_a.stage8.0.", "g_s.stage16.11."):
        before = dict(zip((place + name for name in OLD_NAMES), today.values(), strict=True))
        assert list(blocks.renamed(before).items()) == [(place + name, value) for name, value in today.items()]
    others = [*MambaVCLite(replace(CONFIG, block="conv")).state_dict(), *MambaVCLite(CONFIG).state_dict()]
    others += ["g_a.1.mixer.scan.d", "g_a.1.mixer.conv.weight", "prior.contexts.0.0.mid.weight"]
    assert list(blocks.renamed(dict.fromkeys(others))) == list(dict.fromkeys(others))


def test_the_checkpoint_in_the_repository_fits_model_and_optimiser():
    stored = state.read(CHECKPOINT)
    model = MambaVCLite(Config.from_dict(stored["config"]))
    for values in (stored["model"], stored["average"]):
        model.load_state_dict(values)
        assert list(values) == list(model.state_dict())
    optimizer = MuonAdamW(list(model.parameters()), 1e-3)
    optimizer.load_state_dict(stored["optimizer"])
    moments = optimizer.adamw.state
    assert all(moments[p]["exp_avg"].shape == p.shape for p in optimizer.rest) and len(moments) == len(optimizer.rest)
    assert [len(group) for group in optimizer.muon.groups] == [len(b) for b in stored["optimizer"]["muon"]["buffers"]]


@pytest.mark.parametrize("strip", [1, 7, 64, 4096])
def test_a_stage_in_strips_is_the_stage(strip, monkeypatch):
    monkeypatch.setattr(blocks, "STRIP_TOKENS", strip)
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
    monkeypatch.setattr(lite, "BAND_TOKENS", 24)  # three rows of two pictures of four tokens
    with torch.no_grad():
        bands = list(synthesis.bands(y, quality))
    assert [band.shape[1] for band in bands] == [48, 48, 16]
    assert [band.shape[1] for band in synthesis.bands(y, quality)] == [112]  # with gradients nothing is saved
    torch.testing.assert_close(torch.cat(bands, 1), whole.detach(), atol=1e-4, rtol=1e-4)


def test_windows_are_transformed_with_what_is_around_them(monkeypatch):
    """Each piece is the middle of what the network gives for its window and margin, and all are the picture once."""
    monkeypatch.setattr(lite, "WINDOW", 4)
    monkeypatch.setattr(lite, "MARGIN", 1)
    monkeypatch.setattr(lite, "BAND_TOKENS", 8)
    model, index = MambaVCLite(CONFIG).eval(), torch.tensor([40])
    x, seen = torch.rand(1, 192, 128, 3), torch.zeros(192, 128)
    with torch.no_grad():
        y, z = model.analyse(x, index)
        for window in windows(12, 8, 4, 1):
            rows, columns = (slice(16 * part.start, 16 * part.stop) for part in window.wide)
            own = model.g_a(x[:, rows, columns], index)[:, window.own[0], window.own[1]]
            torch.testing.assert_close(y[:, window.rows, window.columns], own, atol=1e-3, rtol=1e-3)
        x_hat = torch.full_like(x, torch.nan)
        for top, left, piece in model.pieces(y, index):
            place = slice(top, top + piece.shape[1]), slice(left, left + piece.shape[2])
            seen[place] += 1
            x_hat[0][place] = piece[0]
        assert (seen == 1).all()
        for window in windows(12, 8, 4, 1):
            part = model.synthesise(y[:, window.wide[0], window.wide[1]], index)
            own, place = (tuple(scaled(p, 16) for p in parts) for parts in (window.own, window[:2]))
            torch.testing.assert_close(x_hat[0][place], part[0][own], atol=1e-4, rtol=1e-4)
        assert z.shape[1:3] == (3, 2)


@pytest.mark.parametrize("quality", [30, 80])
def test_the_ms_ssim_of_training_is_close_to_the_real_one(quality):
    pair = beside_webp(SAMPLES / "kodim23.png", quality)
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
