"""Metadata: out of picture files, through .mvc files, and back into picture files, byte for byte."""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import fails, run
from hypothesis import given, settings
from hypothesis import strategies as st
from make_golden import GOLDEN, exact_digests
from picture_files import chunk, ifd, jpeg_with, png_of, saved, segment
from PIL import Image, ImageCms
from test_reference_decoder import reference
from test_spec import CLIP, SPEC
from tiny_model import tiny_codec
from valid_files import Content, assemble, chunks_of, contents, metadata

import mvc
from mvc import media, stills
from mvc.container import describe, read_file, read_metadata, write_file
from mvc.container.chunks import META
from mvc.container.fields import rows
from mvc.media import exif as exifs
from mvc.metadata import MOST_BYTES, NAMES, Metadata, chosen
from mvc.picture import Picture

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
IMAGE = Image.fromarray(RGB)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LONG_ICC = ICC + RNG.bytes(150_000)  # three segments of a JPEG
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="1" dc:title="a title"/></x:xmpmeta>'
GPS = struct.pack("<IIIIII", 47, 1, 22, 1, 51, 1)


def camera(orientation: int = 1, order: str = "<") -> bytes:
    """An EXIF block as cameras write it: maker, orientation, exposure, a place, and a thumbnail's directory."""
    maker = b"A maker of cameras\0"
    tags = [(0x010F, 2, len(maker)), (0x0112, 3, 1), (0x8769, 4, 1), (0x8825, 4, 1)]
    place = 8 + 2 + 12 * len(tags) + 4
    outer, gps = place + 20, place + 20 + 30 + 8
    values = [struct.pack(order + "I", place), struct.pack(order + "HH", orientation, 0)]
    values += [struct.pack(order + "I", outer), struct.pack(order + "I", gps)]
    first = struct.pack(order + "H", len(tags))
    for tag, value in zip(tags, values, strict=True):
        first += struct.pack(order + "HHI", *tag) + value
    inner = struct.pack(order + "H", 2) + struct.pack(order + "HHII", 0x829A, 5, 1, outer + 30)
    inner += struct.pack(order + "HHI", 0x8827, 3, 1) + struct.pack(order + "HH", 200, 0) + bytes(4)
    inner += struct.pack(order + "II", 1, 125)
    places = struct.pack(order + "H", 2) + struct.pack(order + "HHI", 1, 2, 2) + b"N\0\0\0"
    places += struct.pack(order + "HHII", 2, 5, 3, gps + 30) + bytes(4)
    places += b"".join(struct.pack(order + "I", number) for number in struct.unpack("<6I", GPS))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + first + bytes(4) + maker.ljust(20, b"\0") + inner + places


def loaded(exif: bytes) -> dict[int, object]:
    """All tags that Pillow finds."""
    read = Image.Exif()
    read.load(exif)
    found = dict(read)
    for name in (0x8769, 0x8825):
        found[name] = dict(read.get_ifd(name))
    return found


def jpeg(exif: bytes = b"", icc: bytes = b"", xmp: bytes = b"") -> bytes:
    made = segment(0xE1, b"Exif\0\0" + exif) if exif else b""
    made += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) if xmp else b""
    parts = [icc[start : start + 65000] for start in range(0, len(icc), 65000)]
    pieces = [segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, len(parts))) + part) for n, part in enumerate(parts)]
    return jpeg_with(made + b"".join(pieces[::-1]), saved(IMAGE, "JPEG", quality=95))  # in any order


def png(exif: bytes = b"", icc: bytes = b"", xmp: bytes = b"") -> bytes:
    before = chunk(b"iCCP", b"name\0\0" + zlib.compress(icc)) if icc else b""
    before += chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)) if xmp else b""
    return png_of(RGB, before, chunk(b"eXIf", exif) if exif else b"")


def nameless(exif: bytes) -> bytes:
    """With a tag that nobody knows for the orientation, which Pillow takes out of what it writes as AVIF."""
    return exif.replace(b"\x12\1", b"\x11\1", 1)


