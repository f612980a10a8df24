"""The natural look: what is added is bounded, of places, nothing where there may be lettering, and asked for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import fails, run
from fake_codec import install
from test_grain import noisy, ramp
from test_train import pictures, recipe, store  # noqa: F401  fixtures
from tiny_model import CONFIG, tiny_codec

import mvc
from mvc import choice
from mvc import codec as codec_module
from mvc.blocks.layers import unshuffle
from mvc.codec import Codec
from mvc.container import read_file
from mvc.distortion.seen_error import seen_error
from mvc.effort.importance import importance
from mvc.errors import SourceError, WeightsError
from mvc.evaluate import codecs as adapters
from mvc.evaluate import metric_weights
from mvc.evaluate.networks import DISTS, LPIPS
from mvc.metrics import psnr
from mvc.models import base, detail, lite, looks, registry
from mvc.models.base import abreast
from mvc.models.detail import BLOCK_PX, Detail, DetailConfig, Look, centred, limit_of, noise_of, open_blocks
from mvc.picture import Picture
from mvc.reencoding import symbols_of
from mvc.still_file import StillFile
from mvc.tiling import Region
from mvc.train.look import LookObjective, statistics_apart
from mvc.train.loop import Trainer
from mvc.train.recipe import Recipe
from mvc.train.run import export
from mvc.train.trained import load_checkpoint

SAMPLES = Path(__file__).parent.parent / "samples"


def some_detail(strength: float = 1.0) -> Detail:
    """Of the tiny model, and not small."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        detail = Detail(DetailConfig(CONFIG.width8, 2)).eval().requires_grad_(False)
        detail.head.weight.normal_(std=strength)
        return detail


def codecs(share: float = 1.0, strength: float = 1.0) -> tuple[Codec, Codec]:
    """A codec, and the same with a look."""
    faithful, natural = tiny_codec(), copy.copy(tiny_codec())
    model: Any = natural.model
    natural.look = Look(model, some_detail(strength), share)
    return faithful, natural


def test_what_is_added_is_bounded_and_of_no_brightness() -> None:
    generator = torch.Generator().manual_seed(0)
    limit, shares = torch.tensor([0.02, 0.5]), torch.ones(2, 5, 7, 1)
    shares[:, 2] = 0.0
    for strength in (1e-3, 1.0, 1e4):
        detail = some_detail(strength)
        features, noise = (torch.randn(2, 5, 7, size, generator=generator) for size in (CONFIG.width8, 64))
        made = unshuffle(detail(features, noise, torch.tensor([5, 60]), limit, shares), BLOCK_PX).unflatten(-1, (64, 3))
        assert made.mean(-2).abs().max() < 1e-6
        root = made.square().mean((-1, -2)).sqrt()
        assert root[:, 2].max() == 0
        most = root.amax((1, 2))
        assert most[0] < 0.020001 and most[1] < 0.50001
        if strength > 1:
            assert most[0] > 0.0199 and most[1] > 0.499
    assert centred(torch.full((64 * 3, 4), 7.0)).abs().max() == 0


def test_the_limit_is_the_error_of_uniform_rounding() -> None:
    """Against latents that are rounded, through the linear synthesis; and it falls with quality."""
    model = tiny_codec().model
    index = torch.tensor([30])
    limit = limit_of(model.g_s, index)
    errors = torch.rand(4000, CONFIG.latents) - 0.5
    made = (errors * model.g_s.gain.gains(index)) @ model.g_s.skip.weight.t()
    assert made.square().mean().sqrt().item() == pytest.approx(limit.item(), rel=0.02)
    limits = limit_of(model.g_s, torch.arange(64))
    assert (limits.diff() < 0).all()


def test_noise_is_of_places() -> None:
    whole = noise_of(slice(3, 40), slice(5, 50))
    assert whole.shape == (1, 37, 45, 64) and whole.dtype == torch.float32
    torch.testing.assert_close(noise_of(slice(10, 20), slice(30, 45)), whole[:, 7:17, 25:40])
    assert abs(whole.mean()) < 0.01 and abs(whole.std() - 1) < 0.01
    neighbours = np.corrcoef(whole[0, :, :, 0].flatten(), whole[0, :, :, 1].flatten())[0, 1]
    assert abs(neighbours) < 0.08


