"""The tables of docs/looks.md, out of what `mvc bench` measured.

    mvc bench PICTURES --codec avif --codec mvc --codec mvc-natural --codec mvc-tuned --codec mvc-tuned-natural \\
        --metrics lpips,dists,ssimulacra2,cvvdp --quality mvc=1,2.3,3.6,5 ... --json FILE
    python -m benchmarks.looks_table FILE [MORE]

Codecs of the same pictures may have been measured apart, so that those of others need it once; of one that is in
several files the last has its say. Prints BD-rates, each the mean over the pictures of their own ± its standard error,
and the means of mvc's pictures by quality, in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.blocks_report import spread_of
from mvc.evaluate.curves import cell, head_of
from mvc.evaluate.metrics import METRICS
from mvc.evaluate.results import Results

NAMES = {
    "avif": "AVIF",
    "webp": "WebP",
    "jxl": "JPEG XL",
    "mvc": "faithful",
    "mvc-natural": "natural",
    "mvc-tuned": "faithful, `--tune look`",
    "mvc-tuned-natural": "natural, `--tune look`",
}
PAIRS = (
    ("avif", "mvc"),
    ("avif", "mvc-natural"),
    ("avif", "mvc-tuned"),
    ("avif", "mvc-tuned-natural"),
    ("webp", "mvc-tuned-natural"),
    ("jxl", "mvc-tuned-natural"),
    ("webp", "mvc-natural"),
    ("jxl", "mvc-natural"),
    ("mvc", "mvc-natural"),
    ("mvc", "mvc-tuned"),
    ("mvc-natural", "mvc-tuned-natural"),
)
"""Anchors, and what is compared with each."""


def merged(parts: Sequence[Results]) -> Results:
    """All parts in one, a codec's rows from the last that has it; `ValueError` if their pictures differ."""
    if len({frozenset(part.pictures) for part in parts}) > 1:
        raise ValueError("these are measurements of different pictures")
    whole = Results(pictures=parts[0].pictures)
    for part in parts:
        whole.codecs |= part.codecs
        whole.rows = [row for row in whole.rows if row.codec not in part.codecs] + part.rows
    return whole


def rates(results: Results) -> str:
    """BD-rates of the pairs whose codecs were both measured."""
    metrics = results.metrics()
    lines = [f"| {len(results.pictures)} pictures | " + " | ".join(METRICS[key].title for key in metrics) + " |"]
    lines.append("|---|" + "---|" * len(metrics))
    for anchor, test in PAIRS:
        if {anchor, test} <= set(results.codecs):
            spreads = [spread_of(results, [(anchor, test)], key) for key in metrics]
            cells = [f"{each.mean:+.1f} ± {each.error:.1f} %" if each.pictures else "-" for each in spreads]
            comma = "," if "," in NAMES[test] else ""
            lines.append(f"| {NAMES[test]}{comma} against {NAMES[anchor]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def means(results: Results) -> str:
    """What the pictures of each quality have, mvc's codecs side by side."""
    metrics = [key for key in results.metrics() if key != "ms_ssim"]
    heads = ["quality", "bits a pixel", *map(head_of, metrics)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    own = {name: points for name, points in results.means().items() if name.startswith("mvc")}
    for setting in sorted({setting for points in own.values() for setting in points["setting"] if setting is not None}):
        for name, points in own.items():
            if setting in points["setting"]:
                at = points["setting"].index(setting)
                cells = [cell(points["bpp"][at], ".3f")]
                cells += [cell(points[key][at], f".{METRICS[key].digits - 2}f") for key in metrics]
                lines.append(f"| {setting:g}, {NAMES.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    results = merged([Results.from_json(path.read_text(), name=str(path)) for path in arguments.files])
    print(rates(results), means(results), sep="\n\n")


if __name__ == "__main__":
    main()
