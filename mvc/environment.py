"""What the process is set to, apart from torch itself (mvc/ops/computing.py)."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mvc.errors import BackendError


def prepare() -> None:
    """What torch's libraries read when torch is imported, for a program that is mvc alone; what the user has set stays.

    OpenMP's idle threads wait for 30 microseconds and then sleep: spinning for milliseconds, as is usual, they would
    take the processors from the kernels' (mvc/ops/parallel.py), and asleep they would have to be woken by each step.
    Tensors lie in huge pages, which saves nine of ten page faults.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def may_lack_threads() -> bool:
    """Whether OpenMP may give fewer threads than are asked for: oneDNN leaves out what the others should have done."""
    dynamic = os.environ.get("OMP_DYNAMIC", "").strip().lower() not in ("", "false", "0")
    return dynamic or "OMP_THREAD_LIMIT" in os.environ


def is_set_to(name: str, word: str) -> bool:
    """Whether an environment variable of mvc's says its one word; BackendError if it says another."""
    said = os.environ.get(name, "")
    if said not in ("", word):
        raise BackendError(f"{name}={said} is not known", hint=f"unset it, or set it to: {word}")
    return bool(said)


@contextmanager
def no_collections() -> Iterator[None]:
    """Python's cyclic collector rests in the block. While much is made that stays, it is a tenth of the time."""
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()
