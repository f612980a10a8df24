"""`Metadata`: what a picture carries beside its samples, as the bytes that other programs read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

CHOICES = ("icc", "exif", "xmp", "gainmap")
"""What may be kept or dropped; what else says which colours are meant goes with "icc"."""

NAMES = {"icc": "ICC colour profile", "exif": "EXIF", "xmp": "XMP", "cicp": "colour codes"}
NAMES |= {"thumbnail": "thumbnail", "gainmap": "gain map", "depth": "bits of a sample"}
"""Each kind for people."""

MOST_BYTES = 4 << 20
"""More of one kind is not carried."""


@dataclass(frozen=True)
class Metadata:
    """Bytes of each kind, or None; at most `MOST_BYTES` of each.

    `icc` is an ICC profile, `exif` a TIFF block without "Exif" before it (its orientation is 1: pictures are the right
    way up), `xmp` a packet of XMP. `cicp` are the four bytes of a PNG's chunk cICP: colour primaries, transfer
    function, matrix and range as ITU-T H.273 numbers them. `thumbnail` is a small JPEG of the picture as it was
    encoded, for programs that cannot decode it. `gainmap` is a second picture, a JPEG, by which a photograph becomes
    brighter on screens that can show it, behind five bytes that say how it lies on the first (spec section 3.9).
    `depth` is one byte, 9 to 15: the bits that samples of 16 had before. Raises ValueError for another number of bytes.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    cicp: bytes | None = None
    thumbnail: bytes | None = None
    gainmap: bytes | None = None
    depth: bytes | None = None

    def __post_init__(self) -> None:
        for kind, data in self.items():
            if not isinstance(data, bytes):
                raise TypeError(f"{NAMES[kind]} is to be bytes, not {type(data).__name__}")
            if not 0 < len(data) <= MOST_BYTES or (kind == "cicp" and len(data) != 4):
                raise ValueError(f"{NAMES[kind]} cannot have {len(data)} bytes")
            if kind == "depth" and (len(data) != 1 or not 9 <= data[0] <= 15):
                raise ValueError(f"samples of 16 bits cannot have had {data.hex()} (hexadecimal) before")

    def items(self) -> list[tuple[str, bytes]]:
        """Kind and bytes of what is there."""
        found = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(kind, data) for kind, data in found if data is not None]

    @property
    def names(self) -> str:
        """What is there, for people."""
        return ", ".join(NAMES[kind] for kind, _ in self.items())

    def only(self, choices: Iterable[str]) -> Metadata:
        """What is of these `CHOICES`, and depth; a thumbnail is of none, since it is made for one file."""
        kept = {"depth", *choices, *(("cicp",) if "icc" in choices else ())}
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
