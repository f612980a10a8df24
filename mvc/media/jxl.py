"""JPEG XL: what its headers say (ISO/IEC 18181-1, 18181-2): size, depth, animation, metadata in boxes."""

from __future__ import annotations

from mvc.media.boxes import boxes
from mvc.media.facts import Facts, carried

_STREAM = b"\xff\x0a"
_LIBJXL = b"jxl "  # in the header of a profile
_SRGB = (1, 13)  # primaries and transfer function in numbers of H.273
_GRAY_SRGB = "Gra_D65_Rel_SRG".encode("utf-16-be")
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_HEADER_BYTES = 256  # more than the fields that are read here take


class _Bits:
    """Numbers of a codestream's header, least significant bits first; beyond its end zeros."""

    def __init__(self, data: bytes) -> None:
        self.rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return value

    def one_of(self, *ways: tuple[int, int]) -> int:
        """A number by the way that two bits choose: so many bits, and what is added to them."""
        count, offset = ways[self.take(2)]
        return self.take(count) + offset

    def size(self) -> tuple[int, int]:
        """Width and height of a SizeHeader."""
        ways = ((9, 1), (13, 1), (18, 1), (30, 1))
        small = self.take(1)
        height = 8 * (self.take(5) + 1) if small else self.one_of(*ways)
        ratio = self.take(3)
        if ratio:
            over, under = _RATIOS[ratio]
            return height * over // under, height
        return (8 * (self.take(5) + 1) if small else self.one_of(*ways)), height

    def preview(self) -> None:
        """Pass by a PreviewHeader."""
        ways = ((0, 16), (0, 32), (5, 1), (9, 33)) if self.take(1) else ((6, 1), (8, 65), (10, 321), (12, 1345))
        self.one_of(*ways)
        if not self.take(3):
            self.one_of(*ways)

    def animation(self) -> None:
        """Pass by an AnimationHeader."""
        self.one_of((0, 100), (0, 1000), (10, 1), (30, 1))
        self.one_of((0, 1), (0, 1001), (8, 1), (10, 1))
        self.one_of((0, 0), (3, 0), (16, 0), (32, 0))
        self.take(1)


def look(data: bytes) -> tuple[Facts, tuple[int, int] | None]:
    """What a JPEG XL says, and its width and height as it is shown; None where there is no header."""
    facts, stream = Facts(b"", frames=1), data if data.startswith(_STREAM) else b""
    for box in () if stream else boxes(data, 0, len(data)):
        body = data[box.start : box.end]
        if box.kind in (b"jxlc", b"jxlp") and len(stream) < _HEADER_BYTES:
            stream += body[4 if box.kind == b"jxlp" else 0 :][:_HEADER_BYTES]
        elif box.kind == b"Exif":
            bare = body[:4] in (b"II*\0", b"MM\0*")  # as some write it
            facts.add_exif(body if bare else body[4 + int.from_bytes(body[:4], "big") :])
            facts.orientation = 1
        elif box.kind == b"xml " and not facts.xmp:
            facts.metadata.add("XMP")
            facts.xmp = carried(body)
        elif box.kind == b"brob" and body[:4] in (b"Exif", b"xml "):
            facts.metadata.add("EXIF" if body[:4] == b"Exif" else "XMP")
    if not stream.startswith(_STREAM):
        return facts, None
    bits = _Bits(stream[2:_HEADER_BYTES])
    size = bits.size()
    if bits.take(1):  # all else is as usual
        return facts, size
    if bits.take(1):
        if bits.take(3) >= 4:  # its sides are swapped
            size = size[::-1]
        if bits.take(1):
            bits.size()
        if bits.take(1):
            bits.preview()
        if bits.take(1):
            bits.animation()
            facts.others.append("only the first frame is kept")
    if bits.take(1):
        facts.depth = bits.one_of((0, 32), (0, 16), (0, 24), (6, 1))
        facts.floating = True
    else:
        facts.depth = bits.one_of((0, 8), (0, 10), (0, 12), (6, 1))
    return facts, size


def is_made_by_libjxl(icc: bytes) -> bool:
    """Whether libjxl put a profile together, of what the file says in few numbers."""
    return icc[4:8] == _LIBJXL


def codes_of(icc: bytes) -> tuple[int, int]:
    """Primaries and transfer function in numbers of H.273, as such a profile has them; else 2, unspecified."""
    for at in range(132, 132 + 12 * int.from_bytes(icc[128:132], "big"), 12):
        if icc[at : at + 4] == b"cicp":
            place = int.from_bytes(icc[at + 4 : at + 8], "big")
            return (*icc[place + 8 : place + 10],) if len(icc) >= place + 12 else (2, 2)
    return 2, 2


def is_srgb(icc: bytes, codes: tuple[int, int]) -> bool:
    """Whether such a profile says no more than that colours are the usual ones."""
    return codes == _SRGB or _GRAY_SRGB in icc
