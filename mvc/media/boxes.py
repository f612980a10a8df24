"""AVIF and JPEG 2000: boxes with the depth and the colours, of which Pillow says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mvc.media.facts import DIVIDED, Facts
from mvc.metadata import MOST_BYTES

XMP_TYPE = b"application/rdf+xml"
_EXIF, _MIME = b"Exif", b"mime"
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


class Item(NamedTuple):
    """An item of a HEIF file; `place` is where its four letters of kind stand in the file."""

    number: int
    kind: bytes
    content_type: bytes
    place: int


class Reference(NamedTuple):
    """What an item says of others: "cdsc" describes, "auxl" belongs to, "dimg" is made of."""

    kind: bytes
    source: int
    targets: tuple[int, ...]


class Items:
    """The items of a HEIF file (ISO/IEC 23008-12; AVIF and HEIC are such); what cannot be parsed is not there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        meta = next((box for box in boxes(data, 0, len(data)) if box.kind == b"meta"), None)
        parts = boxes(data, meta.start + 4, meta.end) if meta else ()
        self._inside = {box.kind: box for box in parts}
        self.items = {item.number: item for item in self._listed()}
        self.references = tuple(self._referred())
        pitm = self._inside.get(b"pitm")
        self.primary = self._number(pitm.start + 4, 4 if self._number(pitm.start, 1) else 2) if pitm else 0

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self._data[at : at + size], "big")

    def _listed(self) -> Iterator[Item]:
        box, data = self._inside.get(b"iinf"), self._data
        if box is None:
            return
        for item in boxes(data, box.start + (8 if self._number(box.start, 1) else 6), box.end):
            version = self._number(item.start, 1)
            if item.kind == b"infe" and version in (2, 3):
                wide = 2 if version == 2 else 4
                place = item.start + 4 + wide + 2  # behind version, flags, number and protection
                texts = data[place + 4 : item.end].split(b"\0")
                content_type = texts[1] if data[place : place + 4] == _MIME and len(texts) > 1 else b""
                yield Item(self._number(item.start + 4, wide), data[place : place + 4], content_type, place)

    def _referred(self) -> Iterator[Reference]:
        box = self._inside.get(b"iref")
        if box is None:
            return
        wide = 4 if self._number(box.start, 1) else 2
        for own in boxes(self._data, box.start + 4, box.end):
            count = min(self._number(own.start + wide, 2), (own.end - own.start) // wide)
            targets = (self._number(own.start + wide * (n + 1) + 2, wide) for n in range(count))
            yield Reference(own.kind, self._number(own.start, wide), tuple(targets))

    def properties(self, number: int) -> tuple[list[Box], list[Box]]:
        """Those of an item, and those of all."""
        box, data = self._inside.get(b"iprp"), self._data
        parts = list(boxes(data, box.start, box.end)) if box else []
        known = [own for part in parts if part.kind == b"ipco" for own in boxes(data, part.start, part.end)]
        numbers = [index for part in parts if part.kind == b"ipma" for index in _associated(data, part, number)]
        return [known[index - 1] for index in numbers if 1 <= index <= len(known)], known

    def content(self, wanted: int) -> bytes:
        """The bytes of an item that lies in the file in pieces of known length; empty where it does not."""
        box, data = self._inside.get(b"iloc"), self._data
        if box is None or box.end - box.start < 8 or data[box.start] > 2:
            return b""
        version, sizes, at = data[box.start], data[box.start + 4 : box.start + 6], box.start + 6

        def number(size: int) -> int:
            nonlocal at
            at += size
            return self._number(at - size, size)

        wide = 4 if version == 2 else 2
        for _ in range(number(wide)):
            item, method = number(wide), number(2) & 15 if version else 0
            number(2)  # which file: this one
            if at > box.end:
                return b""
            base, pieces = number(sizes[1] >> 4), []
            for _ in range(number(2)):
                if version:
                    number(sizes[1] & 15)
                start, length = base + number(sizes[0] >> 4), number(sizes[0] & 15)
                pieces.append((start, length))
                if at > box.end:
                    return b""
            if item == wanted:
                idat = self._inside.get(b"idat")
                if method > 1 or (method and idat is None) or sum(length for _, length in pieces) > MOST_BYTES:
                    return b""
                first = idat.start if method and idat else 0
                return b"".join(data[first + start : first + start + length] for start, length in pieces)
        return b""

    def is_of_primary(self, item: Item) -> bool:
        """Whether an item describes the primary one, or none in particular."""
        targets = [own.targets for own in self.references if own.kind == b"cdsc" and own.source == item.number]
        return not targets or any(self.primary in own for own in targets)

    def exif(self) -> bytes:
        """The first EXIF block; empty where there is none."""
        for item in self.items.values():
            if item.kind == _EXIF and self.is_of_primary(item) and (found := self.content(item.number)):
                return found[4 + int.from_bytes(found[:4], "big") :].removeprefix(b"Exif\0\0")
        return b""

    def described(self, number: int, content_type: bytes) -> bytes:
        """What an item of some type of content says of another."""
        for kind, source, targets in self.references:
            item = self.items.get(source)
            if kind == b"cdsc" and number in targets and item and item.content_type == content_type:
                return self.content(source)
        return b""


def look_heif(data: bytes) -> tuple[Facts, Items]:
    """As `look_avif`, of a HEIC, whose library crops and tells the depth itself; and its items."""
    facts = look_avif(data)
    facts.data = b""
    facts.others.clear()
    return facts, Items(data)


def look_avif(data: bytes) -> Facts:
    """Depth and colours of the primary item; EXIF is renamed in what Pillow gets, which parses it strictly.

    The way up is not taken from EXIF: in AVIF only `irot` and `imir` count, and Pillow tells them.
    """
    facts, items = Facts(data), Items(data)
    hidden = [item.place for item in items.items.values() if item.kind == _EXIF]
    if hidden:
        facts.metadata.add("EXIF")
        facts.exif = items.exif()
        changed = bytearray(data)
        for place in hidden:
            changed[place : place + 4] = b"none"
        facts.data = bytes(changed)
    if any(item.content_type == XMP_TYPE and items.is_of_primary(item) for item in items.items.values()):
        facts.metadata.add("XMP")
    if any(item.kind == b"tmap" for item in items.items.values()):
        facts.metadata.add("gain map")
    if any(own.kind == b"prem" and own.source == items.primary for own in items.references):
        facts.others.append(DIVIDED)
    own, known = items.properties(items.primary)
    for box in own if any(box.kind == b"av1C" for box in own) else known:  # of a grid, its cells have it
        if box.kind == b"av1C" and data[box.start + 2] & _HIGH:
            facts.depth = max(facts.depth, 12 if data[box.start + 2] & _TWELVE else 10)
    for box in own:
        if box.kind == b"clap":
            facts.others.append("the margins that the file hides are kept")
        if box.kind == b"colr" and data[box.start : box.start + 4] == b"nclx":
            codes = data[box.start + 4 : box.start + 8]
            facts.add_codes(int.from_bytes(codes[:2], "big"), int.from_bytes(codes[2:], "big"))
    return facts


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
