"""`mvc encode` and `mvc decode`: files in, files out, the weights loaded once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mvc
from mvc import files
from mvc.cli import large, options
from mvc.cli.jobs import STREAM, Job, plan
from mvc.cli.large import Kept
from mvc.cli.loading import codec_loader
from mvc.cli.options import (
    DeviceOption,
    Effort,
    FileModel,
    Force,
    Inputs,
    MaxMemory,
    MaxPixels,
    Model,
    Output,
    Quiet,
    SkipExisting,
    StatsOption,
    Threads,
)
from mvc.cli.progress import Progress, run_all
from mvc.cli.terminal import UsageError, note, set_quiet, warn
from mvc.cli.video import FramesOption, Jobs, NoAudio, Recover, StartOption, decode_clip, start_of
from mvc.container import Head, read_head
from mvc.quality import MAX_NEAR, Coder, bits_per_pixel, check_coder
from mvc.video.moments import Part, threads_of

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.still_file import StillFile

WITH_QUALITY = (".jpg", ".jpeg", ".webp", ".avif")


class _Clock:
    """Seconds spent in named stages, for --stats."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(self.seconds.get(stage, 0) + now - self._last, 4)
        self._last = now


def encode(
    inputs: Inputs,
    output: Output = None,
    quality: Annotated[
        float | None,
        typer.Option("-q", "--quality", help="1 (small) to 8 (fine), fractions allowed. Default: 4."),
    ] = None,
    bpp: Annotated[
        float | None, typer.Option("--bpp", help="Instead of -q: at most so many bits per pixel.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="BYTES", help="Instead of -q: at most so large; 12345, 50kB, 64KiB."),
    ] = None,
    psnr: Annotated[
        float | None, typer.Option("--psnr", metavar="DB", help="Instead of -q: at least this PSNR over RGB.")
    ] = None,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="Instead of -q: every sample as it is, of 16 bits too. See --effort.")
    ] = False,
    near_lossless: Annotated[
        int | None,
        typer.Option("--near-lossless", metavar="N", min=0, max=MAX_NEAR, help="Instead of -q: none is off by more."),
    ] = None,
    no_alpha: Annotated[bool, typer.Option("--no-alpha", help="Show transparent parts on white.")] = False,
    coder: Annotated[
        options.Coder, typer.Option("--coder", help="The network of a model, the exact coder, or what is better.")
    ] = options.Coder.auto,
    metadata: options.Metadata = "all",
    no_gps: options.NoGps = False,
    thumbnail: options.Thumbnail = False,
    grain: options.Grain = False,
    tile: options.Tile = None,
    effort: Effort = mvc.DEFAULT_EFFORT,
    model: Model = mvc.DEFAULT_MODEL,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    stats: StatsOption = None,
    force: Force = False,
    skip_existing: SkipExisting = False,
    quiet: Quiet = False,
) -> None:
    """Encode pictures into .mvc files: mvc encode k.png -q 4 -o k.mvc

    Of two inputs the second is the output if its name ends in .mvc and it does not exist.
    """
    _set_up(force, skip_existing, quiet)
    target = _target(quality, bpp, size, psnr)
    chosen, near = _coder(coder, lossless, near_lossless, quality is not None or bool(target))
    kinds, tile_px = options.parse_metadata(metadata), options.parse_tile(tile)
    jobs = plan(inputs, output, files.MVC_SUFFIX)
    load = codec_loader(device, threads)

    def action(job: Job, progress: Progress) -> None:
        from mvc import choice, media

        clock = _Clock()
        job.start(force=force, skip=skip_existing)
        deep = chosen == "exact"
        if rows := large.rows_of(job, deep, not no_alpha):
            made = {"index": quality_index(quality), "effort": effort, "near": near, "tile_px": tile_px}
            kept = Kept(kinds, not no_gps)
            for name, asked in (("thumbnail", thumbnail), ("grain", grain)):
                if asked:
                    warn(f"{job.name}: no {name} is made of a picture that is read by rows")
            large.encode(rows, job, progress, lambda: load(model), kept, target, chosen, made, force=force)
            return
        source = media.read_picture(job.picture(), name=job.name, deep=deep, keep_alpha=not no_alpha)
        source = source.keeping(kinds, not no_gps)
        source.tell(warn)
        picture = source.picture
        if thumbnail:
            from mvc.media.thumbnails import with_thumbnail

            picture = with_thumbnail(picture)
        clock.lap("read")

        def loaded() -> Codec:
            clock.lap("encode")
            codec = load(model)
            if codec.rates == 1 and quality is not None:
                warn(f"{model} has one rate: -q changes nothing")
            if not codec.refines and effort not in (0, mvc.DEFAULT_EFFORT):
                warn(f"{model} has no efforts: --effort changes nothing")
            clock.lap("load")
            return codec

        coded = choice.encode(
            picture,
            loaded,
            index=quality_index(quality),
            effort=effort,
            target=target,
            coder=chosen,
            near=near,
            tile_px=tile_px,
            grain=grain,
        )
        clock.lap("encode")
        job.write(coded, force=force)
        clock.lap("write")
        _tell(job, read_head(coded), len(coded), len(coded), progress, stats, clock)

    run_all("encoding", jobs, lambda job: job.name, action)


