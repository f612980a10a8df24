"""`mvc encode-video`, and what `mvc decode` does with a clip."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import STREAM, Job, protect
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, Force, Model, Output, Quiet, Threads
from mvc.cli.outcome import Told
from mvc.cli.progress import Progress, run_all
from mvc.cli.terminal import UsageError, note, set_quiet, warn
from mvc.clip_runs import DEFAULT, MOST
from mvc.errors import SourceError
from mvc.video.moments import BEGINNING, Moment, Part, moment, threads_of

if TYPE_CHECKING:
    from mvc.codec import Codec

StartOption = Annotated[
    str | None,
    typer.Option(
        "-ss", "--start", metavar="WHEN", help="Of a clip: where to begin, 5s, 1:02.5, 00:01:02 or 'frame 120'."
    ),
]
FramesOption = Annotated[int | None, typer.Option("--frames", min=1, help="Of a clip: at most so many frames.")]
NoAudio = Annotated[bool, typer.Option("--no-audio", "-an", help="Of a clip: leave out its sound.")]
Recover = Annotated[
    bool, typer.Option("--recover", help="Of a damaged clip: decode what can be, and say what is lost.")
]
Jobs = Annotated[
    int,
    typer.Option("-j", "--jobs", min=1, max=64, help="GOPs of a clip that are coded at a time, each held in memory."),
]


def encode_video(
    source: Annotated[
        str, typer.Argument(metavar="CLIP", help="y4m, mp4, mkv, webm, gif, ..., a folder of pictures, or %04d.png.")
    ],
    output: Output = None,
    quality: Annotated[
        float | None, typer.Option("-q", "--quality", help="1 (small) to 8 (fine), fractions allowed. Default: 4.")
    ] = None,
    bitrate: Annotated[
        str | None,
        typer.Option("-b", "--bitrate", metavar="BITS", help="Instead of -q: of the pictures, about; 500k, 1.5M."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="BYTES", help="Instead of -q: the file at most so large; 5MB, 700kB."),
    ] = None,
    psnr: Annotated[
        float | None, typer.Option("--psnr", metavar="DB", help="Instead of -q: mean PSNR of luma at least this.")
    ] = None,
    gop: Annotated[int, typer.Option("--gop", "-g", min=1, help="A keyframe every so many frames, at least.")] = 12,
    scene_cut: Annotated[
        bool, typer.Option("--scene-cut/--no-scene-cut", help="A keyframe also where the scene changes.")
    ] = True,
    bframes: Annotated[
        int,
        typer.Option(
            "--bframes", "-bf", min=0, max=MOST, help="At most so many frames in a row are between two others."
        ),
    ] = DEFAULT,
    rate: Annotated[float | None, typer.Option("-r", "--rate", help="Frames per second, of numbered pictures.")] = None,
    start: StartOption = None,
    frames: FramesOption = None,
    no_audio: NoAudio = False,
    effort: Annotated[
        int,
        typer.Option("--effort", min=0, max=mvc.MAX_EFFORT, help="Time for a smaller file, 0 (fastest) to 3."),
    ] = mvc.DEFAULT_EFFORT,
    jobs: Jobs = 1,
    model: Model = mvc.DEFAULT_VIDEO_MODEL,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Encode a video into an .mvc file: mvc encode-video clip.y4m --gop 12 -q 4 -o clip.mvc

    Sound is copied. Ctrl-C ends the file with the frames so far. With a model for still pictures every frame is a
    keyframe.
    """
    from mvc.video.encode import Encoded, Wanted, encode_as

    set_quiet(quiet)
    try:
        wanted = Wanted(
            quality, None if bitrate is None else options.parse_bits(bitrate),
            None if size is None else options.parse_size(size), psnr, gop, scene_cut, bframes, effort, jobs,
            None if rate is None else Fraction(rate).limit_denominator(1001), start_of(start), frames, not no_audio,
        )  # fmt: skip
    except (ValueError, OverflowError) as error:
        raise UsageError(str(error), hint="`mvc encode-video --help` shows the usage") from error
    target = output or (STREAM if source == STREAM else str(Path(source).with_suffix(files.MVC_SUFFIX)))
    protect([source], [target])
    if target == STREAM and sys.stdout.isatty():
        raise UsageError("not writing binary data to a terminal; give -o FILE or redirect stdout")
    load = codec_loader(device, threads_of(threads, jobs))

    def action(job: Job, progress: Progress) -> None:
        speed = Speed(_frames_of(job.source, wanted.rate) if wanted.start == BEGINNING else None, frames)
        done: Encoded = encode_as(
            sys.stdin.buffer if job.source == STREAM else job.source,
            sys.stdout.buffer if job.target == STREAM else job.target,
            wanted,
            lambda: load(model),
            force=force,
            name=job.name,
            on_frame=lambda count: progress.now(f"{job.name}, {speed.at(count)}"),
            on_stage=lambda what: progress.now(f"{job.name}, {what}"),
        )
        for loss in done.losses:
            warn(f"{job.name}: {loss}")
        shape = f"{done.width}x{done.height}, {done.frames} frames"
        note(f"{job.name} -> {job.target_name}: {shape}, {done.size_bytes} bytes, {speed.whole(done.frames)}")
        if done.failure is not None:
            raise done.failure

    run_all("encoding", [Job(source, target)], lambda job: job.name, action)


