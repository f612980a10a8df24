"""Gain maps: the second picture with which phones' photographs become brighter on a screen that can show it.

In a JPEG it is another JPEG behind the first, which a multi-picture segment (CIPA DC-007) or a directory in XMP finds,
and which describes itself: in XMP (Ultra HDR by Adobe's names, or Apple's) or in a segment of ISO 21496-1. It is
carried as it is, with the way in which it lies on the picture.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from mvc.media.facts import read_ifd
from mvc.media.xmp import without_what_says_nothing

XMP = b"http://ns.adobe.com/xap/1.0/\0"
ISO = b"urn:iso:std:iso:ts:21496:-1\0"
APPLE = "urn:com:apple:photo:2020:aux:hdrgainmap"
NAMES = (APPLE, ISO[:-1].decode(), ISO[:-1].decode() + ":aux:gainmap")
"""Of auxiliary pictures of HEIC that are gain maps."""
_ADOBE_NAMES, _APPLE_NAMES = b"http://ns.adobe.com/hdr-gain-map/1.0/", b"http://ns.apple.com/HDRGainMap/1.0/"
_CONTAINER, _ITEM = b"http://ns.google.com/photos/1.0/container/", b"http://ns.google.com/photos/1.0/container/item/"
_MPF, _ENTRIES = b"MPF\0", 0xB002
APP1, APP2 = 0xE1, 0xE2
_PRIMARY = 0x030000  # the kind of picture in an entry of a multi-picture segment
_SOI = b"\xff\xd8\xff"
MOST_XMP_ADDED = 1000
"""Bytes by which a directory makes XMP longer, at the most."""

_HEADER = struct.Struct("<BHH")
_DIRECTORY = (
    b'<rdf:Description rdf:about="" xmlns:Container="%b" xmlns:Item="%b" xmlns:hdrgm="%b" hdrgm:Version="1.0">'
    b'<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" '
    b'Item:Mime="image/jpeg"/></rdf:li><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" '
    b'Item:Mime="image/jpeg" Item:Length="%d"/></rdf:li></rdf:Seq></Container:Directory></rdf:Description>'
)
_PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b"%b</rdf:RDF></x:xmpmeta>"
)
_APPLE_XMP = _PACKET % (
    b'<rdf:Description rdf:about="" xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/" '
    b'xmlns:HDRGainMap="%b" apdi:AuxiliaryImageType="%b" HDRGainMap:HDRGainMapVersion="65536"/>'
) % (_APPLE_NAMES, APPLE.encode())


class GainMap(NamedTuple):
    """A gain map: a whole JPEG, by what EXIF orientation it is to be turned to lie on the upright picture, and of what
    width and height that picture is."""

    orientation: int
    width: int
    height: int
    jpeg: bytes

    def packed(self) -> bytes:
        """As `Metadata` carries it (spec section 3.9)."""
        return _HEADER.pack(self.orientation, self.width, self.height) + self.jpeg

    def fits(self, width: int, height: int) -> bool:
        """Whether it is one of a picture of this size: another one was cropped or scaled."""
        return (self.width, self.height) == (width, height)

    @property
    def by_adobe(self) -> bool:
        """Whether it is described as Ultra HDR readers look for it: then the picture's XMP has a directory."""
        return any(_ADOBE_NAMES in body for marker, body in segments(self.jpeg) if marker == APP1)


def unpacked(data: bytes | None) -> GainMap | None:
    """From what `Metadata` carries; None where that is no gain map."""
    if data is None or len(data) < _HEADER.size:
        return None
    orientation, width, height = _HEADER.unpack_from(data)
    found = GainMap(orientation, width, height, data[_HEADER.size :])
    return found if 1 <= found.orientation <= 8 and found.jpeg.startswith(_SOI) else None


