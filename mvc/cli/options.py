"""Options that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

import mvc
from mvc.cli.terminal import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(i?)[bB]?", re.ASCII)


class Device(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Stats(StrEnum):
    """The form of --stats."""

    json = "json"


def parse_size(text: str) -> int:
    """Bytes from `12345`, `50kB`, `1.5MB` (powers of 1000) or `64KiB` (powers of 1024); at least 1."""
    match = _SIZE.fullmatch(text.strip())
    number, unit, binary = match.groups() if match else ("", "", "")
    if not number or (binary and not unit):
        raise UsageError(f"--size {text}: not a size; write 12345, 50kB, 1.5MB or 64KiB")
    size = int(float(number) * (1024 if binary else 1000) ** " kmg".index(unit.lower() or " "))
    if size < 1:
        raise UsageError(f"--size {text}: a file has at least one byte")
    return size


MAX_SIDE_PX = 65535


def parse_dimensions(text: str) -> tuple[int, int]:
    """Width and height in pixels from `768x512`."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip(), re.ASCII)
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise UsageError(f"--size {text}: not a picture's size; write 768x512")
    return width, height


Inputs = Annotated[
    list[str], typer.Argument(metavar="INPUTS", help="Files to read; `-` is stdin.", show_default=False)
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", help="File, or folder for several inputs; `-` is stdout. Default: beside the input."
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the networks run.")]
Effort = Annotated[
    int,
    typer.Option("--effort", min=0, max=mvc.MAX_EFFORT, help="Time for a smaller file, 0 (fastest) to 3."),
]
Model = Annotated[str, typer.Option("--model", help="A name from `mvc models`, or a folder with weights.")]
FileModel = Annotated[
    str | None,
    typer.Option("--model", help="Name or folder of the model. Default: the one the file asks for."),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads. Default: one per core.")]
StatsOption = Annotated[Stats | None, typer.Option("--stats", help="One line of JSON per file on stdout.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing files.")]
