"""Where an .mvc file lies: a path, a URL, its bytes, or an open file. Read as often as is asked for, but for a pipe."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

from mvc import files
from mvc.container import Head, Reader, read_head, whole
from mvc.errors import MvcError, SourceError

T = TypeVar("T")

HEAD_BYTES = 64
"""More than a file has before its first unit."""
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def whole_head(source: str | os.PathLike[str]) -> tuple[Head, int]:
    """The head of a file, by its path or URL, all of which was read and is right, and its bytes; raises what is not."""
    with files.opened(source, whole.MAX_BYTES + 1) as file:
        reader = Reader(file)
        for _ in reader:
            pass
        return reader.head, file.seek(0, os.SEEK_END)


def whole_already(name: files.Name, look: Callable[[], T], *, force: bool, hint: str | None = None) -> T | None:
    """What `look` finds of an output that is there; None where nothing is, or with `force` what is not whole.

    `MvcError`, with this hint, for what is not whole, where `look` raises one.
    """
    if not files.exists(name):
        return None
    try:
        return look()
    except MvcError as error:
        if force:
            return None
        said = str(error).removeprefix(f"{name}: ")
        raise MvcError(f"{name} is there, and not whole: {said}", hint=hint) from error


class Stored:
    """An .mvc file, and its `head`. A path is opened anew for every reading, and nothing is open in between.

    An open file is used from where it stands and stays the caller's. What a pipe (`piped`) gives is kept where it is a
    still, and can be read once where it is a clip. `name` is what messages call it.
    Raises `SourceError` where it cannot be read, `FormatError`, `Unsupported` or `Limit` for a head that is none, and
    `TypeError` for what is no file.
    """

    def __init__(self, source: Source, *, name: str | None = None, default: str = "the file") -> None:
        self._source: Any = source
        self.name = name or (os.fspath(source) if isinstance(source, (str, os.PathLike)) else default)
        self.piped = False
        self._begin, self._closed = 0, False
        if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
            with self.opened() as file:
                self.head: Head = _head(file)
            return
        self._take(self._source)

    def _take(self, file: Any) -> None:
        """Begin with an open file."""
        if not hasattr(file, "read"):
            raise TypeError(f"an .mvc file is a path, its bytes or an open binary file, not {type(file).__name__}")
        if isinstance(file, io.TextIOBase):
            raise TypeError(f"{self.name} is open for text; open it with mode 'rb'")
        try:
            if hasattr(file, "seekable") and file.seekable():
                self._begin = file.tell()
                self.head = _head(file)
                return
            start = files.read_up_to(file, HEAD_BYTES, name=self.name)
        except OSError as error:
            raise SourceError(f"cannot read {self.name}: {files.reason(error)}") from error
        self.head = read_head(start)
        piped: Any = files.Piped(start, file)
        rest = io.BufferedReader(piped)
        if self.head.kind == "still":
            self._source = whole.bounded(files.read_up_to(rest, whole.MAX_BYTES + 1, name=self.name), name=self.name)
        else:
            self._source, self.piped = rest, True

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file from its beginning; of a pipe what has not been read. SourceError where that cannot be."""
        source = self._source
        if self._closed:
            raise ValueError(f"{self.name} is closed")
        if isinstance(source, (bytes, bytearray, memoryview)):
            yield io.BytesIO(source)
        elif isinstance(source, (str, os.PathLike)):
            with files.opened(source, whole.MAX_BYTES + 1) as file:
                yield file
        else:
            if not self.piped:
                source.seek(self._begin)
            yield source

    def close(self) -> None:
        """Nothing can be read any more. A file object that was given stays open."""
        self._source, self._closed = None, True


def _head(file: BinaryIO) -> Head:
    """The head, for which no more is read than it takes; but a damaged file is called that before anything else."""
    start = file.tell()
    try:
        return Reader(file, check=False).head
    except MvcError:
        file.seek(start)
        return Reader(file).head
