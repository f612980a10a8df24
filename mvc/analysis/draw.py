"""A report as figures, by matplotlib, which only the dev extra brings."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mvc.analysis.allocation import Allocation
from mvc.analysis.correlation import BINS, SPAN, Correlation, kl_nats
from mvc.analysis.deviation import Deviation
from mvc.analysis.erf import Field
from mvc.analysis.study import Report
from mvc.evaluate.plots import check_matplotlib
from mvc.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = ("svg", "png")
MAX_ROWS = 6
"""Pictures in one figure; the JSON has them all."""

_DECADES = 4  # that the colours of a receptive field span
_DPI = 150
_PICTURE_INCHES, _BARS_INCHES = (4.4, 4.2), 3.6
_BLUE, _ORANGE, _INK = "#2b6ca3", "#e08214", "#222222"
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mvc",
}


def check_drawing() -> None:
    """Raise BackendError, before minutes of analysis, where matplotlib is missing."""
    check_matplotlib("drawing")


def draw(report: Report, suffix: str) -> dict[str, bytes]:
    """A figure for each analysis that the report has, the bytes of an SVG or PNG; BackendError without matplotlib."""
    check_drawing()
    from matplotlib import rc_context

    drawn: dict[str, bytes] = {}
    with rc_context(_STYLE):
        for name, figure in _figures(report):
            file = io.BytesIO()
            figure.savefig(file, format=suffix, dpi=_DPI, metadata={"Date": None} if suffix == "svg" else None)
            drawn[name] = file.getvalue()
    return drawn


def _figures(report: Report) -> Iterator[tuple[str, Figure]]:
    if report.erf:
        yield "erf", _draw_erf(report, report.erf)
    if report.correlation:
        yield "correlation", _draw_correlation(report, report.correlation)
    if report.deviation:
        yield "deviation", _draw_deviation(report, report.deviation)
    if report.allocation:
        yield "allocation", _draw_allocation(report, report.allocation)


def _figure(rows: int, ratios: Sequence[float], size: tuple[float, float], title: str) -> tuple[Figure, Any]:
    """No pyplot: a Figure of its own needs no display and leaves nothing behind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure, axes


def _about(report: Report) -> str:
    count = len(report.pictures)
    what = report.pictures[0][0] if count == 1 else f"{count} pictures"
    return f"{report.model}, quality index {report.index}, {what}"


# Receptive fields ---------------------------------------------------------------------------------------------------


def _draw_erf(report: Report, fields: Mapping[str, Field]) -> Figure:
    count = len(fields)
    ratios = [1.0] * count + [1.05]
    figure, axes = _figure(1, ratios, (4.2 * count + 3.9, 4.1), f"Effective receptive field: {_about(report)}")
    for panel, (name, found) in zip(axes[0], fields.items(), strict=False):
        _field(panel, name, found)
    curve = axes[0, -1]
    for (name, found), colour in zip(fields.items(), (_BLUE, _ORANGE), strict=False):
        sides = np.flatnonzero(np.diff(found.inside_share) > 0) + 1  # every second holds no more than the one before
        curve.plot(sides, 100 * found.inside_share[sides], color=colour, lw=1.8, label=_spoken(name))
    curve.set_xscale("log", base=2)
    curve.xaxis.set_major_formatter("{x:.0f}")
    curve.set(xlim=(4, None), ylim=(0, 101))
    curve.set(xlabel="side of a square around the latent, px", ylabel="% of the gradient")
    curve.set_title("What a square around the latent holds")
    curve.grid(alpha=0.3)
    curve.legend(frameon=False, loc="upper left")
    return figure


def _spoken(transform: str) -> str:
    return transform.replace("_after_", " after ")


def _field(axes: Axes, name: str, found: Field) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    (row, column), (height, width) = found.centre_px, found.map.shape
    relative = (found.map / found.map.max()).clip(10.0**-_DECADES)
    image = axes.imshow(
        relative,
        cmap="inferno",
        norm=LogNorm(10.0**-_DECADES, 1),
        extent=(-column, width - column, height - row, -row),
        interpolation="nearest",
    )
    for area in found.areas[:-1]:
        half = area.square_px / 2
        axes.add_patch(Rectangle((-half, -half), 2 * half, 2 * half, fill=False, ec="white", lw=0.9, alpha=0.9))
    lines = [f"{100 * a.total_share:.0f} % in {a.square_px} px" for a in found.areas[:-1]]
    axes.set_title(f"{_spoken(name)}: " + ", ".join(lines))
    axes.set_xlabel("px from the latent")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.82, pad=0.02)
    bar.set_label("gradient, relative to its largest")
    bar.outline.set_visible(False)


# Correlation --------------------------------------------------------------------------------------------------------


def _draw_correlation(report: Report, found: Correlation) -> Figure:
    figure, (panels,) = _figure(1, [1.0, 1.15], (10.2, 4.4), f"Normalised latents: {_about(report)}")
    _correlations(panels[0], found)
    _histogram(panels[1], found)
    return figure


