"""SAMIC at lite size: a scan in the order of clusters, low-rank latents, its loss, and their benchmark with seeds."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_lite_variants import RECIPE, active
from tiny_model import CLIP_CONFIG, CONFIG, picture
from torch import nn

from benchmarks import blocks, blocks_report
from mvc.blocks.layers import Linear
from mvc.blocks.lite import Stage
from mvc.blocks.lite_semantic import SemanticBlock, SemanticGroupedScan, quarters_of
from mvc.blocks.semantic import LowRank, cluster_order, reordered, shrunk
from mvc.codec import Codec
from mvc.distortion.pattern import pattern
from mvc.errors import SourceError, WeightsError
from mvc.evaluate import metric_weights
from mvc.evaluate.bdrate import bd_rate
from mvc.evaluate.networks import LPIPS
from mvc.evaluate.results import Results
from mvc.models import lite
from mvc.models.lite import Config, MambaVCLite
from mvc.models.weighing import rd_lambda
from mvc.ops.scan import selective_scan_reference
from mvc.still_file import StillFile
from mvc.tiling import Region
from mvc.train.export import make_weights
from mvc.train.objective import LPIPS_RATIO, PATTERN_RATIO, Objective
from mvc.train.recipe import Recipe


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def lpips(monkeypatch: pytest.MonkeyPatch) -> LPIPS:
    """LPIPS with random weights in the place of those that `mvc metrics --fetch` brings."""
    network = LPIPS()
    with torch.no_grad():
        for weights in network.weights:
            weights.fill_(1.0)
    monkeypatch.setattr(metric_weights, "load", lambda name: network.state_dict())
    return network


# --- the scan ---------------------------------------------------------------------------------------------------------


def test_rows_are_reordered_and_their_gradients_with_them() -> None:
    order = torch.randperm(10)
    x, y = (torch.randn(10, 3, requires_grad=True) for _ in range(2))
    plain, ours = x[order], reordered(x, order, order.argsort())
    assert torch.equal(ours, plain)
    (given,) = torch.autograd.grad(ours, x, y)
    (expected,) = torch.autograd.grad(plain, x, y)
    assert torch.equal(given, expected)


def test_quarters_take_turns_and_every_row_comes_once() -> None:
    rows, inverse = quarters_of(torch.tensor([[2, 0, 1], [0, 1, 2]]))
    assert rows.view(2, 3, 4)[0].tolist() == [[8, 5, 10, 7], [0, 1, 2, 3], [4, 9, 6, 11]]
    assert torch.equal(rows[inverse], torch.arange(24))


def test_the_scan_is_one_walk_of_all_channels_over_the_clusters() -> None:
    scan, v = SemanticGroupedScan(64, 2, 3).eval(), torch.randn(2, 5, 7, 64)
    cluster, factor = scan.clustering(v)
    assert (factor == 1).all() and len(cluster.unique()) > 3
    for own, order, y in zip(v.flatten(1, 2), cluster_order(cluster, 16), scan(v).flatten(1, 2), strict=True):
        tokens = own[order]
        parameters = (tokens @ scan.projection.t())[None, :, None].expand(-1, -1, 4, -1)
        wide, weights = tokens.repeat(1, 4)[None, None], scan.weights().repeat(1, 4)
        expected = selective_scan_reference(wide, parameters, weights, 3)[0, 0, :, :64]
        torch.testing.assert_close(y[order], expected, atol=1e-5, rtol=1e-4)


def test_clusters_follow_the_content_from_the_start() -> None:
    clustering, v = SemanticGroupedScan(64).clustering.eval(), torch.randn(1, 8, 8, 64)
    cluster, other = (clustering(x)[0] for x in (v, 0.2 * torch.randn(1, 8, 8, 64)))
    assert (cluster != other).float().mean() > 0.3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_of_a_block_learns_in_float32(dtype: torch.dtype) -> None:
    block, x = active(SemanticBlock(64)), torch.randn(2, 8, 12, 64)
    y = block(x.to(dtype))
    assert y.dtype == dtype
    y.float().square().mean().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.dtype == torch.float32 and parameter.grad.abs().max() > 0, name


def test_a_block_draws_in_training_alone_and_then_by_the_seed() -> None:
    block, x = active(SemanticBlock(64)), torch.randn(1, 12, 12, 64)

    def made(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return block(x).detach()

    assert torch.equal(made(1), made(1)) and not torch.equal(made(1), made(2))
    block.eval()
    assert torch.equal(made(1), made(2))


def test_a_block_without_gradients_is_the_block() -> None:
    stage, x = Stage(active(SemanticBlock(64))).eval(), torch.randn(2, 11, 20, 64)
    expected = stage(x)
    assert expected.requires_grad and (expected - x).abs().mean() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(stage(x.clone()), expected.detach(), atol=1e-4, rtol=1e-4)


def test_windows_of_a_large_picture_have_clusters_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a region is what it is in the whole picture."""
    monkeypatch.setattr(lite, "WINDOW", 4)
    network = MambaVCLite(replace(CONFIG, block="sass")).eval()
    active(network.g_s.stage16), active(network.g_s.stage8)
    codec = Codec(make_weights(network, {}, name="mambavc-lite"))
    data = codec.encode(picture(90, 150), 40, 0)
    region = Region(64, 10, 80, 70)
    part, whole = StillFile(data, region).decode(lambda _: codec).samples, codec.decode(data).samples
    assert np.array_equal(part, whole[region.rows, region.columns]) and part.std() > 10


