"""The papers' models: their counts to the digits given, and small versions that run and learn."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from mvc.blocks.conv import GDN
from mvc.blocks.scale_space import predict, volume
from mvc.blocks.semantic import LowRank, SemanticScan, cluster_order
from mvc.blocks.vss import Scan
from mvc.blocks.window import SwinBlock, WindowAttention
from mvc.errors import WeightsError
from mvc.models import papers, registry, samic, ssf
from mvc.models.base import no_index
from mvc.models.complexity import Complexity, complexity
from mvc.models.estimate import RateEstimator
from mvc.models.papers import PaperModel
from mvc.models.samic import SamicModel
from mvc.models.ssf import SSFModel
from mvc.ops.scan import selective_scan_reference


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@lru_cache
def counted(name: str, width: int = 768, height: int = 512) -> Complexity:
    return complexity(name, width, height)


def giga(*counts: int, digits: int = 3) -> float:
    return round(sum(counts) / 1e9, digits)


# --- counts (reproduction.md) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "g_a", "h_a", "prior", "total", "full"),
    [
        ("mambavc", 53.301, 140.907, 0.631, 43.667, 326.111, 494.961),
        ("swinvc", 60.453, 257.899, 0.930, 44.264, 560.992, 581.244),
        ("convvc", 74.041, 188.844, 1.660, 45.724, 425.072, 425.576),
    ],
)
def test_still_models_count_as_in_the_paper(name, parameters, g_a, h_a, prior, total, full):
    c = counted(name)
    assert round(sum(c.parameters.values()) / 1e6, 3) == parameters
    paper = c.paper_macs
    assert (giga(paper["g_a"]), giga(paper["h_a"])) == (g_a, h_a)
    assert paper["g_s"] == paper["g_a"]
    assert giga(paper["h_s"], paper["contexts"]) == prior
    assert giga(*paper.values()) == total
    assert giga(*c.full_macs.values()) == full


@pytest.mark.parametrize(
    ("name", "parameters", "paper", "full"),
    [("convvc-ssf", 34.21, 493.5, 493.5), ("mambavc-ssf", 49.48, 1041.7, 1705.7)],
)
def test_video_models_count_as_they_should(name, parameters, paper, full):
    """At 1920x1088, which the networks see padded to 1152 rows; the target counts are by area."""
    c = counted(name, 1920, 1088)
    assert (c.width, c.height) == (1920, 1152)
    assert round(sum(c.parameters.values()) / 1e6, 2) == parameters
    macs = [giga(*(n * 1088 / 1152 for n in part.values()), digits=1) for part in (c.paper_macs, c.full_macs)]
    assert macs == [paper, full]


@pytest.mark.parametrize(
    ("config", "transforms", "parameters"), [(samic.SAMIC_SS2D, 28.357, 18.94), (samic.SAMIC, 53.417, 24.88)]
)
def test_samic_counts_as_in_the_paper(config, transforms, parameters, monkeypatch):
    monkeypatch.setattr(samic, "SAMIC", config)
    c = complexity("samic", 768, 512)
    assert giga(*(macs for part, macs in c.paper_macs.items() if part != "contexts")) == transforms
    # its contexts have no published widths: near the paper's number is all there is to reach
    assert sum(c.parameters.values()) / 1e6 == pytest.approx(parameters, rel=0.005)


def test_counts_grow_with_the_picture_and_memory_is_plausible():
    small, large = counted("mambavc-lite", 256, 256), counted("mambavc-lite", 512, 512)
    assert large.parameters == small.parameters
    assert large.full_macs == {part: 4 * macs for part, macs in small.full_macs.items()}
    assert small.memory_bytes > 4 * sum(small.parameters.values()) + 256 * 256 * 3 * 4
    assert large.memory_bytes > small.memory_bytes


def test_every_model_of_the_registry_is_what_the_registry_says():
    for preset in registry.presets():
        with torch.device("meta"):
            model = preset.make()
        assert (preset.several_rates, preset.kind == "video") == (model.rates > 1, len(model.networks) > 1)
        assert registry.known(preset.name) is preset and "picture" in model.networks
    with pytest.raises(WeightsError, match="no model 'mambavc-huge'"):
        registry.known("mambavc-huge")
    with pytest.raises(TypeError):
        registry.known("convvc").make({"wide": 3})


# --- small versions -------------------------------------------------------------------------------------------------


def small(name: str) -> nn.Module:
    stills = {"mambavc": papers.MAMBAVC, "swinvc": papers.SWINVC, "convvc": papers.CONVVC}
    videos = {"mambavc-ssf": ssf.MAMBAVC_SSF, "swinvc-ssf": ssf.SWINVC_SSF, "convvc-ssf": ssf.CONVVC_SSF}
    if name in stills:
        return PaperModel(papers.tiny(stills[name]))
    return SSFModel(ssf.tiny(videos[name])) if name in videos else SamicModel(samic.tiny())


def check_gradients(model: nn.Module, unused: set[str]) -> None:
    for name, parameter in model.named_parameters():
        if not any(part in name for part in unused):
            assert parameter.grad is not None, f"{name} has no gradient"
            assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"


def smooth(*shape: int) -> Tensor:
    """A picture [..., H, W, 3] with gradients and a little noise."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, n) for n in shape[-3:-1]), indexing="ij")
    return (torch.stack([rows, columns, rows * columns], -1) * 0.8 + 0.1 * torch.rand(shape)).clamp(0, 1)


