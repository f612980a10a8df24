"""Which input goes to which output: all of it is known, and nothing would get lost, before anything is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Hashable, Iterator
from pathlib import Path
from shlex import quote

from mvc import files, urls
from mvc.cli.jobs import STREAM, Job, expand, is_folder, place_of
from mvc.cli.terminal import UsageError
from mvc.container import whole
from mvc.errors import MvcError, NotMvc, SourceError
from mvc.files import MVC_SUFFIX, PICTURE_SUFFIXES


class Plan:
    """Pairs of an input and its output, as jobs, of which a long list would be long.

    Raises `UsageError` where two inputs become one output, or an input would be overwritten by its own result.
    """

    def __init__(self, pairs: list[tuple[str, str]], encoding: bool, into: bool = False) -> None:
        self._pairs, self._into = pairs, into
        self._refusals: dict[str, MvcError] = {}
        self._inputs: dict[Hashable, str] = {}
        self._results: dict[Hashable, str] = {}
        self._look(encoding)

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Job]:
        return (Job(source, target, self._into) for source, target in self._pairs)

    def _look(self, encoding: bool) -> None:
        for source, _ in self._pairs:
            place = place_of(source, 0)
            if place:
                self._inputs[place] = source
        targets: dict[Hashable, str] = {}
        for job in self:
            own, target = place_of(job.source, 0), place_of(job.target, 1)
            refusal = _wrong_kind(job.source, encoding)
            if refusal:
                self._refusals[job.source] = refusal
            if refusal or target is None:
                continue
            if target == own:
                raise UsageError(f"{job.name} would be overwritten by its own result; give another -o")
            if target in targets:
                raise UsageError(f"{_name(targets[target])} and {job.name} would both become {job.target_name}")
            targets[target] = job.source

    def start(self, job: Job, *, force: bool, resume: bool) -> None:
        """Raise what can be said before any work on a job: as `Job.start`, or that the output has been taken.

        With `resume` one that exists is no error here.
        """
        if job.source in self._refusals:
            raise self._refusals[job.source]
        if job.target != STREAM:
            place = files.identity(job.target)
            # On a file system that takes A and a for one name, only the written file shows what it collides with.
            for known, what in ((self._inputs, "the input"), (self._results, "the result of")):
                if place in known:
                    other = f"{what} {_name(known[place])}"
                    raise MvcError(f"{job.target} would overwrite {other}", hint="give another -o")
        job.start(force=force or (resume and job.exists()))

    def done(self, job: Job) -> None:
        """The output of this job is there, and no other job may write it."""
        if job.target != STREAM and not files.is_stream(job.target):
            self._results[files.identity(job.target)] = job.source


def _name(source: str) -> str:
    return Job(source).name


def plan(inputs: list[str], output: str | None, suffix: str) -> Plan:
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
    found = expand(inputs, PICTURE_SUFFIXES if encoding else (MVC_SUFFIX,))
    several = len(found) > 1 or (found[0][0] != inputs[0] and is_folder(inputs[0]))
    if sum(source == STREAM for source, _ in found) > 1:
        raise UsageError("stdin (`-`) can be only one of the inputs")
    if output == STREAM and several:
        raise UsageError("only one input can go to stdout (`-o -`)")
    misnamed = False
    if output not in (None, STREAM) and (several or output.endswith("/") or is_folder(output)):
        if os.path.exists(output) and not os.path.isdir(output):
            raise UsageError(f"-o {output} is a file; for {len(found)} inputs it must be a folder")
        made = Plan([(source, _below(output, kept, suffix)) for source, kept in found], encoding, into=True)
    elif output is not None:
        made = Plan([(found[0][0], output)], encoding)
        misnamed = encoding and Path(output).suffix.lower() in PICTURE_SUFFIXES
    else:
        pairs = [(source, _beside(source, suffix)) for source, _ in found]
        if several and any(target == STREAM for _, target in pairs):
            raise UsageError("stdin among several inputs needs an output folder (-o)")
        made = Plan(pairs, encoding)
    if misnamed:
        better = quote(str(Path(str(output)).with_suffix(MVC_SUFFIX)))
        raise UsageError(f"-o {output} is named like a picture, and would be an .mvc file", hint=f"write -o {better}")
    if any(job.target == STREAM for job in made) and sys.stdout.isatty():
        raise UsageError("not writing binary data to a terminal; give -o FILE or redirect stdout")
    return made


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
        names = quote(inputs[0]), quote(last)
        raise UsageError(
            f"{last} exists, and is no input of {command}",
            hint=f"`{command} {names[0]} -o {names[1]} -f` overwrites it",
        )
    if not os.path.lexists(last):
        raise UsageError(f"{last} does not exist", hint="where results go is said by -o; for several a folder")
    return inputs, None


def _below(folder: str, kept: str, suffix: str) -> str:
    result = _result(kept, suffix)
    return urls.child(folder, result.as_posix()) if urls.is_url(folder) else str(Path(folder, result))


def _beside(source: str, suffix: str) -> str:
    if urls.is_url(source):
        return urls.with_suffix(source, suffix)
    return STREAM if source == STREAM or files.descriptor(source) is not None else str(_result(source, suffix))


def _result(source: str, suffix: str) -> Path:
    path = Path(source)
    return path.parent / ((path.stem or path.name or "picture") + suffix)


def _wrong_kind(source: str, encoding: bool) -> MvcError | None:
    """The error about an .mvc file that is to be encoded, or a picture that is to be decoded."""
    found = None if source == STREAM else whole.is_mvc(source)
    if encoding and found:
        return SourceError(f"{source} is an .mvc file already", hint="`mvc decode` turns it into a picture")
    if not encoding and found is False and Path(source).suffix.lower() in PICTURE_SUFFIXES:
        return NotMvc(f"{source} is not an mvc file", hint="`mvc encode` turns a picture into one")
    return None
