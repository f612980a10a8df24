"""Pictures that are not read or written at once, but by rows: what is different about them for the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from mvc import files
from mvc.cli.jobs import STREAM, Job
from mvc.cli.outcome import Told
from mvc.cli.terminal import warn
from mvc.container import Head
from mvc.errors import Limit
from mvc.quality import Coder

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.media.rows import RowSource
    from mvc.metadata import Metadata
    from mvc.still_file import StillFile


@dataclass(frozen=True)
class Kept:
    """What is to be kept of a picture beside its colour."""

    kinds: Sequence[str]
    gps: bool = True

    def of(self, metadata: Metadata, losses: Sequence[str], name: str) -> Metadata:
        """What is kept of metadata; what is lost, these `losses` too, is told."""
        import numpy as np

        from mvc import media
        from mvc.picture import Picture

        stand_in = Picture(np.zeros((1, 1), np.uint8), None, metadata)
        source = media.Source(stand_in, tuple(losses), name).keeping(self.kinds, self.gps)
        source.tell(warn)
        return source.picture.metadata


def rows_of(job: Job, deep: bool, keep_alpha: bool) -> RowSource | None:
    """The rows of a picture that is too large to be read at once, if it can be read so."""
    from mvc import picture
    from mvc.media.rows import open_rows

    if not job.local:
        return None
    return open_rows(job.source, deep=deep, keep_alpha=keep_alpha, beyond=picture.MAX_READ_PIXELS)


def encode(
    source: RowSource,
    job: Job,
    told: Told,
    load: Callable[[], Codec],
    kept: Kept,
    target: Mapping[str, Any],
    coder: Coder,
    made: Mapping[str, Any],
    *,
    force: bool,
) -> tuple[Head, int]:
    """Encode a picture by rows as `made` says (`mvc.large.encode`); its head, and how many bytes it has."""
    from mvc import large

    with ExitStack() as stack:
        stack.callback(source.close)
        if target:
            hint = "give a quality"
            raise Limit(f"{job.name} is {source.width}x{source.height}: no target is searched at that size", hint=hint)
        source.metadata = kept.of(source.metadata, source.losses, job.name)
        file: BinaryIO = sys.stdout.buffer
        if job.target != STREAM:
            job.make_folder()
            file = stack.enter_context(files.atomic(job.target, force=force))

        def now(done: int, tiles: int) -> None:
            told.now(f"{job.name}, {done} of {tiles} tiles")

        return large.encode(source, file, load, coder=coder, told=now, **made)


def by_rows(still: StillFile, suffix: str) -> bool:
    """Whether the picture in a file is to be written by rows: it is large, and the format can be."""
    from mvc.media.rows_out import BY_ROWS
    from mvc.picture import MAX_READ_PIXELS

    width, height = still.shown
    return still.head.tile_px > 0 and width * height > MAX_READ_PIXELS and suffix.lower() in BY_ROWS


def decode(
    still: StillFile,
    job: Job,
    told: Told,
    load: Callable[[bytes], Codec],
    kept: Kept,
    suffix: str,
    *,
    force: bool,
) -> None:
    """Decode a picture by rows into a file, or onto stdout, in the format of an extension."""
    from mvc import large
    from mvc.media.rows_out import open_rows_out

    head, (width, height) = still.head, still.shown
    metadata = kept.of(still.metadata(), (), job.target_name)
    with ExitStack() as stack:
        name = job.target
        if name == STREAM:
            name = "/dev/stdout"
        else:
            job.make_folder()
        depth: Any = head.depth
        shape = width, height, head.colour, depth, head.alpha
        target = stack.enter_context(open_rows_out(name, *shape, metadata, suffix=suffix, force=force))
        for loss in target.losses:
            warn(f"{job.target_name}: {loss}")

        def now(row: int) -> None:
            told.now(f"{job.name}, {row} of {height} rows")

        large.write(still.strips(load), target, now)


def tell_missing(still: StillFile, name: str) -> None:
    """Say what has not arrived of a picture that was decoded nonetheless."""
    for missing in still.missing:
        warn(f"{name}: {missing}")