def decode(
    inputs: Inputs,
    output: Output = None,
    form: Annotated[
        options.Format | None,
        typer.Option("--format", help="What to write where -o names no file. Default: png."),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option("--quality", min=1, max=100, help="Of jpg (95 if not said), avif (90), webp (else lossless)."),
    ] = None,
    metadata: options.Metadata = "all",
    no_gps: options.NoGps = False,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    stats: StatsOption = None,
    force: Force = False,
    skip_existing: SkipExisting = False,
    quiet: Quiet = False,
    start: StartOption = None,
    frames: FramesOption = None,
    recover: Recover = False,
    no_audio: NoAudio = False,
    jobs: Jobs = 1,
    region: options.RegionOption = None,
    scale: options.Scale = "1",
    slices: options.Slices = None,
    allow_partial: options.AllowPartial = False,
    grain: options.AddGrain = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Decode .mvc files into pictures: mvc decode k.mvc -o k.png; a clip into a video: -o clip.y4m

    The extension picks the format: png, webp, tiff, ppm and bmp are lossless, jpg and avif are not; png, webp, tiff and
    avif hold alpha; png, tiff and ppm 16 bits, avif 12 (with imagecodecs); ppm no metadata, bmp the resolution alone,
    jpg alone gain maps. Clips become y4m, mp4, mkv, webm, mov or numbered pictures (-o %04d.png), with their sound
    where the format has any.

    Of two inputs the second is the output if it is named like a picture and does not exist.
    """
    _set_up(force, skip_existing, quiet)
    check, kinds = options.limits(max_pixels, max_memory), options.parse_metadata(metadata)
    wanted, divisor = options.parse_region(region), options.parse_scale(scale)
    default = f".{(form or options.Format.png).value}"
    plans = plan(inputs, output, default)
    for job in plans:
        suffix = _suffix(job, default)
        if form and suffix.lower() != default:
            raise UsageError(f"-o {job.target} and --format {form.value} exclude each other")
        if quality is not None and suffix.lower() not in WITH_QUALITY:
            raise UsageError("--quality is for jpg, webp and avif", hint="say --format jpg, or -o NAME.jpg")
    load = codec_loader(device, threads_of(threads, jobs))
    part = Part(start_of(start), frames, recover, not no_audio, jobs)

    def action(job: Job, progress: Progress) -> None:
        job.start(force=force, skip=skip_existing)
        with job.opened() as (clip, file):
            if clip:
                check(clip.width, clip.height)
                if wanted or divisor > 1 or allow_partial or grain or slices is not None:
                    own = "--region, --scale, --slices, --grain and --allow-partial"
                    raise UsageError(f"{job.name} is a clip: {own} are for pictures")
                source = file if job.source == STREAM or files.is_stream(job.source) else job.source
                decode_clip(job, source, lambda own: load(model or own), part, progress, force=force)
                return
            still_of = job.still(file, wanted, divisor=divisor, slices=slices, partial=allow_partial, grain=grain)
            with still_of as (still, size):
                if grain and still.grain is None:
                    warn(f"{job.name} tells of no grain: it was made without --grain, or hardly lost any")
                picture_of(still, size, job, progress)

    def picture_of(still: StillFile, size: int, job: Job, progress: Progress) -> None:
        from mvc import media

        clock = _Clock()
        check(*still.size, still.head.has_exact)
        if part != Part(jobs=jobs):
            raise UsageError(f"{job.name} is a still picture: --start, --frames, --recover, --no-audio are for clips")
        suffix = _suffix(job, default)
        if suffix != default:
            media.check_extension(job.target)
        clock.lap("read")

        def loaded(model_id: bytes) -> Codec:
            codec = load(model or model_id)
            clock.lap("load")
            return codec

        if large.by_rows(still, suffix):
            large.decode(still, job, progress, loaded, Kept(kinds, not no_gps), suffix, force=force)
            large.tell_missing(still, job.name)
            return
        picture = still.decode(loaded)
        large.tell_missing(still, job.name)
        clock.lap("decode")
        picture, unsure = media.keeping(picture, kinds, gps=not no_gps)
        picture, losses = media.fitted(picture, suffix)
        for loss in (*unsure, *losses):
            warn(f"{job.target_name}: {loss}")
        data = media.to_bytes(picture, suffix, quality)
        job.write(data, force=force)
        clock.lap("write")
        shown = replace(still.head, width=picture.width, height=picture.height)  # of a region its own
        _tell(job, shown, size, len(data), progress, stats, clock)

    run_all("decoding", plans, lambda job: job.name, action)


def _suffix(job: Job, default: str) -> str:
    """The extension that says what to write; pipes have none of their own."""
    named = "" if job.target == STREAM else Path(job.target).suffix
    return default if job.target == STREAM or (not named and files.is_stream(job.target)) else named


def _set_up(force: bool, skip_existing: bool, quiet: bool) -> None:
    if force and skip_existing:
        raise UsageError("-f and --skip-existing exclude each other")
    set_quiet(quiet)


def _target(quality: float | None, bpp: float | None, size: str | None, psnr: float | None) -> dict[str, Any]:
    """The search target as arguments of `Codec.encode_to`, or none; `UsageError` for a senseless one."""
    given = {"-q": quality, "--bpp": bpp, "--size": size, "--psnr": psnr}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} exclude each other")
    for name in ("--bpp", "--psnr"):
        value = given[name]
        if isinstance(value, float) and not 0 < value < float("inf"):
            raise UsageError(f"{name} must be a number above 0")
    quality_index(quality)
    target = {"bpp": bpp, "size": None if size is None else options.parse_size(size), "psnr": psnr}
    return {name: value for name, value in target.items() if value is not None}


def _coder(coder: options.Coder, lossless: bool, near: int | None, asked: bool) -> tuple[Coder, int]:
    """The coder, and the greatest error of a sample; `asked`: for a quality or a target."""
    try:
        chosen, worst = check_coder(coder.value, lossless, near)
    except ValueError as error:
        raise UsageError(f"{error}: --lossless, --near-lossless and --coder network exclude each other") from error
    if chosen == "exact" and asked:
        raise UsageError("what is lossless has no -q, --bpp, --size or --psnr")
    return chosen, worst


def quality_index(quality: float | None) -> int:
    """The index of -q, the default without it; `UsageError` outside its range."""
    try:
        return mvc.quality_index(mvc.DEFAULT_QUALITY if quality is None else quality)
    except ValueError as error:
        hint = "1 is small and 8 is fine, with fractions; this is no JPEG scale"
        raise UsageError(f"-q: {error}", hint=hint) from error


def _tell(
    job: Job, head: Head, coded: int, written: int, progress: Progress, stats: options.Stats | None, clock: _Clock
) -> None:
    """The result for people on stderr, or as JSON on stdout (stderr while stdout carries the file itself)."""
    bpp = bits_per_pixel(coded, head.width, head.height)
    if stats is None:
        seconds = sum(clock.seconds.values())
        size = f"{head.width}x{head.height}"
        how = " by the exact coder" if head.coder == "exact" else ""
        note(f"{job.name} -> {job.target_name}: {size}, {written} bytes, {bpp:.3f} bpp{how}, {seconds:.2f} s")
        return
    line = json.dumps(
        {
            "input": job.name,
            "output": job.target_name,
            "width": head.width,
            "height": head.height,
            "colour": head.colour,
            "alpha": head.alpha,
            "depth": head.depth,
            "coder": head.coder,
            "quality_index": head.quality_index,
            "mvc_bytes": coded,
            "output_bytes": written,
            "bpp": round(bpp, 6),
            "seconds": clock.seconds,
        }
    )
    if job.target == STREAM:
        note(line)
    else:
        progress.data(line)
