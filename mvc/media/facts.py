"""What a picture file says beside its samples: the way up, colours, metadata. Nothing in here can refuse a file.

Pillow parses all metadata when it opens a file and gives up on damaged or large ones. No pixel depends on it, so the
readers of this folder (png.py, jpeg.py, tiff.py, boxes.py) look at it themselves, take what can be carried, and give
Pillow a file without it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mvc.metadata import MOST_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ByteOrder = Literal["little", "big"]

_OF_SAMPLES = ("gain map", "depth map", "auxiliary pictures", "light levels")
METADATA = ("EXIF", "ICC colour profile", "XMP", "extended XMP", "IPTC", "text", *_OF_SAMPLES)
"""Kinds of metadata, in the order in which they are told."""

ORIENTATION = 0x0112
RAW_EXIF = "Raw profile type exif"  # the key of a text in a PNG in which ImageMagick keeps EXIF
_EXIF_IFD, _INTEROPERABILITY = 0x8769, 0xA005

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
UTF8 = 129  # a type of Exif 3.0
SIZES[UTF8] = 1
DIVIDED = "the colour was multiplied by alpha: it is divided again"
_VALUE_BYTES = 64  # enough for eight fractions; a directory must not multiply the size of its file
_WHOLE = (1, 3, 4, 6, 8, 9)  # TIFF types of whole numbers of at most four bytes

# Rec. ITU-T H.273: what decoders of 8-bit pictures show as sRGB anyway is not worth a word.
_PRIMARIES = {4: "BT.470 M", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 8: "film", 9: "BT.2020"}
_PRIMARIES |= {10: "XYZ", 11: "DCI-P3", 12: "Display P3", 22: "EBU 3213"}
_TRANSFER = {4: "gamma 2.2", 5: "gamma 2.8", 7: "SMPTE 240M", 8: "linear light", 9: "logarithmic", 10: "logarithmic"}
_TRANSFER |= {16: "PQ (HDR)", 17: "SMPTE 428", 18: "HLG (HDR)"}
_USUAL_PRIMARIES, _USUAL_TRANSFER = (1, 2), (1, 2, 4, 6, 11, 13, 14, 15)
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # white, red, green, blue: x and y
_NEAR = 0.01


@dataclass
class Facts:
    """`data` is the file as Pillow gets it; the rest is what the file says of itself.

    `orientation` as in EXIF, 1 ... 8. `frames` is None where Pillow knows. `depth` in bits per sample. `metadata` names
    what is there, in words of `METADATA`; `colours` says in words what is not sRGB; `damaged` names skipped parts;
    `others` are losses in whole sentences. `samples` are the picture, uint16 [H, W] or [H, W, C], alpha last, where
    the file has more than 8 bits of which Pillow has none; of the whole range of 16 bits; `more_bits` says how to have
    them where they are not there. `floating`: samples are no whole numbers. `cut_off`: the file ends before its picture
    does. `gain_map` is one as a JPEG, which lies on the picture before it is turned. `significant` are the bits that
    samples of `depth` bits had before, 0 where nothing says so. `icc` to `gamma` are the metadata that can be carried,
    as `Metadata` has them but for the way up, and empty where there is none.
    """

    data: bytes
    orientation: int = 1
    frames: int | None = None
    depth: int = 8
    metadata: set[str] = field(default_factory=set)
    colours: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    cicp: bytes = b""
    resolution: bytes = b""
    gamma: bytes = b""
    gain_map: bytes = b""
    significant: int = 0
    cut_off: bool = False
    floating: bool = False
    more_bits: str = ""
    samples: NDArray[np.uint16] | None = None

    @classmethod
    def of_image(cls, image: Any) -> Facts:
        """What an image of Pillow knows; the orientation only where it is still as it was opened."""
        facts = cls(b"")
        facts.add_info(image)
        if not {"icc_profile", "srgb"} & image.info.keys():
            points = [round(100_000 * number) for number in image.info.get("chromaticity", ())]
            gamma = round(100_000 * image.info.get("gamma", 0))
            gray = image.mode in ("1", "L", "LA", "I", "I;16")
            facts.add_curve(struct.pack(">I", gamma), struct.pack(f">{len(points)}I", *points), gray=gray)
        if image.format in (None, "TIFF"):  # Pillow turns TIFFs itself
            facts.orientation = 1
        return facts

    def put_over(self, said: Mapping[str, bytes]) -> None:
        """Take what is said as Pillow's writers are told it (icc_profile, exif, xmp) instead of what the image says.

        No bytes mean none. The image's own way up counts where EXIF that is said names none.
        """
        if "icc_profile" in said:
            self.icc = b""
            self.metadata.discard("ICC colour profile")
            if said["icc_profile"]:
                self.add_icc(said["icc_profile"])
        if "xmp" in said:
            self.xmp = b""
            self.metadata.discard("XMP")
            if said["xmp"]:
                self.add_xmp(said["xmp"])
        if "exif" in said:
            self.exif = b""
            self.metadata.discard("EXIF")
            self.add_exif(said["exif"])

    def add_info(self, image: Any) -> None:
        """Take up the metadata that Pillow hands over."""
        info = image.info
        if info.get("icc_profile"):
            self.add_icc(info["icc_profile"])
        if info.get("exif"):
            self.add_exif(info["exif"])
        if isinstance(info.get(RAW_EXIF), str):
            self.add_exif(in_text(info[RAW_EXIF].encode("latin-1", "replace")))
        xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
        if xmp and image.format == "AVIF":  # whose way up is in properties of its own, never in metadata
            self.metadata.add("XMP")
            self.xmp = self.xmp or carried(xmp if isinstance(xmp, bytes) else str(xmp).encode())
        elif xmp:
            self.add_xmp(xmp if isinstance(xmp, bytes) else str(xmp).encode())
        if info.get("comment") and image.format != "JPEG2000":  # there libraries sign their name
            self.metadata.add("text")

    def add_exif(self, exif: bytes) -> None:
        """Take the orientation from an EXIF block, whatever else in it may be wrong, and note that there is more."""
        for _ in range(2):  # some programs write it twice
            exif = exif[6:] if exif.startswith(b"Exif\0") else exif
        entries = list(read_ifd(exif))
        for entry in entries:
            if entry.tag == ORIENTATION and 1 <= (entry.whole or 0) <= 8:
                self.orientation = entry.whole or 1
            elif entry.tag == _EXIF_IFD:
                self._add_interoperability(exif, entry.whole)
        header = header_of_tiff(exif)
        empty = not exif.strip(b"\0") or (header is not None and exif[header[2] :][:2] == b"\0\0")
        if any(entry.tag != ORIENTATION for entry in entries) or not (entries or empty):
            self.metadata.add("EXIF")
            self.exif = self.exif or carried(exif)

    def add_icc(self, icc: Any) -> None:
        """Note a profile, and take it if it is one by its looks: by its signature, and its size."""
        self.metadata.add("ICC colour profile")
        if isinstance(icc, bytes) and icc[36:40] == b"acsp" and len(icc) >= 128:
            self.icc = self.icc or carried(icc)

    def _add_interoperability(self, exif: bytes, place: int | None) -> None:
        """Cameras name Adobe RGB in a directory of a directory of EXIF, and nowhere else."""
        inner = [entry.whole for entry in read_ifd(exif, place or 0) if entry.tag == _INTEROPERABILITY]
        if inner and any(entry.tag == 1 and entry.value[:3] == b"R03" for entry in read_ifd(exif, inner[0] or 0)):
            self.colours.append("Adobe RGB")

    def add_xmp(self, xmp: bytes) -> None:
        """Note XMP; its orientation counts where EXIF has none."""
        self.metadata.add("XMP")
        self.xmp = self.xmp or carried(xmp)
        found = re.search(rb'tiff:Orientation(?:=["\']|>)\s*([1-8])', xmp)
        if found and self.orientation == 1:
            self.orientation = int(found[1])

    def add_codes(self, primaries: int, transfer: int) -> None:
        """Colours by the code points of H.273, as in cICP chunks and nclx boxes; usual ones need not be carried."""
        if primaries not in _USUAL_PRIMARIES or transfer not in _USUAL_TRANSFER:
            self.cicp = bytes((primaries, transfer, 0, 1)) if max(primaries, transfer) < 256 else b""
        if primaries not in _USUAL_PRIMARIES:
            self.colours.append(_PRIMARIES.get(primaries, f"primaries {primaries}"))
        if transfer not in _USUAL_TRANSFER:
            self.colours.append(_TRANSFER.get(transfer, f"transfer {transfer}"))

    def add_curve(self, gamma: bytes, points: bytes, *, gray: bool) -> None:
        """Colours as the chunks gAMA and cHRM of a PNG have them; usual ones need not be carried."""
        told, gamma, points = len(self.colours), gamma[:4], b"" if gray or len(points) != 32 else points
        gamma = gamma if any(gamma) and len(gamma) == 4 else b""
        self.add_gamma(int.from_bytes(gamma, "big") / 100_000)
        self.add_primaries([number / 100_000 for (number,) in struct.iter_unpack(">I", points)])
        if len(self.colours) > told:
            self.gamma = gamma + points

    def add_gamma(self, gamma: float) -> None:
        """The exponent from light to samples: about 1/2.2 for sRGB."""
        if gamma and abs(gamma * 2.2 - 1) > 0.05:
            self.colours.append(f"gamma {1 / gamma:.3g}")

    def add_primaries(self, points: Sequence[float]) -> None:
        """White, red, green and blue as x, y of CIE 1931."""
        if len(points) == len(_SRGB) and any(abs(a - b) > _NEAR for a, b in zip(points, _SRGB, strict=True)):
            self.colours.append("other primaries")


class Entry(NamedTuple):
    """One tag of a TIFF directory; `value` are its first bytes, none where they lie outside the file."""

    tag: int
    kind: int
    many: int
    value: bytes
    raw: bytes  # the entry as it stands in the directory
    order: ByteOrder

    @property
    def whole(self) -> int | None:
        """The first number, if it is a whole one."""
        size = SIZES.get(self.kind, 0)
        if self.kind not in _WHOLE or not self.many or len(self.value) < size:
            return None
        return int.from_bytes(self.value[:size], self.order, signed=self.kind in (6, 8, 9))

    @property
    def fractions(self) -> list[float]:
        """The numbers of a list of fractions; one over zero is 0."""
        pairs = [int.from_bytes(self.value[i : i + 4], self.order) for i in range(0, len(self.value) // 8 * 8, 4)]
        if self.kind != 5:
            return []
        return [over / under if under else 0.0 for over, under in zip(pairs[::2], pairs[1::2], strict=True)]


def carried(data: bytes) -> bytes:
    """The bytes themselves, if they are no more than are carried, or else none."""
    return data if len(data) <= MOST_BYTES else b""


def whole_value(data: bytes, entry: Entry) -> bytes:
    """All bytes of a tag, of at most `MOST_BYTES`; none where they lie outside the file."""
    inline = (len(entry.raw) - 4) // 2
    size = SIZES.get(entry.kind, 0) * entry.many
    if size <= inline:
        return entry.raw[4 + inline :][:size]
    at = int.from_bytes(entry.raw[4 + inline :], entry.order)
    return data[at : at + size] if size <= MOST_BYTES and at + size <= len(data) else b""


def header_of_tiff(data: bytes) -> tuple[ByteOrder, bool, int] | None:
    """Byte order, whether it is BigTIFF, and where the first directory is; None if this is no TIFF."""
    if data[:2] not in (b"II", b"MM"):
        return None
    order: ByteOrder = "little" if data[:2] == b"II" else "big"
    version = int.from_bytes(data[2:4], order)
    if version == 43:
        return order, True, int.from_bytes(data[8:16], order)
    return (order, False, int.from_bytes(data[4:8], order)) if version == 42 else None


def read_ifd(data: bytes, offset: int | None = None) -> Iterator[Entry]:
    """The entries of a TIFF directory, the first without `offset`; stops where the bytes stop, and never raises."""
    header = header_of_tiff(data)
    if header is None:
        return
    order, big, first = header
    start = first if offset is None else offset
    counter, wide, inline = (8, 20, 8) if big else (2, 12, 4)
    count = min(int.from_bytes(data[start : start + counter], order), 0xFFFF)
    for place in range(start + counter, start + counter + count * wide, wide):
        raw = data[place : place + wide]
        if len(raw) < wide:
            return
        tag, kind = int.from_bytes(raw[:2], order), int.from_bytes(raw[2:4], order)
        number = int.from_bytes(raw[4 : 4 + inline], order)
        size = SIZES.get(kind, 0) * number
        value = raw[4 + inline :][:size]
        if size > inline:
            at = int.from_bytes(raw[4 + inline :], order)
            value = data[at : at + min(size, _VALUE_BYTES)] if at + size <= len(data) else b""
        yield Entry(tag, kind, number, value, raw, order)


def in_text(text: bytes) -> bytes:
    """A profile as ImageMagick keeps it in a PNG; empty if it is damaged.

    It is in hexadecimal, behind a line with its kind and one with its length.
    """
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def inflate(data: bytes) -> bytes:
    """What is in a zlib stream; empty if that is more than `MOST_BYTES`, or damaged."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, MOST_BYTES + 1)
    except zlib.error:
        return b""
    return found if unpacker.eof and len(found) <= MOST_BYTES else b""


def maximum_of(data: bytes) -> int:
    """The largest sample that the header of a PGM or PPM file announces; 1 for PBM and for what is none."""
    words = re.sub(rb"#[^\r\n]*", b"", data[:4096]).split(None, 4)
    if words[:1] in ([b"P1"], [b"P4"]) or len(words) < 4 or not words[3].isdigit():
        return 1
    return min(int(words[3][:6]), 0xFFFF)
