"""`mvc bench`: codecs compared on pictures, as tables, JSON and curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import protect
from mvc.cli.options import DeviceOption, Effort, Force, Threads
from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError, note, warn

if TYPE_CHECKING:
    from mvc.evaluate.curves import Curve


def bench(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURES", help="Pictures, or folders of them.", show_default=False),
    ],
    codec: Annotated[
        list[str] | None,
        typer.Option("--codec", help="mvc, jpeg, webp, jpeg2000, avif or jxl. Repeatable. Default: mvc, webp."),
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option("--quality", metavar="[CODEC=]Q,Q...", help="Settings instead of a codec's own grid. Repeatable."),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option("--anchor", help="BD-rate against this measured codec or published curve. Repeatable."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Every measurement, as JSON.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Curves, as .svg, .png or .pdf.")] = None,
    published: Annotated[
        Path | None,
        typer.Option("--published", metavar="FILE", help="JSON of published points, shown beside."),
    ] = None,
    published_set: Annotated[str, typer.Option("--published-set", help="The set of pictures in that file.")] = "kodak",
    published_curve: Annotated[
        list[str] | None,
        typer.Option("--published-curve", metavar="NAME", help="Which of its curves. Repeatable."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="FILE", help="Results of other codecs to reuse. Default: in your cache folder."
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure everything anew, and keep nothing.")] = False,
    effort: Effort = mvc.DEFAULT_EFFORT,
    model: Annotated[str, typer.Option("--model", help="A name from `mvc models`.")] = mvc.DEFAULT_MODEL,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Compare codecs on pictures: bits per pixel, PSNR, MS-SSIM, seconds, BD-rate.

    Every codec writes real files, and what is read back from disk is measured. Tables go to stdout. Timings
    of a codec other than mvc may come from the cache.
    """
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache exclude each other")
    names = list(dict.fromkeys(codec or ["mvc", "webp"]))
    settings = _settings(quality or [], names)
    paths = files.find_pictures(pictures)
    written = [path for path in (json_file, plot) if path is not None]
    protect([str(path) for path in paths], [str(path) for path in [*written, *([cache] if cache else [])]])
    for path in written:
        files.refuse_existing(path, force=force)
    if plot is not None:
        from mvc.evaluate.plots import check_plot

        check_plot(plot)

    from mvc.evaluate import codecs, curves
    from mvc.evaluate import sweep as sweeps

    beside = [] if published is None else curves.published(published, published_set, published_curve or [])
    anchors = list(dict.fromkeys(anchor or (["webp"] if "webp" in names else names[:1])))
    _check_anchors(anchors, names, beside)
    store = sweeps.Cache(None if no_cache else cache or _default_cache())
    with Progress("measuring", len(paths) * len(names)) as progress:
        adapters = [
            codecs.adapter(name, model=model, effort=effort, device=device.value, threads=threads) for name in names
        ]
        results = sweeps.sweep(paths, adapters, settings, cache=store, on_step=progress.step, on_loss=warn)

    lines = curves.measured(results)
    everything = [*lines, *beside]
    if json_file is not None:
        files.write_atomic(json_file, results.to_json().encode(), force=force)
    if plot is not None:
        from mvc.evaluate.plots import draw

        draw(everything, plot, title=f"{len(paths)} pictures")
    for made in results.codecs.values():
        note(f"{made.title}: {made.version}")
    print(curves.means_table(results))
    print()
    print(curves.bd_rate_table(results, [curves.find(everything, name) for name in anchors], beside))


def _settings(quality: list[str], names: list[str]) -> dict[str, list[float]]:
    """Settings by codec, from `8,4,2` (for every codec) and `webp=10,50`; `UsageError` for anything else."""
    settings: dict[str, list[float]] = {}
    for text in quality:
        name, equals, values = text.rpartition("=")
        if equals and name not in names:
            raise UsageError(f"--quality {text}: {name or 'nothing'} is not among the codecs")
        try:
            numbers = [float(value) for value in values.split(",")]
        except ValueError:
            raise UsageError(f"--quality {text}: write numbers, as in 10,50,90 or webp=10,50,90") from None
        for chosen in [name] if equals else names:
            settings.setdefault(chosen, []).extend(n for n in numbers if n not in settings.get(chosen, []))
    return {name: sorted(numbers) for name, numbers in settings.items()}


def _check_anchors(anchors: list[str], names: list[str], beside: list[Curve]) -> None:
    known = [*names, *(curve.name for curve in beside)]
    for name in anchors:
        if name not in known:
            raise UsageError(f"--anchor {name}: it is not measured here; choose from {', '.join(known)}")


def _default_cache() -> Path:
    """Where results of codecs other than mvc are kept: the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mvc" / "bench.json"
