"""Sound through .mvc files: every packet, beside its frames, and never at the cost of one."""

from __future__ import annotations

import dataclasses
import io
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from test_clip_videos import with_sound
from test_container import CLIP_HEAD, UNIT
from tiny_model import tiny_video_weights
from valid_files import chunks_of

from mvc.codec import Codec
from mvc.container import Reader, Unit, Writer, describe, read_file
from mvc.container.chunks import CODE, SOUND, TRACK
from mvc.container.salvage import salvage
from mvc.container.sound import Packet, SoundReader, SoundWriter, Track
from mvc.errors import Checksum, FormatError
from mvc.media.clips import open_clip
from mvc.video.decode import decode_as
from mvc.video.encode import Wanted, encode_as
from mvc.video.moments import Part, moment
from mvc.video.reader import ClipFile
from mvc.video.sound import SoundOut

TRACK_ONE = Track(48000, 2, Fraction(1, 48000), "opus", "eng", b"nut")


@cache
def codec() -> Codec:
    return Codec(tiny_video_weights("convvc-ssf"))


def load(_: object = None) -> Codec:
    return codec()


def packets_of(path: Path) -> list[tuple[bytes, float]]:
    with av.open(str(path)) as container:
        return [(bytes(p), float((p.pts or 0) * p.time_base)) for p in container.demux(audio=0) if p.size]


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [("aac", "mp4", "mp4"), ("aac", "mp4", "mkv"), ("libopus", "webm", "webm"), ("pcm_s16le", "mov", "mov")],
)
def test_every_packet_comes_back_at_its_time(tmp_path: Path, name: str, kind: str, target: str) -> None:
    with_sound(tmp_path / f"in.{kind}", name)
    done = encode_as(tmp_path / f"in.{kind}", tmp_path / "a.mvc", Wanted(gop=5), load)
    assert done.losses == ()
    back = decode_as(tmp_path / "a.mvc", tmp_path / f"out.{target}", load, Part())
    assert back.losses == () and back.frames == done.frames
    before, after = packets_of(tmp_path / f"in.{kind}"), packets_of(tmp_path / f"out.{target}")
    assert b"".join(data for data, _ in before) == b"".join(data for data, _ in after)
    assert abs(before[0][1] - after[0][1]) <= 0.001 and abs(before[-1][1] - after[-1][1]) < 0.03
    with av.open(str(tmp_path / f"out.{target}")) as container:
        assert container.streams.audio[0].language == "eng"


