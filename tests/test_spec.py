"""bitstream_spec.md against the package: its programs are run, its tables compared, its example rebuilt."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import CONFIG, decoded_digests, picture, sha256, tiny_codec, tiny_weights
from valid_files import Content, assemble, clips_with_sound, contents, repaired

from mvc import errors
from mvc import picture as pictures
from mvc.arguments import MAX_PIXELS
from mvc.blocks.layers import shuffle
from mvc.container import ClipHead, Head, Unit, chunks, fields, read_file, write_file
from mvc.container.sound import SoundReader
from mvc.entropy.coders import Decoder, Encoder
from mvc.entropy.tables import MAX_HALF_WIDTH, MAX_VALUE, Tables, gaussian_tables, tables_from_pmfs
from mvc.exact import fixed, lower
from mvc.models import streams
from mvc.models.coding import checkerboard
from mvc.models.weights import exact_hash

TEXT = (Path(__file__).parent.parent / "bitstream_spec.md").read_text(encoding="utf-8")
EXAMPLE = (
    Head("still", 1, 1, "gray", 8, 31, b"mvc-toy!"),
    [Unit("picture", 0, None, (b"", bytes.fromhex("f007000154fe")))],
)
CLIP = (
    Head("clip", 1, 1, "gray", 8, 31, b"mvc-toy!", ClipHead(1, 25)),
    [Unit("inter" if time else "picture", time, time or None, (b"a", b"bc")) for time in (0, 5)],
)


def spec_program() -> dict[str, Any]:
    """What the document's python blocks define, run in their order in one namespace."""
    namespace: dict[str, Any] = {"__name__": "bitstream_spec"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
    for block in blocks:
        line = TEXT.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block.group(1), "bitstream_spec.md", "exec"), namespace)
    return namespace


SPEC = spec_program()


