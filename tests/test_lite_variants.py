"""mambavc-lite with blocks of windows, convolutions or SAMIC's scan: sizes, arithmetic, files, and their benchmark.

What is of SAMIC alone is in test_lite_semantic.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import CONFIG, picture
from torch import nn

from benchmarks import blocks, blocks_report, other_sizes
from mvc.blocks import lite
from mvc.blocks.layers import Linear
from mvc.blocks.lite import ConvBlock, NarrowAttention, Stage, VSSBlock, WindowBlock
from mvc.blocks.lite_semantic import SemanticBlock
from mvc.codec import Codec
from mvc.container import read_file
from mvc.errors import MvcError
from mvc.models.lite import Config, MambaVCLite
from mvc.models.weights import load, save
from mvc.train.export import make_weights
from mvc.train.recipe import Recipe

SAMPLES = Path(__file__).parent.parent / "samples"
MAKE = {"swin": lambda c: WindowBlock(c, True), "conv": ConvBlock, "sass": SemanticBlock}
SMOOTH = ("swin", "conv")  # a rounding error changes little: it puts no token into another cluster
KINDS = ("vss", "swin", "conv", "sass+rrm")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def active(block: nn.Module) -> nn.Module:
    """Blocks start as the identity, which would prove nothing."""
    for module in block.modules():
        if isinstance(module, Linear):
            nn.init.normal_(module.weight, std=0.1)
            nn.init.normal_(module.bias, std=0.1)
    return block


# --- the blocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [128, 256])
@pytest.mark.parametrize("kind", MAKE)
def test_a_block_has_the_parameters_of_a_vss_block(kind, channels):
    assert count(MAKE[kind](channels)) == pytest.approx(count(VSSBlock(channels)), rel=0.05)


@pytest.mark.parametrize("kind", MAKE)
def test_a_block_starts_near_identity(kind):
    block, x = MAKE[kind](64), torch.randn(1, 16, 16, 64)
    change = (block(x) - x).abs().max()
    assert 0 < change < 0.3


@pytest.mark.parametrize("strip", [7, 4096])
@pytest.mark.parametrize("kind", SMOOTH)
def test_a_stage_without_gradients_is_the_stage(kind, strip, monkeypatch):
    monkeypatch.setattr(lite, "STRIP_TOKENS", strip)
    stage, x = Stage(active(MAKE[kind](64)), active(MAKE[kind](64))), torch.randn(2, 11, 20, 64)
    expected = stage(x)
    assert expected.requires_grad and (expected - x).abs().mean() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(stage(x.clone()), expected.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", SMOOTH)
def test_a_block_works_in_bfloat16_and_learns_in_float32(kind):
    block, x = active(MAKE[kind](64)), torch.randn(2, 8, 12, 64)
    exact, coarse = block(x), block(x.bfloat16())
    assert coarse.dtype == torch.bfloat16
    assert (coarse.float() - exact).square().mean() < 1e-3 * (exact - x).square().mean()
    coarse.float().square().mean().backward()
    for parameter in block.parameters():
        assert parameter.grad.dtype == torch.float32 and parameter.grad.abs().max() > 0


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(16, 8), (11, 20), (4, 4)])
def test_attention_is_that_of_all_tokens_within_a_window(size, shifted):
    """Against attention over the whole picture, where a mask says which tokens share a window."""
    attention, x = active(NarrowAttention(64, 64, shifted)), torch.randn(1, *size, 64)
    row, column = (index.flatten() for index in torch.meshgrid(*map(torch.arange, size), indexing="ij"))
    window = torch.stack([row - 4 * shifted, column - 4 * shifted]).div(8, rounding_mode="floor")
    together = (window[:, :, None] == window[:, None]).all(0)
    apart = [(side[:, None] - side).clamp(-7, 7) + 7 for side in (row, column)]  # further apart is never together
    bias = attention.bias[apart[0] * 15 + apart[1]].permute(2, 0, 1).masked_fill(~together, float("-inf"))
    q, k, v = attention.qkv(x.flatten(1, 2)).unflatten(-1, (3, 2, 32)).permute(2, 0, 3, 1, 4)
    mixed = ((q @ k.transpose(-1, -2)) * 32**-0.5 + bias).softmax(-1) @ v
    expected = attention.out(mixed.transpose(1, 2).flatten(2)).view_as(x)
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-4)


def test_a_convolution_sees_two_tokens_far():
    block, x = active(ConvBlock(64)), torch.randn(1, 9, 9, 64)
    other = x.clone()
    other[0, 4, 4] += torch.randn(64)
    changed = (block(x) - block(other)).abs().amax(-1)[0] > 0
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7, 2:7] = True
    assert torch.equal(changed, expected)


# --- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKE)
def test_the_model_has_the_size_and_nearly_the_cost_of_the_default(kind):
    cost, default = (blocks_report.cost_of(Config(block=block)) for block in (kind, "vss"))
    for counts in ("parameters", "full_macs"):
        one, other = (sum(getattr(c, counts).values()) for c in (cost, default))
        assert one == pytest.approx(other, rel=0.05 if counts == "parameters" else 0.1)
    assert cost.parameters["contexts"] == default.parameters["contexts"]


def test_the_default_is_stored_as_it_was_before_there_were_kinds():
    assert "block" not in Config().to_dict()
    assert Config.from_dict({"block": "vss"}) == Config.from_dict({}) == Config()
    assert Config.from_dict(json.loads(json.dumps(Config(block="conv").to_dict()))) == Config(block="conv")


@pytest.mark.parametrize("values", [{"block": "mamba"}, {"block": "swin", "width8": 96}])
def test_a_block_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match=r"vss, swin, conv, sass|multiples of 64"):
        Config.from_dict(values)


@pytest.mark.parametrize("kind", MAKE)
def test_files_of_a_model_from_its_folder(kind, tmp_path):
    network = MambaVCLite(replace(CONFIG, block=kind, analysis=(2, 2))).eval()
    for stage in (network.g_a.stage8, network.g_s.stage16):
        active(stage)
    save(tmp_path, make_weights(network, {}, name="mambavc-lite"))
    weights = load(tmp_path)
    assert weights.picture.model.config.block == kind
    codec = Codec(weights)
    data = codec.encode(picture(70, 90), 50, 0)
    with torch.no_grad():  # with the weights as they are stored
        x = network.half().float().g_s(codec.decode_latent(*read_file(data)), torch.tensor([50]))
    expected = x[0, :70, :90].mul(255).round().clamp(0, 255).numpy().astype(int)
    assert np.abs(codec.decode(data).samples.astype(int) - expected).max() <= 1
    assert len(data) > 200 and expected.std() > 10


# --- the benchmark ----------------------------------------------------------------------------------------------------

RECIPE = Recipe(
    pictures=str(SAMPLES),
    store="unused",
    run="unused",
    batch=2,
    crop_px=64,
    processes=1,
    device="cpu",
    config={
        "width8": 64,
        "width16": 64,
        "analysis": [1, 1],
        "synthesis": [1, 1],
        "slices": [[16, 2], [32, 1]],
        "hyper": 16,
        "hyper_hidden": 16,
        "features": 32,
        "context_hidden": 32,
    },
)


def test_a_recipe_survives_its_file(tmp_path):
    recipe = blocks.recipe_of("swin", RECIPE, tmp_path / "storé", tmp_path)
    (tmp_path / "recipe.toml").write_text(blocks.to_toml(recipe), encoding="utf-8")
    again = Recipe.read(tmp_path / "recipe.toml")
    assert Config.from_dict(again.config) == Config.from_dict(recipe.config)
    assert replace(again, config=recipe.config) == recipe
    assert (again.config["block"], again.cooldown, again.run) == ("swin", 0.3, str(tmp_path / "swin-0"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of three steps for VSS, two for windows, four for convolutions and one for SAMIC."""
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        steps_s = 20.0, 30.0, 15.0, 60.0
        patch.setattr(blocks, "time_steps", lambda *_: dict(zip(KINDS, steps_s, strict=True)))
        assert blocks.train(RECIPE, folder / "store", folder / "run", 1.0, 1.0, KINDS)
    return folder


