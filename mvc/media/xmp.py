"""Packets of XMP: whether they say anything, and how a JPEG holds one that is longer than a segment (XMP, part 3)."""

from __future__ import annotations

import hashlib
import re
import struct

from mvc.metadata import MOST_BYTES

MORE = b"http://ns.adobe.com/xmp/extension/\0"
MAIN_BYTES = 0xFFFF - 2 - 29
"""Bytes of a packet that a segment of a JPEG has room for."""
_NAME_BYTES, _PIECE_BYTES = 32, 65400
_PIECE = struct.Struct(">II")  # how long the whole is, and where the piece begins
_NOTE = re.compile(rb"""\s*\w+:HasExtendedXMP\s*=\s*["']([0-9A-Fa-f]{32})["']""")
_NOTE_ELEMENT = re.compile(rb"<\w+:HasExtendedXMP\s*>\s*([0-9A-Fa-f]{32})\s*</\w+:HasExtendedXMP\s*>")
_RDF = re.compile(rb"<rdf:RDF\b([^>]*)>(.*)</rdf:RDF\s*>", re.DOTALL)
_SAYS_NOTHING = re.compile(
    rb"""<rdf:Description(?:\s+(?:xmlns:\w+|rdf:about)=(?:"[^"]*"|'[^']*'))*\s*(?:/>|>\s*</rdf:Description>)\s*"""
)
_MAIN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%b"/>'
    b"</rdf:RDF></x:xmpmeta>"
)

Pieces = dict[bytes, dict[int, bytes]]
"""By the name of a packet, what stands behind that name in each segment, by where it begins."""


def without_what_says_nothing(xmp: bytes) -> bytes:
    """The packet without descriptions of nothing; empty where nothing else is left."""
    xmp = _SAYS_NOTHING.sub(b"", xmp)
    rest = re.sub(rb"""(xmlns:\w+|rdf:about|x:xmptk)\s*=\s*("[^"]*"|'[^']*')""", b"", xmp)
    rest = re.sub(rb"<\?.*?\?>|</?(x:xmpmeta|rdf:RDF|rdf:Description)\s*/?>", b"", rest, flags=re.DOTALL)
    return xmp if rest.strip(b" \t\r\n\0") else b""


def add_piece(pieces: Pieces, body: bytes) -> None:
    """Take up a segment, whose body begins with `MORE`."""
    rest = body[len(MORE) :]
    known = pieces.setdefault(rest[:_NAME_BYTES], {})
    if len(rest) > _NAME_BYTES + _PIECE.size:
        _, begin = _PIECE.unpack_from(rest, _NAME_BYTES)
        known.setdefault(begin, rest[_NAME_BYTES:])


def joined(main: bytes, pieces: Pieces) -> bytes | None:
    """One packet of the main one and of what it names; None where that is not all there, or cannot be put into it."""
    note = _NOTE.search(main) or _NOTE_ELEMENT.search(main)
    found = pieces.get(note[1]) if note else None
    if note is None or not found:
        return None
    length, _ = _PIECE.unpack_from(next(iter(found.values())))
    more = b"".join(found[begin][_PIECE.size :] for begin in sorted(found))
    ends = [begin + len(found[begin]) - _PIECE.size for begin in sorted(found)]
    if [0, *ends[:-1]] != sorted(found) or len(more) != length or length > MOST_BYTES:
        return None
    main = without_what_says_nothing(main[: note.start()] + main[note.end() :])
    if not main:
        return more
    inside, end = _RDF.search(more), main.rfind(b"</rdf:RDF")
    if inside is None or end < 0 or b"xmlns:" in inside[1].replace(b"xmlns:rdf", b""):
        return None
    return main[:end] + inside[2] + main[end:]


def parted(packet: bytes) -> tuple[bytes, list[bytes]]:
    """A main packet that says no more than where the rest is, and the bodies of the segments with it."""
    name = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()
    places = range(0, len(packet), _PIECE_BYTES)
    bodies = [MORE + name + _PIECE.pack(len(packet), at) + packet[at : at + _PIECE_BYTES] for at in places]
    return _MAIN % name, bodies