@pytest.mark.parametrize("name", ["mambavc", "swinvc", "convvc", "samic"])
def test_small_stills_run_both_ways(name):
    model, x = small(name), smooth(1, 64, 128, 3)
    coder = RateEstimator(model.density, no_index(x), noise=True)
    x_hat = model(coder, x, no_index(x))
    assert x_hat.shape == x.shape and coder.bits.shape == (1,)
    assert (coder.bits > 0).all()
    ((x_hat - x).square().mean() + coder.bits.mean() / x.numel()).backward()
    check_gradients(model, {"density.quantiles"})
    model.density.quantile_loss().backward()
    assert torch.isfinite(model.density.quantiles.grad).all()
    model.eval()
    with torch.no_grad():
        assert torch.equal(*(model(RateEstimator(model.density, no_index(x), False), x, no_index(x)) for _ in "ab"))


@pytest.mark.parametrize("name", ["mambavc-ssf", "swinvc-ssf", "convvc-ssf"])
def test_small_videos_run_both_ways(name):
    model, frames = small(name), smooth(1, 2, 128, 128, 3)
    coded = model(frames)
    assert [frame.x_hat.shape for frame in coded] == [frames[:, 0].shape] * 2
    loss = sum((frame.x_hat - frames[:, t]).square().mean() + frame.bits.mean() / 1e5 for t, frame in enumerate(coded))
    loss.backward()
    check_gradients(model, {"density.quantiles"})


def test_a_small_model_learns():
    model, x = small("mambavc"), smooth(1, 64, 64, 3)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(12):
        coder = RateEstimator(model.density, no_index(x), noise=True)
        x_hat = model(coder, x, no_index(x))
        loss = 100 * (x_hat - x).square().mean() + coder.bits.mean() / (64 * 64)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


# --- layers ---------------------------------------------------------------------------------------------------------


def test_igdn_nearly_undoes_gdn_and_gdn_shrinks():
    x = 0.01 * torch.randn(1, 3, 3, 8)
    torch.testing.assert_close(GDN(8, inverse=True)(GDN(8)(x)), x, rtol=1e-3, atol=1e-6)
    assert GDN(8)(100 * torch.ones(1, 1, 1, 8)).abs().max() < 10


