"""The container: round trips, pipes, limits, damage. No model is needed to read or write a file's frame."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valid_files import Content, assemble, chunks_of, contents, repaired

from mvc import errors
from mvc.container import (
    ClipHead,
    Head,
    Reader,
    Unit,
    Writer,
    describe,
    read_file,
    read_head,
    write_file,
)
from mvc.container.about import LISTED
from mvc.container.chunks import CHUNK_TYPES, MAX_CHUNK_BYTES, SIGNATURE, ChunkType, Source, frame
from mvc.container.fields import Cursor, Number, Raw, write_varint
from mvc.container.salvage import Lost, salvage
from mvc.container.units import Role

BAD = Path(__file__).parent / "bad"
FRAMES = ("picture", "inter", "between")
HEAD = Head("still", 3, 2, "rgb", 8, 31, b"mvc-test")
UNIT = Unit("picture", 0, None, (b"hyper", b"slice", b"", b"\0\1"))
FILE = write_file(HEAD, [UNIT])
CLIP_HEAD = dataclasses.replace(HEAD, kind="clip", clip=ClipHead(1001, 30000, "full", "444", "centre", 1, 13, 6))
LATER = dataclasses.replace(UNIT, role="inter", index=7, quality_index=3)
CLIP = write_file(CLIP_HEAD, [UNIT, LATER])


class Pipe(io.RawIOBase):
    """Bytes that come a few at a time and only once."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.data.readinto(memoryview(buffer)[:7])


# Round trips


@settings(deadline=None)
@given(contents)
def test_round_trip(content: Content) -> None:
    data = content.data()
    assert read_file(data) == (content.head, list(content.units))
    assert read_head(data[:54]) == content.head
    assert assemble(chunks_of(data)) == data
    if not content.extras:
        assert write_file(content.head, content.units) == data


@settings(deadline=None)
@given(contents)
def test_pipes_and_heads_give_the_same(content: Content) -> None:
    data = content.data()
    piped = Reader(Pipe(data))
    assert (piped.head, tuple(piped)) == (content.head, tuple(replace(u, latent_sum=0) for u in content.units))
    stated = [u.latent_sum for u in content.units if u.role != "alpha"]
    assert list(piped.sums) == (stated if any(stated) else [])
    for file in (io.BytesIO(data), Pipe(data)):
        found = list(Reader(file).heads())
        assert [(h.role, h.index, h.quality_index) for h in found] == [
            (u.role, u.index, u.quality_index) for u in content.units
        ]
        for head, unit in zip(found, content.units, strict=True):
            assert head.sizes == tuple(map(len, unit.streams))
            assert data[head.offset :].startswith(b"".join(unit.streams))


def changed(stream: bytes) -> bool:
    """Whether a stream of the exact coder says so."""
    return len(stream) > 3 and stream[0] < 0x80 and stream[3] & 8 > 0


@settings(deadline=None)
@given(contents)
def test_describe_tells_all_of_a_valid_file(content: Content) -> None:
    about = describe(content.data())
    json.dumps(about)
    assert about["intact"] and about["size_bytes"] == len(content.data())
    own = content.head.quality_index
    assert about["units"] == [
        {
            "role": unit.role,
            "index": unit.index,
            "quality_index": own if unit.quality_index is None and unit.role in FRAMES else unit.quality_index,
            "stream_bytes": [len(stream) for stream in unit.streams],
            **({"near": unit.streams[0][2]} if unit.role not in FRAMES and len(unit.streams[0]) > 2 else {}),
            **({"changed": True} if unit.role not in FRAMES and changed(unit.streams[0]) else {}),
        }
        for unit in content.units
    ]
    assert about["chunk_count"] == len(about["chunks"]) == (
        2
        + (content.head.kind == "clip")
        + len(content.units)
        + len(content.extras)
        + any(unit.latent_sum for unit in content.units)
    )


def test_files_may_begin_anywhere() -> None:
    file = io.BytesIO(b"before" + FILE)
    file.seek(6)
    assert list(Reader(file)) == [UNIT]


# Files larger than memory


def test_a_clip_goes_through_a_pipe_unit_by_unit() -> None:
    readable, writable = os.pipe()
    stream = bytes(2 << 20)

    def write() -> None:
        with open(writable, "wb", buffering=0) as file:
            writer = Writer(file, CLIP_HEAD)
            for index in range(30):
                writer.put(Unit("picture", index, None, (b"", stream)))
            writer.close()

    thread = threading.Thread(target=write)
    tracemalloc.start()
    try:
        thread.start()
        with open(readable, "rb", buffering=0) as file:
            indices = [unit.index for unit in Reader(file)]
        thread.join()
        assert tracemalloc.get_traced_memory()[1] < 10 * len(stream)
    finally:
        tracemalloc.stop()
    assert indices == list(range(30))


def test_heads_are_walked_without_reading_payloads(tmp_path: Path) -> None:
    """Thirty gibibytes, most of them holes in the file."""
    path, gap = tmp_path / "large.mvc", frame(0xC0, MAX_CHUNK_BYTES)
    with path.open("wb") as file:
        writer = Writer(file, CLIP_HEAD)
        for index in range(30):
            writer.put(Unit("picture", index, None, (b"", bytes(100_000))))
            file.write(gap)
            file.seek(MAX_CHUNK_BYTES, os.SEEK_CUR)
        writer.close()
    start = time.perf_counter()
    with path.open("rb") as file:
        found = [(head.index, head.sizes) for head in Reader(file).heads()]
    assert found == [(index, (0, 100_000)) for index in range(30)]
    assert time.perf_counter() - start < 1
    with path.open("r+b") as file:
        file.truncate(20 * MAX_CHUNK_BYTES)
        with pytest.raises(errors.Truncated, match="payload has"):
            list(Reader(file).heads())


