"""EXIF blocks, which are small TIFF files: the way up, places, and the way from and into the tags of TIFF pictures.

Nothing in here raises for a bad block; what cannot be done is answered with None.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from mvc.media.facts import ORIENTATION, SIZES, UTF8, Entry, header_of_tiff, read_ifd, whole_value
from mvc.metadata import MOST_BYTES, Metadata

EXIF_IFD, GPS_IFD, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_INSIDE = {EXIF_IFD: (INTEROPERABILITY,), GPS_IFD: (), INTEROPERABILITY: ()}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # bytes that are swapped together, by type
_KINDS = {*range(1, 14), UTF8}
_MOST_DIRECTORIES = 4

# In XMP places are properties exif:GPS..., as attributes or as elements.
_GPS_ATTRIBUTE = re.compile(rb"""\s+exif:GPS\w+\s*=\s*(?:"[^"]*"|'[^']*')""")
_GPS_ELEMENT = re.compile(rb"<exif:(GPS\w+)[^<>]*?(?:/>|>.*?</exif:\1\s*>)", re.DOTALL)


class Tag(NamedTuple):
    """A tag with its value, least significant bytes first; `inside` are those of the directory that it points to."""

    number: int
    kind: int
    many: int
    value: bytes
    inside: tuple[Tag, ...] | None = None


# In place -------------------------------------------------------------------------------------------------


def upright(exif: bytes) -> bytes:
    """The block with every orientation in its first directory 1, all else as it stands."""
    changed = bytearray(exif)
    for place, entry in _places(exif):
        size = SIZES.get(entry.kind, 0)
        if entry.tag == ORIENTATION and entry.whole is not None and size * entry.many <= 4:
            changed[place + 8 : place + 8 + size] = (1).to_bytes(size, entry.order)
    return bytes(changed)


def with_orientation(exif: bytes | None, orientation: int) -> bytes | None:
    """The block, or a new one, with an orientation in its first directory; None where it cannot be parsed.

    A tag that is there is changed, else the directory is put at the end, with the tag: nothing else moves.
    """
    if exif is None:
        return block((Tag(ORIENTATION, 3, 1, orientation.to_bytes(2, "little")),))
    header = header_of_tiff(exif)
    if header is None or header[1]:
        return None
    order, _, first = header
    for place, entry in _places(exif):
        if entry.tag == ORIENTATION and SIZES.get(entry.kind, 0) * entry.many <= 4:
            size = SIZES.get(entry.kind, 0)
            return exif[: place + 8] + orientation.to_bytes(size, order) + exif[place + 8 + size :]
    raws = {entry.tag: entry.raw for entry in read_ifd(exif)}
    raw = b"".join(number.to_bytes(2, order) for number in (ORIENTATION, 3)) + (1).to_bytes(4, order)
    raws[ORIENTATION] = raw + orientation.to_bytes(2, order) + bytes(2)
    count = int.from_bytes(exif[first : first + 2], order)
    following = exif[first + 2 + 12 * count :][:4].ljust(4, b"\0")
    exif += bytes(len(exif) % 2)
    directory = len(raws).to_bytes(2, order) + b"".join(raws[tag] for tag in sorted(raws)) + following
    return exif[:4] + len(exif).to_bytes(4, order) + exif[8:] + directory


