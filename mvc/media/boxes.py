"""AVIF and JPEG 2000: boxes with the depth and the colours, of which Pillow says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mvc.media.facts import Facts
from mvc.metadata import MOST_BYTES

_EXIF, _XMP = b"Exif", b"application/rdf+xml"
_HIGH, _TWELVE = 0x40, 0x20  # bits of av1C
_USUAL_SPACES = (0, 12, 15, 16, 17, 18)  # of JPEG 2000: bilevel, CMYK (told by its mode), sRGB, gray, sYCC


class Box(NamedTuple):
    """A box: its kind, and from where to where its contents lie in the file."""

    kind: bytes
    start: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes that lie one behind the other in a part of the file; stops where they make no sense."""
    while start + 8 <= end:
        size, header = int.from_bytes(data[start : start + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if stop < start + header or stop > end:
            return
        yield Box(data[start + 4 : start + 8], start + header, stop)
        start = stop


def look_avif(data: bytes) -> Facts:
    """Depth and colours of the primary item; EXIF is renamed in what Pillow gets, which parses it strictly.

    The way up is not taken from EXIF: in AVIF only `irot` and `imir` count, and Pillow tells them.
    """
    facts = Facts(data)
    meta = next((box for box in boxes(data, 0, len(data)) if box.kind == b"meta"), None)
    if meta is None:
        return facts
    inside = {box.kind: box for box in boxes(data, meta.start + 4, meta.end)}
    hidden = []
    if b"iinf" in inside:
        box = inside[b"iinf"]
        skip = 6 if data[box.start] == 0 else 8
        for item in boxes(data, box.start + skip, box.end):
            place = item.start + (8 if data[item.start] < 3 else 10)  # version, flags, id, protection
            if item.kind == b"infe" and data[place : place + 4] == _EXIF:
                hidden.append(place)
                wide = 2 if data[item.start] < 3 else 4
                number = int.from_bytes(data[item.start + 4 : item.start + 4 + wide], "big")
                if b"iloc" in inside:
                    facts.exif = facts.exif or _exif_of(data, inside[b"iloc"], number)
            elif item.kind == b"infe" and _XMP in data[place : item.end]:
                facts.metadata.add("XMP")
    if hidden:
        facts.metadata.add("EXIF")
        changed = bytearray(data)
        for place in hidden:
            changed[place : place + 4] = b"none"
        facts.data = bytes(changed)
    if b"pitm" in inside and b"iprp" in inside:
        _properties(facts, data, inside[b"pitm"], inside[b"iprp"])
    return facts


def _exif_of(data: bytes, box: Box, wanted: int) -> bytes:
    """The EXIF block of an item that lies in the file in pieces of known length; empty where it does not."""
    version, sizes = data[box.start], data[box.start + 4 : box.start + 6]
    at = box.start + 6
    if version > 2 or len(sizes) < 2:
        return b""

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item, method = number(wide), number(2) & 15 if version else 0
        number(2)  # which file: this one
        base, pieces = number(sizes[1] >> 4), []
        for _ in range(number(2)):
            if version:
                number(sizes[1] & 15)
            start, length = base + number(sizes[0] >> 4), number(sizes[0] & 15)
            pieces.append((start, length))
            if at > box.end:
                return b""
        if item == wanted:
            whole = sum(length for _, length in pieces) <= MOST_BYTES and not method
            found = b"".join(data[start : start + length] for start, length in pieces) if whole else b""
            return found[4 + int.from_bytes(found[:4], "big") :].removeprefix(b"Exif\0\0")
    return b""


def _properties(facts: Facts, data: bytes, primary: Box, properties: Box) -> None:
    wide = 2 if data[primary.start] == 0 else 4
    item = int.from_bytes(data[primary.start + 4 : primary.start + 4 + wide], "big")
    parts = list(boxes(data, properties.start, properties.end))
    known = [box for part in parts if part.kind == b"ipco" for box in boxes(data, part.start, part.end)]
    numbers = [index for part in parts if part.kind == b"ipma" for index in _associated(data, part, item)]
    own = [known[index - 1] for index in numbers if 1 <= index <= len(known)]
    for box in own if any(box.kind == b"av1C" for box in own) else known:  # of a grid, its cells have it
        if box.kind == b"av1C" and data[box.start + 2] & _HIGH:
            facts.depth = max(facts.depth, 12 if data[box.start + 2] & _TWELVE else 10)
    for box in own:
        if box.kind == b"clap":
            facts.others.append("the margins that the file hides are kept")
        if box.kind == b"colr" and data[box.start : box.start + 4] == b"nclx":
            codes = data[box.start + 4 : box.start + 8]
            facts.add_codes(int.from_bytes(codes[:2], "big"), int.from_bytes(codes[2:], "big"))


def _associated(data: bytes, box: Box, wanted: int) -> Iterator[int]:
    """Numbers, from 1, of the properties of an item."""
    version, wide_index = data[box.start], data[box.start + 3] & 1
    wide_item, at = (2 if version == 0 else 4), box.start + 8
    for _ in range(int.from_bytes(data[box.start + 4 : box.start + 8], "big")):
        if at + wide_item >= box.end:
            return
        item, count = int.from_bytes(data[at : at + wide_item], "big"), data[at + wide_item]
        at += wide_item + 1
        for _ in range(count):
            size = 2 if wide_index else 1
            index = int.from_bytes(data[at : at + size], "big") & (0x7FFF if wide_index else 0x7F)
            at += size
            if item == wanted:
                yield index


def look_jpeg2000(data: bytes) -> Facts:
    """Depth, colours and metadata of a JP2 file or a bare codestream."""
    facts = Facts(data, frames=1)
    stream = data.find(b"\xff\x4f\xff\x51")
    if stream >= 0:
        count = int.from_bytes(data[stream + 40 : stream + 42], "big")
        depths = data[stream + 42 : stream + 42 + 3 * count : 3]
        facts.depth = max((depth & 0x7F) + 1 for depth in depths or b"\7")
    for box in boxes(data, 0, len(data)):
        if box.kind == b"uuid" and data[box.start : box.start + 4] == b"\xbe\x7a\xcf\xcb":
            facts.metadata.add("XMP")
        elif box.kind == b"uuid" and data[box.start : box.start + 5] == b"JpgTi":
            facts.metadata.add("EXIF")
        elif box.kind == b"jp2h":
            for inner in boxes(data, box.start, box.end):
                if inner.kind == b"colr" and inner.end - inner.start >= 3:
                    _colour_space(facts, data[inner.start], data[inner.start + 3 : min(inner.end, inner.start + 7)])
    return facts


def _colour_space(facts: Facts, method: int, space: bytes) -> None:
    if method in (2, 3):
        facts.metadata.add("ICC colour profile")
    elif method == 1 and int.from_bytes(space, "big") not in _USUAL_SPACES:
        facts.colours.append(f"colour space {int.from_bytes(space, 'big')}")
