"""Tracks of sound, copied packet by packet from one video file to another, by way of whatever keeps them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

from mvc.frames import AudioPacket, AudioTrack
from mvc.media.pyav import need_av


def track_of(stream: Any) -> AudioTrack | None:
    """What a muxer has to know of a stream of sound; None where that cannot be kept."""
    av = need_av()
    header = io.BytesIO()
    try:
        with av.open(header, "w", format="nut") as container:
            packet = av.Packet(bytes(64))
            packet.stream = container.add_stream_from_template(stream)
            packet.pts = packet.dts = 0
            packet.time_base = stream.time_base
            packet.is_keyframe = True
            container.mux_one(packet)
        context = stream.codec_context
        channels = int(context.layout.nb_channels)
    except (av.FFmpegError, ValueError, AttributeError):
        return None
    time_base = Fraction(stream.time_base)
    return AudioTrack(context.name, context.sample_rate, channels, stream.language or "", time_base, header.getvalue())


def add_track(stack: ExitStack, container: Any, track: AudioTrack, suffix: str, losses: list[str]) -> Any:
    """A stream for a track of sound; None where this kind of file cannot hold it."""
    av = need_av()
    try:
        template = stack.enter_context(av.open(io.BytesIO(track.header), format="nut"))
        stream = container.add_stream_from_template(template.streams.audio[0])
        if track.language:
            stream.metadata["language"] = track.language
        return stream
    except (av.FFmpegError, ValueError):
        losses.append(f"an audio track ({track.codec}) is dropped, which {suffix} cannot hold")
        return None


def mux_sound(
    container: Any,
    sounds: Sequence[Any],
    tracks: Sequence[AudioTrack],
    take_audio: Callable[[], Iterable[AudioPacket]] | None,
) -> None:
    """Write the packets that have come, into the streams (`add_track`) of their tracks."""
    av = need_av()
    for sound in take_audio() if take_audio else ():
        if sounds[sound.track] is None:
            continue
        packet = av.Packet(sound.data)
        packet.pts, packet.dts, packet.duration = sound.time, sound.decoding_time, sound.duration
        packet.time_base = tracks[sound.track].time_base
        packet.is_keyframe = True
        packet.stream = sounds[sound.track]
        container.mux_one(packet)
