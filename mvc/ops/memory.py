"""How the C library keeps memory between the tensors of one picture and the next.

Tensors of a 4K picture are mapped one by one and unmapped when they are freed: from a heap they would leave holes of up
to half a gigabyte. Smaller blocks come from the heap, whose end is kept for the next ones and given back after a
large picture. Elsewhere than on glibc these functions do nothing.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK_BYTES = 16 << 20
_KEPT_BYTES = 128 << 20


@lru_cache(maxsize=1)
def _library() -> Any:
    """glibc, or None where the C library is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def set_block_policy() -> None:
    """From now on, take blocks below 16 MiB from the heap and keep up to 128 MiB of what is freed."""
    if library := _library():
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Return the heap's free pages to the system."""
    if library := _library():
        library.malloc_trim(0)
