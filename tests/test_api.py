"""The public functions take what people have, and say in a sentence what is wrong with the rest."""

from __future__ import annotations

import io
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_codec
import numpy as np
import pytest
from picture_files import png_of, saved
from PIL import Image, ImageOps, PngImagePlugin

import mvc
from mvc.arguments import MAX_PIXELS, MAX_THREADS
from mvc.picture import MAX_SIDE_PX, check_decoding, decoding_bytes

RNG = np.random.default_rng(9)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0].copy()
PNG = saved(Image.fromarray(RGB))
PALETTE = saved(Image.new("P", (30, 20)))


pytestmark = pytest.mark.usefixtures("codec")


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def back(picture: Any, **options: Any) -> np.ndarray:
    return mvc.decode(mvc.encode(picture, **options)).samples


def test_pictures_as_people_have_them(tmp_path: Path) -> None:
    path = tmp_path / "k.png"
    path.write_bytes(PNG)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw, tempfile.TemporaryFile() as unnamed:
        unnamed.write(PNG)
        unnamed.seek(0)
        sources: list[Any] = [mvc.Picture(RGB), RGB, RGB[:, ::-1][:, ::-1], path, str(path)]
        sources += [Image.fromarray(RGB), Image.open(path)]
        sources += [PNG, bytearray(PNG), memoryview(PNG), memoryview(PNG + PNG)[: len(PNG)]]
        for source in [*sources, io.BytesIO(PNG), file, raw, unnamed]:
            assert np.array_equal(back(source), RGB), source
    for source in (GRAY, GRAY[:, :, None], Image.fromarray(GRAY), mvc.Picture(GRAY)):
        assert np.array_equal(back(source), GRAY)


