"""Work on many things at a time, for what releases the GIL: threads that are there for one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Run = Callable[..., Iterable[Any]]
"""`map`, or what does the same in threads."""


def in_threads(threads: int) -> Run:
    """What has so many items of an iterable worked on at a time, by what leaves the other threads alone."""
    if threads <= 1:
        return map

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        with ThreadPoolExecutor(threads, thread_name_prefix="mvc-threads") as pool:
            return list(pool.map(function, items))

    return run
