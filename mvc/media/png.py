"""PNG: the chunks that make the pixels go to Pillow, everything else is looked at here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from mvc.errors import SourceError
from mvc.media import resolution
from mvc.media.facts import Facts, in_text, inflate
from mvc.metadata import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BEHIND_IHDR, _DEPTH = 33, 24
_NEEDED = (b"IHDR", b"PLTE", b"IDAT")
_COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
_LIGHT = (b"mDCV", b"cLLI", b"mDCv", b"cLLi")  # the last two are drafts' names
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PROFILES = {b"exif": "EXIF", b"APP1": "EXIF", b"icc": "ICC colour profile", b"icm": "ICC colour profile"}
_PROFILES |= {b"xmp": "XMP", b"iptc": "IPTC", b"8bim": "IPTC"}


class Chunk(NamedTuple):
    """A chunk; `whole` is what the file has of it, with length and checksum."""

    name: bytes
    body: memoryview
    whole: memoryview
    complete: bool

    @property
    def sound(self) -> bool:
        crc = zlib.crc32(self.body, zlib.crc32(self.name))
        return self.complete and crc == int.from_bytes(self.whole[-4:], "big")

    @property
    def title(self) -> str:
        return self.name.decode() if self.name.isalpha() else "a chunk without a name"

    @property
    def critical(self) -> bool:
        return not self.name[0] & 0x20


def look(data: bytes, label: str) -> Facts:
    """What a PNG says; `SourceError` where a chunk that its pixels need is damaged."""
    facts, kept, found = Facts(b"", frames=1), [], {}
    kind = frames = 0
    pixels = animated = False
    for chunk in chunks_of(data):
        name = chunk.name
        if name == b"CgBI":
            hint = "`pngcrush -revert-iphone-optimizations FILE out.png` converts it"
            raise SourceError(f"{label} is a PNG in a way of Apple's own, which is not read here", hint=hint)
        if chunk.critical:
            if chunk.complete and not chunk.sound:
                if name in _NEEDED:
                    raise SourceError(f"{label} is broken: its {name.decode()} chunk is damaged")
                facts.damaged.append(chunk.title)
                continue
            kept.append(chunk.whole)  # of one that is cut short, Pillow says so
            pixels = pixels or name == b"IDAT"
            if name == b"IHDR" and len(chunk.body) == 13:
                kind = chunk.body[9]
        elif not chunk.sound or (name == b"tRNS" and not _fits(chunk.body, kind)):
            facts.damaged.append(chunk.title)
        elif name == b"tRNS":
            kept.append(chunk.whole)
        elif name == b"sBIT":
            colours = 3 if kind & 2 else 1
            facts.significant = max(chunk.body[:colours], default=0)
        elif name == b"pHYs":
            facts.resolution = resolution.of_phys(bytes(chunk.body))
        elif name in _LIGHT:
            facts.metadata.add("light levels")
        elif name == b"acTL":
            frames = int.from_bytes(chunk.body[:4], "big")
        elif name == b"fcTL":
            animated = animated or not pixels
        elif name == b"iCCP" and name not in found:
            found[name] = b""
            facts.add_icc(inflate(bytes(chunk.body).partition(b"\0")[2][1:]))
        elif name in _COLOURS:
            found[name] = bytes(chunk.body[:32])
        elif name == b"eXIf" and "EXIF" not in facts.metadata:  # one is allowed
            facts.add_exif(bytes(chunk.body))
        elif name in _TEXTS:
            _text(facts, name, bytes(chunk.body))
    if frames:
        facts.frames = frames + (not animated)  # what readers without animation show need not be a part of it
    _colours(facts, found, gray=kind in (0, 4))
    facts.data = SIGNATURE + b"".join(kept)
    return facts


def with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """A PNG, whose first chunk is IHDR, with chunks for the metadata behind that one."""
    chunks = b""
    if not metadata:
        return data
    if metadata.cicp:
        chunks += chunk(b"cICP", metadata.cicp)
    if metadata.gamma:
        gamma, points = metadata.gamma[: len(metadata.gamma) % 32], metadata.gamma[len(metadata.gamma) % 32 :]
        chunks += (chunk(b"gAMA", gamma) if gamma else b"") + (chunk(b"cHRM", points) if points else b"")
    own = resolution.stated(metadata.resolution, metadata.exif)
    if own and (body := resolution.phys(own)):
        chunks += chunk(b"pHYs", body)
    if metadata.depth and data[_DEPTH] == 16:
        chunks += chunk(b"sBIT", metadata.depth * {0: 1, 2: 3, 4: 2, 6: 4}[data[_DEPTH + 1]])
    if metadata.icc:
        chunks += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc, 9))
    if metadata.exif:
        chunks += chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        chunks += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    return data[:_BEHIND_IHDR] + chunks + data[_BEHIND_IHDR:]


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk as it stands in a file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def gray_alpha_as_rgba(data: bytes) -> bytes | None:
    """A PNG of 16-bit gray and alpha as one of 8-bit RGBA with the same bytes: gray high, low, alpha high, low.

    Both have four bytes per pixel, so filters and interlacing are the same. None for any other PNG.
    """
    if data[12:16] != b"IHDR" or data[24:26] != b"\x10\4":
        return None
    header = data[12:24] + b"\x08\6" + data[26:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def chunks_of(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG up to its end, or as far as the file goes."""
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        whole = view[at : at + 12 + length]
        name = data[at + 4 : at + 8]
        yield Chunk(name, whole[8 : 8 + length], whole, len(whole) == 12 + length)
        if name == b"IEND":
            return
        at += 12 + length


def _fits(transparency: memoryview, kind: int) -> bool:
    """Whether a tRNS chunk has the length that the colour type asks for."""
    return len(transparency) in {0: range(2, 3), 2: range(6, 7), 3: range(1, 257)}.get(kind, ())


def _text(facts: Facts, name: bytes, body: bytes) -> None:
    """XMP, profiles as ImageMagick hides them in texts, or a text. Of many profiles only the first is looked into."""
    key, _, value = body.partition(b"\0")
    what = _PROFILES.get(key.removeprefix(b"Raw profile type ")) if key.startswith(b"Raw profile type ") else None
    if key == b"XML:com.adobe.xmp":
        if name == b"iTXt" and "XMP" not in facts.metadata:
            rest = value[2:].split(b"\0", 2)[-1]
            value = inflate(rest) if value[:1] == b"\1" else rest
        facts.add_xmp(value)
    elif what == "EXIF" and "EXIF" not in facts.metadata:
        exif = in_text(inflate(value[1:]) if name == b"zTXt" else value)
        if exif:
            facts.add_exif(exif)
        else:
            facts.metadata.add("EXIF")
    elif what in ("ICC colour profile", "XMP") and what not in facts.metadata:
        profile = in_text(inflate(value[1:]) if name == b"zTXt" else value)
        (facts.add_icc if what != "XMP" else facts.add_xmp)(profile)
    elif key != b"Software" and not key.startswith(b"date:"):  # what programs write without being asked
        facts.metadata.add(what or "text")


def _colours(facts: Facts, found: dict[bytes, bytes], gray: bool) -> None:
    """The strongest of the chunks about colour, as the PNG specification (third edition, 4.3) ranks them."""
    if len(found.get(b"cICP", b"")) >= 4:
        facts.add_codes(found[b"cICP"][0], found[b"cICP"][1])
    elif b"iCCP" not in found and b"sRGB" not in found:
        facts.add_curve(found.get(b"gAMA", b""), found.get(b"cHRM", b""), gray=gray)
