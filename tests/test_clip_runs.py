"""Frames between two others: their order, both ends, entering, damage, groups side by side, and the command."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from test_clip import CLIP
from test_clip import codec as one_sided
from test_clip import coded as coded_one_sided
from test_clip import moving as pictures
from test_clip_lite import codec, coded, decoded, equal, moving

from mvc.clip import Loss
from mvc.clip_runs import MOST, middle, turns
from mvc.container import Unit, read_file, write_file
from mvc.container.chunks import UNITS, Source, walk
from mvc.errors import Corrupt, FormatError, SourceError
from mvc.frames import Clip, ClipInfo, Frame
from mvc.video.encoder import Encoder
from mvc.video.groups import Settings
from mvc.video.reader import ClipFile

pytestmark = pytest.mark.usefixtures("one_thread", "long_runs")


@pytest.fixture(autouse=True)
def all_parts_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks say little that is worth its bits."""
    monkeypatch.setattr("mvc.clip_encoding.cheapest", lambda attempts, samples, index: attempts[0])


def roles(units: list[Unit]) -> str:
    """A letter for each unit: K, P or B."""
    return "".join({"picture": "K", "inter": "P", "between": "B"}[unit.role] for unit in units)


# Order


@pytest.mark.parametrize("bframes", range(MOST + 1))
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9, 12, 13])
def test_each_frame_is_made_from_the_nearest_that_are_there(frames: int, bframes: int) -> None:
    there, anchors = [0], [0]
    for turn in turns(frames, bframes):
        assert turn.number not in there and turn.past in there
        if turn.future is None:
            assert turn.past == anchors[-1] and 0 < turn.number - turn.past <= bframes + 1
            anchors.append(turn.number)
        else:
            assert turn.past == max(n for n in there if n < turn.number)
            assert turn.future == min(n for n in there if n > turn.number)
            assert turn.future_later == (there.index(turn.future) > there.index(turn.past))
            assert anchors[-2] < turn.number < anchors[-1]
        there.append(turn.number)
    assert sorted(there) == list(range(frames))


def test_the_middle_of_a_run() -> None:
    assert [middle(count) for count in range(1, 8)] == [0, 0, 1, 1, 2, 2, 3]
    assert [turn.number for turn in turns(9, 7)] == [8, 4, 2, 1, 3, 6, 5, 7]


# Both ends


@pytest.mark.parametrize(
    ("frames", "gop", "bframes", "expected"),
    [
        (1, 12, 3, "K"),
        (2, 12, 3, "KP"),
        (4, 12, 3, "KBBP"),
        (7, 12, 1, "KBPBPBP"),
        (10, 4, 3, "KBBBKBBBKP"),
        (11, 10, 3, "KBBBPBBBPBK"),
        (10, 12, 7, "KBBBBBBBPP"),
        (5, 3, 0, "KPPKP"),
    ],
)
def test_what_the_encoder_knows_is_what_is_decoded(frames: int, gop: int, bframes: int, expected: str) -> None:
    units, known, data = coded(moving(frames), gop=gop, bframes=bframes)
    assert roles(units) == expected
    assert equal(decoded(data), known)
    assert [unit.index for unit in read_file(data)[1]] == [3 + 10 * n for n in range(frames)]


