"""The figures of benchmarks/results/graphics.md: BD-rates of pictures that some files hold exactly.

    mvc bench ../shared/data/graphics_test --codec mvc-auto --codec avif --json FILE
    python -m benchmarks.graphics_table FILE [--codec mvc-auto] [--anchor avif]

Where quality jumps to exact, or two settings give the same picture, `mvc bench` has no curve. Here what is exact counts
as 60 dB in PSNR, as does anything above, and a point that adds bits and no quality is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mvc.evaluate.bdrate import bd_rate
from mvc.evaluate.curves import cell
from mvc.evaluate.metrics import ALWAYS, METRICS
from mvc.evaluate.results import Results

EXACT_DB = 60.0


def curve(results: Results, codec: str, picture: str, metric: str) -> tuple[list[float], list[float]]:
    """(bits per pixel, dB), both rising; what is exact has no MS-SSIM in dB and is left out there."""
    points = []
    for row in results.rows:
        if (row.codec, row.picture) == (codec, picture):
            value = row.value(metric)
            quality = None if value is None else METRICS[metric].quality(value)
            if metric == "psnr":
                quality = EXACT_DB if quality is None else min(quality, EXACT_DB)
            if quality is not None:
                points.append((results.bpp(row), quality))
    kept: list[tuple[float, float]] = []
    for bpp, quality in sorted(points):
        if not kept or quality > kept[-1][1]:
            kept.append((bpp, quality))
    return [bpp for bpp, _ in kept], [quality for _, quality in kept]


def rate(results: Results, anchor: str, codec: str, picture: str, metric: str) -> float | None:
    """BD-rate in percent of one picture, None where the curves have no quality in common."""
    try:
        return bd_rate(*curve(results, anchor, picture, metric), *curve(results, codec, picture, metric))
    except ValueError:
        return None


def table(results: Results, anchor: str, codec: str) -> str:
    """Each picture, their mean and median, and the lowest PSNR at the codec's highest setting, in Markdown."""
    columns = {metric: [rate(results, anchor, codec, key, metric) for key in results.pictures] for metric in ALWAYS}
    lines = ["| picture | " + " | ".join(METRICS[key].title for key in ALWAYS) + " |", "|---|" + "---:|" * len(ALWAYS)]
    for at, original in enumerate(results.pictures.values()):
        lines.append(f"| {original.name} | " + " | ".join(cell(each[at], "+.1f") for each in columns.values()) + " |")
    known = {metric: [value for value in each if value is not None] for metric, each in columns.items()}
    for name, of in (("mean", np.mean), ("median", np.median)):
        cells = [cell(float(of(each)) if each else None, "+.1f") for each in known.values()]
        lines.append(f"| {name} of {', '.join(str(len(each)) for each in known.values())} | {' | '.join(cells)} |")
    rows = [row for row in results.rows if row.codec == codec]
    highest = max(row.setting for row in rows)
    lowest = min((row.psnr for row in rows if row.setting == highest and row.psnr is not None), default=None)
    exact = sum(row.setting == highest and row.psnr is None for row in rows)
    lines += ["", f"At {highest:g} at least {cell(lowest, '.1f')} dB; {exact} exact."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--codec", default="mvc-auto")
    parser.add_argument("--anchor", default="avif")
    arguments = parser.parse_args()
    results = Results.from_json(arguments.file.read_text(), name=str(arguments.file))
    if absent := {arguments.codec, arguments.anchor} - set(results.codecs):
        parser.error(f"{arguments.file} has no {', '.join(sorted(absent))}, but {', '.join(results.codecs)}")
    print(table(results, arguments.anchor, arguments.codec))


if __name__ == "__main__":
    main()