def test_the_first_units_of_a_cut_clip() -> None:
    read = []
    with pytest.raises(errors.Truncated):
        for unit in Reader(io.BytesIO(CLIP[:-20])):
            read.append(unit)
    assert read == [UNIT]


def test_a_damaged_unit_is_told_before_it_is_used() -> None:
    place = CLIP.rindex(b"slice")
    for file in (io.BytesIO, Pipe):
        reader = iter(Reader(file(CLIP[:place] + b"S" + CLIP[place + 1 :])))
        assert next(reader) == UNIT
        with pytest.raises(errors.Checksum, match=r"unit is damaged.*CODE 1"):
            next(reader)


# Clips: entered at a unit, and searched where they are damaged

LONG = [dataclasses.replace(UNIT, role="inter" if n % 3 else "picture", index=5 * n) for n in range(9)]
DUE = [dataclasses.replace(unit, streams=unit.streams[:1]) for unit in LONG]  # with a step of 5
DUE_HEAD = dataclasses.replace(CLIP_HEAD, clip=dataclasses.replace(CLIP_HEAD.clip, step=5))
RUNS = [dataclasses.replace(unit, role="between" if unit.index % 15 == 5 else unit.role) for unit in DUE]
both_forms = pytest.mark.parametrize(
    ("head", "units"), [(CLIP_HEAD, LONG), (DUE_HEAD, DUE), (DUE_HEAD, RUNS)], ids=["CODE", "NEXT", "between"]
)


def long_clip(head: Head, units: list[Unit], gap: bytes = b"") -> tuple[bytes, list[int]]:
    """A file of nine units, and where their chunks begin; `gap` is the payload of an ancillary chunk behind each."""
    file = io.BytesIO()
    writer, starts = Writer(file, head), []
    for unit in units:
        starts.append(writer.size)
        writer.put(unit)
        if gap:
            writer.ancillary(0xC1, gap)
    writer.close()
    return file.getvalue(), starts


@pytest.mark.parametrize("role", ["inter", "between"])
def test_a_frame_that_is_due_says_neither_its_time_nor_its_one_size(role: Role) -> None:
    """Seven bytes beside its stream; one that comes at another time, or has two streams, is a CODE as ever."""
    due = dataclasses.replace(DUE[2], role=role)
    late = dataclasses.replace(due, index=11)
    two = dataclasses.replace(due, streams=(b"hy", b"per"))
    files = [write_file(DUE_HEAD, [*DUE[:2], *rest]) for rest in ([], [due], [late], [two])]
    short, *others = (len(data) - len(files[0]) - len(due.streams[0]) for data in files[1:])
    assert short == 7 and others == [10, 11]
    for data, rest in zip(files, ([], [due], [late], [two]), strict=True):
        assert read_file(data) == (DUE_HEAD, [*DUE[:2], *rest])
        codes = [code for code, _ in chunks_of(data)]
        assert codes == [1, 3, 2, 4, *([] if not rest else [4] if rest == [due] else [2])]
    far = dataclasses.replace(DUE[1], index=2**32 - 1)
    assert read_file(write_file(DUE_HEAD, [DUE[0], far])) == (DUE_HEAD, [DUE[0], far])


@both_forms
@pytest.mark.parametrize("before", [b"", b"before"])
def test_a_clip_is_entered_at_any_unit(before: bytes, head: Head, units: list[Unit]) -> None:
    data, starts = long_clip(head, units, b"gap")
    file = io.BytesIO(before + data)
    file.seek(len(before))
    reader = Reader(file)
    found = list(reader.heads())
    assert [head.start for head in found] == starts and [head.number for head in found] == list(range(9))
    for first in (6, 3, 0):
        reader.go_to(found[first])
        assert list(reader) == units[first:]
    changed = bytearray(data)
    changed[found[4].offset] ^= 1
    reader = Reader(io.BytesIO(bytes(changed)))
    reader.go_to(found[3])
    with pytest.raises(errors.Checksum, match=r"(CODE|NEXT) 4, byte"):
        list(reader)


@both_forms
@pytest.mark.parametrize("gap", [b"", b"gap"])
def test_what_is_left_of_a_damaged_clip(gap: bytes, head: Head, units: list[Unit]) -> None:
    """Every byte of a unit, its type and its length included: no other unit is lost, and the place is told."""
    data, starts = long_clip(head, units, gap)
    ends = [*starts[1:], len(data) - 6]
    assert list(salvage(io.BytesIO(data))[1]) == units
    for place in range(starts[4], ends[4]):
        for change in (1, 0x7D, 0xFF):
            changed = bytearray(data)
            changed[place] ^= change
            read, parts = salvage(io.BytesIO(bytes(changed)))
            found = list(parts)
            assert read == head
            of_a_unit = place < ends[4] - (2 + len(gap) if gap else 0)
            if of_a_unit:  # an inter or a between, and the one after it
                ends_before = ends[3] - (2 + len(gap) if gap else 0)
                assert found == [*units[:4], Lost(ends_before, starts[6]), *units[6:]]
            else:
                assert [part for part in found if isinstance(part, Unit)] == units


