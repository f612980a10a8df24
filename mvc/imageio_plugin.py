"""imageio reads and writes .mvc files once this is imported: `import mvc.imageio_plugin`.

    iio.imread("k.mvc", region=(100, 50, 512, 512))       # an array; of a clip all frames, or index=7 one of them
    for frame in iio.imiter("a.mvc"): ...                 # decoded one by one
    iio.imwrite("k.mvc", samples, quality=4)              # options are those of mvc.encode
    iio.imwrite("a.mvc", frames, fps=25)                  # [N, H, W, 3] or a list: a clip; options of mvc.encode_video
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import imageio.config
import numpy as np
from imageio.core.request import InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray

import mvc
from mvc.errors import FormatError, as_os_errors
from mvc.opening import open as open_mvc
from mvc.picture_file import PictureFile
from mvc.video.moments import Moment
from mvc.video.reader import ClipFile

NAME, SUFFIX = "mvc", ".mvc"
Array = NDArray[Any]


class MvcPlugin(PluginV3):
    """A still, or a clip of frames. `model`, `device` and `threads` are as for `mvc.open`.

    An `index` of None means the picture, or all frames of a clip; `...` all, behind each other.
    """

    def __init__(self, request: Request, **options: Any) -> None:
        super().__init__(request)
        self._written = False
        if request.mode.io_mode == IOMode.write:
            if SUFFIX not in (request.extension, request.format_hint):
                raise InitializationError(f"mvc writes {SUFFIX} files alone")
            self._options = options
            return
        try:
            with as_os_errors():
                self._file: PictureFile | ClipFile = open_mvc(request.get_file(), **options)
        except OSError as error:
            if isinstance(error.__cause__, FormatError):
                raise InitializationError(str(error)) from error
            raise

    def read(self, *, index: Any = None, **options: Any) -> Array:
        """The samples [H, W] or [H, W, C], alpha last, uint8 or uint16; [N, H, W(, C)] of all frames.

        Of a still `options` are those of `PictureFile.read`: region, slices and the rest.
        """
        if index is ... or (index is None and isinstance(self._file, ClipFile)):
            return np.stack(list(self.iter(**options)))
        number = int(index or 0)
        if isinstance(self._file, ClipFile):
            if not 0 <= number < len(self._file):
                raise ValueError(f"{self._file.name} has {len(self._file)} frames, and no frame {number}")
            with as_os_errors():
                return _samples(next(self._file.frames(Moment(frame=number), 1), None))
        if number:
            raise ValueError(f"{self._file.name} has one picture, and no picture {number}")
        with as_os_errors():
            return np.asarray(self._file.read(**options))

    def iter(self, **options: Any) -> Iterator[Array]:
        """The frames one by one; of a still the picture."""
        if isinstance(self._file, PictureFile):
            yield self.read(**options)
            return
        with as_os_errors():
            for frame in self._file.frames():
                yield _samples(frame)

    def write(
        self,
        ndimage: Any,
        *,
        is_batch: bool | None = None,
        fps: float | None = None,
        duration: Any = None,
        **options: Any,
    ) -> bytes | None:
        """Write a picture, or a clip of a batch of them, once for each file.

        A list, and [N, H, W, C], is a batch; so is [N, H, W] unless W is 1 to 4, where `is_batch` has to be said.
        `duration` of a frame, or of each, is in milliseconds; without it and `fps` there are 25 frames a second.
        """
        if self._written:
            raise OSError("an .mvc file is written at once: give all frames together")
        self._written = True
        arrays = list(ndimage) if isinstance(ndimage, list) else np.asarray(ndimage)
        if is_batch is None:
            is_batch = isinstance(arrays, list) or arrays.ndim == 4 or (arrays.ndim == 3 and arrays.shape[2] > 4)
        file: Any = self.request.get_file()
        options = {**self._options, **options}
        with as_os_errors():
            if is_batch:
                from PIL import Image

                from mvc.media.sequences import clip_of_images

                images = [Image.fromarray(np.asarray(array)) for array in arrays]
                own = duration if duration is not None else 1000 / (fps or 25)
                mvc.encode_video(clip_of_images(images, own), file, **options)
            else:
                file.write(mvc.encode(np.asarray(arrays), **options))
        return file.getvalue() if str(self.request.filename) == "<bytes>" else None

    def properties(self, index: Any = None) -> ImageProperties:
        """Shape and type of what `read` gives, without reading it."""
        file = self._file
        channels = {"RGB": (3,), "RGBA": (4,), "LA": (2,)}.get(file.mode, ())
        shape = (file.height, file.width, *channels)
        kind = np.dtype(np.uint16 if file.head.depth == 16 else np.uint8)
        if index is ... or (index is None and isinstance(file, ClipFile)):
            count = len(file) if isinstance(file, ClipFile) else 1
            return ImageProperties((count, *shape), kind, n_images=count, is_batch=True)
        return ImageProperties(shape, kind)

    def metadata(self, index: Any = None, exclude_applied: bool = True) -> dict[str, Any]:
        """Of a still what `info` has in Pillow; of a clip fps and seconds; of a frame its ms."""
        file = self._file
        found: dict[str, Any] = {"mode": file.mode, "quality_index": file.quality_index}
        if isinstance(file, PictureFile):
            return found | file.metadata.for_pillow()
        if isinstance(index, int):
            return found | {"timestamp": float(1000 * file.times[index] * file.time_base)}
        return found | {"fps": float(file.fps or 0), "duration": float(file.seconds)}


def _samples(frame: Any) -> Array:
    return np.asarray(frame.to_picture())


def _register() -> None:
    config, extensions = imageio.config.known_plugins, imageio.config.known_extensions
    config[NAME] = imageio.config.PluginConfig(NAME, MvcPlugin.__name__, __name__, install_name="mvc-codec")
    extensions[SUFFIX] = [imageio.config.FileExtension(extension=SUFFIX, priority=[NAME], name="mvc picture or clip")]


_register()
