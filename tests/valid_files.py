"""Random valid files, for tests of what reads and writes them; and files put together from raw chunks."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tiny_model import picture, tiny_codec

from mvc import stills
from mvc.container import ClipHead, Head, Unit, Writer, read_file
from mvc.container.chunks import END, META, SIGNATURE, Source, crc32c, frame, walk
from mvc.container.meta import payloads
from mvc.container.sound import Packet, SoundWriter, Track
from mvc.container.units import place_of
from mvc.lossless.levels import Levels
from mvc.media.gainmaps import GainMap
from mvc.metadata import Metadata
from mvc.picture import Picture
from mvc.tiling import TILES, Tiling


def assemble(chunks: list[tuple[int, bytes]]) -> bytes:
    """The signature, (type, payload) pairs whatever they are, and a right END."""
    data = SIGNATURE + b"".join(frame(code, len(payload)) + payload for code, payload in chunks)
    return repaired(data + frame(END.code, 4) + bytes(4))


def repaired(data: bytes) -> bytes:
    """`data` with its last four bytes replaced by the checksum of the others."""
    return data[:-4] + crc32c(data[:-4]).to_bytes(4, "little")


def chunks_of(data: bytes) -> list[tuple[int, bytes]]:
    """(type, payload) of every chunk but END, as `assemble` takes them."""
    return [(chunk.code, chunk.payload()) for chunk in walk(Source(io.BytesIO(data)))][:-1]


@dataclass(frozen=True)
class Content:
    """What a file is made of; each of `extras` is an ancillary chunk and the number of units in front of it."""

    head: Head
    units: tuple[Unit, ...]
    extras: tuple[tuple[int, int, bytes], ...] = ()
    tracks: tuple[Track, ...] = ()
    packets: tuple[Packet, ...] = ()

    def data(self) -> bytes:
        """The file; its packets of sound are written in equal parts before each unit and behind the last."""
        file = io.BytesIO()
        writer = Writer(file, self.head)
        sound = SoundWriter(writer, self.tracks) if self.tracks else None
        for count in range(len(self.units) + 1):
            for where, code, payload in self.extras:
                if min(where, len(self.units)) == count:
                    writer.ancillary(code, payload)
            if sound:
                sound.put(self.packets[count :: len(self.units) + 1])
                if count == len(self.units):
                    sound.close()
            if count < len(self.units):
                writer.put(self.units[count])
        writer.close()
        return file.getvalue()


clip_heads = st.builds(
    ClipHead,
    time_numerator=st.integers(1, 2**32 - 1),
    time_denominator=st.integers(1, 2**32 - 1),
    range=st.sampled_from(["limited", "full"]),
    chroma=st.sampled_from(["444", "422", "420", "gray", "rgb"]),
    siting=st.sampled_from(["unknown", "left", "top", "bottom"]),
    primaries=st.integers(0, 255),
    transfer=st.integers(0, 255),
    matrix=st.integers(0, 255),
    aspect_numerator=st.integers(1, 65535),
    aspect_denominator=st.integers(1, 65535),
    step=st.integers(1, 2**32 - 1) | st.integers(1, 3),
)


def of_kind(clip: ClipHead | None) -> st.SearchStrategy[Head]:
    """Heads of clips with this, or of stills that name a model."""
    return st.builds(
        Head,
        kind=st.just("clip" if clip else "still"),
        width=st.integers(1, 65535),
        height=st.integers(1, 65535),
        colour=st.sampled_from(["rgb", "gray"]),
        depth=st.just(8),
        quality_index=st.integers(0, 63),
        model_id=st.binary(min_size=8, max_size=8),
        clip=st.just(clip),
        alpha=st.just(False) if clip else st.booleans(),
        tile_px=st.just(0) if clip else st.sampled_from([0, *TILES]),
    )


def exact_head(head: Head, depth: int) -> Head:
    """That of a still which names no model."""
    return replace(head, depth=depth, quality_index=None, model_id=None)


exact_heads = st.builds(exact_head, of_kind(None), st.sampled_from([8, 16]))
heads = (st.none() | clip_heads).flatmap(of_kind) | exact_heads
streams = st.binary(max_size=40) | st.sampled_from([127, 128, 300, 17000]).map(bytes)
units = st.builds(
    Unit,
    role=st.sampled_from(["picture", "inter", "exact", "alpha", "between"]),
    index=st.integers(0, 2**32 - 1) | st.integers(0, 300),
    quality_index=st.none() | st.integers(0, 63),
    streams=st.lists(streams, min_size=1, max_size=6).map(tuple) | st.integers(1, 255).map(lambda n: (b"",) * n),
)


def in_order(drawn: list[Unit]) -> tuple[Unit, ...]:
    """At least one unit, by index, one of each, and alpha behind its own."""
    return tuple(sorted({place_of(unit): unit for unit in drawn}.values(), key=place_of))


def in_step(head: Head, drawn: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The same, but in a clip some frames come when they are due."""
    made: list[Unit] = []
    for unit in drawn:
        due = made[-1].index + head.clip.step if head.clip and made else 2**32
        if unit.role in ("inter", "between") and len(unit.streams) % 2 and due < 2**32:
            unit = replace(unit, index=due, streams=unit.streams[:1])
        made.append(unit)
    return in_order(made)


