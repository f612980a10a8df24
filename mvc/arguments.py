"""What a caller says besides quality (quality.py): limits, and checks before anything is loaded.

A wrong value is a `ValueError`, a wrong kind of value a `TypeError`, both with a sentence.
"""

from __future__ import annotations

import os
from typing import SupportsIndex

from mvc.quality import whole_number

MAX_PIXELS = 8192 * 8192
"""Largest picture, in pixels, that is decoded unless the caller says otherwise."""
DEVICES = ("auto", "cpu", "cuda")
MAX_THREADS = max(64, os.cpu_count() or 1)
"""More are only slower, and some thousands end the process."""


def check_threads(threads: SupportsIndex | None) -> int | None:
    """A number of threads, or None: one per core."""
    return None if threads is None else whole_number("threads", threads, 1, MAX_THREADS)


def check_device(device: str) -> str:
    """One of `DEVICES`."""
    if not isinstance(device, str):
        raise TypeError(f"device must be a name, not {device!r:.40}")
    if device not in DEVICES:
        raise ValueError(f"device must be {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, not {device!r:.40}")
    return device


def check_model(model: str | os.PathLike[str]) -> str:
    """A model's name, or the path of a folder of weights, as text."""
    if not isinstance(model, (str, os.PathLike)) or not isinstance(os.fspath(model), str):
        raise TypeError(f"model must be a name or the path of a folder, not {model!r:.40}")
    return os.fspath(model)


def check_most(name: str, most: SupportsIndex | None) -> int | None:
    """An upper limit, at least 1, or None for no limit."""
    return None if most is None else whole_number(name, most, 1)
