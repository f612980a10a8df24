"""What kind of file some bytes are, by their signature: those that are read here, and those that have another way."""

from __future__ import annotations

from mvc.errors import SourceError

READABLE = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "TGA", "QOI", "PCX")
"""Formats Pillow may try. EPS is left out on purpose (it would start Ghostscript), raw and stub formats too."""
UNSIGNED = ("TGA", "PCX", "PPM")
"""Those of them that may come without a signature that is known here."""
TOLD = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
"""Those whose size is known at once, by a signature and a header."""
BY_EXTRAS = {"HEIC": "HEIC", "JXL": "JPEG XL"}
"""Kinds that other libraries read, which are extras of this package, with their names for people."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"qoif", "QOI"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)

_MAGICK = "`magick FILE out.png` converts it"
_FOREIGN = (
    (b"\0\0\1\0", "an icon file", _MAGICK),
    (b"%PDF", "a PDF document", "`pdftoppm -png FILE out` makes a picture of each page"),
    (b"%!PS", "a PostScript document", "`gs -sDEVICE=png16m -r150 -o out.png FILE` draws it"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document", "`gs -sDEVICE=png16m -r150 -o out.png FILE` draws it"),
    (b"8BPS", "a Photoshop document", _MAGICK),
    (b"gimp xcf", "a GIMP document", "export it as PNG"),
    (b"P7\n", "a PAM picture", "`pamtopng FILE > out.png` converts it"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture", _MAGICK),
    (b"#?RADIANCE", "a Radiance HDR picture", _MAGICK),
    (b"DDS ", "a DDS texture", _MAGICK),
    (b"FUJIFILMCCD-RAW", "a camera's raw file", "develop it to a 16-bit TIFF, or to PNG"),
    (b"\x1a\x45\xdf\xa3", "a video", "`ffmpeg -i FILE -frames:v 1 out.png` takes its first picture"),
    (b"PK\3\4", "a zip archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
)
_AVIF = frozenset((b"avif", b"avis"))
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_VIDEO = (b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"3gp4", b"3gp5")
SNIFFED_BYTES = 1024


def kind_of(start: bytes) -> str | None:
    """The format of `READABLE` or `BY_EXTRAS` whose signature the first `SNIFFED_BYTES` bytes have; some have none."""
    if start[4:8] == b"ftyp" and (brands := set(_brands(start))) & (_AVIF | _HEIC):
        return "AVIF" if brands & _AVIF else None if start[8:12] in _VIDEO else "HEIC"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace():
        return "PPM"
    return next((kind for signature, kind in _SIGNATURES if start.startswith(signature)), None)


def is_video(start: bytes) -> bool:
    """Whether a file is Matroska, WebM, MP4 or QuickTime by its first bytes; other videos are not known here."""
    return start.startswith(b"\x1a\x45\xdf\xa3") or (start[4:8] == b"ftyp" and bool(set(_brands(start)) & set(_VIDEO)))


def refuse_foreign(start: bytes, label: str) -> None:
    """Raise `SourceError` with a way out for kinds of files that are known and not read."""
    if start.startswith(b"\x93MVC"):
        raise SourceError(f"{label} is an .mvc file already", hint="`mvc decode` turns it into a picture")
    for signature, what, way in _FOREIGN:
        if start.startswith(signature):
            raise SourceError(f"{label} is {what}, which is not read here", hint=way)
    if start[4:8] == b"ftyp":
        brands = set(_brands(start))
        if brands & (_AVIF | _HEIC) and start[8:12] not in _VIDEO:
            return
        if b"crx " in brands:
            raise SourceError(f"{label} is a camera's raw file", hint="develop it to a 16-bit TIFF, or to PNG")
        if brands & set(_VIDEO):
            hint = "`ffmpeg -i FILE -frames:v 1 out.png` takes its first picture"
            raise SourceError(f"{label} is a video, which is not read here", hint=hint)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!doctype svg")) and b"<svg" in text):
        hint = "`rsvg-convert FILE -o out.png` draws it"
        raise SourceError(f"{label} is an SVG drawing, which has no pixels", hint=hint)


def _brands(start: bytes) -> list[bytes]:
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return [start[8:12], *(start[at : at + 4] for at in range(16, end - 3, 4))]
