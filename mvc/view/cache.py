"""What was made lately, as much as fits."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """At most so many bytes, by `size`; what was used last stays. One that is larger than that is kept alone."""

    def __init__(self, most_bytes: int, size: Callable[[T], int]) -> None:
        self._most, self._size = most_bytes, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """What was put under a key, if it is still there."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Hashable, value: T) -> T:
        """Keep a value, which is returned."""
        with self._lock:
            old = self._kept.pop(key, None)
            self._bytes += self._size(value) - (0 if old is None else self._size(old))
            self._kept[key] = value
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= self._size(self._kept.popitem(last=False)[1])
            return value
