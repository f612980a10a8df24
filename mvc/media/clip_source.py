"""Where a clip comes from: a file, bytes, a pipe; with its first bytes, by which its kind is known."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from mvc import files
from mvc.errors import SourceError
from mvc.media import kinds
from mvc.media.pictures import Readable


class Source:
    """A file, by name or open, with its first bytes."""

    def __init__(self, source: Readable, label: str) -> None:
        self._path, self._piped = None, None
        self._own = not hasattr(source, "read")
        file: BinaryIO
        if isinstance(source, (str, os.PathLike)):
            files.check_input(source)
            try:
                file = open(source, "rb")  # noqa: SIM115 (it is closed with the last frame)
            except OSError as error:
                raise SourceError(f"cannot read {label}: {files.reason(error)}") from error
            self._path = None if files.is_stream(source) else os.fspath(source)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            file = io.BytesIO(source)
        elif hasattr(source, "read"):
            if isinstance(source.read(0), str):
                raise TypeError(f"{label} is open for text; open it with mode 'rb'")
            file = source
        else:
            raise TypeError(
                f"a clip is a path, the bytes of a file or an open binary file, not {type(source).__name__}"
            )
        self._opened = file
        try:
            if seekable(file) and file.tell() == 0:  # FFmpeg counts from the beginning of a file
                self.start = file.read(kinds.SNIFFED_BYTES)
                self._end = file.seek(0, os.SEEK_END)
                file.seek(0)
                self.file = file
            else:
                self.start = b""
                while len(self.start) < kinds.SNIFFED_BYTES and (
                    part := file.read(kinds.SNIFFED_BYTES - len(self.start))
                ):
                    self.start += part
                self._piped = files.Piped(self.start, file)
                self.file = io.BufferedReader(self._piped, 1 << 16)
        except OSError as error:
            raise SourceError(f"cannot read {label}: {files.reason(error)}") from error
        if not self.start:
            self.close()
            raise SourceError(f"{label} is empty")

    def for_av(self) -> str | BinaryIO:
        """What FFmpeg is to read: a file by its name if it has one, which is faster."""
        return self._path or self.file

    def size(self) -> int:
        """How many bytes there are; of a pipe, how many have come."""
        return self._end if self._piped is None else self._piped.count

    def close(self) -> None:
        """Close what was opened here."""
        if self._own:
            self._opened.close()


def seekable(file: Any) -> bool:
    """Whether one can go back in an open file."""
    try:
        return bool(file.seekable())
    except (AttributeError, OSError):
        return False


def label_of(source: Readable) -> str:
    """A short name for messages."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    known = getattr(source, "name", None)
    return known if isinstance(known, str) else "the clip"