def _correlations(axes: Axes, found: Correlation) -> None:
    reach = len(found.map) // 2
    around = found.map.copy()
    around[reach, reach] = np.nan
    most = max(0.01, float(np.nanmax(np.abs(around), initial=0, where=np.isfinite(around))))
    image = axes.imshow(
        around, cmap="RdBu_r", vmin=-most, vmax=most, extent=(-reach - 0.5, reach + 0.5, reach + 0.5, -reach - 0.5)
    )
    for (i, j), value in np.ndenumerate(found.map):
        if np.isfinite(value):
            text = "100" if i == j == reach else f"{100 * value:.1f}".replace("-0.0", "0.0")
            colour = "white" if abs(value) > 0.65 * most and not i == j == reach else _INK
            axes.text(j - reach, i - reach, text, ha="center", va="center", color=colour, fontsize=7)
    axes.set_title(f"correlation in %: mean of the absolute values {100 * found.mean_absolute:.2f}")
    axes.set(xlabel="columns of latents away", ylabel="rows of latents away")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.82, pad=0.02, format=lambda value, _: f"{100 * value:.1f}")
    bar.outline.set_visible(False)


def _histogram(axes: Axes, found: Correlation) -> None:
    edges = np.linspace(-SPAN, SPAN, BINS + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, 2 * SPAN / BINS
    kinds = (("all latents", found.counts, _BLUE), ("scale above the least", found.clear_counts, _ORANGE))
    for name, counts, colour in kinds:
        if counts.sum():
            density = counts[1:-1] / counts.sum() / width
            label = f"{name}: {kl_nats(counts):.3f} nats from it"
            axes.step(middles, np.where(density > 0, density, np.nan), where="mid", color=colour, lw=1.5, label=label)
    normal = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    axes.plot(edges, normal, color=_INK, lw=1, ls="--", label="standard normal")
    axes.set_yscale("log")
    axes.set(xlim=(-SPAN, SPAN), ylim=(1e-5, None), xlabel="(y - mean) / scale", ylabel="density")
    axes.set_title("distribution and its Kullback-Leibler distance")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.set_ylim(top=axes.get_ylim()[1] * 30)  # room for the legend


# Pictures, maps and bars --------------------------------------------------------------------------------------------


def _draw_deviation(report: Report, deviations: Sequence[Deviation]) -> Figure:
    figure, axes = _rows(report, f"Deviation of the quantised latents: {_about(report)}")
    for panels, (name, picture), found in zip(axes, report.pictures, deviations, strict=False):
        _picture(panels[0], name, picture)
        title = f"mean |ŷ - y| {found.mean_steps:.4f} steps, {100 * found.relative:.1f} % of |y|"
        _map(panels[1], picture, found.map_steps, title, "steps", "viridis")
        before, after = found.slice_rounded_mean_steps, found.slice_mean_steps
        names = [f"slice {k}" for k in range(len(after))]
        _bars(panels[2], names, [("rounded", before), ("and corrected (LRP)", after)], "mean |ŷ - y|, steps")
    return figure


def _draw_allocation(report: Report, allocations: Sequence[Allocation]) -> Figure:
    figure, axes = _rows(report, f"Bits: {_about(report)}")
    for panels, (name, picture), found in zip(axes, report.pictures, allocations, strict=False):
        _picture(panels[0], f"{name}: {found.file_bits // 8} bytes", picture)
        title = f"estimated {found.estimated_bits / 8:.0f} bytes"
        unit = f"bits per {found.cell_px} x {found.cell_px} px"
        _map(panels[1], picture, found.map_bits, title, unit, "inferno", found.cell_px)
        real = [found.hyper_bits / 8, *(bits / 8 for bits in found.slice_bits)]
        guess = [found.estimated_hyper_bits / 8, *(bits / 8 for bits in found.estimated_slice_bits)]
        names = ["hyper", *(f"slice {k}" for k in range(len(found.slice_bits)))]
        _bars(panels[2], names, [("in the file", real), ("estimated", guess)], "bytes")
    return figure


def _rows(report: Report, title: str) -> tuple[Figure, Any]:
    sizes = []  # of the drawn pictures, in inches
    for _, picture in report.pictures[:MAX_ROWS]:
        inches = min(_PICTURE_INCHES[0] / picture.width, _PICTURE_INCHES[1] / picture.height)
        sizes.append((inches * picture.width, inches * picture.height))
    width = max(2.4, *(w for w, _ in sizes))
    height = sum(max(1.9, h) + 0.55 for _, h in sizes) + 0.45
    return _figure(len(sizes), [width, width, _BARS_INCHES], (2 * width + 1.5 + _BARS_INCHES, height), title)


def _picture(axes: Axes, title: str, picture: Picture) -> None:
    axes.imshow(picture.samples, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title)
    axes.set_axis_off()


def _map(
    axes: Axes, picture: Picture, values: NDArray[Any], title: str, unit: str, colours: str, cell_px: int = 16
) -> None:
    """A map [h, w] of cells over the picture; of the padding only what reaches into it is seen."""
    bottom, right = (n * cell_px for n in values.shape)
    image = axes.imshow(values, cmap=colours, vmin=0, extent=(0, right, bottom, 0), interpolation="nearest")
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.set_title(title)
    axes.set_axis_off()
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, panchor=False)
    bar.set_label(unit)
    bar.outline.set_visible(False)


def _bars(axes: Axes, names: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], unit: str) -> None:
    places, thick = np.arange(len(names)), 0.8 / len(series)
    for index, ((label, values), colour) in enumerate(zip(series, (_BLUE, _ORANGE), strict=False)):
        axes.barh(places + (index - 0.5) * thick, values, thick, color=colour, label=label)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="best")