@cache
def example() -> bytes:
    """The file of a second of frames with sound."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with_sound(Path(folder, "in.mp4"), "aac", 1)
        file = io.BytesIO()
        encode_as(Path(folder, "in.mp4"), file, Wanted(gop=5), load)
        return file.getvalue()


def test_sound_lies_among_the_frames_it_is_heard_with() -> None:
    data = example()
    codes = [code for code, _ in chunks_of(data)]
    assert codes[2] == TRACK.code and codes[3] == CODE.code and codes.count(SOUND.code) >= 4
    reader, sound = Reader(io.BytesIO(data)), SoundReader(io.BytesIO(data))
    assert reader.head.clip
    unit, heard = reader.head.clip.time_base, []
    for frame in reader.heads():
        heard += [p.time * Fraction(1, 48000) for p in sound.before(frame.index * unit) if p.time is not None]
        assert not heard or heard[-1] <= frame.index * unit
    assert len(heard) > 40
    about = describe(data)["sound"]
    assert (about["damaged"], about["tracks"][0]["codec"], about["tracks"][0]["channels"]) == (0, "aac", 2)
    assert about["tracks"][0]["packets"] == len(heard) + len(list(sound.before(None)))
    assert 0.95 < about["tracks"][0]["seconds"] < 1.1
    assert about["bytes"] < 1.03 * about["tracks"][0]["bytes"] + 700  # the track's own chunk is some hundred bytes


def test_sound_is_left_out_where_it_is_not_wanted_or_cannot_be(tmp_path: Path) -> None:
    with_sound(tmp_path / "in.mp4", "aac", 1)
    done = encode_as(tmp_path / "in.mp4", tmp_path / "a.mvc", Wanted(audio=False), load)
    assert done.losses == ("1 audio track is dropped",)
    assert not {TRACK.code, SOUND.code} & {code for code, _ in chunks_of((tmp_path / "a.mvc").read_bytes())}
    (tmp_path / "b.mvc").write_bytes(example())
    for name, loss in (("b.y4m", "y4m keeps no sound"), ("p/", "pictures keep no sound")):
        assert loss in decode_as(tmp_path / "b.mvc", f"{tmp_path}/{name}", load, Part()).losses
    assert decode_as(tmp_path / "b.mvc", tmp_path / "c.mp4", load, Part(audio=False)).losses == ()
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert not container.streams.audio


def test_a_part_has_its_sound_on_its_own_clock(tmp_path: Path) -> None:
    (tmp_path / "a.mvc").write_bytes(example())
    decode_as(tmp_path / "a.mvc", tmp_path / "part.mkv", load, Part(moment("frame 10"), 10))
    times = [time for _, time in packets_of(tmp_path / "part.mkv")]
    assert 0 <= times[0] < 0.03 and 0.34 < times[-1] < 0.4
    whole = packets_of_file(example())
    assert packets_of(tmp_path / "part.mkv")[0][0] == next(data for data, time in whole if time >= 0.4)
    with_sound(tmp_path / "in.mp4", "aac", 2)
    encode_as(tmp_path / "in.mp4", tmp_path / "b.mvc", Wanted(start=moment("1s"), frames=10), load)
    found = packets_of_file((tmp_path / "b.mvc").read_bytes())
    assert 0 <= found[0][1] < 0.03 and 0.34 < found[-1][1] < 0.4
    expected = [data for data, time in packets_of(tmp_path / "in.mp4") if time >= 1]
    assert [data for data, _ in found] == expected[: len(found)]


def packets_of_file(data: bytes) -> list[tuple[bytes, float]]:
    out = SoundOut(io.BytesIO(data))
    return [(p.data, float((p.time or 0) * out.tracks[0].time_base)) for p in out.until(None)]


def test_damage_to_sound_costs_no_picture(tmp_path: Path) -> None:
    """Every 37th byte of the chunks of sound, and all of their framing."""
    data = example()
    frames, units = list(ClipFile(data, load).frames()), read_file(data)[1]
    chunks = describe(data)["chunks"]
    places = set()
    for chunk in chunks:
        if chunk["name"].startswith(("TRACK", "SOUND")):
            end = chunk["offset"] + 3 + chunk["length"]
            places |= {*range(chunk["offset"], chunk["offset"] + 16), *range(chunk["offset"] + 16, end - 8, 997)}
    for place in sorted(places):
        changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        found = [part for part in salvage(io.BytesIO(changed))[1] if isinstance(part, Unit)]
        assert found == units, place
    place = next(chunk["offset"] for chunk in chunks if chunk["name"] == "SOUND 1") + 1
    changed = data[:place] + b"\x05" + data[place + 1 :]  # a wrong length
    found = list(ClipFile(changed, load).frames(lost=lambda loss: None))
    assert [own.time for own in found] == [own.time for own in frames]
    place = data.index(next(payload for code, payload in chunks_of(data) if code == SOUND.code)) + 50
    changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
    seen = []
    with pytest.raises(Checksum):
        for own in ClipFile(changed, load).frames():
            seen.append(own.time)
    assert len(seen) == len(frames)  # the file's own checksum comes last
    (tmp_path / "a.mvc").write_bytes(changed)
    done = decode_as(tmp_path / "a.mvc", tmp_path / "a.mp4", load, Part(recover=True))
    assert "1 pieces of sound are damaged and left out" in done.losses and done.frames == len(frames)
    before = packets_of_file(data)
    kept = packets_of(tmp_path / "a.mp4")
    assert len(before) - 14 < len(kept) < len(before)


# Chunks


def written(tracks: list[Track], packets: list[Packet]) -> tuple[bytes, SoundWriter]:
    file = io.BytesIO()
    writer = Writer(file, CLIP_HEAD)
    sound = SoundWriter(writer, tracks)
    sound.put(packets)
    writer.put(UNIT)
    sound.close()
    writer.close()
    return file.getvalue(), sound


def test_packets_that_follow_each_other_share_a_chunk() -> None:
    packets = [Packet(0, 960 * n - 312, 960, bytes([n]) * n) for n in range(30)]
    data, _ = written([TRACK_ONE], packets)
    assert list(SoundReader(io.BytesIO(data)).before(None)) == packets
    assert sum(code == SOUND.code for code, _ in chunks_of(data)) == 3  # of a quarter of a second each
    gaps = [packet._replace(time=2000 * n) for n, packet in enumerate(packets)]
    data, _ = written([TRACK_ONE], gaps)
    assert list(SoundReader(io.BytesIO(data)).before(None)) == gaps
    assert sum(code == SOUND.code for code, _ in chunks_of(data)) == 30


def test_what_the_format_cannot_hold_is_counted() -> None:
    silent = dataclasses.replace(TRACK_ONE, channels=300)
    packets = [
        Packet(0, 0, 960, b"a"),
        Packet(1, 0, 960, b"b"),
        Packet(1, 960, 2**40, b"c"),
        Packet(1, 2**63, 960, b"d"),
    ]
    data, sound = written([silent, TRACK_ONE], packets)
    reader = SoundReader(io.BytesIO(data))
    assert reader.tracks == [TRACK_ONE] and list(reader.before(None)) == [Packet(0, 0, 960, b"b")]
    assert sound.dropped == 3


def test_sound_that_makes_no_sense_counts_as_not_there() -> None:
    file = io.BytesIO()
    writer = Writer(file, CLIP_HEAD)
    SoundWriter(writer, [TRACK_ONE]).put([])
    writer.linked(SOUND.code, b"\1\1" + bytes(9) + b"\1x")  # of a track that is not there
    writer.linked(SOUND.code, b"\2\0" + bytes(9) + b"\1x")  # of flags that are not known
    writer.linked(TRACK.code, b"\5\1\1\1\1\3\0\0")  # of a number that is not next
    writer.ancillary(SOUND.code, b"\1")
    writer.put(UNIT)
    SoundWriter(writer, [TRACK_ONE]).close()  # behind a unit
    writer.close()
    reader = SoundReader(io.BytesIO(file.getvalue()))
    assert list(reader.before(None)) == [] and reader.tracks == [TRACK_ONE] and reader.damaged == 4
    assert list(Reader(io.BytesIO(file.getvalue()))) == [UNIT]
    assert SoundReader(io.BytesIO(b"no clip")).tracks == []


def test_a_clip_that_is_cut_has_the_sound_up_to_there() -> None:
    data = example()
    reader = SoundReader(io.BytesIO(data[: len(data) // 2]))
    found = list(reader.before(None))
    assert found and found == list(SoundReader(io.BytesIO(data)).before(None))[: len(found)]
    with pytest.raises(FormatError):
        list(ClipFile(data[: len(data) // 2], load).frames())


def test_times_begin_with_the_first_frame(tmp_path: Path) -> None:
    """A clip whose first frame is not at 0: sound keeps its distance to it."""
    with_sound(tmp_path / "in.mp4", "aac", 1)
    with av.open(str(tmp_path / "in.mp4")) as source, av.open(str(tmp_path / "late.mkv"), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                shift = round(3 / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                target.mux_one(packet)
    with open_clip(tmp_path / "late.mkv") as clip:
        assert next(clip.frames()).time * clip.time_base > 2.9
    file = io.BytesIO()
    encode_as(tmp_path / "late.mkv", file, Wanted(), load)
    found = packets_of_file(file.getvalue())
    assert abs(found[0][1] - packets_of(tmp_path / "in.mp4")[0][1]) < 0.002
    assert np.diff([time for _, time in found]).max() < 0.023