def content(head: Head, drawn: tuple[Unit, ...], *rest: tuple[Any, ...]) -> Content:
    """What hypothesis drew, made valid."""
    return Content(head, in_step(head, drawn), *rest)


def pack(form: str) -> Callable[..., bytes]:
    """What packs numbers so."""
    return lambda *numbers: struct.pack(form, *numbers)


gain_maps = st.builds(
    lambda *lies: GainMap(*lies).packed(),
    st.integers(1, 8),
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.binary(max_size=40).map(lambda body: b"\xff\xd8" + body + b"\xff\xd9"),
)
metadata = st.builds(
    Metadata,
    icc=st.none() | st.binary(min_size=1, max_size=200),
    exif=st.none() | st.binary(min_size=1, max_size=40),
    xmp=st.none() | st.text(min_size=1, max_size=60).map(str.encode),
    cicp=st.none() | st.binary(min_size=4, max_size=4),
    thumbnail=st.none() | st.binary(min_size=1, max_size=90),
    gainmap=st.none() | st.binary(min_size=1, max_size=90) | gain_maps,
    depth=st.none() | st.integers(9, 15).map(lambda bits: bytes((bits,))),
    resolution=st.none() | st.builds(pack("<BII"), st.integers(0, 3), st.integers(1, 2**32 - 1), st.integers(1, 9)),
    gamma=st.none() | st.sampled_from([4, 32, 36]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
)
metas = metadata.filter(bool).map(lambda one: next(payloads(one)))
others = st.tuples(st.integers(0, 5), st.integers(0x80, 0xFF), st.binary(max_size=40))
extras = st.lists(others | st.tuples(st.integers(0, 5), st.just(META.code), metas), max_size=4)


@st.composite
def tiled(draw: st.DrawFn) -> Content:
    """A still of one to six tiles by a model and the exact coder, with the sums of what they hold."""
    head = draw(of_kind(None))
    head = replace(head, tile_px=256, width=draw(st.integers(1, 900)), height=draw(st.integers(1, 500)))
    made: list[Unit] = []
    for number in range(len(Tiling(head.width, head.height, head.tile_px))):
        role = draw(st.sampled_from(["picture", "picture", "exact"]))
        total = draw(st.integers(0, 2**32 - 1)) if role == "picture" else 0
        made.append(Unit(role, number, None, (draw(streams),), total))
        if role == "picture" and head.alpha:
            made.append(Unit("alpha", number, None, (draw(streams),)))
    return Content(head, tuple(made), tuple(draw(extras)))


@st.composite
def clips_of_runs(draw: st.DrawFn) -> Content:
    """A clip of a keyframe and one to three runs of up to seven frames between, each ended by an anchor."""
    head = draw(clip_heads.flatmap(of_kind))
    assert head.clip
    head = replace(head, clip=replace(head.clip, step=draw(st.integers(1, 1000))))
    frames = st.tuples(st.sampled_from([0, 0, 0, 1]), st.none() | st.integers(0, 63), st.binary(max_size=9))
    made = [Unit("picture", draw(st.integers(0, 9)), None, (draw(streams),))]
    for count in draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)):
        for role in (*["between"] * count, draw(st.sampled_from(["inter", "picture"]))):
            late, quality, stream = draw(frames)
            made.append(Unit(role, made[-1].index + head.clip.step + late, quality, (stream,)))  # type: ignore[arg-type]
    return Content(head, tuple(made), tuple(draw(extras)))


