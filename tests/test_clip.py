"""Clips made by the papers' video models, small and random: frames to units and back, entered, damaged, cut."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from test_container import Pipe
from tiny_model import VIDEO, picture, recorded, tiny_codec, tiny_video_weights

from mvc.clip import ClipCodec, Loss, Timed
from mvc.codec import Codec
from mvc.container import ClipHead, Head, Reader, Unit, read_file, write_file
from mvc.errors import Checksum, Corrupt, FormatError, Limit, SourceError, Truncated, Unsupported
from mvc.models.weights import load, save
from mvc.picture import Picture
from mvc.tiling import Tiling

CLIP = ClipHead(1, 30)
SMALL = "convvc-ssf"


@cache
def codec(name: str = SMALL) -> ClipCodec:
    return ClipCodec(Codec(tiny_video_weights(name)))


def moving(count: int, height: int = 40, width: int = 60, *, gray: bool = False) -> list[Timed]:
    """A picture that moves to the right; frames at uneven times, the first not at 0."""
    still = picture(height, width, gray=gray).samples
    return [(Picture(np.roll(still, 2 * n, 1)), 3 + 10 * n + n % 2) for n in range(count)]


def coded(frames: list[Timed], name: str = SMALL, gop: int = 3) -> bytes:
    file = io.BytesIO()
    assert codec(name).encode(frames, file, CLIP, index=20, gop=gop) == len(frames)
    return file.getvalue()


@cache
def example() -> tuple[list[Timed], bytes, list[np.ndarray]]:
    """Eight frames in GOPs of three, their file, and the samples it decodes to."""
    frames = moving(8)
    data = coded(frames)
    return frames, data, [decoded.samples for decoded, _ in codec().decode(io.BytesIO(data))]


def same(found: list[Timed], first: int = 0, last: int = 8) -> bool:
    """Whether frames are those of the example."""
    frames, _, samples = example()
    times = [time for _, time in frames[first:last]]
    return [time for _, time in found] == times and all(
        np.array_equal(own.samples, expected) for (own, _), expected in zip(found, samples[first:last], strict=True)
    )


# Round trips


@pytest.mark.parametrize("name", VIDEO)
def test_both_ends_have_the_same_symbols_and_the_same_frames(name: str) -> None:
    frames = moving(4)
    own = codec(name)
    head = Head("clip", 60, 40, "rgb", 8, 0, own.codec.model_id, CLIP)
    made = list(own.coded(head, frames, gop=3))
    data = write_file(head, [unit for unit, _ in made])
    back = list(own.decode(io.BytesIO(data)))
    assert [unit.role for unit, _ in made] == ["picture", "inter", "inter", "picture"]
    assert [len(unit.streams) for unit, _ in made] == [2, 4, 4, 2]
    for (unit, shown), (decoded, time) in zip(made, back, strict=True):
        assert unit.index == time and np.array_equal(shown.samples, decoded.samples)
    assert data == coded(frames, name)
    with torch.no_grad(), recorded() as written:
        own._write(head, *frames[1], made[0][1])
    with recorded() as read:
        own._read(head, made[1][0], made[0][1])
    assert len(written) == len(read) == 4 and read[1].std() > 1 and read[3].std() > 1
    assert all(np.array_equal(a, b) for a, b in zip(written, read, strict=True))


@pytest.mark.parametrize("name", VIDEO)
def test_an_inter_frame_depends_on_its_reference(name: str) -> None:
    """And its symbols do not: they can be read whatever the reference is."""
    frames = moving(2)
    head, units = read_file(coded(frames, name))
    own = codec(name)
    right = own._read(head, units[0], None)
    wrong = Picture(255 - right.samples)
    with recorded() as symbols:
        shown = own._read(head, units[1], right)
    with recorded() as again:
        other = own._read(head, units[1], wrong)
    assert (shown.samples != other.samples).mean() > 0.5
    assert all(np.array_equal(a, b) for a, b in zip(symbols, again, strict=True))


def test_the_latents_are_those_of_the_float_model() -> None:
    """Motion and residual arrive within half a step of what the analysis transforms gave."""
    own = codec()
    frames = moving(2)
    head, units = read_file(coded(frames))
    reference = own._read(head, units[0], None)
    motion = own.networks["motion"]
    x, before = own.codec.to_tensor(frames[1][0]), own.codec.to_tensor(reference)
    with torch.no_grad():
        y, _ = motion.model.analyse(torch.cat([x, before], -1), torch.zeros(1))
        y_hat = motion.read(units[1].streams[:2], 0, (1, 1))
    assert y.std() > 1 and (y_hat - y).abs().max() <= 0.51


@pytest.mark.parametrize(
    ("height", "width", "gray"), [(1, 1, False), (128, 128, False), (130, 5, True), (40, 60, True)]
)
def test_any_size_and_gray(height: int, width: int, gray: bool) -> None:
    frames = moving(2, height, width, gray=gray)
    back = list(codec().decode(io.BytesIO(coded(frames))))
    assert [time for _, time in back] == [3, 14]
    assert all(shown.samples.shape == frames[0][0].samples.shape for shown, _ in back)


def test_a_still_picture_model_codes_keyframes() -> None:
    own = ClipCodec(tiny_codec())
    frames, file = moving(3), io.BytesIO()
    own.encode(frames, file, CLIP, index=30)
    head, units = read_file(file.getvalue())
    assert [unit.role for unit in units] == ["picture"] * 3 and head.quality_index == 30
    for (shown, _), (source, _) in zip(own.decode(io.BytesIO(file.getvalue())), frames, strict=True):
        still = tiny_codec().decode(tiny_codec().encode(source, 30, 0))
        assert np.array_equal(shown.samples, still.samples)


def test_stored_weights_read_the_same_symbols(tmp_path: Any) -> None:
    save(tmp_path, tiny_video_weights(SMALL))
    again = ClipCodec(Codec(load(tmp_path)))
    assert again.codec.model_id == codec().codec.model_id
    data, symbols = example()[1], []
    for own in (codec(), again):  # transforms are kept in half precision, so frames may differ, and symbols not
        with recorded() as read:
            assert len(list(own.decode(io.BytesIO(data)))) == 8
        symbols.append(np.concatenate(read))
    assert np.array_equal(*symbols)


def test_heads_say_what_was_asked_for() -> None:
    reader = Reader(io.BytesIO(example()[1]))
    assert reader.head.clip == CLIP and reader.head.quality_index == 0  # a model of one rate
    found = list(reader.heads())
    assert [head.role for head in found] == ["picture", "inter", "inter"] * 2 + ["picture", "inter"]


# As they come


def test_frames_are_coded_and_shown_as_they_arrive() -> None:
    taken: list[int] = []

    def source() -> Iterator[Timed]:
        for frame, time in moving(4):
            taken.append(time)
            yield frame, time

    head = Head("clip", 60, 40, "rgb", 8, 0, codec().codec.model_id, CLIP)
    units = codec().coded(head, source(), gop=3)
    assert next(units)[0].index == 3 and taken == [3]
    data = example()[1]
    half = Pipe(data[: len(data) // 2])
    shown: list[Timed] = []
    with pytest.raises(Truncated):
        for frame in codec().decode(half):  # type: ignore[arg-type]
            shown.append(frame)
    assert 2 < len(shown) < 8 and same(shown, 0, len(shown))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SourceError])
def test_a_source_that_ends_early_leaves_a_whole_file(error: type[BaseException]) -> None:
    def dying() -> Iterator[Timed]:
        yield from moving(8)[:5]
        raise error("no more")

    file = io.BytesIO()
    with pytest.raises(error):
        codec().encode(dying(), file, CLIP, index=0, gop=3)
    assert same(list(codec().decode(io.BytesIO(file.getvalue()))), 0, 5)


@pytest.mark.parametrize("start", [0, 3, 4, 33, 44, 63, 73, 74, 1000])
@pytest.mark.parametrize("piped", [False, True])
def test_decoding_starts_at_a_time(start: int, piped: bool) -> None:
    frames, data, _ = example()
    first = sum(time < start for _, time in frames)
    with recorded() as symbols:
        found = list(codec().decode(Pipe(data) if piped else io.BytesIO(data), start=start))  # type: ignore[arg-type]
    assert same(found, first)
    units_read = len(symbols) / 2  # of each network a hyperlatent and a slice
    keyframe = max([n for n in (0, 3, 6) if frames[n][1] <= start], default=0)
    assert units_read == sum(1 if n % 3 == 0 else 2 for n in range(keyframe, 8))


def test_damage_in_front_of_the_keyframe_does_not_matter() -> None:
    frames, data, _ = example()
    place = [head.offset for head in Reader(io.BytesIO(data)).heads()][1]
    damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    assert same(list(codec().decode(io.BytesIO(damaged), start=frames[3][1])), 3)


# Damage


def damaged(number: int) -> bytes:
    """The example with a bit of a unit changed."""
    data = example()[1]
    place = [head.offset for head in Reader(io.BytesIO(data)).heads()][number] + 9
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_unit_costs_its_gop_at_most(number: int) -> None:
    frames, _, _ = example()
    shown: list[Timed] = []
    with pytest.raises(Checksum, match=rf"CODE {number}, byte"):
        for frame in codec().decode(io.BytesIO(damaged(number))):
            shown.append(frame)
    assert same(shown, 0, number)
    losses: list[Loss] = []
    found = list(codec().decode(io.BytesIO(damaged(number)), lost=losses.append))
    again = min(-(-number // 3) * 3 + 3 * (number % 3 == 0), 8)
    assert same(found[:number], 0, number) and same(found[number:], again)
    after, before = (frames[n][1] if 0 <= n < 8 else None for n in (number - 1, again))
    (loss,) = losses
    assert (loss.after, loss.before) == (after, before) and "cannot be read" in loss.reason


def test_damage_that_checksums_do_not_show() -> None:
    """Right checksums over streams that are wrong: told with the place, and passed by."""
    frames, data, _ = example()
    head, units = read_file(data)
    streams = units[1].streams
    for number, place in ((0, "motion stream 0"), (1, "motion stream 1"), (2, "residual stream 0")):
        changed = (*streams[:number], streams[number][:-1], *streams[number + 1 :])
        file = write_file(head, [units[0], Unit("inter", units[1].index, None, changed), *units[2:]])
        with pytest.raises(FormatError, match=rf"\(chunk inter {units[1].index} {place}\)"):
            list(codec().decode(io.BytesIO(file)))
        losses: list[Loss] = []
        found = list(codec().decode(io.BytesIO(file), lost=losses.append))
        assert same(found[:1], 0, 1) and same(found[1:], 3)
        assert [(loss.after, loss.before) for loss in losses] == [(frames[0][1], frames[3][1])]
        assert place in losses[0].reason


def test_units_that_no_decoder_takes() -> None:
    head, units = read_file(example()[1])

    def refused(*units: Unit) -> str:
        with pytest.raises(Corrupt) as caught:
            list(codec().decode(io.BytesIO(write_file(head, units))))
        return str(caught.value)

    assert "there is no frame before it (chunk inter 14)" in refused(*units[1:])
    assert "has 3 streams, its model 4" in refused(units[0], Unit("inter", 9, None, units[1].streams[:3]))
    assert "has 4 streams, its model 2" in refused(Unit("picture", 9, None, units[1].streams))
    assert "quality index 5, its model 1 rate" in refused(units[0], Unit("inter", 9, 5, units[1].streams))
    alone = Head("clip", 60, 40, "rgb", 8, 0, tiny_codec().model_id, CLIP)
    still = Unit("picture", 0, None, tiny_codec().streams(moving(1)[0][0], next(iter(Tiling(60, 40))), 0))
    with pytest.raises(Corrupt, match="codes keyframes alone"):
        list(ClipCodec(tiny_codec()).decode(io.BytesIO(write_file(alone, [still, Unit("inter", 1, None, (b"",))]))))


def test_files_that_are_none_of_its_clips() -> None:
    with pytest.raises(Unsupported, match="still picture"):
        list(codec().decode(io.BytesIO(tiny_codec().encode(picture(9, 9), 3))))
    with pytest.raises(Unsupported, match="is a clip"):
        codec().codec.decode(example()[1])
    with pytest.raises(Unsupported, match="not installed"):
        list(ClipCodec(tiny_codec()).decode(io.BytesIO(example()[1])))
    huge = Head("clip", 9000, 40, "rgb", 8, 0, codec().codec.model_id, CLIP)
    with pytest.raises(Limit, match="the clip in the file is 9000x40"):
        list(codec().decode(io.BytesIO(write_file(huge, [Unit("picture", 0, None, (b"",))]))))


# What cannot be encoded


def test_frames_that_cannot_be_encoded() -> None:
    one, two = moving(2)
    for frames, message in [
        ([], "no frames"),
        ([one, (picture(40, 62), 9)], "at time 9 is 62x40 rgb, those before it 60x40 rgb"),
        ([one, (picture(40, 60, gray=True), 9)], "60x40 gray"),
        ([two, one], r"has the time 3, outside 15\.\."),
        ([one, one], "has the time 3"),
        ([(one[0], -1)], "has the time -1"),
        ([(one[0], 2**32)], "has the time 4294967296"),
    ]:
        with pytest.raises(SourceError, match=message):
            codec().encode(frames, io.BytesIO(), CLIP, index=0)
    for wrong in ({"gop": 0}, {"index": 64}, {"effort": 9}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            codec().encode([one], io.BytesIO(), CLIP, **{"index": 0, **wrong})


def test_nothing_grows_with_the_clip() -> None:
    """Frames are taken one by one and given up again."""
    alive: list[weakref.ref[Any]] = []
    most = 0

    def source() -> Iterator[Timed]:
        nonlocal most
        for n in range(12):
            samples = np.full((8, 8, 3), 20 * n, np.uint8)
            alive.append(weakref.ref(samples))
            yield Picture(samples), n
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))

    file = io.BytesIO()
    codec().encode(source(), file, CLIP, index=0, gop=4)
    assert most <= 3
    assert sum(1 for _ in codec().decode(io.BytesIO(file.getvalue()))) == 12
