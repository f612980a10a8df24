"""How large a picture is meant to be: pixels to an inch, centimetre or metre, from and into what formats say of it.

`Metadata.resolution` is a byte (0: the numbers are only the shape of a pixel, 1: to an inch, 2: to a centimetre, 3: to
a metre) and two numbers of four bytes, least significant first: across and down.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from mvc.media import exif
from mvc.media.exif import Tag

NONE, INCH, CENTIMETRE, METRE = range(4)
ACROSS, DOWN, UNIT = 282, 283, 296
"""Tags of TIFF, whose units are 1 (none), 2 (inch) and 3 (centimetre)."""
_TO_METRE = {INCH: Fraction(10000, 254), CENTIMETRE: Fraction(100), METRE: Fraction(1)}
_MOST = (1 << 32) - 1
_MOST_OF_PNG = (1 << 31) - 1
_MOST_OF_JPEG = 0xFFFF
_JFIF, _JFIF_UNIT, _JFIF_END = b"\xff\xd8\xff\xe0", 13, 18
_BMP = slice(38, 46)
_CLOSE = 0.01  # of what Pillow makes of a whole number of pixels to an inch


class Resolution(NamedTuple):
    """Pixels to a unit."""

    unit: int
    across: int
    down: int

    @classmethod
    def of(cls, data: bytes) -> Resolution:
        """What `Metadata.resolution` says."""
        return cls(*struct.unpack("<BII", data))

    def in_metres(self) -> tuple[int, int] | None:
        """Pixels to a metre; None where there is no unit."""
        if self.unit == NONE:
            return None
        return round(self.across * _TO_METRE[self.unit]), round(self.down * _TO_METRE[self.unit])

    def usual(self) -> Resolution:
        """The same by the inch, if it is the metres of a whole number of pixels to one; else as it is."""
        if self.unit != METRE:
            return self
        own = [round(number / _TO_METRE[INCH]) for number in (self.across, self.down)]
        found = Resolution(INCH, *own)
        return found if found.in_metres() == (self.across, self.down) else self


def packed(unit: int, across: Fraction | int, down: Fraction | int) -> bytes:
    """`Metadata.resolution`; empty where it says nothing: a number is 0, or pixels are square and there is no unit.

    What is not whole is told by the metre, or as a shape of pixels in few numbers.
    """
    x, y = Fraction(across), Fraction(down)
    if unit == NONE and x > 0 and y > 0:
        shape = (x / y).limit_denominator(0xFFFF)
        x, y = (Fraction(shape.numerator), Fraction(shape.denominator)) if shape != 1 else (Fraction(0), Fraction(0))
    elif x.denominator != 1 or y.denominator != 1:
        x, y, unit = Fraction(round(x * _TO_METRE[unit])), Fraction(round(y * _TO_METRE[unit])), METRE
    if not (0 < x <= _MOST and 0 < y <= _MOST):
        return b""
    return struct.pack("<BII", unit, int(x), int(y))


def turned(data: bytes, orientation: int) -> bytes:
    """That of a picture which is turned as an EXIF orientation says."""
    own = Resolution.of(data)
    return struct.pack("<BII", own.unit, own.down, own.across) if orientation >= 5 else data


def stated(own: bytes | None, block: bytes | None) -> Resolution | None:
    """What is said by a `Metadata.resolution` or, without it, an EXIF block."""
    found = own or of_exif(block)
    return Resolution.of(found) if found else None


def is_said_by(data: bytes, block: bytes | None) -> bool:
    """Whether an EXIF block says the same, perhaps in another unit."""
    found = of_exif(block)
    own, other = Resolution.of(data), Resolution.of(found) if found else None
    return other is not None and (own == other or None is not own.in_metres() == other.in_metres())


# What formats say -----------------------------------------------------------------------------------------


def of_exif(block: bytes | None) -> bytes:
    """What the first directory of an EXIF block says."""
    tags = {tag.number: tag for tag in exif.tree(block or b"", (ACROSS, DOWN, UNIT)) or ()}
    return of_tags({number: tag.value for number, tag in tags.items() if (tag.kind, tag.many) in ((5, 1), (3, 1))})


def of_tags(values: Mapping[int, bytes]) -> bytes:
    """Of tags of TIFF, their values as bytes, least significant first."""
    across, down = (_fraction(values.get(number, b"")) for number in (ACROSS, DOWN))
    unit = int.from_bytes(values.get(UNIT, b"\2"), "little")
    return packed(unit - 1, across, down) if unit in (1, 2, 3) else b""


def _fraction(value: bytes) -> Fraction:
    over, under = struct.unpack("<II", value) if len(value) == 8 else (0, 0)
    return Fraction(over, under) if under else Fraction(0)


def of_phys(body: bytes) -> bytes:
    """Of a PNG's chunk pHYs."""
    if len(body) != 9 or body[8] > 1:
        return b""
    return packed(METRE if body[8] else NONE, *struct.unpack(">II", body[:8]))


