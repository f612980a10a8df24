"""Picture files made by hand, of kinds that Pillow does not write."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of the picture file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def beside_webp(path: Path, quality: int) -> list[NDArray[np.uint8]]:
    """The samples of a picture file in RGB, and those that WebP leaves of them."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    return [np.asarray(shown) for shown in (image, Image.open(io.BytesIO(saved(image, "WEBP", quality=quality))))]


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG, with its checksum or a wrong one."""
    checksum = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG with chunks before and after its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + pixels + after + chunk(b"IEND", b"")


def png_of(samples: NDArray[np.unsignedinteger], before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of uint8 or uint16 samples [H, W] or [H, W, C], unfiltered."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    rows = b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)
    depth, colour_type = samples.dtype.itemsize * 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png(samples.shape[1], samples.shape[0], depth, colour_type, rows, before, after)


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(segments: bytes, jpeg: bytes) -> bytes:
    """A JPEG with more segments in front of its own."""
    return jpeg[:2] + segments + jpeg[2:]


def ifd(*entries: tuple[int, int, int, bytes], more: bytes = b"") -> bytes:
    """A little-endian TIFF block of one directory: tag, type, count and four bytes of each entry, and what follows."""
    body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4) + more


def tiff_of_12_bits(samples: NDArray[np.uint16]) -> bytes:
    """A TIFF of gray samples [H, W] below 4096, packed; W is even."""
    even, odd = samples[:, ::2], samples[:, 1::2]
    packed = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=-1).astype(np.uint8)
    pixels, (height, width) = packed.tobytes(), samples.shape
    tags = ((256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4), (277, 1))
    entries = [(tag, 4, 1, struct.pack("<I", value)) for tag, value in (*tags, (278, height), (279, len(pixels)))]
    return ifd(*entries) + pixels


def tiff_of(
    samples: NDArray[np.unsignedinteger], order: Literal["<", ">"] = "<", deflated: bool = False, alpha: int = 2
) -> bytes:
    """A TIFF of uint8 or uint16 samples [H, W, C] in one strip; of two or four channels the last is of this kind."""
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    pixels = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    pixels = zlib.compress(pixels) if deflated else pixels
    tags = {256: width, 257: height, 258: bits, 259: 8 if deflated else 1, 262: 2, 273: 0, 277: channels}
    tags |= {278: height, 279: len(pixels)}
    if channels in (2, 4):
        tags[262], tags[338] = 1 + (channels == 4), alpha
    directory, place = b"", 8 + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        if tag == 258:
            directory += struct.pack(order + "HHII", tag, 3, channels, place if channels > 2 else bits * 0x10001)
        else:
            value = place + 2 * channels if tag == 273 else tags[tag]
            directory += struct.pack(order + "HHII", tag, 4, 1, value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    depths = struct.pack(order + "H" * channels, *[bits] * channels)
    return head + struct.pack(order + "H", len(tags)) + directory + bytes(4) + depths + pixels


# 64x64, gray, made by SVT-AV1: 10 bits, BT.2020 primaries, PQ.
AVIF_10_BIT_PQ = base64.b85decode(
    "0000WW^{RQVRmU|00000VRmU|ZE0pPZE0a<O+hh20002_ZDn*}000000000lXk=`10000000000aA{+7000000000000000P-$ayb#i4$VQyq>"
    "WpV%j000hfX>@G>000000RR919%*cEV*mgE07L))0RRC20003100AKY0012T001ayX>Mi!000000RR918fk83WdZ;I000310AY48F+*=`Z*l+t"
    "003%faB^?}002vAaAR)(000zeb8uw<00000002M$002M$000nhX?SS>000033JMAU000bOb}>VN089V?000wXZ)|dIV{CW;2>=iP2><{902gU+"
    "ZD9Za00000009621OWnr1ONa4C2eG3bP5ds00087|A}8J5+D)?G7Jy^^MXJA+d}{Xm>>"
)

# 16x16, gray, made by FFmpeg: 16 bits of RGB.
JP2_16_BIT = base64.b85decode(
    "0000CYEU2`4GM<}0000KW^{RQYH%_j00000YH%_j0000jYH%`W0000MX=r3}0000G0000G00R&Q0000001sntY;pkr000005C8xHU21SLWB*V8Q2;Lh"
    "000005C8xG5C8xG00000000010000100000000000009I0RayI0S^HI|55-90000100sgA0094704XBBAim(f;J%=?@V4-_z^?$W0IuMtP^VC*XpjYv"
    "1&~LV)0fkiV*g|S5dZ;9VRmCSGA=SWE-^4N|BwI*000000Mq~h|C7)Bz!V8?A^(5R{J<0mZXy4F&-}m?32q_(e*gdg0002M03RSI00ZO%1V02nzyKd0"
    "C;$WG1Oz_>KfnMVASeI><OBpi1V6w49|%wY2f`2m)B)7M03QfY00+Vl0n`E1zyKczPyh$Q5CPNy)W85b8~_8MfD`~x6aZ1c06H811EGKv08tbGQNRE?"
    "8~_8MfD`~x6aZ1c01`j|5&#qcTfY<lT%W)I5<mbF02BaQzZ3vmpTGbTKmZZ|6aZVl6aZYG|Je"
)


def box(kind: bytes, body: bytes) -> bytes:
    """A box of an ISO base media file, as AVIF, HEIC and JPEG XL are made of."""
    return struct.pack(">I", 8 + len(body)) + kind + body


def codestream_of_jxl(
    width: int,
    height: int,
    *,
    depth: int = 8,
    orientation: int = 1,
    floating: bool = False,
    preview: bool = False,
    animated: bool = False,
) -> bytes:
    """The first fields of a JPEG XL codestream (ISO/IEC 18181-1, annex D), and then nothing."""
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> place & 1 for place in range(count))

    def put_side(side: int) -> None:
        count = next(count for count in (9, 13, 18, 30) if side <= 1 << count)
        put((9, 13, 18, 30).index(count), 2)
        put(side - 1, count)

    small = width % 8 == height % 8 == 0 and max(width, height) <= 256
    put(small, 1)
    for number, side in enumerate((height, width)):
        put(side // 8 - 1, 5) if small else put_side(side)
        if not number:
            put(0, 3)  # no ratio
    plain = depth == 8 and orientation == 1 and not floating and not preview and not animated
    put(plain, 1)
    more = orientation > 1 or preview or animated
    if not plain:
        put(more, 1)
        if more:
            put(orientation - 1, 3)
            put(0, 1)
            put(preview, 1)
            if preview:  # in eighths, 32 high, a ratio
                put(1, 1)
                put(1, 2)
                put(1, 3)
            put(animated, 1)
            if animated:  # 100 ticks a second, over 1, without end, no timecodes
                for _ in range(3):
                    put(0, 2)
                put(0, 1)
        put(floating, 1)
        if floating:
            put(0, 2)
        elif depth in (8, 10, 12):
            put((8, 10, 12).index(depth), 2)
        else:
            put(3, 2)
            put(depth - 1, 6)
    bits += [0] * 64
    return b"\xff\x0a" + np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def multi_picture(sizes: list[int], offsets: list[int], order: Literal["<", ">"] = "<") -> bytes:
    """A multi-picture segment (CIPA DC-007): offsets count from the byte behind `MPF` and its zero."""
    entries = b"".join(
        struct.pack(order + "IIIHH", 0 if place else 0x030000, size, place, 0, 0)
        for size, place in zip(sizes, offsets, strict=True)
    )
    tags = struct.pack(order + "HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(order + "HHII", 0xB001, 4, 1, len(sizes))
    tags += struct.pack(order + "HHII", 0xB002, 7, len(entries), 50)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 3)
    return segment(0xE2, b"MPF\0" + head + tags + bytes(4) + entries)


def with_second(picture: bytes, second: bytes, order: Literal["<", ">"] = "<", more: bytes = b"") -> bytes:
    """A JPEG with another one behind it, and behind that more bytes."""
    length = len(multi_picture([0, 0], [0, 0], order))
    whole = len(picture) + length
    block = multi_picture([whole, len(second)], [0, whole - (2 + 4 + 4)], order)
    return picture[:2] + block + picture[2:] + second + more


def full(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A box with a version and flags."""
    return box(kind, bytes((version,)) + flags.to_bytes(3, "big") + body)