def section(number: str) -> str:
    """The text from the heading that starts with `number` to the next heading."""
    match = re.search(rf"^#+ {re.escape(number)} .*?(?=^#+ [0-9]|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert match, f"section {number} is missing"
    return match.group()


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first column is headed `first`, its headings left out."""
    for lines in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
        if rows[0][0] == first:
            return rows[2:]
    raise LookupError(f"no table starts with the column {first!r}")


def outcome(action: Callable[..., Any], *arguments: Any) -> Any:
    """What `action` returns, or None if it refuses its arguments with the document's error or with ours."""
    try:
        return action(*arguments)
    except (errors.MvcError, SPEC["Invalid"]):
        return None


def in_words(head: Head, units: Iterable[Unit]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is in a file in the form of the document's `read_file`."""
    units = list(units)
    sums = [unit.latent_sum for unit in units if unit.role != "alpha"] if any(u.latent_sum for u in units) else None
    words = [vars(unit) | {"streams": list(unit.streams)} for unit in units]
    for unit in words:
        del unit["latent_sum"]
    return vars(head) | {"clip": vars(head.clip) if head.clip else None, "sums": sums}, words


def ours(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return in_words(*read_file(data))


# Containers


@given(
    st.binary(max_size=7) | st.lists(st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFF]), max_size=7).map(bytes)
)
def test_varint(data: bytes) -> None:
    cursor = fields.Cursor(data)
    expected = outcome(lambda: (cursor.varint("value"), cursor.position))
    assert outcome(SPEC["read_varint"], data, 0) == expected


@given(st.binary(max_size=100))
def test_crc32c(data: bytes) -> None:
    assert SPEC["crc32c"](data) == chunks.crc32c(data)


def test_crc32c_of_the_document() -> None:
    assert chunks.crc32c(b"123456789") == 0xE3069283
    assert "characters `123456789` is 0xE3069283." in " ".join(section("2.4").split())


@given(st.lists(st.tuples(st.integers(0, 255).filter(lambda code: code != 0x7F), st.binary(max_size=200))))
def test_chunk_walk(pairs: list[tuple[int, bytes]]) -> None:
    data = assemble(pairs)
    walked = [(c.code, c.offset, c.start, c.payload()) for c in chunks.walk(chunks.Source(io.BytesIO(data)))]
    assert list(SPEC["read_chunks"](data)) == walked
    assert [(code, payload) for code, _, _, payload in walked[:-1]] == pairs


@settings(deadline=None)
@given(contents)
def test_valid_files(content: Content) -> None:
    assert SPEC["read_file"](content.data()) == in_words(content.head, content.units)


def sound_of(data: bytes) -> tuple[list[Any], list[Any]]:
    reader = SoundReader(io.BytesIO(data))
    packets = [tuple(packet) for packet in reader.before(None)]
    return [
        {
            "number": number,
            "sample_rate": track.sample_rate,
            "channels": track.channels,
            "time_base": track.time_base.as_integer_ratio(),
            "parts": [track.codec.encode(), track.language.encode(), track.header],
        }
        for number, track in enumerate(reader.tracks)
    ], packets


@settings(deadline=None)
@given(clips_with_sound, st.data())
def test_sound(content: Content, draw: st.DataObject) -> None:
    """Both readers take the same sound from a valid file, and from one with a byte changed in a chunk of sound."""
    data = content.data()
    assert SPEC["read_sound"](data) == sound_of(data) and sound_of(data)[0]
    assert SPEC["read_file"](data) == in_words(content.head, content.units)
    own = [c for c in chunks.walk(chunks.Source(io.BytesIO(data))) if c.code in (0x81, 0x82) and c.length]
    chunk = draw.draw(st.sampled_from(own))
    place = draw.draw(st.integers(chunk.start, chunk.start + chunk.length - 1))
    changed = repaired(data[:place] + bytes([data[place] ^ draw.draw(st.integers(1, 255))]) + data[place + 1 :])
    assert SPEC["read_sound"](changed) == sound_of(changed)  # which an unknown chunk of such a code had not
    assert ours(changed) == ours(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_both_readers_agree_on_damaged_files(draw: st.DataObject) -> None:
    data = bytearray(write_file(*draw.draw(st.sampled_from([EXAMPLE, CLIP]))))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 5))] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.integers(0, len(data) - 4)) : -4]
    if draw.draw(st.integers(0, 3)):
        data[-4:] = chunks.crc32c(bytes(data[:-4])).to_bytes(4, "little")
    assert outcome(SPEC["read_file"], bytes(data)) == outcome(ours, bytes(data))


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "bad").glob("0*")), ids=lambda path: path.stem)
def test_bad_files_are_refused(path: Path) -> None:
    with pytest.raises(SPEC["Invalid"]):
        SPEC["read_file"](path.read_bytes())


@pytest.mark.parametrize("content", [EXAMPLE, CLIP], ids=["still", "clip"])
def test_every_changed_byte_of_the_example(content: tuple[Head, list[Unit]]) -> None:
    data = write_file(*content)
    for position in range(len(data) - 4):
        for value in {0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, data[position] ^ 1, data[position] ^ 0x40}:
            changed = data[:position] + bytes([value]) + data[position + 1 : -4]
            changed += chunks.crc32c(changed).to_bytes(4, "little")
            assert outcome(SPEC["read_file"], changed) == outcome(ours, changed)


