"""YUV4MPEG2 in and out: planes as they are, one header line, one rate. Needs nothing but numpy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterable
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mvc import files
from mvc.colour import Colour
from mvc.errors import SourceError
from mvc.frames import ClipInfo, Frame, PixelFormat, Told
from mvc.media.unpack import LAYOUTS, eight_bits, laid_out
from mvc.picture import MAX_FRAME_SIDE_PX, check_size

SIGNATURE = b"YUV4MPEG2 "
DEFAULT_RATE = Fraction(25)
_MAX_LINE = 1024
_SITINGS = {"420": 1, "420jpeg": 1, "420mpeg2": 0, "420paldv": 2}  # H.273's places; 420 alone means JPEG's
_FACTORS = {"420": (2, 2), "411": (4, 1), "422": (2, 1), "440": (1, 2), "444": (1, 1), "444alpha": (1, 1)}
_NAMES: dict[PixelFormat, str] = {"gray": "mono", "yuv420p": "420", "yuv422p": "422", "yuv444p": "444"}


# Reading ---------------------------------------------------------------------------------------------------------


def read_y4m(file: BinaryIO, label: str, told: Told) -> tuple[ClipInfo, Generator[Frame, None, None]]:
    """What the header says, and the frames, whose times count them. Adds what is lost to `told`.

    The frames end with `SourceError` where the file stops within one.
    """
    parts = (_line(file, label) or b"").decode("latin-1").split()[1:]
    fields = {part[0]: part[1:] for part in parts if not part.startswith("X")}
    width, height = (int(fields[key]) if fields.get(key, "").isdecimal() else 0 for key in "WH")
    check_size(width, height, name=label, side=MAX_FRAME_SIDE_PX)
    rate = _ratio(fields.get("F", ""))
    if rate is None:
        told.add(f"no frame rate is named: {DEFAULT_RATE} frames per second are assumed")
    if fields.get("I") in ("t", "b", "m"):
        told.add("interlaced: both fields of a frame are taken as one picture")
    name, depth = _layout(fields.get("C", "420jpeg"), label)
    if depth > 8:
        told.add(f"{depth}-bit samples are rounded to 8 bits")
    if name == "444alpha":
        told.add("alpha is dropped")
    factors = _FACTORS.get(name)
    pixel_format: PixelFormat = LAYOUTS[factors] if factors else "gray"
    siting = _SITINGS.get(fields.get("C", "420jpeg"), 0 if depth > 8 else None) if name == "420" else None
    colour = Colour(full_range="XCOLORRANGE=FULL" in parts, siting=siting)
    rate = rate or DEFAULT_RATE
    aspect = _ratio(fields.get("A", "")) or Fraction(1)
    info = ClipInfo(width, height, 1 / rate, colour, pixel_format, rate, aspect)
    return info, _frames(file, label, info, factors, depth, name == "444alpha")


def _frames(
    file: BinaryIO, label: str, info: ClipInfo, factors: tuple[int, int] | None, depth: int, alpha: bool
) -> Generator[Frame, None, None]:
    shapes = [(info.height, info.width)]
    if factors:
        shapes += [(-(-info.height // factors[1]), -(-info.width // factors[0]))] * 2
    kind = np.dtype(np.uint8 if depth == 8 else "<u2")
    counts = [height * width for height, width in shapes]
    size = (sum(counts) + alpha * counts[0]) * kind.itemsize
    for time in itertools.count():
        line = _line(file, f"{label}: frame {time}")
        if line is None:
            return
        if line.split()[:1] != [b"FRAME"]:
            raise SourceError(f"{label} is broken: no frame begins where frame {time} should")
        samples: NDArray[Any] = np.frombuffer(_exactly(file, size, f"{label}: frame {time}"), kind)
        planes = [
            samples[start : start + count].reshape(shape)
            for start, count, shape in zip(itertools.accumulate(counts, initial=0), counts, shapes, strict=False)
        ]
        if depth > 8:
            planes = [eight_bits(plane, depth, info.colour.full_range) for plane in planes]
        yield Frame(laid_out(tuple(planes), factors, info.colour), time, info.colour, 1)


def _line(file: BinaryIO, label: str) -> bytes | None:
    """A line without its end; None at the end of the file."""
    try:
        line = file.readline(_MAX_LINE)
    except OSError as error:
        raise SourceError(f"cannot read {label}: {files.reason(error)}") from error
    if line and not line.endswith(b"\n"):
        raise SourceError(f"{label} is broken: its line of text does not end")
    return line.rstrip(b"\r\n") if line else None


def _exactly(file: BinaryIO, size: int, label: str) -> bytearray:
    data = bytearray()
    try:
        while len(data) < size and (part := file.read(size - len(data))):
            data += part
    except OSError as error:
        raise SourceError(f"cannot read {label}: {files.reason(error)}") from error
    if len(data) < size:
        raise SourceError(f"{label} is cut off: the file ends within it")
    return data


def _layout(name: str, label: str) -> tuple[str, int]:
    """ "420p10" is 4:2:0 with 10 bits."""
    match = re.fullmatch(r"(mono)(\d+)?|(420|422|440|444|411)(?:jpeg|mpeg2|paldv|p(\d+))?|(444alpha)", name)
    depth = int((match[2] or match[4] or 8) if match else 0)
    if match is None or not 8 <= depth <= 16:
        raise SourceError(f"{label} holds {name} samples, which are not read here")
    return match[1] or match[3] or match[5], depth


def _ratio(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[1]) and int(match[2]) else None


# Writing ---------------------------------------------------------------------------------------------------------


def write_y4m(file: BinaryIO, info: ClipInfo, frames: Iterable[Frame]) -> list[str]:
    """Write the frames, exact planes of `info.pixel_format`; what is lost.

    The rate is constant: the clip's own, or what the first two frames are apart.
    """
    losses: list[str] = []
    if info.pixel_format == "gbrp":
        losses.append("RGB is written as YUV 4:4:4")
        info = info.converted("yuv444p")
    spoken = (info.colour.primaries, info.colour.transfer, info.colour.matrix)
    if set(spoken) != {2}:
        losses.append(f"y4m cannot say what the colours are: {info.colour.in_words()}")
    moving = iter(frames)
    start = list(itertools.islice(moving, 2))  # the rate stands in front
    rate = info.rate or _apart(start, info.time_base) or DEFAULT_RATE
    siting = {0: "mpeg2", 1: "jpeg", 2: "paldv"}.get(info.colour.resolved(info.width, info.height).siting or 0, "jpeg")
    layout = _NAMES[info.pixel_format] + (siting if info.pixel_format == "yuv420p" else "")
    spans = "FULL" if info.colour.full_range else "LIMITED"
    file.write(
        SIGNATURE
        + f"W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip "
        f"A{info.aspect.numerator}:{info.aspect.denominator} C{layout} XCOLORRANGE={spans}\n".encode()
    )
    first = start[0].time if start else 0
    constant = True
    for count, frame in enumerate(itertools.chain(start, moving)):
        real, told = (frame.time - first) * info.time_base, count / rate
        constant = constant and abs(real - told) <= 1 / (2 * rate)
        file.write(b"FRAME\n")
        for plane in frame.converted(info.pixel_format, info.colour).planes:
            file.write(np.ascontiguousarray(plane).data)
    if not constant:
        losses.append(f"y4m has one frame rate: {float(rate):.4g} frames per second, though the times of frames differ")
    return losses


def _apart(start: list[Frame], time_base: Fraction) -> Fraction | None:
    if len(start) == 2 and start[1].time > start[0].time:
        return 1 / ((start[1].time - start[0].time) * time_base)
    return 1 / (start[0].duration * time_base) if start and start[0].duration > 0 else None
