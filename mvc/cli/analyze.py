"""`mvc analyze`: what a model does with pictures, as numbers in JSON and as figures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import mvc
from mvc import files
from mvc.cli import options
from mvc.cli.convert import quality_index
from mvc.cli.jobs import protect
from mvc.cli.loading import codec_loader
from mvc.cli.options import DeviceOption, Force, Model, Threads
from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError, note, warn

NUMBERS = "analysis.json"
LEAST_CROP_PX = 64


class Kind(StrEnum):
    """The form of the figures."""

    svg = "svg"
    png = "png"


def analyze(
    pictures: Annotated[
        list[str],
        typer.Argument(metavar="PICTURES", help="Pictures, or folders of them.", show_default=False),
    ],
    model: Model = mvc.DEFAULT_MODEL,
    quality: Annotated[
        float, typer.Option("-q", "--quality", help="1 (small) to 8 (fine), fractions allowed.")
    ] = mvc.DEFAULT_QUALITY,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where results go.")] = Path(
        "analysis"
    ),
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="NAME,...", help="Some of erf, correlation, deviation and allocation."),
    ] = None,
    crop: Annotated[
        int,
        typer.Option("--crop", min=LEAST_CROP_PX, metavar="PX", help="Largest side to measure receptive fields in."),
    ] = 512,
    kind: Annotated[Kind, typer.Option("--format", help="The form of the figures.")] = Kind.svg,
    device: DeviceOption = options.Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Look into a model: receptive fields, correlation of latents, deviation, bits.

    Writes FOLDER/analysis.json and one figure for each analysis. docs/analyze.md says what the numbers mean.
    """
    index = quality_index(quality)

    import torch

    from mvc import media
    from mvc.analysis import draw, study
    from mvc.ops.computing import computing

    wanted = _wanted(only, study.ANALYSES)
    draw.check_drawing()
    targets = {name: output / f"{name}.{kind.value}" for name in wanted}
    paths = files.find_pictures(pictures)
    written = [output / NUMBERS, *targets.values()]
    protect([str(path) for path in paths], [str(path) for path in written])
    for path in written:
        files.refuse_existing(path, force=force)

    with Progress("analysing", len(paths)) as progress:
        sources = []
        for path in paths:
            source = media.read_picture(path, keep_alpha=False)
            source.tell(warn)
            sources.append((path.name, source.picture))
        codec = codec_loader(device, threads)(model)
        with computing(threads), torch.enable_grad():  # the networks are used one by one, not through the codec
            found = study.analyse(codec, sources, index, wanted, crop_px=crop, on_step=progress.step)
        drawn = draw.draw(found, kind.value)

    files.make_folder(output)
    files.write_atomic(output / NUMBERS, found.to_json().encode(), force=force)
    for name, figure in drawn.items():
        files.write_atomic(targets[name], figure, force=force)
    note(f"{', '.join(path.name for path in written)} are in {output}")


def _wanted(only: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The analyses that --only names, in the order of `known`; all of them without it."""
    if only is None:
        return known
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"--only {only}: {name or 'nothing'} is no analysis; there are {', '.join(known)}")
    return tuple(name for name in known if name in names)