FILES = {
    "png": lambda exif: png(exif, LONG_ICC, XMP),
    "jpeg": lambda exif: jpeg(exif, LONG_ICC, XMP),
    "webp": lambda exif: saved(IMAGE, "WEBP", lossless=True, exif=exif, icc_profile=LONG_ICC, xmp=XMP),
    "avif": lambda exif: saved(IMAGE, "AVIF", exif=nameless(exif), icc_profile=LONG_ICC, xmp=XMP),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".avif"])
def test_all_bytes_come_back_through_a_file(kind: str, target: str) -> None:
    block = nameless(camera()) if kind == "avif" else camera()
    data = FILES[kind](camera())
    source = media.read_picture(data)
    assert source.losses == ()
    assert source.picture.metadata == Metadata(LONG_ICC, block, XMP)
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert picture.metadata == source.picture.metadata
    fitted, losses = media.fitted(picture, target)
    assert losses == () and fitted.metadata == picture.metadata
    again = media.read_picture(media.to_bytes(picture, target))
    assert again.losses == () and again.picture.metadata == picture.metadata
    with Image.open(io.BytesIO(media.to_bytes(picture, target))) as image:
        image.load()
        assert image.info["icc_profile"] == LONG_ICC
        assert image.getexif()[0x010F] == "A maker of cameras"
        assert XMP in (image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_has_the_tags_of_exif_as_its_own(order: str, depth: int) -> None:
    samples = RGB if depth == 8 else RGB.astype(np.uint16) * 257
    picture = Picture(samples, None, Metadata(LONG_ICC, camera(1, order), XMP))
    assert media.fitted(picture, ".tif")[1] == ()
    data = media.to_bytes(picture, ".tif")
    if depth == 8:
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), RGB)
            assert image.info["icc_profile"] == LONG_ICC and image.tag_v2[700] == XMP
            assert image.getexif()[0x010F] == "A maker of cameras"
            assert image.getexif().get_ifd(0x8769)[0x829A] == 1 / 125
            assert image.getexif().get_ifd(0x8825)[2] == (47, 22, 51)
    again = media.read_picture(data, deep=True)
    assert again.losses == () and np.array_equal(again.picture.samples, picture.samples)
    assert (again.picture.metadata.icc, again.picture.metadata.xmp) == (LONG_ICC, XMP)
    wanted = loaded(camera()) | {0x8769: {0x829A: 1 / 125, 0x8827: 200}}
    del wanted[0x0112]
    found = loaded(again.picture.metadata.exif)
    assert {key: found[key] for key in wanted if key not in (0x8769, 0x8825)} == {
        key: wanted[key] for key in wanted if key not in (0x8769, 0x8825)
    }
    assert found[0x8769] == wanted[0x8769] and found[0x8825] == wanted[0x8825]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_turned_says_that_it_is_upright(order: str, orientation: int) -> None:
    """Otherwise it would be turned once more, whichever program shows it."""
    xmp = XMP.replace(b'Orientation="1"', b'Orientation="%d"' % orientation)
    source = media.read_picture(png(camera(orientation, order), xmp=xmp))
    assert source.picture.metadata == Metadata(None, camera(1, order), XMP)
    assert (source.picture.height > source.picture.width) == (orientation > 4)
    again = media.read_picture(media.to_bytes(source.picture, ".png"))
    assert np.array_equal(again.picture.samples, source.picture.samples)
    element = b"<x><tiff:Orientation>%d</tiff:Orientation></x>" % orientation
    assert media.read_picture(png(xmp=element)).picture.metadata.xmp == element.replace(b"%d" % orientation, b"1")


def test_an_orientation_alone_is_no_metadata() -> None:
    assert media.read_picture(png(ifd((0x0112, 3, 1, b"\6")))).picture.metadata == Metadata()