contents = (
    st.builds(content, heads, st.lists(units, min_size=1, max_size=3).map(in_order), extras.map(tuple))
    | tiled()
    | clips_of_runs()
)


counts = st.integers(1, 2**32 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
tracks = st.builds(Track, counts, st.integers(1, 255), st.builds(Fraction, counts, counts), texts, texts, streams)
times = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-2000, 2000)
packets = st.builds(Packet, st.integers(0, 1), times, st.integers(0, 2**32 - 1) | st.just(1024), streams)
following = st.builds(
    lambda track, start, sizes: [Packet(track, start + 960 * n, 960, bytes(size)) for n, size in enumerate(sizes)],
    st.integers(0, 1),
    st.integers(-2000, 2000),
    st.lists(st.integers(0, 300), max_size=12),
)
clips_with_sound = st.builds(
    content,
    clip_heads.flatmap(of_kind),
    st.lists(units, min_size=1, max_size=3).map(in_order),
    extras.map(tuple),
    st.lists(tracks, min_size=2, max_size=2).map(tuple),
    (st.lists(packets, max_size=6) | following).map(tuple),
)


@st.composite
def coded_files(draw: st.DrawFn) -> bytes:
    """A small picture as the tiny model codes it, perhaps with alpha, its quality in HEAD or in the unit, and more."""
    index = draw(st.integers(0, 63))
    source = picture(
        draw(st.integers(1, 80)), draw(st.integers(1, 80)), gray=draw(st.booleans()), seed=draw(st.integers(0, 9))
    )
    if draw(st.integers(0, 3)) == 0:
        source = Picture(source.samples, np.full(source.samples.shape[:2], draw(st.integers(0, 254)), np.uint8))
    tile_px = draw(st.sampled_from([0, 0, *TILES]))
    if tile_px == 256 and draw(st.booleans()):  # of several tiles
        source = picture(draw(st.integers(1, 20)), draw(st.integers(384, 800)), seed=draw(st.integers(0, 9)))
    head, (unit, *alpha) = read_file(tiny_codec().encode(source, index, draw(st.integers(0, 1)), tile_px))
    if tile_px == 0 and draw(st.booleans()):
        unit = Unit("picture", 0, index, unit.streams)
        head = replace(head, quality_index=draw(st.integers(0, 63)))
    return Content(head, (unit, *alpha), tuple(draw(extras))).data()


@st.composite
def exact_pictures(draw: st.DrawFn) -> Picture:
    """Small pictures of every colour and depth: noise of some range, few colours, or smooth; with or without alpha."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from([np.uint8, np.uint16]))
    top = draw(st.sampled_from([1, 3, 255] + ([4095, 65535] if kind == np.uint16 else [])))
    channels = draw(st.integers(1, 4))
    samples = rng.integers(0, top, (height, width, channels), kind, endpoint=True)
    if draw(st.booleans()):
        samples = np.sort(samples, axis=draw(st.integers(0, 2)))
    if kind == np.uint16 and top < 65535 and draw(st.booleans()):  # numbers of few bits, spread
        samples = Levels(draw(st.integers(top.bit_length(), 15)), draw(st.integers(0, 2))).samples()[samples]
    return Picture.of_array(samples)


@st.composite
def exact_files(draw: st.DrawFn) -> bytes:
    """What the exact coder makes of them, quick and mixed, by all of its ways, exact, nearly or stored, and more."""
    source, tile_px = draw(exact_pictures()), draw(st.sampled_from([0, 0, 256]))
    if tile_px and draw(st.booleans()):  # of several tiles
        samples = np.asarray(source)[:2]
        source = Picture.of_array(np.tile(samples, (1, 400 // source.width + 1, *[1] * (samples.ndim - 2))))
    near, effort = draw(st.sampled_from([0, 0, 1, 9])), draw(st.integers(0, 3))
    head, units = read_file(stills.exact_file(source, near, effort, tile_px))
    if source.alpha is None and len(units) == 1 and draw(st.integers(0, 3)) == 0:
        planes = np.moveaxis(np.atleast_3d(source.samples), -1, 0)
        wide = source.depth == 16
        stored = bytes([0x80, source.depth, 0, 0]) + planes.astype("<u2" if wide else "u1").tobytes()
        units = [replace(units[0], streams=(stored,))]
    return Content(head, tuple(units), tuple(draw(extras))).data()