def stand_in(exif: bytes) -> bytes:
    """A block of as many bytes that says nothing, for writers that parse it: the block itself takes its place."""
    empty = block(())
    return (empty + b"mvc " * (len(exif) // 4))[: len(exif)]


def without_gps(exif: bytes) -> bytes | None:
    """The block without places: their bytes are zero, and no directory names them. None where that is not certain."""
    header = header_of_tiff(exif)
    if header is None or header[1]:
        return None
    order, _, first = header
    changed, at, seen = bytearray(exif), first, 0
    while at and seen < _MOST_DIRECTORIES:
        entries = list(read_ifd(exif, at))
        inner = [entry.whole or 0 for entry in entries if entry.tag == EXIF_IFD]
        for directory in (at, *inner[:1]):
            named = [(place, entry) for place, entry in _places(exif, directory) if entry.tag == GPS_IFD]
            if len(named) > 1 or (named and not _drop_gps(exif, changed, directory, *named[0])):
                return None
        end = at + 2 + 12 * int.from_bytes(exif[at : at + 2], order)
        at, seen = int.from_bytes(exif[end : end + 4], order), seen + 1
    return None if at else bytes(changed)


def _drop_gps(exif: bytes, changed: bytearray, directory: int, place: int, entry: Entry) -> bool:
    """Blank the directory of places that an entry names, and take the entry out; what follows moves up.

    False where something else would be blanked with it, or bytes lie outside the block.
    """
    start = entry.whole or len(exif)
    count = int.from_bytes(exif[directory : directory + 2], entry.order)
    listed = directory + 2 + 12 * count + 4
    spans = [(start, start + 2 + 12 * int.from_bytes(exif[start : start + 2], entry.order) + 4)]
    for own in read_ifd(exif, start):
        size = SIZES.get(own.kind, 0) * own.many
        if size > 4 or not size:  # of an unknown kind it is not known how many there are
            begin = int.from_bytes(own.raw[8:12], own.order)
            spans.append((begin, begin + size) if size else (len(exif), len(exif) + 1))
    for begin, end in spans:
        if begin < 8 or max(end, listed) > len(exif) or (begin < listed and directory < end):
            return False
        changed[begin:end] = bytes(end - begin)
    changed[place : listed - 12] = changed[place + 12 : listed]
    changed[listed - 12 : listed] = bytes(12)
    changed[directory : directory + 2] = (count - 1).to_bytes(2, entry.order)
    return True


def _places(exif: bytes, directory: int | None = None) -> Iterator[tuple[int, Entry]]:
    """Where each entry of a directory of a block stands, and the entry."""
    header = header_of_tiff(exif)
    if header is None or header[1]:
        return
    start = header[2] if directory is None else directory
    for number, entry in enumerate(read_ifd(exif, start)):
        yield start + 2 + 12 * number, entry


def without_places(metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata without GPS, and which kinds were dropped whole, since it is not certain where places are in them."""
    exif, xmp, dropped = metadata.exif, metadata.xmp, []
    if exif is not None:
        exif = without_gps(exif)
        dropped += ["EXIF"] if exif is None else []
    if xmp is not None:
        xmp = _GPS_ELEMENT.sub(b"", _GPS_ATTRIBUTE.sub(b"", xmp))
        if b"GPS" in xmp.replace(b"\0", b"").upper() or not xmp:
            xmp = None
            dropped.append("XMP")
    return replace(metadata, exif=exif, xmp=xmp), tuple(dropped)


# From directory to directory --------------------------------------------------------------------------------


def tree(
    data: bytes, names: Container[int] | None = None, skipped: list[int] | None = None
) -> tuple[Tag, ...] | None:
    """The tags of the first directory (of those `names`, or all) with those inside; None where there is no TIFF header.

    What cannot be read is left out, and its number goes into `skipped`.
    """
    lost: list[int] = [] if skipped is None else skipped
    return _tree(data, names, None, (EXIF_IFD, GPS_IFD), [MOST_BYTES], lost) if header_of_tiff(data) else None


def _tree(
    data: bytes,
    names: Container[int] | None,
    offset: int | None,
    pointers: tuple[int, ...],
    left: list[int],
    skipped: list[int],
) -> tuple[Tag, ...]:
    tags: dict[int, Tag] = {}
    for entry in read_ifd(data, offset):
        if (names is not None and entry.tag not in names) or entry.tag in tags:
            continue
        if entry.tag in pointers:
            inside = _tree(data, None, entry.whole or len(data), _INSIDE[entry.tag], left, skipped)
            if inside:
                tags[entry.tag] = Tag(entry.tag, 4, 1, b"", inside)
            else:
                skipped.append(entry.tag)
            continue
        value, size = whole_value(data, entry), SIZES.get(entry.kind, 0)
        left[0] -= len(value) + 12
        if entry.kind not in _KINDS or len(value) != size * entry.many or left[0] < 0:
            skipped.append(entry.tag)
            continue
        tags[entry.tag] = Tag(entry.tag, entry.kind, entry.many, _little(value, entry))
    return tuple(tags[number] for number in sorted(tags))


def _little(value: bytes, entry: Entry) -> bytes:
    word = _WORDS.get(entry.kind, 1)
    if entry.order == "little" or word == 1:
        return value
    return b"".join(value[at : at + word][::-1] for at in range(0, len(value), word))


def laid(tags: Iterable[Tag], start: int, *, big: bool = False) -> bytes:
    """A little-endian directory that stands at byte `start` of its file, with its values behind it.

    `big`: of a BigTIFF, whose directories end before byte 2^32 all the same.
    """
    ordered = sorted(tags)
    counter, entry, inline = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    values, entries = b"", b""
    behind = start + struct.calcsize(counter) + (struct.calcsize(entry) + inline) * len(ordered) + inline
    for tag in ordered:
        own = tag.value
        if tag.inside is not None or len(own) > inline:
            place = behind + len(values)
            more = laid(tag.inside, place, big=big) if tag.inside is not None else own
            values += more + bytes(len(more) % 2)
            own = place.to_bytes(inline, "little")
        entries += struct.pack(entry, tag.number, tag.kind, tag.many) + own.ljust(inline, b"\0")
    return struct.pack(counter, len(ordered)) + entries + bytes(inline) + values


def block(tags: Iterable[Tag]) -> bytes:
    """An EXIF block of these tags."""
    return b"II*\0\x08\0\0\0" + laid(tags, 8)