def test_exif_that_cannot_be_parsed_is_carried() -> None:
    block = b"no TIFF at all"
    picture = media.read_picture(jpeg(block)).picture
    assert picture.metadata.exif == block
    for suffix, losses in {".png": (), ".jpg": (), ".webp": (), ".tif": 1, ".avif": 1, ".ppm": 1}.items():
        assert media.fitted(picture, suffix)[1] == (("metadata is dropped: EXIF",) if losses else ())
        media.to_bytes(picture, suffix)


def test_profiles_as_imagemagick_keeps_them() -> None:
    before = b""
    for name, body in ((b"icc", ICC), (b"exif", b"Exif\0\0" + camera()), (b"xmp", XMP)):
        text = b"\n%b\n%8d\n%b\n" % (name, len(body), body.hex().encode())
        before += chunk(b"zTXt", b"Raw profile type " + name + b"\0\0" + zlib.compress(text))
    source = media.read_picture(png_of(RGB, before))
    assert source.picture.metadata == Metadata(ICC, camera(), XMP) and source.losses == ()


def test_formats_without_metadata_say_so_once() -> None:
    picture = Picture(RGB, None, Metadata(ICC, camera(), XMP))
    for suffix in (".ppm", ".bmp"):
        assert media.fitted(picture, suffix)[1] == ("metadata is dropped: ICC colour profile, EXIF, XMP",)
        media.to_bytes(picture, suffix)
    large = Picture(RGB, None, Metadata(None, camera() + bytes(70000), b"<x/>" + bytes(70000)))
    assert media.fitted(large, ".jpg")[1] == ("metadata is dropped: EXIF",)
    assert media.read_picture(media.to_bytes(large, ".jpg")).picture.metadata == Metadata(xmp=large.metadata.xmp)
    assert media.read_picture(media.to_bytes(large, ".png")).picture.metadata == large.metadata


def test_a_profile_of_other_colours_is_not_attached() -> None:
    for space, samples, kept in (
        (b"GRAY", RGB[..., 0], True),
        (b"GRAY", RGB, False),
        (b"RGB ", RGB[..., 0], False),
        (b"CMYK", RGB, False),
    ):
        profile = ICC[:16] + space + ICC[20:]
        source = media.read_picture(png_of(samples, chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))))
        assert source.picture.metadata.icc == (profile if kept else None)
        assert source.losses == (() if kept else ("metadata is dropped: ICC colour profile",))
    cut = jpeg(icc=LONG_ICC).replace(b"ICC_PROFILE\0\2\3", b"ICC_PROFILE\0\2\4")
    cut = cut.replace(b"ICC_PROFILE\0\1\3", b"ICC_PROFILE\0\1\4").replace(b"ICC_PROFILE\0\3\3", b"ICC_PROFILE\0\3\4")
    assert media.read_picture(cut).losses == ("metadata is dropped: ICC colour profile",)


def lut_profile() -> bytes:
    """A profile of CMYK that is as simple as can be: paper is white, all of any ink is black."""
    grid, tables = 2, bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes((4, 3, grid, 0)) + struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    table += tables * 4 + b"".join(bytes((0 if n else 255, 128, 128)) for n in range(grid**4)) + tables * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text\0\0\0\0none\0\0\0\0"
    about = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"plain" + bytes(79 + 8)
    parts = {b"desc": about, b"cprt": text, b"wtpt": white, b"A2B0": table, b"A2B1": table}
    place, directory, body = 128 + 4 + 12 * len(parts), struct.pack(">I", len(parts)), b""
    for name, part in parts.items():
        part += bytes(-len(part) % 4)
        directory += name + struct.pack(">II", place + len(body), len(part))
        body += part
    kinds = b"prtr", b"CMYK", b"Lab ", bytes(12), b"acsp"
    header = struct.pack(">I4sI4s4s4s12s4s", place + len(body), b"lcms", 0x02400000, *kinds)
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + directory + body


