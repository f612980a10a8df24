"""Run a numba kernel over independent tasks on torch's thread count, with threads that sleep when idle.

A plain thread pool instead of numba's own: two OpenMP pools that spin on two cores ruin each other. What torch itself
is set to while the codec computes is in computing.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from mvc.threads import in_threads

T = TypeVar("T")
R = TypeVar("R")


class Kernel(Protocol):
    def __call__(self, begin: int, end: int, /, *arrays: Any) -> None: ...


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="mvc-ops")


if hasattr(os, "register_at_fork"):  # a child has the pools without their threads: what they are given is never done
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(kernel: Kernel, tasks: int, *arrays: Any) -> None:
    """Call `kernel(begin, end, *arrays)` so that the ranges cover 0 ... tasks."""
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        kernel(0, tasks, *arrays)
        return
    bounds = [tasks * i // threads for i in range(threads + 1)]
    waiting = [_pool(threads - 1).submit(kernel, bounds[i], bounds[i + 1], *arrays) for i in range(1, threads)]
    kernel(bounds[0], bounds[1], *arrays)
    for future in waiting:
        future.result()


def each(function: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """The function of every item, by so many threads: for work that releases the GIL."""
    # not by the pool of `run`, which may wait for it
    return list(in_threads(min(threads, len(items)))(function, items))


def array(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's memory as numpy; bfloat16 appears as uint16 bits (see lanes.load)."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
