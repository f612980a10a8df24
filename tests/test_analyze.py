"""Analyses of models against known answers, their figures, and `mvc analyze` around them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from tiny_model import PAPERS, picture, tiny_codec, tiny_network, tiny_paper_weights
from torch import Tensor
from typer.testing import CliRunner, Result

from mvc import codec as codecs
from mvc.analysis import correlation, draw, erf
from mvc.analysis.allocation import allocation, hyper_bits, latent_bits
from mvc.analysis.deviation import deviation
from mvc.analysis.record import Recorded, code, record
from mvc.analysis.study import ANALYSES, analyse, crop_side
from mvc.cli.app import app
from mvc.codec import Codec
from mvc.container import describe, read_file
from mvc.entropy.tables import SCALE_MIN, gaussian_tables
from mvc.errors import BackendError, SourceError
from mvc.evaluate import plots
from mvc.models.estimate import RateEstimator
from mvc.models.rounding import FARTHEST
from mvc.ops.rate import gaussian_bits

QUALITY = 36


def recorded(y: NDArray[np.float32], **others: NDArray[np.float32]) -> Recorded:
    """Latents [h, w, 4] in slices of 1 and 3, rounded around a mean of 0 unless `others` say something else."""
    plain = {"mean": np.zeros_like(y), "log_scale": np.zeros_like(y), "rounded": np.rint(y), "y_hat": np.rint(y)}
    return Recorded(y, **(plain | others), z_hat=np.zeros((1, 1, 2), np.float32), widths=(1, 3), visible=y.shape[:2])


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Receptive fields ---------------------------------------------------------------------------------------------------


def convolved(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """x [1, H, W, 3] through a convolution with weight [C, 3, k, k], padded where it has no stride."""
    padding = weight.shape[-1] // 2 if stride == 1 else 0
    return F.conv2d(x.permute(0, 3, 1, 2), weight, stride=stride, padding=padding).permute(0, 2, 3, 1)


def field_of(weight: Tensor, side: int, stride: int = 1) -> erf.Field:
    x = torch.rand(1, side, side, 3).requires_grad_()
    output = convolved(x, weight, stride)
    return erf.field(erf.gradient_map(output, x), erf.centre(output, x)[2])


def test_field_of_a_box() -> None:
    found = field_of(torch.full((1, 3, 5, 5), -0.2), 15)
    expected = np.zeros((15, 15))
    expected[5:10, 5:10] = 1 / 25
    np.testing.assert_allclose(found.map, expected, atol=1e-9)
    assert found.centre_px == (7.5, 7.5)
    half, most = found.areas[0], found.areas[1]
    assert (half.total_share, half.square_px, half.square_share) == (0.5, 5, 25 / 225)  # 3 x 3 pixels hold 9 of 25
    assert half.pixels_share == 13 / 225
    assert most.pixels_share == 20 / 225
    np.testing.assert_allclose(found.inside_share[[0, 1, 3, 5]], [0, 1 / 25, 9 / 25, 1], atol=1e-9)


def test_field_of_patches_is_the_patch() -> None:
    found = field_of(torch.randn(8, 3, 4, 4), 32, stride=4)
    assert found.centre_px == (18, 18)
    assert found.areas[-1].square_px == 4
    assert found.map[16:20, 16:20].sum() == pytest.approx(1)


def test_channels_do_not_cancel() -> None:
    weight = torch.randn(1, 3, 3, 3)
    found = field_of(torch.cat([weight, -weight]), 9)
    assert found.map[3:6, 3:6].sum() == pytest.approx(1)


def test_square_ends_at_the_border() -> None:
    gradient = np.zeros((8, 8))
    gradient[0, 0] = 2
    area = erf.field(gradient, (6, 6)).areas[0]
    assert (area.square_px, area.square_share, area.pixels_share) == (12, 1, 1 / 64)


def test_crops_of_pictures_of_several_sizes() -> None:
    pictures = [("a", picture(100, 300)), ("b", picture(200, 130))]
    assert crop_side(pictures, 64, 512) == 128  # 100 and 130 pixels are padded to 128 and 192
    assert crop_side(pictures, 64, 100) == 64
    x = torch.arange(36.0).view(1, 6, 6, 1)
    assert erf.crop(x, 2).flatten().tolist() == [14, 15, 20, 21]


def test_fields_of_a_model() -> None:
    found = analyse(tiny_codec(), [("a", picture(128, 128))], QUALITY, ["erf"]).erf
    assert list(found) == ["g_a", "h_a_after_g_a"]
    assert found["g_a"].centre_px == (72, 72) and found["h_a_after_g_a"].centre_px == (96, 96)
    for one in found.values():
        assert one.map.shape == (128, 128) and one.map.sum() == pytest.approx(1)
    row, column = np.unravel_index(found["g_a"].map.argmax(), (128, 128))
    assert row // 16 == column // 16 == 4  # the latent's own pixels, through the transform's linear path
    assert found["h_a_after_g_a"].areas[0].square_px > found["g_a"].areas[0].square_px


# Correlation and distribution ---------------------------------------------------------------------------------------


def test_white_noise_has_no_correlation() -> None:
    found = correlation.correlation_map(noise(40, 50, 30))
    np.testing.assert_array_equal(found, found[::-1, ::-1])
    assert found[4, 4] == 1
    assert np.abs(np.delete(found.ravel(), 40)).max() < 0.02


def test_correlation_of_a_smoothed_field() -> None:
    white = noise(80, 90, 12)
    smooth = sum(white[:, i : i + 88] for i in range(3))  # along the columns only
    found = correlation.correlation_map(smooth, 3)
    np.testing.assert_allclose(found[3, 3:], [1, 2 / 3, 1 / 3, 0], atol=0.03)
    np.testing.assert_allclose(found[4], 0, atol=0.03)


def test_correlation_of_a_checkerboard() -> None:
    signs = np.indices((6, 7)).sum(0)[..., None] % 2 * 2.0 - 1
    found = correlation.correlation(recorded(np.repeat(signs, 4, -1).astype(np.float32)))
    assert found.adjacent == pytest.approx(-1)
    assert found.map[5, 5] == pytest.approx(1)
    assert found.mean_absolute == pytest.approx(1)


def test_correlation_of_tiny_pictures_has_gaps() -> None:
    small = correlation.correlation(recorded(noise(2, 3, 4)))
    assert np.isfinite(small.map).sum() == 3 * 5
    both = correlation.mean([small, correlation.correlation(recorded(noise(1, 6, 4)))])
    assert np.isfinite(both.map).sum() == 3 * 5 + 4
    assert both.counts.sum() == 2 * 3 * 4 + 6 * 4
    alone = correlation.correlation(recorded(noise(1, 1, 4)))
    numbers = json.loads(json.dumps(alone.numbers(), allow_nan=False))
    assert numbers["correlation_adjacent"] is None and numbers["correlation_map"][4][4] == 1
    assert correlation.correlation_map(np.zeros((3, 3, 1), np.float32), 1)[0, 0] == 0


def test_latents_are_normalised_by_the_scale_that_codes_them() -> None:
    y = np.full((1, 2, 4), 3.0, np.float32)
    log_scale = np.array([-2, 0, 1, 99], np.float32) * np.ones_like(y)
    found = correlation.normalised(recorded(y, mean=np.ones_like(y), log_scale=log_scale))
    np.testing.assert_allclose(found[0, 0, :3], [2 / SCALE_MIN, 2 / SCALE_MIN, 1 / SCALE_MIN], rtol=1e-6)
    assert found[0, 0, 3] > 2 / 1000  # the largest scale there is, not 2^99
    counts = correlation.correlation(recorded(y, log_scale=log_scale))
    assert (counts.counts.sum(), counts.clear_counts.sum()) == (8, 4)


def test_distance_from_the_normal() -> None:
    def distance(values: NDArray[np.float32]) -> float:
        return correlation.kl_nats(correlation.histogram(values))

    assert correlation.normal_masses().sum() == pytest.approx(1)
    assert 0 <= distance(noise(200_000)) < 0.001
    uniform = np.random.default_rng(1).uniform(-1, 1, 200_000).astype(np.float32)
    assert distance(uniform) == pytest.approx(math.log(0.5) + 0.5 * math.log(2 * math.pi) + 1 / 6, abs=0.002)
    # Between normals of widths s and 1: (s^2 - 1) / 2 - ln s.
    assert distance(0.5 * noise(200_000)) == pytest.approx(-0.375 + math.log(2), abs=0.005)
    assert math.isnan(distance(noise(0)))
    assert correlation.histogram(np.array([-9, 0.05, 9], np.float32)).nonzero()[0].tolist() == [0, 61, 121]


# Deviation ----------------------------------------------------------------------------------------------------------


def test_deviation_by_place_and_slice() -> None:
    y = np.zeros((2, 3, 4), np.float32)
    y[..., 0] = 10
    y[1, 2] = 0.25
    own = recorded(y, rounded=y - 0.5, y_hat=np.where([True, False, False, False], y, y + 0.25).astype(np.float32))
    found = deviation(own)
    assert found.map_steps.tolist() == [[0.1875] * 3] * 2
    assert found.slice_mean_steps == (0, 0.25) and found.slice_rounded_mean_steps == (0.5, 0.5)
    assert (found.mean_steps, found.rounded_mean_steps) == (0.1875, 0.5)
    assert found.relative == pytest.approx(6 * 3 * 0.25 / (5 * 10 + 4 * 0.25))


def test_padding_does_not_count() -> None:
    y = np.zeros((4, 4, 4), np.float32)
    own = recorded(y, y_hat=np.where(np.arange(4)[:, None, None] < 3, y + 0.5, y + 9).astype(np.float32))
    cut = Recorded(**(vars(own) | {"visible": (3, 2)}))
    assert deviation(cut).map_steps.shape == (3, 2)
    assert deviation(cut).mean_steps == 0.5
    assert correlation.correlation(cut).counts.sum() == 3 * 2 * 4


# What is recorded ---------------------------------------------------------------------------------------------------


def codec_of(name: str) -> Codec:
    return tiny_codec() if name == "mambavc-lite" else Codec(tiny_paper_weights(name))


@pytest.mark.parametrize("name", ["mambavc-lite", *PAPERS])
def test_records_what_the_file_holds(name: str) -> None:
    codec, source = codec_of(name), picture(70, 100)
    quality = min(QUALITY, codec.model.rates - 1)
    found = record(codec, source, quality)
    data = codec.encode(source, quality, effort=0)
    np.testing.assert_array_equal(found.y_hat, codec.decode_latent(*read_file(data))[0].numpy())
    assert found.y.shape[:2] == ((5, 7) if name == "mambavc-lite" else (8, 8)) and found.visible == (5, 7)
    symbols, far = found.rounded - found.mean, np.abs(found.rounded - found.y)
    assert far[symbols != 0].max() <= 0.5 + 2 / codec.network.prior.grid.one
    assert far.max() <= (FARTHEST if codec.model.rounding.thrift else 0.5) + 2 / codec.network.prior.grid.one
    np.testing.assert_array_equal(symbols, np.rint(symbols))
    assert np.abs(symbols).max() > 0
    assert [part.shape[-1] for part in found.slices(found.y)] == codec.network.prior.widths


def test_a_float_prior_is_recorded_as_well() -> None:
    network, quality = tiny_network(), torch.tensor([QUALITY])
    x = torch.from_numpy(picture(64, 128).samples)[None].float() / 255
    with torch.no_grad():
        latents = network.analyse(x, quality)
    coder = RateEstimator(network.density, quality, noise=False)
    found = code(network.prior, coder, quality, latents)
    np.testing.assert_array_equal(found.y, latents[0][0].numpy())
    assert np.abs(found.rounded - found.y).max() <= 0.501
    distance, log_scale = torch.from_numpy(found.rounded - found.mean), torch.from_numpy(found.log_scale)
    assert float(gaussian_bits(distance, log_scale).sum()) == pytest.approx(float(coder.latent_bits), rel=1e-3)


# Allocation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mambavc-lite", "convvc", "samic"])
def test_bits_of_a_file(name: str) -> None:
    codec, source = codec_of(name), picture(70, 100)
    quality = min(QUALITY, codec.model.rates - 1)
    own, weights = record(codec, source, quality), codec.network
    bits = latent_bits(own, weights.latent_tables), hyper_bits(own, weights.hyper_tables, quality)
    data = codec.encode(source, quality, effort=0)
    found = allocation(data, *bits, own.widths)
    (unit,) = describe(data)["units"]
    assert [found.hyper_bits, *found.slice_bits] == [8 * size for size in unit["stream_bytes"]]
    assert found.file_bits == 8 * len(data)
    guesses = [found.estimated_hyper_bits, *found.estimated_slice_bits]
    for real, guess in zip([found.hyper_bits, *found.slice_bits], guesses, strict=True):
        assert real == pytest.approx(guess, rel=0.005, abs=48)  # a stream ends with the coder's state
    assert found.map_bits.shape == own.y.shape[:2]
    assert found.map_bits.sum() == pytest.approx(found.estimated_bits)
    numbers = found.numbers()
    assert sum([numbers["real"]["framing_bits"], found.hyper_bits, *found.slice_bits]) == found.file_bits


def test_bits_lie_where_they_are_spent() -> None:
    data = tiny_codec().encode(picture(64, 128), QUALITY, effort=0)
    latent, hyper = np.zeros((4, 8, 64)), np.zeros((1, 2, 16))
    latent[3, 1, [0, 20]] = 5, 2
    hyper[0, 1, :2] = 8
    found = allocation(data, latent, hyper, (16, 16, 32))
    expected = np.zeros((4, 8))
    expected[:, 4:] = 1  # 16 bits over the 16 positions of one hyperlatent
    expected[3, 1] = 7
    np.testing.assert_allclose(found.map_bits, expected)
    assert (found.estimated_hyper_bits, found.estimated_slice_bits, found.estimated_bits) == (16, (5, 2, 0), 23)


def test_bits_of_symbols_and_escapes() -> None:
    tables = gaussian_tables()
    symbols = np.array([[0, 1, -3], [5000, -70000, 0]])
    rows = np.array([[0, 40, 40], [2, 95, 40]])
    found = tables.bits(symbols, rows)
    assert found.sum() == pytest.approx(tables.cost_bits(symbols, rows))
    assert found[1, 1] == pytest.approx(tables.cost_bits([-70000], [95]))


# Reports, figures and the command -----------------------------------------------------------------------------------


def test_report_has_what_was_asked_for() -> None:
    seen: list[str] = []
    pictures = [("a", picture(64, 128)), ("b", picture(40, 50, gray=True))]
    report = analyse(tiny_codec(), pictures, QUALITY, crop_px=64, on_step=seen.append)
    content = json.loads(report.to_json())
    assert seen == ["a", "b"]
    assert set(ANALYSES) < set(content) and content["quality_index"] == QUALITY
    assert content["pictures"][1] == {"name": "b", "width_px": 50, "height_px": 40}
    assert [entry["picture"] for entry in content["deviation"]] == ["a", "b"]
    assert np.shape(content["deviation"][1]["map_steps"]) == (3, 4)  # ceil(40 / 16), ceil(50 / 16)
    assert np.shape(content["allocation"][0]["estimated"]["map_bits"]) == (4, 8)
    assert content["erf"]["g_a"]["crop_px"] == [48, 48]  # 40 rows, padded
    only = json.loads(analyse(tiny_codec(), pictures[:1], QUALITY, ["deviation"]).to_json())
    assert set(only) & set(ANALYSES) == {"deviation"}
    with pytest.raises(SourceError, match="no picture"):
        analyse(tiny_codec(), [], QUALITY)


def test_fields_are_means_over_pictures() -> None:
    pictures = [("a", picture(64, 64)), ("b", picture(64, 64, seed=5))]
    one, two, both = (
        analyse(tiny_codec(), chosen, QUALITY, ["erf"]).erf["g_a"].map
        for chosen in (pictures[:1], pictures[1:], pictures)
    )
    assert np.abs(one - two).max() > 1e-6
    assert (both <= np.maximum(one, two) + 1e-12).all() and (both >= np.minimum(one, two) - 1e-12).all()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run the command in, with two pictures and the tiny model in place of all others."""
    monkeypatch.setattr(codecs, "load", lambda *_: tiny_codec())
    monkeypatch.chdir(tmp_path)
    for name, height in (("wide", 64), ("tall", 150)):
        Image.fromarray(picture(height, 100).samples).save(f"{name}.png")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["analyze", *arguments])