def lettered() -> np.ndarray:
    """A page with type on it: 128 x 256, dark on light, with a border that is empty."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (256, 128), (250, 248, 240))
    ImageDraw.Draw(page).multiline_text((56, 32), "No sample of this\nmay be made up.", (20, 20, 30), font_size=18)
    return np.asarray(page)


def test_lettering_is_left_alone() -> None:
    page = torch.from_numpy(lettered().copy())[None].float() / 255
    dark = unshuffle(page.mean(-1, keepdim=True), BLOCK_PX).amin(-1) < 0.4
    free = open_blocks(page)[..., 0]
    assert dark.sum() > 30 and (free[dark] == 0).float().mean() > 0.9
    assert (free[:, :2] == 1).all()
    texture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    assert (open_blocks(texture) == 1).all()
    assert (open_blocks(torch.from_numpy(ramp(64, 512))[None].float() / 255) == 1).all()


def test_a_look_is_the_faithful_picture_and_more() -> None:
    picture = Picture(noisy(ramp(150, 300), 3))
    faithful, natural = codecs()
    data = faithful.encode(picture, 20, 0)
    before, after = (codec.decode(data).samples.astype(int) for codec in (faithful, natural))
    added = (after - before)[:144, :296]
    assert 1 < added.std() < 255 * limit_of(natural.model.g_s, torch.tensor([20])).item() + 0.3
    inside = ((after > 0) & (after < 255))[:144, :296].reshape(18, 8, 37, 8, 3).all((1, 3))
    means = added.reshape(18, 8, 37, 8, 3).mean((1, 3))[inside]
    assert len(means) > 500 and np.abs(means).max() < 0.3  # rounding to whole samples alone
    assert natural.look is not None
    half = copy.copy(faithful)
    half.look = Look(natural.look.model, natural.look.detail, 0.5)
    between = half.decode(data).samples
    open_ = (np.minimum(before, after) > 0) & (np.maximum(before, after) < 255)  # nothing was cut off
    assert np.abs(between - (before + after) / 2)[open_].max() <= 1.01


def test_tiles_and_regions_have_what_the_whole_has() -> None:
    picture = Picture(noisy(ramp(300, 620), 3))
    faithful, natural = codecs()
    data = faithful.encode(picture, 24, 0, 256)
    whole = natural.decode(data).samples.astype(int)
    part = StillFile(data, Region(200, 140, 150, 150)).decode(lambda _: natural).samples
    assert np.abs(part - whole[140:290, 200:350]).max() <= 1
    one = natural.decode(faithful.encode(picture, 24, 0, 0)).samples.astype(int)
    seams = [np.abs(np.diff(picture_, axis=1)).mean((0, 2)) for picture_ in (whole, one)]
    assert seams[0][255] < 1.5 * seams[0][7::8].mean() + 1  # as between other blocks


def test_windows_side_by_side_show_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU works: windows of one size are one batch, in both directions and with either look."""
    source = Picture(noisy(ramp(300, 620), 3))
    for module in (lite, detail):
        monkeypatch.setattr(module, "WINDOW", 6)
    batches: list[int] = []

    def joined(parts: list[torch.Tensor]) -> torch.Tensor:
        batches.append(len(parts))
        return abreast(parts)

    for codec in codecs():
        files = [codec.encode(source, 24, 0, side) for side in (256, 0)]
        expected = [codec.decode(data).samples.astype(int) for data in files]
        with monkeypatch.context() as patch:
            for module in (base, lite, codec_module):
                patch.setattr(module, "most_abreast", lambda device: 5)
            for module in (base, lite, detail):
                patch.setattr(module, "abreast", joined)
            assert [codec.encode(source, 24, 0, side) for side in (256, 0)] == files
            for data, one_by_one in zip(files, expected, strict=True):
                assert np.abs(codec.decode(data).samples - one_by_one).max() <= 1
    assert {1, 2, 5} <= set(batches) <= {1, 2, 3, 4, 5}


