"""One input and its output, the way in and out of each; and the files that names on a command line stand for."""

from __future__ import annotations

import io
import os
import stat
import sys
import unicodedata
from collections.abc import Collection, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc import files, urls
from mvc.cli.terminal import StdoutError, UsageError
from mvc.container import Head, read_head, whole
from mvc.errors import Limit, MvcError
from mvc.stored import HEAD_BYTES
from mvc.tiling import Region

if TYPE_CHECKING:
    from mvc.still_file import StillFile

STREAM = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its result goes; either may be `-`, or a URL.

    `into` says that the folder of the result is to be made if it does not exist.
    """

    source: str
    target: str = STREAM
    into: bool = False

    @property
    def name(self) -> str:
        """The input as messages call it."""
        return "<stdin>" if self.source == STREAM else self.source

    @property
    def target_name(self) -> str:
        """The output as messages call it."""
        return "<stdout>" if self.target == STREAM else self.target

    @property
    def local(self) -> bool:
        """Whether the input is a file here, which can be read from several places."""
        return not (self.source == STREAM or urls.is_url(self.source) or files.is_stream(self.source))

    def start(self, *, force: bool) -> None:
        """Raise what can be said before any work: the input cannot be read, or the output exists."""
        if self.source != STREAM and not urls.is_url(self.source):
            files.check_input(self.source)
        if self.target != STREAM:
            files.refuse_existing(self.target, force=force)

    def exists(self) -> bool:
        """Whether something has the name of the output, be it a link to nothing."""
        if self.target == STREAM or files.is_stream(self.target):
            return False
        return files.exists(self.target)

    def picture(self) -> str | bytes:
        """The input as `media.read_picture` takes it: a path, or what came out of a pipe or by a URL."""
        if self.local:
            return self.source
        data = self._read(files.MAX_PIPED_BYTES + 1)
        if len(data) > files.MAX_PIPED_BYTES:
            most = f"{files.MAX_PIPED_BYTES >> 20} MiB"
            raise Limit(f"{self.name} gives more than {most}, the most that is read so", hint="name a file")
        return data

    @contextmanager
    def opened(self) -> Iterator[tuple[Head | None, BinaryIO]]:
        """The input, which is to be an .mvc file, and its head if that is a clip's: clips are not read as a whole."""
        with ExitStack() as stack:
            file: BinaryIO = sys.stdin.buffer
            if self.source != STREAM:
                file = stack.enter_context(files.opened(self.source, whole.MAX_BYTES + 1))
            start = files.read_up_to(file, HEAD_BYTES, name=self.name)
            head = None
            with suppress(MvcError):
                head = read_head(start)
            rest: Any = files.Piped(start, file)
            yield (head if head and head.kind == "clip" else None), io.BufferedReader(rest)

    @contextmanager
    def still(
        self, file: BinaryIO, region: Region | None = None, **options: Any
    ) -> Iterator[tuple[StillFile, int]]:
        """The .mvc file of a still, and its bytes; `file` is what `opened` gave, `options` are its own.

        A file of tiles is read where it lies and may have any size, others are bounded in size.
        """
        from mvc.still_file import StillFile

        with ExitStack() as stack:
            data: Any
            if self.local or urls.is_url(self.source):
                data = stack.enter_context(files.opened(self.source, whole.MAX_BYTES + 1))
                size = data.seek(0, os.SEEK_END)
                data.seek(0)
                head = read_head(data.read(HEAD_BYTES)) if size > whole.MAX_BYTES else None
                if head and not head.tile_px:
                    raise Limit(
                        f"{self.name} is larger than {whole.MAX_BYTES >> 20} MiB, the most that is read at once"
                    )
                data.seek(0)
            else:
                data = whole.bounded(files.read_up_to(file, whole.MAX_BYTES + 1, name=self.name), name=self.name)
                size = len(data)
            yield StillFile(data, region, **options), size

    def coded(self) -> bytes:
        """The input, which is to be an .mvc file: bounded in size, else unchecked."""
        return whole.bounded(self._read(whole.MAX_BYTES + 1), name=self.name)

    def _read(self, limit: int) -> bytes:
        source = sys.stdin.buffer if self.source == STREAM else self.source
        return files.read_up_to(source, limit, name=self.name)

    def write(self, data: bytes, *, force: bool) -> None:
        """Write the result where it goes; `MvcError` when that fails."""
        if self.target == STREAM:
            try:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise StdoutError(f"cannot write to stdout: {files.reason(error)}") from error
            return
        self.make_folder()
        files.write_atomic(self.target, data, force=force)

    def make_folder(self) -> None:
        """The folder of the result, where that is to be made."""
        if self.into and not urls.is_url(self.target):
            files.make_folder(os.path.dirname(self.target) or os.curdir)


def alike(one: Job, other: Job) -> bool:
    """Whether outputs may be one file, where a file system takes A and a for one name: their turns come in order."""
    names = (unicodedata.normalize("NFC", job.target).casefold() for job in (one, other))
    return len(set(names)) == 1


def expand(inputs: list[str], suffixes: Collection[str]) -> list[tuple[str, str]]:
    """Every file to read, and the part of its path to keep below an output folder.

    Folders stand for what `files.below` finds in them; `SourceError` for one that holds nothing. Names of this
    process's own stdin are `-`.
    """
    found: list[tuple[str, str]] = []
    for name in inputs:
        if files.descriptor(name) == 0:
            name = STREAM
        found += [(STREAM, "stdin")] if name == STREAM else files.below(name, suffixes)
    return found


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder, here or by a URL."""
    return urls.is_folder(name) if urls.is_url(name) else name != STREAM and os.path.isdir(name)


def place_of(name: str, stream: int) -> Hashable | None:
    """What tells this file from others; None for pipes and devices. `-` is the open file `stream`."""
    if name != STREAM:
        return None if not urls.is_url(name) and files.is_stream(name) else files.identity(name)
    found = os.fstat(stream)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def protect(sources: list[str], targets: list[str]) -> None:
    """`UsageError` if one of the `targets` that a command is going to write is one of its `sources`."""
    known = {place_of(name, 0): name for name in sources if name != STREAM}
    for target in targets:
        place = place_of(target, 1)
        if place is not None and place in known:
            raise UsageError(f"{known[place]} would be overwritten by the result {target}")
