"""Files that lie elsewhere, by URL, through fsspec: s3://, gs://, https://, memory://, zip://a.png::b.zip, ...

Local paths never come here: `is_url` tells them apart by their beginning alone. fsspec is imported with the first URL.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from mvc.errors import BackendError, MvcError, SourceError

_BEGINNING = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+(?:://|::))", re.ASCII)
_HINT = "pip install 'mvc-codec[fsspec]'"
_CHAIN = "::"


def is_url(name: object) -> bool:
    """Whether a name is a URL, whatever files there are: a scheme of two letters or more, and `://`, or a chain."""
    return isinstance(name, str) and "://" in name and _BEGINNING.match(name) is not None


def child(folder: str, name: str) -> str:
    """The URL of what lies in a folder by this relative name."""
    return f"{folder.rstrip('/')}/{name}" if not folder.endswith("://") else folder + name


def name_of(url: str) -> str:
    """The last part of its path; of a chain that of the file in question."""
    first = url.partition(_CHAIN)[0]
    return posixpath.basename(first.partition("?")[0] if first.startswith(("http:", "https:")) else first)


def with_suffix(url: str, suffix: str) -> str:
    """The URL with another ending of its name."""
    return posixpath.splitext(url)[0] + suffix


# Reading ---------------------------------------------------------------------------------------------------------


def opened(url: str, most_bytes: int) -> BinaryIO:
    """A file that can be read and seeks; what its server gives only from the front is read first, up to `most_bytes`.

    Raises `SourceError`, as its reading does, and `BackendError` for what is not installed.
    """
    with _told(f"cannot read {url}"):
        fs, path = _of(url)
        file = fs.open(path, "rb")
    raw: Any = _Reading(file, url, fs)
    whole = io.BufferedReader(raw)
    return whole if raw.seekable() else io.BytesIO(whole.read(most_bytes))


class _Reading(io.RawIOBase):
    """A file of fsspec, whose errors are ours."""

    def __init__(self, file: Any, url: str, fs: Any) -> None:
        self._file, self._what = file, f"cannot read {url}"
        self._fs = fs  # an archive is closed when nobody has it any more

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _told(self._what):
            return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with _told(self._what):
            part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def exists(url: str) -> bool:
    """Whether there is a file, or a folder, of this name."""
    with _told(f"cannot look for {url}"):
        fs, path = _of(url)
        return bool(fs.exists(path))


def is_folder(url: str) -> bool:
    """Whether a URL names a folder, or what its store shows as one."""
    with _told(f"cannot look for {url}"):
        fs, path = _of(url)
        return bool(fs.isdir(path))


def find(folder: str, suffixes: Collection[str]) -> list[tuple[str, str]]:
    """The files below a folder whose names end in one of `suffixes`, sorted: their URLs, and their names below it.

    Hidden files and folders are left out.
    """
    with _told(f"cannot list {folder}"):
        fs, top = _of(folder)
        top = top.rstrip("/")
        paths = sorted(str(path) for path in fs.find(top))
    first, chain = folder.partition(_CHAIN)[::2]
    found = []
    for path in paths:
        kept = path[len(top) :].lstrip("/")
        hidden = any(part.startswith(".") for part in kept.split("/"))
        if kept and not hidden and posixpath.splitext(kept)[1].lower() in suffixes:
            found.append((child(first, kept) + (_CHAIN + chain if chain else ""), kept))
    return found


# Writing ---------------------------------------------------------------------------------------------------------


def refuse_existing(url: str, *, force: bool) -> None:
    """Raise `MvcError` where nothing can be written, or, without `force`, where something has the name."""
    if _CHAIN in url:
        raise MvcError(f"cannot write {url}: it is a chain of URLs", hint="name a file, or a folder, of one place")
    if not force and exists(url):
        raise MvcError(f"{url} already exists", hint="use -f/--force (in Python force=True) to overwrite it")


def write(url: str, data: bytes, *, force: bool) -> None:
    """Write a file, whole or not at all: it has its name when all of it is there.

    That is what fsspec calls a transaction: an upload that is completed last, or another name first. Without `force` a
    file of that name is looked for before, which is no lock. Raises `MvcError`.
    """
    refuse_existing(url, force=force)
    with _told(f"cannot write {url}", MvcError):
        fs, path = _of(url)
        fs.makedirs(fs._parent(path), exist_ok=True)
        with fs.transaction, fs.open(path, "wb") as file:
            file.write(data)


# fsspec itself ---------------------------------------------------------------------------------------------------


def _of(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise BackendError(f"{url} is a URL, and fsspec, which reads those, is not installed", hint=_HINT) from error
    fs, path = url_to_fs(url)
    return fs, str(path)


@contextmanager
def _told(what: str, kind: type[MvcError] = SourceError) -> Iterator[None]:
    """Whatever a store raises, each its own errors, as one of ours."""
    try:
        yield
    except MvcError:
        raise
    except ImportError as error:
        hint = f"install the package that it names; {_HINT} brings fsspec itself, and https"
        raise BackendError(f"{what}: {_line(error)}", hint=hint) from error
    except FileNotFoundError as error:
        raise kind(f"{what}: no such file") from error
    except Exception as error:
        raise kind(f"{what}: {_line(error) or type(error).__name__}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