def test_exact_tiles_and_gray_pictures() -> None:
    faithful, natural = codecs()
    samples = noisy(ramp(200, 512), 4)
    samples[:, :256] = (np.indices((200, 256)).sum(0) // 9 % 2 * 200)[..., None]
    data = choice.by_both(Picture(samples), faithful, 0, 256, 40)
    assert [unit.role for unit in read_file(data)[1]] == ["exact", "picture"]
    before, after = faithful.decode(data).samples, natural.decode(data).samples
    assert np.array_equal(before[:, :256], after[:, :256]) and (before[:, 256:] != after[:, 256:]).any()
    gray = natural.decode(faithful.encode(Picture(samples[..., 0]), 30, 0)).samples
    assert gray.shape == (200, 512)


def test_symbols_that_a_picture_would_be_coded_as() -> None:
    """Of what was coded all are the file's, of others fewer; tile by tile."""
    picture = Picture(noisy(ramp(150, 420), 3))
    codec, natural = codecs(strength=0.2)
    for tile_px in (0, 256):
        data = codec.encode(picture, 40, 0, tile_px)
        same = symbols_of(StillFile(data), picture, codec)
        assert same.all == same.same > same.sent == same.same_sent > 0
        shown, made = (symbols_of(StillFile(data), one.decode(data), codec) for one in (codec, natural))
        assert shown.all == made.all == same.all and made.sent == same.sent
        assert 0 < shown.share < 1 and 0 < made.share < 1


# --- on disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The tiny model's folder, beside which its look lies."""
    from mvc.models.weights import save

    folder = tmp_path / "tiny"
    codec = tiny_codec()
    save(folder, codec.weights)
    model = looks.Natural(looks.NaturalConfig(CONFIG, DetailConfig(CONFIG.width8, 2)))
    model.picture.g_s.load_state_dict(mvc.codec.load(str(folder)).model.g_s.state_dict())
    model.detail.load_state_dict(some_detail().state_dict())
    looks.save(looks.folder_beside(folder), model, {"steps": 3})
    return folder


def test_a_look_lies_beside_its_model(installed: Path) -> None:
    picture = Picture(noisy(ramp(100, 120), 3))
    data = mvc.encode(picture, quality=3, model=installed, coder="network")
    shown = [mvc.decode(data, model=installed, look=look).samples for look in ("faithful", 0, "natural", 1.0, 0.5)]
    assert np.array_equal(shown[0], shown[1]) and np.array_equal(shown[2], shown[3])
    assert (shown[0] != shown[2]).any() and (shown[4] != shown[2]).any()
    assert np.array_equal(mvc.decode(data, model=installed).samples, shown[0])
    with mvc.open(data, model=installed) as file:
        assert np.array_equal(file.read(look="natural").samples, shown[2])
    for wrong, error in (("pretty", ValueError), (1.5, ValueError), (True, TypeError), (None, TypeError)):
        with pytest.raises(error, match="look must be"):
            mvc.decode(data, look=wrong)  # type: ignore[arg-type]


def test_looks_that_cannot_be_used(installed: Path) -> None:
    codec = mvc.codec.load(str(installed))
    folder = looks.folder_beside(installed)
    with pytest.raises(WeightsError, match="no looks"):
        tiny_codec().looking(1.0)  # weights that lie nowhere
    manifest, weights = folder / "manifest.json", folder / "weights.safetensors"
    text, data = manifest.read_text(), weights.read_bytes()
    for path, own in ((manifest, text.replace("natural", "pretty")), (weights, data[:-1]), (manifest, "{")):
        path.write_bytes(own if isinstance(own, bytes) else own.encode())
        with pytest.raises(WeightsError, match="cannot be used"):
            codec.looking(1.0)
        manifest.write_text(text), weights.write_bytes(data)
    with torch.no_grad():
        codec.model.g_s.skip.weight[0, 0] += 1
    with pytest.raises(WeightsError, match="other weights"):
        codec.looking(1.0)
    manifest.unlink()
    with pytest.raises(WeightsError, match="no natural look"):
        codec.looking(0.5)


# --- trained ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in the place of those that `mvc metrics --fetch` brings."""
    torch.manual_seed(0)
    made = {"lpips": LPIPS(), "dists": DISTS()}
    monkeypatch.setattr(metric_weights, "load", lambda name: made[name].state_dict())


def test_statistics_apart() -> None:
    """Noise of other places is near, other noise is not; nothing is at no distance."""
    generator = torch.Generator().manual_seed(3)
    one, other, weak = (torch.randn(2, 8, 32, 32, generator=generator) * k for k in (1.0, 1.0, 0.5))
    assert statistics_apart(one, one, 16).abs().max() == 0
    assert statistics_apart(one, other, 16).max() < 0.03 < 0.1 < statistics_apart(one, weak, 16).min()


def test_training_changes_the_detail_alone(recipe: Recipe, networks: None, tmp_path: Path) -> None:  # noqa: F811
    first = Trainer(recipe)
    first.train()
    weight = next(value for name, value in first.average.items() if name.startswith("g_s.") and name.endswith("weight"))
    weight.view(-1)[0] = -0.0  # which an average with itself makes 0.0, another synthesis by its bytes
    first.save(0.1)
    values = vars(recipe) | {
        "model": "mambavc-lite-natural", "start": str(recipe.checkpoint), "parts": ["detail"],
        "run": str(tmp_path / "look"), "steps": 12, "holdout": 0,
        "config": {"picture": recipe.config, "detail": {"blocks": 1}},
    }  # fmt: skip
    plan = Recipe.from_dict(values)
    trainer = Trainer(plan)
    trainer.step = 10  # averages of the first steps are of little else than the last
    objective: Any = trainer.objective
    assert isinstance(objective, LookObjective)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    x, index = trainer.batch()
    result = objective(x, index)
    assert result["loss"].shape == result["mse"].shape == (4,) and result["loss"].isfinite().all()
    assert trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("detail.") for name in changed)
    model, _ = load_checkpoint(plan.checkpoint)
    export(recipe.checkpoint, tmp_path / "tiny")
    export(plan.checkpoint, looks.folder_beside(tmp_path / "tiny"))
    shown = mvc.codec.load(str(tmp_path / "tiny")).looking(1.0).look
    assert shown is not None
    for name, value in shown.detail.state_dict().items():
        torch.testing.assert_close(value, model.detail.state_dict()[name], rtol=1e-3, atol=1e-4)
    for wrong in ({"parts": []}, {"start": ""}, {"config": {"detail": {"width": 48}}}, {"config": {"other": {}}}):
        with pytest.raises(SourceError):
            Recipe.from_dict(values | wrong)