def test_a_pipe_is_read_to_its_end() -> None:
    class Slow(io.RawIOBase):
        """Gives what a pipe may: a few bytes at a time."""

        rest = PNG

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            part, self.rest = self.rest[: min(7, len(buffer))], self.rest[min(7, len(buffer)) :]
            buffer[: len(part)] = part
            return len(part)

    assert np.array_equal(back(Slow()), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_pillow_are_read_as_their_files(mode: str) -> None:
    image = Image.fromarray(GRAY.astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        samples = back(image)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    source = mvc.read_picture(saved(image, kind))
    assert np.array_equal(samples, source.picture.samples)
    assert [str(warning.message) for warning in told] == [f"the picture: {loss}" for loss in source.losses]


def test_of_16_bits_of_colour_pillow_keeps_8() -> None:
    image = Image.open(io.BytesIO(png_of(RGB.astype(np.uint16) * 257)))
    with pytest.warns(mvc.LossWarning, match="16-bit samples are reduced to 8 bits"):
        assert np.array_equal(back(image), RGB)


def test_images_of_pillow_are_turned_as_long_as_they_are_as_opened() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(RGB), exif=exif)
    turned = np.rot90(RGB, -1)
    assert np.array_equal(back(data), turned)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    assert np.array_equal(back(Image.open(io.BytesIO(saved(Image.fromarray(RGB), pnginfo=text)))), turned)
    for kind in ("PNG", "TIFF"):
        image = Image.open(io.BytesIO(saved(Image.fromarray(RGB), kind, exif=exif)))
        assert np.array_equal(back(image), turned)
        image.load()
        assert np.array_equal(back(image), turned)
    worked_on = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(back(worked_on), turned)
    cropped = Image.open(io.BytesIO(data)).crop((0, 0, 12, 8))
    assert np.array_equal(back(cropped), RGB[:8, :12])


def test_a_warning_names_the_source_shortly(tmp_path: Path) -> None:
    path = tmp_path / "k.png"
    path.write_bytes(PALETTE)
    with path.open("rb") as file:
        named = [path, str(path), file, Image.open(path)]
        unnamed = [PALETTE, bytearray(PALETTE), io.BytesIO(PALETTE), Image.open(io.BytesIO(PALETTE))]
        for source in named + unnamed:
            with pytest.warns(mvc.LossWarning) as told:
                mvc.encode(source)
            name = "the picture" if any(source is other for other in unnamed) else str(path)
            assert [str(one.message).partition(": ")[0] for one in told] == [name]
            assert told[0].filename == __file__  # where the caller is


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((20, 30, 5), np.uint8),
        np.zeros((3, 20, 30), np.uint8),
        np.zeros((20, 30)),
        np.zeros((20, 30, 3), np.int16),
        np.zeros(30, np.uint8),
        np.zeros((0, 30), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_other_arrays_are_a_clear_error(wrong: np.ndarray) -> None:
    with pytest.raises(mvc.SourceError, match=r"uint8|\[H, W\]|no pixels"):
        mvc.encode(wrong)


@pytest.mark.parametrize("wrong", [None, 5, [[1, 2]], pytest.param(object(), id="object"), {"a": 1}], ids=repr)
def test_what_is_no_picture_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a picture is a path, the bytes of a picture file or an open binary file, not"):
        mvc.encode(wrong)
    for function in (mvc.decode, mvc.info):
        with pytest.raises(TypeError, match=r"an \.mvc file is a path, its bytes or an open binary file, not"):
            function(wrong)


def test_files_that_are_open_for_text(tmp_path: Path) -> None:
    path = tmp_path / "k.png"
    path.write_bytes(PNG)
    for function in (mvc.encode, mvc.decode, mvc.info):
        with path.open() as file, pytest.raises(TypeError, match="open it with mode 'rb'"):
            function(file)  # type: ignore[operator]
    with path.open("wb") as file, pytest.raises(mvc.SourceError, match="cannot read"):
        mvc.encode(file)


WRONG = [
    ({"threads": 0}, ValueError),
    ({"threads": -1}, ValueError),
    ({"threads": 10**6}, ValueError),
    ({"threads": 1.0}, TypeError),
    ({"threads": "2"}, TypeError),
    ({"device": "tpu"}, ValueError),
    ({"device": "xpu"}, ValueError),
    ({"device": None}, TypeError),
    ({"model": 5}, TypeError),
    ({"model": b"mambavc-lite"}, TypeError),
]


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        *WRONG,
        ({"effort": 2.0}, TypeError),
        ({"effort": True}, TypeError),
        ({"effort": 4}, ValueError),
        ({"effort": -1}, ValueError),
        ({"quality": "4"}, TypeError),
        ({"quality": 0}, ValueError),
        ({"quality": float("nan")}, ValueError),
        ({"bpp": float("inf")}, ValueError),
        ({"bpp": 0}, ValueError),
        ({"psnr": float("nan")}, ValueError),
        ({"size": "50kB"}, TypeError),
        ({"size": float("nan")}, TypeError),
        ({"size": 0}, ValueError),
        ({"quality": 4, "size": 500}, ValueError),
        ({"bpp": 1, "psnr": 30}, ValueError),
    ],
    ids=str,
)
def test_wrong_arguments_are_told_before_anything_is_read(
    codec: fake_codec.FakeCodec, wrong: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=rf"\b{next(reversed(wrong))}\b") as caught:
        mvc.encode("there/is/no/such.png", **wrong)
    assert " " in str(caught.value) and len(str(caught.value)) < 120
    assert codec.calls == []


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [*WRONG, ({"max_pixels": 0}, ValueError), ({"max_pixels": 1e6}, TypeError), ({"max_memory": "1GB"}, TypeError)],
    ids=str,
)
def test_wrong_arguments_of_decode(wrong: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match=rf"\b{next(iter(wrong))}\b"):
        mvc.decode("there/is/no/such.mvc", **wrong)


def test_right_arguments_reach_the_codec(codec: fake_codec.FakeCodec) -> None:
    mvc.encode(RGB, np.float32(8), effort=np.int64(3), device="cpu", threads=MAX_THREADS, model=Path("a/folder"))
    assert codec.calls == [("load", ("a/folder", "cpu", MAX_THREADS)), ("encode", 63)]
    assert codec.efforts == [3]
    mvc.encode(RGB, size=np.int32(500))
    assert codec.calls[-2:] == [("encode_to", {"size": 500}), ("encode", 5)]
    assert codec.efforts[-1] == mvc.DEFAULT_EFFORT