@both_forms
def test_bytes_that_are_missing_or_too_many_cost_what_they_touch(head: Head, units: list[Unit]) -> None:
    data, starts = long_clip(head, units)
    cut = data[: starts[2] + 7] + data[starts[4] + 3 :]
    lost = Lost(starts[2], starts[2] + 7 + starts[6] - starts[4] - 3)
    assert list(salvage(io.BytesIO(cut))[1]) == [*units[:2], lost, *units[6:]]
    more = data[: starts[2]] + bytes(1000) + data[starts[2] :]
    assert list(salvage(io.BytesIO(more))[1]) == [*units[:2], Lost(starts[2], starts[2] + 1000), *units[2:]]
    ended = data[: starts[7] + 5]
    assert list(salvage(io.BytesIO(ended))[1]) == [*units[:7], Lost(starts[7], len(ended))]
    without = data[: starts[4]] + data[starts[5] :]
    lost = Lost(starts[4], starts[6] - starts[5] + starts[4])
    assert list(salvage(io.BytesIO(without))[1]) == [*units[:4], lost, *units[6:]]
    with pytest.raises(errors.Checksum, match="or what it refers to is not there"):
        list(Reader(io.BytesIO(without)))
    twice = data[: starts[5]] + data[starts[3] :]
    assert [part for part in salvage(io.BytesIO(twice))[1] if isinstance(part, Unit)] == units


def test_what_cannot_be_searched() -> None:
    with pytest.raises(errors.Unsupported, match="still picture has one checksum"):
        salvage(io.BytesIO(FILE))
    with pytest.raises(errors.Unsupported, match="pipe"):
        salvage(io.BufferedReader(Pipe(CLIP)))
    with pytest.raises(errors.MvcError):
        salvage(io.BytesIO(CLIP[:20]))


def test_a_search_ends() -> None:
    """A megabyte in which every second byte begins what may be a unit of half the file."""
    data = long_clip(CLIP_HEAD, LONG)[0]
    hostile = data[:-6] + b"\x02\x80\x80\x20\x00\x00\x40\x01" * (1 << 17)
    start = time.perf_counter()
    assert [part for part in salvage(io.BytesIO(hostile))[1] if isinstance(part, Unit)] == LONG
    assert time.perf_counter() - start < 60


def test_heads_and_clips_belong_together() -> None:
    with pytest.raises(ValueError, match="clip has no clip"):
        Writer(io.BytesIO(), dataclasses.replace(HEAD, kind="clip"))
    with pytest.raises(ValueError, match="still has a clip"):
        Writer(io.BytesIO(), dataclasses.replace(HEAD, clip=ClipHead()))
    assert ClipHead(1001, 30000).time_base == Fraction(1001, 30000)


def test_describe_tells_of_a_clip() -> None:
    about = describe(CLIP)
    assert about["clip"] == dataclasses.asdict(CLIP_HEAD.clip)
    assert about["bits_per_pixel"] == 8 * len(CLIP) / (2 * 6)  # of two frames
    assert [unit["role"] for unit in about["units"]] == ["picture", "inter"]
    assert "clip" not in describe(FILE)


# Chunks that are not known, and those that will be


@settings(deadline=None)
@given(contents.filter(lambda content: content.head.kind == "still"), st.data())
def test_unknown_critical_chunks_are_refused(content: Content, draw: st.DataObject) -> None:
    code = draw.draw(st.sampled_from(sorted(set(range(0x80)) - set(CHUNK_TYPES))))
    chunks = chunks_of(content.data())
    chunks.insert(draw.draw(st.integers(1, len(chunks))), (code, draw.draw(st.binary(max_size=20))))
    data = assemble(chunks)
    with pytest.raises(errors.Unsupported, match=f"0x{code:02x}") as caught:
        read_file(data)
    assert "upgrade" in str(caught.value.hint)
    assert sum(not chunk["known"] and chunk["critical"] for chunk in describe(data)["chunks"]) == 1


