"""Measure codecs on pictures: real files, written to disk, read back and compared with the original."""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path

import numpy as np
from PIL import Image

from mvc import files, media
from mvc.errors import BackendError, MvcError, SourceError
from mvc.evaluate.codecs import Adapter, Samples
from mvc.metrics import ms_ssim, psnr
from mvc.quality import bits_per_pixel

FORMAT = "mvc bench 1"
_KEY_LENGTH = 16


@dataclass(frozen=True)
class Row:
    """One picture through one codec at one setting.

    `picture` is the key of the original in `Results.pictures`. `psnr` (dB, over all samples) is None for a
    lossless result, `ms_ssim` (0..1) where a side is too small for it. Seconds are of the wall clock.
    """

    codec: str
    setting: float
    picture: str
    size_bytes: int
    psnr: float | None
    ms_ssim: float | None
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class Original:
    """A picture that was measured."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Made:
    """What made the files of a codec's rows (see `Adapter`)."""

    title: str
    version: str


@dataclass
class Results:
    """Everything that was measured. As JSON it is also the cache of later sweeps."""

    codecs: dict[str, Made] = field(default_factory=dict)
    pictures: dict[str, Original] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    machine: str = field(default_factory=lambda: f"{platform.machine()}, Python {platform.python_version()}")

    def bpp(self, row: Row) -> float:
        """Bits per pixel of a row's file."""
        original = self.pictures[row.picture]
        return bits_per_pixel(row.size_bytes, original.width, original.height)

    def means(self) -> dict[str, dict[str, list[float | None]]]:
        """For each codec, by setting: the means over the pictures, in the layout of published points.

        Keys: setting, bpp, psnr (mean of dB), ms_ssim (mean of 0..1), encode_s, decode_s. A mean over pictures
        of which one has no value is None.
        """
        summary: dict[str, dict[str, list[float | None]]] = {}
        for codec in self.codecs:
            groups: dict[float, list[Row]] = {}
            for row in self.rows:
                if row.codec == codec:
                    groups.setdefault(row.setting, []).append(row)
            rows = groups.values()
            summary[codec] = {
                "setting": list(groups),
                "bpp": [_mean([self.bpp(row) for row in group], 5) for group in rows],
                "psnr": [_mean([row.psnr for row in group], 4) for group in rows],
                "ms_ssim": [_mean([row.ms_ssim for row in group], 6) for group in rows],
                "encode_s": [_mean([row.encode_s for row in group], 4) for group in rows],
                "decode_s": [_mean([row.decode_s for row in group], 4) for group in rows],
            }
        return summary

    def to_json(self) -> str:
        """JSON, one row a line, with the means before the rows."""
        head = {
            "format": FORMAT,
            "machine": self.machine,
            "codecs": {name: asdict(made) for name, made in self.codecs.items()},
            "pictures": {key: asdict(original) for key, original in self.pictures.items()},
            "means": self.means(),
            "columns": [column.name for column in fields(Row)],
        }
        parts = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        rows = ",\n".join("  " + json.dumps(astuple(row), separators=(",", ":")) for row in self.rows)
        return "{\n" + ",\n".join([*parts, f' "rows": [\n{rows}\n ]']) + "\n}\n"

    @classmethod
    def from_json(cls, text: str, *, name: str = "the results") -> Results:
        """The results in `text`; `SourceError` where it is something else."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT or data["columns"] != [column.name for column in fields(Row)]:
                raise ValueError("another format")
            return cls(
                {codec: Made(**made) for codec, made in data["codecs"].items()},
                {key: Original(**original) for key, original in data["pictures"].items()},
                [Row(*values) for values in data["rows"]],
                data["machine"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{name} holds no results of `mvc bench`: {error}") from error


class Cache:
    """Rows of earlier sweeps, found by codec, version, setting and the picture's samples.

    `path` is a results file; one that does not exist is an empty cache, and None one that forgets everything.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        exists = path is not None and path.exists()
        self.known = Results.from_json(path.read_text(), name=str(path)) if path is not None and exists else Results()
        self._rows = {(row.codec, row.setting, row.picture): row for row in self.known.rows}
        self._changed = False

    def find(self, codec: Adapter, setting: float, key: str) -> Row | None:
        """The row of this picture, if the same version of the codec made it."""
        if not codec.anchor or self.known.codecs.get(codec.name) != Made(codec.title, codec.version):
            return None
        return self._rows.get((codec.name, setting, key))

    def add(self, codec: Adapter, key: str, original: Original, row: Row) -> None:
        """Remember a row; rows that another version of its codec made are dropped."""
        if not codec.anchor:
            return
        self._changed = True
        made = Made(codec.title, codec.version)
        if self.known.codecs.get(codec.name) != made:
            self._rows = {place: old for place, old in self._rows.items() if place[0] != codec.name}
            self.known.codecs[codec.name] = made
        self.known.pictures[key] = original
        self._rows[codec.name, row.setting, key] = row

    def save(self) -> None:
        """Write the file, whole or not at all, if a row is new; `MvcError` when that fails."""
        if self.path is not None and self._changed:
            self._changed = False
            self.known.rows = [self._rows[place] for place in sorted(self._rows)]
            files.make_folder(self.path.parent)
            files.write_atomic(self.path, self.known.to_json().encode(), force=True)


