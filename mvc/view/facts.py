"""What a file says of itself, for people: nothing is decoded for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mvc.container import Reader
from mvc.errors import MvcError
from mvc.metadata import NAMES
from mvc.models.registry import looks_of, preset_of
from mvc.quality import quality_of
from mvc.tiling import Tiling
from mvc.video.reader import ClipFile
from mvc.view.library import File, Stamp

Rows = list[tuple[str, str]]
MOST_BARS = 20_000
"""Frames whose bytes are told."""
_EXIF = {271: "Make", 272: "Model", 305: "Software", 315: "Artist", 33432: "Copyright"}
_EXIF_INSIDE = {36867: "Taken", 42036: "Lens", 33434: "Exposure", 33437: "Aperture", 34855: "ISO"}
_EXIF_INSIDE |= {37386: "Focal length"}
_FORMS: dict[int, Callable[[float], str]] = {
    33434: lambda value: f"1/{1 / value:.0f} s" if 0 < value < 0.5 else f"{value:g} s",
    33437: lambda value: f"f/{value:g}",
    37386: lambda value: f"{value:g} mm",
}
_LONGEST = 200  # characters of a value that is shown


def facts(file: File, stamp: Stamp, lines: Callable[[str, dict[str, Any]], list[str]]) -> dict[str, Any]:
    """Ready for JSON: size, `badges` in some words, `groups` of rows, and under `lines` what `mvc info` prints.

    `damaged` says what is wrong with the file, or is None; `looks` are those of a still that the installed weights
    have. `lines` makes those of a name and what `mvc.info` says.
    """
    damaged: str | None = None
    found: dict[str, Any] = {}
    try:
        found = file.facts
        damaged = None if found["intact"] else "the checksum is wrong: the file is damaged"
    except MvcError as error:
        damaged = str(error)
    made: dict[str, Any] = {
        "kind": file.kind,
        "width": file.width,
        "height": file.height,
        "alpha": not isinstance(file, ClipFile) and file.has_alpha,
        "damaged": damaged,
        "looks": _looks(file),
        "badges": _badges(file, stamp[1], found),
        "groups": [
            (title, rows)
            for title, rows in (
                ("Picture" if file.kind == "still" else "Clip", _picture(file, found)),
                ("Coding", _coding(file, found)),
                ("File", _file(file, stamp, found)),
                ("Metadata", _metadata(file)),
                ("Photograph", [] if isinstance(file, ClipFile) else photograph(file.metadata.exif)),
                ("Sound", _sound(found)),
            )
            if rows
        ],
        "lines": lines("", found)[1:] if found else [],
    }
    if isinstance(file, ClipFile):
        made["clip"] = bars(file)
    return made


def _looks(file: File) -> list[str]:
    model = None if isinstance(file, ClipFile) else file.head.model_id
    return [] if model is None else list(looks_of(model))


def bars(file: ClipFile) -> dict[str, Any]:
    """Of each frame of a clip its time in milliseconds and its bytes, and which are keyframes; of a damaged one those
    before the damage, and of a long one the first."""
    times: list[int] = []
    sizes: list[int] = []
    keys: list[int] = []
    unit = 1000 * file.time_base
    count = 0
    try:
        with file.opened() as opened:
            for count, head in enumerate(Reader(opened).heads(), 1):
                if count > MOST_BARS:
                    continue
                times.append(round(head.index * unit))
                sizes.append(sum(head.sizes))
                keys += [count - 1] * (head.role == "picture")
    except MvcError:
        pass  # `damaged` says so
    return {"count": count, "times": times, "bytes": sizes, "keys": keys}


def _badges(file: File, size: int, found: dict[str, Any]) -> list[str]:
    made = [f"{file.width}x{file.height}"]
    if file.quality_index is not None:
        made.append(f"quality {quality_of(file.quality_index):.2g}")
    else:
        kept = "lossy" if _changed(found) else "near-lossless" if _near(found) else "lossless"
        made.append(kept if found else "exact")
    made.append(_bytes(size))
    if found:
        made.append(f"{found['bits_per_pixel']:.3g} bits per pixel")
    if "frames" in found:
        made.append(f"{found['frames']} frames, {found['seconds']:.1f} s")
    return made


def _picture(file: File, found: dict[str, Any]) -> Rows:
    rows = [("Size", f"{file.width}x{file.height}, {file.width * file.height / 1e6:.2f} megapixels")]
    if isinstance(file, ClipFile):
        if "frames" in found:
            rows += [
                ("Length", f"{found['seconds']:.2f} s, {found['frames']} frames"),
                ("Rate", f"{found['frames_per_second']:.4g} frames per second"),
                ("Keyframes", str(found["keyframes"])),
            ]
        return rows
    colour = "colour" if file.colour == "rgb" else "gray"
    rows.append(("Samples", f"{colour}, {file.depth} bits" + (", with alpha" if file.has_alpha else "")))
    return rows


def _coding(file: File, found: dict[str, Any]) -> Rows:
    model = file.head.model_id
    if model is None:
        near = _near(found)
        errors = f"no sample off by more than {near}" if near else "none"
        rows = [("Coder", "exact"), ("Errors", "of fewer colours" if _changed(found) else errors)]
        rows = rows if found else rows[:1]
    else:
        known = preset_of(model)
        rows = [("Coder", "network"), ("Model", known.name if known else f"unknown ({model.hex()})")]
        index = file.quality_index
        if index is not None:
            rows.append(("Quality", f"{quality_of(index):.2f} of 8 (index {index})"))
        roles = [unit["role"] for unit in found.get("units", ()) if unit["role"] != "alpha"]
        if "exact" in roles:
            rows.append(("Exact tiles", f"{roles.count('exact')} of {len(roles)}"))
    if file.head.tile_px:
        tiles = len(Tiling(file.width, file.height, file.head.tile_px))
        rows.append(("Tiles", f"{tiles}, {file.head.tile_px} pixels a side"))
    return rows


def _near(found: dict[str, Any]) -> int:
    """The greatest error of a sample in units that the exact coder made."""
    return max((unit.get("near") or 0 for unit in found.get("units", ())), default=0)


def _changed(found: dict[str, Any]) -> bool:
    """Whether the exact coder was given fewer colours than there were."""
    return any("changed" in unit for unit in found.get("units", ()))


def _file(file: File, stamp: Stamp, found: dict[str, Any]) -> Rows:
    rows = [("Bytes", f"{stamp[1]:,}")]
    if found:
        rows.append(("Rate", f"{found['bits_per_pixel']:.4f} bits per pixel"))
        if "bits_per_second" in found:
            rows.append(("Bitrate", f"{found['bits_per_second'] / 1000:.1f} kbit/s"))
        if not isinstance(file, ClipFile):
            channels = (3 if file.colour == "rgb" else 1) + file.has_alpha
            raw = file.width * file.height * channels * file.depth // 8
            rows.append(("Of raw", f"1 : {raw / max(1, stamp[1]):.3g}"))
        rows += [("Checksum", "right" if found["intact"] else "WRONG"), ("Format", f"version {found['version']}")]
    changed = datetime.fromtimestamp(stamp[0] / 1e9).astimezone()
    return [*rows, ("Changed", f"{changed:%Y-%m-%d %H:%M}")]


def _metadata(file: File) -> Rows:
    try:
        return [(NAMES[kind][:1].upper() + NAMES[kind][1:], _bytes(len(data))) for kind, data in file.metadata.items()]
    except MvcError:
        return []


def photograph(exif: bytes | None) -> Rows:
    """What EXIF says of how a photograph was taken; nothing where it cannot be read."""
    if exif is None:
        return []
    try:
        from PIL import Image

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged block
            tags = Image.Exif()
            tags.load(b"Exif\0\0" + exif)
            inside = tags.get_ifd(0x8769)
        rows = [(name, _value(tags[tag], tag)) for tag, name in _EXIF.items() if tag in tags]
        rows += [(name, _value(inside[tag], tag)) for tag, name in _EXIF_INSIDE.items() if tag in inside]
        if tags.get_ifd(0x8825):
            rows.append(("Place", "named (--no-gps leaves it out)"))
    except Exception:  # Pillow raises whatever a strange block leads to, and no picture is refused for its EXIF
        return []
    return [(name, value) for name, value in rows if value]


def _value(value: Any, tag: int) -> str:
    if tag in _FORMS:
        return _FORMS[tag](float(value))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return " ".join(text.replace("\0", " ").split())[:_LONGEST]


def _sound(found: dict[str, Any]) -> Rows:
    return [
        (track["codec"], f"{track['sample_rate']} Hz, {track['channels']} channels, {track['seconds']:.1f} s")
        for track in found.get("sound", {}).get("tracks", ())
    ]


def _bytes(size: int) -> str:
    """A number of bytes in few digits, powers of 1000."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
