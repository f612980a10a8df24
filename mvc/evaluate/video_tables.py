"""Results of `mvc bench-video` for people: BD-rates and points as tables in Markdown, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mvc.evaluate.curves import cell
from mvc.evaluate.plots import Panel, draw_panels
from mvc.evaluate.video_sweep import METRICS, PARTS, Metric, Part, Results

_COLUMNS: tuple[tuple[Part, Metric], ...] = tuple(
    (part, metric) for part in PARTS for metric in METRICS if part == "all" or metric != "ms_ssim"
)


def bd_tables(results: Results, tests: Sequence[str] = (), anchors: Sequence[str] = ()) -> str:
    """A table for each pair of codecs: BD-rates in percent, a row a clip, and their mean.

    `tests` is by default the first codec, and `anchors` all others.
    """
    names = list(results.codecs)
    tests = tests or names[:1]
    pairs = [(test, anchor) for anchor in anchors or names[1:] for test in tests if test != anchor]
    return "\n\n".join(_bd_table(results, test, anchor) for test, anchor in pairs)


def _bd_table(results: Results, test: str, anchor: str) -> str:
    heads = [f"{METRICS[metric]}, {PARTS[part]}" for part, metric in _COLUMNS]
    lines = [f"BD-rate of {test} against {anchor}, %", "", "| clip | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * len(heads))
    found = [results.bd(test, anchor, metric, part) for part, metric in _COLUMNS]
    for clip, about in results.clips.items():
        lines.append(f"| {about['name']} | " + " | ".join(cell(each[clip], "+.1f") for each in found) + " |")
    means = [results.mean_bd(test, anchor, metric, part) for part, metric in _COLUMNS]
    return "\n".join([*lines, "| mean | " + " | ".join(cell(mean, "+.1f") for mean in means) + " |"])


def points_table(results: Results) -> str:
    """Every clip at every setting: bytes, the share of the first frames of GOPs, kbit/s, quality, frames per second."""
    heads = ["setting", "bytes", "first of GOPs", "kbit/s", *METRICS.values(), "encoded, frames/s", "decoded, frames/s"]
    lines = ["| clip | codec | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(heads)]
    for row in results.rows:
        about, count = results.clips[row.clip], len(row.sizes)
        rate = 8 * row.rate() * about["rate"] / count / 1000
        qualities = [row.quality(metric) for metric in METRICS]
        cells = [f"{row.setting:g}", f"{row.rate()}", f"{row.rate('key') / row.rate():.2f}", f"{rate:.1f}"]
        cells += [cell(value, ".2f") for value in qualities]
        cells += [f"{count / max(seconds, 1e-3):.1f}" for seconds in (row.encode_s, row.decode_s)]
        lines.append(f"| {about['name']} | {row.codec} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_clips(results: Results, path: Path, *, title: str = "") -> None:
    """Curves of all codecs, a row of panels for each clip. Raises as `plots.draw`."""
    rows = []
    for clip, about in results.clips.items():
        panels = []
        for metric, name in METRICS.items():
            lines = {}
            for codec in results.codecs:
                points = [
                    (8 * row.rate() * about["rate"] / len(row.sizes) / 1000, row.quality(metric))
                    for row in results.of(codec, clip)
                ]
                kept = [(rate, value) for rate, value in points if value is not None]
                if kept:
                    lines[codec] = ([rate for rate, _ in kept], [value for _, value in kept])
            panels.append(Panel(about["name"], "kbit/s", f"{name}, dB", lines))
        rows.append(panels)
    draw_panels(rows, path, title=title)
