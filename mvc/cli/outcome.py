"""What became of one input: for a line on the terminal, for --stats, and for a row of a report."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mvc.cli.jobs import Job
from mvc.cli.terminal import Failure
from mvc.container import Head
from mvc.quality import bits_per_pixel, quality_of


class Clock:
    """Seconds spent in named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def go_on(self) -> None:
        """What has passed since the lap before belongs to no stage."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """What has passed since the lap before belongs to this stage."""
        now = time.perf_counter()
        self.seconds[stage] = round(self.seconds.get(stage, 0) + now - self._last, 4)
        self._last = now


class Told(Protocol):
    """What hears of the work on a job: the bar, or what sends it to whoever has one."""

    def now(self, text: str) -> None:
        """What the job that is under way has come to."""


class Act(Protocol):
    """Does a job; raises whatever goes wrong with it."""

    def __call__(self, job: Job, told: Told, /) -> Outcome: ...


class Task(Protocol):
    """What is to be done with every job. It can be pickled: a worker gets it once, and begins."""

    def begin(self) -> Act:
        """What does it, with a model that is loaded by the first job that needs it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `source` and `target` as messages call them, sizes in bytes, `seconds` by stage.

    `head` is that of the .mvc file, with the width and height of what was written. `psnr` is in dB, infinite where all
    is equal. `thumbnail` is a JPEG. `text` replaces the usual words about it.
    """

    source: str
    target: str
    state: Literal["done", "skipped", "failed"] = "done"
    head: Head | None = None
    read_bytes: int = 0
    mvc_bytes: int = 0
    written_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    psnr: float | None = None
    failure: Failure | None = None
    thumbnail: bytes = b""
    text: str = ""

    @classmethod
    def failed(cls, job: Job, failure: Failure) -> Outcome:
        """Of a job that came to nothing."""
        return cls(job.name, job.target_name, "failed", failure=failure)

    @property
    def bpp(self) -> float | None:
        """Bits per pixel of the .mvc file."""
        head = self.head
        return bits_per_pixel(self.mvc_bytes, head.width, head.height) if head and self.mvc_bytes else None

    @property
    def spent(self) -> float:
        """Seconds of all stages together."""
        return sum(self.seconds.values())

    def line(self) -> str:
        """What people are told."""
        if self.state == "skipped":
            return f"{self.source}: skipped, {self.target} is there and whole"
        head, parts = self.head, [self.text] if self.text else []
        if head and not self.text:
            parts = [f"{head.width}x{head.height}"] + [f"{self.written_bytes} bytes"] * bool(self.written_bytes)
            parts.append(f"{self.bpp:.3f} bpp" + (" by the exact coder" if head.coder == "exact" else ""))
            if self.psnr is not None:
                parts.append(f"PSNR {self.psnr:.2f} dB")
            parts.append(f"{self.spent:.2f} s")
        return f"{self.source} -> {self.target}: {', '.join(parts)}"

    def stats(self) -> dict[str, Any]:
        """What --stats tells, by name."""
        head = self.head
        told: dict[str, Any] = {"input": self.source, "output": self.target}
        if self.state == "skipped":
            told["skipped"] = True
        if head:
            told |= {"width": head.width, "height": head.height, "colour": head.colour, "alpha": head.alpha}
            told |= {"depth": head.depth, "coder": head.coder, "quality_index": head.quality_index}
        told |= {"mvc_bytes": self.mvc_bytes, "output_bytes": self.written_bytes}
        told["bpp"] = None if self.bpp is None else round(self.bpp, 6)
        if self.psnr is not None:
            told["psnr_db"] = _plain(self.psnr, 4)
        return told | {"seconds": self.seconds}

    def row(self) -> dict[str, Any]:
        """What a report has of it, by the name of the column; None for what is not known."""
        head = self.head
        index = head.quality_index if head else None
        return {
            "file": self.source,
            "output": self.target,
            "state": self.state,
            "width": head and head.width,
            "height": head and head.height,
            "input_bytes": self.read_bytes or None,
            "output_bytes": self.written_bytes or None,
            "mvc_bytes": self.mvc_bytes or None,
            "bpp": None if self.bpp is None else round(self.bpp, 4),
            "quality": None if index is None else round(quality_of(index), 2),
            "coder": head and head.coder,
            "psnr_db": None if self.psnr is None else _plain(self.psnr, 2),
            "seconds": round(self.spent, 3) if self.seconds else None,
            "error": self.failure and self.failure.message,
        }


COLUMNS = tuple(Outcome("", "").row())


def _plain(value: float, digits: int) -> float | str:
    """A number as JSON has it, where infinity is none."""
    return round(value, digits) if value != float("inf") else "inf"
