"""Metadata as cameras and editors write it: through .mvc files into every format that holds it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from exif_files import BROKEN, EXIF, LIGHTROOM, extended, photoshop
from picture_files import chunk, jpeg_with, png_of, saved, segment, tiff_of
from PIL import Image, ImageCms

import mvc
from mvc import media
from mvc.media import exif as exifs
from mvc.metadata import Metadata

RNG = np.random.default_rng(9)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
IMAGE = Image.fromarray(RGB)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TARGETS = (".png", ".jpg", ".tif", ".webp", ".avif")
APP1, APP2 = 0xE1, 0xE2


def values(exif: bytes) -> dict[int, object]:
    """All tags as Pillow reads them."""
    read = Image.Exif()
    read.load(b"Exif\0\0" + exif)
    found: dict[int, object] = dict(read)
    for name in (0x8769, 0x8825, 0xA005):
        inner = dict(read.get_ifd(name))
        inner.pop(0xA005, None)
        found[name] = inner
    return found


def in_jpeg(exif: bytes) -> bytes:
    """XMP stands before EXIF, the profile in parts, Photoshop's block among them."""
    parts = [ICC[:200], ICC[200:400], ICC[400:]]
    profile = b"".join(segment(APP2, b"ICC_PROFILE\0" + bytes((n + 1, 3)) + part) for n, part in enumerate(parts))
    own = segment(APP1, b"http://ns.adobe.com/xap/1.0/\0" + LIGHTROOM) + photoshop((0x03ED, bytes(16))) + profile
    return jpeg_with(own + segment(APP1, b"Exif\0\0" + exif), saved(IMAGE, "JPEG", quality=95))


def in_png(exif: bytes) -> bytes:
    before = chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(ICC))
    before += chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LIGHTROOM)
    return png_of(RGB, before, xmp + chunk(b"eXIf", exif))


def in_png_as_text(exif: bytes) -> bytes:
    body = b"Exif\0\0" + exif
    lines = b"\n".join(body.hex().encode()[at : at + 72] for at in range(0, 2 * len(body), 72))
    raw = b"Raw profile type APP1\0\0" + zlib.compress(b"\ngeneric profile\n%8d\n%b\n" % (len(body), lines))
    before = chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(ICC)) + chunk(b"zTXt", raw)
    return png_of(RGB, before + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LIGHTROOM))


def in_webp(exif: bytes) -> bytes:
    return saved(IMAGE, "WEBP", lossless=True, exif=b"Exif\0\0" + exif, icc_profile=ICC, xmp=LIGHTROOM)


def in_avif(exif: bytes) -> bytes:
    made = saved(IMAGE, "AVIF", exif=exifs.stand_in(exif), icc_profile=ICC, xmp=LIGHTROOM)
    return made.replace(exifs.stand_in(exif), exif)


CONTAINERS = {own.__name__: own for own in (in_jpeg, in_png, in_png_as_text, in_webp, in_avif)}


@pytest.mark.parametrize("name", EXIF)
@pytest.mark.parametrize("container", CONTAINERS)
def test_through_a_file_into_every_format(container: str, name: str) -> None:
    exif = EXIF[name]
    data = CONTAINERS[container](exif)
    source = media.read_picture(data)
    assert source.losses == ()
    size = struct.pack("<BII", 3, 11811, 11811) if container == "in_png" else None
    assert source.picture.metadata == Metadata(ICC, exif, LIGHTROOM, resolution=size)
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert picture.metadata == source.picture.metadata
    for suffix in TARGETS:
        dropped = ("metadata is dropped: resolution",) * (size is not None and suffix in (".webp", ".avif"))
        assert media.fitted(picture, suffix)[1] == dropped, suffix
        written = media.to_bytes(picture, suffix)
        again = media.read_picture(written)
        assert again.losses == (), suffix
        found = again.picture.metadata
        assert (found.icc, found.xmp) == (ICC, LIGHTROOM), suffix
        assert found.exif == exif if suffix != ".tif" else same_values(found.exif, exif, size is not None), suffix
        with Image.open(io.BytesIO(written)) as image:
            image.load()
            assert image.info["icc_profile"] == ICC


def same_values(found: bytes | None, wanted: bytes, resized: bool = False) -> bool:
    """Whether a TIFF has all tags but the orientation, which it never needs, and perhaps the resolution."""
    own, before = values(found or b""), values(wanted)
    for tag in (0x0112, *((282, 283, 296) if resized else ())):
        before.pop(tag, None)
    return {key: own.get(key) for key in before} == before


