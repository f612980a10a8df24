"""The container: round trips, limits, damage. No model is needed to read or write a file's frame."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvc import container, errors
from mvc.container import Header, Still, describe, read_header, read_still, walk, write_still
from mvc.container.chunks import CHUNK_TYPES, MAX_CHUNKS, SIGNATURE, assemble, crc32c
from mvc.container.fields import Cursor, varint_size, write_varint

BAD = Path(__file__).parent / "bad"
HEADER = Header(3, 2, "rgb", 8, 31, b"mvc-test")
STILL = Still(HEADER, b"hyper", (b"slice", b"", b"\0\1"))

headers = st.builds(
    Header,
    width=st.integers(1, 65535),
    height=st.integers(1, 4096),
    colour=st.sampled_from(["rgb", "gray"]),
    depth=st.just(8),
    quality=st.integers(0, 63),
    model_id=st.binary(min_size=8, max_size=8),
)
streams = st.binary(max_size=300)
stills = st.builds(Still, headers, streams, st.lists(streams, min_size=1, max_size=16).map(tuple))
ancillary = st.tuples(st.integers(0x80, 0xFF), streams)


def chunks_of(data: bytes) -> list[tuple[int, bytes]]:
    """(type, payload) of every chunk but END, as `assemble` takes them."""
    return [(c.code, data[c.start : c.start + c.length]) for c in walk(data)][:-1]


def repaired(data: bytes) -> bytes:
    """`data` with its last four bytes replaced by the checksum of the others."""
    return data[:-4] + crc32c(data[:-4]).to_bytes(4, "little")


@given(stills)
def test_still_round_trip(still: Still) -> None:
    data = write_still(still)
    assert read_still(data) == still
    assert read_header(data[:26]) == still.header
    assert container.still_size(still.header, map(len, (still.hyper, *still.slices))) == len(data)


@given(stills, st.lists(st.tuples(st.integers(0, 15), ancillary), max_size=8))
def test_unknown_ancillary_chunks_are_skipped(
    still: Still, extras: list[tuple[int, tuple[int, bytes]]]
) -> None:
    chunks = chunks_of(write_still(still))
    for where, extra in extras:
        chunks.insert(min(1 + where, len(chunks)), extra)
    data = assemble(chunks)
    assert chunks_of(data) == chunks
    assert read_still(data) == still


@given(st.sampled_from(sorted(set(range(0x80)) - set(CHUNK_TYPES))), st.integers(1, 4), streams)
def test_unknown_critical_chunks_are_refused(code: int, where: int, payload: bytes) -> None:
    chunks = chunks_of(write_still(STILL))
    chunks.insert(where, (code, payload))
    data = assemble(chunks)
    with pytest.raises(errors.Unsupported, match=f"0x{code:02x}") as caught:
        read_still(data)
    assert "upgrade" in str(caught.value.hint)
    assert sum(not chunk["known"] for chunk in describe(data)["chunks"]) == 1


def test_overhead_is_48_bytes() -> None:
    """Spec section 2.5: a plain 768x512 picture with five slices, streams of 128..16383 bytes."""
    for length in (128, 16383):
        still = Still(Header(768, 512, "rgb", 8, 31, bytes(8)), bytes(length), (bytes(length),) * 5)
        assert len(write_still(still)) - 6 * length == 48


@given(st.integers(0, 2**35 - 1))
def test_varint_round_trip(value: int) -> None:
    out = bytearray()
    write_varint(value, out)
    cursor = Cursor(memoryview(bytes(out)))
    assert cursor.varint("value") == value
    assert cursor.left() == 0
    assert len(out) == varint_size(value) <= 5


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.Truncated),
        (b"\x80", errors.Truncated),
        (b"\xff\xff\xff\xff", errors.Truncated),
        (b"\x80\x00", errors.Corrupt),
        (b"\x81\x80\x00", errors.Corrupt),
        (b"\xff\xff\xff\xff\x80", errors.Corrupt),
        (b"\x80\x80\x80\x80\x80\x01", errors.Corrupt),
    ],
)
def test_varints_that_are_refused(data: bytes, error: type[errors.MvcError]) -> None:
    with pytest.raises(error):
        Cursor(memoryview(data)).varint("value")


@pytest.mark.parametrize("value", [-1, 2**35])
def test_varints_that_cannot_be_written(value: int) -> None:
    with pytest.raises(errors.Limit):
        write_varint(value, bytearray())


def test_every_prefix_is_truncated() -> None:
    data = write_still(STILL)
    for length in range(len(data)):
        with pytest.raises(errors.Truncated):
            read_still(data[:length])


def test_every_changed_byte_is_noticed() -> None:
    data = write_still(STILL)
    for position in range(len(data)):
        for change in range(1, 256):
            changed = data[:position] + bytes([data[position] ^ change]) + data[position + 1 :]
            with pytest.raises(errors.MvcError):
                read_still(changed)


def test_every_changed_byte_behind_a_right_checksum() -> None:
    """What parses is what a writer would write for it, apart from ancillary chunks."""
    data = write_still(STILL)
    parsed = 0
    for position in range(len(data) - 4):
        for change in range(1, 256):
            changed = repaired(data[:position] + bytes([data[position] ^ change]) + data[position + 1 :])
            try:
                still = read_still(changed)
            except errors.MvcError:
                continue
            parsed += 1
            assert assemble([c for c in chunks_of(changed) if c[0] < 0x80]) == write_still(still)
    assert parsed > 255 * (8 + 5 + 5 + 2)  # the model id and the streams may hold anything


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_parse_or_raise_mvc_errors(data: bytes, signed: bool) -> None:
    for read in (read_still, read_header, describe):
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
    "015.pixels-over-limit": (errors.Limit, "65535 x 4097 pixels"),
    "016.quality-64": (errors.Limit, "quality is 64"),
    "017.kind-unknown": (errors.Unsupported, "kind has code 1"),
    "018.colour-unknown": (errors.Unsupported, "colour has code 2"),
    "019.depth-unknown": (errors.Unsupported, "depth has code 1"),
    "020.reserved-flag-set": (errors.Unsupported, "reserved bit"),
    "021.width-varint-padded": (errors.Corrupt, "width is padded"),
    "022.width-varint-six-bytes": (errors.Corrupt, "width takes more than 5 bytes"),
    "023.length-padded": (errors.Corrupt, "length is padded"),
    "024.length-six-bytes": (errors.Corrupt, "length takes more than 5 bytes"),
    "025.length-16-gigabytes": (errors.Limit, "claims 17179869184 bytes"),
    "026.length-beyond-file": (errors.Truncated, "payload has 11 of 1048576 bytes"),
    "027.length-cut": (errors.Truncated, "length has 0 of 1 bytes"),
    "028.payload-cut": (errors.Truncated, "payload has 3 of 5 bytes"),
    "029.end-missing": (errors.Truncated, "type has 0 of 1 bytes"),
    "030.checksum-cut": (errors.Truncated, "payload has 3 of 4 bytes"),
    "031.checksum-wrong": (errors.Checksum, "should be 62c34e41"),
    "032.payload-changed": (errors.Checksum, "should be 63c34e41"),
    "033.bytes-after-end": (errors.Corrupt, "goes on after its END"),
    "034.unknown-critical": (errors.Unsupported, "chunk 0x04 at byte 29"),
    "035.hyper-missing": (errors.Corrupt, "no hyperlatent stream"),
    "036.slice-before-hyper": (errors.Corrupt, "SLIC 0, byte 22"),
    "037.hyper-twice": (errors.Corrupt, "HYPR, byte 29"),
    "038.hyper-after-slice": (errors.Corrupt, "HYPR, byte 36"),
    "039.slices-missing": (errors.Corrupt, "no latent slice"),
    "040.slices-17": (errors.Limit, "not 17"),
    "041.chunks-1025": (errors.Limit, "more than 1024 chunks"),
    "042.end-too-short": (errors.Corrupt, "crc has 3 of 4 bytes"),
    "043.end-too-long": (errors.Corrupt, "goes on after its last field"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(name: str) -> None:
    error, message = BAD_FILES[name]
    with pytest.raises(errors.MvcError) as caught:
        read_still((BAD / f"{name}.mvc").read_bytes())
    assert type(caught.value) is error
    assert message in str(caught.value)


def test_bad_files_are_all_listed() -> None:
    assert {path.name for path in BAD.iterdir()} == {f"{name}.mvc" for name in BAD_FILES}


def test_text_transfer_gives_a_hint() -> None:
    for mangled in (b"\r\n", b"\n"), (b"\x93", b"\x13"), (b"\x93", b"\xc2\x93"), (b"\r\n", b"\r\r\n"):
        with pytest.raises(errors.NotMvc) as caught:
            read_header(write_still(STILL).replace(*mangled))
        assert "as text" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"width": 0}, errors.Limit),
        ({"height": 65536}, errors.Limit),
        ({"width": 65535, "height": 4097}, errors.Limit),
        ({"quality": 64}, errors.Limit),
        ({"quality": -1}, errors.Limit),
        ({"model_id": b"short"}, errors.Limit),
        ({"colour": "cmyk"}, errors.Unsupported),
        ({"depth": 10}, errors.Unsupported),
    ],
)
def test_headers_that_cannot_be_written(change: dict[str, object], error: type[errors.MvcError]) -> None:
    header = dataclasses.replace(HEADER, **change)  # type: ignore[arg-type]
    with pytest.raises(error):
        write_still(Still(header, b"", (b"",)))


@pytest.mark.parametrize("count", [0, 17])
def test_slice_count_that_cannot_be_written(count: int) -> None:
    with pytest.raises(errors.Limit):
        write_still(Still(HEADER, b"", (b"",) * count))


def test_chunk_count_that_cannot_be_written() -> None:
    assert len(list(walk(assemble([(0x80, b"")] * (MAX_CHUNKS - 1))))) == MAX_CHUNKS
    with pytest.raises(errors.Limit):
        assemble([(0x80, b"")] * MAX_CHUNKS)


def test_false_claims_cost_neither_memory_nor_time() -> None:
    huge = (BAD / "025.length-16-gigabytes.mvc").read_bytes()
    just_within = bytearray(SIGNATURE + b"\x01")
    write_varint(1 << 30, just_within)
    many = SIGNATURE + b"\x80\x00" * 500_000
    tracemalloc.start()
    try:
        start = time.perf_counter()
        for data, error in (
            (huge, errors.Limit),
            (bytes(just_within), errors.Truncated),
            (many, errors.Limit),
        ):
            with pytest.raises(error):
                read_still(data)
        assert time.perf_counter() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_describe() -> None:
    data = write_still(STILL)
    about = describe(data)
    chunks = about.pop("chunks")
    assert about == {
        "version": 0,
        "kind": "still",
        "colour": "rgb",
        "depth": 8,
        "width": 3,
        "height": 2,
        "quality": 31,
        "model_id": b"mvc-test".hex(),
        "size_bytes": len(data),
        "bits_per_pixel": 8 * len(data) / 6,
        "intact": True,
    }
    assert [chunk["name"] for chunk in chunks] == ["HEAD", "HYPR", "SLIC 0", "SLIC 1", "SLIC 2", "END"]
    assert [chunk["length"] for chunk in chunks] == [12, 5, 5, 0, 2, 4]
    assert [chunk["offset"] for chunk in chunks] == [8, 22, 29, 36, 38, 42]
    json.dumps(chunks)
    assert not describe(data[:-1] + bytes([data[-1] ^ 1]))["intact"]


def test_format_errors_say_where() -> None:
    error = errors.Corrupt("no", offset=1234, chunk="SLIC 2")
    assert str(error) == "no (chunk SLIC 2, byte 1234)"
    assert str(errors.Corrupt("no", offset=0)) == "no (byte 0)"
    assert str(errors.Corrupt("no", chunk="END")) == "no (chunk END)"
    assert str(errors.Limit("no", hint="yes")) == "no"
    located = errors.Truncated("no", hint="yes")
    located.chunk = "HYPR"
    assert str(located) == "no (chunk HYPR)"
    copy = pickle.loads(pickle.dumps(located))
    assert (type(copy), str(copy), copy.hint) == (errors.Truncated, "no (chunk HYPR)", "yes")


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
