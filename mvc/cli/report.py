"""`mvc info`, `models`, `verify` and `doctor`: what a file, and this installation, is and can do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.info import show_info, write_thumbnail
from mvc.cli.jobs import STREAM, Job, expand
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, FileModel, Inputs, MaxMemory, MaxPixels, Quiet, Threads
from mvc.cli.progress import Progress, run_all
from mvc.cli.terminal import UsageError, set_quiet, warn
from mvc.container import Reader
from mvc.errors import BackendError, MvcError
from mvc.files import MVC_SUFFIX, PICTURE_SUFFIXES
from mvc.quality import bits_per_pixel

if TYPE_CHECKING:
    from mvc.codec import Codec
    from mvc.evaluate.metrics import Measure
    from mvc.picture import Picture

COMPLEXITY_COLUMNS = ("g_a", "h_a", "h_s + contexts", "g_s", "total")


def info(
    inputs: Inputs,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything, as JSON; of several files one line each.")
    ] = False,
    thumbnail: Annotated[
        str | None,
        typer.Option("--thumbnail", metavar="FILE.jpg", help="Write the thumbnail that one file holds (-: stdout)."),
    ] = None,
    force: options.Force = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Show what .mvc files say about themselves, without decoding them; or write the thumbnail in one."""
    if thumbnail is not None:
        write_thumbnail(inputs, thumbnail, force=force)
        return
    show_info(inputs, as_json=as_json, check=options.limits(max_pixels, max_memory))


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
        _print_complexity(*options.parse_dimensions(size or "768x512"))
        return
    for preset in (*registry.presets(), *registry.LOOKS):
        shipped = "weights included" if preset.shipped else "no weights in this installation"
        print(f"{preset.name:<25} {preset.about}; {shipped}")
        if verbose and preset.shipped:
            training = preset.manifest.get("training", {})
            model_id = "" if preset.look_of else f"model id {preset.model_id.hex()}, "
            print(f"\n{model_id}{training.get('steps', 0)} steps of training\n\n{preset.card}")


def _macs(label: str, macs: Mapping[str, int]) -> str:
    prior = macs.get("h_s", 0) + macs.get("contexts", 0)
    values = (macs.get("g_a", 0), macs.get("h_a", 0), prior, macs.get("g_s", 0), sum(macs.values()))
    return f"  {label:<6}" + "".join(f"{value / 1e9:>16.3f}" for value in values)


def _print_complexity(width: int, height: int) -> None:
    """Parameters, MACs in both conventions and the memory estimate of all models for one picture size."""
    from mvc.models import registry
    from mvc.models.complexity import complexity

    print(f"{width}x{height}, billions of multiply-accumulates to encode and decode (video: keyframe and inter frame)")
    print("paper: convolutions and linear layers; full: also 2DSS projections, attention and the scan")
    print("memory: weights and tensors at their peak, float32, nothing fused or in strips")
    print(f"\n{'':<8}" + "".join(f"{column:>16}" for column in COMPLEXITY_COLUMNS))
    for preset in registry.presets():
        name = preset.name
        c = complexity(name, width, height)
        padded = "" if (c.width, c.height) == (width, height) else f", padded to {c.width}x{c.height}"
        million = sum(c.parameters.values()) / 1e6
        print(f"{name}: {million:.3f} M parameters, {c.memory_bytes / 2**20:.0f} MiB{padded}", flush=True)
        print(_macs("paper", c.paper_macs))
        print(_macs("full", c.full_macs), flush=True)