def test_each_kind_has_the_steps_of_its_time_and_is_not_trained_twice(trained, capsys):
    plan, run = blocks.Plan.read(trained / "run"), trained / "run"
    checkpoints = [run / f"{kind}-0" / "last.pt" for kind in KINDS]
    assert [blocks.steps_done(checkpoint) for checkpoint in checkpoints] == [3, 2, 4, 1]
    assert set(plan.used_s) == {f"{kind}-0" for kind in KINDS} and min(plan.used_s.values()) > 0
    before = [checkpoint.stat().st_mtime_ns for checkpoint in checkpoints]
    assert blocks.train(RECIPE, trained / "store", run, 1.0, 1.0, KINDS)
    assert [checkpoint.stat().st_mtime_ns for checkpoint in checkpoints] == before
    for minutes, kinds, loss, message in (
        (2.0, KINDS, "ours", "planned for 1 minutes on 1 processes with the loss 'ours'"),
        (1.0, KINDS, "samic", "with the loss 'ours'"),
        (1.0, KINDS[:2], "ours", r"planned for vss swin conv sass\+rrm"),
        (1.0, ("vss", "mamba"), "ours", "no kind of block 'mamba'"),
    ):
        with pytest.raises(MvcError, match=message):
            blocks.train(RECIPE, trained / "store", run, minutes, 1.0, kinds, loss=loss)


