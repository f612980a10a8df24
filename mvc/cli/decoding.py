"""An .mvc file into a picture or video, as the options of `mvc decode` say: what a worker does, over and over."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mvc import files, urls
from mvc.cli import large, options
from mvc.cli.jobs import STREAM, Job
from mvc.cli.large import Kept
from mvc.cli.loading import Load, on_cpu
from mvc.cli.outcome import Act, Clock, Outcome, Told
from mvc.cli.parts import SMALL_PX, InParts, put
from mvc.cli.resuming import already
from mvc.cli.sheet import contact
from mvc.cli.terminal import UsageError, warn
from mvc.cli.video import decode_clip
from mvc.container import Head, read_head
from mvc.errors import MvcError
from mvc.stored import HEAD_BYTES
from mvc.tiling import Region
from mvc.video.moments import Part

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.still_file import StillFile


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How files are decoded: the options of `mvc decode`, checked. `suffix` is what to write where no name says it.

    `sheet` is for a small picture of every result.
    """

    suffix: str
    quality: int | None
    kept: Kept
    part: Part
    region: Region | None
    divisor: int
    slices: int | None
    partial: bool
    grain: bool
    look: float
    max_pixels: str | None
    max_memory: str | None
    model: str | None
    device: options.Device
    threads: int | None
    force: bool
    resume: bool
    sheet: bool

    def begin(self) -> Act:
        """What decodes a file."""
        return Decoder(self)


class Decoder(InParts):
    """Decodes files with the models that they ask for, each loaded by the first file that needs it."""

    def __init__(self, wanted: Decoding) -> None:
        super().__init__(wanted.device, wanted.threads)
        self.wanted = wanted
        self.check = options.limits(wanted.max_pixels, wanted.max_memory)

    def small(self, job: Job) -> bool:
        """See `InParts`."""
        if not job.local:
            return False
        try:
            head = read_head(files.read_up_to(job.source, HEAD_BYTES))
        except MvcError:
            return False
        if head.kind != "still" or head.width * head.height > SMALL_PX:
            return False
        return head.model_id is None or on_cpu(self.wanted.device)

    def begun(self, job: Job, told: Told, load: Load) -> Callable[[], Outcome]:
        """What writes the picture in a file, which is decoded; a clip is written by now."""
        wanted = self.wanted
        if found := already(job, wanted.resume, wanted.force, _written):
            return lambda: found

        def codec(model_id: bytes) -> Codec:
            """Of the model that is wanted, or of a file's own."""
            return load(wanted.model or model_id)

        with job.opened() as (clip, file):
            if clip:
                self.check(clip.width, clip.height)
                part = wanted.region or wanted.divisor > 1 or wanted.partial or wanted.slices is not None
                if part or wanted.grain or wanted.look:
                    own = "--region, --scale, --slices, --grain, --look and --allow-partial"
                    raise UsageError(f"{job.name} is a clip: {own} are for pictures")
                if urls.is_url(job.target):
                    raise MvcError(f"{job.name} is a clip: videos are written to local files", hint="and copied then")
                source = job.source if job.local else file
                text = decode_clip(job, source, codec, wanted.part, told, force=wanted.force)
                read = os.path.getsize(job.source) if job.local else 0
                written = os.path.getsize(job.target) if os.path.isfile(job.target) else 0
                outcome = Outcome(job.name, job.target_name, "done", clip, read, read, written, text=text)
                return lambda: outcome
            with job.still(
                file, wanted.region, divisor=wanted.divisor, slices=wanted.slices, partial=wanted.partial,
                grain=wanted.grain, look=wanted.look,
            ) as (still, size):  # fmt: skip
                if wanted.grain and still.grain is None:
                    warn(f"{job.name} tells of no grain: it was made without --grain, or hardly lost any")
                return self._picture(still, size, job, told, codec)

    def _picture(
        self, still: StillFile, size: int, job: Job, told: Told, load: Callable[[bytes], Codec]
    ) -> Callable[[], Outcome]:
        """What writes the picture in a file of so many bytes."""
        from mvc import media

        wanted, clock = self.wanted, Clock()
        self.check(*still.size, still.head.has_exact)
        if wanted.part != Part(jobs=wanted.part.jobs):
            raise UsageError(
                f"{job.name} is a still picture: --start, --frames, --recover, --no-audio are for clips"
            )
        suffix = suffix_of(job, wanted.suffix)
        if suffix != wanted.suffix:
            media.check_extension(job.target)
        clock.lap("read")

        def loaded(model_id: bytes) -> Codec:
            codec = load(model_id)
            clock.lap("load")
            return codec

        if large.by_rows(still, suffix):
            width, height = still.shown
            large.decode(still, job, told, loaded, wanted.kept, suffix, force=wanted.force)
            large.tell_missing(still, job.name)
            clock.lap("decode")
            shown = replace(still.head, width=width, height=height)
            written = 0 if job.target == STREAM else os.path.getsize(job.target)
            outcome = Outcome(job.name, job.target_name, "done", shown, size, size, written, clock.seconds)
            return lambda: outcome
        picture = still.decode(loaded)
        large.tell_missing(still, job.name)
        clock.lap("decode")
        picture, unsure = media.keeping(picture, wanted.kept.kinds, gps=wanted.kept.gps)
        picture, losses = media.fitted(picture, suffix)
        for loss in (*unsure, *losses):
            warn(f"{job.target_name}: {loss}")
        data = media.to_bytes(picture, suffix, wanted.quality)
        clock.lap("write")
        shown = replace(still.head, width=picture.width, height=picture.height)  # of a region its own
        made = Outcome(
            job.name, job.target_name, "done", shown, size, size, len(data), clock.seconds,
            thumbnail=contact(picture) if wanted.sheet else b"",
        )  # fmt: skip
        return partial(put, job, data, made, clock, wanted.force)


def suffix_of(job: Job, default: str) -> str:
    """The extension that says what to write; pipes have none of their own."""
    named = "" if job.target == STREAM else Path(job.target).suffix
    return default if job.target == STREAM or (not named and files.is_stream(job.target)) else named


def _written(job: Job) -> tuple[Head | None, int, int]:
    """The size of a picture that can be read whole, or of a video, which is not looked into; raises what is wrong."""
    from mvc import media
    from mvc.picture import MAX_READ_PIXELS

    target = job.target
    if not urls.is_url(target):
        files.check_input(target)
        if Path(target).suffix.lower() not in files.PICTURE_SUFFIXES:
            if size := os.path.getsize(target):
                return None, 0, size
            raise MvcError("it is empty")
        from mvc.media.rows import open_rows

        if rows := open_rows(target, beyond=MAX_READ_PIXELS):
            with closing(rows):
                while len(rows.read(256)):
                    pass
            return None, 0, os.path.getsize(target)
    data = files.read_up_to(target, files.MAX_PIPED_BYTES)
    media.read_picture(data, name=target, deep=True)
    return None, 0, len(data)
