"""Gain maps of phones' photographs: through .mvc files, and back into JPEGs whose readers find them again."""

from __future__ import annotations

import io
import struct
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from command import run
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import box, full, heif, ifd, jpeg_with, png_of, saved, segment, with_second
from PIL import Image

import mvc
from mvc import media
from mvc.media import exif as exifs
from mvc.media import gainmaps
from mvc.media.boxes import Items
from mvc.media.gainmaps import GainMap, unpacked
from mvc.metadata import Metadata
from mvc.picture import Picture

RNG = np.random.default_rng(4)
RGB = RNG.integers(0, 256, (16, 24, 3), np.uint8)
GAIN = RNG.integers(0, 256, (8, 12), np.uint8)
APP1, APP2 = 0xE1, 0xE2
XMP = b"http://ns.adobe.com/xap/1.0/\0"
ISO = b"urn:iso:std:iso:ts:21496:-1\0"
ADOBE = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" hdrgm:GainMapMin="0" '
    b'hdrgm:GainMapMax="2" hdrgm:Gamma="1" hdrgm:OffsetSDR="0.015625" hdrgm:OffsetHDR="0.015625" '
    b'hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="2" hdrgm:BaseRenditionIsHDR="False"/></rdf:RDF></x:xmpmeta>'
)
APPLE = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/" '
    b'xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/" '
    b'apdi:AuxiliaryImageType="urn:com:apple:photo:2020:aux:hdrgainmap" HDRGainMap:HDRGainMapVersion="131072"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
# One channel, nothing shared: minimum version, writer version, flags; then fractions.
PARAMETERS = struct.pack(">HHB", 0, 0, 0) + struct.pack(">II", 0, 1) + struct.pack(">II", 2, 1)
PARAMETERS += struct.pack(">iIiIIIiIiI", 0, 1, 2, 1, 1, 1, 1, 64, 1, 64)
SEGMENTS = {
    "adobe": segment(APP1, XMP + ADOBE),
    "apple": segment(APP1, XMP + APPLE),
    "iso": segment(APP2, ISO + PARAMETERS),
    "both": segment(APP1, XMP + ADOBE) + segment(APP2, ISO + PARAMETERS),
}
GAIN_JPEG = saved(Image.fromarray(GAIN), "JPEG", quality=90)
PLAIN = saved(Image.fromarray(RGB), "JPEG", quality=95, subsampling="4:4:4")


def directory(*items: tuple[str, int]) -> bytes:
    """What Ultra HDR writes into the XMP of the picture."""
    listed = b"".join(
        b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="%b" Item:Mime="image/jpeg"%b/></rdf:li>'
        % (kind.encode(), b' Item:Length="%d"' % size if size else b"")
        for kind, size in items
    )
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 5.1.2">\n<rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n<rdf:Description '
        b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
        b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
        b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0">\n<Container:Directory><rdf:Seq>'
        b"%b</rdf:Seq></Container:Directory>\n</rdf:Description></rdf:RDF></x:xmpmeta>"
    ) % listed


def phone(kind: str, exif: bytes = b"", xmp: bytes = b"", order: Literal["<", ">"] = "<") -> tuple[bytes, bytes]:
    """A photograph with a gain map, and that gain map."""
    second = jpeg_with(SEGMENTS[kind], GAIN_JPEG)
    if kind in ("adobe", "both") and not xmp:
        xmp = directory(("Primary", 0), ("GainMap", len(second)))
    own = segment(APP1, b"Exif\0\0" + exif) if exif else b""
    own += segment(APP1, XMP + xmp) if xmp else b""
    own += segment(APP2, ISO + bytes(4)) if kind in ("iso", "both") else b""
    return with_second(jpeg_with(own, PLAIN), second, order), second


