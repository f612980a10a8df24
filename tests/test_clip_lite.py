"""Clips of mambavc-ssf-lite, small and random: coded in native 4:2:0, copied, and known to both ends."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import picture, recorded, tiny_clip_weights

from mvc.clip import ClipCodec
from mvc.clip_choice import State
from mvc.clip_files import clip_head, clip_info, shown
from mvc.clip_model import PARTS
from mvc.codec import Codec
from mvc.colour import Colour
from mvc.container import Head, Unit, read_file, write_file
from mvc.entropy.parts import JointReader
from mvc.errors import FormatError
from mvc.frames import ClipInfo, Frame, PixelFormat
from mvc.models.lite_flow import KEY, LAST, MOTION, spread
from mvc.models.weights import load, save
from mvc.picture import Picture

INDEX = 20


@pytest.fixture(autouse=True)
def all_parts_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks say little that is worth its bits."""
    monkeypatch.setattr("mvc.clip_encoding.cheapest", lambda attempts, samples, index: attempts[0])


@cache
def codec(dtype: torch.dtype = torch.float64) -> ClipCodec:
    return ClipCodec(Codec(tiny_clip_weights(), dtype=dtype))


def moving(count: int, height: int = 40, width: int = 60, pixel_format: PixelFormat = "yuv420p") -> list[Frame]:
    """A picture that moves to the right, a pixel and a half a frame."""
    still = np.repeat(picture(height, width + 3 * count).samples, 2, 1)
    pictures = (Picture(np.ascontiguousarray(still[:, 3 * n : 3 * n + 2 * width : 2])) for n in range(count))
    frames = [Frame.of_picture(own, 3 + 10 * n) for n, own in enumerate(pictures)]
    return frames if pixel_format == "gbrp" else [frame.converted(pixel_format) for frame in frames]


