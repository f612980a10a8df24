"""`mvc compare`: one picture through several codecs at one size, as a page with a slider."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.bench import described
from mvc.cli.jobs import protect
from mvc.cli.options import DeviceOption, Effort, Force, NamedModel, Threads
from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError, note, warn
from mvc.errors import Limit
from mvc.quality import check_target

if TYPE_CHECKING:
    from mvc.evaluate.adapter import Adapter

USUAL = ("jpeg", "webp", "avif", "mvc")
VARIANTS = {"jpeg": ("jpeg", "jpeg-420")}
"""Of the usual codecs, those of which the nearer picture is shown."""
MOST_PIXELS = 1 << 24
"""Five pictures without loss are in the page: beyond that no browser is a pleasure."""


def compare(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="The original.", show_default=False)],
    bpp: Annotated[float | None, typer.Option("--bpp", help="The size: at most so many bits per pixel.")] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="BYTES", help="The size: at most so large; 12345, 50kB, 64KiB.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The page. Default: the picture's name with .html."),
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            metavar="NAME|FILE.toml",
            help="As of `mvc bench`. Repeatable. Default: the nearer of jpeg and jpeg-420, and webp, avif, mvc.",
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="NAME,...", help="More numbers (see `mvc metrics`).")
    ] = None,
    effort: Effort = mvc.DEFAULT_EFFORT,
    model: NamedModel = None,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Show a picture after several codecs at one size: a page with a slider, crops where they differ most, numbers.

    Each codec's setting is searched for its largest file within the size. The page is one file that asks for nothing
    of a network. The numbers go to stdout, too.
    """
    if (bpp is None) == (size is None):
        raise UsageError("give one of --bpp and --size", hint="--bpp 0.3 is usual for pictures on the web")
    try:
        check_target(bpp=bpp)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    bytes_asked = None if size is None else options.parse_size(size)
    target = output or Path(picture).with_suffix(".html")
    names = list(dict.fromkeys(codec or USUAL))
    own = described(names)
    protect([picture, *own], [str(target)])
    files.refuse_existing(target, force=force)

    from mvc import media
    from mvc.evaluate import codecs, equal_size
    from mvc.evaluate import metrics as measuring
    from mvc.evaluate.compare_page import compare_page, numbers

    source = media.read_picture(picture, keep_alpha=False)
    source.tell(warn)
    samples = source.picture.samples
    height, width = samples.shape[:2]
    if width * height > MOST_PIXELS:
        text = f"{picture} has {width}x{height} pixels; a page can hold {MOST_PIXELS}"
        raise Limit(text, hint="scale it down, or cut a part out of it")
    most = bytes_asked or math.floor((bpp or 0) * width * height / 8)
    if most < 1:
        raise UsageError(f"--bpp {bpp:g}: no file of this picture has less than one byte")
    measures = measuring.load(metrics.split(","), options.torch_device(device)) if metrics else {}

    def adapters(name: str) -> list[Adapter]:
        if name in own:
            return [own[name]]
        kinds = VARIANTS[name] if codec is None and name in VARIANTS else (name,)
        return [codecs.adapter(k, model=model, effort=effort, device=device.value, threads=threads) for k in kinds]

    with Progress("searching", len(names)) as progress:
        chosen = [adapters(name) for name in names]  # what is missing is told before anything is searched
        shown = [equal_size.best_at(each, samples, most, measures, progress.step) for each in chosen]
    crops = equal_size.places(samples, shown)
    text = compare_page(Path(picture).name, samples, shown, crops, most)
    files.write_atomic(target, text.encode(), force=force)
    for one in shown:
        if not one.fits:
            warn(f"{one.name} has no file as small as {most} bytes: its smallest has {len(one.data)}")
    heads, *rows = numbers(samples, shown)
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    note(f"{target}, {target.stat().st_size} bytes")
