"""Small jobs side by side in one process, each by one thread: several threads are slower than one with a small picture.

Threads read and code; the main thread writes and tells, in the order of the inputs, while they go on. Jobs that are not
small are done alone, by all threads, when those before them are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from mvc.cli.jobs import Job, alike
from mvc.cli.outcome import Outcome, Told
from mvc.cli.parts import InParts
from mvc.threads import keep_to

AHEAD = 2
"""Jobs for each thread that are begun and not yet written."""
Attempt = Callable[[Job, Callable[[], Outcome]], Outcome]
Waiting = deque[tuple[Job, "Future[Callable[[], Outcome]]"]]


def abreast(
    jobs: Iterable[Job], act: InParts, told: Told, refused: Callable[[Job], Outcome | None], attempt: Attempt
) -> Generator[tuple[Job, Outcome]]:
    """Do jobs, and give what becomes of each, in their order.

    `refused` gives the outcome of a job that cannot begin; `attempt` calls something for a job and makes a failure of
    its errors, but for those that end all. When this is closed in the middle, nobody waits for what is under way.
    """
    pool = ThreadPoolExecutor(act.abreast, "mvc-abreast", keep_to, (1,))
    waiting: Waiting = deque()

    def first() -> tuple[Job, Outcome]:
        job, made = waiting.popleft()
        return job, attempt(job, lambda: made.result()())

    try:
        for job in jobs:
            while waiting and (len(waiting) >= AHEAD * act.abreast or any(alike(job, other) for other, _ in waiting)):
                yield first()
            small = act.small(job)
            while waiting and not small:
                yield first()
            outcome = refused(job)
            if outcome is None and small:
                waiting.append((job, pool.submit(act.prepare, job, told)))
                continue
            while waiting:
                yield first()
            yield job, outcome or attempt(job, partial(act, job, told))
        while waiting:
            yield first()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