# --- what efforts go to ----------------------------------------------------------------------------------------------


def test_errors_count_where_it_is_calm() -> None:
    samples = np.full((128, 256, 3), 120, np.uint8)
    samples[:, 128:] = noisy(samples[:, 128:].astype(float), 12)
    weights = importance(torch.from_numpy(samples)[None].float() / 255, 0.5)
    assert weights.shape == (1, 128, 256, 1)
    calm, busy = weights[0, :, :100].mean(), weights[0, :, -100:].mean()
    assert calm > 1.5 and busy < 0.8
    torch.testing.assert_close(importance(torch.rand(1, 40, 50, 3), 0.0), torch.ones(1, 40, 50, 1))


@pytest.mark.parametrize("effort", [1, 2])
def test_tuned_to_the_look_errors_go_where_they_are_not_seen(effort: int) -> None:
    picture = mvc.read_picture(SAMPLES / "kodim23.png").picture
    codec = mvc.codec.load()
    assert codec.tuned("error") is codec
    data = [one.encode(picture, 30, effort) for one in (codec, codec.tuned("look"))]
    original = torch.from_numpy(picture.samples.copy())[None].float() / 255
    shown = [torch.from_numpy(codec.decode(one).samples)[None].float() / 255 for one in data]
    squares = [float((x_hat - original).square().mean()) for x_hat in shown]
    seen = [float(seen_error(original, x_hat)) for x_hat in shown]
    assert seen[1] / squares[1] < 0.97 * seen[0] / squares[0] and squares[1] > squares[0]
    assert abs(len(data[1]) / len(data[0]) - 1) < 0.1
    assert codec.tuned("look").encode(picture, 20, 0) == codec.encode(picture, 20, 0)


def test_tune_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    mvc.write_picture(Picture(noisy(ramp(40, 60), 2)), "k.png")

    def loaded() -> list[str]:
        names = [value[0] for call, value in codec.calls if call == "load"]
        assert ("tune", "look") in codec.calls
        codec.calls.clear()
        return names

    ask = "encode", "k.png", "--coder", "network", "-f", "--tune", "look"
    run(*ask)
    assert loaded() == ["mambavc-lite-seen"]
    run(*ask, "--effort", "0")  # the model still is another
    assert loaded() == ["mambavc-lite-seen"]
    run(*ask, "--model", "mambavc-lite")
    assert loaded() == ["mambavc-lite"]
    mvc.encode("k.png", tune="look", coder="network")
    assert loaded() == ["mambavc-lite-seen"]
    mvc.encode("k.png", tune="look", coder="network", model="mambavc-lite")
    assert loaded() == ["mambavc-lite"]
    fails(run(*ask, "--model", "mambavc-lite", "--effort", "0"), 2, "for --effort 1 to 3")
    with pytest.raises(ValueError, match="tune must be error or look"):
        mvc.encode("k.png", tune="psnr")


