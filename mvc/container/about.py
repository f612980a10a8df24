"""What a file says about itself, without a model."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc.container import fields
from mvc.container.chunks import CLIP, END, HEAD, META, SOUND, TRACK, UNITS, VERSION, Source, finish, walk
from mvc.container.meta import glance
from mvc.container.units import Head, UnitHead, clip_head_of, head_of, unit_head
from mvc.errors import Corrupt, Limit, Unsupported

if TYPE_CHECKING:
    from fractions import Fraction

LISTED = 1000
"""Chunks, and units, that are listed: a file may have millions."""


def describe(data: bytes | BinaryIO) -> dict[str, Any]:
    """What `mvc info` prints, in JSON-ready values: the head, the checksum, the units, every chunk.

    `data` is the file, or a file object that can seek and stands at its beginning, which is walked and not held.
    `metadata` says kind, bytes, and bytes in the file.
    Of a clip: also how many frames and keyframes it has, seconds, frames and bits per second, and its sound.
    Unlike `Reader` it does not refuse a wrong checksum (`intact` is False then), unknown chunks, chunks out of order or
    units that cannot be parsed: it is there to look at such files. It lists the first 1000 units and chunks, and END;
    `chunk_count` is the number of all chunks.

    Raises:
        FormatError, Unsupported, Limit: the framing or the head cannot be parsed.
    """
    file = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
    begin = file.tell()
    chunks = walk(Source(file))
    first = next(chunks)
    head = head_of(first)
    listed, count, intact, coded, last = [first], 1, False, 0, -1
    units: list[UnitHead] = []
    metadata: list[dict[str, Any]] = []
    clip: dict[str, Any] = {}
    tally = _Tally()
    for chunk in chunks:
        count += 1
        coded += chunk.code in UNITS
        tally.sound_bytes += chunk.length if chunk.code in (TRACK.code, SOUND.code) else 0
        if chunk.code in UNITS and (head.kind == "clip" or len(units) < LISTED):
            with suppress(Corrupt, Unsupported, Limit):
                unit = unit_head(chunk, head, last)
                last = unit.index
                tally.add(unit)
                if len(units) < LISTED:
                    units.append(unit)
        if chunk.code == META.code and head.kind == "still" and len(metadata) < LISTED:
            known = glance(chunk)
            metadata += [known] if known else []
        if chunk.code == CLIP.code and head.kind == "clip" and not clip:
            with suppress(Corrupt, Unsupported, Limit):
                own = clip_head_of(chunk)
                head = replace(head, clip=own)
                clip = {"clip": fields.show(CLIP.fields, asdict(own))}
        if chunk.code == END.code:
            stored, actual = finish(chunks, chunk)
            intact = stored == actual
        if count <= LISTED or chunk.code == END.code:
            listed.append(chunk)
    size = listed[-1].start + listed[-1].length
    if clip:
        clip |= tally.facts(own.time_base, size)
        if tally.sound_bytes:
            file.seek(begin)
            clip["sound"] = {"bytes": tally.sound_bytes, **_sound(file)}
    return {
        "version": VERSION,
        **fields.show(HEAD.fields, asdict(head)),
        "coder": head.coder,
        **clip,
        "size_bytes": size,
        "bits_per_pixel": 8 * size / (head.width * head.height * (max(1, coded) if head.kind == "clip" else 1)),
        "intact": intact,
        "units": [
            {
                "role": unit.role,
                "index": unit.index,
                "quality_index": _quality(head, unit),
                "stream_bytes": list(unit.sizes),
                **({} if unit.near is None else {"near": unit.near}),
                **({"changed": True} if unit.changed else {}),
            }
            for unit in units
        ],
        "metadata": metadata,
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


def _quality(head: Head, unit: UnitHead) -> int | None:
    of_head: int | None = head.quality_index if unit.role in ("picture", "inter", "between") else None
    return of_head if unit.quality_index is None else unit.quality_index


class _Tally:
    """What the units of a clip come to."""

    def __init__(self) -> None:
        self.frames = self.keyframes = self.keyframe_bytes = self.sound_bytes = 0
        self.first = self.last = 0

    def add(self, unit: UnitHead) -> None:
        self.first = self.first if self.frames else unit.index
        self.last = unit.index
        self.frames += 1
        if unit.role == "picture":
            self.keyframes += 1
            self.keyframe_bytes += sum(unit.sizes)

    def facts(self, unit_s: Fraction, size: int) -> dict[str, Any]:
        """Seconds, and rates: the last frame is as long as the mean of the others."""
        span = (self.last - self.first) * unit_s
        seconds = span * self.frames / (self.frames - 1) if span else unit_s  # units may share a time
        return {
            "frames": self.frames,
            "keyframes": self.keyframes,
            "keyframe_bytes": self.keyframe_bytes,
            "seconds": float(seconds),
            "frames_per_second": float(self.frames / seconds),
            "bits_per_second": float(8 * size / seconds),
        }


def _sound(file: BinaryIO) -> dict[str, Any]:
    """Tracks of sound, and for each how many packets it has, their bytes, and the seconds that they last."""
    from mvc.container.sound import SoundReader

    reader = SoundReader(file)
    sums = [[0, 0, 0] for _ in reader.tracks]
    for packet in reader.before(None):
        for place, value in enumerate((1, len(packet.data), packet.duration)):
            sums[packet.track][place] += value
    tracks = [
        {
            "codec": track.codec,
            "sample_rate": track.sample_rate,
            "channels": track.channels,
            "language": track.language,
            "packets": packets,
            "bytes": size,
            "seconds": float(units * track.time_base),
        }
        for track, (packets, size, units) in zip(reader.tracks, sums, strict=True)
    ]
    return {"damaged": reader.damaged, "tracks": tracks}
