"""`mvc thumbnail`: a small PNG of a picture or clip, for file managers and galleries."""

from __future__ import annotations

import io
from typing import Annotated

import typer

import mvc
from mvc import files, previews
from mvc.cli import options
from mvc.cli.jobs import STREAM, Job, protect
from mvc.cli.options import DeviceOption, FileModel, Threads

MOST_PX = 1024


def thumbnail(
    source: Annotated[str, typer.Argument(metavar="FILE", help="An .mvc file, or `-`.")],
    target: Annotated[str, typer.Argument(metavar="THUMBNAIL", help="Where a PNG goes, or `-`.")],
    size: Annotated[
        int, typer.Option("-s", "--size", metavar="PX", min=1, max=MOST_PX, help="The longer side, at most.")
    ] = 256,
    force: options.Force = False,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
) -> None:
    """Write a small PNG of a picture or of a clip's first frame; the thumbnail in the file, where it is large enough.

    Nothing is decoded for that, which takes a fifth of a second. Where the picture cannot be decoded the thumbnail in
    the file is taken, however small.
    """
    job = Job(source, target)
    protect([source], [target])
    job.start(force=force)
    data = job.coded() if source == STREAM or files.is_stream(source) else source
    file = mvc.open(data, model=model, device=device.value, threads=threads)
    buffer = io.BytesIO()
    previews.preview(file, size).save(buffer, "PNG")
    job.write(buffer.getvalue(), force=force)
