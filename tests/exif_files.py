"""EXIF blocks, XMP and files as cameras and editors write them, made by hand."""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from picture_files import segment


class T(NamedTuple):
    """A tag: number, type, count, and its value in the block's order, or the tags of another directory."""

    number: int
    kind: int
    many: int
    value: bytes | list[T]


def u16(order: str, *numbers: int) -> bytes:
    return struct.pack(f"{order}{len(numbers)}H", *numbers)


def u32(order: str, *numbers: int) -> bytes:
    return struct.pack(f"{order}{len(numbers)}I", *numbers)


def text(number: int, words: str) -> T:
    own = words.encode() + b"\0"
    return T(number, 2, len(own), own)


def laid(order: str, tags: list[T], start: int, following: int = 0, before: bool = False) -> tuple[bytes, int]:
    """A directory with its values, and where in it the directory stands: values behind it, or `before` it."""
    length = 2 + 12 * len(tags) + 4
    values, at = b"", start if before else start + length
    entries = u16(order, len(tags))
    for tag in tags:
        own = tag.value
        if isinstance(own, list):
            inner, place = laid(order, own, at + len(values))
            place += at + len(values)
            values += inner
            own = u32(order, place)
        elif len(own) > 4:
            place = at + len(values)
            values += own
            own = u32(order, place)
        entries += struct.pack(order + "HHI", *tag[:3]) + own.ljust(4, b"\0")
    entries += u32(order, following)
    return (values + entries, len(values)) if before else (entries + values, 0)


def block(order: str, tags: list[T], gap: bytes = b"", before: bool = False, thumbnail: bytes = b"") -> bytes:
    """An EXIF block of a first directory behind a gap, perhaps with a second one that names a thumbnail."""
    start = 8 + len(gap)
    first, place = laid(order, tags, start, before=before)
    if thumbnail:
        second = start + len(first)
        first, place = laid(order, tags, start, second, before)
        own = [T(0x0103, 3, 1, u16(order, 6)), T(0x0201, 4, 1, u32(order, second + 2 + 36 + 4))]
        own.append(T(0x0202, 4, 1, u32(order, len(thumbnail))))
        first += laid(order, own, second)[0] + thumbnail
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start + place) + gap + first


def exposure(order: str, *more: T) -> T:
    inner = [T(0x829A, 5, 1, u32(order, 1, 250)), T(0x8827, 3, 1, u16(order, 100)), *more]
    return T(0x8769, 4, 1, sorted(inner))


def place(order: str) -> T:
    north = T(1, 2, 2, b"N\0"), T(2, 5, 3, u32(order, 47, 1, 22, 1, 3051, 100))
    return T(0x8825, 4, 1, [T(0, 1, 4, bytes((2, 3, 0, 0))), *north])


def orientation(order: str, way: int = 1) -> T:
    return T(0x0112, 3, 1, u16(order, way))


def maker_with_offsets(order: str) -> T:
    """A directory without a header, whose values lie where the block has them, as Canon writes it."""
    own = u16(order, 1) + struct.pack(order + "HHII", 6, 2, 8, 500) + bytes(4) + b"a Canon\0"
    return T(0x927C, 7, len(own), own)


def maker_of_its_own() -> T:
    """A block in the block, of its own order, as Nikon writes it; of odd length."""
    own = b"Nikon\0\2\x10\0\0MM\0*\0\0\0\x08\0\1\0\1\0\7\0\0\0\4" + b"0210" + bytes(4) + b"x"
    return T(0x927C, 7, len(own), own)


def comment(order: str) -> T:
    own = b"UNICODE\0" + "schön".encode("utf-16-le" if order == "<" else "utf-16-be")
    return T(0x9286, 7, len(own), own)


