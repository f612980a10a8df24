"""Reading whole files with a bound, and writing them so that a crash never leaves half a file."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from mvc.errors import Limit, MvcError, SourceError

MAX_MVC_BYTES = 128 << 20
"""Largest .mvc file read into memory: 16 bits for every pixel of the largest picture (8192x8192)."""


def reason(error: OSError) -> str:
    """Why the system refused, in lower case: "no such file or directory"."""
    return (error.strerror or type(error).__name__).lower()


def check_input(path: str | os.PathLike[str]) -> None:
    """Raise `SourceError` with one clear line unless `path` is something that can be read."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise SourceError(f"cannot read {os.fspath(path)}: {why}") from error
    if stat.S_ISDIR(mode):
        raise SourceError(f"{os.fspath(path)} is a folder, not a file", hint="name the files in it")


def read_mvc(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an .mvc file; of a file too large to be one only its first bytes are read.

    Raises `SourceError` when it cannot be read, `NotMvc` or `Limit` when it is larger than `MAX_MVC_BYTES`.
    """
    check_input(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_MVC_BYTES + 1)
    except OSError as error:
        raise SourceError(f"cannot read {os.fspath(path)}: {reason(error)}") from error
    return bounded(data, name=os.fspath(path))


def bounded(data: bytes, *, name: str) -> bytes:
    """`data` itself; `NotMvc` or `Limit` when it is longer than any .mvc file this version can decode."""
    if len(data) > MAX_MVC_BYTES:
        from mvc.container import read_header

        read_header(data)  # a wrong signature is the better message
        raise Limit(f"{name} is larger than {MAX_MVC_BYTES >> 20} MiB, the most this version reads")
    return data


def refuse_existing(path: str | os.PathLike[str], *, force: bool) -> None:
    """Raise `MvcError` when `path` is a folder, or a regular file and `force` is not given."""
    target = Path(path)
    if target.is_dir():
        raise MvcError(f"{target} is a folder", hint="name a file in it")
    if target.is_file() and not force:
        raise MvcError(f"{target} already exists", hint="use -f/--force to overwrite it")


def write_atomic(path: str | os.PathLike[str], data: bytes, *, force: bool = False) -> None:
    """Write `data` to `path` in one step: readers see the old file, none, or the whole new one.

    The bytes go to a temporary file in the same folder, which then takes the name. Devices and pipes are
    written directly, a symbolic link's target is replaced and not the link, and an overwritten file keeps its
    permissions. Raises `MvcError` when the file exists and `force` is not given, or when writing fails.
    """
    refuse_existing(path, force=force)
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():  # /dev/null, a named pipe
            target.write_bytes(data)
            return
        temporary = target.with_name(f".mvc-{os.urandom(8).hex()}.tmp")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            if target.exists():
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise MvcError(f"cannot write {os.fspath(path)}: {reason(error)}") from error


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it; one that exists is fine. Raises `MvcError` when it cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise MvcError(f"cannot make the folder {os.fspath(path)}: {reason(error)}") from error