def as_readers_find_it(data: bytes) -> tuple[bytes, bytes]:
    """The gain map by the multi-picture segment, with nothing of ours; and the XMP of the picture."""
    at, xmp, found = 2, b"", b""
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if data[at + 1] == APP1 and body.startswith(XMP):
            xmp = body[len(XMP) :]
        if data[at + 1] == APP2 and body.startswith(b"MPF\0"):
            block = body[4:]
            order = "<" if block[:2] == b"II" else ">"
            (count,) = struct.unpack_from(order + "H", block, 8)
            tags = [struct.unpack_from(order + "HHII", block, 10 + 12 * n) for n in range(count)]
            (place,) = (value for tag, _, _, value in tags if tag == 0xB002)
            (_, first, zero, _, _), (_, size, offset, _, _) = struct.iter_unpack(order + "IIIHH", block[place:])
            assert zero == 0 and first + size == len(data)
            found = data[at + 8 + offset :][:size]
        at += 2 + length
    return found, xmp


def directory_of(xmp: bytes) -> list[str]:
    """Meanings of the items in the directory, and the length of the last."""
    from xml.etree import ElementTree

    item = "{http://ns.google.com/photos/1.0/container/item/}"
    found = [
        element.attrib
        for element in ElementTree.fromstring(xmp).iter("{http://ns.google.com/photos/1.0/container/}Item")
    ]
    return [*(own[item + "Semantic"] for own in found), *(own.get(item + "Length", "") for own in found[-1:])]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", SEGMENTS)
def test_it_comes_back_as_it_was(kind: str, order: Literal["<", ">"]) -> None:
    data, second = phone(kind, order=order)
    source = media.read_picture(data)
    assert source.losses == ()
    assert source.picture.metadata == Metadata(gainmap=GainMap(1, 24, 16, second).packed())
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert picture.metadata == source.picture.metadata
    assert media.fitted(picture, ".jpg")[1] == ()
    back = media.to_bytes(picture, ".jpg")
    found, xmp = as_readers_find_it(back)
    assert found == second and back.endswith(second)
    if kind in ("adobe", "both"):
        assert directory_of(xmp) == ["Primary", "GainMap", str(len(second))] and b'hdrgm:Version="1.0"' in xmp
    else:
        assert xmp == b""
    assert (segment(APP2, ISO + bytes(4)) in back) == (kind in ("iso", "both"))
    again = media.read_picture(back)
    assert again.losses == () and again.picture.metadata == picture.metadata
    with Image.open(io.BytesIO(back)) as image:  # of Ultra HDR Pillow shows the picture alone
        assert image.format == ("JPEG" if kind in ("adobe", "both") else "MPO")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_of_a_picture_that_is_turned(orientation: int) -> None:
    """The gain map stays as it is, so that the JPEG is turned back below it, and EXIF says how both are."""
    gray = np.sort(RGB[..., 0], axis=1)
    gradient = np.dstack([gray, gray[::-1], gray])
    plain = saved(Image.fromarray(gradient), "JPEG", quality=100, subsampling="4:4:4")
    second = jpeg_with(SEGMENTS["both"], GAIN_JPEG)
    exif = ifd((0x010F, 2, 4, b"me!\0"), (0x0112, 3, 1, bytes((orientation,))))
    source = media.read_picture(with_second(jpeg_with(segment(APP1, b"Exif\0\0" + exif), plain), second))
    picture = source.picture
    assert (picture.height > picture.width) == (orientation > 4)
    kept = unpacked(picture.metadata.gainmap)
    assert kept == GainMap(orientation, picture.width, picture.height, second)
    coded = mvc.encode(picture, lossless=True)
    for wanted in ("all", "gainmap", "gainmap,xmp"):
        own, _ = media.keeping(mvc.decode(coded), wanted)
        back = media.to_bytes(own, ".jpg", 100)
        assert as_readers_find_it(back)[0] == second
        with Image.open(io.BytesIO(back)) as image:
            assert image.size == (24, 16) and image.getexif().get(0x0112, 1) == orientation
            assert np.abs(np.asarray(image).astype(int) - np.asarray(Image.open(io.BytesIO(plain)))).mean() < 2
        again = media.read_picture(back).picture
        assert np.abs(again.samples.astype(int) - picture.samples).mean() < 2
        assert again.metadata.gainmap == picture.metadata.gainmap
    assert media.read_picture(media.to_bytes(own, ".png")).picture.samples.shape == picture.samples.shape