def test_cmyk_is_converted_by_its_profile_which_is_not_kept() -> None:
    ink = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        source = media.read_picture(saved(ink, kind, icc_profile=lut_profile()))
        assert source.picture.metadata == Metadata()
        assert source.losses == ("CMYK is converted to sRGB by the profile of the file (relative colorimetric)",)
        assert source.picture.samples.max() < 8  # that ink is black there
        plain = media.read_picture(saved(ink, kind, icc_profile=ICC))
        assert plain.picture.metadata == Metadata()
        assert plain.losses[0] == "CMYK is converted to RGB without colour management"
    again = media.as_source(ink.convert("RGB")).picture
    assert again.metadata == Metadata()


def test_colour_codes_of_png() -> None:
    data = png_of(RGB, chunk(b"cICP", bytes((9, 16, 0, 1))))
    source = media.read_picture(data)
    assert source.picture.metadata == Metadata(cicp=bytes((9, 16, 0, 1))) and source.losses == ()
    picture = mvc.decode(mvc.encode(data, lossless=True))
    assert chunk(b"cICP", bytes((9, 16, 0, 1))) in media.to_bytes(picture, ".png")
    assert media.fitted(picture, ".jpg")[1] == ("metadata is dropped: colour codes",)


# Images of Pillow and arrays


def test_images_of_pillow() -> None:
    data = jpeg(camera(6), ICC, XMP.replace(b'Orientation="1"', b'Orientation="6"'))
    kept = Metadata(ICC, camera(), XMP)
    assert media.as_source(Image.open(io.BytesIO(data))).picture.metadata == kept
    back = media.as_source(media.read_picture(data).picture.to_pil())
    assert back.picture.metadata == kept and back.losses == ()
    other = io.BytesIO()
    media.read_picture(data).picture.to_pil().save(other, "PNG")
    assert Image.open(other).info["icc_profile"] == ICC
    assert media.as_source(RGB).picture.metadata == Metadata()
    deep = Picture(RGB.astype(np.uint16), RGB[..., 0].astype(np.uint16), kept)
    for picture in (deep.eight_bit(), deep.on_white(), media.as_source(deep).picture):
        assert picture.metadata == kept
    with pytest.raises(mvc.SourceError, match="Metadata"):
        Picture(RGB, None, {"icc": ICC})
    with pytest.raises(ValueError, match="4194305 bytes"):
        Metadata(exif=bytes(MOST_BYTES + 1))
    assert ("size", "varint", f"1..{MOST_BYTES}") in rows(META.fields)  # a file may hold as much


# Places


def test_places_are_taken_out() -> None:
    for order in "<>":
        without = exifs.without_gps(camera(1, order))
        assert len(without) == len(camera(1, order))
        seconds = struct.pack(order + "III", 22, 1, 51)
        assert seconds in camera(1, order) and seconds not in without
        found, before = loaded(without), loaded(camera(1, order))
        assert 0x8825 not in keys_of(without) and found[0x8825] == {}
        assert found[0x8769] == before[0x8769] and found[0x010F] == before[0x010F]
    xmp = b'<rdf:Description exif:GPSLatitude="47,22N" dc:title="a"><exif:GPSLongitude>8,3E</exif:GPSLongitude><b/>'
    kept, dropped = exifs.without_places(Metadata(None, None, xmp))
    assert (kept.xmp, dropped) == (b'<rdf:Description dc:title="a"><b/>', ())
    for other in (b'<drone:GpsLatitude="1"/>', "exif:GPSLatitude".encode("utf-16-le")):
        assert exifs.without_places(Metadata(None, None, other)) == (Metadata(), ("XMP",))
    sixth = camera().index(b"\x25\x88") + 8  # where the directory of places is said to be
    for elsewhere in (len(camera()) - 4, 8, 1 << 31):
        moved = camera()[:sixth] + struct.pack("<I", elsewhere) + camera()[sixth + 4 :]
        assert exifs.without_gps(moved) is None
    assert exifs.without_places(Metadata(None, b"no TIFF")) == (Metadata(), ("EXIF",))


