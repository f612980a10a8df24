"""Work on many things at a time, for what releases the GIL: threads that are there for one call, and how many.

A call has a share of the cores: all of them, unless who called it said less (`threads=2`, a worker among several). What
is worked on in several threads shares it among them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Run = Callable[..., Iterable[Any]]
"""`map`, or what does the same in threads."""
_this = threading.local()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share() -> int:
    """How many threads what is called here may use."""
    return getattr(_this, "threads", None) or cores()


@contextmanager
def sharing(threads: int | None) -> Iterator[None]:
    """In here this thread, and those of `in_threads` below it, use so many together; None: as many as before."""
    before = getattr(_this, "threads", None)
    _this.threads = threads or before
    try:
        yield
    finally:
        _this.threads = before


def keep_to(threads: int) -> None:
    """From now on this thread uses so many."""
    _this.threads = threads


def in_threads(threads: int) -> Run:
    """What has so many items of an iterable worked on at a time, by what leaves the other threads alone."""
    if threads <= 1:
        return map

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        given = list(items)
        count = min(threads, len(given))
        if count <= 1:  # which may itself use all threads
            return list(map(function, given))
        from concurrent.futures import ThreadPoolExecutor  # takes some ms, which `mvc info` does not have

        own = max(1, share() // count)
        with ThreadPoolExecutor(count, "mvc-threads", keep_to, (own,)) as pool:
            return list(pool.map(function, given))

    return run