@pytest.mark.parametrize(("best", "expected"), [(0, "KBBBPBBBP"), (1, "KPPPPPPPP"), (2, "KBPBPBPBP")])
def test_from_effort_2_on_a_run_is_coded_in_each_way(best: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many in a row as may be, none and one, and the cheapest is taken."""
    tried: list[list[tuple[int, float]]] = []

    def price(frames: Iterator[tuple[int, float]]) -> float:
        tried.append(list(frames))
        return float(len(tried) % 3 != (best + 1) % 3)

    monkeypatch.setattr("mvc.clip_encoding.price", price)
    units, known, data = coded(moving(9), gop=12, bframes=3, effort=2)
    assert roles(units) == expected and equal(decoded(data), known)
    assert [len(own) for own in tried] == [4] * 6
    assert all(size >= 0 and error >= 0 for own in tried for size, error in own)


@pytest.mark.parametrize("effort", [0, 1])
def test_below_it_the_frames_themselves_tell(effort: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for with the anchor before them, and the keyframe behind them where there is one."""
    asked: list[list[int]] = []
    frames = moving(9)
    lumas = {id(frame.planes[0]): number for number, frame in enumerate(frames)}

    def promising(luma: list[np.ndarray], most: int) -> int:
        asked.append([lumas[id(own)] for own in luma])
        return (0, most)[len(asked) - 1]

    monkeypatch.setattr("mvc.clip_encoding.promising", promising)
    units, _, _ = coded(frames, gop=8, bframes=3, effort=effort)
    assert asked == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    assert roles(units) == "KPPPPBBBK"


def test_a_frame_that_is_due_takes_a_short_chunk() -> None:
    data = coded(moving(6), bframes=1)[2]
    kinds = [chunk.label.split()[0] for chunk in walk(Source(io.BytesIO(data))) if chunk.code in UNITS]
    head, units = read_file(data)
    assert head.clip is not None and units[1].index - units[0].index != head.clip.step and set(kinds) == {"CODE"}
    due = write_file(replace(head, clip=replace(head.clip, step=10)), units)
    kinds = [chunk.label.split()[0] for chunk in walk(Source(io.BytesIO(due))) if chunk.code in UNITS]
    assert kinds == ["CODE"] + ["NEXT"] * 5 and len(due) < len(data)
    assert read_file(due)[1] == units and equal(decoded(due), decoded(data))


def test_a_frame_between_depends_on_both_and_anchors_on_no_frame_between() -> None:
    frames = moving(5)
    units, known, _ = coded(frames, bframes=3)
    other = list(frames)
    other[4] = replace(frames[4], planes=tuple(255 - plane for plane in frames[4].planes))
    again, known_again, _ = coded(other, bframes=3)
    assert units[0] == again[0] and all(a != b for a, b in zip(units[1:], again[1:], strict=True))
    other = list(frames)
    other[2] = replace(frames[2], planes=tuple(255 - plane for plane in frames[2].planes))
    again, known_again, _ = coded(other, bframes=3)
    assert [units[n] == again[n] for n in range(5)] == [True, False, False, False, True]
    assert equal([known[4]], [known_again[4]])


def test_one_sided_models_have_none() -> None:
    file = io.BytesIO()
    frames = pictures(5)
    one_sided().encode(frames, file, CLIP, index=20, gop=3, bframes=3)
    assert file.getvalue() == coded_one_sided(frames)


# Entering and damage


@cache
def example() -> tuple[bytes, list[Frame], list[Unit]]:
    """Fourteen frames, K BBB P BBB K BBB P K: the last but one group ends with frames made from the next keyframe."""
    units, known, data = coded(moving(14), gop=8, bframes=3)
    assert roles(units) == "KBBBPBBBKBBBPP"
    return data, known, units


@pytest.mark.parametrize("number", range(14))
@pytest.mark.parametrize("jobs", [1, 2])
def test_decoding_starts_anywhere(number: int, jobs: int) -> None:
    data, known, _ = example()
    clip = ClipFile(data, lambda _: codec().codec)
    found = list(clip.frames(f"frame {number}", jobs=jobs))
    assert [frame.time for frame in found] == [frame.time for frame in known[number:]]
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(found, known[number:], strict=True))


