"""Clips for tests: planes of noise, files that PyAV codes of them, pipes."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from mvc.frames import ClipInfo, Frame, PixelFormat, plane_shapes
from mvc.media.clips import write_clip


def planes_of(width: int, height: int, pixel_format: PixelFormat, seed: int = 0) -> tuple[NDArray[np.uint8], ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 256, shape, np.uint8) for shape in plane_shapes(width, height, pixel_format))


def moving(info: ClipInfo, times: list[int]) -> list[Frame]:
    """Frames of noise, each with its own."""
    return [
        Frame(planes_of(info.width, info.height, info.pixel_format, seed), time, info.colour)
        for seed, time in enumerate(times)
    ]


def same(one: Frame, other: Frame) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def y4m(header: str, *bodies: bytes) -> bytes:
    return b"".join([f"YUV4MPEG2 {header}\n".encode(), *(b"FRAME\n" + body for body in bodies)])


def coded(
    frames: list[Any],
    codec: str,
    container: str,
    *,
    rate: Fraction = Fraction(25),
    pix_fmt: str | None = None,
    options: dict[str, str] | None = None,
    degrees: int = 0,
    **tags: Any,
) -> bytes:
    """A file that PyAV codes of frames of its own; `tags` are attributes of the encoder."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        context = stream.codec_context
        context.width, context.height = frames[0].width, frames[0].height
        context.pix_fmt = pix_fmt or frames[0].format.name
        for name, value in tags.items():
            setattr(context, name, value)
        if degrees:
            stream.set_display_rotation(degrees)
        for number, frame in enumerate(frames):
            frame.pts = number if frame.pts is None else frame.pts
            frame.time_base = 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def packed(planes: tuple[NDArray[Any], ...], pix_fmt: str) -> Any:
    """A frame of PyAV with these planes."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, samples.dtype).reshape(plane.height, -1)
        rows[:, : samples.shape[1]] = samples
    return frame


def lossless(planes: tuple[NDArray[Any], ...], pix_fmt: str, count: int = 2, **options: Any) -> bytes:
    """A Matroska file of FFV1."""
    return coded([packed(planes, pix_fmt) for _ in range(count)], "ffv1", "matroska", **options)


class Pipe(io.RawIOBase):
    """What a pipe is to a reader: bytes in small parts, once."""

    def __init__(self, data: bytes, part: int = 1000, fails: bool = False) -> None:
        self._data, self._part, self._fails, self._at = data, part, fails, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._fails and self._at >= len(self._data):
            raise OSError(5, "Input/output error")
        found = self._data[self._at : self._at + min(self._part, len(buffer))]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def sample_clip(tmp_path: Path, suffix: str, count: int = 30) -> tuple[bytes, int]:
    info = ClipInfo(32, 16, Fraction(1, 25), rate=Fraction(25))
    path = tmp_path / f"sample{suffix}"
    write_clip(path, info, moving(info, list(range(count))), crf=10)
    return path.read_bytes(), count
