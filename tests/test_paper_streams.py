"""Files made by the papers' still-picture models, small and random: whole round trips, and damage told."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import PAPERS, decoded_digests, encoded_digests, picture, tiny_codec, tiny_paper_weights
from typer.testing import CliRunner

import mvc
from mvc.cli.app import app
from mvc.codec import Codec, load
from mvc.container import Unit, read_file, read_head
from mvc.errors import FormatError, Limit, Unsupported, WeightsError
from mvc.models.weights import load as load_weights
from mvc.models.weights import save

SOURCE = picture(70, 100, seed=5)


@cache
def codec(name: str) -> Codec:
    return Codec(tiny_paper_weights(name))


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("size", [(70, 100), (1, 1), (64, 65), (3, 130)])
def test_symbols_and_latents_arrive_whatever_the_size(name: str, size: tuple[int, int]) -> None:
    data, digests = encoded_digests(codec(name), picture(*size, seed=1), 0)
    assert decoded_digests(codec(name), data) == digests
    assert codec(name).decode(data).samples.shape == (*size, 3)


@pytest.mark.parametrize("name", PAPERS)
def test_the_picture_is_that_of_the_float_model(name: str) -> None:
    """What is decoded is g_s of y_hat, and y_hat lies within a little more than half a step of y (rounding and LRP)."""
    model = tiny_paper_weights(name).picture.model
    data = codec(name).encode(SOURCE, 40)
    assert read_head(data).quality_index == 0  # one rate
    with torch.inference_mode():
        y, _ = model.analyse(codec(name).to_tensor(SOURCE), torch.zeros(1))
        y_hat = codec(name).decode_latent(*read_file(data))
        ((_, _, x_hat),) = model.pieces(y_hat, torch.zeros(1))
        x_hat = x_hat[0, :70, :100]
    assert y.std() > 1, "nothing but zeros would be coded"
    assert (y_hat - y).abs().max() <= 1.001
    assert np.array_equal(codec(name).decode(data).samples, (x_hat * 255).round().clamp(0, 255).byte().numpy())


@pytest.mark.parametrize("name", PAPERS)
def test_tiles_of_any_size(name: str) -> None:
    """The last tile of a row and its neighbours are padded to what the model takes."""
    source = picture(130, 520, seed=2)
    whole, tiled = (codec(name).encode(source, 0, tile_px=side) for side in (0, 256))
    assert len(read_file(tiled)[1]) == 2
    apart = codec(name).decode(tiled).samples.astype(int) - codec(name).decode(whole).samples
    assert np.abs(apart).mean() < 4, "another picture"


@pytest.mark.parametrize("name", PAPERS)
def test_tiles_side_by_side(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU; the latents' sums are in the file."""
    data = codec(name).encode(picture(150, 768, seed=2), 0, tile_px=256)
    one_by_one = codec(name).decode(data).samples.astype(int)
    monkeypatch.setattr("mvc.codec.most_abreast", lambda device: 8)
    monkeypatch.setattr(Codec, "latent", None)
    assert np.abs(codec(name).decode(data).samples - one_by_one).max() <= 1


@pytest.mark.parametrize("name", PAPERS)
def test_gray(name: str) -> None:
    gray = picture(40, 60, gray=True)
    assert codec(name).decode(codec(name).encode(gray, 0)).samples.shape == (40, 60)


@pytest.mark.parametrize("name", PAPERS)
def test_damage_is_told_and_never_garbage(name: str) -> None:
    """Bytes of the streams change and the checksum is repaired: an error, or a file that says other symbols."""
    head, (unit,) = read_file(codec(name).encode(SOURCE, 0))
    whole = codec(name).decode_latent(head, [unit])
    rng, told = np.random.default_rng(0), 0
    for _ in range(12):
        slices = [bytearray(part) for part in unit.streams[1:]]
        part = slices[rng.integers(len(slices))]
        part[rng.integers(len(part))] ^= 1 << rng.integers(8)
        damaged = Unit("picture", 0, None, (unit.streams[0], *map(bytes, slices)))
        try:
            assert not torch.equal(codec(name).decode_latent(head, [damaged]), whole)
        except FormatError as error:
            told += 1
            assert (error.chunk or "").startswith("CODE 0 stream ")
    assert told > 8  # the coder's end state gives nearly all of it away


def test_other_weights_refuse_the_file() -> None:
    data = codec("mambavc").encode(SOURCE, 0)
    for other in (codec("swinvc"), tiny_codec()):
        with pytest.raises(Unsupported, match="not installed"):
            other.decode(data)


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    for name in PAPERS:
        save(tmp_path / name, tiny_paper_weights(name))
        again = load_weights(tmp_path / name)
        data, digests = encoded_digests(Codec(again), SOURCE, 0)
        assert decoded_digests(codec(name), data) == digests
        assert again.manifest["name"] == name


def test_targets_need_more_than_one_rate() -> None:
    with pytest.raises(Limit, match="one rate"):
        codec("convvc").encode_to(SOURCE, psnr=30)


def test_a_folder_is_a_model_on_the_command_line_and_in_the_library(tmp_path: Path) -> None:
    folder, png, coded, out = (tmp_path / name for name in ("w", "p.png", "p.mvc", "out.png"))
    save(folder, tiny_paper_weights("convvc"))
    Image.fromarray(SOURCE.samples).save(png)
    run = CliRunner().invoke
    made = run(app, ["encode", str(png), "-o", str(coded), "--model", str(folder), "-q", "6"])
    assert made.exit_code == 0 and "one rate" in made.stderr
    assert run(app, ["decode", str(coded), "-o", str(out), "--model", str(folder)]).exit_code == 0
    decoded = Codec(load_weights(folder)).decode(coded.read_bytes()).samples
    assert np.array_equal(np.asarray(Image.open(out)), decoded)
    assert run(app, ["verify", str(coded), "--model", str(folder), "--against", str(png)]).exit_code == 0
    unknown = run(app, ["decode", str(coded), "-o", str(out), "-f"])
    assert unknown.exit_code == 1 and "--model" in unknown.stderr
    assert np.array_equal(mvc.decode(coded, model=str(folder)).samples, decoded)
    assert mvc.encode(png, model=str(folder)) == coded.read_bytes()


def test_a_preset_without_weights_says_what_to_do() -> None:
    with pytest.raises(WeightsError, match="mambavc has no weights here"):
        load("mambavc")