def verify(
    inputs: Inputs,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="PICTURE",
            help="The original, or the folder of those of several files: print PSNR, MS-SSIM and bpp.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAME,...",
            help="With --against, of pictures of 8 bits: also lpips, dists, ssimulacra2, cvvdp (see `mvc metrics`).",
        ),
    ] = None,
    look: Annotated[
        str,
        typer.Option(
            "--look",
            metavar="NAME",
            help="Decode that look, natural or 0 ... 1, and tell how many of the file's symbols it has, too.",
        ),
    ] = "faithful",
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Compare the checksums alone: quick, and without torch.")
    ] = False,
    model: FileModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    quiet: Quiet = False,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
) -> None:
    """Check .mvc files: the checksum, then a full decode. With --against, measure the decoded picture too."""
    set_quiet(quiet)
    if metrics is not None and against is None:
        raise UsageError("--metrics is for --against", hint="name the original, or the folder of several")
    if checksum and against is not None:
        raise UsageError("--against takes a full decode: give either it or --checksum")
    share = options.parse_look(look)
    if share and checksum:
        raise UsageError("--look takes a full decode: give either it or --checksum")
    check = options.limits(max_pixels, max_memory)
    load = codec_loader(device, threads)
    pairs = expand(inputs, (MVC_SUFFIX,))
    more = _more_metrics(metrics, device)
    original = _originals(against, pairs)

    def check_sums(job: Job, progress: Progress) -> None:
        with job.opened() as (_, file):
            reader = Reader(file)
            check(reader.head.width, reader.head.height)
            count = sum(1 for _ in reader)
        if not quiet:
            size = f"{reader.head.width}x{reader.head.height}"
            progress.data(f"{job.name}: checksum right, {size}, {count} unit{'s' if count > 1 else ''}")

    def action(job: Job, progress: Progress) -> None:
        from mvc import stills

        with job.opened() as (clip, file):
            if clip:
                check(clip.width, clip.height)
                if share:
                    raise UsageError(f"{job.name} is a clip: --look is for pictures")
                progress.data(f"{job.name}: ok, {clip.width}x{clip.height}, {_verified(job, file, load, model)}")
                return
            with job.still(file, look=share) as (still, size):
                check(*still.size, still.head.has_exact)
                strips = still.strips(lambda own: load(model or own))
                picture = None if original is None and not share else stills.whole(strips)
                for _ in strips:  # none are left if there was something to compare with
                    pass
        width, height = still.size
        bpp = bits_per_pixel(size, width, height)
        line = f"{job.name}: ok, {width}x{height}, {size} bytes, {bpp:.3f} bpp"
        if share and picture is not None:
            line += _symbols_text(job, picture, lambda own: load(model or own))
        if original is not None and picture is not None:
            progress.data(f"{line}, {_quality_text(original(job.source), picture, more)}")
        elif not quiet:
            progress.data(line)

    jobs = [Job(name) for name, _ in pairs]
    run_all("verifying", jobs, lambda job: job.name, check_sums if checksum else action)


def _symbols_text(job: Job, shown: Picture, load: Callable[[bytes], Codec]) -> str:
    """How much of a file the picture that it is shown as would be coded as again, and how much its faithful one."""
    from mvc.reencoding import symbols_of

    with job.opened() as (_, file), job.still(file) as (still, _):
        if still.head.model_id is None:
            return ", nothing of it is made by a network"
        codec = load(still.head.model_id)
        own, faithful = (symbols_of(still, picture, codec) for picture in (shown, still.decode(load)))
    told = f", {100 * own.share:.2f} % of its symbols are the file's ({100 * faithful.share:.2f} % of the faithful"
    return f"{told} look), of those not zero {100 * own.share_sent:.1f} % ({100 * faithful.share_sent:.1f} %)"


def _originals(against: str | None, pairs: Sequence[tuple[str, str]]) -> Callable[[str], Picture] | None:
    """From the name of a file to its original: the one picture there is, or that of the same name below a folder.

    `pairs` are those of `expand`. A picture that cannot be read is told at once, before anything is decoded.
    """
    if against is None:
        return None
    if Path(against).is_dir():
        kept = dict(pairs)
        return lambda name: _original(_same_name(against, kept[name]))
    if len(pairs) > 1:
        hint = "name the folder of the originals, which are found by their names; or verify one file at a time"
        raise UsageError(f"--against names one picture, but there are {len(pairs)} files", hint=hint)
    picture = _original(against)
    return lambda _: picture


