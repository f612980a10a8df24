"""Rate-distortion curves: means of a sweep, published points, and tables of both in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvc.errors import MvcError, SourceError
from mvc.evaluate.bdrate import bd_rate, ms_ssim_db
from mvc.evaluate.sweep import Results, Row

PUBLISHED_DEFAULT = (
    "VTM(TinyLIC,VTM22)",
    "BPG(TinyLIC)",
    "av1",
    "tinylic_20k",
    "mlic++",
    "MambaVC(digitised,issue1)",
)
"""Of a file of published points: the curves worth a comparison unless others are named."""

METRICS = {"psnr": "PSNR", "ms_ssim": "MS-SSIM"}


@dataclass(frozen=True)
class Curve:
    """A codec over a set of pictures: for each setting the means of bits per pixel and of quality.

    `psnr` is in dB, `ms_ssim` is -10 log10(1 - mean); None where a point has no such value. `published` tells
    a curve that somebody else measured.
    """

    name: str
    bpp: tuple[float, ...]
    psnr: tuple[float | None, ...]
    ms_ssim: tuple[float | None, ...]
    published: bool = False

    def points(self, metric: str) -> tuple[list[float], list[float]]:
        """(bpp, quality in dB) of the points that have this metric: "psnr" or "ms_ssim"."""
        values = self.psnr if metric == "psnr" else self.ms_ssim
        kept = [(bpp, value) for bpp, value in zip(self.bpp, values, strict=True) if value is not None]
        return [bpp for bpp, _ in kept], [value for _, value in kept]


def measured(results: Results) -> list[Curve]:
    """The curve of each codec in `results`, over all its pictures."""
    return [_curve(name, points) for name, points in results.means().items()]


def published(path: Path, dataset: str, names: Sequence[str] = ()) -> list[Curve]:
    """Curves of a file {dataset: {codec: {"bpp": [...], "psnr": [...], "ms_ssim": [...]}}}.

    Without `names`: those of `PUBLISHED_DEFAULT` that it has, or else all of the dataset. `ms_ssim_db` may
    stand for `ms_ssim`. Raises `SourceError` for a file of another kind, `MvcError` for an unknown name.
    """
    try:
        data = json.loads(path.read_text())
        if dataset not in data:
            raise MvcError(f"{path} has no points for {dataset!r}", hint="it has " + ", ".join(data))
        curves = data[dataset]
        if unknown := [name for name in names if name not in curves]:
            raise MvcError(f"{path} has no curve {unknown[0]!r}", hint="it has " + ", ".join(curves))
        chosen = names or [name for name in PUBLISHED_DEFAULT if name in curves] or list(curves)
        return [_curve(name, curves[name], is_published=True) for name in chosen]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path} cannot be read as published points: {error}") from error


def find(curves: Iterable[Curve], name: str) -> Curve:
    """The curve of this name; `MvcError` if there is none."""
    curves = list(curves)
    for curve in curves:
        if curve.name == name:
            return curve
    hint = "these are measured or published here: " + ", ".join(curve.name for curve in curves)
    raise MvcError(f"there is no curve {name!r} to compare with", hint=hint)


def bd_rate_of(anchor: Curve, test: Curve, metric: str) -> float | None:
    """BD-rate in percent of the mean curves, None where they share no range of quality or lack the metric."""
    try:
        return bd_rate(*anchor.points(metric), *test.points(metric))
    except ValueError:
        return None


def bd_rate_by_picture(results: Results, anchor: str, test: str, metric: str) -> dict[str, float]:
    """BD-rate in percent of each picture (by its key) that allows one, both codecs out of `results`."""
    found = {}
    for key in results.pictures:
        one, other = (
            _picture_curve(results, [row for row in results.rows if (row.codec, row.picture) == (codec, key)])
            for codec in (anchor, test)
        )
        percent = bd_rate_of(one, other, metric)
        if percent is not None:
            found[key] = percent
    return found


def means_table(results: Results) -> str:
    """The means of a sweep as a Markdown table."""
    lines = [
        "| codec | setting | bpp | PSNR, dB | MS-SSIM | encode, s | decode, s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for codec, points in results.means().items():
        for setting, bpp, psnr, ms_ssim, encode_s, decode_s in zip(*points.values(), strict=True):
            figures = [
                f"{setting:g}",
                _text(bpp, ".4f"),
                _text(psnr, ".3f"),
                _text(ms_ssim, ".5f"),
                _text(encode_s, ".3f"),
                _text(decode_s, ".3f"),
            ]
            lines.append(f"| {codec} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def bd_rate_table(results: Results, anchors: Sequence[Curve], others: Sequence[Curve] = ()) -> str:
    """BD-rates of every measured codec and of the curves `others` against each of `anchors`, in Markdown.

    In brackets: the mean over the pictures of each picture's own BD-rate, where both codecs were measured.
    """
    columns = [(anchor, metric) for anchor in anchors for metric in METRICS if len(anchor.points(metric)[0]) > 1]
    heads = [f"{METRICS[metric]} vs {anchor.name}" for anchor, metric in columns]
    lines = ["| codec | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for test in [*measured(results), *others]:
        cells = [_bd_cell(results, anchor, test, metric) for anchor, metric in columns]
        lines.append(f"| {test.name}{' (published)' if test.published else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _bd_cell(results: Results, anchor: Curve, test: Curve, metric: str) -> str:
    percent = bd_rate_of(anchor, test, metric)
    if percent is None or anchor == test:
        return "-"
    if anchor.published or test.published or len(results.pictures) < 2:
        return f"{percent:+.1f} %"
    each = bd_rate_by_picture(results, anchor.name, test.name, metric)
    if len(each) < len(results.pictures):
        return f"{percent:+.1f} %"
    return f"{percent:+.1f} % ({np.mean(list(each.values())):+.1f} %)"


def _picture_curve(results: Results, rows: Sequence[Row]) -> Curve:
    points: dict[str, Any] = {
        "bpp": [results.bpp(row) for row in rows],
        "psnr": [row.psnr for row in rows],
        "ms_ssim": [row.ms_ssim for row in rows],
    }
    return _curve("", points)


def _curve(name: str, points: Mapping[str, Any], *, is_published: bool = False) -> Curve:
    bpp = tuple(float(value) for value in points["bpp"])
    absent = [None] * len(bpp)
    psnr = tuple(points.get("psnr", absent))
    if "ms_ssim_db" in points:
        ms_ssim = tuple(points["ms_ssim_db"])
    else:
        linear = points.get("ms_ssim", absent)
        ms_ssim = tuple(None if value is None or value >= 1 else ms_ssim_db(value) for value in linear)
    if not len(bpp) == len(psnr) == len(ms_ssim):
        raise ValueError(f"the lists of {name} differ in length")
    return Curve(name, bpp, psnr, ms_ssim, is_published)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