def test_an_orientation_is_put_into_any_exif() -> None:
    for order in "<>":
        head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
        maker = struct.pack(order + "HHHII", 2, 0x010F, 2, 6, 38) + struct.pack(order + "HHII", 0x0132, 2, 4, 0x316E77)
        block = head + maker + bytes(4) + b"maker\0" + b"x"
        made = exifs.with_orientation(block, 6)
        read = Image.Exif()
        read.load(made)
        assert dict(read) | {0x0132: ""} == {0x010F: "maker", 0x0132: "", 0x0112: 6}
        assert made[8 : len(block)] == block[8:]
        again = exifs.with_orientation(made, 3)
        assert len(again) == len(made) and exifs.upright(again) == exifs.upright(made)
    assert exifs.with_orientation(b"nothing", 6) is None
    alone = Image.Exif()
    alone.load(exifs.with_orientation(None, 8))
    assert dict(alone) == {0x0112: 8}


def test_what_xmp_says_of_it_is_true_of_its_own_file_alone() -> None:
    second = jpeg_with(SEGMENTS["adobe"], GAIN_JPEG)
    whole = directory(("Primary", 0), ("GainMap", len(second)))
    mixed = whole.replace(b' hdrgm:Version="1.0"', b' hdrgm:Version="1.0" dc:title="a title"')
    data, _ = phone("adobe", xmp=mixed)
    picture = media.read_picture(data).picture
    kept = picture.metadata.xmp
    assert kept is not None and b'dc:title="a title"' in kept
    assert b"Directory" not in kept and b"hdrgm:" not in kept and b"Item:" not in kept
    assert media.to_bytes(picture, ".png").count(b"hdrgm:") == 0
    back = media.to_bytes(picture, ".jpg")
    xmp = as_readers_find_it(back)[1].replace(b"dc:title", b"title")
    assert b"a title" in xmp and directory_of(xmp) == ["Primary", "GainMap", str(len(second))]
    assert media.read_picture(back).picture.metadata == picture.metadata
    plain = media.read_picture(jpeg_with(segment(APP1, XMP + mixed), PLAIN))
    assert plain.picture.metadata.xmp == mixed  # of a file without one nothing is known


def test_by_the_directory_alone() -> None:
    """As Ultra HDR allows it, without a multi-picture segment; with a film behind it as well."""
    second, film = jpeg_with(SEGMENTS["adobe"], GAIN_JPEG), b"\0\0\0\x18ftypmp42" + bytes(300)
    for items, more in (
        ([("Primary", 0), ("GainMap", len(second))], b""),
        ([("Primary", 0), ("GainMap", len(second)), ("MotionPhoto", len(film))], film),
    ):
        xmp = directory(*items)
        if more:
            xmp = xmp.replace(b"hdrgm:Version", b'GCamera:MotionPhoto="1" hdrgm:Version')
        source = media.read_picture(jpeg_with(segment(APP1, XMP + xmp), PLAIN) + second + more)
        assert unpacked(source.picture.metadata.gainmap) == GainMap(1, 24, 16, second)
        assert source.losses == (("the film behind the photograph is dropped",) if more else ())


def test_other_second_pictures_are_none() -> None:
    for second in (GAIN_JPEG, jpeg_with(segment(APP2, ISO + bytes(4)), GAIN_JPEG), phone("adobe")[0]):
        source = media.read_picture(with_second(PLAIN, second))
        assert source.losses == ("only the first of 2 frames is kept",) and not source.picture.metadata


