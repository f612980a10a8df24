"""JPEG: the segments that make the pixels go to Pillow, everything else is looked at here."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from mvc.errors import SourceError
from mvc.media import gainmaps, resolution, xmp
from mvc.media.facts import Facts, carried, read_ifd

_SOI, _SOS, _EOI, _COM, _JFIF, _EXIF, _ICC, _PHOTOSHOP, _ADOBE = 0xD8, 0xDA, 0xD9, 0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xEE
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE = b"ICC_PROFILE\0"
_FRAMES = 0xB001
_FILM = re.compile(rb"""(?:MotionPhoto|MicroVideo)(?:=["']|>)\s*1""")
_LAST_FREQUENCY = 63
_END = b"\xff\xd9"
_RUBBISH = bytes(range(1, 255)) * 16  # is read as symbols of some kind


def look(data: bytes) -> Facts:
    """What a JPEG says in the segments before its first scan."""
    facts, view, at, exif = Facts(data, frames=1), memoryview(data), 2, b""
    profile: dict[int, bytes] = {}
    parts = place = 0
    entries = b""
    more: xmp.Pieces = {}
    kept = [view[:2]]
    while True:
        start = at
        while data[at : at + 2] == b"\xff\xff":  # filling
            at += 1
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or not marker or length < 2:
            return facts  # Pillow may find its way
        if marker[0] in (_SOS, _EOI):
            break
        body = data[at + 4 : at + 2 + length]
        if marker[0] == _COM:
            facts.metadata.add("text")
        elif marker[0] & 0xF0 == 0xE0:
            if body.startswith(b"Exif\0") and marker[0] == _EXIF:
                exif += body[6:] if exif else body
            elif body.startswith(_PROFILE) and marker[0] == _ICC:
                facts.metadata.add("ICC colour profile")
                if len(body) > len(_PROFILE) + 2:
                    number, parts = body[len(_PROFILE)], body[len(_PROFILE) + 1]
                    profile.setdefault(number, body[len(_PROFILE) + 2 :])
            elif body.startswith(b"MPF\0") and marker[0] == _ICC:
                frames = [entry.whole for entry in read_ifd(body[4:]) if entry.tag == _FRAMES]
                facts.frames = max(1, frames[0] or 1) if frames else 1
                entries, place = gainmaps.entries_of(body), at + 8
            elif body.startswith(b"JFIF\0") and marker[0] == _JFIF:
                facts.resolution = facts.resolution or resolution.of_jfif(body)
            elif body.startswith(xmp.MORE) and marker[0] == _EXIF:
                xmp.add_piece(more, body)
            else:
                _segment(facts, marker[0], body)
        if _needed(marker[0], body):
            kept.append(view[at : at + 2 + length])
        at += 2 + length
    facts.add_exif(exif)
    if profile and sorted(profile) == list(range(1, parts + 1)):
        facts.add_icc(b"".join(profile[number] for number in sorted(profile)))
    _gain_map(facts, data, entries, place)
    if more:
        whole = xmp.joined(facts.xmp, more)
        facts.xmp = facts.xmp if whole is None else carried(whole)
        facts.metadata.add("extended XMP" if whole is None else "XMP")
    facts.data = b"".join((*kept, view[start:]))
    if data.find(_END, at) < 0:
        facts.cut_off = True
        facts.data += _END  # with which libjpeg decodes what is there
    return facts


def _gain_map(facts: Facts, data: bytes, entries: bytes, place: int) -> None:
    """Take up a gain map, which is no other frame; and what XMP says of it, which is true of this file alone."""
    facts.gain_map = gainmaps.of_jpeg(data, entries, place, facts.xmp)
    if facts.gain_map:
        facts.metadata.add("gain map")
        facts.frames = max(1, (facts.frames or 1) - 1)
        facts.xmp = gainmaps.without_directory(facts.xmp)
        if not facts.xmp:
            facts.metadata.discard("XMP")
    if _FILM.search(facts.xmp):
        facts.others.append("the film behind the photograph is dropped")


def judge_cut(facts: Facts, progressive: bool, label: str) -> None:
    """Say from which row on a file without its end is damaged; SourceError where that is more than half of it.

    What is missing shows where something else in its place gives other pixels. Of a progressive file that is the scan
    that broke off; those that should follow it refine the rows before, too.
    """
    if progressive and not _has_details(facts.data):
        raise SourceError(f"{label} is cut off: only a coarse version of it is there", hint="get the file again")
    endings = _END, _RUBBISH + _END
    shown, other = (
        np.asarray(Image.open(io.BytesIO(facts.data.removesuffix(_END) + ending), formats=("JPEG",)))
        for ending in endings
    )
    rows = np.flatnonzero((shown != other).reshape(len(shown), -1).any(1))
    sound = int(rows[0]) if len(rows) else len(shown)
    if sound < len(shown) / 2:
        raise SourceError(f"{label} is cut off: {sound} of its {len(shown)} rows are whole", hint="get the file again")
    where = "nothing else seems to be missing"
    if len(rows):
        where = "it is coarser than it should be" if progressive else f"the rows from {sound} on are damaged"
    facts.others.append(f"the file is cut off at its end: {where}")


def _has_details(data: bytes) -> bool:
    """Whether a progressive file comes to the highest frequencies of every component."""
    seen: set[int] = set()
    fine: set[int] = set()
    for scan in re.finditer(rb"\xff\xda..(.)", data, re.DOTALL):  # no symbols look like that
        count = scan[1][0]
        # Pairs of a component and its tables, then the first and the last frequency.
        header = data[scan.end() : scan.end() + 2 * count + 2]
        seen.update(header[: 2 * count : 2])
        if header[-1:] == bytes([_LAST_FREQUENCY]):
            fine.update(header[: 2 * count : 2])
    return seen <= fine


def _needed(marker: int, body: bytes) -> bool:
    """Whether a segment may change pixels: all but the application's and comments; JFIF and Adobe name the colours."""
    if marker == _JFIF:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == _ADOBE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return marker != _COM and marker & 0xF0 != 0xE0


def _segment(facts: Facts, marker: int, body: bytes) -> None:
    if marker == _EXIF and body.startswith(_XMP):
        facts.add_xmp(body[len(_XMP) :])
    elif marker == _PHOTOSHOP and b"8BIM\x04\x04" in body:
        facts.metadata.add("IPTC")
