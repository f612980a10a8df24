"""`mvc thumbnail`: a small PNG of a picture or clip, for file managers and galleries."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import STREAM, Job, protect
from mvc.cli.options import DeviceOption, FileModel, Threads
from mvc.errors import BackendError, MvcError, WeightsError

if TYPE_CHECKING:
    from PIL import Image

    from mvc.picture_file import PictureFile
    from mvc.video.reader import ClipFile

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
    _small(file, size).save(buffer, "PNG")
    job.write(buffer.getvalue(), force=force)


def _small(file: PictureFile | ClipFile, size: int) -> Image.Image:
    from mvc.media.thumbnails import image_of, scaled_down

    held = image_of(file.thumbnail()) if file.kind == "still" else None
    if held is None or max(held.size) < min(size, max(file.size)):
        try:
            return _decoded(file, size)
        except (BackendError, WeightsError):
            if held is None:
                raise
    return scaled_down(held, size)


def _decoded(file: Any, size: int) -> Image.Image:
    from mvc.media.thumbnails import small

    if file.kind == "still":
        return small(file.read(), size)
    frame = next(file.frames(), None)
    if frame is None:
        raise MvcError(f"{file.name} has no frames")
    return small(frame.to_picture(), size)