def keys_of(exif: bytes) -> set[int]:
    read = Image.Exif()
    read.load(exif)
    return set(read)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=12), st.integers(0, 200))
def test_damaged_exif_is_no_error(changes: list[tuple[int, int]], cut: int) -> None:
    block = bytearray(camera(6))
    for place, value in changes:
        block[place % len(block)] = value
    damaged = bytes(block[: len(block) - cut])
    exifs.upright(damaged)
    placeless = exifs.without_gps(damaged)
    assert placeless is None or len(placeless) == len(damaged)
    tags = exifs.tree(damaged)
    if tags:
        assert exifs.tree(exifs.block(tags)) == tags
    picture = media.read_picture(jpeg(damaged)).picture
    for suffix in (".png", ".jpg", ".tif", ".avif", ".webp"):
        media.to_bytes(media.fitted(picture, suffix)[0], suffix)


# In the file


def agreed(data: bytes) -> Metadata:
    """The metadata of a file as three readers find it: ours, the specification's, and the reference decoder's."""
    found = read_metadata(data)
    assert SPEC["read_metadata"](data) == reference.read_metadata(data) == dict(found.items())
    return found


def test_a_picture_without_metadata_costs_nothing_and_with_it_its_bytes() -> None:
    plain = stills.exact_file(Picture(RGB))
    assert [code for code, _ in chunks_of(plain)] == [1, 2]
    own = stills.exact_file(Picture(RGB, None, Metadata(exif=RNG.bytes(500))))
    assert len(own) - len(plain) == 500 + 6
    assert len(stills.exact_file(Picture(RGB, None, Metadata(xmp=XMP * 20)))) - len(plain) < 200
    codec = tiny_codec()
    picture = Picture(np.zeros((9, 9, 3), np.uint8), None, Metadata(ICC, camera(), XMP))
    data = codec.encode(picture, 20)
    assert codec.decode(data).metadata == picture.metadata
    bare = codec.encode(replace(picture, metadata=Metadata()), 20)
    assert assemble([pair for pair in chunks_of(data) if pair[0] != 0x83]) == bare
    (_, stored) = chunks_of(data)[1]
    assert describe(data)["metadata"][0] == {"kind": "icc", "bytes": len(ICC), "stored_bytes": len(stored)}


HEAD, UNIT = chunks_of(stills.exact_file(Picture(RGB)))
DEFLATED = zlib.compressobj(9, zlib.DEFLATED, -15)
PACKED = DEFLATED.compress(b"<x/>" * 99) + DEFLATED.flush()
SIZE = bytes((396 & 127 | 128, 396 >> 7))


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"\2\4<x/>", Metadata(xmp=b"<x/>")),
        (b"\x12" + SIZE + PACKED, Metadata(xmp=b"<x/>" * 99)),
        (b"", Metadata()),
        (b"\2", Metadata()),
        (b"\2\5<x/>", Metadata()),
        (b"\2\3<x/>", Metadata()),
        (b"\2\0", Metadata()),
        (b"\x0f\4<x/>", Metadata()),
        (b"\x22\4<x/>", Metadata()),
        (b"\3\5abcde", Metadata()),
        (b"\2\x81\x80\x80\x02" + bytes((4 << 20) + 1), Metadata()),
        (b"\x12" + SIZE + PACKED + b"\0", Metadata()),
        (b"\x12" + SIZE + PACKED[:-1], Metadata()),
        (b"\x12" + bytes((SIZE[0] + 1, SIZE[1])) + PACKED, Metadata()),
        (b"\x12" + bytes((SIZE[0] - 1, SIZE[1])) + PACKED, Metadata()),
        (b"\x12\4" + zlib.compress(b"<x/>"), Metadata()),
    ],
)
def test_bad_metadata_counts_as_not_there(payload: bytes, found: Metadata) -> None:
    for chunks in ([HEAD, (0x83, payload), UNIT], [HEAD, UNIT, (0x83, payload)]):
        data = assemble(chunks)
        assert agreed(data) == found
        assert np.array_equal(mvc.decode(data).samples, RGB)
        assert mvc.info(data)["intact"]
    both = assemble([HEAD, (0x83, payload), (0x83, b"\2\4<y/>"), UNIT])
    assert agreed(both).xmp == (found.xmp or b"<y/>")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30), st.sampled_from([b"", b"\2\4", b"\x12" + SIZE + PACKED[:4], b"\3\4"]))