def of_jfif(body: bytes) -> bytes:
    """Of the segment JFIF of a JPEG."""
    return packed(body[7], *struct.unpack(">HH", body[8:12])) if len(body) >= 14 and body[7] <= 2 else b""


def of_bmp(data: bytes) -> bytes:
    """Of a BMP with a header that has it."""
    if int.from_bytes(data[14:18], "little") < 40 or len(data) < 46:
        return b""
    across, down = struct.unpack("<ii", data[_BMP])
    return packed(METRE, across, down)


def of_info(info: Mapping[Any, Any], kind: str | None) -> bytes:
    """What Pillow tells of a file that it opened; of a JPEG and a TIFF it makes up what is not there."""
    if "jfif_unit" in info:
        unit = int(info["jfif_unit"])
        return packed(unit, *info["jfif_density"]) if unit <= 2 else b""
    if kind in ("JPEG", "MPO") or "dpi" not in info:
        return b""
    across, down = (float(number) for number in info["dpi"])
    if not (1 < across < _MOST and 1 < down < _MOST):  # no numbers among them
        return b""
    near = all(abs(number - round(number)) < _CLOSE for number in (across, down))
    return packed(INCH, *(round(n) if near else Fraction(n) for n in (across, down)))


# What they are told ---------------------------------------------------------------------------------------


def tags(data: bytes) -> tuple[Tag, ...]:
    """Of TIFF."""
    own = Resolution.of(data).usual()
    unit, under = (CENTIMETRE, 100) if own.unit == METRE else (own.unit, 1)
    numbers = [struct.pack("<II", *Fraction(number, under).as_integer_ratio()) for number in (own.across, own.down)]
    sides = (Tag(tag, 5, 1, number) for tag, number in zip((ACROSS, DOWN), numbers, strict=True))
    return (*sides, Tag(UNIT, 3, 1, struct.pack("<H", unit + 1)))


def phys(own: Resolution) -> bytes:
    """The chunk pHYs of a PNG; empty for what it cannot hold."""
    numbers = own.in_metres() or (own.across, own.down)
    return struct.pack(">IIB", *numbers, own.unit != NONE) if 0 < min(numbers) <= max(numbers) <= _MOST_OF_PNG else b""


def in_jpeg(data: bytes, own: Resolution) -> bytes:
    """A JPEG that begins with a segment JFIF, which then says it, as far as it can."""
    own = own.usual()
    if own.unit == METRE:
        by_centimetre = not own.across % 100 and not own.down % 100
        share = Fraction(1, 100) if by_centimetre else 1 / _TO_METRE[INCH]
        numbers = round(own.across * share), round(own.down * share)
        own = Resolution(CENTIMETRE if by_centimetre else INCH, *numbers)
    if data[:4] != _JFIF or not 0 < min(own[1:]) <= max(own[1:]) <= _MOST_OF_JPEG:
        return data
    return data[:_JFIF_UNIT] + struct.pack(">BHH", *own) + data[_JFIF_END:]


def in_bmp(data: bytes, own: Resolution | None) -> bytes:
    """A BMP of Pillow's with it, or without: Pillow says 96 pixels to an inch of each."""
    numbers = own.in_metres() if own else None
    most = (1 << 31) - 1
    return data[: _BMP.start] + struct.pack("<ii", *(min(n, most) for n in numbers or (0, 0))) + data[_BMP.stop :]