def segments(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Marker and body of the segments of a JPEG before its first scan; stops where they make no sense."""
    at = start + 2
    while data[at : at + 1] == b"\xff":
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if not marker or marker[0] in (0xDA, 0xD9) or length < 2:
            return
        yield marker[0], data[at + 4 : at + 2 + length]
        at += 2 + length


def is_gain_map(jpeg: bytes) -> bool:
    """Whether a JPEG says that it is a gain map: not only that it is a picture with one."""
    for marker, body in segments(jpeg):
        if marker == APP2 and body.startswith(ISO) and len(body) > len(ISO) + 4:
            return True
        named = (_ADOBE_NAMES in body and b"GainMapMax" in body) or _APPLE_NAMES in body
        if marker == APP1 and body.startswith(XMP) and named:
            return True
    return False


def of_jpeg(data: bytes, entries: bytes, place: int, xmp: bytes) -> bytes:
    """The gain map in a JPEG file; empty where there is none.

    `entries` are those of its multi-picture segment, whose offsets count from byte `place`; `xmp` is its own.
    """
    for start, size in (*_listed(entries, place), *_in_directory(xmp, len(data))):
        found = data[start : start + size]
        if start and len(found) == size and found.startswith(_SOI) and is_gain_map(found):
            return found
    return b""


def entries_of(body: bytes) -> bytes:
    """The entries of a multi-picture segment, least significant bytes first."""
    block = body[len(_MPF) :]
    for entry in read_ifd(block):
        if entry.tag == _ENTRIES and entry.kind == 7 and entry.many > 4:
            at = int.from_bytes(entry.raw[8:], entry.order)
            found = block[at : at + entry.many]
            order = "<" if entry.order == "little" else ">"
            whole = [struct.unpack_from(order + "IIIHH", found, at) for at in range(0, len(found) - 15, 16)]
            return b"".join(struct.pack("<IIIHH", *own) for own in whole)
    return b""


def _listed(entries: bytes, place: int) -> Iterator[tuple[int, int]]:
    for at in range(16, len(entries), 16):  # the first is the picture itself
        _, size, offset, _, _ = struct.unpack_from("<IIIHH", entries, at)
        yield place + offset, size


def _in_directory(xmp: bytes, end: int) -> Iterator[tuple[int, int]]:
    """Where the directory in XMP says that gain maps are: items lie one behind the other up to the end of the file."""
    prefix = re.search(rb"xmlns:(\w+)=[\"']" + re.escape(_ITEM) + rb"[\"']", xmp)
    if prefix is None:
        return
    name = re.escape(prefix[1])
    kinds = re.findall(name + rb":Semantic(?:=[\"']|>)\s*(\w+)", xmp)
    sizes = [int(size[:9]) for size in re.findall(name + rb":Length(?:=[\"']|>)\s*(\d+)", xmp)]
    if kinds[:1] != [b"Primary"]:
        return
    sizes = sizes[-(len(kinds) - 1) :] if len(kinds) > 1 else []
    for kind, size in zip(reversed(kinds[1:]), reversed(sizes), strict=False):
        end -= size
        if kind == b"GainMap":
            yield end, size


def without_directory(xmp: bytes) -> bytes:
    """XMP that no longer says of a gain map where it is; empty where nothing else is said."""
    prefixes = {
        names: re.search(rb"xmlns:(\w+)=[\"']" + re.escape(names) + rb"[\"']", xmp)
        for names in (_CONTAINER, _ADOBE_NAMES)
    }
    if found := prefixes[_CONTAINER]:
        name = re.escape(found[1])
        xmp = re.sub(rb"<" + name + rb":Directory\b.*?</" + name + rb":Directory\s*>\s*", b"", xmp, flags=re.DOTALL)
    if found := prefixes[_ADOBE_NAMES]:
        name = re.escape(found[1])
        xmp = re.sub(rb"\s+" + name + rb":\w+\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
        xmp = re.sub(rb"<" + name + rb":(\w+)[^<>]*>[^<>]*</" + name + rb":\1\s*>\s*", b"", xmp)
    return without_what_says_nothing(xmp)


def with_directory(xmp: bytes | None, size: int) -> bytes:
    """XMP that says that a gain map of so many bytes follows: what is there with more in it, or a new packet."""
    own = _DIRECTORY % (_CONTAINER, _ITEM, _ADOBE_NAMES, size)
    if xmp is not None and (end := xmp.rfind(b"</rdf:RDF>")) >= 0:
        return xmp[:end] + own + xmp[end:]
    return _PACKET % own


def behind_its_own(picture: bytes, more: bytes) -> bytes:
    """A JPEG with more segments behind the application's first ones."""
    at = _end_of_its_own(picture)
    return picture[:at] + more + picture[at:]


def _end_of_its_own(picture: bytes) -> int:
    at = 2
    while picture[at : at + 1] == b"\xff" and picture[at + 1] & 0xF0 == 0xE0:
        at += 2 + int.from_bytes(picture[at + 2 : at + 4], "big")
    return at


def appended(picture: bytes, gain_map: GainMap) -> bytes:
    """A JPEG with its gain map behind it, and the segments that find it."""
    at = _end_of_its_own(picture)
    iso = any(marker == APP2 and body.startswith(ISO) for marker, body in segments(gain_map.jpeg))
    before = segment(APP2, ISO + bytes(4)) if iso else b""
    block = at + len(before) + 4 + len(_MPF)  # from where offsets count
    whole = len(picture) + len(before) + 4 + len(_MPF) + _BLOCK_BYTES
    entries = struct.pack(">IIIHHIIIHH", _PRIMARY, whole, 0, 0, 0, 0, len(gain_map.jpeg), whole - block, 0, 0)
    return picture[:at] + before + segment(APP2, _MPF + _block(entries)) + picture[at:] + gain_map.jpeg


def described(jpeg: bytes, xmp: bytes, iso: bytes) -> bytes:
    """A JPEG that says that it is a gain map: by XMP (Apple's own where that is empty) or ISO 21496-1, or by both."""
    before = segment(APP2, ISO + iso) if iso else b""
    if xmp or not iso:
        before = segment(APP1, XMP + (xmp or _APPLE_XMP)) + before
    return jpeg[:2] + before + jpeg[2:]


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def _block(entries: bytes) -> bytes:
    """A multi-picture index: version, number of pictures, and their entries behind it."""
    tags = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, len(entries) // 16)
    tags += struct.pack(">HHII", _ENTRIES, 7, len(entries), 8 + 2 + 3 * 12 + 4)
    return struct.pack(">2sHIH", b"MM", 42, 8, 3) + tags + bytes(4) + entries


_BLOCK_BYTES = len(_block(bytes(32)))
