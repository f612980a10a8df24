"""What people see: messages and progress on stderr, data on stdout, errors as two lines and an exit code."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TypeVar

from mvc.errors import MvcError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Job = TypeVar("Job")

PROGRESS_DELAY_S = 1.0
_debug = False


class UsageError(Exception):
    """The command line itself is wrong: exit code 2."""


def set_debug(wanted: bool) -> None:
    """Whether `report` shows tracebacks."""
    global _debug
    _debug = wanted


def note(text: str) -> None:
    """One line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """One `warning:` line on stderr."""
    note(f"warning: {text}")


def report(error: BaseException, name: str = "") -> None:
    """Print an error as `error:` and `hint:` lines, after its traceback if that is wanted.

    `name` is the file it is about; the message starts with it unless it has it already.
    """
    if _debug:
        import traceback

        traceback.print_exception(error)
    message, hint = _explain(error)
    note(f"error: {message}" if name in message else f"error: {name}: {message}")
    if hint:
        note(f"hint: {hint}")


def _explain(error: BaseException) -> tuple[str, str | None]:
    if isinstance(error, MvcError):
        return str(error), error.hint
    if isinstance(error, UsageError):
        return str(error), "`mvc --help`, or with a command `mvc encode --help`, shows the usage"
    if isinstance(error, MemoryError):
        return "out of memory", "a smaller picture needs less"
    if isinstance(error, OSError):
        return str(error), None
    return f"internal error: {type(error).__name__}: {error}", "--debug shows where; please report it"


def exit_after(action: Callable[[], int | None]) -> NoReturn:
    """Run `action` and exit with its result, or with the exit code of the exception that it raised."""
    try:
        code = action() or 0
    except BrokenPipeError:  # whoever read our output has gone; nothing more can be told, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        report(error)
        code = 2 if isinstance(error, UsageError) else 1
    sys.exit(code)


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
        if sys.stderr.isatty():
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

    def data(self, text: str) -> None:
        """One line of results on stdout, which may be the terminal that shows the bar."""
        with self._lock:
            if self._bar:
                self._bar.stop()
            print(text, flush=True)
            if self._bar:
                self._bar.start()

    def _text(self) -> str:
        return f"{self._verb} {self._name}"

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


def run_all(
    verb: str, jobs: Sequence[Job], name: Callable[[Job], str], action: Callable[[Job, Progress], None]
) -> None:
    """Do `action` for every job under one progress bar; exit with 1 at the end if any of them failed.

    An error in one of several jobs is told at once and the rest goes on; what is no `MvcError` ends the run.
    """
    failed = False
    with Progress(verb, len(jobs)) as progress:
        for job in jobs:
            progress.step(name(job))
            try:
                action(job, progress)
            except MvcError as error:
                report(error, name(job))
                failed = True
    if failed:
        sys.exit(1)
