"""Work on many files: a bar, one line for each error, and a summary."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from mvc.cli.terminal import StdoutError, UsageError, is_quiet, note, print_line, printable, report, tell
from mvc.errors import BackendError, WeightsError
from mvc.files import reason

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Job = TypeVar("Job")

PROGRESS_DELAY_S = 1.0


class Progress:
    """A bar on stderr that appears when the work takes more than a second, if stderr is a terminal at all."""

    def __init__(self, verb: str, total: int) -> None:
        self._verb, self._total = verb, total
        self._done, self._name = -1, ""
        self._bar: RichProgress | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(PROGRESS_DELAY_S, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not is_quiet():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._total = 0  # a timer that fires just now shows nothing
            if self._bar:
                self._bar.stop()

    def step(self, name: str) -> None:
        """The item before is done and `name` is next."""
        with self._lock:
            self._done, self._name = self._done + 1, name
            if self._bar:
                self._bar.update(self._bar.task_ids[0], completed=self._done, description=self._text())

    def now(self, name: str) -> None:
        """What the item that is under way has come to."""
        with self._lock:
            self._name = name
            if self._bar:
                self._bar.update(self._bar.task_ids[0], description=self._text())

    def data(self, *lines: str) -> None:
        """Lines of results on stdout, which may be the terminal that shows the bar; `StdoutError` if they get lost."""
        with self._lock:
            if self._bar:
                self._bar.stop()
            try:
                for line in lines:
                    print_line(line, "stdout")
            except BrokenPipeError:
                raise
            except OSError as error:
                raise StdoutError(f"cannot write to stdout: {reason(error)}") from error
            if self._bar:
                self._bar.start()

    def _text(self) -> str:
        return f"{self._verb} {printable(self._name)}"

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()]
        if self._total > 1:
            columns[2:2] = [BarColumn(), MofNCompleteColumn()]
        with self._lock:
            if self._total:
                # Messages go above the bar through rich's stderr; stdout is data and stays untouched.
                console = Console(stderr=True)
                self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=False)
                self._bar.add_task(self._text(), total=self._total, completed=max(self._done, 0))
                self._bar.start()


ENDING = (BackendError, WeightsError, UsageError, StdoutError, BrokenPipeError)
"""Errors that are not about a file (no model, no device, nobody to tell results to, wrong usage)."""


def run_all(
    verb: str, jobs: Sequence[Job], name: Callable[[Job], str], action: Callable[[Job, Progress], None]
) -> None:
    """Do `action` for every job under one progress bar; exit with 1 at the end if any of them failed.

    An error in one job is told at once and the rest goes on, whatever it is; only one of `ENDING` ends the run. Several
    jobs end with a summary.
    """
    failed = 0
    hints: set[str] = set()
    with Progress(verb, len(jobs)) as progress:
        for job in jobs:
            progress.step(name(job))
            try:
                action(job, progress)
            except ENDING:
                raise
            except Exception as error:
                report(error, name(job), known_hints=hints)
                failed += 1
    if len(jobs) > 1:
        (tell if failed else note)(counted(verb, len(jobs), len(jobs) - failed, failed))
    if failed:
        sys.exit(1)


def counted(verb: str, total: int, done: int, failed: int, skipped: int = 0) -> str:
    """The last line about many files."""
    counts = [f"{done} of {total} files done"]
    counts += [f"{skipped} skipped"] * bool(skipped) + [f"{failed} failed"] * bool(failed)
    return f"{verb}: {', '.join(counts)}"
