"""Pictures to files and back with a tiny random model: any size, any target, any damage."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import CONFIG, decoded_digests, encoded_digests, picture, tiny_codec, tiny_weights
from torch.utils._python_dispatch import TorchDispatchMode
from valid_files import repaired

from mvc import codec as codecs
from mvc.codec import Codec
from mvc.container import ClipHead, Head, Unit, read_file, read_head, write_file
from mvc.entropy.coders import Encoder
from mvc.entropy.parts import SeparateWriter
from mvc.errors import BackendError, Corrupt, Limit, MvcError, Truncated, Unsupported, WeightsError
from mvc.metrics import psnr
from mvc.models import coding, streams
from mvc.models.streams import StreamDecoder
from mvc.models.weights import load, save
from mvc.picture import Picture

CODEC = tiny_codec()
SOURCE = picture(48, 80)
FILE = CODEC.encode(SOURCE, 20)
STREAMS = [f"CODE 0 stream {k}" for k in range(1 + len(CONFIG.slices))]


def rebuilt(data: bytes, number: int, stream: bytes) -> bytes:
    """The file with other bytes in one of STREAMS."""
    head, (unit,) = read_file(data)
    streams = [*unit.streams]
    streams[number] = stream
    return write_file(head, [replace(unit, streams=tuple(streams))])


# Round trips


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 140), st.booleans(), st.integers(0, 63), st.integers(0, 9))
def test_any_size_comes_back(height: int, width: int, gray: bool, quality: int, seed: int) -> None:
    source = picture(height, width, gray=gray, seed=seed)
    data, known = encoded_digests(CODEC, source, quality)
    assert decoded_digests(CODEC, data) == known
    assert read_head(data) == Head("still", width, height, "gray" if gray else "rgb", 8, quality, CODEC.model_id)
    result = CODEC.decode(data)
    assert result.samples.shape == source.samples.shape
    assert np.array_equal(result.samples, CODEC.decode(data).samples)
    assert CODEC.encode(source, quality) == data


@pytest.mark.parametrize("gray", [False, True])
def test_one_pixel(gray: bool) -> None:
    source = Picture(np.full((1, 1) if gray else (1, 1, 3), 200, np.uint8))
    assert CODEC.decode(CODEC.encode(source, 63)).samples.shape == source.samples.shape


def test_a_gray_picture_is_a_colour_picture_of_equal_channels() -> None:
    gray = picture(30, 40, gray=True)
    colour = Picture(np.repeat(gray.samples[..., None], 3, axis=2))
    files = [CODEC.encode(p, 40) for p in (gray, colour)]
    assert read_file(files[0])[1] == read_file(files[1])[1]
    decoded = [CODEC.decode(file).samples for file in files]
    # The mean is taken before samples are rounded and clipped, so each may differ from the mean of samples.
    assert abs(decoded[1].mean(-1) - decoded[0]).max() <= 1 or decoded[1].min() == 0 or decoded[1].max() == 255


def test_padding_leaves_no_trace() -> None:
    """A picture that already has the padded size, made by repeating its edge, has the same streams at effort 0.

    Higher efforts know that errors in the padding cost nothing.
    """
    samples = picture(40, 50).samples
    padded = np.pad(samples, ((0, 8), (0, 14), (0, 0)), mode="edge")
    small, large = (CODEC.encode(Picture(s), 33, 0) for s in (samples, padded))
    assert read_file(small)[1] == read_file(large)[1]
    decoded = [CODEC.decode(file).samples for file in (small, large)]
    assert np.array_equal(decoded[0], decoded[1][:40, :50])


def test_quality_orders_rate_and_distortion() -> None:
    files = [CODEC.encode(SOURCE, quality) for quality in (0, 30, 63)]
    assert sorted(map(len, files)) == [len(file) for file in files]
    values = [psnr(SOURCE.samples, CODEC.decode(file).samples) for file in files]
    assert sorted(values) == values and values[0] < values[2] - 1


@pytest.mark.parametrize("quality", [-1, 64])
def test_quality_outside_its_range(quality: int) -> None:
    with pytest.raises(ValueError, match="quality index"):
        CODEC.encode(SOURCE, quality)


def test_read_only_samples() -> None:
    samples = SOURCE.samples.copy()
    samples.setflags(write=False)
    assert CODEC.encode(Picture(samples), 20) == FILE


# Targets


def quality_of(data: bytes) -> int:
    return read_head(data).quality_index


@pytest.mark.parametrize("aim", [5, 31, 62])
def test_size_is_met_and_used(aim: int) -> None:
    limit = len(CODEC.encode(SOURCE, aim))
    data = CODEC.encode_to(SOURCE, size=limit)
    assert len(data) <= limit
    assert data == CODEC.encode(SOURCE, quality_of(data))
    assert len(CODEC.encode(SOURCE, quality_of(data) + 1)) > limit
    bpp = 8 * (limit + 0.5) / (SOURCE.width * SOURCE.height)  # a little more than so many bytes: it is a float
    assert CODEC.encode_to(SOURCE, bpp=bpp) == data


def test_size_beyond_the_largest_file() -> None:
    assert quality_of(CODEC.encode_to(SOURCE, size=10**6)) == 63
    assert quality_of(CODEC.encode_to(SOURCE, bpp=100)) == 63


def test_size_below_the_smallest_file() -> None:
    smallest = len(CODEC.encode(SOURCE, 0))
    assert quality_of(CODEC.encode_to(SOURCE, size=smallest)) == 0
    with pytest.raises(Limit, match=f"has {smallest} bytes, more than {smallest - 1}"):
        CODEC.encode_to(SOURCE, size=smallest - 1)
    with pytest.raises(Limit):
        CODEC.encode_to(SOURCE, bpp=0.001)


def test_psnr_is_reached_by_the_smallest_file() -> None:
    def measured(quality: int) -> float:
        return psnr(SOURCE.samples, CODEC.decode(CODEC.encode(SOURCE, quality)).samples)

    target = (measured(24) + measured(25)) / 2
    data = CODEC.encode_to(SOURCE, psnr=target)
    assert measured(quality_of(data)) >= target > measured(quality_of(data) - 1)
    assert quality_of(CODEC.encode_to(SOURCE, psnr=1)) == 0
    with pytest.raises(Limit, match=r"best quality of this picture has \d+\.\d\d dB, less than 200"):
        CODEC.encode_to(SOURCE, psnr=200)


@pytest.mark.parametrize("positions", [1, 47])
def test_strips_change_nothing(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prior sees the same neighbours, and the streams have the same order, however many rows are done at once."""
    source = picture(130, 200, seed=4)
    expected = encoded_digests(CODEC, source, 40)
    monkeypatch.setattr(coding, "STRIP_POSITIONS", positions)
    with torch.no_grad():
        assert len(coding.strips_of(CODEC.network.encoder(SeparateWriter(), 40), 12, 16)) == 6
    data, digests = encoded_digests(CODEC, source, 40)
    assert (data, digests) == expected
    assert decoded_digests(CODEC, data) == digests


