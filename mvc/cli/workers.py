"""Jobs done by several processes, each with a model of its own; a process that dies takes no more than its job along.

Workers are spawned, so nothing of this process is in them but the task and a pipe. Each has one job at a time: jobs are
taken from the plan when somebody is there for them. What a worker wants to say goes through its pipe, and is said here.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from mvc.cli import terminal
from mvc.cli.jobs import Job, alike
from mvc.cli.outcome import Outcome, Task
from mvc.cli.progress import ENDING
from mvc.errors import BackendError

PATIENCE_S = 10
"""How long a worker may take to end, once it has been asked to."""


class Workers:
    """So many processes that do a task. A context manager: when it is left in haste, unfinished files are removed.

    `now` hears what a job has come to. Jobs are given one by one, and what becomes of them comes in between.
    """

    def __init__(self, task: Task, count: int, now: Callable[[str], None]) -> None:
        self._task, self._now = task, now
        self._all = [_Worker(task) for _ in range(count)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for worker in self._all:
            worker.end(at_once=kind is not None)
        for worker in self._all:
            worker.join()

    def room(self, job: Job) -> Iterator[tuple[Job, Outcome]]:
        """What becomes of other jobs, until there is a worker for this one and nobody writes what may be its output."""
        while True:
            others = [worker.job for worker in self._all if worker.job]
            if len(others) < len(self._all) and not any(alike(job, other) for other in others):
                return
            yield from self._next()

    def give(self, job: Job) -> None:
        """Have a job done, by a worker that is idle."""
        number = next(number for number, worker in enumerate(self._all) if not worker.job)
        if self._all[number].ended:
            self._all[number] = _Worker(self._task)
        self._all[number].give(job)

    def rest(self) -> Iterator[tuple[Job, Outcome]]:
        """What becomes of the jobs that are not done yet, each as soon as it is known."""
        while any(worker.job for worker in self._all):
            yield from self._next()

    def _next(self) -> Iterator[tuple[Job, Outcome]]:
        """What workers say next. Raises what ends the work on all jobs, `ENDING`."""
        pipes: dict[Any, _Worker] = {worker.pipe: worker for worker in self._all if worker.job}
        for pipe in wait(list(pipes)):
            worker = pipes[pipe]
            kind, value = worker.hear()
            if kind == "now":
                self._now(value)
            elif kind == "tell":
                terminal.tell(value)
            elif kind == "ended":
                raise value
            elif kind == "done" and worker.job:
                job, worker.job = worker.job, None
                yield job, value


class _Worker:
    """A process, and this end of its pipe."""

    def __init__(self, task: Task) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: Job | None = None
        self.ready = self.ended = False
        shown = terminal.is_quiet(), terminal.is_debug()
        self._process = context.Process(target=_work, args=(theirs, task, *shown), name="mvc-worker", daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        with suppress(OSError):  # it has died: `hear` says so
            self.pipe.send(job)

    def hear(self) -> tuple[str, Any]:
        """What kind of thing it says, and what."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return self._died()
        if kind == "ready":
            self.ready = True
        return kind, value

    def _died(self) -> tuple[str, Any]:
        self.ended = True
        self.join()
        code = self._process.exitcode or 0
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        if not self.ready:
            return "ended", BackendError(f"a worker process ended {how} before it began", hint="try without -j")
        assert self.job is not None, "who has nothing to do is not listened to"
        hint = "signal 9 is mostly what the system does when memory is short: try a smaller -j" if code == -9 else None
        return "done", Outcome.failed(self.job, terminal.Failure(f"its worker process died {how}", hint))

    def end(self, *, at_once: bool) -> None:
        """Let it end: at once, or when it has done its job."""
        if at_once:
            self._process.terminate()
        self.pipe.close()

    def join(self) -> None:
        self._process.join(PATIENCE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Whoever is started in here is deaf to Ctrl-C from its first moment: this process says what happens then."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In the worker ---------------------------------------------------------------------------------------------------


class _ToParent:
    """Takes what is told about a job to the process that shows it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def now(self, text: str) -> None:
        self._pipe.send(("now", text))


def _work(pipe: Connection, task: Task, quiet: bool, debug: bool) -> None:
    """Do jobs until no more come. The process ends here, as taking the interpreter apart would take its time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminal.set_up(debug=debug)
    terminal.set_quiet(quiet)
    terminal.tell_elsewhere(lambda text: pipe.send(("tell", text)))
    terminal.show_log()
    with suppress(EOFError, OSError):  # nobody is there any more
        act, told = task.begin(), _ToParent(pipe)
        pipe.send(("ready", None))
        while True:
            job = pipe.recv()
            try:
                outcome = act(job, told)
            except ENDING as error:
                pipe.send(("ended", error))
                break
            except Exception as error:
                outcome = Outcome.failed(job, terminal.failure_of(error))
            pipe.send(("done", outcome))
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(0)
