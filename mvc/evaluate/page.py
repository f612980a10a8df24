"""Results of `mvc bench` as a page: curves as SVG, tables, and what every picture came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from mvc.evaluate import curves
from mvc.evaluate.curves import Curve
from mvc.evaluate.html import COLOURS, markdown_table, page, table
from mvc.evaluate.metrics import METRICS
from mvc.evaluate.results import Results

Placing = Callable[[float, float], tuple[float, float]]

_WIDTH, _HEIGHT = 560, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 14, 46

_STYLE = """
th { font-weight: 400; } caption { text-align: left; padding-bottom: .25rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.5rem; }
figure { margin: 0; } svg { width: 100%; height: auto; background: var(--panel); border-radius: 6px; }
svg text { fill: var(--ink); font-size: 13px; } .grid { stroke: var(--line); }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; list-style: none; padding: 0; margin: 0 0 1rem; }
.key span { display: inline-block; width: 1.6rem; height: 0; border-top: 3px solid; vertical-align: middle;
  margin-right: .5rem; } .key .published { border-top-style: dashed; }
"""


def bench_page(results: Results, anchors: Sequence[Curve], beside: Sequence[Curve] = ()) -> str:
    """The whole page: means, BD-rates against `anchors`, curves with `beside`, BD-rates and rows of pictures."""
    lines = [*curves.measured(results), *beside]
    count = len(results.pictures)
    parts = [
        f"<h1>{count} picture{'s' * (count != 1)}, {len(results.codecs)} codec{'s' * (len(results.codecs) != 1)}</h1>",
        "<p class=faint>Real files, written to disk, read back and compared with the original. A BD-rate is the mean "
        "difference of bytes at equal quality, negative where a codec takes fewer than the other.</p>",
        "<h2>Curves</h2>",
        _key(lines),
        f'<div class="charts">{"".join(chart(metric, lines) for metric in METRICS)}</div>',
        "<h2>BD-rates</h2>",
        markdown_table(curves.bd_rate_table(results, anchors, beside), "Of mean curves (in brackets: of pictures)"),
        "<h2>Means over pictures</h2>",
        markdown_table(curves.means_table(results), "Each codec at each setting"),
    ]
    for anchor in anchors:
        if not anchor.published and len(results.codecs) > 1:
            tables = (curves.picture_table(results, anchor.name, metric) for metric in results.metrics())
            parts += [f"<h2>BD-rates of each picture against {escape(anchor.name)}</h2>"]
            parts += [f'<div class="charts">{"".join(map(markdown_table, tables))}</div>']
    parts += ["<h2>Every file</h2>", *_files(results), "<h2>What made them</h2>"]
    made = [(name, one.title, one.version) for name, one in results.codecs.items()]
    parts += [table(["codec", "what", "version"], made), f"<p class=faint>{escape(results.machine)}</p>"]
    return page("mvc bench", "\n".join(parts), style=_STYLE)


def _key(lines: Sequence[Curve]) -> str:
    entries = []
    for number, line in enumerate(lines):
        kind = ' class="published"' if line.published else ""
        name = escape(line.name) + (" (published)" if line.published else "")
        entries.append(f'<li><span{kind} style="border-color: {COLOURS[number % len(COLOURS)]}"></span>{name}</li>')
    return f'<ul class="key">{"".join(entries)}</ul>'


def chart(metric: str, lines: Sequence[Curve]) -> str:
    """Rates against a metric as a figure with an SVG; empty where no curve has two points of it.

    Distances are drawn with less, which is better, at the top.
    """
    points = [list(zip(*line.points(metric), strict=True)) for line in lines]
    shown = [place for line, own in zip(lines, points, strict=True) if not line.published for place in own]
    if all(len(own) < 2 for own in points):
        return ""
    shown = shown or [place for own in points for place in own]
    right = 1.05 * max(rate for rate, _ in shown)
    low, high = min(value for _, value in shown), max(value for _, value in shown)
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def place(rate: float, value: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * rate / right
        return round(across, 1), round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low), 1)

    about, sign = METRICS[metric], -1 if METRICS[metric].lower_is_better else 1
    drawn = []
    for number, (line, own) in enumerate(zip(lines, points, strict=True)):
        colour, inside = COLOURS[number % len(COLOURS)], [(rate, value) for rate, value in own if rate <= right]
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in sorted(inside)))
        dashes = ' stroke-dasharray="6 4"' if line.published else ""
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        for rate, value in [] if line.published else inside:
            x, y = place(rate, value)
            tip = f"{line.name}: {rate:.3f} bpp, {about.title} {sign * value:g}"
            drawn.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"><title>{escape(tip)}</title></circle>')
    axis = about.axis + (", less is better" if about.lower_is_better else "")
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    label = f"{axis} against bits per pixel, {len(lines)} curves"
    return "".join(
        (
            f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
            _grid(right, low, high, sign, place),
            f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">bits per pixel</text>',
            f'<text transform="translate(15 {middle}) rotate(-90)" text-anchor="middle">{escape(axis)}</text>',
            # What was published may go on far beyond what was measured: it ends at the frame.
            f'<clipPath id="clip-{metric}"><rect width="{_WIDTH}" height="{_HEIGHT - _BOTTOM + 4}"/></clipPath>',
            f'<g clip-path="url(#clip-{metric})">{"".join(drawn)}</g></svg>',
            f"<figcaption>{escape(about.title)}</figcaption></figure>",
        )
    )


def _grid(right: float, low: float, high: float, sign: int, place: Placing) -> str:
    parts = []
    for rate in _ticks(0, right):
        x, bottom = place(rate, low)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{rate:g}</text>')
    for value in _ticks(low, high):
        left, y = place(0, value)
        parts.append(f'<line class="grid" x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 7}" y="{y + 4}" text-anchor="end">{sign * value + 0:g}</text>')
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers between two."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 7)
    return [round(n * step, 10) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _files(results: Results) -> list[str]:
    """A table for each picture, folded."""
    metrics = results.metrics()
    heads = ["codec", "setting", "bytes", "bpp", *map(curves.head_of, metrics), "encode, s", "decode, s"]
    parts = []
    for key, original in results.pictures.items():
        rows = []
        for row in results.rows:
            if row.picture == key:
                cells = [curves.cell(row.value(metric), f".{METRICS[metric].digits - 1}f") for metric in metrics]
                times = [f"{row.encode_s:.3f}", f"{row.decode_s:.3f}"]
                rows.append(
                    [row.codec, f"{row.setting:g}", str(row.size_bytes), f"{results.bpp(row):.4f}", *cells, *times]
                )
        name = f"{original.name}, {original.width}x{original.height}"
        parts.append(f"<details><summary>{escape(name)}</summary>{table(heads, rows)}</details>")
    return parts
