"""Runs cases of a target and watches what they do: outcomes, foreign exceptions, time and memory."""

from __future__ import annotations

import re
import resource
import signal
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from mvc.errors import MvcError

CORPUS = Path(__file__).parent / "corpus"
DEFLATED = ".z"  # the end of the name of a stored case that is compressed
STATM = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Target:
    """What is tried: `make` a case, its kind and bytes, and `run` it; that returns a short word, or raises.

    A case may take `seconds` of the processor's time, and `megabytes` and four times its own size beyond what the
    process had before.
    """

    name: str
    make: Callable[[Random], tuple[str, bytes]]
    run: Callable[[bytes], str]
    seconds: float = 5.0
    megabytes: int = 64


@dataclass(frozen=True)
class Failure:
    """A case that broke the rule; `what` went wrong in one line, `trace` says where."""

    target: str
    kind: str
    what: str
    trace: str
    data: bytes


@dataclass
class Report:
    """What came of the cases of a target."""

    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest: float = 0.0  # seconds of the processor
    largest: float = 0.0  # megabytes


class TooLong(BaseException):
    """The time of a case is over; no Exception, so that nothing takes it for damage."""


def cases(target: Target, seed: int, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """The endless cases of a target from number `first` on: each depends on the seed, the name and its number alone."""
    number = first
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = target.make(Random(f"{seed} {target.name} {number}"))
        yield made
        number += 1


def attempt(target: Target, kind: str, data: bytes, report: Report) -> Failure | None:
    """Run one case, and add what came of it to the report."""
    trace = ""
    before = _memory(fresh=True)
    start = time.process_time()
    try:
        with _limited(target.seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = target.run(data)
        what = None
    except MvcError as error:
        outcome = type(error).__name__
        lines = [str(error), error.hint or ""]
        what = f"a message of several lines: {error!r}" if any("\n" in line for line in lines) else None
    except TooLong:
        outcome, what, trace = "too long", f"not done after {target.seconds:g} s", traceback.format_exc()
    except Exception as error:
        outcome, what = f"{type(error).__name__}!", f"{type(error).__name__}: {error}"
        trace = traceback.format_exc()
    took, grown = time.process_time() - start, _memory() - before
    most = target.megabytes + 4 * len(data) / 1e6
    if what is None and grown > most:
        outcome, what = "too large", f"takes {grown:.0f} MB, more than {most:.0f}"
    report.cases += 1
    report.outcomes[outcome] += 1
    report.kinds[kind] += 1
    report.slowest, report.largest = max(report.slowest, took), max(report.largest, grown)
    if what is None:
        return None
    failure = Failure(target.name, kind, what.replace("\n", " ")[:300], trace, data)
    report.failures.append(failure)
    return failure


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TooLong after so much time of the processor, or when it seems to wait for ever."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise TooLong

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 20 * seconds + 60))
    former = [(number, signal.signal(number, over)) for number, *_ in timers]
    try:
        for _, timer, most in timers:
            signal.setitimer(timer, most)
        yield
    finally:
        for _, timer, _ in timers:
            signal.setitimer(timer, 0)
        for number, handler in former:
            signal.signal(number, handler)


def _memory(fresh: bool = False) -> float:
    """Most megabytes that the process has held: since it was asked for a fresh count, where the system keeps one."""
    with suppress(OSError, TypeError):
        if fresh:
            STATM[0].write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", STATM[1].read_text())
        return int(found[1]) / 1024 if found else 0.0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1 << 20 if sys.platform == "darwin" else 1 << 10)


# --- stored cases ----------------------------------------------------------------------------------------------------


def store(folder: Path, failure: Failure, name: str) -> Path:
    """Keep a case, compressed where that makes it much smaller."""
    packed = zlib.compress(failure.data, 9)
    small = 2 * len(packed) < len(failure.data)
    path = folder / failure.target / (name + DEFLATED * small)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed if small else failure.data)
    return path


def stored(path: Path) -> bytes:
    """The bytes of a case that `store` kept."""
    data = path.read_bytes()
    return zlib.decompress(data) if path.suffix == DEFLATED else data
