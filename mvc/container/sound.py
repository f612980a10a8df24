"""Sound in clips: tracks, and packets of coded sound between the units of frames (spec section 3.4).

Packets are copied, never decoded. Sound that is damaged counts as not there, whatever else of the file is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, BinaryIO, NamedTuple

from mvc.container import fields
from mvc.container.chunks import CRC_BYTES, SOUND, TRACK, UNITS, Chunk, Link, Source, walk
from mvc.container.stream import Writer
from mvc.container.units import clip_head_of, head_of
from mvc.errors import Limit, MvcError

ZERO = 1 << 63
"""In the file, the time 0: times may be negative."""
HELD_S = Fraction(1, 4)
"""How much sound of a track becomes one chunk."""
MOST_PACKETS = 255
TRACK_PARTS = 3


@dataclass(frozen=True)
class Track:
    """A track of sound. `header` is a NUT file with this track alone: what a muxer has to know of it."""

    sample_rate: int
    channels: int
    time_base: Fraction
    codec: str
    language: str
    header: bytes


class Packet(NamedTuple):
    """Some coded sound of a track; `time` and `duration` in its `time_base`, the time None where it is not known."""

    track: int
    time: int | None
    duration: int
    data: bytes


class SoundWriter:
    """Writes tracks at once, before the first unit, and packets as they come, some at a time; `close` writes the rest.

    A track that the format cannot hold is left out, and packets of a track whose numbers are beyond it, too: `dropped`
    says how many.
    """

    def __init__(self, writer: Writer, tracks: Iterable[Track]) -> None:
        self._writer = writer
        self.dropped = 0
        self._tracks = list(tracks)
        self._held: dict[int, list[Packet]] = {}
        self._numbers: dict[int, int] = {}
        for index, track in enumerate(self._tracks):
            try:
                payload = _track_payload(len(self._numbers), track)
            except Limit:
                continue
            writer.linked(TRACK.code, payload)
            self._numbers[index] = len(self._numbers)

    def put(self, packets: Iterable[Packet]) -> None:
        """Take packets, each track's in their order."""
        for packet in packets:
            held = self._held.setdefault(packet.track, [])
            if held and not self._goes_on(held, packet):
                self._write(packet.track)
            self._held[packet.track].append(packet)

    def close(self) -> None:
        """Write what is held."""
        for track in list(self._held):
            self._write(track)

    def _goes_on(self, held: list[Packet], packet: Packet) -> bool:
        """Whether a packet can be in one chunk with those that are held."""
        first, span = held[0], sum(own.duration for own in held)
        expected = None if first.time is None else first.time + span
        return (
            packet.duration == first.duration > 0
            and packet.time == expected
            and len(held) < MOST_PACKETS
            and span * self._tracks[packet.track].time_base < HELD_S
        )

    def _write(self, track: int) -> None:
        held = self._held[track]
        self._held[track] = []
        try:
            if held:
                self._writer.linked(SOUND.code, _sound_payload(self._numbers[track], held))
        except (Limit, KeyError):
            self.dropped += len(held)


def _track_payload(number: int, track: Track) -> bytes:
    parts = (track.codec.encode(), track.language.encode(), track.header)
    unit = {"time_numerator": track.time_base.numerator, "time_denominator": track.time_base.denominator}
    own = asdict(track) | unit | {"number": number, "sizes": tuple(map(len, parts)), "parts": b"".join(parts)}
    return fields.write(TRACK.fields, own)


def _sound_payload(number: int, held: list[Packet]) -> bytes:
    first = held[0]
    record = {
        "timed": first.time is not None,
        "number": number,
        "time": ZERO + (first.time or 0),
        "duration": first.duration,
        "sizes": tuple(len(packet.data) for packet in held),
        "packets": b"".join(packet.data for packet in held),
    }
    return fields.write(SOUND.fields, record)


class SoundReader:
    """Reads the sound of a clip from a file object that it alone moves: `tracks`, then packets in the file's order.

    The file is walked from here; where its framing breaks, sound ends. What is no clip has no tracks. `damaged` counts
    chunks of sound that are not what was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.tracks: list[Track] = []
        self.damaged = 0
        self._source = Source(file)
        self._found = self._walk()
        self._next: Packet | None = next(self._found, None)

    def before(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The packets up to the first that begins later, all if None; never one twice."""
        while (packet := self._next) is not None:
            time = Fraction(packet.time or 0) * self.tracks[packet.track].time_base
            if seconds is not None and packet.time is not None and time > seconds:
                return
            self._next = next(self._found, None)
            yield packet

    def _walk(self) -> Iterator[Packet]:
        with suppress(MvcError):
            chunks = walk(self._source)
            if head_of(next(chunks)).kind != "clip":
                return
            clip_head_of(next(chunks))
            link = Link(self._source.crc or 0)
            self._source.seek = self._source.file.seekable()
            begun = False
            for chunk in chunks:
                begun = begun or chunk.code in UNITS
                if chunk.code == SOUND.code or (chunk.code == TRACK.code and not begun):
                    record = self._record(chunk, link)
                    if record is None:
                        self.damaged += 1
                    elif chunk.code == SOUND.code:
                        yield from _packets(record)
                    elif not self._take(record):
                        self.damaged += 1

    def _record(self, chunk: Chunk, link: Link) -> dict[str, Any] | None:
        """The fields of a chunk; None where it is not what was written, or makes no sense here."""
        payload = chunk.payload()
        body, stored = payload[:-CRC_BYTES], payload[-CRC_BYTES:]
        if len(payload) < CRC_BYTES or link.crc(body, chunk.code) != stored:
            return None
        try:
            record = chunk.record(body)
        except MvcError:
            return None
        return None if chunk.code == SOUND.code and record["number"] >= len(self.tracks) else record

    def _take(self, record: dict[str, Any]) -> bool:
        """Take up a track, if it is the next one."""
        parts = _parts(record["sizes"], record["parts"])
        if record["number"] != len(self.tracks) or len(parts) != TRACK_PARTS:
            return False
        codec, language = (part.decode("utf-8", "replace") for part in parts[:2])
        time_base = Fraction(record["time_numerator"], record["time_denominator"])
        self.tracks.append(Track(record["sample_rate"], record["channels"], time_base, codec, language, parts[2]))
        return True


def _packets(record: dict[str, Any]) -> Iterator[Packet]:
    time = record["time"] - ZERO if record["timed"] else None
    for data in _parts(record["sizes"], record["packets"]):
        yield Packet(record["number"], time, record["duration"], data)
        time = None if time is None else time + record["duration"]


def _parts(sizes: tuple[int, ...], data: bytes) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
