"""`ClipFile`: an .mvc file with a clip, of which frames are decoded when they are asked for.

What the file says of itself needs neither weights nor torch.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise
from typing import TYPE_CHECKING, BinaryIO

from mvc import files
from mvc.arguments import check_device, check_model, check_threads
from mvc.clip_files import clip_info, shown
from mvc.container import ClipHead, Reader, Unit, read_head
from mvc.container.salvage import salvage
from mvc.errors import SourceError, Unsupported
from mvc.frames import ClipInfo, Frame
from mvc.media.clip_source import Piped
from mvc.quality import whole_number
from mvc.video.moments import MAX_JOBS, Moment, Start, moment

if TYPE_CHECKING:
    from mvc.clip import Loss
    from mvc.codec import Codec

HEAD_BYTES = 64
"""More than a file has before its first unit."""
Stored = str | os.PathLike[str] | bytes | BinaryIO


def open(
    source: Stored,
    *,
    model: str | os.PathLike[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> ClipFile:
    """An .mvc file with a clip: its path, its bytes, or an open binary file, which may be a pipe.

    `model`, `device` and `threads` are as for `mvc.decode`; weights are loaded with the first frame. Raises
    `SourceError` where it cannot be read, `FormatError` for something else, and `Unsupported` for a still picture.
    """
    own, device, threads = None if model is None else check_model(model), check_device(device), check_threads(threads)

    def load(found: bytes) -> Codec:
        from mvc import codec

        return codec.load(own or found, device, threads)

    return ClipFile(source, load)


class ClipFile:
    """A clip in an .mvc file. What needs the whole file (`times`, `len`, `fps`) walks it once, and not in a pipe.

    `width` and `height` are in pixels, `quality_index` is 0..63. `load` gives the codec for a model id. Raises
    `SourceError`, `FormatError`, or `Unsupported` for a still picture.
    """

    def __init__(self, source: Stored, load: Callable[[bytes], Codec], *, name: str | None = None) -> None:
        self._source, self._load = source, load
        self.name = name or (os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the clip")
        if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or not hasattr(source, "read"):
            with self.opened() as file:
                self.head = Reader(file, check=False).head
        elif source.seekable():
            self._begin = source.tell()
            self.head = Reader(source, check=False).head
        else:
            start = source.read(HEAD_BYTES)
            while len(start) < HEAD_BYTES and (more := source.read(HEAD_BYTES - len(start))):
                start += more
            self.head, self._pipe = read_head(start), io.BufferedReader(Piped(start, source))
        if self.head.clip is None:
            raise Unsupported(f"{self.name} is a still picture, not a clip", hint="decode it as a picture")
        self._clip: ClipHead = self.head.clip
        self.width, self.height, self.quality_index = self.head.width, self.head.height, self.head.quality_index

    _pipe: io.BufferedReader | None = None
    _begin = 0

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file from its beginning, a new one each time where it has a name. SourceError where that cannot be."""
        source = self._source
        if self._pipe is not None:
            yield self._pipe
        elif isinstance(source, (str, os.PathLike)):
            files.check_input(source)
            try:
                file = builtins.open(source, "rb")  # noqa: SIM115
            except OSError as error:
                raise SourceError(f"cannot read {self.name}: {files.reason(error)}") from error
            with file:
                yield file
        elif isinstance(source, (bytes, bytearray, memoryview)):
            yield io.BytesIO(source)
        elif hasattr(source, "read"):
            source.seek(self._begin)
            yield source
        else:
            raise TypeError(f"an .mvc file is a path, its bytes or an open binary file, not {type(source).__name__}")

    # What it says ----------------------------------------------------------------------------------------------------

    @cached_property
    def _heads(self) -> list[tuple[int, bool]]:
        if self._pipe is not None:
            raise SourceError(f"{self.name} is a pipe, which cannot be looked through", hint="write it to a file first")
        with self.opened() as file:
            return [(unit.index, unit.role == "picture") for unit in Reader(file).heads()]

    @cached_property
    def times(self) -> tuple[int, ...]:
        """When each frame is shown, in units of `info.time_base`. Raises `FormatError` where the file is damaged."""
        return tuple(time for time, _ in self._heads)

    @cached_property
    def keyframes(self) -> tuple[int, ...]:
        """The numbers of the frames with which decoding can begin."""
        return tuple(number for number, (_, key) in enumerate(self._heads) if key)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def info(self) -> ClipInfo:
        """Size, colours and unit of time: what `mvc.media.clips.write_clip` has to know. `rate` is None: see `fps`."""
        return clip_info(self.head)

    @property
    def fps(self) -> Fraction | None:
        """Frames per second: exact where all frames are equally far apart, else by their mean; None for one frame."""
        times = self.times
        if len(times) < 2:
            return None
        steps = {later - earlier for earlier, later in pairwise(times)}
        rate = (len(times) - 1) / ((times[-1] - times[0]) * self._clip.time_base)
        return rate if len(steps) == 1 else rate.limit_denominator(1001)

    @property
    def seconds(self) -> Fraction:
        """How long it is, the last frame as long as the mean of the others."""
        fps = self.fps
        return len(self) / fps if fps else self._clip.time_base

    # Frames ----------------------------------------------------------------------------------------------------------

    def frames(
        self,
        start: Start = 0,
        count: int | None = None,
        *,
        lost: Callable[[Loss], None] | None = None,
        jobs: int = 1,
    ) -> Iterator[Frame]:
        """The frames from `start` on, at most `count`, each decoded when it is asked for, with the times of the clip.

        `start` is in seconds, or text such as "1:02.5" or "frame 120"; decoding begins at the keyframe before it. With
        `lost` a damaged file is searched for what can be decoded, and `lost` is told what cannot; without it,
        `FormatError` ends the frames. `jobs` GOPs are decoded at a time, each held in memory, but with `lost` one frame
        after the other. A pipe can be read once. ValueError for a `start` that makes no sense.
        """
        whole_number("jobs", jobs, 1, MAX_JOBS)
        begin = moment(start)
        most = None if count is None else whole_number("count", count, 0)
        return islice(self._decoded(begin, lost, jobs), most)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def _decoded(self, begin: Moment, lost: Callable[[Loss], None] | None, jobs: int) -> Iterator[Frame]:
        from mvc.clip import ClipCodec
        from mvc.video import side_by_side

        first, left_out = self._first(begin, lost is not None)
        coder = ClipCodec(self._load(self.head.model_id))
        with self.opened() as file:
            if jobs == 1 or lost:
                frames = coder.decode(file, start=first, lost=lost)
            else:
                frames = side_by_side.decoded(coder, file, first, jobs)
            yield from shown(self.info, islice(frames, left_out, None))

    def _first(self, begin: Moment, search: bool) -> tuple[int, int]:
        """From which time on to decode, and how many frames to leave out from there."""
        if begin.frame is None:
            return -(-begin.seconds // self._clip.time_base), 0
        if begin.frame == 0 or self._pipe is not None:
            return 0, begin.frame
        if search:
            with self.opened() as file:
                times = [part.index for part in salvage(file)[1] if isinstance(part, Unit)]
        else:
            times = list(self.times)
        if begin.frame < len(times):
            return times[begin.frame], 0
        return times[-1] + 1 if times else 0, 0
