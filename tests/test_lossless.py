"""The exact coder: every kind of picture comes back, the plain decoder agrees, and damage is no worse than an error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_reference_exact import exact as reference

from mvc.errors import FormatError
from mvc.lossless import search
from mvc.lossless.code import MAX_PLANES, Way, decode, encode
from mvc.lossless.tables import SQUASH, STRETCH, UNITS

Planes = tuple[NDArray[np.uint8] | NDArray[np.uint16], ...]


def smooth(height: int, width: int, count: int = 3, seed: int = 0, top: int = 255) -> Planes:
    """Waves and a little noise, alike in all planes."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:height, :width]
    wave = 0.5 + 0.3 * np.sin(x / 7 + y / 11) + 0.15 * np.sin(x / 3 - y / 5)
    planes = [np.clip(top * (wave * (1 - k / 9) + rng.normal(0, 0.01, wave.shape)), 0, top) for k in range(count)]
    return tuple(plane.astype(np.uint8 if top < 256 else np.uint16) for plane in planes)


def text(height: int, width: int, seed: int = 0) -> Planes:
    """Glyphs, repeated on a white page, with a coloured bar."""
    rng = np.random.default_rng(seed)
    glyphs = np.where(rng.random((6, 7, 5)) < 0.4, 20, 255).astype(np.uint8)
    page = np.full((height + 7, width + 6, 3), 255, np.uint8)
    for y in range(1, height - 8, 9):
        for x in range(1, width - 6, 6):
            page[y : y + 7, x : x + 5] = glyphs[rng.integers(6)][..., None]
    page[height // 2 :, : width // 4] = (200, 30, 40)
    return tuple(page[:height, :width, k].copy() for k in range(3))


def few(height: int, width: int, colours: int, seed: int = 0) -> Planes:
    """Dithered waves in a few colours."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:height, :width]
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])[y % 4, x % 4] / 16
    level = np.clip((0.5 + 0.4 * np.sin(x / 9 + y / 13)) * (colours - 1) + bayer, 0, colours - 1).astype(int)
    table = rng.integers(0, 256, (colours, 3)).astype(np.uint8)
    return tuple(table[level][..., k].copy() for k in range(3))


def photo_and_text(height: int, width: int) -> Planes:
    """Half of either."""
    left, right = smooth(height, width), text(height, width)
    halves = np.arange(width) < width // 2
    return tuple(np.where(halves, a, b).astype(np.uint8) for a, b in zip(left, right, strict=True))


def seen(height: int, width: int, seed: int = 0) -> Planes:
    """Waves in some hundred colours, of which many have the same green."""
    (level, *_), table = smooth(height, width, 1, seed), np.random.default_rng(seed).integers(0, 256, (256, 2))
    return tuple(plane.astype(np.uint8) for plane in (table[level, 0], level // 3 * 3, table[level, 1] // 2 * 2))


def mask(height: int, width: int) -> Planes:
    """A disc with a soft edge, as alpha is."""
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y - height / 2, x - width / 2)
    return (np.clip((height / 3 - away) * 60 + 128, 0, 255).astype(np.uint8),)


def noise(height: int, width: int, count: int = 3, top: int = 255) -> Planes:
    kind = np.uint8 if top < 256 else np.uint16
    return tuple(np.random.default_rng(4).integers(0, top, (count, height, width), kind, endpoint=True))


EFFORTS = (0, 2)
PICTURES: dict[str, Planes] = {
    "one sample": smooth(1, 1, 1),
    "one pixel": smooth(1, 1),
    "a row": smooth(1, 40),
    "a column": smooth(40, 1),
    "two columns": text(30, 2),
    "black": (np.zeros((9, 11), np.uint8),) * 3,
    "white": (np.full((9, 11), 255, np.uint8),),
    "flat": tuple(np.full((12, 9), value, np.uint8) for value in (3, 200, 77)),
    "noise": noise(21, 22),
    "noise of 16 bits": noise(13, 14, 3, 65535),
    "smooth": smooth(50, 60),
    "gray": smooth(40, 31, 1),
    "gray as colour": smooth(30, 31, 1) * 3,
    "two planes": smooth(20, 21, 2),
    "four planes": (*smooth(20, 24), *mask(20, 24)),
    "alpha": mask(40, 44),
    "12 bits": smooth(24, 25, 3, top=4095),
    "16 bits": smooth(24, 25, 1, top=65535),
    "text": text(60, 70),
    "two colours": few(40, 44, 2),
    "dither": few(40, 44, 5),
    "palette": few(50, 48, 60),
    "seen before": seen(70, 80),
    "photo and text": photo_and_text(48, 60),
    "ramp": (np.arange(256, dtype=np.uint8).reshape(1, -1).repeat(3, 0),),
}


def same(one: object, two: object) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))  # type: ignore[call-overload]


def shape_of(planes: Planes) -> tuple[int, int, int]:
    return (len(planes), *planes[0].shape)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", PICTURES)
def test_every_kind_comes_back_and_the_plain_decoder_agrees(name: str, effort: int) -> None:
    planes = PICTURES[name]
    data = encode(planes, effort=effort)
    found = decode(data, shape_of(planes))
    assert same(found, planes)
    kind = np.uint8 if max(plane.max() for plane in planes) < 256 else np.uint16
    assert all(plane.dtype == kind for plane in found)
    assert same(reference.decode(data, shape_of(planes)), planes)
    assert encode(planes, effort=effort) == data


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("name", ["a row", "noise of 16 bits", "four planes", "text", "dither", "gray as colour"])
def test_every_way_serves_every_picture_it_can(name: str, way: Way, effort: int) -> None:
    planes = PICTURES[name]
    colours = len(np.unique(np.stack([plane.ravel() for plane in planes]), axis=1).T)
    if way >= Way.INDEXED and colours > 256:
        pytest.skip("too many colours")
    data = encode(planes, way=way, effort=effort)
    assert data[0] & 3 == way and data[3] >> 1 & 1 == (way < Way.INDEXED and effort < 2)
    assert same(decode(data, shape_of(planes)), planes)
    assert same(reference.decode(data, shape_of(planes)), planes)


@pytest.mark.parametrize("near", [0, 2])
@pytest.mark.parametrize(("way", "effort"), [(None, 0), (Way.SMOOTH, 0), (Way.GRAPHIC, 0), (Way.GRAPHIC, 2)])
@pytest.mark.parametrize("name", PICTURES)
def test_recall_serves_every_picture_it_can(
    name: str, way: Way | None, effort: int, near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "RECALL_GAIN", 99)
    planes = PICTURES[name]
    data = encode(planes, near=near, way=way, effort=effort)
    found = decode(data, shape_of(planes))
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, planes, strict=True)) <= near
    assert same(reference.decode(data, shape_of(planes)), found)
    if way is not None and len(planes) > 1 and not data[0] >> 4 and planes[0].dtype == np.uint8:
        assert data[3] & 6 == 6 - effort


def test_recall_is_chosen_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encode(PICTURES["smooth"], effort=0)[3] & 6 == 2
    helped = encode(seen(90, 100), way=Way.SMOOTH, effort=0)
    monkeypatch.setattr(search, "RECALL_GAIN", 0)
    plain = encode(seen(90, 100), way=Way.SMOOTH, effort=0)
    assert helped[3] & 6 == 6 and plain[3] & 6 == 2 and len(helped) < 0.9 * len(plain)


@pytest.mark.parametrize("header", [b"\0\x08\0\4", b"\2\x08\0\6", b"\x30\x08\0\6", b"\0\x10\0\6", b"\0\x08\0\x16"])
def test_impossible_recall_is_refused(header: bytes) -> None:
    """Not quick, of numbers, of one plane, of too many bits, and a bit that has no meaning."""
    shape = (3 + (header[1] == 16), 4, 5)
    with pytest.raises(FormatError, match="impossible header"):
        decode(header + bytes(40), shape)
    with pytest.raises(reference.Refused, match="impossible"):
        reference.decode(header + bytes(40), shape)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("near", [1, 2, 7, 255])
@pytest.mark.parametrize("name", ["noise", "smooth", "photo and text", "12 bits", "four planes"])
def test_near_bounds_every_error_and_saves_bytes(name: str, near: int, effort: int) -> None:
    planes = PICTURES[name]
    data = encode(planes, near=near, effort=effort)
    found = decode(data, shape_of(planes))
    worst = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, planes, strict=True))
    assert worst <= near
    assert len(data) < len(encode(planes, effort=effort))
    assert same(reference.decode(data, shape_of(planes)), found)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("near", [1, 4])
@pytest.mark.parametrize("name", ["text", "two colours", "dither", "palette", "gray as colour"])
def test_nearly_exact_is_never_larger_than_exact(name: str, near: int, effort: int) -> None:
    """Errors spoil what repeats: there the exact stream is taken."""
    planes = PICTURES[name]
    data, exact = encode(planes, near=near, effort=effort), encode(planes, effort=effort)
    assert len(data) <= len(exact)
    worst = max(
        int(np.abs(a.astype(int) - b).max()) for a, b in zip(decode(data, shape_of(planes)), planes, strict=True)
    )
    assert worst <= (near if data[2] else 0)
    assert (data == exact) == (name != "gray as colour")


@pytest.mark.parametrize("effort", EFFORTS)
def test_almost_the_same_is_the_same_where_that_is_near_enough(effort: int) -> None:
    """A page with a little noise: matches that are off by no more than `near` are taken, and bounded."""
    rng = np.random.default_rng(3)
    planes = tuple(np.clip(plane.astype(int) + rng.integers(-1, 2, plane.shape), 0, 255).astype(np.uint8)
                   for plane in text(90, 100))  # fmt: skip
    best, plain = (encode(planes, near=2, way=way, effort=effort) for way in (None, Way.GRAPHIC))
    assert len(best) < 0.6 * len(plain)
    assert same(reference.decode(best, shape_of(planes)), found := decode(best, shape_of(planes)))
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, planes, strict=True)) == 2


@pytest.mark.parametrize("effort", EFFORTS)
def test_what_should_be_cheap_is(effort: int) -> None:
    def size(planes: Planes) -> int:
        return len(encode(planes, effort=effort))

    side = 128
    flat = tuple(np.full((side, side), value, np.uint8) for value in (3, 200, 77))
    assert size(flat) < 20
    for planes in (text(side, side), few(side, side, 4), few(side, side, 40), photo_and_text(side, side)):
        file = io.BytesIO()
        Image.fromarray(np.stack(planes, -1)).save(file, "PNG", optimize=True)
        assert size(planes) < (0.9 if effort < 2 else 0.85) * len(file.getvalue())
    assert size(smooth(side, side, 1) * 3) < size(smooth(side, side, 1)) + 4
    assert size(smooth(side, side)) < 0.6 * 3 * side * side


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(("height", "width", "top"), [(1, 1, 255), (1, 3, 255), (90, 91, 255), (90, 91, 65535)])
def test_noise_is_stored(height: int, width: int, top: int, effort: int) -> None:
    planes = noise(height, width, 3, top)
    data = encode(planes, effort=effort)
    assert len(data) <= 4 + sum(plane.nbytes for plane in planes)
    assert data[0] == 0x80 or height == 1
    assert encode(planes, way=Way.SMOOTH, effort=effort)[0] != 0x80
    assert same(decode(data, shape_of(planes)), planes)
    assert same(reference.decode(data, shape_of(planes)), planes)


@pytest.mark.parametrize("start", [b"\xff" * 6, b"\xff\xff\xff\xff\xff\xfe"])
@pytest.mark.parametrize(
    ("way", "quick"), [*((way, 0) for way in Way), (Way.SMOOTH, 2), (Way.GRAPHIC, 2), (Way.SMOOTH, 6)]
)
def test_codes_at_the_end_of_the_range(way: Way, quick: int, start: bytes) -> None:
    """Units of a range do not fill it, and no encoder writes what is behind them: decoders must agree on it."""
    rng = np.random.default_rng(way)
    for rest in (b"\xff" * 300, b"\0" * 300, rng.bytes(300)):
        data, shape = bytes([way, 8, 0, quick]) + start + rest, (2, 5, 6)
        with pytest.raises(FormatError) as caught:
            decode(data, shape)
        with pytest.raises(reference.Refused) as refused:
            reference.decode(data, shape)
        assert refused.value.reason == type(caught.value).__name__
        assert (start[-1] == 255) == ("out of range" in str(caught.value) and "code" in str(caught.value))


def test_quick_is_not_much_larger() -> None:
    for planes in (smooth(128, 128), smooth(128, 128, 1, top=4095), text(128, 128), photo_and_text(128, 128)):
        assert len(encode(planes, effort=0)) < 1.25 * len(encode(planes, effort=2))


@pytest.mark.parametrize("name", PICTURES)
def test_small_pictures_get_the_shorter_kind(name: str) -> None:
    planes = PICTURES[name]
    quick, mixed = (encode(planes, effort=effort) for effort in EFFORTS)
    data = encode(planes)
    assert len(data) <= len(quick) and len(data) <= 1.05 * len(mixed)  # which tries colours of its own
    assert same(decode(data, shape_of(planes)), planes)


def test_what_would_take_long_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = smooth(50, 60)
    counted = 3 * 3000 + 3000 // 8  # few are like a neighbour
    for size, quick in ((counted, 0), (counted - 200, 2), (0, 2)):
        monkeypatch.setattr(search, "SMALL", size)
        assert encode(planes)[3] & 2 == quick
    assert encode(planes) == encode(planes, effort=0)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", ["smooth", "text", "dither", "photo and text"])
def test_a_shorter_or_longer_stream_is_an_error(name: str, effort: int) -> None:
    planes = PICTURES[name]
    data = encode(planes, effort=effort)
    for size in [*range(12), len(data) // 2, len(data) - 2, len(data) - 1]:
        with pytest.raises(FormatError):
            decode(data[:size], shape_of(planes))
    for tail in (b"\0", b"\0\0", bytes(100)):
        with pytest.raises(FormatError):
            decode(data + tail, shape_of(planes))


def test_damage_is_an_error_or_a_picture() -> None:
    rng = np.random.default_rng(1)
    caught = 0
    for name in ("smooth", "text", "dither", "palette", "seen before", "four planes", "16 bits"):
        planes = PICTURES[name]
        for i in range(60):
            data = encode(planes, effort=i % 2 * 2)
            damaged = bytearray(data)
            place = int(rng.integers(6 if rng.random() < 0.4 else len(data)))
            damaged[min(place, len(data) - 1)] ^= int(rng.integers(1, 256))
            try:
                assert len(decode(bytes(damaged), shape_of(planes))) == len(planes)
            except FormatError:
                caught += 1
    assert caught > 100


def test_any_bytes_are_an_error_or_a_picture() -> None:
    rng = np.random.default_rng(2)
    for _ in range(400):
        data = bytes(rng.integers(0, 256, int(rng.integers(0, 80)), np.uint8))
        data = bytes([data[0] & 15, 1 + data[1] % 16, data[2] % 3, data[3] & 7]) + data[4:] if len(data) > 4 else data
        shape = (int(rng.integers(1, MAX_PLANES + 1)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        try:
            found = decode(data, shape)
        except FormatError:
            continue
        assert all(plane.shape == shape[1:] for plane in found)


def test_what_cannot_be_encoded_is_refused() -> None:
    good = PICTURES["smooth"]
    for planes in ((), good + good, (good[0], good[1][:-1]), (good[0], good[1].astype(np.uint16)), (good[0][0],)):
        with pytest.raises(ValueError):
            encode(planes)
    with pytest.raises(ValueError):
        encode(good, near=256)
    with pytest.raises(ValueError):
        encode((good[0].astype(np.float32),))  # type: ignore[arg-type]


def test_tables_are_those_of_the_specification() -> None:
    assert [int(SQUASH[3072 + 128 * i]) for i in range(25)] == list(UNITS)
    assert np.all(np.diff(SQUASH) >= 0) and SQUASH[0] == 1 and SQUASH[-1] == 65535
    assert np.all(np.diff(STRETCH) >= 0) and int(STRETCH[2048]) == 1 and abs(int(STRETCH[0]) + int(STRETCH[-1])) < 200