def test_what_a_model_does_not_have_is_told(codec: fake_codec.FakeCodec) -> None:
    codec.rates, codec.refines = 1, False
    mvc.encode(RGB)
    mvc.encode(RGB, effort=0)
    with pytest.warns(UserWarning, match="has one rate: quality changes nothing"):
        mvc.encode(RGB, 4)
    with pytest.warns(UserWarning, match="has no efforts: effort 3 changes nothing") as told:
        mvc.encode(RGB, effort=3)
    assert told[0].filename == __file__


def test_mvc_files_as_people_have_them(tmp_path: Path) -> None:
    data = mvc.encode(RGB)
    path = tmp_path / "k.mvc"
    path.write_bytes(data)
    with path.open("rb") as file, path.open("rb") as other:
        for source, again in [
            *((one, one) for one in (path, str(path), data, bytearray(data), memoryview(data))),
            (io.BytesIO(data), io.BytesIO(data)),
            (file, other),
        ]:
            assert np.array_equal(mvc.decode(source).samples, RGB)
            assert mvc.info(again)["width"] == 30


def test_a_picture_is_an_array_and_an_image() -> None:
    picture = mvc.decode(mvc.encode(RGB))
    assert np.shares_memory(np.asarray(picture), picture.samples)
    assert not np.shares_memory(np.array(picture), picture.samples)
    assert np.asarray(picture, np.float32).dtype == np.float32
    assert np.mean(picture) == RGB.mean()
    with pytest.raises(ValueError, match="copy"):
        picture.__array__(np.float32, copy=False)  # what numpy 2 calls for asarray(..., copy=False)
    image = picture.to_pil()
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), RGB)
    assert mvc.Picture(GRAY).to_pil().mode == "L"


def test_limits_are_checked_before_weights_are_loaded(codec: fake_codec.FakeCodec) -> None:
    data = mvc.encode(RGB)
    codec.calls.clear()
    with pytest.raises(mvc.Limit, match="30x20, 600 pixels; at most 599 are allowed"):
        mvc.decode(data, max_pixels=599)
    with pytest.raises(mvc.Limit, match=r"some 0\.036 MB; 0\.001 MB are allowed"):
        mvc.decode(data, max_memory=1000)
    assert codec.calls == []
    mvc.decode(data, max_pixels=600, max_memory=decoding_bytes(30, 20))
    mvc.decode(data, max_pixels=None)


def test_a_large_picture_in_a_small_file_is_refused_at_once(codec: fake_codec.FakeCodec) -> None:
    """The head alone decides: nothing of the size of the picture is allocated."""
    for width, limits in ((8192, {"max_pixels": 8192 * 8192 - 1}), (8193, {}), (65535, {"max_memory": 10**9})):
        claimed: Any = SimpleNamespace(width=width, height=8192, samples=RGB, colour="rgb")
        small = codec.encode(claimed, 5)
        codec.calls.clear()
        with pytest.raises(mvc.Limit, match=f"{width}x8192"):
            mvc.decode(small, **limits)
        assert codec.calls == []


def test_the_check_itself() -> None:
    check_decoding(MAX_SIDE_PX, MAX_SIDE_PX, MAX_SIDE_PX**2)
    check_decoding(8192, 8192, MAX_PIXELS)
    with pytest.raises(mvc.Limit, match="at most"):
        check_decoding(MAX_SIDE_PX + 1, 1, None)
    need = decoding_bytes(100, 100, weights_bytes=10**6)
    assert need == decoding_bytes(100, 100) + 10**6
    check_decoding(100, 100, None, need, weights_bytes=10**6)
    with pytest.raises(mvc.Limit, match="MB"):
        check_decoding(100, 100, None, need - 1, weights_bytes=10**6)


def test_threads_read_pictures_side_by_side() -> None:
    tiff = saved(Image.fromarray(RGB), "TIFF", compression="tiff_lzw")
    wrong: list[object] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(mvc.read_picture(tiff).picture.samples, RGB):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
