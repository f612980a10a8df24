"""The plan of which input goes to which output, and the way in and out of each."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Collection, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc import files
from mvc.cli.progress import Skipped
from mvc.cli.terminal import StdoutError, UsageError
from mvc.container import Head, read_head, whole
from mvc.errors import Limit, MvcError, NotMvc, SourceError
from mvc.files import MVC_SUFFIX, PICTURE_SUFFIXES
from mvc.stored import HEAD_BYTES
from mvc.tiling import Region

if TYPE_CHECKING:
    from mvc.still_file import StillFile

STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One input and where its result goes; either may be `-`.

    `folder` is to be made if it does not exist. `refusal` is why the input cannot be what the command takes.
    `taken` holds what may not be overwritten, by identity: all inputs, and what this run has written.
    """

    source: str
    target: str = STREAM
    folder: Path | None = None
    refusal: MvcError | None = None
    taken: dict[Hashable, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The input as messages call it."""
        return "<stdin>" if self.source == STREAM else self.source

    @property
    def target_name(self) -> str:
        """The output as messages call it."""
        return "<stdout>" if self.target == STREAM else self.target

    def start(self, *, force: bool, skip: bool = False) -> None:
        """Raise what can be said before any work: the input is missing or of the wrong kind, or the output exists.

        With `skip` one that exists is no error, but the end of this job (`Skipped`).
        """
        if self.refusal:
            raise self.refusal
        writes = self.target != STREAM
        if writes and skip and os.path.lexists(self.target) and not files.is_stream(self.target):
            raise Skipped
        if self.source != STREAM:
            files.check_input(self.source)
        if writes:
            self._refuse_taken()
            files.refuse_existing(self.target, force=force)

    def picture(self) -> str | bytes:
        """The input as `media.read_picture` takes it: a path, or what came out of a pipe."""
        if self.source != STREAM and not files.is_stream(self.source):
            return self.source
        data = self._read(files.MAX_PIPED_BYTES + 1)
        if len(data) > files.MAX_PIPED_BYTES:
            most = f"{files.MAX_PIPED_BYTES >> 20} MiB"
            raise Limit(f"{self.name} gives more than {most}, the most that is read of a pipe", hint="name a file")
        return data

    @contextmanager
    def opened(self) -> Iterator[tuple[Head | None, BinaryIO]]:
        """The input, which is to be an .mvc file, and its head if that is a clip's: clips are not read as a whole."""
        with ExitStack() as stack:
            file: BinaryIO = sys.stdin.buffer
            if self.source != STREAM:
                files.check_input(self.source)
                try:
                    file = stack.enter_context(open(self.source, "rb"))
                except OSError as error:
                    raise SourceError(f"cannot read {self.name}: {files.reason(error)}") from error
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
            if self.source != STREAM and not files.is_stream(self.source):
                data = stack.enter_context(open(self.source, "rb"))
                size = os.fstat(data.fileno()).st_size
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
        with self.writing(), files.atomic(self.target, force=force) as file:
            file.write(data)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around what writes the result under its name."""
        if self.folder:
            files.make_folder(self.folder)
        self._refuse_taken()
        yield
        if not files.is_stream(self.target):
            self.taken[files.identity(self.target)] = f"the result of {self.name}"

    def _refuse_taken(self) -> None:
        """On a file system that takes A and a for one name, only the written file shows what it collides with."""
        other = self.taken.get(files.identity(self.target))
        if other:
            raise MvcError(f"{self.target} would overwrite {other}", hint="give another -o")


def expand(inputs: list[str], suffixes: Collection[str]) -> list[tuple[str, str]]:
    """Every file to read, and the part of its path to keep below an output folder.

    Folders stand for what `files.find` finds in them; `SourceError` for one that holds nothing. Names of this
    process's own stdin are `-`.
    """
    found: list[tuple[str, str]] = []
    for name in inputs:
        if files.descriptor(name) == 0:
            name = STREAM
        if name != STREAM and os.path.isdir(name):
            paths = files.find(name, suffixes)
            if not paths:
                raise files.no_files(name, suffixes)
            found += [(str(path), str(path.relative_to(name))) for path in paths]
        else:
            found.append((name, "stdin" if name == STREAM else Path(name).name))
    return found


def plan(inputs: list[str], output: str | None, suffix: str) -> list[Job]:
    """Pair every input with its output; `UsageError` where that is not possible without losing a result.

    `suffix` is that of the results, and says what the inputs are: pictures if it is .mvc, else .mvc files. Without
    `output` a result goes beside its input with `suffix` in place of the extension, and stdin to stdout. `output` is a
    folder if it is one, ends in a slash, or several inputs or a folder are given; it is created, and keeps the tree of
    a folder. Of two inputs the second is the output if it is named like one and does not exist.
    """
    encoding = suffix == MVC_SUFFIX
    if output is None:
        inputs, output = _as_typed(inputs, PICTURE_SUFFIXES if encoding else (MVC_SUFFIX,), encoding)
    if output is not None and files.descriptor(output) == 1:
        output = STREAM
    pairs = expand(inputs, PICTURE_SUFFIXES if encoding else (MVC_SUFFIX,))
    several = len(pairs) > 1 or (inputs[0] != STREAM and os.path.isdir(inputs[0]))
    sources = [source for source, _ in pairs]
    if sources.count(STREAM) > 1:
        raise UsageError("stdin (`-`) can be only one of the inputs")
    if output == STREAM and several:
        raise UsageError("only one input can go to stdout (`-o -`)")
    misnamed = False
    if output not in (None, STREAM) and (several or output.endswith("/") or os.path.isdir(output)):
        if os.path.exists(output) and not os.path.isdir(output):
            raise UsageError(f"-o {output} is a file; for {len(pairs)} inputs it must be a folder")
        targets = [Path(output, _result(kept, suffix)) for _, kept in pairs]
        jobs = [Job(source, str(target), target.parent) for source, target in zip(sources, targets, strict=True)]
    elif output is not None:
        jobs = [Job(sources[0], output)]
        misnamed = encoding and Path(output).suffix.lower() in PICTURE_SUFFIXES
    else:
        jobs = [Job(source, _beside(source, suffix)) for source in sources]
        if several and any(job.target == STREAM for job in jobs):
            raise UsageError("stdin among several inputs needs an output folder (-o)")
    jobs = _without_collisions(jobs, encoding)
    if misnamed:
        from shlex import quote

        better = quote(str(Path(str(output)).with_suffix(MVC_SUFFIX)))
        raise UsageError(f"-o {output} is named like a picture, and would be an .mvc file", hint=f"write -o {better}")
    if any(job.target == STREAM for job in jobs) and sys.stdout.isatty():
        raise UsageError("not writing binary data to a terminal; give -o FILE or redirect stdout")
    return jobs


def _as_typed(inputs: list[str], suffixes: Collection[str], encoding: bool) -> tuple[list[str], str | None]:
    """Inputs and output of `mvc encode a.png b.mvc`, where -o is missing: other tools take the two like that."""
    last = inputs[-1]
    results = (MVC_SUFFIX,) if encoding else PICTURE_SUFFIXES
    named_so = Path(last).suffix.lower() in results and Path(inputs[0]).suffix.lower() not in results
    if len(inputs) == 1 or not (named_so or last.endswith("/")) or (last.endswith("/") and os.path.isdir(last)):
        return inputs, None
    command = "mvc encode" if encoding else "mvc decode"
    if len(inputs) == 2 and not os.path.lexists(last):
        return inputs[:1], last
    if len(inputs) == 2 and not os.path.isdir(last):
        from shlex import quote

        names = quote(inputs[0]), quote(last)
        raise UsageError(
            f"{last} exists, and is no input of {command}",
            hint=f"`{command} {names[0]} -o {names[1]} -f` overwrites it",
        )
    if not os.path.lexists(last):
        raise UsageError(f"{last} does not exist", hint="where results go is said by -o; for several a folder")
    return inputs, None


def _beside(source: str, suffix: str) -> str:
    return STREAM if source == STREAM or files.descriptor(source) is not None else str(_result(source, suffix))


def _result(source: str, suffix: str) -> Path:
    path = Path(source)
    return path.parent / ((path.stem or path.name or "picture") + suffix)


def _without_collisions(jobs: list[Job], encoding: bool) -> list[Job]:
    """The jobs, with a refusal where the input is of the wrong kind; `UsageError` where a file would get lost.

    That is, where two inputs become one output, or an input would be overwritten by a result.
    """
    taken: dict[Hashable, str] = {}
    for job in jobs:
        place = _place(job.source, 0)
        if place:
            taken[place] = f"the input {job.name}"
    targets: dict[Hashable, str] = {}
    checked = []
    for job in jobs:
        source, target = _place(job.source, 0), _place(job.target, 1)
        refusal = _wrong_kind(job.source, encoding)
        checked.append(replace(job, refusal=refusal, taken=taken))
        if refusal or target is None:
            continue
        if target == source:
            raise UsageError(f"{job.name} would be overwritten by its own result; give another -o")
        if target in targets:
            raise UsageError(f"{targets[target]} and {job.name} would both become {job.target_name}")
        targets[target] = job.name
    return checked


def _place(name: str, stream: int) -> Hashable | None:
    """What tells this file from others; None for pipes and devices. `-` is the open file `stream`."""
    if name != STREAM:
        return None if files.is_stream(name) else files.identity(name)
    found = os.fstat(stream)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _wrong_kind(source: str, encoding: bool) -> MvcError | None:
    """The error about an .mvc file that is to be encoded, or a picture that is to be decoded."""
    found = None if source == STREAM else whole.is_mvc(source)
    if encoding and found:
        return SourceError(f"{source} is an .mvc file already", hint="`mvc decode` turns it into a picture")
    if not encoding and found is False and Path(source).suffix.lower() in PICTURE_SUFFIXES:
        return NotMvc(f"{source} is not an mvc file", hint="`mvc encode` turns a picture into one")
    return None


def protect(sources: list[str], targets: list[str]) -> None:
    """`UsageError` if one of the `targets` that a command is going to write is one of its `sources`."""
    known = {_place(name, 0): name for name in sources if name != STREAM}
    for target in targets:
        place = _place(target, 1)
        if place is not None and place in known:
            raise UsageError(f"{known[place]} would be overwritten by the result {target}")
