"""Whole .mvc files in memory, with a bound."""

from __future__ import annotations

import os
import stat

from mvc.container.chunks import MAGIC
from mvc.container.stream import read_head
from mvc.errors import Limit
from mvc.files import Name, read_up_to

MAX_BYTES = 513 << 20
"""Largest file read into memory: the samples of the largest picture (8192x8192, 16-bit RGBA), and a little."""


def is_mvc(path: Name) -> bool | None:
    """Whether a regular file starts as .mvc files do; None where there is none, or it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None  # what is read of a pipe is gone
        with open(path, "rb") as file:
            return file.read(4) == MAGIC[:4]  # the rest tells how it was damaged
    except (OSError, ValueError):
        return None


def read_mvc(path: Name) -> bytes:
    """The bytes of an .mvc file; of a file too large to be one only its first bytes are read.

    Raises `SourceError` when it cannot be read, `NotMvc` or `Limit` when it is larger than `MAX_BYTES`.
    """
    return bounded(read_up_to(path, MAX_BYTES + 1), name=os.fspath(path))


def bounded(data: bytes, *, name: str) -> bytes:
    """`data` itself; `NotMvc` or `Limit` when it is longer than any .mvc file this version can decode."""
    if len(data) > MAX_BYTES:
        read_head(data)  # a wrong signature is the better message
        raise Limit(f"{name} is larger than {MAX_BYTES >> 20} MiB, the most this version reads")
    return data
