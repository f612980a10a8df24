"""`mvc encode` and `mvc decode`: files in, files out, the weights loaded once, or once in each of several processes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.decoding import Decoding, suffix_of
from mvc.cli.encoding import Encoding
from mvc.cli.large import Kept
from mvc.cli.many import do_all
from mvc.cli.options import (
    DeviceOption,
    Effort,
    EncodingModel,
    FileModel,
    Force,
    Inputs,
    MaxMemory,
    MaxPixels,
    Output,
    Processes,
    Quiet,
    Report,
    Resume,
    StatsOption,
    Threads,
)
from mvc.cli.plan import plan
from mvc.cli.reports import Reports
from mvc.cli.terminal import UsageError, set_quiet
from mvc.cli.video import FramesOption, NoAudio, Recover, StartOption, start_of
from mvc.quality import MAX_NEAR, Coder, check_coder, model_for
from mvc.video.moments import Part, threads_of

WITH_QUALITY = (".jpg", ".jpeg", ".webp", ".avif")


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
    tune: Annotated[
        options.Tune,
        typer.Option("--tune", help="What is kept small: the error, or the error as it is seen."),
    ] = options.Tune.error,
    model: EncodingModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    stats: StatsOption = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Decode every result, and tell its PSNR: also in --stats and --report.")
    ] = False,
    report: Report = None,
    jobs: Processes = 1,
    force: Force = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Encode pictures into .mvc files: mvc encode k.png -q 4 -o k.mvc

    Whole folders keep their trees: mvc encode photos -o coded -j 4 --resume --report coded.html

    Of two inputs the second is the output if its name ends in .mvc and it does not exist.
    """
    set_quiet(quiet)
    if tune == options.Tune.look and model is not None and not effort:
        raise UsageError("--tune look with a --model is for --effort 1 to 3: 0 makes none")
    target = _target(quality, bpp, size, psnr)
    chosen, near = _coder(coder, lossless, near_lossless, quality is not None or bool(target))
    kept, tile_px = Kept(options.parse_metadata(metadata), not no_gps), options.parse_tile(tile)
    pairs = plan(inputs, output, files.MVC_SUFFIX)
    reports = Reports(report or [], inputs, "Encoded pictures", force=force)
    count = min(jobs, len(pairs))
    task = Encoding(
        index=quality_index(quality), asked=quality is not None, target=target, coder=chosen, near=near,
        alpha=not no_alpha, kept=kept, thumbnail=thumbnail, grain=grain, tile_px=tile_px, effort=effort,
        tune=tune.value, model=model_for(tune.value, model), device=device,
        threads=threads_of(threads, count), force=force, resume=resume, measure=measure, sheet=reports.pictures,
    )  # fmt: skip
    how = {"force": force, "resume": resume, "stats": stats is not None}
    do_all("encoding", pairs, task, workers=count, reports=reports, **how)


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
    report: Report = None,
    force: Force = False,
    resume: Resume = False,
    quiet: Quiet = False,
    start: StartOption = None,
    frames: FramesOption = None,
    recover: Recover = False,
    no_audio: NoAudio = False,
    jobs: Annotated[
        int,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            max=64,
            help="Files at a time, each by a process with a model of its own; of a single clip GOPs, in this one.",
        ),
    ] = 1,
    region: options.RegionOption = None,
    scale: options.Scale = "1",
    slices: options.Slices = None,
    allow_partial: options.AllowPartial = False,
    grain: options.AddGrain = False,
    look: options.Look = "faithful",
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
    set_quiet(quiet)
    options.limits(max_pixels, max_memory)  # which are told before anything is read
    kept, wanted = Kept(options.parse_metadata(metadata), not no_gps), options.parse_region(region)
    divisor, default = options.parse_scale(scale), f".{(form or options.Format.png).value}"
    share = options.parse_look(look)
    if share and grain:
        raise UsageError("--grain and --look natural exclude each other", hint="both add noise: take one")
    pairs = plan(inputs, output, default)
    for job in pairs:
        suffix = suffix_of(job, default)
        if form and suffix.lower() != default:
            raise UsageError(f"-o {job.target} and --format {form.value} exclude each other")
        if quality is not None and suffix.lower() not in WITH_QUALITY:
            raise UsageError("--quality is for jpg, webp and avif", hint="say --format jpg, or -o NAME.jpg")
    reports = Reports(report or [], inputs, "Decoded pictures", force=force)
    count = min(jobs, len(pairs))
    part = Part(start_of(start), frames, recover, not no_audio, 1 if count > 1 else jobs)
    task = Decoding(
        suffix=default, quality=quality, kept=kept, part=part, region=wanted, divisor=divisor, slices=slices,
        partial=allow_partial, grain=grain, look=share, max_pixels=max_pixels, max_memory=max_memory, model=model,
        device=device, threads=threads_of(threads, jobs), force=force, resume=resume, sheet=reports.pictures,
    )  # fmt: skip
    how = {"force": force, "resume": resume, "stats": stats is not None}
    do_all("decoding", pairs, task, workers=count, reports=reports, **how)


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
