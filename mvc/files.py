"""Finding files, reading them with a bound, and writing them so that nothing is lost.

Whatever writes a file of value does it with `atomic` or `write_atomic`: a crash never leaves half a file under its
name, a signal leaves no temporary one, and without `force` a file that appears in the meantime stays.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mvc import urls
from mvc.errors import MvcError, SourceError

MVC_SUFFIX = ".mvc"
PICTURE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".tga", ".qoi", ".pcx"),
    *(".heic", ".heif", ".hif", ".jxl"),
)
"""What the names of pictures end in, in lower case: how pictures are found in folders."""

MAX_PIPED_BYTES = (512 << 20) + (16 << 20)
"""Most that is read of a picture in a pipe: 16-bit RGBA for the largest picture, and 16 MiB of whatever else."""
_CHUNK_BYTES = 1 << 20

Name = str | os.PathLike[str]


def reason(error: OSError | ValueError) -> str:
    """Why the system refused, in lower case: "no such file or directory"."""
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)  # of a null byte in the name


# Finding ---------------------------------------------------------------------------------------------------------


def find(folder: Name, suffixes: Collection[str]) -> list[Path]:
    """The files below `folder`, at any depth, whose names end in one of `suffixes` (in either case), sorted.

    Hidden files and folders are left out, and links to folders are not followed. A folder that cannot be listed is
    itself in the list: whoever reads it (`check_input`) is told why.
    """
    found: list[Path] = []
    closed: list[str] = []
    for path, folders, names in os.walk(folder, onerror=lambda error: closed.append(os.fspath(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(path, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted([*found, *map(Path, closed)])


def find_pictures(paths: Iterable[Name]) -> list[Path]:
    """The files named, and the pictures at any depth in the folders named.

    Raises `SourceError` for a folder without pictures; a file that cannot be read is told at its turn.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = find(path, PICTURE_SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise no_files(path, PICTURE_SUFFIXES)
        found += inside
    return found


def below(name: str, suffixes: Collection[str]) -> list[tuple[str, str]]:
    """The files that a name stands for, by URL or not: itself, or what lies in its folder; and their names below that.

    `SourceError` for a folder that holds nothing of these `suffixes`.
    """
    if urls.is_url(name):
        own = urls.name_of(name)
        # of what is named like a file no server is asked whether it is a folder
        if os.path.splitext(own)[1].lower() in suffixes or not urls.is_folder(name):
            return [(name, own)]
        found = urls.find(name, suffixes)
    elif os.path.isdir(name):
        found = [(str(path), str(path.relative_to(name))) for path in find(name, suffixes)]
    else:
        return [(name, Path(name).name)]
    if not found:
        raise no_files(name, suffixes)
    return found


def exists(name: Name) -> bool:
    """Whether something has this name, by URL or not, be it a link to nothing."""
    return urls.exists(str(name)) if urls.is_url(name) else os.path.lexists(name)


def no_files(folder: Name, suffixes: Collection[str]) -> SourceError:
    """The error about a folder in which `find` found nothing."""
    what = "pictures" if len(suffixes) > 1 else f"{min(suffixes)} files"
    return SourceError(f"{os.fspath(folder)} holds no {what}", hint="names of files must end in " + " ".join(suffixes))


def identity(path: Name) -> Hashable:
    """What tells files apart, whatever name, link or path they go by; also for a file that is yet to be made.

    A link to nothing is not followed: it is what would be replaced.
    """
    if urls.is_url(path):
        return str(path)
    with suppress(OSError, ValueError):
        found = os.stat(path)
        if found.st_ino:
            return found.st_dev, found.st_ino
    folder, name = os.path.split(os.fspath(path))
    return os.path.join(os.path.realpath(folder), name)


def cache_folder() -> Path:
    """Where this user keeps what can be made again: `mvc` below XDG_CACHE_HOME, or below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mvc"


# Reading ---------------------------------------------------------------------------------------------------------


def check_input(path: Name) -> None:
    """Raise `SourceError` with one clear line unless `path` is something that can be read, and no URL."""
    if urls.is_url(path):
        raise SourceError(f"{path} is a URL, and what is to be read here is a local file", hint="copy it here first")
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            os.scandir(path).close()  # one that cannot be listed says why
            raise SourceError(f"{os.fspath(path)} is a folder, not a file", hint="name the files in it")
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read {os.fspath(path)}: {reason(error)}") from error


def opened(path: Name, most_bytes: int) -> BinaryIO:
    """A file, or what a URL names, open to be read, and to be closed; `SourceError` where that cannot be.

    What cannot be read but from the front by its URL is read at once, and no more of it than `most_bytes`.
    """
    if isinstance(path, str) and urls.is_url(path):
        return urls.opened(path, most_bytes)
    check_input(path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise SourceError(f"cannot read {os.fspath(path)}: {reason(error)}") from error


def read_up_to(source: Name | BinaryIO, limit: int, *, name: str | None = None) -> bytes:
    """At most `limit` bytes of a file, a URL, a pipe or an open file; `SourceError` where it cannot be read.

    Raises `TypeError` for a file that is open for reading text.
    """
    label = name or (os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the file")
    if isinstance(source, io.TextIOBase):
        raise TypeError(f"{label} is open for text; open it with mode 'rb'")
    try:
        if isinstance(source, (str, os.PathLike)):
            with opened(source, limit) as file:
                return read_up_to(file, limit, name=label)
        buffer = io.BytesIO()  # grows with what comes: a pipe does not say how much that will be
        while buffer.tell() < limit and (part := source.read(min(_CHUNK_BYTES, limit - buffer.tell()))):
            buffer.write(part)
        return buffer.getvalue()
    except OSError as error:
        raise SourceError(f"cannot read {label}: {reason(error)}") from error


class Piped(io.RawIOBase):
    """A pipe of which the first bytes have been read already."""

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._start, self._file, self.count = start, file, len(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._start[: len(buffer)]
        if part:
            self._start = self._start[len(part) :]
        else:
            part = self._file.read1(len(buffer)) if hasattr(self._file, "read1") else self._file.read(len(buffer))
            self.count += len(part)
        buffer[: len(part)] = part
        return len(part)


def is_stream(path: Name) -> bool:
    """Whether `path` is there and no regular file: a pipe, a device, an open file of this process (/dev/fd/63)."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return descriptor(path) is not None or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def descriptor(path: Name) -> int | None:
    """The open file of this process that a name such as /dev/stdout or /dev/fd/63 stands for."""
    match = re.fullmatch(r"/dev/std(in|out|err)|/(?:dev|proc/self)/fd/(\d{1,6})", os.fspath(path))
    if match is None:
        return None
    return ("in", "out", "err").index(match[1]) if match[1] else int(match[2])


# Writing ---------------------------------------------------------------------------------------------------------


def refuse_existing(path: Name, *, force: bool) -> None:
    """Raise `MvcError` when `path` is a folder, or, without `force`, a regular file or a link to nothing."""
    name = os.fspath(path)
    if urls.is_url(name):
        urls.refuse_existing(str(name), force=force)
        return
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path) and not force:
            raise MvcError(
                f"{name} is a link to a file that does not exist", hint="use -f/--force to replace the link"
            ) from None
        return
    except (OSError, ValueError) as error:
        raise MvcError(f"cannot write {name}: {reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise MvcError(f"{name} is a folder", hint="name a file in it")
    if stat.S_ISREG(mode) and not force and descriptor(path) is None:
        raise _exists(path)


def _exists(path: Name) -> MvcError:
    return MvcError(f"{os.fspath(path)} already exists", hint="use -f/--force (in Python force=True) to overwrite it")


def write_atomic(path: Name, data: bytes, *, force: bool = False) -> None:
    """Write `data` to `path` in one step, as `atomic` does; or to a URL, as `urls.write` does."""
    if isinstance(path, str) and urls.is_url(path):
        urls.write(path, data, force=force)
        return
    with atomic(path, force=force) as file:
        file.write(data)


@contextmanager
def atomic(path: Name, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which is `path` when the block has ended: readers see the old file, none, or the whole new.

    How a file is replaced `mvc.replacing` says. Without `force` a file of that name is kept, however late it appears.
    Of a symbolic link the file it leads to is replaced and not the link, and a link to nothing is replaced itself.
    Devices and pipes are written directly; URLs are for `write_atomic`.
    Raises `MvcError` when the file exists and `force` is not given, or when writing fails.
    """
    from mvc.replacing import NameTaken, replacing

    if urls.is_url(path):
        raise MvcError(f"cannot write {path} bit by bit", hint="write a local file, and copy that")
    refuse_existing(path, force=force)
    try:
        if is_stream(path):
            number = descriptor(path)
            with open(path if number is None else os.dup(number), "wb") as file:
                yield file
            return
        with replacing(os.path.realpath(path) if os.path.exists(path) else os.fspath(path), force=force) as file:
            yield file
    except NameTaken as error:
        raise _exists(path) from error
    except OSError as error:
        raise MvcError(f"cannot write {os.fspath(path)}: {reason(error)}") from error


def make_folder(path: Name) -> None:
    """Make a folder and those above it; one that exists is fine. Raises `MvcError` when it cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise MvcError(f"cannot make the folder {os.fspath(path)}: {reason(error)}") from error
