"""Measure video codecs on clips: real bytes, decoded from these bytes alone, frame by frame against the source.

    results = bench_video(["foreman.y4m"], codec=codec.load("mambavc-lite"), anchors=("x264", "x265"))
    print(bd_tables(results)); results.mean_bd("mvc", "x264", "psnr_y")

(`bd_tables` is in video_tables.py.) PSNR of Y is that of the planes, PSNR of RGB that of both sides enlarged and
converted by colour.py (linear chroma, the clip's matrix); figures are means over frames, of which one that is equal to
the source counts as 100 dB. VMAF is not measured: PyAV's FFmpeg comes without it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mvc import files
from mvc.clip_runs import DEFAULT
from mvc.errors import BackendError, MvcError, SourceError
from mvc.evaluate.bdrate import bd_rate, ms_ssim_db
from mvc.evaluate.video_anchors import anchor
from mvc.evaluate.video_codecs import KEYFRAMES, VideoCodec, mvc_codec
from mvc.frames import ClipInfo, Frame
from mvc.media.clips import open_clip
from mvc.metrics import ms_ssim, psnr
from mvc.quality import DEFAULT_EFFORT, DEFAULT_VIDEO_MODEL

if TYPE_CHECKING:
    from mvc.codec import Codec

FORMAT = "mvc bench-video 1"
EQUAL_DB = 100.0
Metric = Literal["psnr_y", "psnr_rgb", "ms_ssim"]
Part = Literal["all", "key", "inter"]
METRICS: dict[Metric, str] = {"psnr_y": "PSNR Y", "psnr_rgb": "PSNR RGB", "ms_ssim": "MS-SSIM Y"}
PARTS: dict[Part, str] = {"all": "whole files", "key": "keyframes alone", "inter": "frames between"}


@dataclass(frozen=True)
class Shot:
    """A clip that is measured: 4:2:0 planes of its first frames. `key` is the hash of all of that."""

    name: str
    info: ClipInfo
    frames: tuple[Frame, ...]
    key: str


@dataclass(frozen=True)
class Row:
    """One clip through one codec at one setting; lists have a value for each frame.

    `psnr_y`, `psnr_rgb` in dB; `ms_ssim` of Y, 0..1, is empty where a side is too small for it.
    """

    codec: str
    setting: float
    clip: str
    gop: int
    sizes: list[int]
    keys: list[bool]
    psnr_y: list[float]
    psnr_rgb: list[float]
    ms_ssim: list[float]
    encode_s: float
    decode_s: float

    def rate(self, part: Part = "all") -> int:
        """Bytes of the frames of a part: "key" are every `gop`-th, where all codecs have keyframes; "inter" the rest.

        Of a codec with nothing but keyframes "inter" are thus the same frames as of the others.
        """
        return sum(self._of(part, self.sizes))

    def quality(self, metric: Metric, part: Part = "all") -> float | None:
        """The mean over the frames of a part, in dB (MS-SSIM: of the mean); None where there is none."""
        values = self._of(part, getattr(self, metric))
        if not values:
            return None
        mean = float(np.mean(values))
        return (ms_ssim_db(mean) if mean < 1 else EQUAL_DB) if metric == "ms_ssim" else mean

    def _of(self, part: Part, values: list[Any]) -> list[Any]:
        return [value for n, value in enumerate(values) if part == "all" or (n % self.gop == 0) == (part == "key")]


@dataclass
class Results:
    """All that was measured: `codecs` by name with what made their bytes, `clips` by key, and `rows`."""

    codecs: dict[str, dict[str, str]] = field(default_factory=dict)
    clips: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def of(self, codec: str, clip: str) -> list[Row]:
        """The rows of a codec on a clip (by its key)."""
        return [row for row in self.rows if (row.codec, row.clip) == (codec, clip)]

    def bd(self, test: str, anchor: str, metric: Metric, part: Part = "all") -> dict[str, float | None]:
        """BD-rates of `test` against `anchor`, in percent, by clip; None where there is none to be had."""
        return {clip: _bd(self.of(anchor, clip), self.of(test, clip), metric, part) for clip in self.clips}

    def mean_bd(self, test: str, anchor: str, metric: Metric, part: Part = "all") -> float | None:
        """The mean over the clips; None where one of them has none."""
        values = [value for value in self.bd(test, anchor, metric, part).values() if value is not None]
        return float(np.mean(values)) if len(values) == len(self.clips) else None

    def to_json(self) -> str:
        """JSON, one row a line, with the mean BD-rates before the rows."""
        names = list(self.codecs)
        means = {
            f"{test} vs {anchor}": {
                part: {metric: _rounded(self.mean_bd(test, anchor, metric, part)) for metric in METRICS}
                for part in PARTS
            }
            for test in names
            for anchor in names
            if test != anchor
        }
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        head = {"format": FORMAT, "machine": machine, "codecs": self.codecs, "clips": self.clips, "mean_bd": means}
        parts = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        rows = ",\n".join("  " + json.dumps(asdict(row), separators=(",", ":")) for row in self.rows)
        return "{\n" + ",\n".join([*parts, f' "rows": [\n{rows}\n ]']) + "\n}\n"


class Cache:
    """Rows of anchors that were measured before, in a JSON file: by clip, codec and version, setting and GOP."""

    def __init__(self, path: Path | None) -> None:
        self.path, self._rows = path, {}
        if path is not None and path.exists():
            try:
                data = json.loads(path.read_text())
                if data["format"] != FORMAT:
                    raise ValueError("another format")
                self._rows = {key: Row(**row) for key, row in data["anchors"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise SourceError(f"{path} holds no results of `mvc bench-video`: {error}") from error

    @staticmethod
    def _key(codec: VideoCodec, setting: float, clip: str, gop: int) -> str:
        return f"{clip}|{codec.name}|{codec.version}|{setting:g}|{gop}"

    def find(self, codec: VideoCodec, setting: float, clip: str, gop: int) -> Row | None:
        """What is known already."""
        return self._rows.get(self._key(codec, setting, clip, gop)) if codec.kept else None

    def add(self, codec: VideoCodec, row: Row) -> None:
        """Keep a row, on disk as well."""
        if not codec.kept:
            return
        self._rows[self._key(codec, row.setting, row.clip, row.gop)] = row
        if self.path is not None:
            files.make_folder(self.path.parent)
            kept = {key: asdict(row) for key, row in self._rows.items()}
            files.write_atomic(self.path, json.dumps({"format": FORMAT, "anchors": kept}).encode(), force=True)


def bench_video(
    clips: Sequence[str | Path],
    *,
    codec: Codec | None,
    model: str = DEFAULT_VIDEO_MODEL,
    effort: int = DEFAULT_EFFORT,
    bframes: int = DEFAULT,
    anchors: Sequence[str] = ("x264", "x265"),
    settings: dict[str, Sequence[float]] | None = None,
    gop: int = 12,
    frames: int | None = None,
    cache: Path | None = None,
    on_step: Callable[[str], None] = lambda what: None,
    on_loss: Callable[[str], None] = lambda what: None,
) -> Results:
    """All clips through mvc (a loaded `codec`; None leaves it out) and the anchors, at all settings.

    Of mvc up to `bframes` frames in a row, 0..7, are each between two others. `anchors` are names of
    `video_anchors.ANCHORS`, or `KEYFRAMES`. `settings` replaces a codec's grid, by its name ("mvc": qualities 1..8,
    also for `KEYFRAMES`). `frames` is how many of each clip are taken, all by default; they are held in memory. `cache`
    is a file for the anchors' results. Raises `MvcError` for what cannot be measured.
    """
    given = dict(settings or {})
    if "mvc" in given:
        given.setdefault(KEYFRAMES, given["mvc"])
    codecs = [] if codec is None else [mvc_codec(codec, model, effort, bframes=bframes)]
    for name in dict.fromkeys(anchors):
        if name == KEYFRAMES:
            if codec is None:
                raise MvcError(f"{KEYFRAMES} are those of mvc, which is left out")
            codecs.append(mvc_codec(codec, model, effort, name=KEYFRAMES, all_keys=True))
        else:
            codecs.append(anchor(name))
    codecs = [replace(own, settings=tuple(given.get(own.name, own.settings))) for own in codecs]
    known, results = Cache(cache), Results({own.name: {"title": own.title, "version": own.version} for own in codecs})
    for path in clips:
        shot = read_shot(path, frames, on_loss)
        if shot.key in results.clips:
            raise MvcError(f"{path} is the same clip as {results.clips[shot.key]['name']}")
        info = shot.info
        about = {"width": info.width, "height": info.height, "frames": len(shot.frames), "rate": float(info.rate or 25)}
        results.clips[shot.key] = {"name": shot.name, **about}
        for own in codecs:
            for setting in own.settings:
                on_step(f"{shot.name} with {own.name} at {setting:g}")
                row = known.find(own, setting, shot.key, gop)
                if row is None:
                    row = measure(own, shot, setting, gop)
                    known.add(own, row)
                results.rows.append(row)
    return results


def read_shot(path: str | Path, frames: int | None, on_loss: Callable[[str], None] = lambda what: None) -> Shot:
    """The first frames of a clip, in 4:2:0. Raises `SourceError` for an odd size, which no anchor takes."""
    with open_clip(path, pixel_format="yuv420p") as clip:
        if clip.width % 2 or clip.height % 2:
            raise SourceError(f"{path} has an odd size, which other codecs do not take", hint="crop it")
        taken = []
        for frame in clip.frames():
            taken.append(frame)
            if len(taken) == frames:
                break
        clip.tell(on_loss)
        rate, colour = clip.rate or Fraction(25), clip.colour
        info = ClipInfo(clip.width, clip.height, 1 / rate, colour, "yuv420p", rate)
    shown = tuple(replace(frame, time=number, duration=1) for number, frame in enumerate(taken))
    digest = hashlib.sha256(repr((info, len(shown))).encode())
    for frame in shown:
        for plane in frame.planes:
            digest.update(plane.tobytes())
    return Shot(Path(path).stem, info, shown, digest.hexdigest()[:16])


def measure(codec: VideoCodec, shot: Shot, setting: float, gop: int) -> Row:
    """One clip through one codec. Raises `BackendError` where the frames that come back are not those that went in."""
    coded = codec.encode(shot.info, shot.frames, setting, gop)
    if not all(coded.keys[::gop]) or len(coded.keys) != len(shot.frames):
        raise BackendError(f"{codec.name} has {len(coded.keys)} frames, with keyframes not where they were asked for")
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    decode_s, count, start = 0.0, 0, time.perf_counter()
    for shown in coded.frames:
        decode_s += time.perf_counter() - start
        for metric, value in _figures(shot.frames[count], shown).items():
            values[metric].append(value)
        count += 1
        start = time.perf_counter()
    if count != len(shot.frames):
        raise BackendError(f"{codec.name} gives back {count} of {len(shot.frames)} frames")
    return Row(
        codec.name, setting, shot.key, gop, list(coded.sizes), list(coded.keys), **values,
        encode_s=round(coded.encode_s, 3), decode_s=round(decode_s, 3),
    )  # fmt: skip


def _figures(source: Frame, shown: Frame) -> dict[str, float]:
    if shown.colour != source.colour:
        raise BackendError(f"a frame came back with other colours: {shown.colour.in_words()}")
    found = {
        "psnr_y": _decibels(source.planes[0], shown.planes[0]),
        "psnr_rgb": _decibels(source.to_picture().samples, shown.to_picture().samples),
    }
    similarity = ms_ssim(source.planes[0], shown.planes[0])
    return found if similarity is None else found | {"ms_ssim": round(similarity, 6)}


def _decibels(one: Any, other: Any) -> float:
    return round(min(EQUAL_DB, psnr(one, other)), 4)


def _bd(anchors: Sequence[Row], tests: Sequence[Row], metric: Metric, part: Part) -> float | None:
    curves: list[list[float]] = []
    for rows in (anchors, tests):
        points = [
            (float(row.rate(part)), quality) for row in rows if (quality := row.quality(metric, part)) is not None
        ]
        curves += [[rate for rate, _ in points], [quality for _, quality in points]]
    try:
        return bd_rate(*curves)
    except ValueError:  # no quality in common, or too few points
        return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