def test_a_run_that_was_stopped_goes_on_and_is_not_reported_before(trained, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    plan = blocks.Plan.read(run)
    plan.step_s["swin"] = 12.0  # now five steps
    plan.write(run)
    with pytest.raises(MvcError, match="SwinVC-lite has had 2 of 5 steps with seed 0"):
        blocks_report.exported(run, plan)
    assert blocks.train(RECIPE, trained / "store", run, 1.0, 1.0, KINDS)
    assert [blocks.steps_done(run / f"{kind}-0" / "last.pt") for kind in KINDS] == [3, 5, 4, 1]
    assert blocks.Plan.read(run).used_s["swin-0"] > plan.used_s["swin-0"]


def test_the_report_is_of_real_files_by_kind_and_size(trained, tmp_path):
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture(96, 128, seed=number).samples).save(paths[-1])
    report = blocks_report.measure_all(trained / "run", list(map(str, paths)), [2, 5, 8], [64])
    assert [row.codec for row in report.results.rows[:12]] == [f"{kind}-0" for kind in KINDS for _ in range(3)]
    assert {name: spreads["conv"].pictures for name, spreads in report.sizes.items()} == {
        "scaled to 64": 4,
        "as they are": 4,
        "middle 64 x 64": 4,
        "four joined": 1,
    }
    assert report.sizes["as they are"]["swin"].error > 0
    table = report.markdown()
    assert "| MambaVC-lite |" in table and "| 3 |" in table and "| four joined | 1 |" in table
    assert "| SASS-lite with SVD-RRM |" in table and "| model | PSNR | MS-SSIM |" in table
    assert set(json.loads(report.json())["bd_rate"]["psnr"]) == set(KINDS[1:])
    report.draw(tmp_path / "a.svg")
    assert "BD-rate (PSNR)" in (tmp_path / "a.svg").read_text()


def test_spread_is_mean_and_standard_error():
    assert str(blocks_report.Spread(1.234, 0.5, 3)) == "+1.23 ± 0.50"
    assert str(blocks_report.Spread(0.0, 0.0, 0)) == "-"


def test_pictures_of_other_sizes(tmp_path):
    paths = []
    for number, size in enumerate([(192, 128), (192, 128), (128, 192), (192, 128), (192, 128), (64, 64)]):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", size, (40 * number, 0, 0)).save(paths[-1])

    def sizes(made: list[Path]) -> list[tuple[int, int]]:
        return [Image.open(path).size for path in made]

    for name in ("scaled", "cropped", "joined"):
        (tmp_path / name).mkdir()
    assert sizes(other_sizes.scaled(paths, 64, tmp_path / "scaled")) == [(96, 64)] * 2 + [(64, 96)] + [(96, 64)] * 2
    assert sizes(other_sizes.cropped(paths, 128, tmp_path / "cropped")) == [(128, 128)] * 5
    (sheet,) = other_sizes.joined(paths, tmp_path / "joined")
    with Image.open(sheet) as four:
        assert four.size == (384, 256)
        places = [(0, 0), (192, 0), (0, 128), (192, 128)]
        assert [four.getpixel(place)[0] for place in places] == [0, 40, 120, 160]
