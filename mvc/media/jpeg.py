"""JPEG: the segments that make the pixels go to Pillow, everything else is looked at here."""

from __future__ import annotations

from mvc.media.facts import Facts, read_ifd

_SOI, _SOS, _EOI, _COM, _JFIF, _EXIF, _ICC, _PHOTOSHOP, _ADOBE = 0xD8, 0xDA, 0xD9, 0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xEE
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_FRAMES = 0xB001


def look(data: bytes) -> Facts:
    """What a JPEG says in the segments before its first scan."""
    facts, view, at, exif = Facts(data, frames=1), memoryview(data), 2, b""
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
            else:
                _segment(facts, marker[0], body)
        if _needed(marker[0], body):
            kept.append(view[at : at + 2 + length])
        at += 2 + length
    facts.add_exif(exif)
    facts.data = b"".join((*kept, view[start:]))
    return facts


def _needed(marker: int, body: bytes) -> bool:
    """Whether a segment may change pixels: all but the application's and comments; JFIF and Adobe name the colours."""
    if marker == _JFIF:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == _ADOBE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return marker != _COM and marker & 0xF0 != 0xE0


def _segment(facts: Facts, marker: int, body: bytes) -> None:
    if marker == _EXIF and body.startswith(_XMP):
        facts.add_xmp(body)
    elif marker == _ICC and body.startswith(b"ICC_PROFILE\0"):
        facts.metadata.add("ICC colour profile")
    elif marker == _ICC and body.startswith(b"MPF\0"):
        frames = [entry.whole for entry in read_ifd(body[4:]) if entry.tag == _FRAMES]
        facts.frames = max(1, frames[0] or 1) if frames else 1
    elif marker == _PHOTOSHOP and b"8BIM\x04\x04" in body:
        facts.metadata.add("IPTC")
