"""A file under its name: complete and on the disk, or not at all. Errors are those of the system."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import BinaryIO


class NameTaken(FileExistsError):
    """Something has the name already."""


@contextmanager
def replacing(target: str, *, force: bool) -> Iterator[BinaryIO]:
    """A temporary file in the folder of `target`, which takes that name when the block has ended well.

    It has the permissions of the file it replaces from its creation on. Its bytes are on the disk before it takes the
    name, and the name before this returns. It is gone after an error, Ctrl-C, SIGTERM or SIGHUP (the signals in the
    main thread, and where nobody handles or ignores them). Without `force` it takes no name that anything has:
    `NameTaken`.
    """
    temporary = os.path.join(os.path.dirname(target), f".mvc-{os.urandom(8).hex()}.tmp")
    with _removed(temporary):
        with _create(temporary, target) as file:
            yield file
            file.flush()
            _sync(file.fileno())
        if force:
            os.replace(temporary, target)
        else:
            _take_name(temporary, target)
        _sync_folder(os.path.dirname(target) or os.curdir)


def _create(temporary: str, target: str) -> BinaryIO:
    """A new file that nobody may read or write who may not with `target`, from its first moment on."""
    try:
        old = os.stat(target)
    except OSError:
        return open(temporary, "xb")
    mode = old.st_mode & 0o777
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    if hasattr(os, "fchmod"):
        for owner in ((-1, old.st_gid), (old.st_uid, -1)):  # as far as we may give it away
            with suppress(OSError):
                os.fchown(number, *owner)
        os.fchmod(number, mode)  # what the umask took away
    return os.fdopen(number, "wb")


def _take_name(temporary: str, target: str) -> None:
    """Name the file `target`; `NameTaken` if anything has that name, even since a moment ago."""
    try:
        try:
            os.link(temporary, target)
            return
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: take the name by an empty file, which is ours to replace
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError as error:
        raise NameTaken(*error.args) from error
    try:
        os.replace(temporary, target)
    except OSError:
        os.unlink(target)
        raise


def _sync(number: int) -> None:
    """Wait until an open file is on the disk, where the file system knows how to."""
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


def _sync_folder(path: str) -> None:
    """Wait until the names in a folder are on the disk; one that may not be read, or Windows', is left alone."""
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


_temporaries: set[tuple[int, str]] = set()  # with the process that makes them: a child is not to remove its parent's
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def _removed(temporary: str) -> Iterator[None]:
    """Remove the file `temporary` if it is there when the block ends, also where a signal ends the process in it."""
    mine = (os.getpid(), temporary)
    handled = []
    _temporaries.add(mine)
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                with suppress(ValueError):  # not in the main thread
                    signal.signal(number, _end)
                    handled.append(number)
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        _temporaries.discard(mine)
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    """Remove what is unfinished, then let the signal do what it does."""
    for process, temporary in list(_temporaries):
        if process == os.getpid():
            with suppress(OSError):
                os.unlink(temporary)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
