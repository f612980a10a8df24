"""Picture files made by hand, of kinds that Pillow does not write."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of the picture file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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


def tiff_of(samples: NDArray[np.unsignedinteger], order: Literal["<", ">"] = "<", deflated: bool = False) -> bytes:
    """A TIFF of uint8 or uint16 samples [H, W, C] in one strip."""
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    pixels = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    pixels = zlib.compress(pixels) if deflated else pixels
    tags = {256: width, 257: height, 258: bits, 259: 8 if deflated else 1, 262: 2, 273: 0, 277: channels}
    tags |= {278: height, 279: len(pixels)}
    if channels == 4:
        tags[338] = 2
    directory, place = b"", 8 + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        if tag == 258:
            directory += struct.pack(order + "HHII", tag, 3, channels, place)
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