def info_of(frame: Frame) -> ClipInfo:
    formats: dict[tuple[int, int], PixelFormat] = {(2, 2): "yuv420p", (1, 2): "yuv422p", (1, 1): "yuv444p"}
    if len(frame.planes) == 1:
        pixel_format: PixelFormat = "gray"
    elif frame.colour.matrix == 0:
        pixel_format = "gbrp"
    else:
        sides = (-(-own // other) for own, other in zip(frame.planes[0].shape, frame.planes[1].shape, strict=True))
        pixel_format = formats[tuple(min(side, 2) for side in sides)]  # type: ignore[index]
    return ClipInfo(frame.width, frame.height, Fraction(1, 25), frame.colour, pixel_format)


def head_of(frame: Frame, own: ClipCodec, index: int = INDEX) -> Head:
    colour: Any = "gray" if len(frame.planes) == 1 else "rgb"
    return Head("clip", frame.width, frame.height, colour, 8, index, own.codec.model_id, clip_head(info_of(frame)))


def coded(frames: list[Frame], own: ClipCodec | None = None, **options: Any) -> tuple[list[Unit], list[Frame], bytes]:
    """Units, frames as they will be decoded, and the file."""
    own = own or codec()
    head = head_of(frames[0], own, options.pop("index", INDEX))
    made = list(own.coded(head, frames, **options))
    units, known = [unit for unit, _ in made], [frame for _, frame in made]
    return units, known, write_file(head, units)


def equal(one: list[Frame], other: list[Frame]) -> bool:
    return [a.time for a in one] == [b.time for b in other] and all(
        a.colour == b.colour and all(np.array_equal(p, q) for p, q in zip(a.planes, b.planes, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def decoded(data: bytes, own: ClipCodec | None = None) -> list[Frame]:
    return list((own or codec()).decode(io.BytesIO(data)))


def missing(unit: Unit) -> int:
    """The first symbol of a frame between keyframes."""
    return int(JointReader(codec().joint, unit.streams[0]).take(np.zeros(1, np.int32), PARTS)[0])


# Both ends


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gray", "gbrp"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (17, 33), (40, 60), (3, 130)])
def test_what_the_encoder_knows_is_what_is_decoded(height: int, width: int, pixel_format: PixelFormat) -> None:
    frames = moving(3, height, width, pixel_format)
    units, known, data = coded(frames)
    assert [unit.role for unit in units] == ["picture", "inter", "inter"]
    assert all(len(unit.streams) == 1 for unit in units)
    back = decoded(data)
    assert equal(back, known)
    assert all(frame.planes[0].shape == (height, width) for frame in back)
    given_back = list(shown(info_of(frames[0]), back))
    for one, source in zip(given_back, frames, strict=True):
        assert [plane.shape for plane in one.planes] == [plane.shape for plane in source.planes]


@pytest.mark.parametrize("index", [0, 63])
def test_all_qualities_and_gops(index: int) -> None:
    frames = moving(6)
    units, known, data = coded(frames, index=index, gop=4)
    assert [unit.role for unit in units] == ["picture", *["inter"] * 3, "picture", "inter"]
    own = [index if unit.quality_index is None else unit.quality_index for unit in units]
    assert own == ([8, 0, 2, 0, 8, 0] if index == 0 else [63, 59, 63, 59, 63, 59])
    assert equal(decoded(data), known)


def test_keyframes_alone_have_the_clips_own_quality() -> None:
    units, known, data = coded(moving(2), gop=1)
    assert [(unit.role, unit.quality_index) for unit in units] == [("picture", None)] * 2
    assert equal(decoded(data), known)


def test_effort_goes_into_all_frames() -> None:
    frames = moving(2)
    fast = coded(frames, index=55)[0]
    units, known, data = coded(frames, index=55, effort=3)
    assert all(a.streams != b.streams for a, b in zip(fast, units, strict=True))
    assert equal(decoded(data), known)


def test_both_carriers_and_all_threads_write_and_read_the_same() -> None:
    frames = moving(3, 50, 70)
    _, known, data = coded(frames)
    whole = codec(torch.int64)
    assert coded(frames, whole)[2] == data and equal(decoded(data, whole), known)
    two = ClipCodec(Codec(tiny_clip_weights()).with_threads(2))
    with recorded() as one_thread:
        decoded(data)
    with recorded() as two_threads:
        decoded(data, two)
    assert all(np.array_equal(a, b) for a, b in zip(one_thread, two_threads, strict=True))


def test_stored_weights_read_the_same_symbols_and_motion(tmp_path: Path) -> None:
    save(tmp_path, tiny_clip_weights())
    again = ClipCodec(Codec(load(tmp_path)))
    assert again.codec.model_id == codec().codec.model_id
    data = coded(moving(3))[2]
    found = []
    for own in (codec(), again):
        with recorded() as symbols, recorded_motion(own) as motion:
            decoded(data, own)
        found.append((np.concatenate(symbols), torch.cat(motion)))
    assert np.array_equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert len(found[0][1]) == 2 and found[0][1].unique().numel() > 3


class recorded_motion:
    """The motion fields that a codec makes meanwhile."""

    def __init__(self, own: ClipCodec) -> None:
        self.model: Any = own.networks["motion"].model

    def __enter__(self) -> list[torch.Tensor]:
        fields: list[torch.Tensor] = []
        synthesise = self.model.synthesise

        def kept(*arguments: Any) -> torch.Tensor:
            fields.append(synthesise(*arguments))
            return fields[-1]

        self.model.synthesise = kept
        return fields

    def __exit__(self, *_: object) -> None:
        del self.model.synthesise


def test_no_stream_is_parsed_by_what_pixels_are() -> None:
    """With other samples in the reference the symbols and the latents of all later frames are the same."""
    frames = moving(4)
    units, _, data = coded(frames)
    own, (head, _) = codec(), read_file(data)
    signal = own.signal(head)
    right = own.read(head, signal, units[0], None)
    states = [right, State(255 - right.samples, right.latents)]
    for unit in units[1:]:
        symbols = []
        for number, state in enumerate(states):
            with recorded() as read:
                states[number] = own.read(head, signal, unit, state)
            symbols.append(np.concatenate(read))
        assert np.array_equal(*symbols)
        assert all(torch.equal(states[0].latents[name], states[1].latents[name]) for name in (KEY, LAST, MOTION))
        assert (states[0].samples != states[1].samples).mean() > 0.5


@pytest.mark.parametrize("name", [KEY, LAST, MOTION])
def test_but_by_what_earlier_latents_are(name: str) -> None:
    """With others in what is known a stream is other symbols, or no stream at all."""
    units, _, data = coded(moving(3))
    own, (head, _) = codec(), read_file(data)
    signal = own.signal(head)
    first = own.read(head, signal, units[0], None)
    wrong = State(first.samples, first.latents | {name: first.latents[name] + 40})
    with recorded() as right:
        own.read(head, signal, units[1], first)
    with recorded() as other:
        try:
            own.read(head, signal, units[1], wrong)
        except FormatError:
            return
    assert not np.array_equal(np.concatenate(right), np.concatenate(other))


# What rests


def test_a_repeated_frame_takes_no_bytes_and_changes_nothing() -> None:
    """Whatever comes after it is coded as if it had not been there."""
    frames = moving(4)
    _, known, _ = coded(frames[:2])
    again = [replace(known[1], time=time) for time in (14, 15)]
    with_them = [*frames[:2], *again, *frames[2:]]
    units, shown_then, data = coded(with_them)
    assert [len(unit.streams[0]) for unit in units[2:4]] == [0, 0]
    assert equal(shown_then[1:4], [known[1], *again])
    assert [unit.streams for unit in (*units[:2], *units[4:])] == [unit.streams for unit in coded(frames)[0]]
    assert equal(decoded(data), shown_then)


def test_a_still_scene_is_copied_exactly() -> None:
    """Where nothing moves and nothing is to be said, samples stay as they are; what changes does not spoil the rest."""
    first = moving(1, 64, 160)[0]
    shown_first = coded([first])[1][0]
    luma = shown_first.planes[0].copy()
    luma[20:30, 130:140] ^= 255
    second = replace(shown_first, planes=(luma, *shown_first.planes[1:]), time=13)
    third = replace(second, time=23)
    units, known, data = coded([first, second, third])
    assert equal(decoded(data), known) and missing(units[1]) in (0, 1)
    assert np.array_equal(known[0].planes[0], shown_first.planes[0])
    for plane, before in zip(known[1].planes, known[0].planes, strict=True):
        share = plane.shape[1] / 160
        assert np.array_equal(plane[:, : round(96 * share)], before[:, : round(96 * share)])
    assert (known[1].planes[0][20:30, 130:140] != known[0].planes[0][20:30, 130:140]).mean() > 0.5


def test_a_frame_may_be_without_motion_or_without_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = moving(3)
    units = coded(frames)[0]
    assert [missing(unit) for unit in units[1:]] == [0, 0]
    flow: Any = codec().flow
    searched = flow.searched

    def nothing_moves(*arguments: Any) -> Iterator[torch.Tensor]:
        for signal in searched(*arguments):
            signal[..., -2:] = 0
            yield signal

    with monkeypatch.context() as patched:
        patched.setattr(flow, "searched", nothing_moves)
        units, known, data = coded(frames)
    assert [missing(unit) for unit in units[1:]] == [1, 1]
    assert equal(decoded(data), known)
    residual = codec().networks["residual"].model
    analyse = residual.analyse

    def nothing_left(x: torch.Tensor, index: torch.Tensor, part: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(0 * own for own in analyse(x, index, part))  # type: ignore[return-value]

    with monkeypatch.context() as patched:
        patched.setattr(residual, "analyse", nothing_left)
        units, known, data = coded(frames)
    assert [missing(unit) for unit in units[1:]] == [2, 2]
    assert equal(decoded(data), known)


def test_the_residual_fades_out_where_no_symbol_was_sent() -> None:
    sent = torch.zeros(1, 4, 6, 1)
    sent[0, 1, 2] = 3
    share = spread(sent)
    assert share.shape == (1, 32, 48, 1) and float(share.min()) >= 0 and float(share.max()) <= 1
    assert float(share[0, 12, 20]) > 0.8 and not share[0, :, 32:].any() and not share[0, 20:].any()
    assert torch.equal(spread(torch.ones(1, 4, 6, 1)), torch.ones(1, 32, 48, 1))


# Colours


def test_clips_are_coded_in_their_own_matrix() -> None:
    """RGB in what players take for its size; a full range stays; what was 4:2:0 is what comes out, but for coding."""
    for frame, matrix in ((moving(1, 20, 30, "gbrp")[0], 6), (Frame.of_picture(picture(720, 16), 0), 1)):
        assert coded([frame])[1][0].colour == Colour(primaries=1, transfer=13, matrix=matrix)
    bt709 = replace(moving(1)[0], colour=Colour(matrix=1, full_range=True, siting=1))
    assert coded([bt709])[1][0].colour == bt709.colour
    other = moving(2)[1].converted("yuv420p", Colour(matrix=9))
    with_other = coded([bt709, other])[1][1]
    assert with_other.colour == bt709.colour


def test_gray_stays_gray() -> None:
    _, known, data = coded(moving(2, pixel_format="gray"))
    assert all(len(frame.planes) == 1 for frame in known)
    head, _ = read_file(data)
    assert clip_info(head).pixel_format == "gray" and head.colour == "gray"


# Damage


def test_streams_of_others_are_refused() -> None:
    units, _, data = coded(moving(3))
    head, _ = read_file(data)
    for stream in (units[0].streams[0], units[2].streams[0], units[1].streams[0][:-3]):
        with pytest.raises(FormatError, match="chunk inter 13"):
            decoded(write_file(head, [units[0], replace(units[1], streams=(stream,)), *units[2:]]))


def test_damage_is_an_error_or_another_clip() -> None:
    units, _, data = coded(moving(3))
    head, _ = read_file(data)
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(60):
        number = int(rng.integers(3))
        stream = bytearray(units[number].streams[0])
        stream[rng.integers(len(stream))] ^= 1 << int(rng.integers(8))
        changed = [*units]
        changed[number] = replace(units[number], streams=(bytes(stream),))
        try:
            assert len(decoded(write_file(head, changed))) == 3
        except FormatError as error:
            assert "chunk " in str(error)
            refused += 1
    assert refused > 30