def _same_name(folder: str, name: str) -> str:
    """The one picture in a folder that differs from a name by its suffix alone."""
    wanted = Path(folder, name)
    plain = wanted.with_suffix("")
    found = [path for path in files.find(wanted.parent, PICTURE_SUFFIXES) if path.with_suffix("") == plain]
    if len(found) != 1:
        many = f"several originals: {', '.join(path.name for path in found)}" if found else "no original"
        raise MvcError(f"{wanted.parent} has {many} of the name {wanted.stem}")
    return str(found[0])


def _verified(job: Job, file: BinaryIO, load: Callable[[str | bytes], Codec], model: str | None) -> str:
    """Decode a clip as it comes: its frames and their sound."""
    from mvc.container.sound import SoundReader
    from mvc.video.reader import ClipFile

    named = job.source != STREAM and not files.is_stream(job.source)
    clip = ClipFile(job.source if named else file, lambda own: load(model or own), name=job.name)
    text = f"{sum(1 for _ in clip.frames())} frames"
    if named:
        text += f", {os.path.getsize(job.source)} bytes"
        with clip.opened() as again:
            sound = SoundReader(again)
            packets = sum(1 for _ in sound.before(None))
        if sound.damaged:
            raise MvcError(f"{sound.damaged} pieces of its sound are damaged; all frames can be decoded")
        text += f", {packets} packets of sound" if packets else ""
    return text


def _original(path: str) -> Picture:
    from mvc import media

    source = media.read_picture(path, deep=True)
    source.tell(lambda loss: warn(f"{loss}; measured against that"))
    return source.picture


def _more_metrics(names: str | None, device: options.Device) -> Mapping[str, Measure]:
    if names is None:
        return {}
    from mvc.evaluate import metrics

    return metrics.load([name for name in names.split(",") if name], options.torch_device(device))


def _quality_text(original: Picture, decoded: Picture, more: Mapping[str, Measure]) -> str:
    """How near they are, by `more` as well; without alpha in the file, to what is seen of the original on white."""
    import numpy as np

    from mvc import metrics, stills

    if original.depth > decoded.depth:
        original = original.eight_bit()
    if decoded.alpha is None:
        original = original.on_white()
    same = original.samples.shape == decoded.samples.shape and original.depth == decoded.depth
    if not same or (original.alpha is None) != (decoded.alpha is None):
        raise MvcError(f"the original is {original!r}, the file holds {decoded!r}: they cannot be compared")
    psnr = stills.psnr(original, decoded)
    if more and (decoded.alpha is not None or decoded.depth > 8):
        raise MvcError("--metrics are defined for pictures of 8 bits without alpha", hint="leave --metrics away for it")
    if decoded.alpha is not None:
        same = np.array_equal(np.asarray(original)[..., -1], decoded.alpha)
        return f"PSNR {psnr:.2f} dB of what can be seen, alpha {'as it was' if same else 'CHANGED'}"
    if decoded.depth > 8:
        return f"PSNR {psnr:.2f} dB"
    similarity = metrics.ms_ssim(original.samples, decoded.samples)
    if similarity is None:
        text = f"PSNR {psnr:.2f} dB, MS-SSIM not defined below {metrics.MS_SSIM_MIN_SIDE_PX} pixels a side"
    else:
        text = f"PSNR {psnr:.2f} dB, MS-SSIM {similarity:.5f}"
    pair = original.samples, decoded.samples
    return text + "".join(_metric_text(key, compute(*pair)) for key, compute in more.items())


def _metric_text(key: str, value: float | None) -> str:
    from mvc.evaluate.metrics import METRICS

    metric = METRICS[key]
    if value is None:
        return f", {metric.title} not defined below {metric.min_side_px} pixels a side"
    return f", {metric.title} {value:.{metric.digits - 1}f}"


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
    names = ["mamba_ssm", "triton", "av", "pillow_heif", "pillow_jxl", "imagecodecs", "tensorboard", "pytorch_msssim"]
    names += ["ssimulacra2", "pycvvdp"]
    return ", ".join(f"{name} {'found' if find_spec(name) else 'not installed'}" for name in names)


def _round_trip(device: options.Device, threads: int | None) -> str:
    """Encode and decode a small smooth picture with the default model: weights and coder at once."""
    import numpy as np

    from mvc.metrics import psnr
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