def test_windows_see_their_own_and_nothing_else():
    """Padding and wrapping must not show: a change in one corner stays in its window."""
    for shifted, reach in ((False, 4), (True, 2)):
        attention = WindowAttention(8, 4, 4, shifted)
        x = torch.randn(1, 6, 10, 8)
        changed = x.clone()
        changed[:, 0, 0] += 1
        moved = (attention(changed) - attention(x)).abs().sum(-1)[0] > 1e-7
        assert moved[:reach, :reach].all() and moved.sum() == reach**2
    assert SwinBlock(8, 4, 4, True)(x).shape == x.shape


def test_attention_is_that_of_torch():
    attention, x = WindowAttention(8, 4, 4, False), torch.randn(2, 4, 4, 8)
    q, k, v = attention.qkv(x.flatten(1, 2)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attention.relative_bias())
    expected = attention.out(expected.transpose(1, 2).flatten(2)).view_as(x)
    torch.testing.assert_close(attention(x), expected)


def test_the_semantic_scan_follows_its_clusters():
    scan = SemanticScan(8, 2, 3).eval()
    v = torch.randn(2, 3, 5, 8)
    cluster, factor = scan.clustering(v)
    assert (factor == 1).all()
    order = cluster_order(cluster, 16)
    assert (order.sort().values == torch.arange(15)).all()
    one = torch.cat([scan.dt_weight, scan.dt_bias[None], -torch.exp(scan.a_log), scan.d[None]])
    for b in range(2):  # every channel along the first order of a picture of one row
        tokens = v[b].flatten(0, 1)[order[b]]
        wide = tokens.repeat(1, 4)[None, None]
        parameters = scan.projection(tokens)[None, :, None].expand(-1, -1, 4, -1)
        y = selective_scan_reference(wide, parameters, one.repeat(1, 4), 3)[0, 0, :, :8]
        torch.testing.assert_close(scan(v)[b].flatten(0, 1)[order[b]], y)


def test_clusters_come_by_position_and_ties_by_index():
    cluster = torch.tensor([[2, 0, 2, 0, 1, 1]])  # mean places 1, 2 and 4.5
    assert cluster_order(cluster, 4).tolist() == [[0, 2, 1, 3, 4, 5]]
    assert cluster_order(torch.tensor([[1, 0, 0, 1]]), 2).tolist() == [[1, 2, 0, 3]]  # both in the middle


def test_the_full_scan_adds_four_orders():
    """With the same weights for all orders, a picture turned by 180 degrees comes out turned."""
    scan, v = Scan(4, 2, 1), torch.randn(1, 3, 2, 4)
    assert not torch.allclose(scan(v.flip(1, 2)).flip(1, 2), scan(v))
    scan.projection.data = scan.projection.data[:5].repeat(4, 1)
    scan.dt_weight.data, scan.dt_bias.data = scan.dt_weight.data[:, :4].repeat(1, 4), scan.dt_bias.data[:4].repeat(4)
    torch.testing.assert_close(scan(v.flip(1, 2)).flip(1, 2), scan(v))


def test_low_rank_lowers_singular_values():
    low, y = LowRank(), torch.randn(1, 4, 4, 8)
    low.theta.data.fill_(1.0)
    low.alpha.data.fill_(1.0)
    before, after = torch.linalg.svdvals(y.flatten(1, 2)), torch.linalg.svdvals(low(y).flatten(1, 2))
    torch.testing.assert_close(after, (before - 1).clamp_min(0), atol=1e-5, rtol=1e-4)


def test_no_motion_predicts_the_reference_and_blur_lowers_contrast():
    reference = torch.rand(1, 64, 64, 3)
    motion = torch.zeros(1, 64, 64, 3)
    motion[..., 2] = -1
    torch.testing.assert_close(predict(reference, motion), reference, atol=1e-4, rtol=0)
    motion[..., 0] = 2 / 64  # one pixel of 64
    torch.testing.assert_close(predict(reference, motion)[:, :, :-1], reference[:, :, 1:], atol=1e-4, rtol=0)
    contrast = volume(reference.permute(0, 3, 1, 2)).std((0, 1, 3, 4))
    assert (contrast.diff() < 0).all()
