"""`mvc play`: a clip into a player that is installed."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Annotated, cast

import typer

from mvc import files
from mvc.cli import options
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, FileModel, Threads
from mvc.cli.terminal import note, warn
from mvc.cli.video import FramesOption, StartOption, start_of
from mvc.errors import BackendError, MvcError
from mvc.video.moments import Part

if TYPE_CHECKING:
    from typing import BinaryIO

PLAYERS = {
    "ffplay": ("-loglevel", "error", "-autoexit", "-window_title", "mvc", "-f", "yuv4mpegpipe", "-i", "-"),
    "mpv": ("--really-quiet", "--title=mvc", "-"),
}
"""Players, and how they take y4m from a pipe."""


def play(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="An .mvc file with a clip, or `-`.")],
    start: StartOption = None,
    frames: FramesOption = None,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
) -> None:
    """Show a clip with ffplay or mpv, without its sound; the same as: mvc decode clip.mvc -o - | ffplay -i -"""
    from mvc.cli.jobs import STREAM, Job
    from mvc.video.decode import decode_as

    found = next(((name, path) for name in PLAYERS if (path := shutil.which(name))), None)
    if found is None:
        raise BackendError(
            "no player is installed: there is neither ffplay nor mpv",
            hint="install one (ffplay comes with FFmpeg), or `mvc decode clip.mvc -o clip.mp4` and open that",
        )
    load, part, job = codec_loader(device, threads), Part(start_of(start), frames, audio=False), Job(clip)
    with job.opened() as (head, file):
        if head is None:
            raise MvcError(
                f"{job.name} is no clip", hint="`mvc decode` turns a still picture into one that viewers show"
            )
        player = subprocess.Popen([found[1], *PLAYERS[found[0]]], stdin=subprocess.PIPE)
        pipe = cast("BinaryIO", cast("IO[bytes]", player.stdin))
        try:
            source = file if clip == STREAM or files.is_stream(clip) else clip
            done = decode_as(source, pipe, lambda own: load(model or own), part, name=job.name)
            for loss in done.losses:
                warn(f"{job.name}: {loss}")
        except BrokenPipeError:
            note(f"{job.name}: {found[0]} was closed")
        finally:
            with suppress(OSError):
                pipe.close()
            player.wait()
