"""Sound of videos into .mvc files and back: the same packets, on a clock that begins with the first frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO

from mvc.container import Writer
from mvc.container.sound import Packet, SoundReader, SoundWriter, Track
from mvc.frames import AudioPacket, AudioTrack


class SoundIn:
    """Writes sound between the units of a clip. `begin` is the time of the first frame, in seconds.

    Of a `part` of a clip, what is before it is left out.
    """

    def __init__(self, writer: Writer, tracks: Sequence[AudioTrack], begin: Fraction, *, part: bool = False) -> None:
        self._part = part
        self._waiting: list[Packet] = []
        self._units = [track.time_base for track in tracks]
        self._shifts = [round(begin / track.time_base) for track in tracks]
        self._writer = SoundWriter(writer, [_in_file(track) for track in tracks])

    @property
    def dropped(self) -> int:
        """Packets that the format cannot hold."""
        return self._writer.dropped

    def put(self, packets: Iterable[AudioPacket], now: Fraction) -> None:
        """Take what has come, and write what is heard by the time of the next frame, in seconds of the clip."""
        self._waiting.extend(self._shifted(packets))
        due = [packet for packet in self._waiting if self._seconds(packet) <= now]
        self._waiting = [packet for packet in self._waiting if self._seconds(packet) > now]
        self._writer.put(due)

    def close(self, packets: Iterable[AudioPacket] = (), until: Fraction | None = None) -> None:
        """Write the rest, of a part of a clip what begins before `until`: before the file is closed."""
        rest = [*self._waiting, *self._shifted(packets)]
        self._waiting = []
        self._writer.put(packet for packet in rest if until is None or self._seconds(packet) < until)
        self._writer.close()

    def _seconds(self, packet: Packet) -> Fraction:
        return (packet.time or 0) * self._units[packet.track]

    def _shifted(self, packets: Iterable[AudioPacket]) -> Iterator[Packet]:
        for packet in packets:
            time = packet.decoding_time if packet.time is None else packet.time
            shifted = None if time is None else time - self._shifts[packet.track]
            if not self._part or (shifted is not None and shifted >= 0):
                yield Packet(packet.track, shifted, packet.duration, packet.data)


class SoundOut:
    """Reads the sound of a clip along with its frames, from a file object of its own.

    Of a part of a clip that begins `start` seconds after its beginning: what is heard from there on, on a clock that
    begins there.
    """

    def __init__(self, file: BinaryIO, start: Fraction = Fraction(0)) -> None:
        self._reader = SoundReader(file)
        self._start = start
        self.tracks = tuple(_of_file(track) for track in self._reader.tracks)
        self._shifts = [round(start / track.time_base) for track in self.tracks]

    @property
    def damaged(self) -> int:
        """Chunks of sound that are not what was written, so far."""
        return self._reader.damaged

    def until(self, seconds: Fraction | None) -> list[AudioPacket]:
        """The packets up to the first that begins later than this time of the clip, all if None; never one twice."""
        found = []
        for packet in self._reader.before(seconds):
            if packet.time is None:
                if not self._start:
                    found.append(AudioPacket(packet.track, packet.data, None, None, packet.duration))
            elif not self._start or packet.time >= self._shifts[packet.track]:
                time = packet.time - self._shifts[packet.track]
                found.append(AudioPacket(packet.track, packet.data, time, time, packet.duration))
        return found


def _in_file(track: AudioTrack) -> Track:
    return Track(track.sample_rate, track.channels, track.time_base, track.codec, track.language, track.header)


def _of_file(track: Track) -> AudioTrack:
    return AudioTrack(track.codec, track.sample_rate, track.channels, track.language, track.time_base, track.header)