def picture_key(samples: Samples) -> str:
    """What a picture is known by: the start of the SHA-256 of its shape and samples."""
    shape = ",".join(map(str, samples.shape)).encode()
    return hashlib.sha256(shape + b":" + np.ascontiguousarray(samples).tobytes()).hexdigest()[:_KEY_LENGTH]


def measure(codec: Adapter, samples: Samples, setting: float, folder: Path) -> Row:
    """Encode into a file in `folder`, read that file and decode it, and compare with `samples`.

    The size is the file's on disk and the reconstruction comes from its bytes alone. Raises `BackendError`
    when what comes back has another size, else what the codec raises.
    """
    codec.check(setting)
    original = samples.view()
    original.flags.writeable = False  # a codec that works in place would change what it is compared with
    path = folder / f"{codec.name}.bin"
    start = time.perf_counter()
    coded = codec.encode(original, setting)
    encode_s = time.perf_counter() - start
    path.write_bytes(coded)
    del coded
    data = path.read_bytes()
    path.unlink()
    start = time.perf_counter()
    decoded = codec.decode(data)
    decode_s = time.perf_counter() - start
    if samples.ndim == 2 and decoded.ndim == 3:  # formats without grayscale
        decoded = np.asarray(Image.fromarray(decoded).convert("L"))
    if decoded.shape != samples.shape:
        raise BackendError(f"{codec.name} turns {list(samples.shape)} samples into {list(decoded.shape)}")
    quality, similarity = psnr(samples, decoded), ms_ssim(samples, decoded)
    return Row(
        codec.name,
        setting,
        picture_key(samples),
        len(data),
        None if quality == float("inf") else round(quality, 4),
        None if similarity is None else round(similarity, 6),
        round(encode_s, 4),
        round(decode_s, 4),
    )


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), digits) if len(known) == len(values) else None


def sweep(
    pictures: Sequence[Path],
    codecs: Sequence[Adapter],
    settings: Mapping[str, Sequence[float]] | None = None,
    *,
    cache: Cache | None = None,
    on_step: Callable[[str], None] = lambda what: None,
    on_loss: Callable[[str], None] = lambda what: None,
) -> Results:
    """All pictures through all codecs at all settings (a codec's own grid unless `settings` names it).

    `on_step` hears of every picture and codec before its turn, `on_loss` of what reading a picture drops. The
    cache is saved after each picture, so that an interrupted sweep goes on where it stopped.
    """
    cache = cache or Cache(None)
    grid = {codec.name: tuple((settings or {}).get(codec.name, codec.settings)) for codec in codecs}
    for codec in codecs:
        for setting in grid[codec.name]:
            codec.check(setting)
    results = Results({codec.name: Made(codec.title, codec.version) for codec in codecs})
    with tempfile.TemporaryDirectory(prefix="mvc-bench-") as folder:
        for path in pictures:
            source = media.read_picture(path, keep_alpha=False)
            source.tell(on_loss)
            samples = source.picture.samples
            key, original = picture_key(samples), Original(path.stem, samples.shape[1], samples.shape[0])
            if key in results.pictures:
                raise MvcError(f"{path} is the same picture as {results.pictures[key].name}")
            results.pictures[key] = original
            for codec in codecs:
                on_step(f"{path.name} with {codec.name}")
                for setting in grid[codec.name]:
                    row = cache.find(codec, setting, key)
                    if row is None:
                        row = measure(codec, samples, setting, Path(folder))
                        cache.add(codec, key, original, row)
                    results.rows.append(row)
            cache.save()
    return results