@pytest.mark.parametrize("size", [(130, 200), (5, 7), (70, 16)])  # latents of odd sides, a single one, a column
def test_packing_a_checkerboard_changes_nothing(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain way predicts every position in each of two passes, and forgets those that the pass does not code."""
    source = picture(*size, seed=5)
    data, digests = encoded_digests(CODEC, source, 40)
    monkeypatch.setattr(coding, "STRIP_POSITIONS", 3)
    assert encoded_digests(CODEC, source, 40) == (data, digests)
    monkeypatch.setattr(streams._Streams, "in_strips", False)
    monkeypatch.setattr(coding.Part, "into", None)  # which only packing needs
    assert encoded_digests(CODEC, source, 40) == (data, digests)
    assert decoded_digests(CODEC, data) == digests


class Waits(TorchDispatchMode):
    """Counts where a value is needed before the next operation can be asked for; on a GPU that waits for all before."""

    def __init__(self) -> None:
        super().__init__()
        self.values = self.places = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.values += func is torch.ops.aten._local_scalar_dense.default
        self.places += func is torch.ops.aten.nonzero.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("positions", [47, 8192])
def test_a_gpu_is_asked_for_rows_alone(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a decoder on a GPU goes about it: strips are predicted ahead, and nothing but rows has to be waited for."""
    data, digests = encoded_digests(CODEC, picture(130, 200, seed=4), 40)
    begin, strips = StreamDecoder.__init__, set[int]()

    def ahead(self: StreamDecoder, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.look_ahead()
        strips.add(len(coding.strips_of(self, *self.size)))

    monkeypatch.setattr(StreamDecoder, "__init__", ahead)
    monkeypatch.setattr(streams, "GPU_STRIP_POSITIONS", positions)
    with Waits() as waits, torch.no_grad():
        assert decoded_digests(CODEC, data) == digests
    (count,) = strips
    assert count == (5 if positions == 47 else 1)
    assert waits.values == 0 and waits.places <= 2 * count  # of each mask once at most


def test_a_target_is_needed() -> None:
    with pytest.raises(ValueError, match="one of bpp, size and psnr"):
        CODEC.encode_to(SOURCE)


# Damage


@pytest.mark.parametrize("number", range(len(STREAMS)), ids=STREAMS)
def test_damaged_streams_are_named(number: int) -> None:
    _, (unit,) = read_file(FILE)
    stream = unit.streams[number]
    longer, shorter, empty = stream + b"\x55\x55", stream[:-2], b""
    for damaged in (longer, shorter, empty, stream[:1]):
        with pytest.raises((Corrupt, Truncated)) as caught:
            CODEC.decode(rebuilt(FILE, number, damaged))
        assert caught.value.chunk == STREAMS[number]
        assert f"(chunk {STREAMS[number]})" in str(caught.value)


def test_hyperlatent_symbols_have_a_limit() -> None:
    rows = streams.hyper_rows(tiny_weights().picture.hyper_tables, 20, 1, 2, CONFIG.hyper)
    for value, refused in ((streams.HYPER_LIMIT, False), (streams.HYPER_LIMIT + 1, True)):
        for sign in (1, -1):
            encoder = Encoder(tiny_weights().picture.hyper_tables)
            encoder.put(np.array([sign * value] + [0] * (len(rows) - 1), np.int32), rows)
            with pytest.raises((Corrupt, Truncated)) as caught:
                CODEC.decode(rebuilt(FILE, 0, encoder.finish()))
            assert (caught.value.chunk == "CODE 0 hyperlatent") == refused


def test_another_model_is_unsupported() -> None:
    head, units = read_file(FILE)
    with pytest.raises(Unsupported, match=b"stranger".hex()) as caught:
        CODEC.decode(write_file(replace(head, model_id=b"stranger"), units))
    assert CODEC.model_id.hex() in str(caught.value.hint)


def test_streams_of_another_number() -> None:
    head, (unit,) = read_file(FILE)
    for wrong in (unit.streams[:-1], (*unit.streams, b"")):
        with pytest.raises(Corrupt, match=f"has {len(wrong)} streams, its model 4"):
            CODEC.decode(write_file(head, [replace(unit, streams=wrong)]))


def test_units_that_are_not_one_picture() -> None:
    head, (unit,) = read_file(FILE)
    for units in ([replace(unit, index=1)], [unit, replace(unit, index=1)]):
        with pytest.raises(Corrupt, match="where it has picture 1"):
            CODEC.decode(write_file(head, units))
    with pytest.raises(Unsupported, match="is a clip"):
        CODEC.decode(write_file(replace(head, kind="clip", clip=ClipHead()), [unit]))


def test_a_unit_may_have_a_quality_of_its_own() -> None:
    head, (unit,) = read_file(FILE)
    other = write_file(replace(head, quality_index=5), [replace(unit, quality_index=20)])
    assert decoded_digests(CODEC, other) == decoded_digests(CODEC, FILE)
    assert np.array_equal(CODEC.decode(other).samples, CODEC.decode(FILE).samples)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes: a bit, a byte, a piece removed, doubled or made of zeros; the checksum is right."""
    changed = bytearray(data[:-4])
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(8, len(changed))) if rng.integers(3) else int(rng.integers(8, 40))
        stop = start + int(rng.integers(1, 20))
        match rng.integers(6):
            case 0 | 1:
                changed[start] ^= 1 << int(rng.integers(8))
            case 2:
                changed[start] = int(rng.integers(256))
            case 3:
                del changed[start:stop]
            case 4:
                changed[start:start] = changed[start:stop]
            case 5:
                changed[start:stop] = bytes(len(changed[start:stop]))
    return repaired(bytes(changed) + bytes(4))


def test_mutated_files_decode_or_raise_mvc_errors() -> None:
    rng = np.random.default_rng(5)
    seeds = [CODEC.encode(picture(20, 30, gray=gray), quality) for gray in (False, True) for quality in (2, 60)]
    outcomes: dict[str, int] = {}
    CODEC.decode(FILE)  # compile before the clock runs
    start = time.process_time()
    for trial in range(600):
        data = mutated(seeds[trial % len(seeds)], rng)
        before = time.process_time()
        try:
            outcome = type(CODEC.decode(data)).__name__
        except MvcError as error:
            assert str(error) and "\n" not in str(error)
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert time.process_time() - before < 5
    assert time.process_time() - start < 20
    assert {"Picture", "Corrupt", "Truncated", "Unsupported", "Limit"} <= set(outcomes)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 63))
def test_any_streams_decode_or_raise_mvc_errors(hyper: bytes, slice_0: bytes, quality: int) -> None:
    head = Head("still", 9, 9, "rgb", 8, quality, CODEC.model_id)
    with pytest.raises((Corrupt, Truncated)) as caught:  # 60 bytes are not enough for four good streams
        CODEC.decode(write_file(head, [Unit("picture", 0, None, (hyper, slice_0, b"", b""))]))
    assert caught.value.chunk in STREAMS


# Models and devices


def test_saved_weights_code_the_same(tmp_path: Path) -> None:
    save(tmp_path, tiny_weights())
    other = Codec(load(tmp_path))
    assert other.model_id == CODEC.model_id
    assert decoded_digests(other, FILE) == decoded_digests(CODEC, FILE)
    # Half precision changes the picture a little, and never the symbols.
    difference = other.decode(FILE).samples.astype(int) - CODEC.decode(FILE).samples
    assert abs(difference).max() <= 3


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "manifest", "config", "exact hash"])
def test_damaged_weights_are_refused(tmp_path: Path, damage: str) -> None:
    save(tmp_path, tiny_weights())
    weights, manifest = tmp_path / "weights.safetensors", tmp_path / "manifest.json"
    data, facts = weights.read_bytes(), json.loads(manifest.read_text())
    match damage:
        case "bit":
            weights.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
        case "cut":
            weights.write_bytes(data[:1000])
        case "gone":
            weights.unlink()
        case "manifest":
            manifest.write_text("{")
        case "config":
            manifest.write_text(json.dumps(facts | {"config": facts["config"] | {"features": 48}}))
        case "exact hash":
            manifest.write_text(json.dumps(facts | {"exact_sha256": "00" * 32}))
    with pytest.raises(WeightsError) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_models_and_devices() -> None:
    with pytest.raises(WeightsError, match="no model 'vvc'") as caught:
        codecs.load("vvc")
    assert "mambavc-lite" in str(caught.value.hint)
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="no CUDA"):
            codecs.load(device="cuda")
