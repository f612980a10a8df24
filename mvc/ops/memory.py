"""How the C library keeps memory between the tensors of one picture and the next.

Left alone, glibc maps every large block anew and unmaps it when it is freed: at 4K each tensor then costs a page
fault per 4 KiB, half the time of a decode. So blocks come from the heap, which is kept while a picture is
worked on and given back after a large one. Elsewhere than on glibc these functions do nothing.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK_BYTES = 256 << 20
_KEPT_BYTES = 2**31 - 1  # mallopt takes an int


@lru_cache(maxsize=1)
def _library() -> Any:
    """glibc, or None where the C library is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def keep_freed_blocks() -> None:
    """From now on, take blocks of up to 256 MiB from the heap and keep what is freed."""
    if library := _library():
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Return the heap's free pages to the system."""
    if library := _library():
        library.malloc_trim(0)
