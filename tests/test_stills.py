"""Stills by the exact coder, from picture to file and back: every sample, every depth, alpha, and no model."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import png_of
from PIL import Image
from test_container import BAD, BAD_EXACT
from tiny_model import picture as some_picture
from tiny_model import tiny_codec
from valid_files import exact_pictures

import mvc
from mvc import stills
from mvc.container import read_file, read_head
from mvc.picture import Picture

RNG = np.random.default_rng(7)
RGBA = np.dstack([RNG.integers(0, 256, (24, 30, 3), np.uint8), RNG.integers(0, 3, (24, 30), np.uint8) * 127])


def no_model(model_id: bytes) -> Any:
    raise AssertionError("a model is asked for")


def decoded(data: bytes) -> Picture:
    return stills.decode(*read_file(data), no_model)


def same(one: Picture, two: Picture) -> bool:
    return one.depth == two.depth and np.array_equal(np.asarray(one), np.asarray(two))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # kernels are compiled
@given(exact_pictures(), st.sampled_from([0, 1, 5, 255]), st.integers(0, 3))
def test_every_sample_comes_back_or_is_off_by_no_more(picture: Picture, near: int, effort: int) -> None:
    data = stills.exact_file(picture, near, effort)
    back = decoded(data)
    assert (back.depth, back.samples.shape) == (picture.depth, picture.samples.shape)
    assert np.abs(back.samples.astype(int) - picture.samples).max() <= near
    assert (picture.alpha is None) == (back.alpha is None)
    assert picture.alpha is None or np.array_equal(back.alpha, picture.alpha)
    head = read_head(data)
    assert (head.model_id, head.quality_index, head.coder) == (None, None, "exact")
    assert mvc.info(data)["units"][0]["near"] in (0, near)


@pytest.mark.parametrize("effort", [0, 1, 2, 3])
def test_effort_chooses_among_kinds(effort: int) -> None:
    y, x = np.mgrid[:40, :44]
    alpha = (128 + 60 * np.sin(x / 9 + y / 7) + RNG.normal(0, 4, x.shape)).astype(np.uint8)
    colour = np.dstack([alpha // 2 + RNG.integers(0, 9, x.shape, np.uint8) for _ in range(3)])
    near = stills.exact_file(Picture(colour, alpha), 1, effort)  # alpha has a unit of its own
    beside = tiny_codec().encode(Picture(colour, alpha), 9, effort)
    for data in (mvc.encode(colour, lossless=True, effort=effort), near, beside):
        made = [unit.streams[0] for unit in read_file(data)[1] if unit.role in ("exact", "alpha")]
        assert made and (effort > 0 or all(stream[3] & 2 for stream in made))
        assert all(stream[0] & 3 < 2 for stream in made)


def test_noise_is_stored() -> None:
    noise = Picture(RNG.integers(0, 256, (40, 50, 3), np.uint8))
    assert len(stills.exact_file(noise)) == noise.samples.nbytes + 30 == 6030
    deep = Picture(RNG.integers(0, 1 << 16, (40, 50, 3), np.uint16))
    assert len(stills.exact_file(deep)) == deep.samples.nbytes + 30


def test_alpha_is_coded_with_the_colour_where_that_is_shorter() -> None:
    y, x = np.mgrid[:60, :60]
    sprite = np.where((np.hypot(y - 30, x - 30) < 20)[..., None], (200, 10, 10, 255), (0, 0, 0, 0)).astype(np.uint8)
    assert [unit.role for unit in read_file(stills.exact_file(Picture.of_array(sprite)))[1]] == ["exact"]
    wave = (128 + 100 * np.sin(x / 9)[..., None] * (1, 0.5, 0.2) + RNG.normal(0, 3, (60, 60, 3))).astype(np.uint8)
    data = stills.exact_file(Picture(wave, (y * 4).astype(np.uint8)))
    assert [unit.role for unit in read_file(data)[1]] in (["exact"], ["exact", "alpha"])
    assert same(decoded(data), Picture(wave, (y * 4).astype(np.uint8)))


def test_large_pictures_with_alpha_are_tried_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stills, "TRIAL_PIXELS", 100)
    picture = Picture.of_array(RGBA)
    assert same(decoded(stills.exact_file(picture)), picture)


@pytest.mark.parametrize("name", BAD_EXACT)
def test_bad_files_are_refused(name: str) -> None:
    error, message = BAD_EXACT[name]
    with pytest.raises(mvc.MvcError) as caught:
        decoded((BAD / f"{name}.mvc").read_bytes())
    assert type(caught.value) is error
    assert message in str(caught.value)


# Alpha beside a network


def test_a_network_keeps_alpha_exactly() -> None:
    samples = some_picture(40, 50).samples
    alpha = np.where(np.arange(50) < 20, 0, 200).astype(np.uint8) * np.ones((40, 1), np.uint8)
    codec = tiny_codec()
    data = codec.encode(Picture(samples, alpha), 40)
    head, units = read_file(data)
    assert head.alpha and [(unit.role, unit.index) for unit in units] == [("picture", 0), ("alpha", 0)]
    back = codec.decode(data)
    assert np.array_equal(back.alpha, alpha)
    assert codec.decode_latent(head, units).shape == (1, 3, 4, 64)
    assert np.isfinite(stills.psnr(Picture(samples, alpha), back))


def test_what_nobody_sees_is_smooth_and_what_is_seen_stays() -> None:
    samples = RNG.integers(0, 256, (50, 71, 3), np.uint8)
    y, x = np.mgrid[:50, :71]
    alpha = np.where(np.hypot(y - 25, x - 30) < 12, 255, 0).astype(np.uint8)
    alpha[3, 3] = 1
    painted = stills.painted(Picture(samples, alpha))
    assert np.array_equal(painted[alpha > 0], samples[alpha > 0])
    away = np.hypot(y - 25, x - 30) > 24
    steps = np.abs(np.diff(painted.astype(int), axis=1))[away[:, 1:] & (alpha[:, 1:] == 0) & (alpha[:, :-1] == 0)]
    assert steps.mean() < 4 < np.abs(np.diff(samples.astype(int), axis=1)).mean()
    assert stills.painted(Picture(samples)) is samples
    assert (stills.painted(Picture(samples, np.zeros_like(alpha))) == 255).all()
    gray = stills.painted(Picture(samples[..., 0], alpha))
    assert gray.shape == alpha.shape and np.array_equal(gray[alpha > 0], samples[alpha > 0][:, 0])


def test_invisible_noise_costs_nothing() -> None:
    smooth = some_picture(64, 64).samples
    alpha = np.where(np.arange(64) < 32, 0, 255).astype(np.uint8) * np.ones((64, 1), np.uint8)
    noisy = np.where(alpha[..., None] > 0, smooth, RNG.integers(0, 256, smooth.shape)).astype(np.uint8)
    codec = tiny_codec()
    one, two = codec.encode(Picture(smooth, alpha), 40, 0), codec.encode(Picture(noisy, alpha), 40, 0)
    assert one == two


def test_networks_take_8_bits_alone() -> None:
    with pytest.raises(mvc.Unsupported, match="8 bits"):
        tiny_codec().encode(Picture(np.zeros((9, 9), np.uint16)), 5)


# The functions and the command


def test_python() -> None:
    assert same(mvc.decode(mvc.encode(RGBA, lossless=True)), Picture.of_array(RGBA))
    assert np.array_equal(mvc.decode(mvc.encode(RGBA[..., :1], coder="exact")).samples, RGBA[..., 0])
    near = mvc.decode(mvc.encode(RGBA, near_lossless=4))
    assert np.abs(near.samples.astype(int) - RGBA[..., :3]).max() == 4 and np.array_equal(near.alpha, RGBA[..., 3])
    deep = RGBA.astype(np.uint16) * 257 + 1
    assert same(mvc.decode(mvc.encode(png_of(deep), lossless=True)), Picture.of_array(deep))
    with pytest.warns(mvc.LossWarning, match="alpha is dropped"):
        flat = mvc.decode(mvc.encode(RGBA, lossless=True, alpha=False))
    assert same(flat, Picture.of_array(RGBA).on_white())
    opaque = np.dstack([RGBA[..., :3], np.full(RGBA.shape[:2], 255, np.uint8)])
    assert mvc.decode(mvc.encode(opaque, lossless=True)).alpha is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lossless": True, "quality": 4}, "what is lossless has no quality"),
        ({"lossless": True, "size": 400}, "what is lossless has no size"),
        ({"lossless": True, "near_lossless": 3}, "either lossless or near_lossless"),
        ({"near_lossless": 256}, "near_lossless must be 0 to 255"),
        ({"lossless": True, "coder": "network"}, "cannot be lossless"),
        ({"coder": "jpeg"}, "coder must be auto, network or exact"),
    ],
    ids=str,
)
def test_wrong_arguments(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mvc.encode("there/is/no/such.png", **wrong)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGBA).save("k.png")
    return tmp_path


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_there_and_back(folder: Path, suffix: str) -> None:
    assert "by the exact coder" in run("encode", "k.png", "--lossless").stderr
    assert run("decode", "k.mvc", "-o", f"back.{suffix}").exit_code == 0
    assert np.array_equal(np.asarray(Image.open(f"back.{suffix}")), RGBA)
    told = run("verify", "k.mvc", "--against", "k.png").stdout
    assert "PSNR inf dB of what can be seen, alpha as it was" in told
    lines = run("info", "k.mvc").stdout.splitlines()
    assert [line.split() for line in lines[1:6]] == [
        ["kind", "still"], ["colour", "rgb"], ["alpha", "True"], ["depth", "8"], ["coder", "exact"],
    ]  # fmt: skip
    assert not any("model" in line or "quality" in line for line in lines)
    assert any(line.startswith("      exact 0  exact, a stream of ") for line in lines)


def test_formats_that_hold_less_say_so(folder: Path) -> None:
    run("encode", "k.png", "--near-lossless", "2")
    assert "no sample off by more than 2" in run("info", "k.mvc").stdout
    white = "alpha is dropped: transparent parts are shown on white"
    for name in ("back.jpg", "back.ppm", "back.bmp"):
        assert f"warning: {name}: {white}" in run("decode", "k.mvc", "-o", name).stderr
    assert run("decode", "k.mvc", "-o", "back.avif").exit_code == 0
    assert np.array_equal(np.asarray(Image.open("back.avif"))[..., 3], RGBA[..., 3])
    with pytest.warns(mvc.LossWarning, match=white):
        mvc.write_picture(Picture.of_array(RGBA), "own.jpg")


def test_16_bits_on_the_command_line(folder: Path) -> None:
    deep = RGBA[..., :3].astype(np.uint16) * 255 + 3
    Path("deep.png").write_bytes(png_of(deep))
    assert run("encode", "deep.png", "--lossless").exit_code == 0
    for name in ("back.png", "back.tiff", "back.ppm"):
        assert run("decode", "deep.mvc", "-o", name).stderr.count("warning") == 0
        assert np.array_equal(mvc.media.read_picture(name, deep=True).picture.samples, deep)
    assert "16-bit samples are rounded" in run("decode", "deep.mvc", "-o", "back.webp").stderr
    assert "PSNR inf dB" in run("verify", "deep.mvc", "--against", "deep.png").stdout


def test_what_excludes_lossless(folder: Path) -> None:
    for more in (["-q", "4"], ["--size", "4kB"], ["--coder", "network"], ["--near-lossless", "3"]):
        result = run("encode", "k.png", "--lossless", *more)
        assert result.exit_code == 2 and result.stderr.startswith("error: ")
    assert not Path("k.mvc").exists()


def test_limits_are_checked_before_work(folder: Path) -> None:
    data = mvc.encode(RGBA, lossless=True)
    with pytest.raises(mvc.Limit, match="30x24"):
        mvc.decode(data, max_pixels=700)
    with pytest.raises(mvc.Limit, match="30x24"):
        mvc.decode(data, max_memory=1000)
    Path("k.mvc").write_bytes(data)
    assert run("decode", "k.mvc", "-o", "x.png", "--max-pixels", "700").exit_code == 1


def test_nothing_of_a_model_is_loaded(folder: Path) -> None:
    Path("k.mvc").write_bytes(mvc.encode(RGBA, lossless=True))
    code = (
        "import sys, mvc; mvc.decode('k.mvc'); mvc.encode('k.png', lossless=True); mvc.info('k.mvc')\n"
        "print(*{'torch', 'safetensors', 'mvc.codec', 'mvc.models'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_pictures() -> None:
    picture = Picture.of_array(RGBA)
    assert repr(picture) == "Picture(30x24, rgb and alpha)" and picture.to_pil().mode == "RGBA"
    assert np.array_equal(np.asarray(picture.to_pil()), RGBA)
    deep = Picture.of_array(RGBA[..., [0, 3]].astype(np.uint16) * 257)
    assert repr(deep) == "Picture(30x24, gray and alpha, 16 bits)" and deep.to_pil().mode == "LA"
    assert np.array_equal(np.asarray(deep.eight_bit()), RGBA[..., [0, 3]])
    assert Picture(RGBA[..., 0].astype(np.uint16)).to_pil().mode == "I;16"
    share = RGBA[..., 3:] / 255
    assert np.array_equal(picture.on_white().samples, np.floor(RGBA[..., :3] * share + 255 * (1 - share) + 0.5 + 1e-9))
    for alpha in (RGBA[..., 3].astype(np.uint16), RGBA[1:, :, 3], "x"):
        with pytest.raises(mvc.SourceError, match="alpha must be"):
            Picture(RGBA[..., :3], alpha)
    file = io.BytesIO()
    picture.to_pil().save(file, "PNG")
    assert same(mvc.read_picture(file.getvalue()).picture, picture)