def test_what_is_measured_has_the_model_of_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr(mvc.codec, "load", lambda model, *how: named.append(model) or tiny_codec())
    for name in ("mvc", "mvc-tuned", "mvc-tuned-auto", "mvc-grain"):
        adapters.adapter(name, effort=0)
    adapters.adapter("mvc-tuned", model="mambavc-lite", effort=0)
    assert named == ["mambavc-lite", *["mambavc-lite-seen"] * 2, "mambavc-lite", "mambavc-lite"]


# --- as people have it -----------------------------------------------------------------------------------------------


def test_the_model_for_looks() -> None:
    """At no more bytes its errors are less as they are seen, and more as they are; a file says whose it is."""
    kodim = mvc.read_picture(SAMPLES / "kodim03.png").picture
    picture = Picture(np.ascontiguousarray(kodim.samples[64:448, 128:640]))
    data = mvc.encode(picture, 3, coder="network")
    seen = mvc.encode(picture, size=len(data), coder="network", tune="look")
    assert registry.preset_of(read_file(seen)[0].model_id) == registry.preset("mambavc-lite-seen")
    shown = [mvc.decode(one).samples for one in (data, seen)]
    original, *others = (torch.from_numpy(one)[None].float() / 255 for one in (picture.samples, *shown))
    as_seen, as_is = [seen_error(original, one).item() for one in others], [psnr(picture.samples, one) for one in shown]
    assert as_seen[1] < 0.97 * as_seen[0] and as_is[1] < as_is[0]


@pytest.mark.parametrize("model", ["mambavc-lite", "mambavc-lite-seen"])
def test_the_shipped_look(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fits the shipped weights, and is nearer to the original in its texture, at less than a decibel."""
    monkeypatch.chdir(tmp_path)
    kodim = mvc.read_picture(SAMPLES / "kodim23.png").picture
    picture = Picture(np.ascontiguousarray(kodim.samples[128:384, 256:640]))
    mvc.write_picture(picture, "k.png")
    run("encode", "k.png", "-o", "k.mvc", "-q", "3", "--coder", "network", "--model", model)
    assert registry.looks_of(registry.known(model).model_id) == ("faithful", "natural")
    told = run("info", "k.mvc").stdout
    assert "faithful, natural" in told and f"model  {model}\n" in told
    run("decode", "k.mvc", "--look", "natural", "-o", "n.png")
    shown = mvc.read_picture("n.png").picture
    assert np.array_equal(shown.samples, mvc.decode("k.mvc", look="natural").samples)
    faithful = mvc.decode("k.mvc").samples
    lost = psnr(picture.samples, faithful) - psnr(picture.samples, shown.samples)
    assert 0 < lost < 1

    def fine(samples: np.ndarray) -> float:
        return float(np.diff(samples.astype(float), axis=1).std())

    assert abs(fine(shown.samples) / fine(picture.samples) - 1) < abs(fine(faithful) / fine(picture.samples) - 1)
    told = run("verify", "k.mvc", "--look", "natural", "--against", "k.png").stdout
    assert "% of its symbols are the file's" in told and f"{psnr(picture.samples, shown.samples):.2f} dB" in told


def test_what_excludes_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("k.mvc").write_bytes(mvc.encode(noisy(ramp(40, 60), 2), lossless=True))
    fails(run("decode", "k.mvc", "--look", "2", "-o", "n.png"), 2, "look must be faithful, natural or a number")
    fails(run("decode", "k.mvc", "--look", "natural", "--grain", "-o", "n.png"), 2, "exclude each other")
    fails(run("verify", "k.mvc", "--look", "natural", "--checksum"), 2, "--look takes a full decode")
    assert "nothing of it is made by a network" in run("verify", "k.mvc", "--look", "natural").stdout
    run("decode", "k.mvc", "--look", "natural", "-o", "n.png")  # what is exact is what it was
    assert np.array_equal(mvc.read_picture("n.png").picture.samples, mvc.decode("k.mvc").samples)
