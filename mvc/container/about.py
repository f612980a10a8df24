"""What a file says about itself, without a model."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from mvc.container import fields
from mvc.container.chunks import CLIP, CODE, END, HEAD, VERSION, Source, finish, walk
from mvc.container.units import UnitHead, clip_head_of, head_of, unit_head
from mvc.errors import Corrupt, Limit, Unsupported

LISTED = 1000
"""Chunks, and units, that are listed: a file may have millions."""


def describe(data: bytes) -> dict[str, Any]:
    """What `mvc info` prints, in JSON-ready values: the head, the checksum, the units, every chunk.

    Unlike `Reader` it does not refuse a wrong checksum (`intact` is False then), unknown chunks, chunks out of order or
    units that cannot be parsed: it is there to look at such files. It lists the first 1000 units and chunks, and END;
    `chunk_count` is the number of all chunks.

    Raises:
        FormatError, Unsupported, Limit: the framing or the head cannot be parsed.
    """
    chunks = walk(Source(io.BytesIO(data)))
    first = next(chunks)
    head = head_of(first)
    listed, count, intact, coded = [first], 1, False, 0
    units: list[UnitHead] = []
    clip: dict[str, Any] = {}
    for chunk in chunks:
        count += 1
        coded += chunk.code == CODE.code
        if chunk.code == CODE.code and len(units) < LISTED:
            with suppress(Corrupt, Unsupported, Limit):
                units.append(unit_head(chunk, head))
        if chunk.code == CLIP.code and head.kind == "clip" and not clip:
            with suppress(Corrupt, Unsupported, Limit):
                clip = {"clip": fields.show(CLIP.fields, asdict(clip_head_of(chunk)))}
        if chunk.code == END.code:
            stored, actual = finish(chunks, chunk)
            intact = stored == actual
        if count <= LISTED or chunk.code == END.code:
            listed.append(chunk)
    return {
        "version": VERSION,
        **fields.show(HEAD.fields, asdict(head)),
        **clip,
        "size_bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (head.width * head.height * (max(1, coded) if head.kind == "clip" else 1)),
        "intact": intact,
        "units": [
            {
                "role": unit.role,
                "index": unit.index,
                "quality_index": head.quality_index if unit.quality_index is None else unit.quality_index,
                "stream_bytes": list(unit.sizes),
            }
            for unit in units
        ],
        "chunk_count": count,
        "chunks": [
            {
                "name": chunk.label,
                "offset": chunk.offset,
                "length": chunk.length,
                "critical": chunk.critical,
                "known": chunk.known,
            }
            for chunk in listed
        ],
    }
