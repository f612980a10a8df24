"""What a sweep of codecs measured: rows, their means, and both as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import Any

import numpy as np

from mvc.errors import SourceError
from mvc.evaluate.metrics import ALWAYS, METRICS
from mvc.quality import bits_per_pixel

FORMAT = "mvc bench 1"


@dataclass(frozen=True)
class Row:
    """One picture through one codec at one setting.

    `picture` is the key of the original in `Results.pictures`. `psnr` (dB, over all samples) is None for a
    lossless result, `ms_ssim` (0..1) where a side is too small for it. Seconds are of the wall clock. `more` has what
    else was measured, by the keys of `mvc.evaluate.metrics.METRICS`.
    """

    codec: str
    setting: float
    picture: str
    size_bytes: int
    psnr: float | None
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    more: dict[str, float | None] = field(default_factory=dict)

    def value(self, metric: str) -> float | None:
        """What a metric (by its key) said of it; None where it said nothing, or was not asked."""
        found: float | None = getattr(self, metric) if metric in ALWAYS else self.more.get(metric)
        return found


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

    def metrics(self) -> list[str]:
        """Keys of the metrics that all rows have: PSNR, MS-SSIM, and what else was asked for."""
        common = [set(row.more) for row in self.rows]
        return [key for key in METRICS if key in ALWAYS or (common and all(key in keys for keys in common))]

    def means(self) -> dict[str, dict[str, list[float | None]]]:
        """For each codec, by setting: the means over the pictures, in the layout of published points.

        Keys: setting, bpp, psnr (mean of dB), ms_ssim (mean of 0..1) and those of other metrics, encode_s, decode_s.
        A mean over pictures of which one has no value is None.
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
                **{
                    key: [_mean([row.value(key) for row in group], METRICS[key].digits) for group in rows]
                    for key in self.metrics()
                },
                "encode_s": [_mean([row.encode_s for row in group], 4) for group in rows],
                "decode_s": [_mean([row.decode_s for row in group], 4) for group in rows],
            }
        return summary

    def to_json(self, more: Mapping[str, Any] | None = None) -> str:
        """JSON, one row a line, with the means before the rows, and whatever `more` says about them."""
        head = {
            "format": FORMAT,
            "machine": self.machine,
            "codecs": {name: asdict(made) for name, made in self.codecs.items()},
            "pictures": {key: asdict(original) for key, original in self.pictures.items()},
            "means": self.means(),
            **(more or {}),
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
            columns = [column.name for column in fields(Row)]
            if data["format"] != FORMAT or data["columns"] not in (columns, columns[:-1]):  # older ones have no `more`
                raise ValueError("another format")
            return cls(
                {codec: Made(**made) for codec, made in data["codecs"].items()},
                {key: Original(**original) for key, original in data["pictures"].items()},
                [Row(*values) for values in data["rows"]],
                data["machine"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{name} holds no results of `mvc bench`: {error}") from error


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), digits) if len(known) == len(values) else None