INTEROPERABILITY = T(0xA005, 4, 1, [T(1, 2, 4, b"R98\0"), T(2, 7, 4, b"0100")])
LE, BE = "<", ">"
JPEG_THUMBNAIL = b"\xff\xd8\xff\xdb" + bytes(range(200)) + b"\xff\xd9"
EXIF = {
    "canon": block(
        LE,
        [
            text(0x010F, "Canon"),
            text(0x0110, "Canon EOS R5"),
            orientation(LE),
            T(0x011A, 5, 1, u32(LE, 72, 1)),
            exposure(LE, maker_with_offsets(LE), comment(LE), INTEROPERABILITY),
            place(LE),
        ],
        thumbnail=JPEG_THUMBNAIL,
    ),
    "nikon": block(
        BE, [text(0x010F, "NIKON CORPORATION"), orientation(BE), exposure(BE, maker_of_its_own(), comment(BE))]
    ),
    "apple": block(BE, [text(0x010F, "Apple"), orientation(BE), text(0x0131, "17.1"), exposure(BE), place(BE)]),
    "odd places": block(LE, [text(0x010F, "odd!!"), orientation(LE), exposure(LE)], gap=b"\0\1\2"),
    "values first": block(BE, [text(0x010F, "a scanner"), orientation(BE), exposure(BE)], gap=bytes(70), before=True),
    "unsorted": block(LE, [exposure(LE), orientation(LE), text(0x010F, "out of order")]),
    "named twice": block(LE, [text(0x010F, "the first"), text(0x010F, "the second"), orientation(LE)]),
    "exif 3.0": block(LE, [T(0x010F, 129, 12, "Häberle AG\0".encode()), orientation(LE), exposure(LE)]),
    "nothing of a kind": block(BE, [text(0x010F, "a maker"), T(0x010E, 2, 0, b""), orientation(BE), exposure(BE)]),
    "trailing": block(LE, [text(0x010F, "padded"), orientation(LE), exposure(LE)]) + bytes(901),
    "signed": block(BE, [text(0x010F, "s"), orientation(BE), exposure(BE, T(0x9204, 10, 1, u32(BE, 2**32 - 1, 3)))]),
    "windows": block(LE, [text(0x010F, "w"), orientation(LE), T(0x9C9B, 1, 6, "hé\0".encode("utf-16-le"))]),
}
BROKEN = {
    "kind 0": block(LE, [text(0x010F, "a maker"), orientation(LE), T(0x0110, 0, 1, b"x"), exposure(LE)]),
    "kind 77": block(BE, [text(0x010F, "a maker"), orientation(BE), T(0xC4A5, 77, 9, b"PrintIM"), exposure(BE)]),
    "beyond the end": block(LE, [text(0x010F, "a maker"), orientation(LE), T(0x0110, 2, 90000, b"\1\2\3\4")]),
    "no such directory": block(BE, [text(0x010F, "a maker"), orientation(BE), T(0x8825, 4, 1, b"\x7f\0\0\0")]),
}
"""With a tag that nobody can read."""

LIGHTROOM = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/" '
    b'x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">\n <rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n  <rdf:Description rdf:about=""\n'
    b'    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"\n   crs:Exposure2012="+0.35">\n   <dc:title '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt><rdf:li xml:lang="x-default">K\xc3\xa4se</rdf:li></rdf:Alt>'
    b"</dc:title>\n  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
)
LIGHTROOM += (b" " * 99 + b"\n") * 20 + b'<?xpacket end="w"?>'


def extended(main: bytes, more: bytes, piece: int = 65400) -> bytes:
    """Segments of XMP that goes on in others (Adobe, XMP part 3): `main` has %b where it names them."""
    name = hashlib.md5(more).hexdigest().upper().encode()
    made = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main % name)
    for at in range(0, len(more), piece):
        head = b"http://ns.adobe.com/xmp/extension/\0" + name + struct.pack(">II", len(more), at)
        made += segment(0xE1, head + more[at : at + piece])
    return made


def photoshop(*resources: tuple[int, bytes]) -> bytes:
    """Image resources as Photoshop writes them into a JPEG: 0x0404 is IPTC, 0x03ED the resolution."""
    body = b"Photoshop 3.0\0"
    for number, data in resources:
        body += b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
    return segment(0xED, body)
