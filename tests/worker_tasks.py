"""What workers are given in tests: they find it by its name, as they are spawned."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mvc import files
from mvc.cli.jobs import Job
from mvc.cli.outcome import Act, Outcome, Told
from mvc.cli.terminal import warn
from mvc.errors import WeightsError


@dataclass(frozen=True)
class Copying:
    """Copies inputs, and does what their names say."""

    def begin(self) -> Act:
        return act


@dataclass(frozen=True)
class Impossible:
    """Does not come to its beginning."""

    def begin(self) -> Act:
        os._exit(3)


def act(job: Job, told: Told) -> Outcome:
    WAYS.get(Path(job.source).stem.rstrip("0123456789"), lambda job: None)(job)
    job.write(Path(job.source).read_bytes(), force=False)
    return Outcome(job.name, job.target_name, text=str(os.getpid()))


def _die(job: Job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(job: Job) -> None:
    raise ZeroDivisionError("oops")


def _warn(job: Job) -> None:
    warn(f"{job.name} is odd")


def _end(job: Job) -> None:
    raise WeightsError("no such model")


def _dawdle(job: Job) -> None:
    """Is in the middle of a file until somebody ends it."""
    job.make_folder()
    with files.atomic(job.target) as file:
        file.write(b"half of it")
        Path(job.target).with_suffix(".begun").touch()
        time.sleep(120)


WAYS: dict[str, Callable[[Job], None]] = {"die": _die, "fail": _fail, "warn": _warn, "end": _end, "dawdle": _dawdle}
