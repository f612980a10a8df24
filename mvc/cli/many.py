"""One input after another, or several at a time, and what is said of them: while they come, in reports, at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from functools import partial
from typing import TypeVar

from mvc.cli.jobs import STREAM, Job
from mvc.cli.outcome import Outcome, Task
from mvc.cli.parts import InParts
from mvc.cli.plan import Plan
from mvc.cli.progress import ENDING, Progress, counted
from mvc.cli.reports import Reports
from mvc.cli.terminal import failure_of, note, report, tell
from mvc.cli.workers import Workers

T = TypeVar("T")

MOST_NAMES = 20
"""Failures that are named at the end."""


def do_all(
    verb: str, plan: Plan, task: Task, *, force: bool, resume: bool, workers: int, reports: Reports, stats: bool
) -> None:
    """Do a task with every job of a plan; exit with 1 at the end if any of them failed.

    An error in one job is told at once and the rest goes on, whatever it is; only one of `ENDING` ends the run. Several
    jobs end with a summary. After Ctrl-C reports hold what has been done.
    """
    tally = Tally(verb, len(plan))
    with ExitStack() as stack:
        stack.enter_context(reports)
        progress = stack.enter_context(Progress(verb, len(plan)))
        run = _Run(plan, task, progress, force=force, resume=resume)
        outcomes = stack.enter_context(closing(run.by_workers(workers) if workers > 1 else run.here()))
        try:
            for job, outcome in outcomes:
                if outcome.state != "failed":
                    plan.done(job)
                tally.count(outcome)
                reports.add(outcome)
                if outcome.state != "failed":
                    _show(job, outcome, progress, stats)
        except KeyboardInterrupt:
            tally.interrupted = True
    tally.tell()
    if tally.interrupted:
        raise KeyboardInterrupt
    if tally.failed:
        sys.exit(1)


class _Run:
    """The jobs of a plan, on their way."""

    def __init__(self, plan: Plan, task: Task, progress: Progress, *, force: bool, resume: bool) -> None:
        self._plan, self._task, self._progress = plan, task, progress
        self._how = {"force": force, "resume": resume}

    def here(self) -> Generator[tuple[Job, Outcome]]:
        """One after another, in this process."""
        act = self._task.begin()
        if len(self._plan) > 1 and isinstance(act, InParts) and act.abreast > 1:
            from mvc.cli.abreast import abreast

            yield from self._counted(abreast(self._plan, act, self._progress, self._refused, self._attempt))
            return
        for job in self._plan:
            self._progress.step(job.name)
            outcome = self._refused(job)
            if outcome is None:
                outcome = self._attempt(job, partial(act, job, self._progress))
            yield job, outcome

    def by_workers(self, count: int) -> Generator[tuple[Job, Outcome]]:
        """Several at a time, each as soon as it is done."""
        self._progress.step(next(iter(self._plan)).name)
        with Workers(self._task, count, self._progress.now) as workers:
            for job in self._plan:
                yield from self._counted(workers.room(job))
                if refusal := self._refused(job):
                    yield from self._counted([(job, refusal)])
                else:
                    workers.give(job)
            yield from self._counted(workers.rest())

    def _counted(self, outcomes: Iterable[tuple[Job, Outcome]]) -> Generator[tuple[Job, Outcome]]:
        for job, outcome in outcomes:
            self._progress.step(job.name)
            yield job, outcome

    def _refused(self, job: Job) -> Outcome | None:
        """The outcome of a job that cannot even begin."""
        return self._attempt(job, lambda: self._plan.start(job, **self._how))

    @staticmethod
    def _attempt(job: Job, action: Callable[[], T]) -> T | Outcome:
        """What an action for a job gives; an error, but for one of `ENDING`, is its outcome."""
        try:
            return action()
        except ENDING:
            raise
        except Exception as error:
            return Outcome.failed(job, failure_of(error))


class Tally:
    """Counts, and the names of the first that failed."""

    def __init__(self, verb: str, total: int) -> None:
        self._verb, self._total = verb, total
        self.done = self.skipped = self.failed = 0
        self.interrupted = False
        self._names: list[str] = []
        self._before = self._after = 0
        self._hints: set[str] = set()
        self._began = time.perf_counter()

    def count(self, outcome: Outcome) -> None:
        """Count an outcome; a failure is told."""
        if outcome.state == "failed":
            self.failed += 1
            if outcome.failure:
                report(outcome.failure, outcome.source, known_hints=self._hints)
            if len(self._names) < MOST_NAMES:
                self._names.append(outcome.source)
        elif outcome.state == "skipped":
            self.skipped += 1
        else:
            self.done += 1
            self._before += outcome.read_bytes
            self._after += outcome.written_bytes

    def tell(self) -> None:
        """The summary, where there were several; what failed is named, what cannot be read so soon again."""
        if self._total <= 1:
            return
        for name in self._names if self._total > len(self._names) else []:
            note(f"failed: {name}")
        if self.failed > len(self._names):
            note(f"failed: {self.failed - len(self._names)} more, which --report would name")
        if self.done and self._before and self._after:
            seconds = time.perf_counter() - self._began
            share = 100 * self._after / self._before
            note(
                f"{self._before} bytes became {self._after} ({share:.1f} %), in {seconds:.1f} s, "
                f"{self.done / max(seconds, 1e-6):.1f} files a second"
            )
        if self.interrupted:
            tell(f"{self._verb}: interrupted; finished files are whole, and --resume goes on with the others")
        (tell if self.failed else note)(counted(self._verb, self._total, self.done, self.failed, self.skipped))


def _show(job: Job, outcome: Outcome, progress: Progress, stats: bool) -> None:
    """The result for people on stderr, or as JSON on stdout (stderr while stdout carries the file itself)."""
    if not stats:
        note(outcome.line())
        return
    line = json.dumps(outcome.stats())
    if job.target == STREAM:
        note(line)
    else:
        progress.data(line)
