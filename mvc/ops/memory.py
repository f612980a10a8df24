"""How the C library keeps memory between the tensors of one picture and the next.

glibc maps large blocks one by one, and the kernel clears their pages every time: a fifth of the time at 4K. From
now on all blocks come from the heap, whose end is kept for the next ones and given back after a large picture.
Elsewhere than on glibc these functions do nothing.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 128 << 20


@lru_cache(maxsize=1)
def _library() -> Any:
    """glibc, or None where the C library is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def set_block_policy() -> None:
    """From now on, take all blocks from the heap and keep up to 128 MiB of what is freed."""
    if library := _library():
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Return the heap's free pages to the system."""
    if library := _library():
        library.malloc_trim(0)
