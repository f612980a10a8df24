"""Pictures that do not fit in memory, written by rows: what `write_picture` writes, a few rows at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import numpy as np

from mvc import files
from mvc.errors import MvcError
from mvc.media import writing
from mvc.media.row_writers import Asked, PngWriter, PpmWriter, Samples, TiffWriter, Writer
from mvc.metadata import NONE, Metadata
from mvc.picture import Picture, over_white

__all__ = ["BY_ROWS", "RowTarget", "open_rows_out"]

_WRITERS: dict[str, type[Writer]] = {".png": PngWriter, ".tif": TiffWriter, ".tiff": TiffWriter}
_WRITERS |= dict.fromkeys((".ppm", ".pgm", ".pnm"), PpmWriter)
BY_ROWS = tuple(_WRITERS)
"""File name extensions of what can be written by rows."""
_BAND_BYTES = 1 << 20


class RowTarget:
    """A picture file to which rows are written from the top on; nothing has its name before `close`.

    As a context manager it is closed at the end of the block or, after an error, removed. `losses` says in plain words
    what the format does not hold, as `mvc.media.fitted` does.
    """

    losses: tuple[str, ...]

    def __init__(self, path: str | os.PathLike[str], suffix: str, asked: Asked, force: bool) -> None:
        self.name, self.asked, self.done = os.fspath(path), asked, 0
        self.on_white = asked.channels in (2, 4)
        pixel = np.zeros((1, 1, asked.channels), np.uint8 if asked.depth == 8 else np.uint16)
        colour, alpha = (pixel[..., :-1], pixel[..., -1]) if self.on_white else (pixel, None)
        shown = Picture(colour if colour.shape[2] == 3 else colour[..., 0], alpha, asked.metadata)
        fitted, self.losses = writing.fitted(shown, suffix)
        self.on_white = self.on_white and fitted.alpha is None
        self.dtype = pixel.dtype
        self.band_rows = max(1, _BAND_BYTES // (asked.width * pixel.nbytes))
        self.spool: BinaryIO | None = None
        self.holder: AbstractContextManager[BinaryIO] | None = files.atomic(path, force=force)
        self.file = self.holder.__enter__()
        with self._removed_on_error():
            kind = _WRITERS[suffix.lower()]
            if kind is TiffWriter and files.is_stream(path):
                self.spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_end`
            written = asked._replace(channels=asked.channels - self.on_white, metadata=fitted.metadata)
            self.writer = kind(self.spool or self.file, written)

    def write(self, samples: Samples) -> None:
        """The next rows [n, width, channels]: gray or RGB, then alpha if there is any; uint8 or uint16 as announced.

        Raises ValueError for another shape or type and for more rows than were announced, and `MvcError` where they
        cannot be written. After an error the file is gone.
        """
        with self._removed_on_error():
            if self.holder is None:
                raise ValueError(f"{self.name} is closed")
            wanted = self.asked.width, self.asked.channels
            if samples.dtype != self.dtype or samples.ndim != 3 or samples.shape[1:] != wanted:
                shape = f"[rows, {wanted[0]}, {wanted[1]}] of {self.dtype}"
                raise ValueError(f"rows of {self.name} must be {shape}, not {list(samples.shape)} of {samples.dtype}")
            if self.done + len(samples) > self.asked.height:
                raise ValueError(f"{self.name} has no more than {self.asked.height} rows")
            for top in range(0, len(samples), self.band_rows):
                part = samples[top : top + self.band_rows]
                if self.on_white:
                    part = over_white(part[..., :-1], part[..., -1])
                self.writer.write(part)
            self.done += len(samples)

    def close(self) -> None:
        """Finish the file, which then has its name; again it does nothing. Raises ValueError where rows are missing."""
        if self.holder is None:
            return
        with self._removed_on_error():
            if self.done < self.asked.height:
                raise ValueError(f"only {self.done} of the {self.asked.height} rows of {self.name} were written")
            self.writer.finish()
            if self.spool is not None:
                self.spool.seek(0)
                shutil.copyfileobj(self.spool, self.file)
        self._end(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._end(error)

    @contextmanager
    def _removed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._end(error)  # which is another one where the system refuses
            raise

    def _end(self, error: BaseException | None) -> None:
        """Take the name, or remove the file."""
        holder, self.holder = self.holder, None
        with ExitStack() as stack:
            if self.spool is not None:
                stack.enter_context(self.spool)
            if holder is not None:
                holder.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


def open_rows_out(
    path: str | os.PathLike[str],
    width: int,
    height: int,
    colour: Literal["rgb", "gray"],
    depth: Literal[8, 16],
    alpha: bool,
    metadata: Metadata = NONE,
    *,
    suffix: str | None = None,
    force: bool = False,
) -> RowTarget:
    """A new picture file in the format of the extension, one of `BY_ROWS`; `suffix` replaces that of the name.

    It holds what `write_picture` would write of the same picture. What it cannot hold (alpha and metadata in a PPM) is
    in `losses` of the result, and left out as there. Raises `MvcError` for another extension, when the file exists and
    `force` is not given, and when it cannot be written.
    """
    suffix = Path(path).suffix if suffix is None else suffix
    writing.check_extension("picture" + suffix if suffix else path)
    if suffix.lower() not in BY_ROWS:
        raise MvcError(
            f"cannot write {os.fspath(path)}: {suffix} is not written row by row", hint=f"use {' '.join(BY_ROWS)}"
        )
    if width < 1 or height < 1:
        raise ValueError(f"{os.fspath(path)} would be {width}x{height}: it has no pixels")
    channels = (3 if colour == "rgb" else 1) + alpha
    return RowTarget(path, suffix, Asked(width, height, channels, depth, metadata), force)
