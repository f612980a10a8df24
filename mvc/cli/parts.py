"""Work on a job in two parts, all but the writing and that, so that small ones go side by side (mvc/cli/abreast.py)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from mvc.cli.jobs import Job
from mvc.cli.loading import Load, codec_loader
from mvc.cli.options import Device
from mvc.cli.outcome import Clock, Outcome, Told
from mvc.threads import share, sharing

SMALL_PX = 1 << 19
"""A picture of no more pixels is small: so many at a time take no more memory than a large one."""


class InParts(ABC):
    """Does jobs with models that are loaded by the first that needs them. `threads`: None is one for each core."""

    def __init__(self, device: Device, threads: int | None) -> None:
        self.device, self.threads = device, threads
        self.load, self.load_for_one = codec_loader(device, threads), codec_loader(device, 1)

    def __call__(self, job: Job, told: Told) -> Outcome:
        """Do a job. Raises what is wrong with it."""
        with sharing(self.threads):
            return self.begun(job, told, self.load)()

    def prepare(self, job: Job, told: Told) -> Callable[[], Outcome]:
        """By one thread all but what writes the result, which is left to the main thread: signals are heard there."""
        return self.begun(job, told, self.load_for_one)

    @property
    def abreast(self) -> int:
        """How many small jobs at a time."""
        return 1 if self.device is Device.cuda else self.threads or share()

    @abstractmethod
    def begun(self, job: Job, told: Told, load: Load) -> Callable[[], Outcome]:
        """What writes the result, which is there. Raises what is wrong with the job."""

    @abstractmethod
    def small(self, job: Job) -> bool:
        """Whether a job is for one thread, by a look at its input; not where that look goes wrong."""


def put(job: Job, data: bytes, made: Outcome, clock: Clock, force: bool) -> Outcome:
    """The second part: write what was made."""
    clock.go_on()
    job.write(data, force=force)
    clock.lap("write")
    return made
