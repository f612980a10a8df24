"""Groups of frames decoded side by side: each is a clip of its own, and in the order of the file they come out.

Frames before a keyframe may be made from it, too: then it ends their group as well as beginning its own.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from mvc.clip import ClipCodec, go_to_keyframe
from mvc.container import Head, Reader, Unit, write_file
from mvc.errors import FormatError
from mvc.frames import Frame


def decoded(coder: ClipCodec, file: BinaryIO, start: int, jobs: int) -> Generator[Frame, None, None]:
    """The frames from the time `start` on, as `ClipCodec.decode` gives them, `jobs` groups of them decoded at a time.

    Raises as that does. Holds the frames of `jobs` groups.
    """
    begin = file.tell() if file.seekable() else 0
    reader = Reader(file)
    if start and file.seekable():
        go_to_keyframe(reader, start)
    stop = threading.Event()
    pool = ThreadPoolExecutor(jobs, "mvc-gop")
    under_way: deque[tuple[int, Future[list[Frame]]]] = deque()

    def finished() -> Iterator[Frame]:
        first, future = under_way.popleft()
        try:
            frames = future.result()
        except FormatError:
            if not file.seekable():
                raise
            file.seek(begin)  # once more in its place, for an error that tells it
            yield from coder.decode(file, start=max(first, start))
            raise
        yield from (frame for frame in frames if frame.time >= start)

    try:
        groups, failure = _groups(reader, start), None
        while True:
            try:
                units = next(groups, None)
            except FormatError as error:
                failure = error
                break
            if units is None:
                break
            if len(under_way) == jobs:
                yield from finished()
            under_way.append((units[0].index, pool.submit(_group, coder, reader.head, units, stop)))
        while under_way:  # also what came before a damaged place
            yield from finished()
        if failure is not None:
            raise failure
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _group(coder: ClipCodec, head: Head, units: list[Unit], stop: threading.Event) -> list[Frame]:
    """The frames of units, but for the keyframe at their end, which belongs to the next."""
    frames: list[Frame] = []
    count = len(units) - (len(units) > 1 and units[-1].role == "picture")
    for frame in coder.decode(io.BytesIO(write_file(head, units))):
        if stop.is_set() or len(frames) == count:
            break
        frames.append(frame)
    return frames


def _groups(units: Iterable[Unit], start: int) -> Iterator[list[Unit]]:
    """Units from keyframe to keyframe, with the second where frames before it refer to it.

    Without groups that end before `start`; one that is damaged up to there.
    """
    group: list[Unit] = []
    try:
        for unit in units:
            if unit.role == "picture" and group:
                if unit.index > start:
                    yield [*group, unit] if group[-1].role == "between" else group
                group = []
            group.append(unit)
    except FormatError:
        if group:
            yield group
        raise
    yield group