def test_command_writes_numbers_and_figures(command: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("wide.png", "tall.png", "-q", "3", "-o", "deep/out", "--format", "png")
    assert done.exit_code == 0, done.output
    folder = command / "deep/out"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["analysis.json", *(f"{n}.png" for n in ANALYSES)])
    numbers = json.loads((folder / "analysis.json").read_text())
    assert [entry["name"] for entry in numbers["pictures"]] == ["wide.png", "tall.png"]
    for name in ANALYSES:
        with Image.open(folder / f"{name}.png") as figure:
            assert min(figure.size) > 400 and len(figure.convert("RGB").getcolors(1 << 24) or []) > 100


def test_command_keeps_what_is_there(command: Path) -> None:
    pytest.importorskip("matplotlib")
    (command / "analysis").mkdir()
    (command / "analysis/erf.svg").write_text("old")
    done = run("wide.png", "--only", "erf,deviation")
    assert done.exit_code == 1 and "erf.svg already exists" in done.output
    assert run("wide.png", "--only", "deviation").exit_code == 0
    assert sorted(path.name for path in (command / "analysis").iterdir()) == [
        "analysis.json",
        "deviation.svg",
        "erf.svg",
    ]
    assert run("wide.png", "--only", "erf", "--force").exit_code == 0
    assert (command / "analysis/erf.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["wide.png", "--only", "erf,colour"], 2, "colour is no analysis"),
        (["wide.png", "-q", "9"], 2, "-q"),
        (["missing.png"], 1, "missing.png"),
    ],
)
def test_command_refuses(command: Path, arguments: list[str], code: int, message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code and message in done.output
    assert not (command / "analysis").exists()


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match="matplotlib"):
        draw.check_drawing()


def test_maps_are_drawn_with_the_shape_of_the_picture() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    axes = figures.Figure().subplots()
    draw._map(axes, picture(70, 100), np.ones((8, 8)), "", "", "viridis")
    assert (*axes.get_xlim(), *axes.get_ylim()) == (0, 100, 70, 0)
    assert axes.get_aspect() == 1