def test_formats_that_do_not_hold_it_say_so() -> None:
    picture = media.read_picture(phone("both")[0]).picture
    for suffix in (".png", ".tiff", ".webp", ".avif", ".ppm", ".bmp"):
        fitted, losses = media.fitted(picture, suffix)
        assert losses == ("metadata is dropped: gain map",) and not fitted.metadata
        media.to_bytes(picture, suffix)
    smaller = Picture(picture.samples[:, :20], None, picture.metadata)
    assert media.fitted(smaller, ".jpg")[1] == ("metadata is dropped: gain map",)
    assert b"MPF\0" not in media.to_bytes(smaller, ".jpg")
    for nonsense in (b"x", b"\0" + picture.metadata.gainmap[1:], picture.metadata.gainmap[:5] + b"no JPEG"):
        broken = Picture(picture.samples, None, Metadata(gainmap=nonsense))
        assert media.fitted(broken, ".jpg")[1] == ("metadata is dropped: gain map",)
        assert b"MPF\0" not in media.to_bytes(broken, ".jpg")


def test_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exif = ifd((0x010F, 2, 4, b"me!\0"))
    data, second = phone("both", exif)
    Path("k.jpg").write_bytes(data)
    run("encode", "k.jpg", "--lossless")
    assert f"gain map  {len(second) + 5} bytes" in run("info", "k.mvc").stdout
    told = run("decode", "k.mvc", "-o", "back.jpg").stderr
    assert "warning" not in told and as_readers_find_it(Path("back.jpg").read_bytes())[0] == second
    assert "metadata is dropped: gain map" in run("decode", "k.mvc", "-o", "back.png").stderr
    for wanted, kinds in {"exif": ["exif"], "gainmap": ["gainmap"], "none": []}.items():
        own = mvc.decode(mvc.encode("k.jpg", lossless=True, metadata=wanted)).metadata
        assert [kind for kind, _ in own.items()] == kinds
        assert run("decode", "k.mvc", "-o", f"{wanted}.jpg", "--metadata", wanted).exit_code == 0
        assert (second in Path(f"{wanted}.jpg").read_bytes()) == (wanted == "gainmap")


