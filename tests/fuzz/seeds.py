"""Valid .mvc files to damage."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from random import Random

import numpy as np
import torch
from tiny_model import picture, tiny_codec
from valid_files import Content, in_step

from mvc import codec as codecs
from mvc import stills
from mvc.codec import Codec
from mvc.container import ClipHead, Head, Unit, read_file, write_file
from mvc.container.sound import Packet, Track
from mvc.lossless.code import Way, encode
from mvc.picture import Picture


def content(random: Random) -> Content:
    """Any still or clip, as valid_files.py has them, of streams that mean nothing."""

    def unit(index: int) -> Unit:
        sizes = [random.choice([0, 1, 5, 40, 127, 128, 300]) for _ in range(random.choice([1, 2, 4, 6, 30]))]
        quality = random.choice([None, random.randrange(64)])
        role = random.choice(["picture", "inter", "exact", "between"])
        return Unit(role, index, quality, tuple(map(random.randbytes, sizes)))

    indices = sorted({random.choice([0, 1, 2, 7, 300, 2**32 - 1]) for _ in range(random.randrange(1, 5))})
    sides = random.choice([1, 17, 640, 65535]), random.choice([1, 17, 640, 65535])
    clip = random.choice([None, ClipHead(random.randrange(1, 2**32), random.randrange(1, 300))])
    kind, colour = "clip" if clip else "still", random.choice(["rgb", "gray"])
    head = Head(kind, *sides, colour, 8, random.randrange(64), random.randbytes(8), clip)
    extras = [(random.randrange(5), random.randrange(0x80, 256), random.randbytes(9)) for _ in range(2)]
    tracks, packets = (), []
    if clip and random.random() < 0.5:
        tracks = (Track(48000, 2, Fraction(1, 48000), "opus", "eng", random.randbytes(60)),)
        packets = [Packet(0, 960 * number, 960, random.randbytes(random.choice([0, 7, 200]))) for number in range(9)]
    units = in_step(head, runs(random) if clip and random.random() < 0.4 else tuple(map(unit, indices)))
    return Content(head, units, tuple(extras[: random.randrange(3)]), tracks, tuple(packets))


def runs(random: Random) -> tuple[Unit, ...]:
    """Frames of a clip, a time apart: a keyframe, and runs of frames between two others."""
    roles = ["picture"]
    for _ in range(random.randrange(1, 4)):
        roles += ["between"] * random.randrange(8) + [random.choice(["inter", "picture"])]
    streams = (random.randbytes(random.choice([0, 1, 5, 40])) for _ in roles)
    return tuple(Unit(role, time, None, (own,)) for time, (role, own) in enumerate(zip(roles, streams, strict=True)))


@cache
def exact_seeds() -> tuple[bytes, ...]:
    """Pictures by the exact coder, of every way, kind and depth, alpha together and apart, and beside a model."""
    noise, (y, x) = np.random.default_rng(3), np.mgrid[:21, :23]
    wave = np.stack([128 + 90 * np.sin(x / 5 + y / 7) * share for share in (1, 0.8, 0.5)], -1)
    smooth = (wave + noise.normal(0, 2, wave.shape)).astype(np.uint8)
    drawn = np.where((x // 4 + y // 3) % 3 == 0, 20, 250).astype(np.uint8)
    deep = smooth.astype(np.uint16) * 255 + 9
    pictures = [Picture(samples) for samples in (smooth, drawn, deep, smooth >> 6, deep[..., 0])]
    made = [stills.exact_file(picture, 0, effort) for picture in pictures for effort in (1, 2)]
    made.append(stills.exact_file(Picture(noise.integers(0, 256, (9, 8, 3), np.uint8))))
    made += [stills.exact_file(Picture(smooth), 2, effort) for effort in (1, 2)]
    made += [stills.exact_file(Picture(smooth, drawn)), stills.exact_file(Picture(drawn, drawn))]
    planes = [np.ascontiguousarray(smooth[..., k]) for k in range(3)]
    head = read_file(made[0])[0]
    for way in Way:
        for effort in (1, 2) if way < Way.INDEXED else (1,):
            few = encode([drawn], way=way, effort=effort)
            made.append(write_file(replace(head, colour="gray"), [Unit("exact", 0, None, (few,))]))
            if way < Way.INDEXED:
                full = encode(planes, way=way, effort=effort)
                made.append(write_file(head, [Unit("exact", 0, None, (full,))]))
    return (*made, tiny_codec().encode(Picture(smooth, drawn), 30, 0))


@cache
def coded_seeds() -> tuple[bytes, ...]:
    """Small pictures as the tiny model codes them, and crafted latents: the largest symbols, all of them escapes."""
    return _seeds(tiny_codec())


@cache
def shipped_seeds() -> tuple[bytes, ...]:
    """The same of the shipped model."""
    return _seeds(codecs.load(device="cpu"))


def _seeds(codec: Codec) -> tuple[bytes, ...]:
    made = []
    for number, (height, width, index) in enumerate([(1, 1, 0), (17, 40, 27), (64, 64, 63), (65, 70, 33)]):
        source = picture(height, width, gray=number == 3, seed=number)
        made.append(codec.encode(source, index, 0))
        head, (unit,) = read_file(made[-1])
        made.append(write_file(replace(head, quality_index=63 - index), [replace(unit, quality_index=index)]))
    noise = np.random.default_rng(1)
    made.append(codec.encode(Picture(noise.integers(0, 256, (40, 33, 3), np.uint8)), 63, 0))
    config = codec.model.config
    for y_most, z_most in ((5e3, 1), (5e3, 4095), (1e9, 1e9)):
        y, z = (
            torch.from_numpy(noise.uniform(-most, most, shape)).float()
            for most, shape in ((y_most, (1, 4, 4, config.latents)), (z_most, (1, 1, 1, config.hyper)))
        )
        with torch.no_grad():
            streams = codec.network.write(y, z, 31)
        head = Head("still", 64, 64, "rgb", 8, 31, codec.model_id)
        made.append(write_file(head, [Unit("picture", 0, None, tuple(streams))]))
    made.append(codec.encode(picture(18, 400, seed=5), 20, 0, 256))  # two tiles
    head, (left, _) = read_file(made[-1])
    drawn = np.zeros((18, 144, 3), np.uint8)
    exact = stills.exact_file(Picture(drawn), tile_px=256)
    made.append(write_file(head, [left, replace(read_file(exact)[1][0], index=1)]))  # one by either coder
    return tuple(made)
