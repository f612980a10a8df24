"""`mvc encode` and `mvc decode`: files in, files out, the weights loaded once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.jobs import STREAM, Job, plan
from mvc.cli.options import DeviceOption, Effort, FileModel, Force, Inputs, Model, Output, StatsOption, Threads
from mvc.cli.terminal import Progress, UsageError, note, run_all, warn

if TYPE_CHECKING:
    from mvc.codec import Codec


class _Clock:
    """Seconds spent in named stages, for --stats."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 4)
        self._last = now


def codec_loader(device: options.Device, threads: int | None) -> Callable[[str | bytes], Codec]:
    """A function that loads the codec of a model's name or id when it is called: a bad input is told before."""

    @cache
    def load(model: str | bytes) -> Codec:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's idle threads would spin against the kernels'
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for torch's tensors: a tenth of the page faults
        from mvc import codec

        return codec.load(model, device.value, threads)

    return load


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
    effort: Effort = mvc.DEFAULT_EFFORT,
    model: Model = mvc.DEFAULT_MODEL,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    stats: StatsOption = None,
    force: Force = False,
) -> None:
    """Encode pictures into .mvc files: mvc encode k.png -q 4 -o k.mvc"""
    target = _target(quality, bpp, size, psnr)
    jobs = plan(inputs, output, ".mvc")
    load = codec_loader(device, threads)

    def action(job: Job, progress: Progress) -> None:
        from mvc import media

        clock = _Clock()
        if job.target != STREAM:
            files.refuse_existing(job.target, force=force)
        data = job.read_stdin()
        source = media.read_picture(job.source if data is None else data, name=job.name)
        for loss in source.losses:
            warn(f"{job.name}: {loss}")
        clock.lap("read")
        codec = load(model)
        if codec.rates == 1 and quality is not None:
            warn(f"{model} has one rate: -q changes nothing")
        clock.lap("load")
        picture = source.picture
        if target:
            coded = codec.encode_to(picture, **target, effort=effort)
        else:
            coded = codec.encode(picture, quality_index(quality), effort)
        clock.lap("encode")
        job.write(coded, force=force)
        clock.lap("write")
        _tell(job, coded, len(coded), progress, stats, clock)

    run_all("encoding", jobs, lambda job: job.name, action)


def decode(
    inputs: Inputs,
    output: Output = None,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    stats: StatsOption = None,
    force: Force = False,
) -> None:
    """Decode .mvc files into pictures: mvc decode k.mvc -o k.png

    The extension picks the format: png, webp, tiff, ppm and bmp are lossless, jpg is not. On stdout: PNG.
    """
    jobs = plan(inputs, output, ".png")
    load = codec_loader(device, threads)

    def action(job: Job, progress: Progress) -> None:
        from mvc import media
        from mvc.container import read_still

        clock = _Clock()
        if job.target != STREAM:
            media.check_extension(job.target)
            files.refuse_existing(job.target, force=force)
        coded = job.read_coded()
        header = read_still(coded).header
        clock.lap("read")
        codec = load(model or header.model_id)
        clock.lap("load")
        picture = codec.decode(coded)
        clock.lap("decode")
        suffix = ".png" if job.target == STREAM else Path(job.target).suffix
        data = media.to_bytes(picture, suffix)
        job.write(data, force=force)
        clock.lap("write")
        _tell(job, coded, len(data), progress, stats, clock)

    run_all("decoding", jobs, lambda job: job.name, action)


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


def quality_index(quality: float | None) -> int:
    """The index of -q, the default without it; `UsageError` outside its range."""
    try:
        return mvc.quality_index(mvc.DEFAULT_QUALITY if quality is None else quality)
    except ValueError as error:
        raise UsageError(f"-q: {error}") from error


def _tell(
    job: Job, coded: bytes, written: int, progress: Progress, stats: options.Stats | None, clock: _Clock
) -> None:
    """The result for people on stderr, or as JSON on stdout (stderr while stdout carries the file itself)."""
    from mvc.container import read_header

    header = read_header(coded)
    bpp = 8 * len(coded) / (header.width * header.height)
    if stats is None:
        seconds = sum(clock.seconds.values())
        size = f"{header.width}x{header.height}"
        note(f"{job.name} -> {job.target_name}: {size}, {written} bytes, {bpp:.3f} bpp, {seconds:.2f} s")
        return
    line = json.dumps(
        {
            "input": job.name,
            "output": job.target_name,
            "width": header.width,
            "height": header.height,
            "colour": header.colour,
            "quality_index": header.quality,
            "mvc_bytes": len(coded),
            "output_bytes": written,
            "bpp": round(bpp, 6),
            "seconds": clock.seconds,
        }
    )
    if job.target == STREAM:
        note(line)
    else:
        progress.data(line)