def heif(
    items: list[tuple[bytes, bytes, bytes, list[bytes]]], references: list[tuple[bytes, int, list[int]]], brand: bytes
) -> bytes:
    """A HEIF of items: kind, type of content, content, and boxes of properties; numbered from 1, which is primary."""
    properties = [own for item in items for own in item[3]]
    associated, first = b"", 1
    for number, item in enumerate(items, 1):
        count = len(item[3])
        associated += struct.pack(">HB", number, count) + bytes(range(first, first + count))
        first += count
    infe = b""
    for number, (kind, content_type, _, _) in enumerate(items, 1):
        names = b"\0" + (content_type + b"\0\0" if kind == b"mime" else b"")
        infe += full(b"infe", struct.pack(">HH", number, 0) + kind + names, 2)
    iref = b"".join(
        box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references
    )

    def meta(place: int) -> bytes:
        iloc = struct.pack(">BBH", 0x44, 0, len(items))
        for number, item in enumerate(items, 1):
            iloc += struct.pack(">HHHII", number, 0, 1, place, len(item[2]))
            place += len(item[2])
        parts = full(b"hdlr", bytes(4) + b"pict" + bytes(13)) + full(b"pitm", struct.pack(">H", 1))
        parts += full(b"iinf", struct.pack(">H", len(items)) + infe) + full(b"iloc", iloc)
        parts += full(b"iref", iref) if references else b""
        ipma = full(b"ipma", struct.pack(">I", len(items)) + associated)
        parts += box(b"iprp", box(b"ipco", b"".join(properties)) + ipma)
        return full(b"meta", parts)

    start = box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
    content = b"".join(item[2] for item in items)
    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", content)