@pytest.mark.parametrize("name", BROKEN)
def test_a_tag_that_nobody_can_read_takes_no_other_with_it(name: str) -> None:
    picture = mvc.decode(mvc.encode(in_jpeg(BROKEN[name]), lossless=True))
    assert picture.metadata.exif == BROKEN[name]
    for suffix in TARGETS:
        fitted, losses = media.fitted(picture, suffix)
        found = media.read_picture(media.to_bytes(picture, suffix)).picture.metadata.exif
        if suffix == ".tif":
            assert losses == ("EXIF loses tags that cannot be read",)
            assert values(found or b"")[0x010F] == "a maker"
        else:
            assert losses == () and found == BROKEN[name]
            assert fitted.metadata.exif == BROKEN[name]


@pytest.mark.parametrize("order", ["<", ">"])
def test_from_tiff_of_either_order(order: str) -> None:
    """Into every format with its values, in a block of its own."""
    name = "canon" if order == "<" else "nikon"
    with Image.open(io.BytesIO(tiff_of(RGB, "<" if order == "<" else ">"))) as image:
        image.load()
        made = media.to_bytes(mvc.Picture(np.asarray(image), None, Metadata(ICC, EXIF[name], LIGHTROOM)), ".tif")
    picture = mvc.decode(mvc.encode(made, lossless=True))
    assert picture.metadata.xmp == LIGHTROOM and picture.metadata.icc == ICC
    for suffix in TARGETS:
        again = media.read_picture(media.to_bytes(picture, suffix))
        assert again.losses == () and same_values(again.picture.metadata.exif, EXIF[name])
        assert again.picture.metadata.xmp == LIGHTROOM


@pytest.mark.parametrize("piece", [100, 65400])
def test_xmp_that_goes_on_in_other_segments(piece: int) -> None:
    main = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:a="urn:a" a:rating="5" '
        b'xmpNote:HasExtendedXMP="%b"/></rdf:RDF></x:xmpmeta>'
    )
    more = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:b="urn:b"><b:history>' + b"<b:step/>" * 9000 + b"</b:history>"
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    plain = saved(IMAGE, "JPEG", quality=95)
    source = media.read_picture(jpeg_with(extended(main, more, piece), plain))
    assert source.losses == ()
    xmp = source.picture.metadata.xmp
    assert xmp is not None and b'a:rating="5"' in xmp and xmp.count(b"<b:step/>") == 9000
    assert b"HasExtendedXMP" not in xmp and xmp.count(b"<rdf:RDF") == xmp.count(b"</x:xmpmeta>") == 1
    picture = mvc.decode(mvc.encode(source.picture, lossless=True))
    for suffix in TARGETS:  # in a JPEG it is too long for one segment
        assert media.fitted(picture, suffix)[1] == ()
        written = media.to_bytes(picture, suffix)
        again = media.read_picture(written)
        assert again.losses == () and again.picture.metadata.xmp == xmp, suffix
        assert (b"http://ns.adobe.com/xmp/extension/\0" in written) == (suffix == ".jpg")


@pytest.mark.parametrize("damage", ["another name", "a gap", "too long", "cut", "no main packet"])
def test_xmp_whose_other_segments_do_not_fit(damage: str) -> None:
    main = b'<x:xmpmeta><rdf:RDF><rdf:Description xmpNote:HasExtendedXMP="%b" a="1"/></rdf:RDF></x:xmpmeta>'
    more = b"<x:xmpmeta><rdf:RDF><rdf:Description>%b</rdf:Description></rdf:RDF></x:xmpmeta>" % (b"letters" * 40)
    made = extended(main, more, 100)
    at = made.index(b"http://ns.adobe.com/xmp/extension/\0")
    if damage == "another name":
        name = made.index(b'HasExtendedXMP="') + 16
        made = made[:name] + (b"0" if made[name : name + 1] != b"0" else b"1") + made[name + 1 :]
    elif damage == "a gap":
        second = made.index(b"http://ns.adobe.com/xmp/extension/\0", at + 1)
        made = made[: at - 4] + made[second - 4 :]
    elif damage == "too long":
        made = made.replace(struct.pack(">I", len(more)), struct.pack(">I", 1 << 30))
    elif damage == "cut":
        made = made[: at - 4] + segment(APP1, made[at : at + 40])
    else:
        made = made[at - 4 :]
    source = media.read_picture(jpeg_with(made, saved(IMAGE, "JPEG", quality=95)))
    assert source.losses == ("metadata is dropped: extended XMP",)
    assert source.picture.metadata.xmp is None or b'a="1"' in source.picture.metadata.xmp


def test_iptc_is_told() -> None:
    for resources, told in (
        ([(0x0404, b"\x1c\2\x78\0\3abc")], ("metadata is dropped: IPTC",)),
        ([(0x03ED, bytes(16)), (0x0425, bytes(16))], ()),
    ):
        assert media.read_picture(jpeg_with(photoshop(*resources), saved(IMAGE, "JPEG"))).losses == told
