"""Fields: one description of a chunk's payload that reads, writes, prints and documents it.

A chunk's payload is a tuple of fields (chunks.py holds one tuple per chunk type). `read`, `write` and
`show` walk that tuple; `rows` yields the lines of the chunk's table in bitstream_spec.md (section 3), and a
test holds the two together. A parsed payload is a plain dict, field name to value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from mvc.errors import Corrupt, Limit, Unsupported

Record = Mapping[str, Any]
Row = tuple[str, str, str]  # field, coding, allowed values

VARINT_BYTES = 5  # at most, so values stay below 2^35
UPGRADE = "a newer version of mvc may read it: pip install --upgrade mvc"


class Supply(ABC):
    """What hands out bytes in order: a payload (`Cursor`) or a whole file (`chunks.Source`).

    `position` is an offset into the file, and `chunk` the name of the chunk that errors tell.
    """

    position: int
    chunk: str | None = None

    @abstractmethod
    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; `what` names them should they be missing, which is a FormatError."""

    def number(self, width_bytes: int, what: str) -> int:
        """The next unsigned little-endian integer of `width_bytes` bytes."""
        return int.from_bytes(self.take(width_bytes, what), "little")

    def varint(self, what: str) -> int:
        """The next canonical LEB128 varint of at most five bytes (spec section 2.2)."""
        start, value = self.position, 0
        for index in range(VARINT_BYTES):
            byte = self.number(1, what)
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise Corrupt(f"{what} is padded with a zero group", offset=start, chunk=self.chunk)
                return value
        raise Corrupt(f"{what} takes more than {VARINT_BYTES} bytes", offset=start, chunk=self.chunk)


class Cursor(Supply):
    """A position in a payload that begins at byte `start` of its file; too few bytes are Corrupt.

    The payload has `length` bytes. Where only its first fields are to be read, `data` may be shorter.
    """

    def __init__(self, data: bytes, start: int = 0, length: int | None = None, chunk: str | None = None) -> None:
        self.data = data
        self.start = self.position = start
        self.end = start + (len(data) if length is None else length)
        self.chunk = chunk

    def left(self) -> int:
        """Bytes between the position and the payload's end."""
        return self.end - self.position

    def take(self, count: int, what: str) -> bytes:
        if count > self.left():
            raise Corrupt(
                f"the chunk ends too early: {what} has {self.left()} of {count} bytes",
                offset=self.position,
                chunk=self.chunk,
            )
        first = self.position - self.start
        self.position += count
        return self.data[first : first + count]


def write_varint(value: int, out: bytearray) -> None:
    """Append `value`, 0..2^35-1, to `out` as a varint."""
    if not 0 <= value < 1 << (7 * VARINT_BYTES):
        raise Limit(f"{value} does not fit a varint (0..2^{7 * VARINT_BYTES}-1)")
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class Field(Protocol):
    """What a field description can do."""

    def read(self, cursor: Cursor) -> dict[str, Any]:
        """Parse the field at the cursor into its named value, or values."""

    def write(self, record: Record, out: bytearray) -> None:
        """Append the field's bytes."""

    def show(self, record: Record) -> dict[str, Any]:
        """The value, or values, as JSON-ready values for people."""

    def rows(self) -> Iterator[Row]:
        """The field's lines in the specification's table."""


class Bits(NamedTuple):
    """`width` bits of a `Flags` byte; code c stands for `values[c]`, and codes beyond are unsupported."""

    name: str
    width: int
    values: Sequence[Any]


class Flags(NamedTuple):
    """One byte of bit groups, the first at bit 0; bits above the last group are reserved and must be zero."""

    groups: tuple[Bits, ...]

    def read(self, cursor: Cursor) -> dict[str, Any]:
        rest = cursor.number(1, "flags")
        record = {}
        for group in self.groups:
            rest, code = divmod(rest, 1 << group.width)
            if code >= len(group.values):
                raise Unsupported(
                    f"{group.name} has code {code}, which this version does not know", hint=UPGRADE
                )
            record[group.name] = group.values[code]
        if rest:
            raise Unsupported("a reserved bit of flags is set", hint=UPGRADE)
        return record

    def write(self, record: Record, out: bytearray) -> None:
        byte = shift = 0
        for group in self.groups:
            value = record[group.name]
            if value not in group.values:
                known = ", ".join(map(str, group.values))
                raise Unsupported(f"{group.name} cannot be {value}, only {known}")
            byte |= group.values.index(value) << shift
            shift += group.width
        out.append(byte)

    def show(self, record: Record) -> dict[str, Any]:
        return {group.name: record[group.name] for group in self.groups}

    def rows(self) -> Iterator[Row]:
        yield "flags", "u8", "the bit groups below"
        first = 0
        for group in self.groups:
            values = ", ".join(f"{code} = {value}" for code, value in enumerate(group.values))
            if isinstance(group.values, range):
                values = f"{group.values[0]}..{group.values[-1]}"
            yield group.name, f"bits {first}-{first + group.width - 1} of flags", values
            first += group.width
        if first < 8:
            yield "reserved", f"bits {first}-7 of flags", "0"