# --- low-rank latents -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
@pytest.mark.parametrize("values", [(3.0, 2.0, 1.0, 0.5), (2.0, 2.0, 2.0, 0.4), (3.0, 1.5, 0.0, 0.0)])
def test_the_gradient_of_low_rank_also_holds_for_equal_and_zero_singular_values(
    shape: tuple[int, int], values: tuple[float, ...]
) -> None:
    u, _, vh = torch.linalg.svd(torch.randn(*shape, dtype=torch.float64), full_matrices=False)
    y = ((u * torch.tensor(values, dtype=torch.float64)) @ vh)[None].requires_grad_()
    threshold = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shrunk, (y, threshold))


def test_low_rank_learns_of_flat_latents() -> None:
    y = torch.ones(2, 4, 4, 8, requires_grad=True)
    low = LowRank()
    low(y).square().mean().backward()
    assert all(t.grad.isfinite().all() and t.grad.abs().max() > 0 for t in (y, low.theta, low.alpha))


def test_low_rank_is_an_option_that_is_stored_when_it_is_taken() -> None:
    assert "rrm" not in Config().to_dict()
    assert Config.from_dict(Config(rrm=True).to_dict()) == Config(rrm=True)
    with pytest.raises(ValueError, match="rrm = 1 should be of the kind of False"):
        Config(rrm=1)  # type: ignore[arg-type]
    plain, with_rrm = (sum(p.numel() for p in MambaVCLite(replace(CONFIG, rrm=r)).parameters()) for r in (False, True))
    assert with_rrm == plain + 2


def test_low_rank_is_the_end_of_the_analysis_and_of_nothing_else() -> None:
    network = MambaVCLite(replace(CONFIG, rrm=True)).eval()
    assert network.g_a.low_rank is not None
    network.g_a.low_rank.theta.data.fill_(2.0)
    network.g_a.low_rank.alpha.data.fill_(1.0)
    x, index = torch.from_numpy(picture(64, 64).samples.copy())[None].float() / 255, torch.tensor([40])
    with torch.no_grad():
        low = network.analyse(x, index)[0].flatten(1, 2)
        network.g_a.low_rank.alpha.data.fill_(0.0)
        y = network.analyse(x, index)[0].flatten(1, 2)
    expected = (torch.linalg.svdvals(y) - 2).clamp_min(0)
    torch.testing.assert_close(torch.linalg.svdvals(low), expected, atol=1e-3, rtol=1e-4)
    codec = Codec(make_weights(network, {}, name="mambavc-lite"))
    assert codec.decode(codec.encode(picture(64, 64), 40, 0)).samples.std() > 10


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_lpips_is_added_to_distortion_and_rate(lpips: LPIPS) -> None:
    network, index = MambaVCLite(CONFIG).eval(), torch.tensor([10, 50])
    x = torch.stack([torch.from_numpy(picture(64, 64, seed=k).samples.copy()) for k in range(2)]).float() / 255
    plain, ours = (Objective(network, torch.float32, lpips=weight)(x, index, noise=False) for weight in (0.0, 3.5))
    planes = [t.clamp(0, 1).permute(0, 3, 1, 2) for t in (x, plain["x_hat"])]
    expected = 3.5 * lpips(*planes) * (rd_lambda(index) / 0.018) ** -0.5
    torch.testing.assert_close(ours["loss"] - plain["loss"], expected, atol=1e-4, rtol=1e-3)
    assert expected.min() > 0.01
    ours["loss"].mean().backward()
    assert network.g_s.skip.weight.grad.abs().max() > 0