# Tables of the document


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("3.1", chunks.HEAD),
        ("3.2", chunks.CODE),
        ("3.3", chunks.CLIP),
        ("3.5", chunks.END),
        ("3.7", chunks.TRACK),
        ("3.8", chunks.SOUND),
        ("3.9", chunks.META),
        ("3.10", chunks.NEXT),
        ("3.11", chunks.SUMS),
    ],
)
def test_field_tables(number: str, kind: chunks.ChunkType) -> None:
    text = section(number)
    assert text.startswith(f"### {number} {kind.name}\n")
    assert [tuple(row) for row in table(text, "Field")] == fields.rows(kind.fields)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("3.1", chunks.HEAD),
        ("3.2", chunks.CODE),
        ("3.3", chunks.CLIP),
        ("3.7", chunks.TRACK),
        ("3.8", chunks.SOUND),
        ("3.9", chunks.META),
        ("3.10", chunks.NEXT),
        ("3.11", chunks.SUMS),
    ],
)
def test_semantics_cover_every_field(number: str, kind: chunks.ChunkType) -> None:
    text = section(number)
    described = [
        name for row in table(text[text.index("Semantics") :], "Field") for name in row[0].split(", ")
    ]
    assert described == [
        row[0] for row in fields.rows(kind.fields) if row[0] not in ("flags", "reserved")
    ]


def test_chunk_table() -> None:
    rows = [(int(row[0], 16), row[1]) for row in table(section("3"), "Type")]
    assert rows == [(kind.code, kind.name) for kind in chunks.CHUNK_TYPES.values()]


def test_limits_table() -> None:
    most = {row[0]: row[2] for row in table(section("2.5"), "Quantity")}
    assert most == {
        "width, height in pixels": "65535",
        "units of a file": "any number",
        "streams of a unit": "255",
        "payload of a chunk in bytes": f"2^{chunks.MAX_CHUNK_BYTES.bit_length() - 1}",
    }
    assert chunks.MAX_CHUNK_BYTES == 2**30


def test_error_table_names_the_errors_of_files() -> None:
    names = [row[0] for row in table(section("1.5"), "Class")]
    assert all(issubclass(getattr(errors, name), errors.MvcError) for name in names)
    refusals = {kind.__name__ for kind in errors.FormatError.__subclasses__()}
    assert {*refusals, "Unsupported", "Limit"} == set(names)


# Entropy coding

NARROW = tables_from_pmfs([[0.25, 0.5, 0.2422], [1.0], [0.001] * 5, np.full(41, 1 / 41)], [-1, 7, -300, 100])
LATENT = gaussian_tables()


def spec_row(tables: Tables, row: int) -> tuple[int, int, list[int]]:
    """A row in the document's form: lowest, half width, cumulative."""
    start, half_width = int(tables.start[row]), int(tables.half_width[row])
    return int(tables.lowest[row]), half_width, tables.cdf[start : start + 2 * half_width + 3].tolist()


def spec_decode(stream: bytes, tables: Tables, rows: list[int]) -> list[int]:
    decoder = SPEC["StreamDecoder"](stream)
    symbols = [decoder.symbol(*spec_row(tables, row)) for row in rows]
    decoder.finish()
    return symbols


def package_decode(stream: bytes, tables: Tables, rows: list[int]) -> list[int]:
    decoder = Decoder(stream, tables)
    symbols = decoder.take(np.array(rows, np.int32))
    decoder.finish()
    return [int(symbol) for symbol in symbols]


def package_encode(symbols: list[int], tables: Tables, rows: list[int]) -> bytes:
    encoder = Encoder(tables)
    encoder.put(np.array(symbols, np.int32), np.array(rows, np.int32))
    return encoder.finish()


values = st.integers(-3, 3) | st.integers(-400, 400) | st.integers(-MAX_VALUE, MAX_VALUE)


@given(st.lists(st.tuples(values, st.integers(0, NARROW.rows - 1)), max_size=40))
def test_streams(pairs: list[tuple[int, int]]) -> None:
    symbols, rows = [value for value, _ in pairs], [row for _, row in pairs]
    stream = package_encode(symbols, NARROW, rows)
    assert spec_decode(stream, NARROW, rows) == symbols
    assert SPEC["encode_stream"](symbols, [spec_row(NARROW, row) for row in rows]) == stream


def test_latent_streams() -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(0, LATENT.rows, 300)
    symbols = np.rint(rng.normal(size=300) * 0.11 * 2.0 ** (rows / 8)).astype(int).tolist()
    stream = package_encode(symbols, LATENT, rows.tolist())
    assert spec_decode(stream, LATENT, rows.tolist()) == symbols


