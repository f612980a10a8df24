"""The plan of which input goes to which output, and the way in and out of each."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from mvc import files
from mvc.cli.terminal import UsageError

STREAM = "-"


@dataclass(frozen=True)
class Job:
    """One input and where its result goes; either may be `-`. `folder` is to be made if it does not exist."""

    source: str
    target: str
    folder: Path | None = None

    @property
    def name(self) -> str:
        """The input as messages call it."""
        return "<stdin>" if self.source == STREAM else self.source

    @property
    def target_name(self) -> str:
        """The output as messages call it."""
        return "<stdout>" if self.target == STREAM else self.target

    def read_stdin(self) -> bytes | None:
        """All of stdin if that is the input, else None."""
        return sys.stdin.buffer.read() if self.source == STREAM else None

    def read_coded(self) -> bytes:
        """The input, which is to be an .mvc file: bounded in size, else unchecked."""
        data = self.read_stdin()
        return files.read_mvc(self.source) if data is None else files.bounded(data, name=self.name)

    def write(self, data: bytes, *, force: bool) -> None:
        """Write the result where it goes; `MvcError` when that fails."""
        if self.target == STREAM:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        if self.folder:
            files.make_folder(self.folder)
        files.write_atomic(self.target, data, force=force)


def plan(inputs: list[str], output: str | None, suffix: str) -> list[Job]:
    """Pair every input with its output; `UsageError` where that is not possible without losing a result.

    Without `output` a result goes beside its input with `suffix` in place of the extension, and stdin to
    stdout. `output` is a folder if it is one, ends in a slash, or several inputs are given; it is created.
    """
    if inputs.count(STREAM) > 1:
        raise UsageError("stdin (`-`) can be only one of the inputs")
    if output == STREAM and len(inputs) > 1:
        raise UsageError("only one input can go to stdout (`-o -`)")
    if output not in (None, STREAM) and (len(inputs) > 1 or output.endswith("/") or Path(output).is_dir()):
        folder = Path(output)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"-o {output} is a file; for {len(inputs)} inputs it must be a folder")
        jobs = [Job(source, str(folder / _result_name(source, suffix)), folder) for source in inputs]
    elif output is not None:
        jobs = [Job(inputs[0], output)]
    else:
        jobs = [Job(source, _beside(source, suffix)) for source in inputs]
        if len(jobs) > 1 and STREAM in inputs:
            raise UsageError("stdin among several inputs needs an output folder (-o)")
    _refuse_collisions(jobs)
    if any(job.target == STREAM for job in jobs) and sys.stdout.isatty():
        raise UsageError("not writing binary data to a terminal; give -o FILE or redirect stdout")
    return jobs


def _beside(source: str, suffix: str) -> str:
    return STREAM if source == STREAM else str(Path(source).parent / _result_name(source, suffix))


def _result_name(source: str, suffix: str) -> str:
    stem = "stdin" if source == STREAM else Path(source).stem
    return (stem or Path(source).name or "picture") + suffix


def _refuse_collisions(jobs: list[Job]) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        if job.target == STREAM:
            continue
        if job.source != STREAM and Path(job.source).absolute() == Path(job.target).absolute():
            raise UsageError(f"{job.source} would be overwritten by its own result; give another -o")
        if job.target in seen:
            raise UsageError(f"{seen[job.target]} and {job.source} would both become {job.target}")
        seen[job.target] = job.source
