"""AVIF with more than 8 bits, through imagecodecs where it is installed; colour codes and metadata are put in here."""

from __future__ import annotations

import struct
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from mvc.media.boxes import XMP_TYPE, Items
from mvc.metadata import Metadata
from mvc.picture import Picture

DEPTHS = (10, 12)
QUALITY = 90
_BT2020 = 9
_NCLX = b"nclx"


def is_deep() -> bool:
    """Whether more than 8 bits can be written."""
    return find_spec("imagecodecs") is not None


def bits_for(metadata: Metadata) -> int:
    """The bits in which samples of 16 are written: no fewer than they had before, where that can be."""
    return DEPTHS[0] if metadata.depth and metadata.depth[0] <= DEPTHS[0] else DEPTHS[1]


def deep(picture: Picture, metadata: Metadata, quality: int | None) -> bytes:
    """An AVIF of a picture of 16 bits, 4:4:4, with its metadata."""
    bits = bits_for(metadata)
    most = (1 << bits) - 1
    numbers = ((np.asarray(picture).astype(np.uint32) * most + 0x7FFF) // 0xFFFF).astype(np.uint16)
    primaries, transfer = (metadata.cicp or b"\1\x0d")[:2]
    coded = import_module("imagecodecs").avif_encode(
        numbers,
        level=QUALITY if quality is None else quality,
        bitspersample=bits,
        pixelformat="400" if picture.colour == "gray" else "444",
        primaries=primaries,
        transfer=transfer,
        matrix=_BT2020 if primaries == _BT2020 else 6,
    )
    return with_metadata(bytes(coded), metadata)


def with_codes(data: bytes, cicp: bytes) -> bytes:
    """An AVIF with other colour primaries and another transfer function in the property that names them."""
    items = Items(data)
    changed = bytearray(data)
    for own in items.properties(items.primary)[0]:
        if own.kind == b"colr" and data[own.start : own.start + 4] == _NCLX:
            changed[own.start + 4 : own.start + 8] = struct.pack(">HH", cicp[0], cicp[1])
    return bytes(changed)


def with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """An AVIF of coded items alone, with items of EXIF and XMP and a profile as a property of the primary one."""
    if not metadata.only(("icc", "exif", "xmp")):
        return data
    items = Items(data)
    known = list(items.items)
    entries, references, associated = b"", b"", b""
    contents: list[tuple[int, bytes]] = []
    properties: list[bytes] = []
    for number in known:
        own = [data[part.start - 8 : part.end] for part in items.properties(number)[0]]
        if metadata.icc and number == items.primary:
            own.append(_box(b"colr", b"prof" + metadata.icc))
        places = range(len(properties) + 1, len(properties) + len(own) + 1)
        needed = [0x80 if part[4:8] == b"av1C" else 0 for part in own]
        marks = bytes(place | mark for place, mark in zip(places, needed, strict=True))
        associated += struct.pack(">HB", number, len(own)) + marks
        properties += own
        entries += _full(b"infe", struct.pack(">HH", number, 0) + items.items[number].kind + b"\0", 2)
        contents.append((number, items.content(number)))
    for kind, source, targets in items.references:
        references += _box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))
    more = [(b"Exif", bytes(4) + metadata.exif)] if metadata.exif else []
    more += [(b"mime", metadata.xmp)] if metadata.xmp else []
    for number, (kind, body) in enumerate(more, max(known) + 1):
        names = b"\0" + (XMP_TYPE + b"\0" if kind == b"mime" else b"")
        entries += _full(b"infe", struct.pack(">HH", number, 0) + kind + names, 2)
        references += _box(b"cdsc", struct.pack(">HHH", number, 1, items.primary))
        contents.append((number, body))
    handler = _full(b"hdlr", bytes(4) + b"pict" + bytes(12) + b"\0") + _full(b"pitm", struct.pack(">H", items.primary))
    ipma = _full(b"ipma", struct.pack(">I", len(known)) + associated)
    behind = _full(b"iinf", struct.pack(">H", len(contents)) + entries)
    behind += _full(b"iref", references) if references else b""
    behind += _box(b"iprp", _box(b"ipco", b"".join(properties)) + ipma)

    def meta(place: int) -> bytes:
        located = struct.pack(">BBH", 0x44, 0, len(contents))
        for number, body in contents:
            located += struct.pack(">HHHII", number, 0, 1, place, len(body))
            place += len(body)
        return _full(b"meta", handler + _full(b"iloc", located) + behind)

    start = data[: int.from_bytes(data[:4], "big")]
    body = b"".join(body for _, body in contents)
    return start + meta(len(start) + len(meta(0)) + 8) + _box(b"mdat", body)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full(kind: bytes, body: bytes, version: int = 0) -> bytes:
    return _box(kind, bytes((version, 0, 0, 0)) + body)
