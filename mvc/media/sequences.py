"""Clips made of pictures: numbered files, folders, animations (GIF, WebP, PNG, AVIF)."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageSequence

from mvc import files
from mvc.colour import RGB
from mvc.errors import SourceError
from mvc.frames import Clip, ClipInfo, Frame, Told
from mvc.media.ends import is_whole_gif
from mvc.media.pictures import read_picture
from mvc.media.trouble import pillow_errors
from mvc.media.writing import check_extension, write_picture
from mvc.picture import MAX_FRAME_SIDE_PX, Picture, check_size

Frames = Generator[Frame, None, None]

DEFAULT_RATE = Fraction(25)
_MILLISECOND = Fraction(1, 1000)
_NO_DELAY_MS = 100  # what viewers take where an animation names none
_NUMBER = re.compile(r"%(?:0(\d+))?d")


# Numbered files and folders ---------------------------------------------------------------------------------------


def is_pattern(path: str | os.PathLike[str]) -> bool:
    """Whether a path names numbered files ("frames/%04d.png"), and is no file itself."""
    return bool(_NUMBER.search(os.path.basename(os.fspath(path)))) and not os.path.exists(path)


def numbered(pattern: str | os.PathLike[str], told: Told) -> list[Path]:
    """The files of a pattern, by number; `SourceError` if there is none. A gap between numbers is told."""
    folder, name = os.path.split(os.fspath(pattern))
    found = _NUMBER.search(name)
    if found is None:
        raise SourceError(f"{name} has no place for a number", hint="write %d or %04d where it stands")
    digits = rf"(\d{{{found[1]},}})" if found[1] else r"(\d+)"
    named = re.compile(re.escape(name[: found.start()]) + digits + re.escape(name[found.end() :]))
    try:
        names = os.listdir(folder or os.curdir)
    except OSError as error:
        raise SourceError(f"cannot read {folder}: {files.reason(error)}") from error
    by_number = {int(match[1]): Path(folder, name) for name in names if (match := named.fullmatch(name))}
    if not by_number:
        raise SourceError(f"no file is named like {os.fspath(pattern)}")
    if missing := max(by_number) - min(by_number) + 1 - len(by_number):
        told.add(f"{missing} of the numbers between {min(by_number)} and {max(by_number)} are missing")
    return [by_number[number] for number in sorted(by_number)]


def in_folder(folder: str | os.PathLike[str]) -> list[Path]:
    """The pictures in a folder, by name, numbers in it by their value; `SourceError` if there is none."""
    found = [path for path in files.find(folder, files.PICTURE_SUFFIXES) if path.parent == Path(folder)]
    if not found:
        raise files.no_files(folder, files.PICTURE_SUFFIXES)
    parts = re.compile(r"(\d+)")
    return sorted(found, key=lambda path: [(int(p), "") if p.isdigit() else (-1, p) for p in parts.split(path.name)])


def read_pictures(
    sources: Sequence[Path | BinaryIO], told: Told, rate: Fraction | None, name: str | None = None
) -> tuple[ClipInfo, Frames]:
    """A clip of one picture after the other, in RGB. All must have the size of the first."""
    if rate is None and len(sources) > 1:
        told.add(f"pictures name no frame rate: {DEFAULT_RATE} frames per second are assumed")
    rate = rate or DEFAULT_RATE
    held = [read_picture(sources[0], name=name, keep_alpha=False)]
    picture = held[0].picture
    info = ClipInfo(picture.width, picture.height, 1 / rate, RGB, "gbrp", rate)

    def frames() -> Frames:
        for time, path in enumerate(sources):
            source = held.pop() if held else read_picture(path, keep_alpha=False)
            if source.picture.metadata:
                told.add(f"metadata is dropped: {source.picture.metadata.names}")
            for loss in source.losses:
                told.add(loss)
            picture = source.picture
            if (picture.width, picture.height) != (info.width, info.height):
                size = f"{picture.width}x{picture.height}, and those before it {info.width}x{info.height}"
                raise SourceError(f"{source.name} is {size}", hint="give pictures of one size")
            yield _rgb_frame(picture.samples, time, 1)

    return info, frames()


def write_pictures(
    target: str | os.PathLike[str], info: ClipInfo, frames: Iterable[Frame], *, force: bool = False
) -> list[str]:
    """Write each frame as a picture file, numbered from 1, into a folder (%06d.png) or by a pattern; what is lost."""
    folder, last = os.path.split(os.fspath(target))
    number = _NUMBER.search(last)
    if number is None:
        folder, last = os.fspath(target), "%06d.png"
        number = _NUMBER.search(last)
    assert number is not None
    check_extension(last)
    if folder:
        files.make_folder(folder)
    for count, frame in enumerate(frames, 1):
        path = os.path.join(
            folder, last[: number.start()] + str(count).zfill(int(number[1] or 1)) + last[number.end() :]
        )
        write_picture(frame.to_picture(), path, force=force)
    rate = f": there were {float(info.rate):.4g} frames per second" if info.rate else ""
    losses = [f"pictures keep no times{rate}"]
    if info.aspect != 1:
        losses.append(f"pixels are not square ({info.aspect}), which pictures do not keep")
    return losses


# Animations -------------------------------------------------------------------------------------------------------


def read_animation(file: BinaryIO, label: str, kind: str, told: Told) -> tuple[ClipInfo, Frames] | None:
    """An animation as Pillow reads it, in RGB on white; None where the file holds one picture only."""
    with pillow_errors(label, kind):
        image = Image.open(file, formats=(kind,))
        check_size(*image.size, name=label, side=MAX_FRAME_SIDE_PX)
        if getattr(image, "n_frames", 1) < 2:
            return None
    whole = kind != "GIF" or is_whole_gif(file)
    if "loop" in image.info:
        told.add("how often the animation repeats is dropped")
    for key, what in (("icc_profile", "ICC colour profile"), ("exif", "EXIF"), ("xmp", "XMP")):
        if image.info.get(key):
            told.add(f"metadata is dropped: {what}")
    info = ClipInfo(image.width, image.height, _MILLISECOND, RGB, "gbrp")

    def frames() -> Frames:
        now = 0.0
        for number in itertools.count():
            with pillow_errors(f"{label}: frame {number}", kind):
                try:
                    image.seek(number)
                except EOFError:
                    if not whole:
                        raise SourceError(f"{label} is cut off after {number} frames") from None
                    return
                samples = _on_white(image, told)
            delay = float(image.info.get("duration") or 0)
            if delay <= 0:
                told.add(f"frames without a delay are given {_NO_DELAY_MS} ms")
                delay = _NO_DELAY_MS
            time, now = round(now), now + delay
            yield _rgb_frame(samples, time, round(now) - time)

    return info, frames()


def clip_of_images(images: Sequence[Image.Image], duration: float | Sequence[float] | None = None) -> Clip:
    """A clip of all frames of images of Pillow, one behind the other, in RGB on white.

    `duration` of a frame in milliseconds is one for all or one for each; without it frames say it, or last 100 ms.
    Raises `SourceError` for frames of another size than the first, or more than there are durations.
    """
    told = Told()
    width, height = images[0].size
    check_size(width, height, name="the clip", side=MAX_FRAME_SIDE_PX)
    same = duration if isinstance(duration, (int, float)) and duration > 0 else None
    unit = _MILLISECOND if same is None else Fraction(same).limit_denominator(1000) / 1000
    each = None if duration is None or isinstance(duration, (int, float)) else list(duration)

    def frames() -> Frames:
        now = 0.0
        for number, image in enumerate(itertools.chain.from_iterable(map(ImageSequence.Iterator, images))):
            if image.size != (width, height):
                size = f"{image.width}x{image.height}, and those before it {width}x{height}"
                raise SourceError(f"frame {number} is {size}", hint="give pictures of one size")
            if each is not None and number >= len(each):
                raise SourceError(f"there are more frames than durations ({len(each)})")
            delay = 1.0 if same else float(each[number] if each else image.info.get("duration") or _NO_DELAY_MS)
            time, now = round(now), now + max(1.0, delay)
            yield _rgb_frame(_on_white(image, told), time, round(now) - time)

    rate = None if same is None else 1 / unit
    return Clip(width, height, unit, RGB, "gbrp", rate, told=told, source=frames())


def _on_white(image: Image.Image, told: Told) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    full = image.convert("RGBA")
    if full.getchannel("A").getextrema() != (255, 255):
        told.add("alpha is dropped: transparent parts are shown on white")
        full = Image.alpha_composite(Image.new("RGBA", full.size, "white"), full)
    return np.asarray(full.convert("RGB"))


def _rgb_frame(samples: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], time: int, duration: int) -> Frame:
    """Gray as RGB too: the next picture may have colours."""
    if samples.ndim == 2:
        return Frame((samples, samples, samples), time, RGB, duration)
    return Frame.of_picture(Picture(samples), time, duration)
