"""Rate-distortion curves as a picture, by matplotlib, which only the dev extra brings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mvc.errors import BackendError, MvcError
from mvc.evaluate.curves import Curve
from mvc.evaluate.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")
_PANEL_INCHES = (6.4, 5.2)


def check_plot(path: Path) -> None:
    """Raise, before an hour of measuring, what `draw` would raise: no matplotlib, or no such kind of file."""
    if path.suffix.lower() not in SUFFIXES:
        raise MvcError(f"cannot draw curves into {path}", hint="use one of " + " ".join(SUFFIXES))
    check_matplotlib("drawing curves")


def check_matplotlib(what: str) -> None:
    """Raise BackendError, naming `what` needs it, where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise BackendError(f"{what} needs matplotlib", hint="pip install matplotlib")


def draw(curves: Sequence[Curve], path: Path, *, title: str = "") -> None:
    """Write the curves to `path` (SVG, PNG or PDF): bits per pixel against PSNR, MS-SSIM in dB, and what else there is.

    Measured curves are solid, published ones thin and dashed. A metric that no curve has gets no panel.
    Raises `BackendError` without matplotlib, `MvcError` for a file of another kind or that cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    metrics = [metric for metric in METRICS if any(len(curve.points(metric)[0]) > 1 for curve in curves)]
    if not metrics:
        raise MvcError("there is no curve to draw: it takes two settings or more of one codec")
    # No pyplot: a Figure of its own needs no display and leaves nothing behind. Text stays text in an SVG.
    figure = Figure(figsize=(_PANEL_INCHES[0] * len(metrics), _PANEL_INCHES[1]), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        for number, curve in enumerate(curves):
            bpp, quality = curve.points(metric)
            if bpp:
                form = "--" if curve.published else "o-"
                width = 1.0 if curve.published else 1.8
                axes.plot(bpp, quality, form, color=f"C{number % 10}", lw=width, ms=4, label=curve.name)
        _fit(axes, [curve.points(metric) for curve in curves if not curve.published])
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(METRICS[metric].axis + (", less is better" if METRICS[metric].lower_is_better else ""))
        if METRICS[metric].lower_is_better:  # drawn negated, so that better is up, and named as it was measured
            axes.yaxis.set_major_formatter(lambda value, _: f"{-value:g}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    _save(figure, path, title)


class Panel(NamedTuple):
    """Lines of one panel, by name: values across and up."""

    title: str
    across: str
    up: str
    lines: dict[str, tuple[list[float], list[float]]]


def draw_panels(rows: Sequence[Sequence[Panel]], path: Path, *, title: str = "") -> None:
    """Write panels in rows, the rates across on a logarithmic scale; those without lines stay empty. As `draw`."""
    check_plot(path)
    from matplotlib.figure import Figure

    if not any(panel.lines for row in rows for panel in row):
        raise MvcError("there is no curve to draw")
    size = (_PANEL_INCHES[0] * len(rows[0]), 0.75 * _PANEL_INCHES[1] * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    for places, row in zip(figure.subplots(len(rows), len(rows[0]), squeeze=False), rows, strict=True):
        for axes, panel in zip(places, row, strict=True):
            axes.set_axis_off() if not panel.lines else axes.set_xscale("log")
            for number, (name, (across, up)) in enumerate(panel.lines.items()):
                axes.plot(across, up, "o-", color=f"C{number % 10}", lw=1.8, ms=4, label=name)
            axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
            axes.grid(alpha=0.3)
            if panel.lines:
                axes.legend(fontsize="small")
    _save(figure, path, title)


def _save(figure: Figure, path: Path, title: str) -> None:
    from matplotlib import rc_context

    if title:
        figure.suptitle(title)
    try:
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mvc"}):
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise MvcError(f"cannot write {path}: {error.strerror or error}") from error


def _fit(axes: Axes, measured: Sequence[tuple[list[float], list[float]]]) -> None:
    """Show what was measured: published curves may go on far beyond it."""
    rates = [rate for bpp, _ in measured for rate in bpp]
    qualities = [value for _, quality in measured for value in quality]
    if rates:
        axes.set_xlim(0, 1.05 * max(rates))
        margin = 0.04 * (max(qualities) - min(qualities)) or 0.5
        axes.set_ylim(min(qualities) - margin, max(qualities) + margin)
