"""`Metadata`: what a picture carries beside its samples, as the bytes that other programs read."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

CHOICES = ("icc", "exif", "xmp", "gainmap")
"""What may be kept or dropped; what else says which colours are meant goes with "icc", and resolution with "exif"."""
_WITH = {"icc": ("cicp", "gamma"), "exif": ("resolution",)}

NAMES = {"icc": "ICC colour profile", "exif": "EXIF", "xmp": "XMP", "cicp": "colour codes"}
NAMES |= {"thumbnail": "thumbnail", "gainmap": "gain map", "depth": "bits of a sample", "resolution": "resolution"}
NAMES |= {"gamma": "gamma and primaries", "grain": "grain"}
"""Each kind for people."""

MOST_BYTES = 4 << 20
"""More of one kind is not carried."""


_LENGTHS = {"cicp": (4,), "resolution": (9,), "gamma": (4, 32, 36), "grain": (12,)}


def is_resolution(data: bytes) -> bool:
    """Whether nine bytes say one: a unit of 0 to 3, and two numbers above 0."""
    return data[0] <= 3 and any(data[1:5]) and any(data[5:])


@dataclass(frozen=True)
class Metadata:
    """Bytes of each kind, or None; at most `MOST_BYTES` of each.

    `icc` is an ICC profile, `exif` a TIFF block without "Exif" before it (its orientation is 1: pictures are the right
    way up), `xmp` a packet of XMP. `cicp` are the four bytes of a PNG's chunk cICP: colour primaries, transfer
    function, matrix and range as ITU-T H.273 numbers them. `thumbnail` is a small JPEG of the picture as it was
    encoded, for programs that cannot decode it. `gainmap` is a second picture, a JPEG, by which a photograph becomes
    brighter on screens that can show it, behind five bytes that say how it lies on the first (spec section 3.9).
    `depth` is one byte, 9 to 15: the bits that samples of 16 had before. `resolution` are nine bytes: how many pixels
    there are to an inch, a centimetre or a metre, across and down (mvc/media/resolution.py), which count before what
    `exif` says. `gamma` are the contents of a PNG's chunks gAMA and cHRM, one behind the other, each of which may be
    missing. `grain` are twelve bytes that say which noise was lost in coding (mvc/grain.py), for `--grain`. Raises
    ValueError for another number of bytes.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    cicp: bytes | None = None
    thumbnail: bytes | None = None
    gainmap: bytes | None = None
    depth: bytes | None = None
    resolution: bytes | None = None
    gamma: bytes | None = None
    grain: bytes | None = None

    def __post_init__(self) -> None:
        for kind, data in self.items():
            if not isinstance(data, bytes):
                raise TypeError(f"{NAMES[kind]} is to be bytes, not {type(data).__name__}")
            if not 0 < len(data) <= MOST_BYTES or len(data) not in _LENGTHS.get(kind, (len(data),)):
                raise ValueError(f"{NAMES[kind]} cannot have {len(data)} bytes")
            if kind == "depth" and (len(data) != 1 or not 9 <= data[0] <= 15):
                raise ValueError(f"samples of 16 bits cannot have had {data.hex()} (hexadecimal) before")
            if kind == "resolution" and not is_resolution(data):
                raise ValueError(f"{data.hex()} (hexadecimal) is no resolution")

    def items(self) -> list[tuple[str, bytes]]:
        """Kind and bytes of what is there."""
        found = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(kind, data) for kind, data in found if data is not None]

    def for_pillow(self) -> dict[str, Any]:
        """What there is under the names that Pillow has for it in `info`, and in its form."""
        exif = self.exif and b"Exif\0\0" + self.exif
        found: dict[str, Any] = {"icc_profile": self.icc, "exif": exif, "xmp": self.xmp}
        if self.resolution and self.resolution[0]:
            unit, across, down = struct.unpack("<BII", self.resolution)
            inch = (1, 2.54, 0.0254)[unit - 1]
            found["dpi"] = across * inch, down * inch
        if self.gamma:
            numbers = [number / 100_000 for (number,) in struct.iter_unpack(">I", self.gamma)]
            found["gamma"], found["chromaticity"] = sum(numbers[: len(numbers) % 8]), tuple(numbers[len(numbers) % 8 :])
        return {name: value for name, value in found.items() if value}

    @property
    def names(self) -> str:
        """What is there, for people."""
        return ", ".join(NAMES[kind] for kind, _ in self.items())

    def only(self, choices: Iterable[str]) -> Metadata:
        """What is of these `CHOICES`, and depth; a thumbnail and grain are of none, as they are made for one file."""
        kept = {"depth", *choices, *(kind for choice in choices for kind in _WITH.get(choice, ()))}
        dropped = {kind: None for kind, _ in self.items() if kind not in kept}
        return replace(self, **dropped)

    def of_eight_bits(self) -> Metadata:
        """What is true of the picture in 8 bits as well."""
        return replace(self, depth=None) if self.depth else self

    def __bool__(self) -> bool:
        return bool(self.items())

    def __repr__(self) -> str:
        return f"Metadata({', '.join(f'{kind}: {len(data)} bytes' for kind, data in self.items())})"


NONE = Metadata()


def chosen(wanted: str | Iterable[str]) -> tuple[str, ...]:
    """The `CHOICES` that "all", "none", "icc,xmp" or a list of them means; ValueError for another word."""
    words = [word.strip() for word in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    if words == ["all"]:
        return CHOICES
    if words == ["none"]:
        return ()
    for word in words:
        if word not in CHOICES:
            raise ValueError(f"metadata is all, none, or some of {', '.join(CHOICES)}, not {word!r:.40}")
    return tuple(words)
