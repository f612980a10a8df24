"""`mvc info`, `models`, `verify` and `doctor`: what a file, and this installation, is and can do."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

import mvc
from mvc.cli import options
from mvc.cli.complexity import print_complexity
from mvc.cli.convert import codec_loader
from mvc.cli.info import show_info
from mvc.cli.jobs import STREAM, Job
from mvc.cli.options import DeviceOption, FileModel, Inputs, Threads
from mvc.cli.terminal import Progress, UsageError, run_all, warn
from mvc.errors import BackendError, MvcError

if TYPE_CHECKING:
    from mvc.picture import Picture


def info(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="An .mvc file; `-` is stdin.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Show what an .mvc file says about itself, without decoding it."""
    show_info(file, as_json=as_json)


def models(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="With model ids and model cards.")] = False,
    complexity: Annotated[
        bool, typer.Option("--complexity", help="Count parameters, multiply-accumulates and memory.")
    ] = False,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Picture size for --complexity. Default: 768x512.")
    ] = None,
) -> None:
    """List the models, and which of them have weights in this installation."""
    from mvc.models import registry

    if size is not None and not complexity:
        raise UsageError("--size is for --complexity")
    if complexity:
        print_complexity(*options.parse_dimensions(size or "768x512"))
        return
    for preset in registry.presets():
        shipped = "weights included" if preset.shipped else "no weights in this installation"
        print(f"{preset.name:<24} {preset.about}; {shipped}")
        if verbose and preset.shipped:
            training = preset.manifest.get("training", {})
            print(f"\nmodel id {preset.model_id.hex()}, {training.get('steps', 0)} steps of training\n\n{preset.card}")


def verify(
    inputs: Inputs,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="PICTURE", help="The original: print PSNR, MS-SSIM and bpp."),
    ] = None,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
) -> None:
    """Check .mvc files: the checksum, then a full decode. With --against, measure the decoded picture too."""
    load = codec_loader(device, threads)
    original = None if against is None else _original(against)

    def action(job: Job, progress: Progress) -> None:
        from mvc.container import read_still

        coded = job.read_coded()
        header = read_still(coded).header
        picture = load(model or header.model_id).decode(coded)
        bpp = 8 * len(coded) / (picture.width * picture.height)
        line = f"{job.name}: ok, {picture.width}x{picture.height}, {len(coded)} bytes, {bpp:.3f} bpp"
        progress.data(line if original is None else f"{line}, {_quality_text(original, picture)}")

    run_all("verifying", [Job(name, STREAM) for name in inputs], lambda job: job.name, action)


def _original(path: str) -> Picture:
    from mvc import media

    source = media.read_picture(path)
    for loss in source.losses:
        warn(f"{path}: {loss}; measured against that")
    return source.picture


def _quality_text(original: Picture, decoded: Picture) -> str:
    from mvc.evaluate import metrics

    if original.samples.shape != decoded.samples.shape:
        raise MvcError(f"the original is {original!r}, the file holds {decoded!r}: they cannot be compared")
    psnr = metrics.psnr(original.samples, decoded.samples)
    similarity = metrics.ms_ssim(original.samples, decoded.samples)
    if similarity is None:
        return f"PSNR {psnr:.2f} dB, MS-SSIM not defined below {metrics.MS_SSIM_MIN_SIDE_PX} pixels a side"
    return f"PSNR {psnr:.2f} dB, MS-SSIM {similarity:.5f}"


def doctor(device: DeviceOption = options.Device.auto, threads: Threads = None) -> None:
    """Check this installation: libraries, devices, weights, and a picture through the whole codec."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("mvc", _versions),
        ("torch", _torch),
        ("numba", lambda: _version("numba")),
        ("optional", _optional),
        ("self-check", lambda: _round_trip(device, threads)),
    ]
    failed = False
    for name, check in checks:
        try:
            print(f"{name:>11}  {check()}", flush=True)
        except (MvcError, ImportError, OSError, RuntimeError) as error:
            failed = True
            print(f"{name:>11}  FAILED: {error}", flush=True)
            if isinstance(error, MvcError) and error.hint:
                print(f"{'':>11}  {error.hint}", flush=True)
    if failed:
        raise typer.Exit(1)


def _version(module: str) -> str:
    from importlib import import_module

    return str(import_module(module).__version__)


def _versions() -> str:
    import os
    import platform

    machine = f"{platform.machine()}, {os.cpu_count()} processors"
    return f"{mvc.__version__}, Python {platform.python_version()}, {machine}"


def _torch() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"{torch.__version__}, no CUDA device"
    return f"{torch.__version__}, {torch.cuda.get_device_name()}"


def _optional() -> str:
    names = ("mamba_ssm", "triton", "av", "tensorboard", "pytorch_msssim")
    return ", ".join(f"{name} {'found' if find_spec(name) else 'not installed'}" for name in names)


def _round_trip(device: options.Device, threads: int | None) -> str:
    """Encode and decode a small smooth picture with the default model: weights and coder at once."""
    import numpy as np

    from mvc.evaluate.metrics import psnr
    from mvc.picture import Picture

    codec = codec_loader(device, threads)(mvc.DEFAULT_MODEL)
    rows, columns = np.mgrid[0:97, 0:131]
    picture = Picture(np.stack([rows * 2, columns, 255 - rows - columns], axis=-1).astype(np.uint8))
    coded = codec.encode(picture, mvc.quality_index(mvc.DEFAULT_QUALITY))
    quality = psnr(picture.samples, codec.decode(coded).samples)
    if quality < 20:
        raise BackendError(
            f"a test picture came back with {quality:.1f} dB",
            hint="the installation is broken; try --device cpu",
        )
    return f"passed: {mvc.DEFAULT_MODEL} codes a test picture in {len(coded)} bytes at {quality:.1f} dB"