@settings(max_examples=300)
@given(st.binary(max_size=12), st.lists(st.integers(0, NARROW.rows - 1), max_size=6))
def test_both_decoders_agree_on_any_bytes(stream: bytes, rows: list[int]) -> None:
    assert outcome(spec_decode, stream, NARROW, rows) == outcome(package_decode, stream, NARROW, rows)


@pytest.mark.parametrize(
    ("stream", "rows"),
    [
        ("000001", []),  # the state at which decoding ends, but no symbol
        ("004002 00", [0]),  # a state with a byte more than it needs
        ("05961942 00", [0, 0, 0]),
        ("00", [0]),
        ("0040", [0]),
        ("", [0]),
    ],
)
def test_streams_that_both_refuse(stream: str, rows: list[int]) -> None:
    tables = tables_from_pmfs([[0.25, 0.5, 15872 / 65536]], [-1])
    assert spec_row(tables, 0) == SPEC["EXAMPLE_ROW"]
    for decode in (spec_decode, package_decode):
        assert decode(bytes.fromhex("004002"), tables, [0]) == [0]
        assert decode(bytes.fromhex("05961942"), tables, [0, 0, 0]) == [0, 1, -3]
        assert outcome(decode, bytes.fromhex(stream), tables, rows) is None


def test_both_decoders_agree_on_damaged_streams() -> None:
    """Damage that keeps the escape's long codes in reach, which random bytes rarely do."""
    rows = [0, 1, 2, 3, 0, 1]
    stream = package_encode([0, MAX_VALUE, -MAX_VALUE, 120, -5, 7], NARROW, rows)
    for position in range(len(stream)):
        for bit in range(8):
            damaged = bytearray(stream)
            damaged[position] ^= 1 << bit
            expected = outcome(package_decode, bytes(damaged), NARROW, rows)
            assert outcome(spec_decode, bytes(damaged), NARROW, rows) == expected


def test_limits_of_rows_and_symbols() -> None:
    constraints = {row[0]: row[2] for row in table(section("4.1"), "Part of a row")}
    assert constraints["half width S"] == f"0..{MAX_HALF_WIDTH}"
    assert MAX_VALUE == 2**20
    assert "A symbol must lie in -2^20..2^20" in section("4.4")


def test_exp_golomb_table() -> None:
    for distance, bits in table(section("4.4"), "d"):
        steps = SPEC["symbol_steps"](7 + int(distance), *spec_row(NARROW, 1))
        assert " ".join(str(step[1]) for step in steps[2:]) == bits


# The exact prior

WEIGHTS = tiny_weights()
STORED = dict(WEIGHTS.picture.exact_tensors())
MODEL = {name: tensor.numpy().astype(np.int64) for name, tensor in STORED.items()}
ONE_LAYER = {
    "linear": ("h_s.up1", WEIGHTS.picture.prior.h_s.up1),
    "depthwise": ("h_s.mix2.layer", WEIGHTS.picture.prior.h_s.mix2.layer),
}


def integers(shape: tuple[int, ...], limit: int = fixed.INPUT_LIMIT) -> np.ndarray:
    x = np.random.default_rng(7).integers(-limit, limit, shape, endpoint=True)
    x.reshape(-1)[:3] = limit, -limit, 0
    return x


@given(st.integers(-(2**53), 2**53), st.integers(0, 14))
def test_round_shift(x: int, n: int) -> None:
    assert int(fixed.shift_round(torch.tensor(x), n)) == SPEC["round_shift"](x, n) == (2 * x + 2**n) // 2 ** (n + 1)


@pytest.mark.parametrize("kind", ONE_LAYER)
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_weighted_layers(kind: str, size: tuple[int, int]) -> None:
    name, layer = ONE_LAYER[kind]
    weight, bias, shift = SPEC["layer_of"](MODEL, name)
    x = integers((*size, weight.shape[1]))
    expected = layer(torch.from_numpy(x)[None])[0].numpy()
    assert np.array_equal(SPEC[kind](x, (weight, bias, shift)), expected)


