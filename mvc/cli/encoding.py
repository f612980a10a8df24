"""A picture into an .mvc file, as the options of `mvc encode` say: what a worker does, over and over."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mvc
from mvc.cli import large, options
from mvc.cli.jobs import Job
from mvc.cli.large import Kept
from mvc.cli.loading import Load, on_cpu
from mvc.cli.outcome import Act, Clock, Outcome, Told
from mvc.cli.parts import SMALL_PX, InParts, put
from mvc.cli.resuming import already
from mvc.cli.sheet import contact
from mvc.cli.terminal import warn
from mvc.container import Head, read_head
from mvc.quality import Coder, Tune
from mvc.stored import whole_head

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.media.rows import RowSource
    from mvc.picture import Picture


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How pictures are encoded: the options of `mvc encode`, checked.

    `target` is that of a search by its name, or empty; `asked` is whether a quality was. `measure` is for a PSNR of
    every result, `sheet` for a small picture of every input.
    """

    index: int
    asked: bool
    target: Mapping[str, Any]
    coder: Coder
    near: int
    alpha: bool
    kept: Kept
    thumbnail: bool
    grain: bool
    tile_px: int | None
    effort: int
    tune: Tune
    model: str
    device: options.Device
    threads: int | None
    force: bool
    resume: bool
    measure: bool
    sheet: bool

    def begin(self) -> Act:
        """What encodes a picture."""
        return Encoder(self)


class Encoder(InParts):
    """Encodes pictures with one model, which is loaded by the first that needs it."""

    def __init__(self, wanted: Encoding) -> None:
        super().__init__(wanted.device, wanted.threads)
        self.wanted = wanted

    def small(self, job: Job) -> bool:
        """See `InParts`."""
        from mvc.media.pictures import size_of

        size = size_of(job.source) if job.local else None
        if size is None or size[0] * size[1] > SMALL_PX:
            return False
        return self.wanted.coder == "exact" or on_cpu(self.wanted.device)

    def begun(self, job: Job, told: Told, load: Load) -> Callable[[], Outcome]:
        """What writes the file of a picture, which is made."""
        wanted = self.wanted
        if found := already(job, wanted.resume, wanted.force, _whole):
            return lambda: found
        from mvc import media

        clock = Clock()
        deep = wanted.coder == "exact"
        if rows := large.rows_of(job, deep, wanted.alpha):
            outcome = self._by_rows(rows, job, told, clock)
            return lambda: outcome
        data = job.picture()
        source = media.read_picture(data, name=job.name, deep=deep, keep_alpha=wanted.alpha)
        source = source.keeping(wanted.kept.kinds, wanted.kept.gps)
        source.tell(warn)
        picture = source.picture
        if wanted.thumbnail:
            from mvc.media.thumbnails import with_thumbnail

            picture = with_thumbnail(picture)
        clock.lap("read")
        coded = self._coded(picture, clock, load)
        clock.lap("encode")
        psnr = self._psnr(picture, coded, load) if wanted.measure else None
        size = len(data) if isinstance(data, bytes) else os.path.getsize(data)
        made = Outcome(
            job.name, job.target_name, "done", read_head(coded), size, len(coded), len(coded), clock.seconds, psnr,
            thumbnail=contact(picture) if wanted.sheet else b"",
        )  # fmt: skip
        return partial(put, job, coded, made, clock, wanted.force)

    def _coded(self, picture: Picture, clock: Clock, load: Load) -> bytes:
        from mvc import choice

        wanted = self.wanted

        def loaded() -> Codec:
            clock.lap("encode")
            codec = load(wanted.model)
            if codec.rates == 1 and wanted.asked:
                warn(f"{wanted.model} has one rate: -q changes nothing")
            if not codec.refines and wanted.effort not in (0, mvc.DEFAULT_EFFORT):
                warn(f"{wanted.model} has no efforts: --effort changes nothing")
            clock.lap("load")
            return codec.tuned(wanted.tune)

        return choice.encode(
            picture,
            loaded,
            index=wanted.index,
            effort=wanted.effort,
            target=wanted.target,
            coder=wanted.coder,
            near=wanted.near,
            tile_px=wanted.tile_px,
            grain=wanted.grain,
        )

    def _by_rows(self, rows: RowSource, job: Job, told: Told, clock: Clock) -> Outcome:
        wanted = self.wanted
        made = {"index": wanted.index, "effort": wanted.effort, "near": wanted.near, "tile_px": wanted.tile_px}
        left_out = {"thumbnail is made": wanted.thumbnail, "grain is told": wanted.grain}
        left_out["PSNR is measured"] = wanted.measure
        for what, asked in left_out.items():
            if asked:
                warn(f"{job.name}: no {what} of a picture that is read by rows")
        head, size = large.encode(
            rows, job, told, lambda: self.load(wanted.model).tuned(wanted.tune), wanted.kept, wanted.target,
            wanted.coder, made, force=wanted.force,
        )  # fmt: skip
        clock.lap("encode")
        read = os.path.getsize(job.source)
        return Outcome(job.name, job.target_name, "done", head, read, size, size, clock.seconds)

    def _psnr(self, picture: Picture, coded: bytes, load: Load) -> float:
        from mvc import stills
        from mvc.still_file import StillFile

        return stills.psnr(picture, StillFile(coded).decode(lambda own: load(self.wanted.model)))


def _whole(job: Job) -> tuple[Head, int, int]:
    """The head of an .mvc file that is whole, and its size twice; raises what is wrong with it."""
    head, size = whole_head(job.target)
    return head, size, size
