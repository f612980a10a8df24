"""Where the symbols of a network's parts go: each part a stream of its own, or many parts in one stream.

A still picture has a stream for each part, so that the first ones are worth something alone. A frame of a clip is
small: all its parts share one stream, which saves the beginnings and ends of five or seven.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mvc.entropy.coders import Decoder, Encoder
from mvc.entropy.tables import Tables, joined
from mvc.errors import at
from mvc.threads import share


class Writer(Protocol):
    """Takes symbols in coding order; `end` after each part."""

    def put(self, symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None: ...

    def end(self) -> None: ...


class Reader(Protocol):
    """Gives symbols in coding order; `end` after each part, which checks what can be checked then.

    `batch` is of how many signals of one size: a `take` gives all of the first one's symbols, then the next one's.
    """

    @property
    def batch(self) -> int: ...

    def take(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]: ...

    def end(self) -> None: ...


class SeparateWriter:
    """A stream for each part, which is coded under one table; empty for a part without symbols."""

    def __init__(self) -> None:
        self.streams: list[bytes] = []
        self._encoder: Encoder | None = None

    def put(self, symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None:
        self._encoder = self._encoder or Encoder(tables)
        self._encoder.put(symbols, rows)

    def end(self) -> None:
        self.streams.append(self._encoder.finish() if self._encoder else b"")
        self._encoder = None


class SeparateReader:
    """The inverse of SeparateWriter; errors tell the number of the stream."""

    batch = 1

    def __init__(self, streams: Sequence[bytes]) -> None:
        self.streams = streams
        self._number = 0
        self._decoder: Decoder | None = None

    def take(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        with at(f"stream {self._number}"):
            if self._decoder is None:
                self._decoder = Decoder(self.streams[self._number], tables)
            return self._decoder.take(rows)

    def end(self) -> None:
        with at(f"stream {self._number}"):
            if self._decoder is not None:
                self._decoder.finish()
        self._number += 1
        self._decoder = None


class Abreast:
    """Readers of streams that are alike as one: of all that is asked for each gives its share, in a thread of its own.

    For use as a context, at whose end the threads are gone.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers, self.batch = readers, len(readers)
        self._pool = ThreadPoolExecutor(min(share(), len(readers)), "mvc-readers")

    def take(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        parts = rows.reshape(self.batch, -1)
        return np.concatenate(list(self._pool.map(lambda own, part: own.take(part, tables), self._readers, parts)))

    def end(self) -> None:
        for reader in self._readers:
            reader.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


class FirstParts:
    """The first parts of what a reader has, where the others are not there or not wanted: their symbols are all 0.

    So what they would have said is what the prior expects.
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader, self._left, self.batch = reader, count, reader.batch

    def take(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        return self._reader.take(rows, tables) if self._left > 0 else np.zeros(rows.shape, np.int32)

    def end(self) -> None:
        if self._left > 0:
            self._reader.end()
        self._left -= 1


class Joint:
    """Several tables as one: the rows of each behind those of the one before. Made once for a model."""

    def __init__(self, tables: Sequence[Tables]) -> None:
        self.tables = joined(tables)
        self._first = {own: sum(t.rows for t in tables[:index]) for index, own in enumerate(tables)}

    def rows(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        """Rows of one of them as rows of all."""
        return rows + np.int32(self._first[tables])


class JointWriter:
    """Parts for one stream, in which others may stand before and behind them."""

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []

    def put(self, symbols: NDArray[np.int32], rows: NDArray[np.int32], tables: Tables) -> None:
        self._parts.append((symbols, self._joint.rows(rows, tables)))

    def end(self) -> None:
        pass

    def add(self, other: JointWriter) -> None:
        """Let the parts of another follow."""
        self._parts += other._parts

    def finish(self) -> bytes:
        """The stream; empty without symbols."""
        encoder = Encoder(self._joint.tables)
        for symbols, rows in self._parts:
            encoder.put(symbols, rows)
        return encoder.finish()


class JointReader:
    """The inverse of JointWriter."""

    batch = 1

    def __init__(self, joint: Joint, stream: bytes) -> None:
        self._joint = joint
        self._decoder = Decoder(stream, joint.tables)

    def take(self, rows: NDArray[np.int32], tables: Tables) -> NDArray[np.int32]:
        return self._decoder.take(self._joint.rows(rows, tables))

    def end(self) -> None:
        pass

    def finish(self) -> None:
        """Check that all of it was read: Corrupt if not."""
        self._decoder.finish()