def test_other_layers() -> None:
    x = integers((3, 4, CONFIG.features))
    gain = WEIGHTS.picture.prior.h_s.gain
    assert isinstance(gain, lower.ExactGain)
    for quality in (0, 30, 63):
        expected = gain(torch.from_numpy(x)[None], torch.tensor([quality]))[0].numpy()
        assert np.array_equal(SPEC["gain"](x, MODEL["exact.h_s.gain.table"], quality), expected)
    assert np.array_equal(SPEC["leaky"](x), lower.ExactLeaky()(torch.from_numpy(x)).numpy())
    assert np.array_equal(SPEC["shuffle"](x, 2), shuffle(torch.from_numpy(x)[None], 2)[0].numpy())
    # The order that the text gives in words.
    assert SPEC["shuffle"](x, 2)[2 * 1 + 1, 2 * 3 + 0, 5] == x[1, 3, (2 * 1 + 0) * (CONFIG.features // 4) + 5]


def test_scale_row() -> None:
    x = np.arange(-500, 96 * 32 + 500)
    assert np.array_equal(SPEC["scale_row"](x), streams.scale_rows(torch.from_numpy(x)).numpy())


@pytest.mark.parametrize("size", [(4, 4), (4, 12), (3, 5)])
def test_coding_order(size: tuple[int, int]) -> None:
    masks = checkerboard(*size, torch.zeros(1))
    for mask, positions in zip(masks, SPEC["positions_of"](*size, 2), strict=True):
        numbers = torch.arange(size[0] * size[1])[streams._positions(mask)].tolist()
        assert [divmod(number, size[1]) for number in numbers] == positions
    assert SPEC["positions_of"](*size, 1) == [[divmod(i, size[1]) for i in range(size[0] * size[1])]]


def test_hyper_rows() -> None:
    tables = gaussian_tables(np.ones(16 * 5))
    for quality in (0, 3, 4, 63):
        expected = [quality // 4 * 5 + channel for channel in range(5)] * 6
        assert streams.hyper_rows(tables, quality, 2, 3, 5).tolist() == expected
    assert "`(quality // 4) * Z + c`" in section("5.5")
    assert str(streams.HYPER_LIMIT) in section("5.5")


@pytest.mark.parametrize(("size", "quality"), [((9, 70), 12), ((64, 64), 58)])
def test_the_documents_decoder(size: tuple[int, int], quality: int) -> None:
    data = tiny_codec().encode(picture(*size), quality)
    y_hat, symbols = SPEC["decode_latent"](*SPEC["read_file"](data), CONFIG.to_dict(), MODEL)
    everything = np.array([symbol for stream in symbols for symbol in stream])
    assert (sha256(everything), sha256(y_hat)) == decoded_digests(tiny_codec(), data)


def test_exact_hash() -> None:
    arrays = {name: tensor.numpy() for name, tensor in STORED.items()}
    assert SPEC["exact_hash"](CONFIG.to_dict(), arrays) == exact_hash(STORED, CONFIG.to_dict()) == WEIGHTS.exact_hash
    assert STORED["exact.h_s.up1.shift"].shape == ()  # which the hash counts as (1,)


def test_widths() -> None:
    text = section("5.4")
    ranges = {row[0]: row[1] for row in table(text, "Integer")}
    assert fixed.LIMIT == SPEC["LIMIT"] == 2**20 - 1
    assert fixed.INPUT_LIMIT == 4 * fixed.LIMIT and ranges["input of any layer"] == "-4 * LIMIT..4 * LIMIT"
    assert fixed.WEIGHT_LIMIT == 2**14 - 1 and ranges["weight"] == "-(2^14 - 1)..2^14 - 1"
    assert ranges["gain"] == f"0..{4 * fixed.WEIGHT_LIMIT}"
    assert ranges["leaky of such an output"] == "-2^17..LIMIT"
    assert SPEC["leaky"](np.array([-fixed.LIMIT, fixed.LIMIT])).tolist() == [-(2**17), fixed.LIMIT]
    # The claim that no layer of up to 2^17 - 1 inputs can fail, with the largest bias and shift.
    assert fixed.INPUT_LIMIT * fixed.WEIGHT_LIMIT * (2**17 - 1) + 2**31 + 2**14 < fixed.EXACT_FLOAT64 == 2**53


def test_tensor_tables() -> None:
    """Names, types and shapes of section 5.8 are those that are stored, no more and no less."""
    text = section("5.8")
    sizes = {"Z": CONFIG.hyper, "Q": CONFIG.hyper_hidden, "P": CONFIG.features, "C": CONFIG.context_hidden}
    types = {"i16": torch.int16, "i32": torch.int32, "u16": torch.uint16}
    expected: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}

    def shape(expression: str, **more: int) -> tuple[int, ...]:
        return tuple(eval(expression, {}, sizes | more))

    for layer, kind, weight in table(text, "Layer"):
        before = 0
        for k, (m, passes) in enumerate(CONFIG.slices if layer.startswith("contexts") else ((0, 1),)):
            for p in range(passes):
                name = "exact." + layer.replace("k.p", f"{k}.{p}")
                dims = shape(weight, m=m, D=before, p=p)
                expected[name + ".weight"] = torch.int16, dims
                expected[name + ".bias"] = torch.int32, (dims[0 if kind == "linear" else 1],)
                expected[name + ".shift"] = torch.int32, ()
            before += m
    rest = text[text.index("Besides them") :]
    for names, kind, sides, _ in table(rest, "Tensor"):
        for which, name in enumerate(names.replace("`", "").split(", ")):
            if sides.startswith("[sum"):
                half_width = MODEL[name.replace("frequency", "half_width")]
                expected[name] = types[kind], (int((2 * half_width + 2).sum()),)
            else:
                expected[name] = types[kind], shape(sides.split("], ")[which].removesuffix("]") + "]")
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in STORED.items()} == expected


def test_limits_of_this_decoder() -> None:
    assert pictures.MAX_FRAME_SIDE_PX == 8192 and MAX_PIXELS == 8192 * 8192 and pictures.MAX_SIDE_PX == 65535
    text = " ".join(section("6.4").split())
    assert "decodes clips of up to 8192 pixels a side" in text and "from 8192 x 8192 pixels on" in text


# The example


def test_example_file_is_rebuilt_from_the_document() -> None:
    match = re.search(r"^```hexdump\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert match
    data = b""
    for line in match.group(1).splitlines():
        offset, dump, meaning = line.split("|")
        assert int(offset) == len(data), line
        assert meaning.strip()
        data += bytes.fromhex(dump)
    assert data == write_file(*EXAMPLE)
    assert SPEC["decode_example"](data) == (in_words(*EXAMPLE)[0], [-1, 3, -3])


def test_example_steps() -> None:
    lowest, half_width, cumulative = SPEC["EXAMPLE_ROW"]
    steps = [s for v in (-1, 3, -3) for s in SPEC["symbol_steps"](v, lowest, half_width, cumulative)]
    rows = table(section("7.2"), "x before")
    assert [tuple(map(int, row[2:5])) for row in rows] == steps
    decoder = SPEC["StreamDecoder"](EXAMPLE[1][0].streams[1])
    for row, step in zip(rows, steps, strict=True):
        assert f"{decoder.state:x}" == row[0]
        decoder.step(*step)
        assert f"{decoder.state:x}" == row[5]


def test_smallest_file_has_the_stated_size() -> None:
    assert len(write_file(EXAMPLE[0], [Unit("picture", 0, None, (b"",))])) == 34
    assert "34 bytes" in section("7")
