"""Rate-distortion curves: means of a sweep, published points, and tables of both in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mvc.errors import MvcError, SourceError
from mvc.evaluate.bdrate import bd_rate
from mvc.evaluate.metrics import ALWAYS, METRICS
from mvc.evaluate.results import Results, Row

PUBLISHED_DEFAULT = (
    "VTM(TinyLIC,VTM22)",
    "BPG(TinyLIC)",
    "av1",
    "tinylic_20k",
    "mlic++",
    "MambaVC(digitised,issue1)",
)
"""Of a file of published points: the curves worth a comparison unless others are named."""


@dataclass(frozen=True)
class Curve:
    """A codec over a set of pictures: for each setting the means of bits per pixel and of quality.

    `psnr` is in dB, `ms_ssim` is -10 log10(1 - mean), and `more` has what else was measured, by key and on the scale of
    `mvc.evaluate.metrics`, where more is better; None where a point has no such value. `published` tells a curve that
    somebody else measured.
    """

    name: str
    bpp: tuple[float, ...]
    psnr: tuple[float | None, ...]
    ms_ssim: tuple[float | None, ...]
    published: bool = False
    more: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    def points(self, metric: str) -> tuple[list[float], list[float]]:
        """(bpp, quality) of the points that have this metric, by its key: "psnr", "ms_ssim", "lpips", ..."""
        absent = (None,) * len(self.bpp)
        values = getattr(self, metric) if metric in ALWAYS else self.more.get(metric, absent)
        kept = [(bpp, value) for bpp, value in zip(self.bpp, values, strict=True) if value is not None]
        return [bpp for bpp, _ in kept], [value for _, value in kept]


def measured(results: Results) -> list[Curve]:
    """The curve of each codec in `results`, over all its pictures."""
    return [_curve(name, points) for name, points in results.means().items()]


def published(path: Path, dataset: str, names: Sequence[str] = ()) -> list[Curve]:
    """Curves of a file {dataset: {codec: {"bpp": [...], "psnr": [...], "ms_ssim": [...]}}}, and other metrics by key.

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
    metrics = results.metrics()
    heads = ["setting", "bpp", *map(head_of, metrics), "encode, s", "decode, s"]
    lines = ["| codec | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for codec, points in results.means().items():
        for number, setting in enumerate(points["setting"]):
            cells = [f"{setting:g}", cell(points["bpp"][number], ".4f")]
            cells += [cell(points[key][number], f".{METRICS[key].digits - 1}f") for key in metrics]
            cells += [cell(points[key][number], ".3f") for key in ("encode_s", "decode_s")]
            lines.append(f"| {codec} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def head_of(metric: str) -> str:
    """The head of a column of a metric's values."""
    if metric == "psnr":
        return "PSNR, dB"
    return METRICS[metric].title + (" (less is better)" if METRICS[metric].lower_is_better else "")


def bd_rate_table(results: Results, anchors: Sequence[Curve], others: Sequence[Curve] = ()) -> str:
    """BD-rates of every measured codec and of the curves `others` against each of `anchors`, in Markdown.

    In brackets: the mean over the pictures of each picture's own BD-rate, where both codecs were measured.
    """
    columns = [(anchor, metric) for anchor in anchors for metric in METRICS if len(anchor.points(metric)[0]) > 1]
    heads = [f"{METRICS[metric].title} vs {anchor.name}" for anchor, metric in columns]
    lines = ["| codec | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for test in [*measured(results), *others]:
        cells = [_bd_cell(results, anchor, test, metric) for anchor, metric in columns]
        lines.append(f"| {test.name}{' (published)' if test.published else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture_table(results: Results, anchor: str, metric: str) -> str:
    """BD-rates of each picture by one metric, of all measured codecs against the measured `anchor`, in Markdown."""
    found = {test: bd_rate_by_picture(results, anchor, test, metric) for test in results.codecs if test != anchor}
    lines = [f"| {METRICS[metric].title} vs {anchor} | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for key, original in results.pictures.items():
        cells = [f"{each[key]:+.1f} %" if key in each else "-" for each in found.values()]
        lines.append(f"| {original.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bd_rates(results: Results, anchors: Sequence[Curve]) -> dict[str, Any]:
    """BD-rates in percent as `mvc bench --json` has them: by anchor, codec and metric, of the means and of pictures.

    Only what there is: curves that share no range of quality have none, and published anchors none by picture.
    """
    table: dict[str, Any] = {}
    for anchor in anchors:
        for test in measured(results):
            for metric in results.metrics():
                percent = bd_rate_of(anchor, test, metric)
                if percent is None or test.name == anchor.name:
                    continue
                each = {} if anchor.published else bd_rate_by_picture(results, anchor.name, test.name, metric)
                table.setdefault(anchor.name, {}).setdefault(test.name, {})[metric] = {
                    "of_means": round(percent, 3),
                    "pictures": {key: round(value, 3) for key, value in each.items()},
                }
    return table


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
    points: dict[str, Any] = {key: [row.value(key) for row in rows] for key in results.metrics()}
    return _curve("", {**points, "bpp": [results.bpp(row) for row in rows]})


def _curve(name: str, points: Mapping[str, Any], *, is_published: bool = False) -> Curve:
    bpp = tuple(float(value) for value in points["bpp"])
    scaled = {key: _scaled(key, points.get(key), len(bpp)) for key in METRICS}
    if "ms_ssim_db" in points:
        scaled["ms_ssim"] = tuple(points["ms_ssim_db"])
    if any(len(values) != len(bpp) for values in scaled.values()):
        raise ValueError(f"the lists of {name} differ in length")
    more = {key: values for key, values in scaled.items() if key in points and key not in ALWAYS}
    return Curve(name, bpp, scaled["psnr"], scaled["ms_ssim"], is_published, more)


def _scaled(key: str, values: Sequence[float | None] | None, count: int) -> tuple[float | None, ...]:
    if values is None:
        return (None,) * count
    return tuple(None if value is None else METRICS[key].quality(value) for value in values)


def cell(value: float | None, form: str) -> str:
    """A number in a table; what was not measured is a dash."""
    return "-" if value is None else format(value, form)
