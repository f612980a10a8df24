"""TIFF: the tags that make the pixels go to Pillow, everything else is looked at here."""

from __future__ import annotations

from mvc.errors import SourceError
from mvc.media import exif, resolution
from mvc.media.facts import DIVIDED, ORIENTATION, Entry, Facts, carried, header_of_tiff, read_ifd, whole_value
from mvc.metadata import Metadata

# What a decoder needs: size, layout and coding of the samples, palette, JPEG tables, kinds of colours.
_NEEDED = {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 334, 338}
_NEEDED |= {339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 50674}
_METADATA = dict.fromkeys((270, 271, 272, 305, 306, 315, 316, 33432, 34665, 34853), "EXIF")
_METADATA |= dict.fromkeys((269, 285, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0), 0xC4A5), "EXIF")  # names, stars, Windows
_EXIF = {*_METADATA, 282, 283, 296}  # and the resolution
_ICC, _XMP = 34675, 700
_METADATA |= {34675: "ICC colour profile", 700: "XMP", 33723: "IPTC", 34377: "IPTC"}
_BITS, _SUBFILE, _TRANSFER, _WHITE, _PRIMARIES = 258, 254, 301, 318, 319
_SUB_IFDS, _DNG = 330, 50706
_EXTRA, _ASSOCIATED = 338, 1
_NOT_COPIED = {_SUBFILE, 255, ORIENTATION, 301, 318, 319, _SUB_IFDS, 700, 33723, 34377, 34675, _DNG}
_MOST_PAGES = 1 << 16


def look(data: bytes, label: str) -> Facts:
    """What a TIFF says in its first directory, which is all that Pillow gets of it, without what is not needed.

    Raises `SourceError` for a camera's raw file, which only looks like a small TIFF.
    """
    facts, kept = look_at_tags(data, label)
    facts.data = data
    header = header_of_tiff(data)
    if header is None or kept is None:
        return facts
    order, big, start = header
    count = len(kept).to_bytes(8 if big else 2, order)
    directory = b"".join((count, *(entry.raw for entry in kept), bytes(8 if big else 4)))
    facts.data = data[:start] + directory + data[start + len(directory) :]  # never longer than what it replaces
    return facts


def look_at_tags(data: bytes, label: str) -> tuple[Facts, list[Entry] | None]:
    """What a TIFF says, without its bytes, and the tags that its pixels need; None where the directory is cut short."""
    facts = Facts(b"")
    header = header_of_tiff(data)
    if header is None:
        return facts, None
    order, big, start = header
    counter, wide, pointer = (8, 20, 8) if big else (2, 12, 4)

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    entries = list(read_ifd(data))
    if len(entries) != number(start, counter):
        return facts, None  # Pillow will say so
    tags = {entry.tag for entry in entries}
    reduced = any(entry.tag == _SUBFILE and (entry.whole or 0) & 1 for entry in entries)
    if data[8:10] == b"CR" or (reduced and tags & {_SUB_IFDS, _DNG}):
        raise SourceError(f"{label} is a camera's raw file", hint="develop it to a 16-bit TIFF, or to PNG")
    if reduced:
        facts.others.append("the first picture in the file is a reduced one, and the only one kept")
    for entry in entries:
        _tag(facts, entry)
        if entry.tag == _ICC:
            facts.add_icc(whole_value(data, entry))
        elif entry.tag == _XMP:
            facts.xmp = whole_value(data, entry)  # whose way up does not count here
    if "EXIF" in facts.metadata:
        skipped: list[int] = []
        own = exif.tree(data, _EXIF, skipped)
        facts.damaged += ["EXIF"] if own and skipped else []
        facts.exif = carried(exif.block(own)) if own else b""
    facts.resolution = resolution.of_exif(exif.block(exif.tree(data, (282, 283, 296)) or ()))
    _colours(facts, {entry.tag: entry.fractions for entry in entries if entry.tag in (_WHITE, _PRIMARIES)})

    pages, at = {start}, number(start + counter + len(entries) * wide, pointer)
    while at and at not in pages and len(pages) < _MOST_PAGES and at < len(data):
        pages.add(at)
        at = number(at + counter + number(at, counter) * wide, pointer)
    facts.frames = len(pages)
    return facts, [entry for entry in entries if entry.tag in _NEEDED]


def _tag(facts: Facts, entry: Entry) -> None:
    if entry.tag == ORIENTATION and 1 <= (entry.whole or 0) <= 8:
        facts.orientation = entry.whole or 1
    elif entry.tag == _BITS:
        facts.depth = max(8, entry.whole or 0)
    elif entry.tag == _EXTRA and entry.whole == _ASSOCIATED:
        facts.others.append(DIVIDED)
    elif entry.tag in _METADATA:
        facts.metadata.add(_METADATA[entry.tag])
    elif entry.tag == _TRANSFER:
        facts.colours.append("a transfer curve of its own")


def _colours(facts: Facts, points: dict[int, list[float]]) -> None:
    if len(points.get(_PRIMARIES, ())) == 6:
        white = points.get(_WHITE, ())
        facts.add_primaries([*(white if len(white) == 2 else (0.3127, 0.3290)), *points[_PRIMARIES]])


def with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """A little-endian TIFF of one directory with the metadata in another one at its end, which takes its place."""
    if not metadata.only(("icc", "exif", "xmp")):
        return data
    tags = metadata_tags(metadata)
    for entry in read_ifd(data):
        tags[entry.tag] = exif.Tag(entry.tag, entry.kind, entry.many, whole_value(data, entry))
    data += bytes(len(data) % 2)
    return data[:4] + len(data).to_bytes(4, "little") + data[8:] + exif.laid(tags.values(), len(data))


def metadata_tags(metadata: Metadata) -> dict[int, exif.Tag]:
    """The tags, by their numbers, in which a TIFF has metadata."""
    tags = {own.number: own for own in exif_tags(metadata.exif) or ()}
    if metadata.resolution:
        tags |= {tag.number: tag for tag in resolution.tags(metadata.resolution)}
    if metadata.icc:
        tags[_ICC] = exif.Tag(_ICC, 7, len(metadata.icc), metadata.icc)
    if metadata.xmp:
        tags[_XMP] = exif.Tag(_XMP, 1, len(metadata.xmp), metadata.xmp)
    return tags


def unreadable(block: bytes) -> list[int]:
    """The numbers of tags of an EXIF block that cannot be read, and so not be written."""
    skipped: list[int] = []
    exif.tree(block, None, skipped)
    return skipped


def exif_tags(block: bytes | None) -> list[exif.Tag] | None:
    """The tags of an EXIF block that do not say how samples are laid out; None where it cannot be read."""
    tags = exif.tree(block or b"")
    if tags is None:
        return None
    return [tag for tag in tags if tag.number not in _NEEDED | _NOT_COPIED]
