"""Clips made by the papers' video models, small and random: frames to units and back, entered, damaged, cut."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from test_container import Pipe
from tiny_model import VIDEO, picture, recorded, tiny_codec, tiny_video_weights

from mvc.clip import ClipCodec, Loss
from mvc.clip_choice import State
from mvc.clip_encoding import ClipEncoder
from mvc.clip_model import PARTS
from mvc.codec import Codec
from mvc.container import ClipHead, Head, Reader, Unit, read_file, write_file
from mvc.entropy.parts import JointReader, JointWriter
from mvc.errors import Checksum, Corrupt, FormatError, Limit, SourceError, Truncated, Unsupported
from mvc.frames import Frame
from mvc.models.weights import load, save
from mvc.picture import Picture

CLIP = ClipHead(1, 30)
SMALL = "convvc-ssf"


@cache
def codec(name: str = SMALL) -> ClipCodec:
    return ClipCodec(Codec(tiny_video_weights(name)))


def moving(count: int, height: int = 40, width: int = 60, *, gray: bool = False) -> list[Frame]:
    """A picture that moves to the right; frames at uneven times, the first not at 0."""
    still = picture(height, width, gray=gray).samples
    return [Frame.of_picture(Picture(np.roll(still, 2 * n, 1)), 3 + 10 * n + n % 2) for n in range(count)]


def samples_of(frame: Frame) -> np.ndarray:
    return frame.to_picture().samples


def coded(frames: list[Frame], name: str = SMALL, gop: int = 3) -> bytes:
    file = io.BytesIO()
    assert codec(name).encode(frames, file, CLIP, index=20, gop=gop) == len(frames)
    return file.getvalue()


@cache
def example() -> tuple[list[Frame], bytes, list[np.ndarray]]:
    """Eight frames in GOPs of three, their file, and the samples it decodes to."""
    frames = moving(8)
    data = coded(frames)
    return frames, data, [samples_of(shown) for shown in codec().decode(io.BytesIO(data))]


def same(found: list[Frame], first: int = 0, last: int = 8) -> bool:
    """Whether frames are those of the example."""
    frames, _, samples = example()
    times = [frame.time for frame in frames[first:last]]
    return [frame.time for frame in found] == times and all(
        np.array_equal(samples_of(own), expected) for own, expected in zip(found, samples[first:last], strict=True)
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
    assert [len(unit.streams) for unit, _ in made] == [1] * 4
    for (unit, shown), decoded in zip(made, back, strict=True):
        assert unit.index == decoded.time and np.array_equal(samples_of(shown), samples_of(decoded))
    assert data == coded(frames, name)
    signal = own.signal(head)
    state = State(signal.samples(made[0][1]), {})
    with torch.no_grad(), recorded() as written:
        ClipEncoder(own, head).inter(frames[1], state, 0)
    with recorded() as read:
        own.read(head, signal, made[1][0], state)
    assert len(written) == len(read) == 5 and read[2].std() > 1 and read[4].std() > 1
    assert read[0].tolist() == [0]  # both parts
    assert all(np.array_equal(a, b) for a, b in zip(written, read, strict=True))


@pytest.mark.parametrize("name", VIDEO)
def test_an_inter_frame_depends_on_its_reference(name: str) -> None:
    """And its symbols do not: they can be read whatever the reference is."""
    frames = moving(2)
    head, units = read_file(coded(frames, name))
    own = codec(name)
    signal = own.signal(head)
    right = own.read(head, signal, units[0], None)
    wrong = State(255 - right.samples, right.latents)
    with recorded() as symbols:
        shown = own.read(head, signal, units[1], right)
    with recorded() as again:
        other = own.read(head, signal, units[1], wrong)
    assert (shown.samples != other.samples).mean() > 0.5
    assert all(np.array_equal(a, b) for a, b in zip(symbols, again, strict=True))


def test_the_latents_are_those_of_the_float_model() -> None:
    """Motion and residual arrive within half a step of what the analysis transforms gave."""
    own = codec()
    frames = moving(2)
    head, units = read_file(coded(frames))
    signal = own.signal(head)
    reference = own.read(head, signal, units[0], None)
    motion = own.networks["motion"]
    x, before = (signal.tensor(samples) for samples in (signal.samples(frames[1]), reference.samples))
    reader = JointReader(own.joint, units[1].streams[0])
    with torch.no_grad():
        y, _ = motion.model.analyse(torch.cat([x, before], -1), torch.zeros(1))
        assert reader.take(np.zeros(1, np.int32), PARTS) == 0
        y_hat = motion.take(reader, 0, (40, 60)).y_hat
    assert y.std() > 1 and (y_hat - y).abs().max() <= 0.51


@pytest.mark.parametrize(
    ("height", "width", "gray"), [(1, 1, False), (128, 128, False), (130, 5, True), (40, 60, True)]
)
def test_any_size_and_gray(height: int, width: int, gray: bool) -> None:
    frames = moving(2, height, width, gray=gray)
    back = list(codec().decode(io.BytesIO(coded(frames))))
    assert [frame.time for frame in back] == [3, 14]
    assert all(samples_of(shown).shape == samples_of(frames[0]).shape for shown in back)


def test_a_still_picture_model_codes_keyframes() -> None:
    own = ClipCodec(tiny_codec())
    frames, file = moving(3), io.BytesIO()
    own.encode(frames, file, CLIP, index=30)
    head, units = read_file(file.getvalue())
    assert [unit.role for unit in units] == ["picture"] * 3 and head.quality_index == 30
    for shown, source in zip(own.decode(io.BytesIO(file.getvalue())), frames, strict=True):
        still = tiny_codec().decode(tiny_codec().encode(source.to_picture(), 30, 0))
        assert np.array_equal(samples_of(shown), still.samples)


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

    def source() -> Iterator[Frame]:
        for frame in moving(4):
            taken.append(frame.time)
            yield frame

    head = Head("clip", 60, 40, "rgb", 8, 0, codec().codec.model_id, CLIP)
    units = codec().coded(head, source(), gop=3)
    assert next(units)[0].index == 3 and taken == [3]
    data = example()[1]
    half = Pipe(data[: len(data) // 2])
    shown: list[Frame] = []
    with pytest.raises(Truncated):
        for frame in codec().decode(half):  # type: ignore[arg-type]
            shown.append(frame)
    assert 2 < len(shown) < 8 and same(shown, 0, len(shown))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SourceError])
def test_a_source_that_ends_early_leaves_a_whole_file(error: type[BaseException]) -> None:
    def dying() -> Iterator[Frame]:
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
    first = sum(frame.time < start for frame in frames)
    with recorded() as symbols:
        found = list(codec().decode(Pipe(data) if piped else io.BytesIO(data), start=start))  # type: ignore[arg-type]
    assert same(found, first)
    keyframe = max([n for n in (0, 3, 6) if frames[n].time <= start], default=0)
    # of each network a hyperlatent and a slice, and first of all which networks there are
    assert len(symbols) == sum(2 if n % 3 == 0 else 5 for n in range(keyframe, 8))


def test_damage_in_front_of_the_keyframe_does_not_matter() -> None:
    frames, data, _ = example()
    place = [head.offset for head in Reader(io.BytesIO(data)).heads()][1]
    damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    assert same(list(codec().decode(io.BytesIO(damaged), start=frames[3].time)), 3)


# Damage


def damaged(number: int) -> bytes:
    """The example with a bit of a unit changed."""
    data = example()[1]
    place = [head.offset for head in Reader(io.BytesIO(data)).heads()][number] + 9
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_unit_costs_its_gop_at_most(number: int) -> None:
    frames, _, _ = example()
    shown: list[Frame] = []
    with pytest.raises(Checksum, match=rf"CODE {number}, byte"):
        for frame in codec().decode(io.BytesIO(damaged(number))):
            shown.append(frame)
    assert same(shown, 0, number)
    losses: list[Loss] = []
    found = list(codec().decode(io.BytesIO(damaged(number)), lost=losses.append))
    again = min(-(-number // 3) * 3 + 3 * (number % 3 == 0), 8)
    assert same(found[:number], 0, number) and same(found[number:], again)
    after, before = (frames[n].time if 0 <= n < 8 else None for n in (number - 1, again))
    (loss,) = losses
    assert (loss.after, loss.before) == (after, before) and "cannot be read" in loss.reason


def with_stream(number: int, stream: bytes) -> bytes:
    """The example with another stream in a unit, under right checksums."""
    head, units = read_file(example()[1])
    changed = Unit(units[number].role, units[number].index, None, (stream,))
    return write_file(head, [*units[:number], changed, *units[number + 1 :]])


def first_symbols(*symbols: int) -> bytes:
    """A stream that begins as a frame between keyframes does."""
    writer = JointWriter(codec().joint)
    writer.put(np.array(symbols, np.int32), np.zeros(len(symbols), np.int32), PARTS)
    return writer.finish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stream: stream[:-1], "the coded symbols"),
        (lambda stream: stream[:2], "end too early"),
        (lambda stream: stream + bytes(2), r"end too early|do not end"),
        (lambda stream: first_symbols(0), r"end too early .*motion"),
        (lambda stream: first_symbols(1), r"end too early .*residual"),
        (lambda stream: first_symbols(3), "lacks the parts 3, which is not known"),
        (lambda stream: first_symbols(-1), "lacks the parts -1, which is not known"),
    ],
)
def test_damage_that_checksums_do_not_show(change: Callable[[bytes], bytes], message: str) -> None:
    """Right checksums over a stream that is wrong: told with the place, and passed by."""
    frames, data, _ = example()
    stream = read_file(data)[1][1].streams[0]
    file = with_stream(1, change(stream))
    with pytest.raises(FormatError, match=message) as caught:
        list(codec().decode(io.BytesIO(file)))
    assert f"chunk inter {frames[1].time}" in str(caught.value)
    losses: list[Loss] = []
    found = list(codec().decode(io.BytesIO(file), lost=losses.append))
    assert same(found[:1], 0, 1) and same(found[1:], 3)
    assert [(loss.after, loss.before) for loss in losses] == [(frames[0].time, frames[3].time)]
    assert losses[0].reason == str(caught.value)


def test_a_keyframe_without_a_stream_is_refused() -> None:
    with pytest.raises(FormatError, match=r"\(chunk picture 3\)"):
        list(codec().decode(io.BytesIO(with_stream(0, b""))))


def test_an_empty_stream_is_the_frame_before_once_more() -> None:
    frames, _, samples = example()
    found = list(codec().decode(io.BytesIO(with_stream(1, b""))))
    assert [frame.time for frame in found] == [frame.time for frame in frames]
    assert np.array_equal(samples_of(found[1]), samples[0])
    assert not np.array_equal(samples_of(found[2]), samples[2])  # its reference was another


def test_units_that_no_decoder_takes() -> None:
    head, units = read_file(example()[1])

    def refused(*units: Unit) -> str:
        with pytest.raises(Corrupt) as caught:
            list(codec().decode(io.BytesIO(write_file(head, units))))
        return str(caught.value)

    assert "there is no frame before it (chunk inter 14)" in refused(*units[1:])
    stream = units[1].streams[0]
    assert "has 2 streams, its model 1" in refused(units[0], Unit("inter", 9, None, (stream, b"")))
    assert "has 2 streams, its model 1" in refused(Unit("picture", 9, None, (stream, stream)))
    assert "quality index 5, its model 1 rate" in refused(units[0], Unit("inter", 9, 5, units[1].streams))
    alone = Head("clip", 60, 40, "rgb", 8, 0, tiny_codec().model_id, CLIP)
    still, _ = next(ClipCodec(tiny_codec()).coded(alone, moving(1)))
    with pytest.raises(Corrupt, match="codes keyframes alone"):
        list(ClipCodec(tiny_codec()).decode(io.BytesIO(write_file(alone, [still, Unit("inter", 9, None, (b"",))]))))


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
        ([one, Frame.of_picture(picture(40, 62), 9)], "at time 9 is 62x40 rgb, those before it 60x40 rgb"),
        ([one, Frame.of_picture(picture(40, 60, gray=True), 9)], "60x40 gray"),
        ([two, one], r"has the time 3, outside 15\.\."),
        ([one, one], "has the time 3"),
        ([replace(one, time=-1)], "has the time -1"),
        ([replace(one, time=2**32)], "has the time 4294967296"),
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

    def source() -> Iterator[Frame]:
        nonlocal most
        for n in range(12):
            samples = np.full((8, 8, 3), 20 * n, np.uint8)
            alive.append(weakref.ref(samples))
            yield Frame.of_picture(Picture(samples), n)
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))

    file = io.BytesIO()
    codec().encode(source(), file, CLIP, index=0, gop=4)
    assert most <= 3
    assert sum(1 for _ in codec().decode(io.BytesIO(file.getvalue()))) == 12
