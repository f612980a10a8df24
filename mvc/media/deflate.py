"""Deflate for what does not fit in memory: unpacked as far as it is asked for, packed by several threads."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from mvc.errors import SourceError
from mvc.media.window import cut_off
from mvc.threads import share

_MOST_THREADS = 8
_LEVEL = 3
"""Smaller than level 4 on Kodak and on drawn pictures, and no slower; 5 takes half as long again for 1 % less."""
_REACH = 1 << 15  # of deflate, in bytes


class Inflater:
    """What is in a zlib stream that `source` hands over in parts (empty at its end), as far as it is asked for.

    Raises `SourceError` where the stream is damaged, or ends too early.
    """

    def __init__(self, source: Callable[[], bytes], label: str) -> None:
        self.source, self.label = source, label
        self.unpacker, self.rest = zlib.decompressobj(), b""

    def fill(self, target: memoryview) -> None:
        """The next bytes of what is deflated."""
        done = 0
        while done < len(target):
            part, more = self._next(len(target) - done)
            target[done : done + len(part)] = part
            done += len(part)
            if done < len(target) and not more:
                raise cut_off(self.label)

    def finish(self) -> None:
        """Check the stream up to its end where it has no more to give; that its end is missing does not matter."""
        more = True
        while more:
            part, more = self._next(1)
            more = more and not part and not self.unpacker.eof

    def _next(self, most: int) -> tuple[bytes, bool]:
        """At most so many bytes, and whether there may be more."""
        given = self.rest or self.source()
        try:
            part = self.unpacker.decompress(given, most)
        except zlib.error as error:
            raise SourceError(f"{self.label} is broken: its samples are damaged") from error
        self.rest = self.unpacker.unconsumed_tail
        return part, bool(part or given) and not self.unpacker.eof


class InOrder:
    """Packs parts in several threads; `take` gets what comes of them, in the order in which they were given."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.take, self.threads = take, min(share(), _MOST_THREADS)
        self.pool = ThreadPoolExecutor(self.threads)
        self.waiting: deque[Future[bytes]] = deque()

    def give(self, work: Callable[..., bytes], *arguments: bytes) -> None:
        """Do some work at its time; waits while there is more to do than threads."""
        self.waiting.append(self.pool.submit(work, *arguments))
        while len(self.waiting) > self.threads:
            self.take(self.waiting.popleft().result())

    def finish(self) -> None:
        """Wait for all that was given."""
        while self.waiting:
            self.take(self.waiting.popleft().result())
        self.pool.shutdown()


class Deflater:
    """One zlib stream of parts that are packed by themselves, each knowing the end of the one before it.

    The stream is the same for any number of threads.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.order, self.sum, self.before = InOrder(take), zlib.adler32(b""), b""
        self.head = b"\x78\x5e"  # deflate with a window of 32 kB

    def give(self, part: bytes) -> None:
        """The next bytes of what is packed: half a megabyte and more, or it becomes larger than it need be."""
        self.order.give(_packed_part, self.head, self.before, part)
        self.sum, self.before, self.head = zlib.adler32(part, self.sum), part[-_REACH:], b""

    def finish(self) -> None:
        """Nothing follows."""
        self.order.give(bytes, b"\3\0" + self.sum.to_bytes(4, "big"))  # a last block that is empty
        self.order.finish()


def packed(data: bytes) -> bytes:
    """A zlib stream."""
    return zlib.compress(data, _LEVEL)


def _packed_part(head: bytes, before: bytes, part: bytes) -> bytes:
    packer = (
        zlib.compressobj(_LEVEL, zlib.DEFLATED, -15, zdict=before) if before else zlib.compressobj(_LEVEL, wbits=-15)
    )
    return head + packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
