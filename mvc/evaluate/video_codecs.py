"""The codecs that `mvc bench-video` compares: mvc's clips, and what the anchors have in common with them.

Every codec takes planes of 4:2:0 and gives real bytes, frame by frame, and what a decoder makes of these bytes alone.
The anchors, encoders of other formats, are in video_anchors.py.

mvc is measured as `mvc encode-video` codes at one quality, B-frames included, with a keyframe every `gop` frames and
nowhere else. Its GOPs are open at their ends: B-frames before a keyframe are made from it as well.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mvc.clip_runs import DEFAULT, MOST
from mvc.errors import Limit
from mvc.frames import Clip, ClipInfo, Frame, plane_shapes
from mvc.quality import DEFAULT_VIDEO_MODEL, quality_index, whole_number
from mvc.version import __version__

if TYPE_CHECKING:
    from mvc.codec import Codec

KEYFRAMES = "keyframes"
"""The anchor that is mvc itself with nothing but keyframes."""


@dataclass(frozen=True)
class CodedClip:
    """A clip as a codec left it: for each frame its bytes and whether it is a keyframe; and the frames, once."""

    sizes: tuple[int, ...]
    keys: tuple[bool, ...]
    encode_s: float
    frames: Iterator[Frame]


Encode = Callable[[ClipInfo, Sequence[Frame], float, int], CodedClip]


@dataclass(frozen=True)
class VideoCodec:
    """A codec ready to be measured: `encode(info, frames, setting, gop)`.

    `settings` is the default grid. `version` says what made the bytes (library, options, weights), and `kept` whether
    results of that version may come from a cache.
    """

    name: str
    title: str
    version: str
    settings: tuple[float, ...]
    encode: Encode
    kept: bool = True


def mvc_codec(
    codec: Codec,
    model: str = DEFAULT_VIDEO_MODEL,
    effort: int = 0,
    *,
    bframes: int = DEFAULT,
    name: str = "mvc",
    all_keys: bool = False,
) -> VideoCodec:
    """mvc with a loaded codec; the setting is the quality, 1 ... 8.

    Up to `bframes` frames in a row, 0 ... 7, are each between two others, where the model can do that; with `all_keys`
    every frame is a keyframe. Raises ValueError for another number of B-frames.
    """
    from mvc.clip import ClipCodec

    coder = ClipCodec(codec)
    between = whole_number("bframes", bframes, 0, MOST) if coder.two_sided and not all_keys else 0

    def encode(info: ClipInfo, frames: Sequence[Frame], setting: float, gop: int) -> CodedClip:
        from mvc.clip_files import clip_head, clip_info, shown, timed
        from mvc.container import read_head

        file = io.BytesIO()
        start = time.perf_counter()
        clip = Clip(**vars(info), source=iter(frames))
        own_gop = 1 if all_keys else gop
        coder.encode(
            timed(clip), file, clip_head(info), index=quality_index(setting), gop=own_gop, effort=effort,
            bframes=between,
        )  # fmt: skip
        spent = time.perf_counter() - start
        data = file.getvalue()
        sizes, keys = sizes_of(data)
        own = clip_info(read_head(data))
        return CodedClip(sizes, keys, spent, iter(shown(own, coder.decode(io.BytesIO(data)))))

    blank = tuple(np.full(shape, 128, np.uint8) for shape in plane_shapes(64, 64, "yuv420p"))
    shot = ClipInfo(64, 64, Fraction(1, 25), rate=Fraction(25))
    # A keyframe, a frame made from it, and one between: no clock sees kernels being compiled.
    list(encode(shot, [Frame(blank, number) for number in range(3)], 4, 3).frames)
    kind = "keyframes alone" if all_keys else f"{between or 'no'} B-frame{'s' * (between != 1)}"
    version = f"mvc {__version__}, model id {codec.model_id.hex()}, effort {effort}, {kind}"
    title = f"mvc, {model}, effort {effort}, {kind}"
    return VideoCodec(name, title, version, tuple(map(float, range(1, 9))), encode, kept=False)


def sizes_of(data: bytes) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The bytes of each frame of a clip's file, and whether it is a keyframe.

    Whatever is no frame counts as the first one's: the sizes add up to the file's.
    """
    from mvc.container.chunks import CODE, UNITS, Source, walk
    from mvc.container.units import head_of, unit_head

    chunks = walk(Source(io.BytesIO(data)))
    head = head_of(next(chunks))
    sizes, keys = [], []
    for chunk in chunks:
        if chunk.code in UNITS:
            keys.append(chunk.code == CODE.code and unit_head(chunk, head, -1).role == "picture")
            sizes.append(chunk.start + chunk.length - chunk.offset)
    if not sizes:
        raise Limit("a clip has at least one frame")
    sizes[0] += len(data) - sum(sizes)
    return tuple(sizes), tuple(keys)
