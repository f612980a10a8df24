"""How the C library keeps memory between the tensors of one picture and the next, and what a GPU has comes to it.

glibc maps large blocks one by one, and the kernel clears their pages every time: a fifth of the time at 4K. With these
functions only blocks from 32 MiB on are mapped, the most that glibc allows; with none mapped, holes in the heap once
took half a gigabyte. The heap's end is kept for the next blocks and given back after a large picture. Elsewhere than on
glibc these functions do nothing.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK_BYTES = 32 << 20
_KEPT_BYTES = 128 << 20


@lru_cache(maxsize=1)
def _library() -> Any:
    """glibc, or None where the C library is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def set_block_policy() -> None:
    """From now on, take blocks below 32 MiB from the heap and keep up to 128 MiB of what is freed."""
    if library := _library():
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Return the heap's free pages to the system."""
    if library := _library():
        library.malloc_trim(0)


class Fetched:
    """A tensor on its way from its device, by pinned memory from a GPU."""

    def __init__(self, x: Tensor) -> None:
        self._copy = x.to("cpu", non_blocking=True)
        self._event = torch.cuda.current_stream(x.device).record_event() if x.is_cuda else None

    def wait(self) -> np.ndarray:
        """Its values; what the GPU is told meanwhile goes on."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy.numpy()