def test_lpips_and_what_blocks_have_in_common_are_a_part_of_the_distortion(lpips: LPIPS) -> None:
    """Wherever the grid of LPIPS lies: the part is the same of shifted pictures on the whole, and of each not quite."""
    network, index = MambaVCLite(CONFIG).eval(), torch.tensor([10, 50])
    x = torch.stack([torch.from_numpy(picture(64, 64, seed=k).samples.copy()) for k in range(2)]).float() / 255
    plain = Objective(network, torch.float32)(x, index, noise=False)
    ours = Objective(network, torch.float32, lpips_part=0.15)
    parts = [(ours(x, index, noise=False)["loss"] - plain["loss"]).detach() for _ in range(8)]
    planes = [t.clamp(0, 1).permute(0, 3, 1, 2) for t in (x, plain["x_hat"])]
    same = (255 * (plain["x_hat"] - x)).reshape(2, 4, 16, 4, 16, 3).mean((1, 3)).square().mean((1, 2, 3))
    weight = rd_lambda(index)
    expected = 0.15 * (LPIPS_RATIO * lpips(*planes) + PATTERN_RATIO * same) * weight * (weight / 0.018) ** -0.5
    torch.testing.assert_close(torch.stack(parts).mean(0), expected, atol=0, rtol=0.1)
    assert torch.stack(parts).std(0).min() > 0


def test_a_grid_is_what_blocks_have_in_common() -> None:
    noise = torch.randn(2, 128, 96, 3, generator=torch.Generator().manual_seed(1))
    grid = noise[:, :16, :16].repeat(1, 8, 6, 1)
    assert pattern(grid, 16, 8) == pytest.approx(grid.square().mean((1, 2, 3)))
    assert pattern(noise, 16, 8).max() < 0.05
    halves = torch.cat([grid, -grid], 1)
    assert pattern(halves, 16, 16).max() < 1e-6 < 0.5 < pattern(halves, 16, 2).min()


def test_the_weights_of_lpips_are_not_trained_and_not_stored(lpips: LPIPS) -> None:
    objective = Objective(MambaVCLite(CONFIG), torch.float32, lpips=3.5)
    assert isinstance(objective.lpips, nn.Module)
    assert not any(parameter.requires_grad for parameter in objective.lpips.parameters())
    assert not any("lpips" in name for name in objective.model.state_dict())


def test_lpips_has_to_be_fetched_and_is_not_for_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metric_weights, "folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match="LPIPS are not here") as caught:
        Objective(MambaVCLite(CONFIG), torch.float32, lpips=3.5)
    assert "mvc metrics --fetch" in (caught.value.hint or "")
    fields = {"pictures": "p", "store": "s", "run": "r", "lpips": 1.0}
    with pytest.raises(SourceError, match=r"lpips = 1\.0 should be left out: mambavc-ssf-lite"):
        Recipe.from_dict({**fields, "model": "mambavc-ssf-lite", "frames": 2, "config": CLIP_CONFIG.to_dict()})
    with pytest.raises(SourceError, match=r"lpips = -1\.0 should be at least 0"):
        Recipe.from_dict({**fields, "lpips": -1.0})
    with pytest.raises(SourceError, match=r"lpips_part = 1\.5 should be at most 1"):
        Recipe.from_dict({**fields, "lpips_part": 1.5})
    with pytest.raises(WeightsError, match="LPIPS are not here"):
        Objective(MambaVCLite(CONFIG), torch.float32, lpips_part=0.1)


