"""`mvc.open`: the reader for what an .mvc file holds, a picture or a clip."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mvc.arguments import check_device, check_model, check_threads
from mvc.errors import libraries
from mvc.picture_file import PictureFile
from mvc.stored import Source, Stored
from mvc.video.reader import ClipFile

if TYPE_CHECKING:
    from mvc.codec import Codec


def open(
    source: Source,
    *,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> PictureFile | ClipFile:
    """An .mvc file, of which nothing is decoded yet: its path, its bytes, or an open binary file, which may be a pipe.

    Of a still picture it is a `mvc.picture_file.PictureFile`, of a clip a `mvc.video.reader.ClipFile`; `kind` says
    which ("still" or "clip"). Size, metadata and whatever else the file says of itself need neither weights nor torch.
    `model`, `device` and `threads` are as for `mvc.decode`; weights are loaded with the first picture or frame. Raises
    `SourceError` where it cannot be read, and `FormatError`, `Unsupported` or `Limit` for what is no .mvc file that
    this version knows.
    """
    own, device, threads = None if model is None else check_model(model), check_device(device), check_threads(threads)

    def load(found: bytes) -> Codec:
        with libraries():
            from mvc import codec

        return codec.load(own or found, device, threads)

    return reader_of(Stored(source), load)


def reader_of(stored: Stored, load: Callable[[bytes], Codec]) -> PictureFile | ClipFile:
    """The reader for what a file holds; `load` gives the codec of a model id."""
    return PictureFile(stored, load) if stored.head.kind == "still" else ClipFile(stored, load)