@pytest.mark.parametrize("number", range(14))
def test_a_damaged_unit_costs_what_refers_to_it_and_no_wrong_frame(number: int) -> None:
    """Each frame that comes back is right; all from the next keyframe on come, and so do those before the run."""
    data, known, _ = example()
    chunks = [chunk for chunk in walk(Source(io.BytesIO(data))) if chunk.code in UNITS]
    damaged = bytearray(data)
    damaged[chunks[number].start + chunks[number].length // 2] ^= 255
    losses: list[Loss] = []
    found = {frame.time: frame for frame in codec().decode(io.BytesIO(damaged), lost=losses.append)}
    for frame in known:
        if frame.time in found:
            assert equal([found[frame.time]], [frame])
    missing = [n for n, frame in enumerate(known) if frame.time not in found]
    assert number in missing and losses
    begin = max(n for n in (0, 4, 8, 12, 13) if n < max(number, 1)) if number else 0
    end = next((key for key in (8,) if key > number), 14)
    assert set(missing) <= set(range(begin, end))
    with pytest.raises(FormatError):
        decoded(bytes(damaged))


def test_units_that_do_not_belong_together() -> None:
    data, _, units = example()
    head, _ = read_file(data)
    for wrong, message in (
        (units[1:5], "no frame before it"),
        (units[:3], "no frame behind it"),
        ([units[0], *(replace(units[1], index=units[1].index + n) for n in range(8)), units[8]], "more than 7"),
    ):
        with pytest.raises(Corrupt, match=message):
            decoded(write_file(head, wrong))


def test_where_a_run_is_too_long_all_of_it_is_lost() -> None:
    data, known, units = example()
    head, _ = read_file(data)
    many = [replace(units[1], index=units[0].index + 1 + n) for n in range(9)]
    losses: list[Loss] = []
    file = write_file(head, [units[0], *many, replace(units[4], index=units[4].index)])
    found = list(codec().decode(io.BytesIO(file), lost=losses.append))
    assert [frame.time for frame in found] == [known[0].time, known[4].time] and len(losses) == 1
    assert losses[0].after == known[0].time and losses[0].before == known[4].time


# Groups, sources that end, and the clip that is written


INFO = ClipInfo(60, 40, Fraction(1, 25), moving(1)[0].colour, "yuv420p", rate=Fraction(25))


def clip(frames: list[Frame], error: BaseException | None = None) -> Clip:
    def source() -> Iterator[Frame]:
        yield from (replace(frame, time=n) for n, frame in enumerate(frames))
        if error is not None:
            raise error

    return Clip(**vars(INFO), source=source())


def written(source: Clip, **settings: object) -> bytes:
    file = io.BytesIO()
    encoder = Encoder(codec(), source, file, Settings(lambda group: 20, gop=8, **settings))  # type: ignore[arg-type]
    for _ in encoder.steps():
        pass
    return file.getvalue()


def test_groups_come_out_the_same_side_by_side() -> None:
    one = written(clip(moving(19)))
    assert roles(read_file(one)[1]) == "KBBBPBBBKBBBPBBBKBP"
    assert written(clip(moving(19)), jobs=3) == one
    frames = list(ClipFile(one, lambda _: codec().codec).frames(jobs=3))
    assert equal(frames, list(codec().decode(io.BytesIO(one))))


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_frame_is_made_from_another_scene(jobs: int) -> None:
    frames = moving(10)
    dark = [replace(f, planes=(f.planes[0] // 8, *f.planes[1:])) for f in frames[:6]]
    light = [replace(f, planes=(255 - f.planes[0] // 8, *f.planes[1:])) for f in frames[6:]]
    assert roles(read_file(written(clip([*dark, *light]), jobs=jobs))[1]) == "KBBBPPKBBP"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("count", [2, 4, 7, 11])
def test_a_source_that_dies_leaves_all_its_frames(count: int, jobs: int) -> None:
    file = io.BytesIO()
    source = clip(moving(count), SourceError("the source has died"))
    steps = Encoder(codec(), source, file, Settings(lambda group: 20, gop=8, jobs=jobs)).steps()
    with pytest.raises(SourceError, match="died"):
        list(steps)
    assert len(decoded(file.getvalue())) == count


@pytest.mark.parametrize("seen", range(1, 9))
def test_ctrl_c_leaves_whole_runs(seen: int) -> None:
    file = io.BytesIO()
    steps = Encoder(codec(), clip(moving(12)), file, Settings(lambda group: 20, gop=8)).steps()
    for _ in range(seen):
        next(steps)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt)
    assert seen <= len(decoded(file.getvalue())) < seen + 4


def test_the_same_from_the_codec_itself() -> None:
    def dying() -> Iterator[Frame]:
        yield from moving(7)
        raise SourceError("the source has died")

    file, head = io.BytesIO(), read_file(example()[0])[0]
    assert head.clip is not None
    with pytest.raises(SourceError, match="died"):
        codec().encode(dying(), file, head.clip, index=20, gop=8, bframes=3)
    assert roles(read_file(file.getvalue())[1]) == "KBBBPBP" and len(decoded(file.getvalue())) == 7