def test_a_new_ancillary_type_is_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known to the table and to nobody else: its fields are handed out; what cannot be parsed counts as not there."""
    new = ChunkType(0x85, "TEST", (Number("rank", 0, 9), Raw("text")))
    chunks = chunks_of(FILE)
    chunks[1:1] = [(0x85, b"\x03abc"), (0x86, b"not known")]
    chunks += [(0x85, b""), (0x85, b"\x0atoo large"), (0x85, b"\x00last")]
    data = assemble(chunks)
    assert read_file(data) == (HEAD, [UNIT])
    monkeypatch.setitem(CHUNK_TYPES, new.code, new)
    for file in (io.BytesIO(data), Pipe(data)):
        reader = Reader(file)
        assert list(reader) == [UNIT]
        assert reader.ancillary == [("TEST", {"rank": 3, "text": b"abc"}), ("TEST", {"rank": 0, "text": b"last"})]
    assert [chunk["name"] for chunk in describe(data)["chunks"]].count("TEST") == 4


# Numbers


def test_framing_takes_no_more_than_48_bytes() -> None:
    """Spec section 2.5: a 768x512 picture of six streams of 128..16383 bytes."""
    head = Head("still", 768, 512, "rgb", 8, 31, bytes(8))
    for length, overhead in ((128, 47), (2000, 47), (16383, 48)):
        file = write_file(head, [Unit("picture", 0, None, (bytes(length),) * 6)])
        assert len(file) - 6 * length == overhead


def size_of_separate_chunks(streams: tuple[bytes, ...]) -> int:
    """What the streams took up when each was a chunk."""
    return sum(len(frame(0, len(stream))) + len(stream) for stream in streams)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 5, 127, 128, 2000, 16383, 16384]), min_size=6, max_size=6))
def test_one_chunk_is_no_longer_than_six(sizes: list[int]) -> None:
    streams = tuple(map(bytes, sizes))
    framed = len(write_file(HEAD, [Unit("picture", 0, None, streams)])) - 28
    worst = sum(sizes) > 16000 and sizes[-1] < 128  # a last stream far shorter than the others
    assert framed <= size_of_separate_chunks(streams) + worst


@given(st.integers(0, 2**35 - 1))
def test_varint_round_trip(value: int) -> None:
    out = bytearray()
    write_varint(value, out)
    cursor = Cursor(bytes(out))
    assert cursor.varint("value") == value
    assert cursor.left() == 0
    assert len(out) == max(1, -(-value.bit_length() // 7)) <= 5


@pytest.mark.parametrize(
    ("data", "truncated"),
    [
        (b"", True),
        (b"\x80", True),
        (b"\xff\xff\xff\xff", True),
        (b"\x80\x00", False),
        (b"\x81\x80\x00", False),
        (b"\xff\xff\xff\xff\x80", False),
        (b"\x80\x80\x80\x80\x80\x01", False),
    ],
)
def test_varints_that_are_refused(data: bytes, truncated: bool) -> None:
    """What is missing from a file is Truncated, and Corrupt where it is missing from a payload."""
    with pytest.raises(errors.Corrupt):
        Cursor(data).varint("value")
    with pytest.raises(errors.Truncated if truncated else errors.Corrupt):
        Source(io.BytesIO(data)).varint("value")


@pytest.mark.parametrize("value", [-1, 2**35])
def test_varints_that_cannot_be_written(value: int) -> None:
    with pytest.raises(errors.Limit):
        write_varint(value, bytearray())


# Damage


@pytest.mark.parametrize("data", [FILE, CLIP], ids=["still", "clip"])
@pytest.mark.parametrize("file", [io.BytesIO, Pipe])
def test_every_prefix_is_truncated(file: Any, data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(errors.Truncated):
            list(Reader(file(data[:length])))
        with pytest.raises(errors.Truncated):
            describe(data[:length])


@pytest.mark.parametrize("data", [FILE, CLIP], ids=["still", "clip"])
@pytest.mark.parametrize("file", [io.BytesIO, Pipe])
def test_every_changed_byte_is_noticed(file: Any, data: bytes) -> None:
    for position in range(len(data)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 3, 0x7F, 0xFF):
            changed = data[:position] + bytes([data[position] ^ change]) + data[position + 1 :]
            with pytest.raises(errors.MvcError):
                list(Reader(file(changed)))


def test_a_damaged_still_is_called_damaged() -> None:
    """Never unsupported or beyond a limit, whatever the change made of it; framing may break first."""
    for position in range(8, len(FILE)):
        for change in range(1, 256):
            changed = FILE[:position] + bytes([FILE[position] ^ change]) + FILE[position + 1 :]
            with pytest.raises(errors.MvcError) as caught:
                read_file(changed)
            length = position in (9, 23, len(FILE) - 5)
            kinds = (errors.Checksum, errors.Truncated, errors.Corrupt) if length else (errors.Checksum,)
            if position in (8, 22) or position == len(FILE) - 6 or FILE[position] ^ change == 0x7F:
                kinds = (errors.Checksum, errors.Truncated, errors.Corrupt)  # END where there was none, or the reverse
            assert isinstance(caught.value, kinds), f"byte {position} ^ {change:02x}: {caught.value!r}"


@pytest.mark.parametrize("data", [FILE, CLIP], ids=["still", "clip"])
def test_every_changed_byte_behind_a_right_checksum(data: bytes) -> None:
    """What parses is what a writer would write for it, apart from ancillary chunks."""
    parsed = 0
    for position in range(len(data) - 4):
        for change in range(1, 256):
            changed = repaired(data[:position] + bytes([data[position] ^ change]) + data[position + 1 :])
            try:
                head, units = read_file(changed)
            except errors.MvcError:
                continue
            parsed += 1
            assert assemble([c for c in chunks_of(changed) if c[0] < 0x80]) == write_file(head, units)
    assert parsed > (255 * (8 + 5 + 5 + 2) if data is FILE else 100)  # model id and streams may hold anything


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_parse_or_raise_mvc_errors(data: bytes, signed: bool) -> None:
    for read in (read_file, read_head, describe, lambda data: list(Reader(Pipe(data)).heads())):
        try:
            read(SIGNATURE + data if signed else data)
        except errors.MvcError as error:
            assert "\n" not in str(error)


BAD_FILES = {
    "001.empty": (errors.Truncated, "inside its signature"),
    "002.other-format": (errors.NotMvc, "signature is missing"),
    "003.line-endings-converted": (errors.NotMvc, "signature is missing"),
    "004.signature-cut": (errors.Truncated, "inside its signature"),
    "005.newer-version": (errors.Unsupported, "version 1 is newer"),
    "006.signature-only": (errors.Truncated, "type has 0 of 1 bytes"),
    "007.head-missing": (errors.Corrupt, "first chunk must be HEAD"),
    "008.head-twice": (errors.Corrupt, "repeated or out of order"),
    "009.head-not-first": (errors.Corrupt, "first chunk must be HEAD"),
    "010.head-too-short": (errors.Corrupt, "model_id has 7 of 8 bytes"),
    "011.head-too-long": (errors.Corrupt, "goes on after its last field"),
    "012.width-zero": (errors.Limit, "width is 0"),
    "013.width-65536": (errors.Limit, "width is 65536"),
    "014.height-zero": (errors.Limit, "height is 0"),
    "015.quality-64-in-a-head-too-long": (errors.Limit, "quality_index is 64"),
    "016.quality-64": (errors.Limit, "quality_index is 64"),
    "017.kind-unknown": (errors.Unsupported, "kind has code 2"),
    "018.tile-without-its-checksum": (errors.Checksum, "the unit is damaged"),
    "019.depth-unknown": (errors.Unsupported, "depth has code 2"),
    "020.tile-shorter-than-its-checksum": (errors.Corrupt, "too short for its checksum"),
    "021.width-varint-padded": (errors.Corrupt, "width is padded"),
    "022.width-varint-six-bytes": (errors.Corrupt, "width takes more than 5 bytes"),
    "023.length-padded": (errors.Corrupt, "length is padded"),
    "024.length-six-bytes": (errors.Corrupt, "length takes more than 5 bytes"),
    "025.length-16-gigabytes": (errors.Limit, "claims 17179869184 bytes"),
    "026.length-beyond-file": (errors.Truncated, "payload has 25 of 1048576 bytes"),
    "027.length-cut": (errors.Truncated, "length has 0 of 1 bytes"),
    "028.payload-cut": (errors.Truncated, "payload has 17 of 19 bytes"),
    "029.end-missing": (errors.Truncated, "type has 0 of 1 bytes"),
    "030.checksum-cut": (errors.Truncated, "payload has 3 of 4 bytes"),
    "031.checksum-wrong": (errors.Checksum, "should be 526ecc85"),
    "032.payload-changed": (errors.Checksum, "should be 536ecc85"),
    "033.bytes-after-end": (errors.Corrupt, "goes on after its END"),
    "034.unknown-critical": (errors.Unsupported, "chunk 0x06 at byte 22"),
    "035.units-missing": (errors.Corrupt, "no coded unit"),
    "036.unit-empty": (errors.Corrupt, "flags has 0 of 1 bytes (chunk CODE 0, byte 24)"),
    "037.role-unknown": (errors.Unsupported, "role has code 5"),
    "038.unit-reserved-flag-set": (errors.Unsupported, "reserved bit"),
    "039.index-2^32": (errors.Limit, "index is 4294967296"),
    "040.unit-quality-65": (errors.Limit, "quality_index is 65"),
    "041.streams-none": (errors.Limit, "number of sizes is 0"),
    "042.end-too-short": (errors.Corrupt, "crc has 3 of 4 bytes"),
    "043.end-too-long": (errors.Corrupt, "goes on after its last field"),
    "044.sizes-beyond-the-chunk": (errors.Corrupt, "sizes add up to 7 bytes more"),
    "045.sizes-of-32-gigabytes": (errors.Corrupt, "34359738360 bytes more"),
    "046.sizes-cut": (errors.Corrupt, "sizes has 0 of 1 bytes"),
    "047.sizes-padded": (errors.Corrupt, "sizes is padded"),
    "048.index-missing": (errors.Corrupt, "index has 0 of 1 bytes"),
    "049.units-of-one-index": (errors.Corrupt, "picture 0 is out of order (chunk CODE 1, byte 43)"),
    "050.units-out-of-order": (errors.Corrupt, "picture 0 is out of order"),
    "051.type-changed-to-unknown": (errors.Checksum, "the file is damaged"),
    "052.16-bits-by-a-model": (errors.Unsupported, "16 bits per sample by a model"),
    "053.head-cut-behind-the-quality": (errors.Corrupt, "model_id has 0 of 8 bytes"),
    "054.alpha-before-its-picture": (errors.Corrupt, "picture 0 is out of order"),
    "055.alpha-twice": (errors.Corrupt, "alpha 0 is out of order"),
    "056.inter-and-picture-of-one-index": (errors.Corrupt, "inter 0 is out of order"),
    "057.metadata-changed": (errors.Checksum, "the file is damaged"),
    "058.metadata-cut": (errors.Truncated, "payload has 9 of 14 bytes (chunk META 0"),
    "061.clip-unit-changed": (errors.Checksum, "should be b26d2543 (chunk CODE 1, byte 79)"),
    "062.clip-unit-cut": (errors.Truncated, "payload has 17 of 23 bytes (chunk CODE 1"),
    "063.clip-unit-shorter-than-its-checksum": (errors.Corrupt, "too short for its checksum"),
    "064.clip-unit-under-another-head": (errors.Checksum, "the unit is damaged"),
    "065.clip-checksum-wrong": (errors.Checksum, "the file is damaged"),
    "066.clip-unit-twice": (errors.Corrupt, "picture 0 is out of order"),
    "067.clip-from-a-still": (errors.Corrupt, "must be CLIP"),
    "068.clip-head-missing": (errors.Corrupt, "must be CLIP"),
    "069.clip-head-behind-an-ancillary-chunk": (errors.Corrupt, "must be CLIP"),
    "070.clip-head-twice": (errors.Corrupt, "repeated or out of order (chunk CLIP"),
    "071.clip-head-in-a-still": (errors.Corrupt, "repeated or out of order (chunk CLIP"),
    "072.clip-head-empty": (errors.Corrupt, "flags has 0 of 1 bytes (chunk CLIP"),
    "073.chroma-unknown": (errors.Unsupported, "chroma has code 5"),
    "074.clip-reserved-flag-set": (errors.Unsupported, "reserved bit"),
    "075.time-unit-zero": (errors.Limit, "time_denominator is 0"),
    "076.clip-head-too-short": (errors.Corrupt, "step has 0 of 1 bytes"),
    "077.clip-head-too-long": (errors.Corrupt, "goes on after its last field (chunk CLIP"),
    "078.unit-under-another-clip-head": (errors.Checksum, "the unit is damaged"),
    "079.inter-before-its-picture": (errors.Checksum, "or what it refers to is not there"),
    "080.sound-changed": (errors.Checksum, "the file is damaged"),
    "081.sound-cut": (errors.Truncated, "payload has 16 of 23 bytes (chunk SOUND 0"),
    "082.clip-without-a-model": (errors.Corrupt, "a clip must name a model"),
    "083.clip-with-alpha": (errors.Unsupported, "alpha in a clip"),
    "084.aspect-zero": (errors.Limit, "aspect_denominator is 0"),
    "085.step-zero": (errors.Limit, "step is 0"),
    "086.next-without-a-unit": (errors.Corrupt, "there is no unit before it (chunk NEXT 0"),
    "087.next-empty": (errors.Corrupt, "flags has 0 of 1 bytes (chunk NEXT 1"),
    "088.next-quality-65": (errors.Unsupported, "quality_index has code 65"),
    "089.inter-not-as-next": (errors.Corrupt, "must be NEXT (chunk CODE 1"),
    "090.next-beyond-the-last-index": (errors.Limit, "index is 4294967296"),
    "091.next-in-a-still": (errors.Corrupt, "repeated or out of order (chunk NEXT 1"),
    "092.clip-in-tiles": (errors.Unsupported, "a clip in tiles"),
    "093.clip-with-sums": (errors.Corrupt, "4 bytes are no checksums of a clip"),
    "094.sums-before-the-unit": (errors.Corrupt, "out of order"),
    "095.sums-twice": (errors.Corrupt, "out of order"),
    "096.unit-behind-sums": (errors.Corrupt, "out of order"),
    "097.between-not-as-next": (errors.Corrupt, "must be NEXT (chunk CODE 1"),
    "098.next-between-quality-65": (errors.Unsupported, "quality_index has code 65"),
    "099.between-behind-another-unit": (errors.Checksum, "or what it refers to is not there"),
    "059.sums-of-another-size": (errors.Corrupt, "5 bytes are no checksums of a picture of 1 tile(s)"),
    "060.sums-of-zeros": (errors.Corrupt, "4 bytes are no checksums"),
}
BAD_STREAMS = {
    "101.hyperlatent-bit-flipped": (errors.Corrupt, "do not end where they should (chunk CODE 0 stream 0)"),
    "102.slice-bit-flipped": (errors.Truncated, "end too early (chunk CODE 0 stream 2)"),
    "103.stream-cut": (errors.Truncated, "end too early (chunk CODE 0 stream 3)"),
    "104.stream-goes-on": (errors.Corrupt, "do not end where they should (chunk CODE 0 stream 4)"),
    "105.stream-empty": (errors.Truncated, "end too early (chunk CODE 0 stream 5)"),
    "106.state-cut": (errors.Truncated, "end too early (chunk CODE 0 stream 1)"),
    "107.state-padded": (errors.Corrupt, "state that is too small (chunk CODE 0 stream 1)"),
    "108.streams-swapped": (errors.Corrupt, "do not end where they should (chunk CODE 0 stream 1)"),
    "109.sizes-shifted": (errors.Corrupt, "do not end where they should (chunk CODE 0 stream 0)"),
    "110.hyperlatent-4096": (errors.Corrupt, "hyperlatent symbol is out of range (chunk CODE 0 hyperlatent)"),
    "111.hyperlatent-over-2^20": (errors.Corrupt, "absurdly large (chunk CODE 0 stream 0)"),
    "112.latent-over-2^20": (errors.Corrupt, "absurdly large (chunk CODE 0 stream 1)"),
    "113.escape-of-40-zeros": (errors.Corrupt, "absurdly large (chunk CODE 0 stream 1)"),
    "114.stream-missing": (errors.Corrupt, "5 streams"),
    "115.stream-too-many": (errors.Corrupt, "7 streams"),
    "116.two-pictures": (errors.Corrupt, "no more units where it has picture 1"),
    "117.picture-1": (errors.Corrupt, "the unit picture or exact 0 where it has picture 1"),
    "118.another-model": (errors.Unsupported, "737472616e676572"),
    "119.sums-of-other-latents": (errors.Corrupt, "it should be 00000001"),
    "120.another-size": (errors.Truncated, "end too early (chunk CODE 0 stream 0)"),
    "121.another-quality": (errors.Corrupt, "do not end where they should (chunk CODE 0 stream 0)"),
    "122.clip": (errors.Unsupported, "is a clip"),
    "123.hyperlatent-minus-4096": (errors.Corrupt, "hyperlatent symbol is out of range (chunk CODE 0 hyperlatent)"),
    "124.hyperlatents-4095-before-other-slices": (errors.Corrupt, "not end where they should (chunk CODE 0 stream 1)"),
    "125.escape-cut": (errors.Truncated, "end too early (chunk CODE 0 stream 2)"),
    "126.escape-bit-flipped": (errors.Corrupt, "do not end where they should (chunk CODE 0 stream 1)"),
    "127.inter-in-a-still": (errors.Corrupt, "the unit picture or exact 0 where it has inter 0"),
    "128.tile-of-another-quality": (errors.Corrupt, "quality index 21, the picture 20"),
    "129.tile-missing": (errors.Corrupt, "there is no unit of tile 1"),
    "130.tile-too-many": (errors.Corrupt, "no more units where it has picture 2"),
    "131.tile-of-two-streams": (errors.Corrupt, "2 streams, its model 1"),
    "132.tile-bit-flipped": (errors.Truncated, "end too early (chunk CODE 1)"),
    "133.between-in-a-still": (errors.Corrupt, "the unit picture or exact 0 where it has between 0"),
}
BAD_EXACT = {
    "201.exact-stream-cut": (errors.Truncated, "ends too early (chunk CODE 0)"),
    "202.exact-word-cut": (errors.Truncated, "ends within a word"),
    "203.exact-stream-goes-on": (errors.Corrupt, "bytes follow the picture"),
    "204.exact-header-cut": (errors.Truncated, "ends too early"),
    "205.exact-depth-0": (errors.Corrupt, "impossible header"),
    "206.exact-depth-17": (errors.Corrupt, "impossible header"),
    "207.exact-reserved-bit-2-set": (errors.Corrupt, "impossible header"),
    "208.exact-plane-that-is-not-there-equals-another": (errors.Corrupt, "impossible header"),
    "209.exact-colours-with-near": (errors.Corrupt, "impossible header"),
    "210.exact-9-bits-in-8": (errors.Corrupt, "more than 8 bits"),
    "211.stored-cut": (errors.Truncated, "ends too early"),
    "212.stored-goes-on": (errors.Corrupt, "bytes follow the picture"),
    "213.stored-sample-out-of-range": (errors.Corrupt, "out of range"),
    "214.stored-with-near": (errors.Corrupt, "impossible header"),
    "215.stored-16-bits-in-8": (errors.Corrupt, "more than 8 bits"),
    "216.exact-two-streams": (errors.Corrupt, "a unit exact has one stream and no quality index"),
    "217.exact-with-a-quality": (errors.Corrupt, "a unit exact has one stream and no quality index"),
    "218.picture-without-a-model": (errors.Corrupt, "the unit exact 0 where it has picture 0"),
    "219.alpha-twice-over": (errors.Corrupt, "no more units where it has alpha 0"),
    "220.alpha-that-head-does-not-say": (errors.Corrupt, "no more units where it has alpha 0"),
    "221.alpha-alone": (errors.Corrupt, "the unit exact 0 where it has alpha 0"),
    "222.alpha-of-another-tile": (errors.Corrupt, "(chunk CODE 0)"),
    "223.alpha-missing": (errors.Corrupt, "there is no unit alpha 0"),
    "224.alpha-with-a-quality": (errors.Corrupt, "a unit alpha has one stream and no quality index"),
    "225.exact-tile-missing": (errors.Corrupt, "there is no unit of tile 1"),
    "226.exact-samples-out-of-range": (errors.Corrupt, "out of range"),
    "227.exact-too-many-colours": (errors.Corrupt, "too many colours"),
    "228.exact-reserved-bit-7-set": (errors.Corrupt, "impossible header"),
    "229.quick-in-way-2": (errors.Corrupt, "impossible header"),
    "230.quick-in-way-3": (errors.Corrupt, "impossible header"),
    "231.quick-stream-cut": (errors.Truncated, "ends too early"),
    "232.quick-stream-goes-on": (errors.Corrupt, "bytes follow the picture"),
    "233.quick-said-to-be-mixed": (errors.Corrupt, "bytes follow the picture"),
    "234.code-out-of-range": (errors.Corrupt, "code that is out of range"),
}
BAD_CLIPS = {
    "301.inter-first": (errors.Corrupt, "there is no frame before it (chunk inter 0)"),
    "302.between-first": (errors.Corrupt, "there is no frame before it (chunk between 0)"),
    "303.run-that-end-ends": (errors.Corrupt, "there is no frame behind it (chunk between 1)"),
    "304.run-of-eight": (errors.Corrupt, "more than 7 frames in a row are between two others (chunk between 8)"),
    "305.inter-parts-3": (errors.Corrupt, "lacks the parts 3, which is not known (chunk inter 1)"),
    "306.between-parts-7": (errors.Corrupt, "lacks the parts 7, which is not known (chunk between 1)"),
    "307.between-parts-minus-1": (errors.Corrupt, "lacks the parts -1, which is not known (chunk between 1)"),
    "308.between-cut-behind-its-parts": (errors.Truncated, "end too early (chunk between 1 residual)"),
    "309.between-of-two-streams": (errors.Corrupt, "2 streams"),
    "310.exact-in-a-clip": (errors.Corrupt, "a clip has no unit exact (chunk exact 1)"),
    "311.alpha-in-a-clip": (errors.Corrupt, "a clip has no unit alpha (chunk alpha 2)"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(name: str) -> None:
    error, message = BAD_FILES[name]
    with pytest.raises(errors.MvcError) as caught:
        read_file((BAD / f"{name}.mvc").read_bytes())
    assert type(caught.value) is error
    assert message in str(caught.value)


@pytest.mark.parametrize("name", [*BAD_STREAMS, *BAD_EXACT, *BAD_CLIPS])
def test_bad_streams_are_good_files(name: str) -> None:
    """What is wrong with them only decoders can tell: test_shipped*.py, test_stills.py and those of the reference."""
    head, units = read_file((BAD / f"{name}.mvc").read_bytes())
    assert len(units) >= 1 and head.width >= (60 if name in BAD_STREAMS else 8)


def test_bad_files_are_all_listed() -> None:
    listed = {f"{name}.mvc" for name in (*BAD_FILES, *BAD_STREAMS, *BAD_EXACT, *BAD_CLIPS)}
    assert {path.name for path in BAD.iterdir()} == listed


def test_text_transfer_gives_a_hint() -> None:
    for mangled in (b"\r\n", b"\n"), (b"\x93", b"\x13"), (b"\x93", b"\xc2\x93"), (b"\r\n", b"\r\r\n"):
        with pytest.raises(errors.NotMvc) as caught:
            read_head(FILE.replace(*mangled))
        assert "as text" in str(caught.value.hint)


# What cannot be written


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"width": 0}, errors.Limit),
        ({"height": 65536}, errors.Limit),
        ({"quality_index": 64}, errors.Limit),
        ({"quality_index": -1}, errors.Limit),
        ({"model_id": b"short"}, errors.Limit),
        ({"colour": "cmyk"}, errors.Unsupported),
        ({"depth": 10}, errors.Unsupported),
        ({"kind": "film"}, errors.Unsupported),
    ],
)
def test_heads_that_cannot_be_written(change: dict[str, Any], error: type[errors.MvcError]) -> None:
    with pytest.raises(error):
        write_file(dataclasses.replace(HEAD, **change), [UNIT])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"role": "sound"}, errors.Unsupported),
        ({"index": -1}, errors.Limit),
        ({"index": 2**32}, errors.Limit),
        ({"quality_index": 64}, errors.Limit),
        ({"quality_index": -1}, errors.Limit),
        ({"streams": ()}, errors.Limit),
        ({"streams": (b"",) * 256}, errors.Limit),
    ],
)
def test_units_that_cannot_be_written(change: dict[str, Any], error: type[errors.MvcError]) -> None:
    file = io.BytesIO()
    writer = Writer(file, HEAD)
    before = file.getvalue()
    with pytest.raises(error):
        writer.put(dataclasses.replace(UNIT, **change))
    assert file.getvalue() == before
    writer.put(UNIT)
    writer.close()
    assert file.getvalue() == FILE and writer.size == len(FILE)


def test_wrong_use_of_a_writer() -> None:
    writer = Writer(io.BytesIO(), HEAD)
    with pytest.raises(ValueError, match="at least one unit"):
        writer.close()
    with pytest.raises(ValueError, match="0x05"):
        writer.ancillary(0x05, b"")
    writer.put(UNIT)
    with pytest.raises(ValueError, match="picture 0 cannot come behind picture 0"):
        writer.put(UNIT)


# Claims


def test_false_claims_cost_neither_memory_nor_time() -> None:
    huge = (BAD / "025.length-16-gigabytes.mvc").read_bytes()
    just_within = SIGNATURE + frame(0x01, MAX_CHUNK_BYTES)
    sizes = (BAD / "045.sizes-of-32-gigabytes.mvc").read_bytes()
    tracemalloc.start()
    try:
        start = time.perf_counter()
        for data, error in ((huge, errors.Limit), (just_within, errors.Truncated), (sizes, errors.Corrupt)):
            for file in (io.BytesIO(data), Pipe(data)):
                with pytest.raises(error):
                    list(Reader(file))
        assert time.perf_counter() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_many_chunks_cost_no_memory() -> None:
    chunks = chunks_of(FILE)
    data = assemble(chunks[:1])[:-6] + b"\xff\0" * 30_000
    data = repaired(data + assemble(chunks)[22:])
    tracemalloc.start()
    try:
        reader = Reader(io.BytesIO(data))
        assert list(reader) == [UNIT]
        about = describe(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert about["chunk_count"] == 30_003 and len(about["chunks"]) == LISTED + 1
    assert about["chunks"][-1]["name"] == "END" and about["units"][0]["index"] == 0


def test_describe() -> None:
    about = describe(FILE)
    chunks, units = about.pop("chunks"), about.pop("units")
    assert about == {
        "version": 0,
        "kind": "still",
        "colour": "rgb",
        "alpha": False,
        "tile_px": 0,
        "depth": 8,
        "coder": "network",
        "width": 3,
        "height": 2,
        "quality_index": 31,
        "model_id": b"mvc-test".hex(),
        "size_bytes": len(FILE),
        "bits_per_pixel": 8 * len(FILE) / 6,
        "intact": True,
        "metadata": [],
        "chunk_count": 3,
    }
    assert units == [{"role": "picture", "index": 0, "quality_index": 31, "stream_bytes": [5, 5, 0, 2]}]
    assert [chunk["name"] for chunk in chunks] == ["HEAD", "CODE 0", "END"]
    assert [chunk["length"] for chunk in chunks] == [12, 19, 4]
    assert [chunk["offset"] for chunk in chunks] == [8, 22, 43]
    json.dumps(chunks)
    assert not describe(FILE[:-1] + bytes([FILE[-1] ^ 1]))["intact"]
    strange = describe(assemble([*chunks_of(FILE), (0x02, b"\xff"), (0x01, b"")]))  # it is there to look at such files
    assert [chunk["name"] for chunk in strange["chunks"]] == ["HEAD", "CODE 0", "CODE 1", "HEAD", "END"]
    assert len(strange["units"]) == 1


# Errors


def test_format_errors_say_where() -> None:
    error = errors.Corrupt("no", offset=1234, chunk="CODE 2 stream 3")
    assert str(error) == "no (chunk CODE 2 stream 3, byte 1234)"
    assert str(errors.Corrupt("no", offset=0)) == "no (byte 0)"
    assert str(errors.Corrupt("no", chunk="END")) == "no (chunk END)"
    assert str(errors.Limit("no", hint="yes")) == "no"
    located = errors.Truncated("no", hint="yes")
    located.chunk = "END"
    assert str(located) == "no (chunk END)"
    copy = pickle.loads(pickle.dumps(located))
    assert (type(copy), str(copy), copy.hint) == (errors.Truncated, "no (chunk END)", "yes")


def test_places_nest() -> None:
    with pytest.raises(errors.Corrupt) as caught, errors.at("CODE 0"), errors.at("stream 2"):
        raise errors.Corrupt("no")
    assert str(caught.value) == "no (chunk CODE 0 stream 2)"
    with pytest.raises(errors.Limit, match=r"^no$"), errors.at("CODE 0"):
        raise errors.Limit("no")


def test_exported_errors_form_the_documented_tree() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.MvcError)
        assert issubclass(kind, errors.FormatError) == (
            name in {"FormatError", "NotMvc", "Truncated", "Checksum", "Corrupt"}
        )
        assert f" {name} " in f" {errors.__doc__} ".replace("\n", " ")


def test_import_is_light() -> None:
    code = "import sys, mvc.container; print({'torch', 'numba', 'numpy', 'PIL'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


GOLDEN = Path(__file__).parent.parent / "samples" / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.mvc")), ids=lambda path: path.stem)
def test_no_byte_of_a_golden_file_can_change_unnoticed(path: Path) -> None:
    data = path.read_bytes()
    read_file(data)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(errors.MvcError):
            read_file(bytes(damaged))
