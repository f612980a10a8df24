"""`ClipFile`: an .mvc file with a clip, of which frames are decoded when they are asked for.

What the file says of itself needs neither weights nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from mvc.container import ClipHead, Reader, Unit, describe
from mvc.container.salvage import salvage
from mvc.errors import SourceError, Unsupported, libraries
from mvc.metadata import NONE
from mvc.quality import whole_number
from mvc.stored import Source, Stored
from mvc.video.moments import MAX_JOBS, Moment, Start, moment

if TYPE_CHECKING:
    from mvc.clip import Loss
    from mvc.codec import Codec
    from mvc.frames import ClipInfo, Frame


class ClipFile:
    """A clip in an .mvc file. What needs the whole file (`times`, `len`, `fps`) walks it once, and not in a pipe.

    `width` and `height` are in pixels, `quality_index` is 0..63. `load` gives the codec for a model id. A context
    manager. Raises as `Stored`, and `Unsupported` for a still picture.
    """

    kind: Literal["clip"] = "clip"
    metadata = NONE
    """Clips have none."""

    def __init__(self, source: Source | Stored, load: Callable[[bytes], Codec], *, name: str | None = None) -> None:
        self._stored = source if isinstance(source, Stored) else Stored(source, name=name, default="the clip")
        self._load, self.name, self.head = load, self._stored.name, self._stored.head
        if self.head.clip is None:
            raise Unsupported(f"{self.name} is a still picture, not a clip", hint="decode it as a picture")
        self._clip: ClipHead = self.head.clip
        self.width, self.height, self.quality_index = self.head.width, self.head.height, self.head.quality_index

    def opened(self) -> AbstractContextManager[BinaryIO]:
        """The file from its beginning, a new one each time where it has a name. SourceError where that cannot be."""
        return self._stored.opened()

    def close(self) -> None:
        """Nothing can be read any more. A file object that was given stays open."""
        self._stored.close()

    def __enter__(self) -> ClipFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What it says ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def mode(self) -> Literal["RGB", "L"]:
        """The mode of `to_picture().to_pil()` of a frame."""
        return "L" if self._clip.chroma == "gray" else "RGB"

    @property
    def facts(self) -> dict[str, Any]:
        """What `mvc.info` says: all of the file is walked for it, and its checksum looked at."""
        if self._stored.piped:
            raise self._in_a_pipe()
        with self.opened() as file:
            return describe(file)

    @cached_property
    def _heads(self) -> list[tuple[int, bool]]:
        if self._stored.piped:
            raise self._in_a_pipe()
        with self.opened() as file:
            return [(unit.index, unit.role == "picture") for unit in Reader(file).heads()]

    @cached_property
    def times(self) -> tuple[int, ...]:
        """When each frame is shown, in units of `time_base`. Raises `FormatError` where the file is damaged."""
        return tuple(time for time, _ in self._heads)

    @cached_property
    def keyframes(self) -> tuple[int, ...]:
        """The numbers of the frames with which decoding can begin."""
        return tuple(number for number, (_, key) in enumerate(self._heads) if key)

    def __len__(self) -> int:
        return len(self.times)

    def _in_a_pipe(self) -> SourceError:
        return SourceError(f"{self.name} is a pipe, which cannot be looked through", hint="write it to a file first")

    @property
    def info(self) -> ClipInfo:
        """Size, colours and unit of time: what `mvc.media.clips.write_clip` has to know. `rate` is None: see `fps`."""
        from mvc.clip_files import clip_info

        return clip_info(self.head)

    @property
    def time_base(self) -> Fraction:
        """The unit of times, in seconds."""
        return self._clip.time_base

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
        with libraries():
            from mvc.clip import ClipCodec
            from mvc.clip_files import shown
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
        if begin.frame == 0 or self._stored.piped:
            return 0, begin.frame
        if search:
            with self.opened() as file:
                times = [part.index for part in salvage(file)[1] if isinstance(part, Unit)]
        else:
            times = list(self.times)
        if begin.frame < len(times):
            return times[begin.frame], 0
        return times[-1] + 1 if times else 0, 0
