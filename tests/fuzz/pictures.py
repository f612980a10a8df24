"""Damaged picture files of every kind that is read, checksums of PNG repaired."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from random import Random

import numpy as np
from picture_files import AVIF_10_BIT_PQ, JP2_16_BIT, chunk, png_of, saved, segment, tiff_of, tiff_of_12_bits
from PIL import Image

from fuzz.bytes_of import SIZES, cut, havoc
from fuzz.harness import Target
from mvc.media import read_picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAMES = (
    b"tRNS",
    b"gAMA",
    b"cHRM",
    b"iCCP",
    b"sRGB",
    b"cICP",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"eXIf",
    b"PLTE",
    b"acTL",
    b"fcTL",
)


@cache
def seeds() -> tuple[bytes, ...]:
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (9, 14, 3), np.uint8)
    deep = random.integers(0, 65536, (9, 14, 4), np.uint16)
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[274] = 6
    frames = [image, image.rotate(180)]
    before = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"eXIf", exif.tobytes()[6:])
    return (
        png_of(rgb, before), png_of(deep), png_of(deep[..., 0]), saved(image.convert("P")), saved(image.convert("1")),
        saved(frames[0], save_all=True, append_images=frames[1:]),
        saved(image, "JPEG", exif=exif), saved(image, "JPEG", progressive=True), saved(image.convert("CMYK"), "JPEG"),
        saved(image, "JPEG2000"), JP2_16_BIT, AVIF_10_BIT_PQ, saved(image, "AVIF"),
        saved(image, "WEBP"), saved(image, "WEBP", lossless=True, exif=exif),
        tiff_of(rgb), tiff_of(deep, ">", deflated=True), tiff_of_12_bits(deep[:, :, 0] >> 4),
        *(saved(image, "TIFF", compression=kind) for kind in ("tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate")),
        saved(image, "GIF", save_all=True, append_images=frames[1:]), saved(image, "BMP"), saved(image, "PPM"),
        saved(image.convert("L"), "PPM"), b"P5 14 9 65535\n" + deep[..., 0].tobytes(), saved(image, "TGA"),
    )  # fmt: skip


def _png(random: Random, data: bytes) -> bytes:
    """Chunks changed, swapped, doubled, left out or put in, nearly all with right checksums."""
    chunks, at = [], len(SIGNATURE)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = random.randrange(len(chunks))
    name, content = chunks[place]
    match random.randrange(7):
        case 0 | 1:
            chunks[place] = name, havoc(random, content)
        case 2:
            values = list(struct.unpack(">IIBBBBB", chunks[0][1]))
            field = random.randrange(7)
            values[field] = random.choice(SIZES) % (1 << 32 if field < 2 else 256)
            chunks[0] = b"IHDR", struct.pack(">IIBBBBB", *values)
        case 3:
            chunks.insert(
                random.randrange(len(chunks) + 1),
                (random.choice(NAMES), random.randbytes(random.choice([0, 1, 4, 32]))),
            )
        case 4:
            del chunks[place]
        case 5:
            chunks.insert(random.randrange(len(chunks) + 1), (name, content))
        case 6:
            bomb = zlib.compress(bytes(random.choice([1 << 16, 1 << 24])), 9)
            chunks.insert(1, random.choice([(b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"IDAT", bomb)]))
    crc = 0 if random.randrange(12) == 0 else None
    return SIGNATURE + b"".join(
        chunk(name, content, crc if k == place else None) for k, (name, content) in enumerate(chunks)
    )


def _jpeg(random: Random, data: bytes) -> bytes:
    """A segment put in, of any meaning."""
    bodies = (
        b"Exif\0\0",
        b"Exif\0\0II*\0\x08\0\0\0",
        b"ICC_PROFILE\0\1\1",
        b"JFIF\0\1\1\0\0",
        b"http://ns.adobe.com/xap/1.0/\0",
    )
    body = random.choice(bodies) + random.randbytes(random.choice([0, 2, 40]))
    return data[:2] + segment(random.choice([0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xC0, 0xDB, 0xFE]), body) + data[2:]


def _case(random: Random) -> tuple[str, bytes]:
    data = random.choice(seeds())
    draw = random.randrange(10)
    if draw == 0:
        return "cut", cut(random, data)
    if data.startswith(SIGNATURE) and draw < 7:
        return "chunks of PNG", _png(random, data)
    if data.startswith(b"\xff\xd8") and draw < 4:
        data = _jpeg(random, data)
        return "segments of JPEG", data if random.random() < 0.5 else havoc(random, data)
    if draw < 5:  # heads are where the numbers are
        return "head", havoc(random, data[:200]) + data[200:]
    return "bytes", havoc(random, data)


def _read(data: bytes) -> str:
    source = read_picture(data)
    assert source.picture.width and source.picture.height
    assert all("\n" not in loss for loss in source.losses)
    return "read"


def targets() -> list[Target]:
    return [Target("picture", _case, _read, seconds=20, megabytes=1200)]
