"""Write samples/golden: files of the shipped models, with what they must decode to. For new weights and formats.

PYTHONPATH=tests python -m make_golden
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from made_clips import clip_digests
from tiny_model import decoded_digests

import mvc
from mvc import choice, stills
from mvc import codec as codecs
from mvc.clip import ClipCodec
from mvc.container import read_file, write_file
from mvc.frames import ClipInfo, Frame
from mvc.lossless.code import Way, encode
from mvc.lossless.levels import Levels
from mvc.media import read_picture, write_picture
from mvc.media.clips import write_clip
from mvc.media.gainmaps import GainMap
from mvc.metadata import Metadata
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"
GOLDEN = SAMPLES / "golden"
CASES = {"rgb-q10": (10, False), "rgb-q54": (54, False), "gray-q27": (27, True)}
PART = (slice(96, 287), slice(200, 401))  # an odd size, so that padding takes part
SMALL = (slice(20, 61), slice(90, 127))  # of that, for exact files


def exact_pictures(whole: np.ndarray) -> dict[str, tuple[Picture, int, int]]:
    """Pictures for the exact coder, their greatest errors and efforts."""
    photograph, (y, x) = np.ascontiguousarray(whole[SMALL]), np.mgrid[:41, :37]
    disc = np.clip((15 - np.hypot(y - 20, x - 18)) * 100 + 128, 0, 255).astype(np.uint8)
    icc = bytes(16) + b"RGB XYZ ".ljust(20, b"\0") + b"acsp" + bytes(88) + np.arange(200, dtype=np.uint8).tobytes()
    exif = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0"
    jpeg = b"\xff\xd8\xff\xe0" + np.random.default_rng(2).bytes(90) + b"\xff\xd9"  # by its looks
    gain_map = GainMap(6, 37, 41, jpeg).packed()
    xmp, size = b"<x:xmpmeta>a packet of XMP</x:xmpmeta>" * 3, b"\1\x2c\1\0\0\x2c\1\0\0"
    rest = {"gamma": bytes(34) + b"\1\0", "grain": bytes(range(60, 72))}
    metadata = Metadata(icc, exif, xmp, bytes((12, 13, 0, 1)), jpeg, gain_map, b"\x0a", size, **rest)
    ten_bits = Levels(10, 0).samples()[photograph.astype(np.uint16) * 4 + (x & 3)[..., None]]
    drawn = (photograph >> 6) * np.uint8(85)
    graphic = np.where((x // 4 + y // 3)[..., None] % 3 > 0, np.uint8(250), photograph)
    return {
        "exact-photograph": (Picture(photograph), 0, 0),
        "exact-graphic": (Picture(graphic), 0, 0),
        "exact-gray": (Picture(np.ascontiguousarray(photograph[..., 0])), 0, 0),
        "exact-near-3": (Picture(photograph), 3, 0),
        "exact-few-colours": (Picture(drawn), 0, 1),
        "exact-sprite": (Picture(np.where(disc[..., None] > 0, drawn, np.uint8(0)), disc // 255 * 255), 0, 1),
        "exact-alpha": (Picture(photograph, disc), 0, 0),
        "exact-gray-16": (Picture((photograph[..., 1].astype(np.uint16) * 251 + y * x).astype(np.uint16)), 0, 2),
        "exact-ten-bits": (Picture(ten_bits), 0, 1),
        "exact-metadata": (Picture(drawn, None, metadata), 0, 1),
        "exact-stored": (Picture(np.random.default_rng(1).integers(0, 256, (7, 9), np.uint8)), 0, 1),
    }


def exact_files(whole: np.ndarray) -> dict[str, bytes]:
    """Files by the exact coder; `mixed` are those that it would code in the quick kind."""
    pictures = exact_pictures(whole)
    files = {name: stills.exact_file(*options) for name, options in pictures.items()}
    for name, way in (("exact-photograph", Way.SMOOTH), ("exact-graphic", Way.GRAPHIC)):
        head, (unit,) = read_file(files[name])
        planes = np.moveaxis(pictures[name][0].samples, -1, 0)
        stream = encode([np.ascontiguousarray(plane) for plane in planes], way=way, effort=2)
        files[f"{name}-mixed"] = write_file(head, [replace(unit, streams=(stream,))])
    return files


def samples_sha256(picture: Picture) -> str:
    """Of the samples [H, W, C], alpha last, u16, little-endian."""
    return hashlib.sha256(np.asarray(picture).astype("<u2").tobytes()).hexdigest()


def exact_digests(picture: Picture) -> dict[str, str]:
    """Of the samples, and of each kind of metadata."""
    own = {f"{kind}_sha256": hashlib.sha256(data).hexdigest() for kind, data in picture.metadata.items()}
    return {"samples_sha256": samples_sha256(picture), **own}


def tiles(codec: codecs.Codec) -> bytes:
    """A file of three tiles with alpha, of which the exact coder makes one."""
    samples = read_picture(SAMPLES / "kodim23.png").picture.samples[30:130, 60:720].copy()
    y, x = np.mgrid[:100, :660]
    samples[:, 256:512] = np.where((x // 4 + y // 3) % 3 > 0, 250, 20)[:, 256:512, None]
    alpha = np.where((y > 90) & (x > 100), 0, np.minimum(x, 255)).astype(np.uint8)
    data = choice.by_both(Picture(samples, alpha), codec, 1, 256, 27)
    assert [unit.role for unit in read_file(data)[1]] == ["picture", "alpha", "exact", "picture", "alpha"]
    return data


def moving_photograph(whole: np.ndarray) -> bytes:
    """A clip of ten frames in y4m: a part of a photograph that moves to the left beside one that moves down."""
    times = range(10)
    halves = ((whole[20:68, 60 + 3 * time : 92 + 3 * time], whole[100 - time : 148 - time, 100:132]) for time in times)
    parts = (Picture(np.concatenate(both, 1)) for both in halves)
    frames = (Frame.of_picture(part, time).converted("yuv420p") for time, part in zip(times, parts, strict=True))
    file = io.BytesIO()
    write_clip(file, ClipInfo(64, 48, Fraction(1, 25), rate=Fraction(25)), frames)
    return file.getvalue()


def clip(whole: np.ndarray) -> bytes:
    """A run of three frames between, and one of two which a keyframe ends, then one of one."""
    file = io.BytesIO()
    mvc.encode_video(moving_photograph(whole), file, quality=6, gop=7, bframes=3, effort=0, device="cpu")
    roles = ["picture", *["between"] * 3, "inter", *["between"] * 2, "picture", "between", "inter"]
    assert [unit.role for unit in read_file(file.getvalue())[1]] == roles
    return file.getvalue()


def main() -> None:
    codec = codecs.load(device="cpu")
    whole = read_picture(SAMPLES / "kodim23.png").picture.samples[PART]
    GOLDEN.mkdir(exist_ok=True)
    expected = {}
    for name, (quality, gray) in CASES.items():
        samples = whole.mean(-1).astype(np.uint8) if gray else np.ascontiguousarray(whole)
        data = codec.encode(Picture(samples), quality)
        (GOLDEN / f"{name}.mvc").write_bytes(data)
        write_picture(codec.decode(data), GOLDEN / f"{name}.png", force=True)
        symbols, y_hat = decoded_digests(codec, data)
        expected[name] = {"symbols_sha256": symbols, "y_hat_sha256": y_hat}
    for name, data in exact_files(whole).items():
        (GOLDEN / f"{name}.mvc").write_bytes(data)
        expected[name] = exact_digests(mvc.decode(data))
    alpha = np.clip(np.hypot(*np.mgrid[-95:96, -100:101]) * 4 - 200, 0, 255).astype(np.uint8)
    data = codec.encode(Picture(np.ascontiguousarray(whole), alpha), 27)
    (GOLDEN / "alpha-q27.mvc").write_bytes(data)
    write_picture(codec.decode(data), GOLDEN / "alpha-q27.png", force=True)
    symbols, y_hat = decoded_digests(codec, data)
    expected["alpha-q27"] = {"symbols_sha256": symbols, "y_hat_sha256": y_hat}
    data = tiles(codec)
    (GOLDEN / "tiles-q27.mvc").write_bytes(data)
    write_picture(codec.decode(data), GOLDEN / "tiles-q27.png", force=True)
    symbols, y_hat = decoded_digests(codec, data)
    expected["tiles-q27"] = {"symbols_sha256": symbols, "y_hat_sha256": y_hat}
    data = clip(whole)
    (GOLDEN / "clip-q6.mvc").write_bytes(data)
    mvc.decode_video(data, GOLDEN / "clip-q6.y4m", device="cpu", force=True)
    expected["clip-q6"] = clip_digests(ClipCodec(codecs.load("mambavc-ssf-lite", device="cpu")), data)
    (GOLDEN / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
