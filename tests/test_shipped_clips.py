"""The shipped weights for clips on a photograph that moves, and on one that rests."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_clips import clip_digests
from test_container import BAD, BAD_CLIPS
from test_reference_clips import SHIPPED_CLIPS, clips
from tiny_model import sha256

import mvc
from mvc.clip import ClipCodec
from mvc.codec import load
from mvc.errors import MvcError
from mvc.frames import ClipInfo, Frame
from mvc.media import read_picture
from mvc.media.clips import open_clip, write_clip
from mvc.metrics import psnr
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"
INFO = ClipInfo(176, 144, Fraction(1, 25), rate=Fraction(25))
GOLDEN = SAMPLES / "golden"
STEP_PX = 3
CODEC = ClipCodec(load("mambavc-ssf-lite", device="cpu"))


def test_the_golden_clip_decodes_to_the_same_symbols_and_nearly_the_same_pixels() -> None:
    """By the second decoder, too. Where samples round otherwise the frames that are made from them may, too."""
    data = (GOLDEN / "clip-q6.mvc").read_bytes()
    expected = json.loads((GOLDEN / "expected.json").read_text())["clip-q6"]
    assert clip_digests(CODEC, data) == expected
    frames = list(clips.decode_clip(data, clips.read_clip_model(SHIPPED_CLIPS))[1])
    known = [own for frame in frames for own in (frame.key, frame.last, frame.motion)]
    fields = [own for frame in frames for own in (frame.past, frame.future) if own is not None]
    symbols = [np.array(frame.symbols) for frame in frames]
    assert [sha256(*symbols), sha256(*known), sha256(*fields)] == list(expected.values())
    shown = list(open_clip(GOLDEN / "clip-q6.y4m").frames())
    for one, other in zip(CODEC.decode(io.BytesIO(data)), shown, strict=True):
        for plane, expected_plane in zip(one.planes, other.planes, strict=True):
            difference = np.abs(plane.astype(int) - expected_plane)
            assert difference.max() <= 3 and (difference > 0).mean() <= 1e-2


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_bad_clips(name: str) -> None:
    """tests/make_bad.py made them with the shipped weights."""
    error, message = BAD_CLIPS[name]
    with pytest.raises(MvcError) as caught:
        list(CODEC.decode(io.BytesIO((BAD / f"{name}.mvc").read_bytes())))
    assert type(caught.value) is error
    assert message in str(caught.value)


def frames(count: int, step_px: int) -> list[Frame]:
    """A part of kodim23, moved to the left by so many pixels from frame to frame."""
    samples = read_picture(SAMPLES / "kodim23.png").picture.samples
    made = []
    for time in range(count):
        part = samples[100:244, 200 + step_px * time : 376 + step_px * time]
        made.append(Frame.of_picture(Picture(np.ascontiguousarray(part)), time).converted("yuv420p"))
    return made


def coded(shown: list[Frame], tmp_path: Path, **options: object) -> tuple[int, list[Frame]]:
    """Bytes of the file, and what it decodes to."""
    source = tmp_path / "clip.y4m"
    write_clip(source, INFO, iter(shown), force=True)
    target = io.BytesIO()
    mvc.encode_video(source, target, **options)  # type: ignore[arg-type]
    target.seek(0)
    return len(target.getvalue()), list(mvc.open(target).frames())


def luma_db(one: list[Frame], other: list[Frame]) -> float:
    return float(np.mean([psnr(a.planes[0], b.planes[0]) for a, b in zip(one, other, strict=True)]))


def test_a_moving_photograph_takes_a_third_of_its_keyframes(tmp_path: Path) -> None:
    shown = frames(8, STEP_PX)
    size, back = coded(shown, tmp_path, quality=4)
    alone, keyframes = coded(shown, tmp_path, quality=4, gop=1)
    assert [frame.time for frame in back] == list(range(8)) and back[0].planes[1].shape == (72, 88)
    assert size < alone / 3 and luma_db(back, shown) > luma_db(keyframes, shown) - 1


def test_what_rests_costs_next_to_nothing(tmp_path: Path) -> None:
    first = frames(1, 0)[0]
    one, _ = coded([first], tmp_path)
    size, back = coded([replace(first, time=time) for time in range(10)], tmp_path)
    assert size < one + 10 * 60
    assert luma_db(back, [first] * 10) > luma_db(back[:1], [first]) - 0.3


@pytest.mark.parametrize("quality", [2, 6])
def test_frames_do_not_drift(tmp_path: Path, quality: int) -> None:
    """The eighth frame is nearly as good as the second: what is coded are decoded references."""
    shown = frames(8, STEP_PX)
    _, back = coded(shown, tmp_path, quality=quality)
    assert luma_db(back[7:], shown[7:]) > luma_db(back[1:2], shown[1:2]) - 2


def test_frames_between_two_others_save_bytes(tmp_path: Path) -> None:
    """Of what moves slowly."""
    slow = frames(9, 1)
    chain, runs = (coded(slow, tmp_path, quality=4, bframes=bframes) for bframes in (0, 3))
    assert runs[0] < 0.95 * chain[0] and luma_db(runs[1], slow) > luma_db(chain[1], slow) - 0.1


def test_where_they_do_not_the_encoder_leaves_them_out(tmp_path: Path) -> None:
    """Of frames that have nothing to do with each other."""
    noise = np.random.default_rng(0).normal(0, 40, (5, *frames(1, 0)[0].planes[0].shape))
    shown = [
        replace(frame, planes=(np.clip(frame.planes[0] + own, 16, 235).astype(np.uint8), *frame.planes[1:]))
        for frame, own in zip(frames(5, 0), noise, strict=True)
    ]
    none, three = (coded(shown, tmp_path, bframes=bframes, quality=2, scene_cut=False)[0] for bframes in (0, 3))
    assert three == none