def test_both_readers_agree_on_any_metadata(more: bytes, start: bytes) -> None:
    agreed(assemble([HEAD, (0x83, start + more), UNIT]))


@settings(max_examples=100, deadline=None)
@given(contents)
def test_all_readers_agree_on_valid_files(content: Content) -> None:
    assert content.head.kind == "still" or agreed(content.data()) == Metadata()
    agreed(content.data())


@settings(max_examples=100, deadline=None)
@given(metadata)
def test_what_is_written_is_read(own: Metadata) -> None:
    assert agreed(stills.exact_file(Picture(RGB, None, own))) == own


def test_the_golden_file() -> None:
    data = (GOLDEN / "exact-metadata.mvc").read_bytes()
    expected = json.loads((GOLDEN / "expected.json").read_text())["exact-metadata"]
    assert exact_digests(replace(mvc.decode(data), metadata=agreed(data))) == expected
    assert set(expected) == {f"{kind}_sha256" for kind in ("samples", *NAMES)}


def test_a_clip_has_none() -> None:
    chunks = chunks_of(write_file(*CLIP))
    data = assemble([*chunks[:2], (0x83, b"\2\4<x/>"), *chunks[2:]])
    assert agreed(data) == Metadata()
    assert read_file(data) == read_file(write_file(*CLIP))


# The functions and the command


def test_choices() -> None:
    data = png(camera(), ICC, XMP)
    for wanted, kept in {"all": (ICC, camera(), XMP), "exif, xmp": (None, camera(), XMP), "none": (None,) * 3}.items():
        if "icc" in chosen(wanted):
            coded = mvc.encode(data, lossless=True, metadata=wanted)
        else:
            with pytest.warns(mvc.LossWarning, match="colours are taken as sRGB"):
                coded = mvc.encode(data, lossless=True, metadata=wanted)
        assert mvc.decode(coded).metadata == Metadata(*kept)
    assert mvc.decode(mvc.encode(data, lossless=True, metadata=["icc"])).metadata == Metadata(ICC)
    placeless = mvc.decode(mvc.encode(data, lossless=True, gps=False)).metadata
    assert placeless == Metadata(ICC, exifs.without_gps(camera()), XMP)
    with pytest.raises(ValueError, match="icc, exif, xmp"):
        mvc.encode(data, metadata="icc,gps")


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k.jpg").write_bytes(jpeg(camera(6), ICC, XMP))
    assert run("encode", "k.jpg", "--lossless", "-o", "k.mvc").stderr.count("warning") == 0
    told = run("info", "k.mvc").stdout
    assert f"exif  {len(camera())} bytes" in told and f"icc profile  {len(ICC)} bytes" in told
    facts = json.loads(run("info", "--json", "k.mvc").stdout)
    assert [own["kind"] for own in facts["metadata"]] == ["icc", "exif", "xmp"]
    run("decode", "k.mvc", "-o", "k.webp")
    assert media.read_picture(tmp_path / "k.webp").picture.metadata == Metadata(ICC, camera(), XMP)
    run("decode", "k.mvc", "-o", "k.png", "--metadata", "icc,exif", "--no-gps")
    kept = media.read_picture(tmp_path / "k.png").picture.metadata
    assert kept == Metadata(ICC, exifs.without_gps(camera()))
    told = run("decode", "k.mvc", "-o", "k.ppm").stderr
    assert told.count("warning") == 1 and "metadata is dropped: ICC colour profile, EXIF, XMP" in told
    fails(run("encode", "k.jpg", "--metadata", "gps"), 2, "icc, exif, xmp")
