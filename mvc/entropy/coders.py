"""`Encoder` and `Decoder`: symbols to bytes and back, in as many parts as the model's prior needs.

    encoder = Encoder(tables)                           decoder = Decoder(stream, tables)
    encoder.put(symbols, rows)                          symbols = decoder.take(rows)
    encoder.put(more_symbols, more_rows)                more_symbols = decoder.take(more_rows)
    stream = encoder.finish()                           decoder.finish()

How the symbols are split into parts leaves no trace in the stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvc.entropy import rans_numba
from mvc.entropy.rans import START, join_stream, split_stream
from mvc.entropy.tables import MAX_VALUE, Tables
from mvc.errors import Corrupt, Limit, Truncated

__all__ = ["Decoder", "Encoder"]


class Encoder:
    """Collects symbols in the order in which they will be decoded; bitstream_spec.md, entropy coding."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []

    def put(self, symbols: ArrayLike, rows: ArrayLike) -> None:
        """Append symbols[n], each to be coded with its row of the tables, rows[n]; any integer types, copied.

        Limit if a symbol is beyond MAX_VALUE; ValueError if the arrays do not fit each other or the tables.
        """
        values, row = _integers("symbols", symbols), _rows(rows, self._tables)
        if values.size != row.size:
            raise ValueError(f"{values.size} symbols for {row.size} rows")
        if values.size and (largest := max(-int(values.min()), int(values.max()))) > MAX_VALUE:
            raise Limit(f"a symbol of magnitude {largest} cannot be coded: the most is {MAX_VALUE}")
        self._parts.append((values.astype(np.int32, order="C"), row))

    def finish(self) -> bytes:
        """The stream of everything put so far; empty if that is nothing."""
        tables = self._tables
        count = sum(row.size for _, row in self._parts)
        if count == 0:
            return b""
        # Written from its end backward: what is not needed is never touched, so costs no memory.
        words = np.empty(count * rans_numba.WORDS_PER_SYMBOL, np.uint16)
        position, state = words.size, START
        for values, row in reversed(self._parts):
            position, state = rans_numba.encode(
                *(values, row, words, position, state),
                *(tables.entries, tables.start, tables.half_width, tables.lowest),
            )
        return join_stream(state, words[position:].astype("<u2", copy=False).tobytes())


class Decoder:
    """Reads symbols back from a stream that may be damaged; after an error it must not be used further.

    The constructor and `take` raise Truncated if the stream ends too early and Corrupt if it breaks a rule.
    Neither knows the file around the stream: the caller adds chunk and offset to the error.
    """

    def __init__(self, stream: bytes, tables: Tables) -> None:
        self._tables = tables
        self._empty = not stream
        self._taken = False
        self._state, words = split_stream(stream)
        self._words = np.frombuffer(words, "<u2").astype(np.uint16, copy=False)
        self._position = 0

    def take(self, rows: ArrayLike) -> NDArray[np.int32]:
        """The next symbols[n], one for each of rows[n]; ValueError if a row is not in the tables."""
        row = _rows(rows, self._tables)
        symbols = np.empty(row.size, np.int32)
        tables = self._tables
        self._position, self._state, outcome = rans_numba.decode(
            *(symbols, row, self._words, self._position, self._state),
            *(tables.entries, tables.buckets, tables.start, tables.half_width, tables.lowest),
            *tables.usual,
        )
        if outcome == rans_numba.SHORT:
            raise Truncated("the coded symbols end too early")
        if outcome == rans_numba.ABSURD:
            raise Corrupt("a coded symbol is absurdly large")
        self._taken = self._taken or row.size > 0
        return symbols

    def finish(self) -> None:
        """Check that the symbols taken are all that the stream holds: Corrupt if not."""
        complete = self._state == START and self._position == self._words.size
        if not complete or self._taken == self._empty:
            raise Corrupt("the coded symbols do not end where they should")


def _integers(name: str, values: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name} must be a one-dimensional array of integers")
    return array


def _rows(rows: ArrayLike, tables: Tables) -> NDArray[np.int32]:
    """A copy of `rows`, all of them within the tables: the compiled loops rely on it."""
    array = _integers("rows", rows)
    if array.size and not (array.min() >= 0 and array.max() < tables.rows):
        raise ValueError(f"rows must lie in 0..{tables.rows - 1}")
    return array.astype(np.int32, order="C")