# --- the benchmark ----------------------------------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, module: object, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments)])
    module.main()  # type: ignore[attr-defined]


def test_the_benchmark_of_seeds_with_samics_loss(
    lpips: LPIPS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps_s = {"vss": 30.0, "sass": 60.0}
    monkeypatch.setattr(blocks, "time_steps", lambda *_: dict(steps_s))
    (tmp_path / "base.toml").write_text(blocks.to_toml(RECIPE))
    run = tmp_path / "run"
    shared = ("--run", run, "--store", tmp_path / "store", "--recipe", tmp_path / "base.toml", "--minutes", 1)
    shared = (*shared, "--kinds", "vss", "sass", "--loss", "samic")
    command(monkeypatch, blocks, *shared, "--seed", 1)
    assert blocks.Plan.read(run).seeds == [1]
    command(monkeypatch, blocks, *shared, "--seed", 2)
    assert sorted(path.parent.name for path in run.glob("*/last.pt")) == ["sass-1", "sass-2", "vss-1", "vss-2"]
    recipe = Recipe.read(run / "sass-2.toml")
    assert (recipe.lpips, recipe.ms_ssim, recipe.seed, recipe.config["block"]) == (3.5, 0.0, 2, "sass")
    for number in range(2):
        Image.fromarray(picture(64, 64, seed=number).samples).save(tmp_path / f"{number}.png")
    options = ("--run", run, "--pictures", tmp_path / "0.png", tmp_path / "1.png", "--quality", "2,5,8")
    out = tmp_path / "out.md"
    command(monkeypatch, blocks_report, *options, "--sizes", "", "--metrics", "lpips", "--output", out, "--json")
    table = out.read_text()
    assert "2 seeds, loss: samic; 2 pictures" in table and "| model | PSNR | MS-SSIM | LPIPS |" in table
    assert "The means over the pictures with each seed (1, 2):" in table
    rates = json.loads(out.with_suffix(".json").read_text())["bd_rate"]
    assert set(rates) == {"psnr", "ms_ssim", "lpips"}
    found = rates["psnr"]["sass"]
    assert len(found["seeds"]) == 2 and found["mean"] == pytest.approx(sum(found["seeds"]) / 2)
    assert found["pictures"] == 2 and found["error"] > 0 and "SASS-lite" in capsys.readouterr().out
    mine = tmp_path / "ours"
    short = (*shared[2:-5], "--kinds", "sass", "--loss", "ours", "--seed", 2)
    command(monkeypatch, blocks, "--run", mine, *short)
    command(
        monkeypatch, blocks_report, *options, "--sizes", "", "--metrics", "lpips", "--output", out, "--against", mine
    )
    (row,) = [line for line in out.read_text().split("with the loss samic against")[1].splitlines() if "SASS" in line]
    paths = [str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    ours, samics = (blocks_report.measure_all(of, paths, [2, 5, 8], []).results for of in (mine, run))

    def points(results: Results, key: str) -> tuple[list[float], list[float]]:
        rows = [row for row in results.rows if (row.codec, row.picture) == ("sass-2", key)]
        return [results.bpp(row) for row in rows], [row.psnr or 0.0 for row in rows]

    expected = [bd_rate(*points(ours, key), *points(samics, key)) for key in ours.pictures]
    assert row.split("|")[2].split()[0] == f"{sum(expected) / 2:+.2f}"


def test_the_networks_of_two_seeds_differ_and_their_recipe_is_the_same(tmp_path: Path) -> None:
    one, other = (blocks.recipe_of("sass+rrm", RECIPE, tmp_path, tmp_path, seed) for seed in (0, 1))
    assert replace(one, seed=1, run=other.run) == other and one.run != other.run
    assert (
        Config.from_dict(one.config).rrm
        and not Config.from_dict(blocks.recipe_of("sass", RECIPE, tmp_path, tmp_path).config).rrm
    )


def test_linear_layers_of_the_clusters_are_matrices_that_muon_takes() -> None:
    clustering = SemanticGroupedScan(64).clustering
    shapes = [layer.weight.shape for layer in clustering.modules() if isinstance(layer, Linear)]
    assert all(min(shape) >= 16 for shape in [*shapes, clustering.centres.shape])
