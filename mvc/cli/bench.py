"""`mvc bench`: codecs compared on pictures, as tables, JSON and curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import protect
from mvc.cli.options import DeviceOption, Effort, Force, NamedModel, Threads
from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError, note, warn

if TYPE_CHECKING:
    from mvc.evaluate.adapter import Adapter
    from mvc.evaluate.curves import Curve


def bench(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURES", help="Pictures, or folders of them.", show_default=False),
    ],
    codec: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            metavar="NAME|FILE.toml",
            help="mvc, its network alone (mvc-natural, mvc-tuned, mvc-tuned-natural, mvc-grain: docs/looks.md), or "
            "mvc-auto and mvc-tuned-auto, with all that `mvc encode` tries; jpeg, jpeg-420, webp, jpeg2000, avif, jxl, "
            "heic, compressai:ARCHITECTURE, or a file that describes the command line of another one "
            "(docs/metrics.md). Repeatable. Default: mvc, webp.",
        ),
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option("--quality", metavar="[CODEC=]Q,Q...", help="Settings instead of a codec's own grid. Repeatable."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAME,...",
            help="Beside psnr and ms-ssim: lpips, dists, ssimulacra2, cvvdp. `mvc metrics` says which work here.",
        ),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option("--anchor", help="BD-rate against this measured codec or published curve. Repeatable."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Every measurement, as JSON.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="A page with curves, tables and each picture; without a network."),
    ] = None,
    per_picture: Annotated[bool, typer.Option("--per-picture", help="Show BD-rates of each picture, too.")] = False,
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
    model: NamedModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Compare codecs on pictures: bits per pixel, PSNR, MS-SSIM and other metrics, seconds, BD-rate.

    Every codec writes real files, and what is read back from disk is measured. Tables go to stdout. Timings
    of a codec other than mvc may come from the cache.
    """
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache exclude each other")
    asked = [name for name in (metrics or "").split(",") if name]
    chosen = list(dict.fromkeys(codec or ["mvc", "webp"]))
    by_file = described(chosen)
    names = [by_file[name].name if name in by_file else name for name in chosen]
    if len(set(names)) < len(names):
        raise UsageError(f"--codec: two are named {next(name for name in names if names.count(name) > 1)}")
    settings = _settings(quality or [], names)
    paths = files.find_pictures(pictures)
    written = [path for path in (json_file, html, plot) if path is not None]
    protect([*map(str, paths), *by_file], [str(path) for path in [*written, *([cache] if cache else [])]])
    for path in written:
        files.refuse_existing(path, force=force)
    if plot is not None:
        from mvc.evaluate.plots import check_plot

        check_plot(plot)

    from mvc.evaluate import codecs, curves, sweep
    from mvc.evaluate import metrics as measuring
    from mvc.evaluate.cache import Cache

    beside = [] if published is None else curves.published(published, published_set, published_curve or [])
    anchors = list(dict.fromkeys(anchor or (["webp"] if "webp" in names else names[:1])))
    _check_anchors(anchors, names, beside)
    measures = measuring.load(asked, options.torch_device(device)) if asked else {}
    store = Cache(None if no_cache else cache or files.cache_folder() / "bench.json")
    with Progress("measuring", len(paths) * len(names)) as progress:
        adapters = [
            by_file.get(name)
            or codecs.adapter(name, model=model, effort=effort, device=device.value, threads=threads)
            for name in chosen
        ]
        results = sweep.sweep(
            paths, adapters, settings, measures=measures, cache=store, on_step=progress.step, on_loss=warn
        )

    lines = curves.measured(results)
    everything = [*lines, *beside]
    found = [curves.find(everything, name) for name in anchors]
    if json_file is not None:
        text = results.to_json({"bd_rates": curves.bd_rates(results, found)})
        files.write_atomic(json_file, text.encode(), force=force)
    if html is not None:
        from mvc.evaluate.page import bench_page

        files.write_atomic(html, bench_page(results, found, beside).encode(), force=force)
    if plot is not None:
        from mvc.evaluate.plots import draw

        draw(everything, plot, title=f"{len(paths)} pictures")
    for made in results.codecs.values():
        note(f"{made.title}: {made.version}")
    print(curves.means_table(results))
    print()
    print(curves.bd_rate_table(results, found, beside))
    for one in found if per_picture else []:
        for metric in [] if one.published else results.metrics():
            print(f"\n{curves.picture_table(results, one.name, metric)}")


def described(chosen: list[str]) -> dict[str, Adapter]:
    """The codecs among those chosen that TOML files describe, by the names of these files."""
    if not any(name.lower().endswith(".toml") for name in chosen):
        return {}
    from mvc.evaluate import commands

    return {name: commands.read(Path(name)) for name in chosen if name.lower().endswith(commands.SUFFIX)}


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

