"""Write tests/bad: files that must be refused. Run it when the format changes, and for the last part also the weights.

    PYTHONPATH=tests python -m make_bad

001 to 099 break the container; from 101 on what is wrong is inside the streams of the shipped model, or the model
cannot decode the file; from 201 on no decoder of exact files may take it, from 301 on none of clips. What each is
refused for is said in test_container.py.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from test_reference_decoder import reference
from test_spec import SPEC
from valid_files import assemble, chunks_of, repaired

from mvc import codec as codecs
from mvc import stills
from mvc.clip import ClipCodec
from mvc.container import ClipHead, Head, Unit, Writer, read_file, write_file
from mvc.container.chunks import Link, crc32c
from mvc.container.sound import Packet, SoundWriter, Track
from mvc.errors import Corrupt, Truncated
from mvc.frames import Frame
from mvc.lossless.code import Way, decode, encode
from mvc.metadata import Metadata
from mvc.picture import Picture

BAD = Path(__file__).parent / "bad"
WEIGHTS = Path(codecs.__file__).parent / "weights" / "mambavc-lite"
QUALITY = 20
HEAD, CODE, CLIP_CHUNK, NEXT, SUMS = 0x01, 0x02, 0x03, 0x04, 0x05
STREAMS = (b"hyper", b"slice", b"", b"\0\1")
STILL = Head("still", 3, 2, "rgb", 8, 31, b"mvc-test")
GOOD = write_file(STILL, [Unit("picture", 0, None, STREAMS)])
CLIP_HEAD = replace(STILL, kind="clip", clip=ClipHead(1, 25))
CLIP = write_file(CLIP_HEAD, [Unit("picture", 0, None, STREAMS), Unit("inter", 3, None, STREAMS)])


def zero_behind_the_state(stream: bytes) -> bytes:
    """A byte of zero where the state would end if it were part of it: the length says whether it has four or five."""
    last = 3 + (len(stream) + 1) % 2
    return stream[:last] + b"\0" + stream[last:]


def container_files() -> Iterator[tuple[str, bytes]]:
    """Everything that sections 2 and 3 forbid."""
    (_, head), (_, code) = chunks_of(GOOD)
    end = len(GOOD) - 6

    def with_head(payload: bytes) -> bytes:
        return assemble([(HEAD, payload), (CODE, code)])

    def with_unit(*payloads: bytes) -> bytes:
        return assemble([(HEAD, head), *((CODE, payload) for payload in payloads)])

    yield "001.empty", b""
    yield "002.other-format", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    yield "003.line-endings-converted", GOOD.replace(b"\r\n", b"\n")
    yield "004.signature-cut", GOOD[:7]
    yield "005.newer-version", repaired(GOOD[:7] + b"\1" + GOOD[8:])
    yield "006.signature-only", GOOD[:8]
    yield "007.head-missing", assemble([(CODE, code)])
    yield "008.head-twice", assemble([(HEAD, head), (HEAD, head), (CODE, code)])
    yield "009.head-not-first", assemble([(CODE, code), (HEAD, head)])
    yield "010.head-too-short", with_head(head[:-1])
    yield "011.head-too-long", with_head(head + b"\0")
    yield "012.width-zero", with_head(head[:1] + b"\0" + head[2:])
    yield "013.width-65536", with_head(head[:1] + b"\x80\x80\x04" + head[2:])
    yield "014.height-zero", with_head(head[:2] + b"\0" + head[3:])
    yield "015.quality-64-in-a-head-too-long", with_head(head[:3] + b"\x40" + head[4:] + b"\0")
    yield "016.quality-64", with_head(head[:3] + b"\x40" + head[4:])
    yield "017.kind-unknown", with_head(b"\x02" + head[1:])
    yield "018.tile-without-its-checksum", with_head(b"\x80" + head[1:])
    yield "019.depth-unknown", with_head(b"\x20" + head[1:])
    yield "020.tile-shorter-than-its-checksum", assemble([(HEAD, b"\x40" + head[1:]), (CODE, code[:3])])
    yield "021.width-varint-padded", with_head(head[:1] + b"\x83\0" + head[2:])
    yield "022.width-varint-six-bytes", with_head(head[:1] + b"\x80\x80\x80\x80\x80\x01" + head[2:])
    yield "023.length-padded", repaired(GOOD[:9] + b"\x8c\0" + GOOD[10:])
    yield "024.length-six-bytes", repaired(GOOD[:9] + b"\x80\x80\x80\x80\x80\x01" + GOOD[10:])
    yield "025.length-16-gigabytes", GOOD[:23] + b"\x80\x80\x80\x80\x40" + GOOD[24:]
    yield "026.length-beyond-file", GOOD[:23] + b"\x80\x80\x40" + GOOD[24:]
    yield "027.length-cut", GOOD[:23]
    yield "028.payload-cut", GOOD[: end - 2]
    yield "029.end-missing", GOOD[:end]
    yield "030.checksum-cut", GOOD[:-1]
    yield "031.checksum-wrong", GOOD[:-1] + bytes([GOOD[-1] ^ 1])
    yield "032.payload-changed", GOOD.replace(b"slice", b"slide")
    yield "033.bytes-after-end", GOOD + b"\0"
    yield "034.unknown-critical", assemble([(HEAD, head), (0x06, b""), (CODE, code)])
    yield "035.units-missing", assemble([(HEAD, head)])
    yield "036.unit-empty", with_unit(b"")
    yield "037.role-unknown", with_unit(b"\x05" + code[1:])
    yield "038.unit-reserved-flag-set", with_unit(b"\x10" + code[1:])
    yield "039.index-2^32", with_unit(code[:1] + b"\x80\x80\x80\x80\x10" + code[2:])
    yield "040.unit-quality-65", with_unit(code[:2] + b"\x41" + code[3:])
    yield "041.streams-none", with_unit(code[:3] + b"\0" + code[4:])
    yield "042.end-too-short", GOOD[:-5] + b"\3" + GOOD[-4:-1]
    yield "043.end-too-long", GOOD[:-5] + b"\5" + GOOD[-4:] + b"\0"
    yield "044.sizes-beyond-the-chunk", with_unit(code[:4] + b"\x0e" + code[5:])
    yield "045.sizes-of-32-gigabytes", with_unit(code[:4] + b"\xff\xff\xff\xff\x7f" + code[5:])
    yield "046.sizes-cut", with_unit(code[:6])
    yield "047.sizes-padded", with_unit(code[:4] + b"\x85\0" + code[5:])
    yield "048.index-missing", with_unit(code[:1])
    yield "049.units-of-one-index", with_unit(code, code)
    yield "050.units-out-of-order", with_unit(code[:1] + b"\1" + code[2:], code)
    yield "051.type-changed-to-unknown", GOOD[:22] + b"\x06" + GOOD[23:]
    yield "052.16-bits-by-a-model", with_head(b"\x10" + head[1:])
    yield "053.head-cut-behind-the-quality", with_head(head[:4])
    yield "054.alpha-before-its-picture", with_unit(b"\3" + code[1:], code)
    yield "055.alpha-twice", with_unit(code, b"\3" + code[1:], b"\3" + code[1:])
    yield "056.inter-and-picture-of-one-index", with_unit(code, b"\1" + code[1:])
    own = write_file(STILL, [Unit("picture", 0, None, STREAMS)], Metadata(exif=b"II*\0 a block"))
    yield "057.metadata-changed", own.replace(b"a block", b"a clock")
    yield "058.metadata-cut", own[: own.index(b"block")]
    yield "059.sums-of-another-size", assemble([(HEAD, head), (CODE, code), (SUMS, b"sums+")])
    yield "060.sums-of-zeros", assemble([(HEAD, head), (CODE, code), (SUMS, bytes(4))])
    yield "094.sums-before-the-unit", assemble([(HEAD, head), (SUMS, b"sums"), (CODE, code)])
    yield "095.sums-twice", assemble([(HEAD, head), (CODE, code), (SUMS, b"sums"), (SUMS, b"sums")])
    behind = [(HEAD, head), (CODE, code), (SUMS, b"sums"), (CODE, code[:1] + b"\1" + code[2:])]
    yield "096.unit-behind-sums", assemble(behind)
    # Clips
    first = CLIP.index(b"slice")
    second = CLIP.index(b"slice", first + 1)
    (_, head), (_, about), (_, unit), _ = chunks_of(CLIP)

    def with_about(payload: bytes) -> bytes:
        return assemble([(HEAD, head), (CLIP_CHUNK, payload), (CODE, unit)])

    yield "061.clip-unit-changed", repaired(CLIP[:second] + b"slide" + CLIP[second + 5 :])
    yield "062.clip-unit-cut", CLIP[: second + 5]
    yield "063.clip-unit-shorter-than-its-checksum", assemble([(HEAD, head), (CLIP_CHUNK, about), (CODE, unit[:3])])
    yield "064.clip-unit-under-another-head", assemble([(HEAD, head[:-1] + b"!"), (CLIP_CHUNK, about), (CODE, unit)])
    yield "065.clip-checksum-wrong", CLIP[:-1] + bytes([CLIP[-1] ^ 1])
    yield "066.clip-unit-twice", assemble([(HEAD, head), (CLIP_CHUNK, about), (CODE, unit), (CODE, unit)])
    yield "067.clip-from-a-still", with_head(b"\x01" + head[1:])
    yield "068.clip-head-missing", assemble([(HEAD, head), (CODE, unit)])
    yield "069.clip-head-behind-an-ancillary-chunk", assemble([(HEAD, head), (0xC0, b""), (CLIP_CHUNK, about)])
    yield "070.clip-head-twice", assemble([(HEAD, head), (CLIP_CHUNK, about), (CLIP_CHUNK, about), (CODE, unit)])
    yield "071.clip-head-in-a-still", assemble([*chunks_of(GOOD)[:1], (CLIP_CHUNK, about), *chunks_of(GOOD)[1:]])
    yield "072.clip-head-empty", with_about(b"")
    yield "073.chroma-unknown", with_about(b"\x0a" + about[1:])
    yield "074.clip-reserved-flag-set", with_about(b"\x84" + about[1:])
    yield "075.time-unit-zero", with_about(about[:2] + b"\0" + about[3:])
    yield "076.clip-head-too-short", with_about(about[:-1])
    yield "077.clip-head-too-long", with_about(about + b"\0")
    yield "078.unit-under-another-clip-head", with_about(about[:2] + b"\x18" + about[3:])
    yield "084.aspect-zero", with_about(about[:-2] + b"\0" + about[-1:])
    yield "085.step-zero", with_about(about[:-1] + b"\0")

    def linked(*units: tuple[int, bytes]) -> bytes:
        """A clip of such chunks, whose checksums are made right."""
        chunks = [(HEAD, head), (CLIP_CHUNK, about)]
        link = Link(crc32c(assemble(chunks)[:-6]))
        for code, body in units:
            crc = link.crc(body, code)
            chunks, link = [*chunks, (code, body + crc)], link._replace(last=crc)
        return assemble(chunks)

    due = b"\1\1\x40\1" + b"stream"  # what a NEXT would be
    yield "086.next-without-a-unit", linked((NEXT, b"\x40stream"))
    yield "087.next-empty", linked((CODE, unit[:-4]), (NEXT, b""))
    yield "088.next-quality-65", linked((CODE, unit[:-4]), (NEXT, b"\x41stream"))
    yield "089.inter-not-as-next", linked((CODE, unit[:-4]), (CODE, due))
    yield "090.next-beyond-the-last-index", linked((CODE, b"\0\xff\xff\xff\xff\x0f\x40\1key"), (NEXT, b"\x40stream"))
    yield "091.next-in-a-still", assemble([*chunks_of(GOOD), (NEXT, b"\x40stream")])
    yield "092.clip-in-tiles", assemble([(HEAD, b"\x41" + head[1:]), (CLIP_CHUNK, about), (CODE, unit)])
    yield "097.between-not-as-next", linked((CODE, unit[:-4]), (CODE, b"\4" + due[1:]))
    yield "098.next-between-quality-65", linked((CODE, unit[:-4]), (NEXT, b"\xc1stream"))
    yield "093.clip-with-sums", assemble([(HEAD, head), (CLIP_CHUNK, about), (CODE, unit), (SUMS, b"sums")])
    later = write_file(CLIP_HEAD, [Unit("picture", 5, None, STREAMS)])
    yield "079.inter-before-its-picture", assemble(chunks_of(later) + chunks_of(CLIP)[3:])
    between = write_file(CLIP_HEAD, [Unit("picture", 0, None, STREAMS), Unit("between", 3, None, STREAMS)])
    yield "099.between-behind-another-unit", assemble(chunks_of(later) + chunks_of(between)[3:])
    file = io.BytesIO()
    writer = Writer(file, CLIP_HEAD)
    sound = SoundWriter(writer, [Track(48000, 2, Fraction(1, 48000), "opus", "", b"nut")])
    sound.put([Packet(0, 0, 960, b"packet")])
    sound.close()
    writer.put(Unit("picture", 0, None, STREAMS))
    writer.close()
    yield "082.clip-without-a-model", assemble([(HEAD, head[:3]), (CLIP_CHUNK, about), (CODE, unit)])
    yield "083.clip-with-alpha", assemble([(HEAD, b"\x09" + head[1:]), (CLIP_CHUNK, about), (CODE, unit)])
    yield "080.sound-changed", file.getvalue().replace(b"packet", b"racket")
    yield "081.sound-cut", file.getvalue()[: file.getvalue().index(b"packet") + 3]


def model_files() -> Iterator[tuple[str, bytes]]:
    """What the shipped model must refuse."""
    samples = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    data = codecs.load(device="cpu").encode(Picture(samples), QUALITY, 0)
    head, (unit,) = read_file(data)
    hyper, *slices = unit.streams
    model = reference.read_model(WEIGHTS)
    hyper_rows = model.hyper_rows[QUALITY // 4 * model.config["hyper"] :][: model.config["hyper"]]
    z = reference.decode_hyper(reference.StreamDecoder(hyper, "hyper"), model, QUALITY, 1, 1)
    *_, rows = reference.context(model, "contexts.0.0", reference.hyper_synthesis(model, z, QUALITY, 3, 4))

    def with_stream(number: int, change: Callable[[bytes], bytes]) -> bytes:
        changed = list(unit.streams)
        changed[number] = change(changed[number])
        return write_file(head, [replace(unit, streams=tuple(changed))])

    def crafted(values: list[int], rows: list[Any]) -> bytes:
        return SPEC["encode_stream"](values, [(row.lowest, row.half_width, row.cumulative) for row in rows])

    def latent(value: int) -> bytes:
        return crafted([value], [model.latent_rows[rows[0, 0, 0]]])

    def hyperlatent(value: int) -> bytes:
        return crafted([value] + [0] * (len(hyper_rows) - 1), hyper_rows)

    def flipped(stream: bytes) -> bytes:
        middle = len(stream) // 2
        return stream[:middle] + bytes([stream[middle] ^ 0x10]) + stream[middle + 1 :]

    yield "101.hyperlatent-bit-flipped", with_stream(0, flipped)
    yield "102.slice-bit-flipped", with_stream(2, flipped)
    yield "103.stream-cut", with_stream(3, lambda stream: stream[:-2])
    yield "104.stream-goes-on", with_stream(4, lambda stream: stream + b"\x55\x55")
    yield "105.stream-empty", with_stream(5, lambda stream: b"")
    yield "106.state-cut", with_stream(1, lambda stream: stream[:2])
    yield "107.state-padded", with_stream(1, zero_behind_the_state)
    swapped = (hyper, slices[1], slices[0], *slices[2:])
    yield "108.streams-swapped", write_file(head, [replace(unit, streams=swapped)])
    yield "109.sizes-shifted", assemble(shifted(chunks_of(data)))
    yield "110.hyperlatent-4096", with_stream(0, lambda stream: hyperlatent(4096))
    yield "111.hyperlatent-over-2^20", with_stream(0, lambda stream: hyperlatent(2**20 + 1))
    yield "112.latent-over-2^20", with_stream(1, lambda stream: latent(-(2**20) - 1))
    yield "113.escape-of-40-zeros", with_stream(1, lambda stream: latent(2**40))
    yield "114.stream-missing", write_file(head, [replace(unit, streams=unit.streams[:-1])])
    yield "115.stream-too-many", write_file(head, [replace(unit, streams=(*unit.streams, b""))])
    yield "116.two-pictures", write_file(head, [unit, replace(unit, index=1)])
    yield "117.picture-1", write_file(head, [replace(unit, index=1)])
    yield "118.another-model", write_file(replace(head, model_id=b"stranger"), [unit])
    yield "119.sums-of-other-latents", write_file(head, [replace(unit, latent_sum=1)])
    yield "120.another-size", write_file(replace(head, width=64, height=65), [unit])
    yield "121.another-quality", write_file(head, [replace(unit, quality_index=63)])
    yield "122.clip", write_file(replace(head, kind="clip", clip=ClipHead()), [unit])
    yield "123.hyperlatent-minus-4096", with_stream(0, lambda stream: hyperlatent(-4096))
    extremes = crafted([4095 if c % 2 else -4095 for c in range(len(hyper_rows))], hyper_rows)
    yield "124.hyperlatents-4095-before-other-slices", with_stream(0, lambda stream: extremes)
    # Latents of a million, all of them escapes
    network, rng = codecs.load(device="cpu").network, np.random.default_rng(5)
    y = torch.from_numpy(rng.uniform(-1e6, 1e6, (1, 3, 4, network.model.config.latents))).float()
    with torch.no_grad():
        escapes = network.write(y, torch.from_numpy(np.array(z, np.float32))[None], QUALITY)
    cut = (*escapes[:2], escapes[2][: len(escapes[2]) // 2 * 2 - 40], *escapes[3:])
    yield "125.escape-cut", write_file(head, [replace(unit, streams=cut)])
    changed = (escapes[0], flipped(escapes[1]), *escapes[2:])
    yield "126.escape-bit-flipped", write_file(head, [replace(unit, streams=changed)])
    yield "127.inter-in-a-still", write_file(head, [replace(unit, role="inter")])
    wide = np.random.default_rng(1).integers(100, 140, (16, 400, 3), np.uint8)
    head, tiles = read_file(codecs.load(device="cpu").encode(Picture(wide), QUALITY, 0, 256))
    yield "133.between-in-a-still", write_file(head, [replace(unit, role="between")])
    yield "128.tile-of-another-quality", write_file(head, [tiles[0], replace(tiles[1], quality_index=QUALITY + 1)])
    yield "129.tile-missing", write_file(head, tiles[:1])
    yield "130.tile-too-many", write_file(head, [*tiles, replace(tiles[1], index=2)])
    yield "131.tile-of-two-streams", write_file(head, [tiles[0], replace(tiles[1], streams=(*tiles[1].streams, b""))])
    damaged = replace(tiles[1], streams=(flipped(tiles[1].streams[0]),))
    yield "132.tile-bit-flipped", write_file(head, [tiles[0], damaged])


def exact_files() -> Iterator[tuple[str, bytes]]:
    """What no decoder of exact files may take."""
    samples = np.random.default_rng(0).integers(0, 4, (9, 8, 3), np.uint8)
    head, (unit,) = read_file(stills.exact_file(Picture(samples)))
    alpha = stills.alpha_unit(samples[..., 0])
    (stream,) = unit.streams

    def with_stream(data: bytes | bytearray, head: Head = head) -> bytes:
        return write_file(head, [replace(unit, streams=(bytes(data),))])

    def stored(depth: int, data: bytes, near: int = 0) -> bytes:
        return with_stream(bytes([0x80, depth, near, 0]) + data)

    yield "201.exact-stream-cut", with_stream(stream[:-4])
    yield "202.exact-word-cut", with_stream(stream[:-1])
    yield "203.exact-stream-goes-on", with_stream(stream + b"\0\0")
    yield "204.exact-header-cut", with_stream(stream[:3])
    yield "205.exact-depth-0", with_stream(stream[:1] + b"\0" + stream[2:])
    yield "206.exact-depth-17", with_stream(stream[:1] + b"\x11" + stream[2:])
    yield "207.exact-reserved-bit-2-set", with_stream(stream[:3] + bytes([stream[3] | 4]) + stream[4:])
    yield "208.exact-plane-that-is-not-there-equals-another", with_stream(bytes([stream[0] | 0x40]) + stream[1:])
    yield "209.exact-colours-with-near", with_stream(b"\2" + stream[1:2] + b"\1" + stream[3:])
    yield "210.exact-9-bits-in-8", with_stream(bytes([0, 9]) + stream_of(samples.astype(np.uint16) + 400))
    yield "211.stored-cut", stored(8, bytes(215))
    yield "212.stored-goes-on", stored(8, bytes(217))
    yield "213.stored-sample-out-of-range", stored(2, bytes(215) + b"\4")
    yield "214.stored-with-near", stored(8, bytes(216), 1)
    yield "215.stored-16-bits-in-8", stored(16, bytes(432))
    yield "216.exact-two-streams", write_file(head, [replace(unit, streams=(stream, b""))])
    yield "217.exact-with-a-quality", write_file(head, [replace(unit, quality_index=5)])
    yield "218.picture-without-a-model", write_file(head, [replace(unit, role="picture")])
    named = replace(head, quality_index=5, model_id=b"stranger")
    yield "219.alpha-twice-over", write_file(head, [unit, alpha, replace(unit, index=1)])
    yield "220.alpha-that-head-does-not-say", write_file(head, [unit, alpha])
    yield "221.alpha-alone", write_file(replace(head, alpha=True), [alpha])
    yield "222.alpha-of-another-tile", write_file(replace(head, alpha=True), [unit, replace(alpha, index=1)])
    yield "223.alpha-missing", write_file(replace(named, alpha=True), [replace(unit, role="picture")])
    yield "224.alpha-with-a-quality", write_file(replace(head, alpha=True), [unit, replace(alpha, quality_index=5)])
    tiles = stills.exact_file(Picture(np.tile(samples, (1, 50, 1))), tile_px=256)
    yield "225.exact-tile-missing", write_file(read_file(tiles)[0], read_file(tiles)[1][:1])
    yield "226.exact-samples-out-of-range", with_stream(turned_out_of_range(), replace(head, width=20, height=20))
    yield "227.exact-too-many-colours", with_stream(b"\2\x08\0\0" + bytes(8))
    quick = bytearray(encode([np.ascontiguousarray(samples[..., k]) for k in range(3)], way=Way.SMOOTH))
    kind = quick[3]
    yield "228.exact-reserved-bit-7-set", with_stream(quick[:3] + bytes([kind | 0x80]) + quick[4:])
    yield "229.quick-in-way-2", with_stream(b"\2\x08\0\2" + bytes(8))
    yield "230.quick-in-way-3", with_stream(b"\3\x08\0\2" + bytes(8))
    yield "231.quick-stream-cut", with_stream(quick[:-2])
    yield "232.quick-stream-goes-on", with_stream(quick + b"\0\0")
    yield "233.quick-said-to-be-mixed", with_stream(quick[:3] + bytes([kind & 1]) + quick[4:])
    yield "234.code-out-of-range", with_stream(quick[:4] + b"\xff" * 6 + quick[10:])


def clip_files() -> Iterator[tuple[str, bytes]]:
    """What no decoder of clips may take, with a keyframe of the shipped model; frames between have empty streams."""
    codec = ClipCodec(codecs.load("mambavc-ssf-lite", device="cpu"))
    picture = Picture(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    file = io.BytesIO()
    codec.encode([Frame.of_picture(picture, 0).converted("yuv420p")], file, ClipHead(1, 25), index=QUALITY, gop=1)
    head, (key,) = read_file(file.getvalue())

    def with_units(*roles: str, stream: bytes = b"", more: tuple[bytes, ...] = ()) -> bytes:
        """A clip of such units; the streams of the last one that is no keyframe are these."""
        last = max((number for number, role in enumerate(roles) if role != "picture"), default=-1)
        made = []
        for time, role in enumerate(roles):
            streams = key.streams if role == "picture" else (stream, *more) if time == last else (b"",)
            made.append(Unit(role, time, None, streams))  # type: ignore[arg-type]
        return write_file(head, made)

    def parts(role: str, value: int) -> bytes:
        return SPEC["encode_stream"]([value], [SPEC["BETWEEN_ROW" if role == "between" else "PARTS_ROW"]])

    yield "301.inter-first", with_units("inter", "picture")
    yield "302.between-first", with_units("between", "picture")
    yield "303.run-that-end-ends", with_units("picture", "between", "between")
    yield "304.run-of-eight", with_units("picture", *["between"] * 8, "inter")
    yield "305.inter-parts-3", with_units("picture", "inter", stream=parts("inter", 3))
    yield "306.between-parts-7", with_units("picture", "between", "picture", stream=parts("between", 7))
    yield "307.between-parts-minus-1", with_units("picture", "between", "picture", stream=parts("between", -1))
    yield "308.between-cut-behind-its-parts", with_units("picture", "between", "picture", stream=parts("between", 3))
    yield "309.between-of-two-streams", with_units("picture", "between", "picture", more=(b"",))
    yield "310.exact-in-a-clip", with_units("picture", "exact")
    yield "311.alpha-in-a-clip", with_units("picture", "between", "alpha")


def stream_of(samples: np.ndarray) -> bytes:
    """The stream of 3 planes, behind the first two bytes of its header."""
    return encode([np.ascontiguousarray(samples[..., k]) for k in range(3)], way=Way.SMOOTH)[2:]


def turned_out_of_range() -> bytes:
    """Turned colours of which some are none, since a bit of the stream is another."""
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (20, 20), np.uint8)
    planes = [gray ^ rng.integers(0, 4, gray.shape, np.uint8) for _ in range(3)]
    data = encode(planes, way=Way.SMOOTH, effort=2)
    assert data[3] == 1
    for bit in reversed(range(64, 8 * len(data))):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        try:
            decode(bytes(changed), (3, 20, 20))
        except Corrupt as error:
            if "out of range" in str(error):
                return bytes(changed)
        except Truncated:
            pass
    raise AssertionError("no bit does it")


def shifted(chunks: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """A file whose first stream takes one byte of the second."""
    (_, head), (_, code) = chunks
    return [(HEAD, head), (CODE, code[:4] + bytes([code[4] + 1]) + code[5:])]


def main() -> None:
    BAD.mkdir(exist_ok=True)
    for old in BAD.iterdir():
        old.unlink()
    for name, data in (*container_files(), *model_files(), *exact_files(), *clip_files()):
        (BAD / f"{name}.mvc").write_bytes(data)


if __name__ == "__main__":
    main()