class Number(NamedTuple):
    """An unsigned integer in `low..high`: little-endian in `width_bytes` bytes, or a varint if that is 0."""

    name: str
    low: int
    high: int
    width_bytes: int = 0

    def _checked(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise Limit(f"{self.name} is {value}, outside {self.low}..{self.high}")
        return value

    def read(self, cursor: Cursor) -> dict[str, Any]:
        value = cursor.number(self.width_bytes, self.name) if self.width_bytes else cursor.varint(self.name)
        return {self.name: self._checked(value)}

    def write(self, record: Record, out: bytearray) -> None:
        value = self._checked(record[self.name])
        if self.width_bytes:
            out += value.to_bytes(self.width_bytes, "little")
        else:
            write_varint(value, out)

    def show(self, record: Record) -> dict[str, Any]:
        return {self.name: record[self.name]}

    def rows(self) -> Iterator[Row]:
        coding = f"u{8 * self.width_bytes}" if self.width_bytes else "varint"
        yield self.name, coding, f"{self.low}..{self.high}"


class Raw(NamedTuple):
    """Uninterpreted bytes: exactly `length_bytes` of them, or the rest of the payload if that is None."""

    name: str
    length_bytes: int | None = None

    def read(self, cursor: Cursor) -> dict[str, Any]:
        count = cursor.left() if self.length_bytes is None else self.length_bytes
        return {self.name: cursor.take(count, self.name)}

    def write(self, record: Record, out: bytearray) -> None:
        value = record[self.name]
        if self.length_bytes not in (None, len(value)):
            raise Limit(f"{self.name} has {len(value)} bytes instead of {self.length_bytes}")
        out += value

    def show(self, record: Record) -> dict[str, Any]:
        return {self.name: record[self.name].hex()}

    def rows(self) -> Iterator[Row]:
        coding = "bytes to the end" if self.length_bytes is None else f"{self.length_bytes} bytes"
        yield self.name, coding, "any"


class Sizes(NamedTuple):
    """The sizes in bytes of 1..255 parts that follow to the end of the payload.

    Their number comes first, then all sizes but the last one, which is what is left: a file cannot contradict itself.
    """

    name: str

    def read(self, cursor: Cursor) -> dict[str, Any]:
        count = self._checked(cursor.number(1, f"the number of {self.name}"))
        sizes = [cursor.varint(self.name) for _ in range(count - 1)]
        last = cursor.left() - sum(sizes)
        if last < 0:
            raise Corrupt(
                f"the {self.name} add up to {-last} bytes more than the chunk has",
                offset=cursor.position,
                chunk=cursor.chunk,
            )
        return {self.name: (*sizes, last)}

    def write(self, record: Record, out: bytearray) -> None:
        sizes = record[self.name]
        out.append(self._checked(len(sizes)))
        for size in sizes[:-1]:
            write_varint(size, out)

    def _checked(self, count: int) -> int:
        if not 1 <= count <= 255:
            raise Limit(f"the number of {self.name} is {count}, outside 1..255")
        return count

    def show(self, record: Record) -> dict[str, Any]:
        return {self.name: list(record[self.name])}

    def rows(self) -> Iterator[Row]:
        yield self.name, "u8 n, then n - 1 varints", "n is 1..255"


class Tail(NamedTuple):
    """The last fields of a payload, which has all of them or ends before the first: then their values are None."""

    fields: tuple[Field, ...]

    @property
    def _names(self) -> list[str]:
        return [name for name, _, _ in self.rows()]

    def read(self, cursor: Cursor) -> dict[str, Any]:
        return begin(self.fields, cursor) if cursor.left() else dict.fromkeys(self._names)

    def write(self, record: Record, out: bytearray) -> None:
        missing = [name for name in self._names if record[name] is None]
        if missing and len(missing) < len(self._names):
            raise Limit(f"{missing[0]} is missing, though {', '.join(set(self._names) - set(missing))} is there")
        for field in () if missing else self.fields:
            field.write(record, out)

    def show(self, record: Record) -> dict[str, Any]:
        if record[self._names[0]] is None:
            return dict.fromkeys(self._names)
        return show(self.fields, record)

    def rows(self) -> Iterator[Row]:
        for name, coding, values in rows(self.fields):
            yield name, f"{coding}, or nothing", values


def begin(fields: tuple[Field, ...], cursor: Cursor) -> dict[str, Any]:
    """Parse the first fields of a payload, each checked before the next is looked at."""
    record: dict[str, Any] = {}
    for field in fields:
        record |= field.read(cursor)
    return record


def read(fields: tuple[Field, ...], cursor: Cursor) -> dict[str, Any]:
    """Parse one whole payload; bytes that no field claims are Corrupt."""
    record = begin(fields, cursor)
    if cursor.left():
        raise Corrupt("the payload goes on after its last field", offset=cursor.position, chunk=cursor.chunk)
    return record


def write(fields: tuple[Field, ...], record: Record) -> bytes:
    """The payload that `read` parses back to `record`."""
    out = bytearray()
    for field in fields:
        field.write(record, out)
    return bytes(out)


def show(fields: tuple[Field, ...], record: Record) -> dict[str, Any]:
    """The record with JSON-ready values."""
    return {name: value for field in fields for name, value in field.show(record).items()}


def rows(fields: tuple[Field, ...]) -> list[Row]:
    """The lines (field, coding, values) of the payload's table in the specification."""
    return [row for field in fields for row in field.rows()]