def test_places_in_it() -> None:
    gps = segment(APP1, XMP + b'<rdf:Description exif:GPSLatitude="47,22N"/>')
    second = jpeg_with(SEGMENTS["iso"] + gps, GAIN_JPEG)
    source = media.read_picture(with_second(PLAIN, second)).keeping("all", gps=False)
    assert source.picture.metadata == Metadata()
    assert source.losses == ("gain map is dropped: it is not certain where it says places",)
    assert media.read_picture(phone("iso")[0]).keeping("all", gps=False).picture.metadata.gainmap


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=8), st.integers(0, 400))
def test_damage_is_no_error(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(phone("both")[0])
    for place, value in changes:
        data[place] = value
    facts = media.pictures.jpeg.look(bytes(data[: len(data) - cut]))
    for own in (facts.gain_map, facts.gain_map[:200]):
        list(gainmaps.segments(own))
        gainmaps.is_gain_map(own)
    gainmaps.without_directory(facts.xmp)


@pytest.mark.skipif(find_spec("imagecodecs") is None, reason="imagecodecs is not installed")
def test_readers_of_ultra_hdr_see_the_same_as_before() -> None:
    """libultrahdr, by its own files and by ours."""
    library = import_module("imagecodecs")
    rows, columns = np.mgrid[:64, :96]
    bright = np.dstack([columns / 24, rows / 32, np.full((64, 96), 0.5), np.ones((64, 96))]).astype(np.float16)
    made = bytes(library.ultrahdr_encode(bright))
    for data, most in ((made, 3.5), (phone("adobe")[0], 2.0), (phone("iso")[0], 2.0), (phone("both")[0], 2.0)):
        seen = library.ultrahdr_decode(data).astype(float)
        assert seen[..., :3].max() > most
        picture = mvc.decode(mvc.encode(data, lossless=True))
        again = library.ultrahdr_decode(media.to_bytes(picture, ".jpg", 100)).astype(float)
        assert np.abs(again - seen).mean() < 0.05


# HEIC


def coded(library: Any, samples: np.ndarray, mode: str) -> tuple[bytes, list[bytes]]:
    """The HEVC bytes of a picture, and its properties."""
    made = io.BytesIO()
    size = samples.shape[1], samples.shape[0]
    library.encode(mode, size, samples.tobytes(), made, quality=-1, chroma=444, matrix_coefficients=0)
    data = made.getvalue()
    items = Items(data)
    return items.content(items.primary), [data[own.start - 8 : own.end] for own in items.properties(items.primary)[0]]


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow_heif is not installed")
@pytest.mark.parametrize("kind", ["apple", "named", "iso", "nameless", "unknown"])
@pytest.mark.parametrize("turned", [False, True])
def test_of_heic(kind: str, turned: bool) -> None:
    library = import_module("pillow_heif")
    rgb, gain = RNG.integers(0, 256, (64, 96, 3), np.uint8), np.sort(RNG.integers(0, 256, (32, 48), np.uint8))
    urn = ISO[:-1] + b":aux:gainmap" if kind in ("iso", "nameless") else b"urn:com:apple:photo:2020:aux:hdrgainmap"
    urn = b"urn:com:apple:photo:2020:aux:portraiteffectsmatte" if kind == "unknown" else urn
    turn = [box(b"irot", b"\3")] if turned else []  # a quarter to the right
    (first, own), (second, others) = coded(library, rgb, "RGB"), coded(library, gain, "L")
    items = [(b"hvc1", b"", first, own + turn), (b"hvc1", b"", second, [*others, full(b"auxC", urn + b"\0"), *turn])]
    references = [(b"auxl", 2, [1])]
    if kind == "apple":
        items.append((b"mime", b"application/rdf+xml", APPLE, []))
        references.append((b"cdsc", 3, [2]))
    if kind == "iso":
        items.append((b"tmap", b"", b"\0" + PARAMETERS, [full(b"ispe", struct.pack(">II", 96, 64))]))
        references.append((b"dimg", 3, [1, 2]))
    source = media.read_picture(heif(items, references, b"heic"))
    assert np.array_equal(source.picture.samples, np.rot90(rgb, -1) if turned else rgb)
    if kind in ("nameless", "unknown"):
        what = "gain map" if kind == "nameless" else "auxiliary pictures"
        assert source.losses == (f"metadata is dropped: {what}",)
        return
    assert source.losses == ("the gain map is coded anew, as a JPEG",)
    found = unpacked(source.picture.metadata.gainmap)
    assert found is not None and found.fits(source.picture.width, source.picture.height) and found.orientation == 1
    kept = np.asarray(Image.open(io.BytesIO(found.jpeg)))
    assert np.abs(kept.astype(int) - (np.rot90(gain, -1) if turned else gain)).mean() < 3
    back = media.to_bytes(source.picture, ".jpg")
    assert as_readers_find_it(back)[0] == found.jpeg
    assert (APPLE in back) == (kind == "apple") and (ISO + PARAMETERS in back) == (kind == "iso")
    assert (b'HDRGainMapVersion="65536"' in back) == (kind == "named")
    again = media.read_picture(back)
    assert again.picture.metadata.gainmap == source.picture.metadata.gainmap


def test_an_avif_with_one_says_that_it_is_dropped() -> None:
    data = saved(Image.fromarray(RGB), "AVIF")
    items = Items(data)
    own = [data[part.start - 8 : part.end] for part in items.properties(items.primary)[0]]
    parts = [(b"av01", b"", items.content(items.primary), own)]
    parts.append((b"tmap", b"", b"\0" + PARAMETERS, [full(b"ispe", struct.pack(">II", 24, 16))]))
    source = media.read_picture(heif(parts, [], b"avif"))
    assert source.losses == ("metadata is dropped: gain map",)


def test_of_a_png() -> None:
    assert media.read_picture(png_of(RGB)).picture.metadata.gainmap is None
