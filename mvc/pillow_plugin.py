"""Pillow opens and saves .mvc files once this is imported: `import mvc.pillow_plugin`.

    image = Image.open("k.mvc")           # size, mode and info at once; nothing is decoded, and torch is not loaded
    image.save("k.mvc", quality=4)        # options and their errors are those of mvc.encode; exif, icc_profile and xmp
    clip.save("a.mvc", save_all=True, append_images=others, duration=40)     # those of mvc.encode_video

Pillow has no entry point by which it would find this by itself.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from math import ceil
from typing import IO, Any

from PIL import Image, ImageFile

import mvc
from mvc.arguments import SCALES
from mvc.container import Reader
from mvc.container.chunks import MAGIC
from mvc.errors import FormatError, MvcError, as_os_errors
from mvc.opening import open as open_mvc
from mvc.picture_file import PictureFile
from mvc.video.cursor import Cursor
from mvc.video.reader import ClipFile

FORMAT, MIME = "MVC", "image/x-mvc"
_OVER = {"icc_profile", "exif", "xmp"}


class MvcImageFile(ImageFile.ImageFile):
    """A still, or a clip whose frames are sought. An `OSError` says what cannot be decoded.

    `info` has "icc_profile", "exif" and "xmp"; of a clip "timestamp" and "duration" of the frame in milliseconds.
    What has no mode in Pillow (16 bits in colour or with alpha) comes in 8 bits. `ImageFile.LOAD_TRUNCATED_IMAGES`
    shows what has arrived of a still.
    """

    format = FORMAT
    format_description = "mvc learned image and video codec"
    _file: PictureFile | ClipFile | None = None
    _cursor: Cursor | None = None
    _number = 0
    _loaded = -1
    _draft: Image.Image | None = None
    _divisor = 1

    def _open(self) -> None:
        assert self.fp is not None
        try:
            with as_os_errors():
                self._file = file = open_mvc(self.fp)  # type: ignore[arg-type]  # of bytes, says IO[bytes]
        except OSError as error:
            if isinstance(error.__cause__, FormatError):
                raise SyntaxError(str(error)) from error  # Pillow says UnidentifiedImageError then
            raise
        self._size, self._mode = file.size, file.mode
        if isinstance(file, ClipFile):
            self._close_exclusive_fp_after_loading = False
            with suppress(MvcError), file.opened() as stored:
                times = [unit.index for unit in islice(Reader(stored).heads(), 2)]
                self._say_times(file, times[0], times[-1] - times[0])
            return
        self.info.update(file.metadata.for_pillow())

    @property
    def n_frames(self) -> int:
        """Frames of a clip, for which its file is walked once; 1 of a still."""
        if not isinstance(self._file, ClipFile):
            return 1
        with as_os_errors():
            return max(1, len(self._file))

    @property
    def is_animated(self) -> bool:
        """Whether there is more than one frame."""
        return self.n_frames > 1

    def tell(self) -> int:
        """The number of the frame, from 0."""
        return self._number

    def seek(self, frame: int) -> None:
        """Go to a frame of a clip; it is decoded when it is loaded. `EOFError` where there is none."""
        if not self._seek_check(frame):
            return
        assert isinstance(self._file, ClipFile)
        self._number, times = frame, self._file.times
        last = frame + 1 == len(times)
        step = times[frame] - times[frame - 1] if last else times[frame + 1] - times[frame]
        self._say_times(self._file, times[frame], step)

    def _say_times(self, clip: ClipFile, time: int, step: int) -> None:
        unit = 1000 * clip.time_base
        self.info["timestamp"], self.info["duration"] = round(time * unit), round(step * unit) if step else 0

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Take a smaller picture of at least this size: the thumbnail in the file (a JPEG, in sRGB), or a scale."""
        file = self._file
        if size is None or not isinstance(file, PictureFile) or self._loaded == 0 or self._draft or self._divisor > 1:
            return None
        image = self._thumbnail(file)
        if image is not None and image.width >= size[0] and image.height >= size[1]:
            self._size, self._draft = image.size, image
            self.info.pop("icc_profile", None)
            return self.mode, (0, 0, *self.size)
        for divisor in reversed(SCALES[1:]):
            exact = file.width / divisor, file.height / divisor
            if exact[0] >= size[0] and exact[1] >= size[1]:
                self._divisor, self._size = divisor, (ceil(exact[0]), ceil(exact[1]))
                return self.mode, (0, 0, *exact)
        return None

    def _thumbnail(self, file: PictureFile) -> Image.Image | None:
        """That in the file, where it can stand for the picture."""
        if file.has_alpha or file.depth > 8:
            return None
        from mvc.media.thumbnails import image_of

        with as_os_errors():
            image = image_of(file.thumbnail())
        return image if image is not None and image.mode == self.mode else None

    def load(self) -> Image.core.PixelAccess | None:
        """Decode the picture, or the frame, if it has not been."""
        if self._file is not None and self._loaded != self._number:
            self._take(self._draft or self._decoded(self._file))
        return super().load()

    def _take(self, image: Image.Image) -> None:
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self._loaded = self._number
        if self._exclusive_fp and self._close_exclusive_fp_after_loading and self.fp is not None:
            self.fp.close()
            self.fp = None

    def _decoded(self, file: PictureFile | ClipFile) -> Image.Image:
        if self.fp is None:
            raise ValueError("Operation on closed image")
        with as_os_errors():
            if isinstance(file, PictureFile):  # Pillow has looked at its size
                options: Any = {"partial": ImageFile.LOAD_TRUNCATED_IMAGES, "scale": Fraction(1, self._divisor)}
                return file.read(**options, max_pixels=None).to_pil()
            if self._cursor is None:
                self._cursor = Cursor(file)
            frame = self._cursor.frame(self._number)
            image: Image.Image = frame.to_picture().to_pil()
            return image

    def verify(self) -> None:
        """Read the whole file, and compare every checksum; `OSError` where one is wrong."""
        if self._file is not None and self.fp is not None:
            with as_os_errors(), self._file.opened() as stored:
                for _ in Reader(stored):
                    pass
        super().verify()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _options(function: Callable[..., object], given: dict[str, Any]) -> dict[str, Any]:
    """What of the options is for the function; Pillow's writers say nothing to others, nor to None."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in given.items() if name in names and value is not None}


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from mvc.media import LossWarning, as_source
    from mvc.quality import check_coder

    given = image.encoderinfo
    options = _options(mvc.encode, given)
    exact, _ = check_coder(*(options.get(name, usual) for name, usual in _CODER.items()))
    with as_os_errors():
        over = {name: _bytes(given[name]) for name in _OVER & given.keys()}
        alpha = bool(options.get("alpha", True))
        source = as_source(image, deep=exact == "exact", keep_alpha=alpha, over=over)
        source.tell(lambda loss: warnings.warn(loss, LossWarning, stacklevel=5))
        file.write(mvc.encode(source.picture, **options))


_CODER = {"coder": "auto", "lossless": False, "near_lossless": None}


def _bytes(value: Any) -> bytes:
    if isinstance(value, Image.Exif):
        return value.tobytes()
    return value.encode() if isinstance(value, str) else bytes(value or b"")


def _save_all(image: Image.Image, file: Any, filename: str | bytes) -> None:
    from mvc.media.sequences import clip_of_images

    given = image.encoderinfo
    images = [image, *given.get("append_images", ())]
    if len(images) == 1 and getattr(image, "n_frames", 1) == 1:
        _save(image, file, filename)
        return
    with as_os_errors():
        mvc.encode_video(clip_of_images(images, given.get("duration")), file, **_options(mvc.encode_video, given))


Image.register_open(FORMAT, MvcImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_extension(FORMAT, ".mvc")
Image.register_mime(FORMAT, MIME)
