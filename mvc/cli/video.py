"""`mvc encode-video`, and what `mvc decode` does with a clip."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import STREAM, Job, protect
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, Force, Model, Output, Quiet, Threads
from mvc.cli.progress import Progress, run_all
from mvc.cli.terminal import note, set_quiet, warn
from mvc.errors import MvcError, SourceError
from mvc.quality import quality_index

if TYPE_CHECKING:
    from mvc.clip import Timed
    from mvc.codec import Codec
    from mvc.container import Head


def encode_video(
    source: Annotated[
        str, typer.Argument(metavar="CLIP", help="y4m, mp4, mkv, webm, gif, ..., a folder of pictures, or %04d.png.")
    ],
    output: Output = None,
    quality: Annotated[
        float, typer.Option("-q", "--quality", help="1 (small) to 8 (fine), fractions allowed.")
    ] = mvc.DEFAULT_QUALITY,
    gop: Annotated[int, typer.Option("--gop", min=1, help="A keyframe every so many frames.")] = 12,
    rate: Annotated[
        float | None, typer.Option("-r", "--rate", help="Frames per second, of numbered pictures.")
    ] = None,
    effort: Annotated[
        int, typer.Option("--effort", min=0, max=mvc.MAX_EFFORT, help="Time for keyframes, 0 (fastest) to 3.")
    ] = 0,
    model: Model = mvc.DEFAULT_MODEL,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Encode a video into an .mvc file: mvc encode-video clip.y4m --gop 12 -q 4 -o clip.mvc

    With a model for still pictures, as the shipped one is, every frame is a keyframe.
    """
    from fractions import Fraction

    set_quiet(quiet)
    index = quality_index(quality)
    target = output or str(Path(source).with_suffix(files.MVC_SUFFIX))
    protect([source], [target])
    load = codec_loader(device, threads)

    def action(job: Job, progress: Progress) -> None:
        from mvc.clip import ClipCodec
        from mvc.clip_files import clip_head, timed
        from mvc.media.clips import open_clip

        files.refuse_existing(job.target, force=force)
        start, count, failure = time.perf_counter(), 0, None
        wanted = None if rate is None else Fraction(rate).limit_denominator(1001)
        with open_clip(sys.stdin.buffer if job.source == STREAM else job.source, rate=wanted, name=job.name) as clip:
            coder = ClipCodec(load(model))
            with files.atomic(job.target, force=force) as file:
                steps = coder.steps(timed(clip), file, clip_head(clip), index=index, gop=gop, effort=effort)
                try:
                    for count, _ in enumerate(steps, 1):
                        speed = count / (time.perf_counter() - start)
                        progress.step(f"{job.name}, frame {count}, {speed:.1f} frames/s")
                except (MvcError, KeyboardInterrupt) as error:
                    if not count:
                        raise
                    steps.close()  # the file ends with the frames so far, and is kept
                    failure = error
                size = file.tell()
            for loss in clip.losses:
                warn(f"{job.name}: {loss}")
        spent = time.perf_counter() - start
        shape = f"{clip.width}x{clip.height}, {count} frames"
        note(f"{job.name} -> {job.target_name}: {shape}, {size} bytes, {spent:.2f} s, {count / spent:.2f} frames/s")
        if failure is not None:
            raise failure

    run_all("encoding", [Job(source, target)], lambda job: job.name, action)


def decode_clip(job: Job, coded: bytes, load: Callable[[bytes], Codec], head: Head, *, force: bool) -> None:
    """Write the frames of a clip where the job says: a video, numbered pictures, or y4m to stdout."""
    from mvc.clip import ClipCodec
    from mvc.clip_files import clip_info, shown
    from mvc.media.clips import write_clip

    name = job.target
    if name != STREAM and "%" not in Path(name).name and Path(name).suffix.lower() == ".png":
        raise SourceError(f"{job.name} is a clip", hint="name a video, or numbered pictures: -o clip.y4m, -o %04d.png")
    start, count = time.perf_counter(), 0
    coder = ClipCodec(load(head.model_id))

    def frames() -> Iterator[Timed]:
        nonlocal count
        for frame in coder.decode(io.BytesIO(coded)):
            count += 1
            yield frame

    info = clip_info(head)
    losses = write_clip(sys.stdout.buffer if name == STREAM else name, info, shown(info, frames()), force=force)
    for loss in losses:
        warn(f"{job.name}: {loss}")
    spent = time.perf_counter() - start
    note(f"{job.name} -> {job.target_name}: {head.width}x{head.height}, {count} frames, {count / spent:.2f} frames/s")
