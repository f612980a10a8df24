"""`mvc bench-video`: video codecs compared on clips, as tables, JSON and curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import protect
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, Force, Model, Threads
from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError, note, warn
from mvc.clip_runs import DEFAULT, MOST

DEFAULT_GOP = 12


def bench_video(
    clips: Annotated[list[str], typer.Argument(metavar="CLIPS", help="Videos, y4m best.", show_default=False)],
    anchors: Annotated[
        str | None,
        typer.Option(
            "--anchors",
            metavar="NAME,NAME...",
            help="x264, x265, svtav1; x264-bframes and x265-bframes, not tuned for zero latency; keyframes: mvc with a "
            "GOP of 1. Default: the first three, if there.",
        ),
    ] = None,
    qualities: Annotated[
        str | None, typer.Option("--qualities", metavar="Q,Q...", help="Of mvc, 1 to 8. Default: 1,2,3,4,5,6,7,8.")
    ] = None,
    gop: Annotated[
        int, typer.Option("--gop", min=1, help="A keyframe every so many frames, in all codecs.")
    ] = DEFAULT_GOP,
    bframes: Annotated[
        int,
        typer.Option(
            "--bframes", "-bf", min=0, max=MOST, help="Of mvc: at most so many frames in a row are between two others."
        ),
    ] = DEFAULT,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Only so many frames of each clip. They are held in memory.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Every frame's figures, as JSON.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The tables, as Markdown.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Curves, as .svg, .png or .pdf.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="FILE", help="Results of anchors to reuse. Default: beside --json or -o."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure the anchors anew, and keep nothing.")] = False,
    effort: Annotated[
        int, typer.Option("--effort", min=0, max=mvc.MAX_EFFORT, help="Of mvc.")
    ] = mvc.DEFAULT_EFFORT,
    model: Model = mvc.DEFAULT_VIDEO_MODEL,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Compare mvc with other video codecs: bytes, PSNR of Y and RGB, MS-SSIM, frames per second, BD-rates.

    The others run at the preset medium (SVT-AV1: 6), tuned for zero latency, with keyframes every --gop frames;
    x264-bframes and x265-bframes without that tuning, so with their usual B-frames and look-ahead, as files are made.
    Bytes are those of elementary streams without their encoders' text, of mvc those of whole files.
    """
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache exclude each other")
    written = [path for path in (json_file, markdown, plot) if path is not None]
    if cache is None and not no_cache:
        beside = json_file or markdown
        cache = beside.with_name(beside.stem + ".anchors.json") if beside else files.cache_folder() / "bench-video.json"
    protect(clips, [str(path) for path in [*written, *([cache] if cache else [])]])
    for path in written:
        files.refuse_existing(path, force=force)
    if plot is not None:
        from mvc.evaluate.plots import check_plot

        check_plot(plot)
    from mvc.evaluate import video_anchors, video_sweep, video_tables

    if anchors is None:
        names = [name for name in video_anchors.DEFAULT_ANCHORS if name in video_anchors.available()]
    else:
        names = [name for name in anchors.split(",") if name]
    wanted = _qualities(qualities)
    if not names:
        raise UsageError("--anchors: there is nothing to compare with")
    with Progress("measuring", 0) as progress:
        results = video_sweep.bench_video(
            clips,
            codec=codec_loader(device, threads)(model),
            model=model,
            effort=effort,
            bframes=bframes,
            anchors=names,
            settings={"mvc": wanted} if wanted else None,
            gop=gop,
            frames=frames,
            cache=cache,
            on_step=progress.step,
            on_loss=warn,
        )
    text = f"{video_tables.bd_tables(results)}\n\n{video_tables.points_table(results)}\n"
    if json_file is not None:
        files.write_atomic(json_file, results.to_json().encode(), force=force)
    if markdown is not None:
        files.write_atomic(markdown, text.encode(), force=force)
    if plot is not None:
        video_tables.draw_clips(results, plot, title=f"GOP {gop}")
    for made in results.codecs.values():
        note(f"{made['title']}: {made['version']}")
    print(text, end="")


def _qualities(text: str | None) -> list[float]:
    try:
        numbers = sorted({float(value) for value in text.split(",")}) if text else []
        for number in numbers:
            mvc.quality_index(number)
    except ValueError as error:
        raise UsageError(f"--qualities {text}: {error}", hint="write numbers from 1 to 8, as in 2,4,6") from None
    return numbers