def start_of(text: str | None) -> Moment:
    """The moment of --start; `UsageError` for a senseless one."""
    try:
        return moment(text or "0s")
    except ValueError as error:
        raise UsageError(f"--start: {error}") from error


class Speed:
    """Frames per second and the time that is left, if it is known (or guessed) how many frames there will be."""

    def __init__(self, total: int | None, most: int | None = None) -> None:
        self._start = time.perf_counter()
        self._begun: float | None = None  # when the first frame was done: loading is not coding
        self._total = most if total is None else min(total, most or total)

    def at(self, count: int) -> str:
        """What to say behind so many frames."""
        now = time.perf_counter()
        if count == 1 or self._begun is None:  # also where a clip is coded again for its size
            self._begun = now
        speed = (count - 1) / (now - self._begun) if now > self._begun else 0.0
        text = f"frame {count}" + (f" of {self._total}" if self._total else "")
        if not speed:
            return text
        text += f", {speed:.1f} frames/s"
        if self._total and self._total > count:
            left = round((self._total - count) / speed)
            text += f", {left // 60}:{left % 60:02d} left"
        return text

    def whole(self, count: int) -> str:
        """What to say at the end."""
        spent = time.perf_counter() - self._start
        return f"{spent:.2f} s, {count / max(spent, 1e-6):.2f} frames/s"


def _frames_of(source: str, rate: Fraction | None) -> int | None:
    """How many frames a file is said to have, if that costs nothing; it is shown to people and used for nothing."""
    from mvc.media.counting import frames_stated

    return None if source == STREAM or files.is_stream(source) else frames_stated(source)


def decode_clip(
    job: Job, source: BinaryIO | str, load: Callable[[bytes], Codec], part: Part, told: Told, *, force: bool
) -> str:
    """Write the frames of a clip where the job says: a video, numbered pictures, or y4m to stdout; what to say of it.
    """
    from mvc.video.decode import decode_as

    name = job.target
    if name != STREAM and "%" not in Path(name).name and Path(name).suffix.lower() == ".png":
        raise SourceError(f"{job.name} is a clip", hint="name a video, or numbered pictures: -o clip.y4m, -o %04d.png")
    speed = Speed(None, part.frames)
    done = decode_as(
        source,
        sys.stdout.buffer if name == STREAM else name,
        load,
        part,
        name=job.name,
        force=force,
        on_frame=lambda count: told.now(f"{job.name}, {speed.at(count)}"),
    )
    for loss in (*done.losses, *done.lost):
        warn(f"{job.name}: {loss}")
    return f"{done.width}x{done.height}, {done.frames} frames, {speed.whole(done.frames)}"
