"""What the encoder's effort levels cost and save.

    python -m benchmarks.effort PICTURES... [--model NAME] [--quality 1,3,5,7] [--record]

Real files, as in `mvc bench`. Prints a Markdown table: seconds per picture, the ratio to effort 0, BD-rate against
effort 0 in PSNR and MS-SSIM, and what a second brought. With --record it goes to benchmarks/results/effort.md too.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

import mvc
from mvc.quality import DEFAULT_MODEL

RESULT = Path(__file__).parent / "results" / "effort.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name, or a folder of weights")
    parser.add_argument("--quality", default="1,3,5,7")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    from mvc.evaluate import codecs, curves
    from mvc.evaluate.cache import Cache
    from mvc.evaluate.sweep import sweep
    from mvc.files import find_pictures

    efforts = range(mvc.MAX_EFFORT + 1)
    made = [codecs.adapter("mvc", model=arguments.model, effort=effort) for effort in efforts]
    adapters = [replace(adapter, name=f"effort {effort}") for effort, adapter in zip(efforts, made, strict=True)]
    settings = {adapter.name: [float(q) for q in arguments.quality.split(",")] for adapter in adapters}
    paths = find_pictures(arguments.pictures)
    results = sweep(paths, adapters, settings, cache=Cache(None))
    lines = curves.measured(results)
    seconds = [np.mean([row.encode_s for row in results.rows if row.codec == adapter.name]) for adapter in adapters]
    table = [
        f"{len(paths)} pictures ({', '.join(path.stem for path in paths)}), quality {arguments.quality}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} (above 2: other work took part of the seconds).",
        "",
        "| effort | encode, s | ratio | BD-rate PSNR, % | BD-rate MS-SSIM, % | % per extra second |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    before = 0.0
    for effort, line, spent in zip(efforts, lines, seconds, strict=True):
        rates = [curves.bd_rate_of(lines[0], line, metric) if effort else 0.0 for metric in ("psnr", "ms_ssim")]
        gain = (before - rates[0]) / (spent - seconds[effort - 1]) if effort else 0.0
        before = rates[0]
        cells = [f"{spent:.3f}", f"{spent / seconds[0]:.2f}", *(f"{rate:+.2f}" for rate in rates), f"{gain:.1f}"]
        table.append(f"| {effort} | {' | '.join(cells)} |")
    text = "\n".join(table)
    print(text)
    if arguments.record:
        RESULT.write_text(f"# Effort of the encoder\n\n    python -m benchmarks.effort PICTURES --record\n\n{text}\n")


if __name__ == "__main__":
    main()
