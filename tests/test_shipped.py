"""The shipped weights on real pictures: golden files, the order of the qualities, and the promise of the README."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_golden import samples_sha256
from test_container import BAD, BAD_STREAMS
from test_reference_exact import exact
from tiny_model import decoded_digests

import mvc
from mvc import codec as codecs
from mvc.container import read_file, write_file
from mvc.errors import MvcError, Unsupported, WeightsError
from mvc.media import read_picture
from mvc.metrics import psnr
from mvc.models import registry
from mvc.picture import Picture
from mvc.quality import DEFAULT_MODEL, DEFAULT_VIDEO_MODEL, SEEN_MODEL

SAMPLES = Path(__file__).parent.parent / "samples"
GOLDEN = json.loads((SAMPLES / "golden" / "expected.json").read_text())
CODEC = codecs.load(device="cpu")


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.startswith("exact")])
def test_golden_files_of_the_exact_coder_decode_to_the_same_samples(name: str) -> None:
    data = (SAMPLES / "golden" / f"{name}.mvc").read_bytes()
    assert samples_sha256(mvc.decode(data)) == GOLDEN[name]["samples_sha256"]
    _, planes = exact.decode_file(data)
    found = np.stack([np.array(plane, "<u2") for plane in planes.values()], -1)
    assert hashlib.sha256(found.tobytes()).hexdigest() == GOLDEN[name]["samples_sha256"]


@pytest.mark.parametrize("name", [name for name in GOLDEN if not name.startswith(("exact", "clip"))])
def test_golden_files_decode_to_the_same_symbols_and_nearly_the_same_pixels(name: str) -> None:
    data = (SAMPLES / "golden" / f"{name}.mvc").read_bytes()
    symbols, y_hat = decoded_digests(CODEC, data)
    assert symbols == GOLDEN[name]["symbols_sha256"]
    assert y_hat == GOLDEN[name]["y_hat_sha256"]
    expected = np.asarray(read_picture(SAMPLES / "golden" / f"{name}.png").picture).astype(int)
    difference = np.abs(np.asarray(CODEC.decode(data)).astype(int) - expected)
    assert not difference[..., 3:].any()  # alpha
    assert difference.max() <= 1  # spec, section 6
    assert (difference > 0).mean() <= 1e-4


@pytest.mark.parametrize(
    ("name", "model"), [*((name, DEFAULT_MODEL) for name in ("kodim03", "kodim15", "kodim23")), ("kodim23", SEEN_MODEL)]
)
def test_a_higher_quality_is_never_smaller_or_worse(name: str, model: str) -> None:
    codec = codecs.load(model, "cpu")
    samples = read_picture(SAMPLES / f"{name}.png").picture.samples[100:356, 200:584]
    picture = Picture(np.ascontiguousarray(samples))
    sizes, quality_db = [], []
    for index in range(0, 64, 3):
        data = codec.encode(picture, index)
        sizes.append(len(data))
        quality_db.append(psnr(samples, codec.decode(data).samples))
    assert sizes == sorted(sizes)
    assert min(np.diff(quality_db)) >= -0.05


def test_a_photograph_at_default_quality() -> None:
    picture = read_picture(SAMPLES / "kodim23.png").picture
    data = mvc.encode(picture)
    assert len(data) < 768 * 512 * 0.4 / 8
    assert psnr(picture.samples, mvc.decode(data).samples) > 34


def test_targets_are_met_on_a_photograph() -> None:
    picture = Picture(np.ascontiguousarray(read_picture(SAMPLES / "kodim15.png").picture.samples[:256, :256]))
    assert 0.8 * 4000 < len(CODEC.encode_to(picture, size=4000)) <= 4000
    data = CODEC.encode_to(picture, psnr=35.0)
    assert 35.0 <= psnr(picture.samples, CODEC.decode(data).samples) < 35.6


def test_the_whole_file_is_framed_in_54_bytes() -> None:
    report = mvc.info(SAMPLES / "golden" / "rgb-q54.mvc")
    streams = sum(report["units"][0]["stream_bytes"])
    assert (SAMPLES / "golden" / "rgb-q54.mvc").stat().st_size - streams <= 54


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_bad_streams(name: str) -> None:
    """tests/make_bad.py made them with the shipped weights."""
    error, message = BAD_STREAMS[name]
    with pytest.raises(MvcError) as caught:
        CODEC.decode((BAD / f"{name}.mvc").read_bytes())
    assert type(caught.value) is error
    assert message in str(caught.value)


def test_a_file_of_a_model_that_is_not_here() -> None:
    head, units = read_file(CODEC.encode(Picture(np.zeros((9, 9, 3), np.uint8)), 20, 0))
    stranger = write_file(replace(head, model_id=b"stranger"), units)
    with pytest.raises(Unsupported, match=b"stranger".hex()) as caught:
        mvc.decode(stranger)
    assert caught.value.hint and f"mambavc-lite {CODEC.model_id.hex()}" in caught.value.hint


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"exact_sha256": "xyz"}', '{"exact_sha256": 3}'])
def test_a_damaged_manifest_is_an_error_of_the_weights(text: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mambavc-lite").mkdir()
    (tmp_path / "mambavc-lite" / "manifest.json").write_text(text)
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="cannot be used"):
        registry.preset_of(CODEC.model_id)


@pytest.mark.parametrize("name", [DEFAULT_MODEL, SEEN_MODEL, DEFAULT_VIDEO_MODEL])
def test_the_model_id_of_the_registry_is_that_of_the_weights(name: str) -> None:
    codec = codecs.load(name, "cpu")
    assert codec.weights.name == name and registry.preset_of(codec.model_id) == registry.preset(name)
