"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

import mvc
from mvc.arguments import MAX_THREADS, check_look, check_scale, check_tile
from mvc.cli.terminal import UsageError
from mvc.metadata import chosen
from mvc.tiling import Region

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)(i?)[bB]?", re.ASCII)


class Device(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def torch_device(device: Device) -> str:
    """Where torch computes what is no codec: on the GPU, if there is one and `device` does not say otherwise."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device is Device.auto else device.value


class Format(StrEnum):
    """What pictures are written as where no name says it: an extension that `media.write_picture` knows."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tiff = "tiff"
    ppm = "ppm"
    bmp = "bmp"
    avif = "avif"


class Tune(StrEnum):
    """What is kept small; as `mvc.quality.Tune`."""

    error = "error"
    look = "look"


class Coder(StrEnum):
    """What makes the file of a picture; as `mvc.quality.Coder`."""

    auto = "auto"
    network = "network"
    exact = "exact"


class Stats(StrEnum):
    """The form of --stats."""

    json = "json"


def parse_size(text: str, option: str = "--size") -> int:
    """Bytes from `12345`, `50kB`, `1.5MB` (powers of 1000) or `64KiB` (powers of 1024); at least 1."""
    match = _SIZE.fullmatch(text.strip())
    number, unit, binary = match.groups() if match else ("", "", "")
    if not number or (binary and not unit):
        raise UsageError(f"{option} {text}: not a size; write 12345, 50kB, 1.5MB or 64KiB")
    size = int(float(number) * (1024 if binary else 1000) ** " kmg".index(unit.lower() or " "))
    if size < 1:
        raise UsageError(f"{option} {text}: a file has at least one byte")
    return size


def parse_bits(text: str) -> float:
    """Bits per second from `500k`, `1.5M` or `64000` (powers of 1000), as FFmpeg writes them; above 0."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)(?:bps|bit/s|bits/s)?", text.strip(), re.ASCII)
    bits = float(match[1]) * 1000 ** " km".index(match[2].lower() or " ") if match else 0
    if bits <= 0:
        raise UsageError(f"--bitrate {text}: not a bitrate; write 500k, 1.5M or 64000, in bits per second")
    return bits


def parse_pixels(text: str) -> int:
    """A number of pixels from `250000`, `500k` or `16.5M` (powers of 1000); at least 1."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", text.strip(), re.ASCII)
    pixels = int(float(match[1]) * 1000 ** " kmg".index(match[2].lower() or " ")) if match else 0
    if pixels < 1:
        raise UsageError(f"--max-pixels {text}: not a number of pixels; write 250000, 500k or 100M")
    return pixels


def limits(max_pixels: str | None, max_memory: str | None) -> Callable[..., None]:
    """A check of width, height, and whether the exact coder made anything, before decoding: `Limit`."""
    pixels = None if max_pixels is None else parse_pixels(max_pixels)
    memory = None if max_memory is None else parse_size(max_memory, "--max-memory")

    def check(width: int, height: int, exact: bool = False) -> None:
        if pixels is not None or memory is not None:
            from mvc.picture import check_decoding

            check_decoding(width, height, pixels, memory, exact=exact)

    return check


def parse_metadata(text: str) -> tuple[str, ...]:
    """The kinds of --metadata; `UsageError` for another word."""
    try:
        return chosen(text)
    except ValueError as error:
        raise UsageError(f"--metadata: {error}") from error


MAX_SIDE_PX = 65535


def parse_dimensions(text: str) -> tuple[int, int]:
    """Width and height in pixels from `768x512`."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip(), re.ASCII)
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise UsageError(f"--size {text}: not a picture's size; write 768x512")
    return width, height


def parse_tile(tile: int | None) -> int | None:
    """The side of --tile; `UsageError` for another."""
    try:
        return check_tile(tile)
    except ValueError as error:
        raise UsageError(f"--{error}", hint="it is in pixels") from error


def parse_scale(text: str) -> int:
    """What --scale divides sides by; `UsageError` for another."""
    try:
        return check_scale(text)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def parse_look(text: str) -> float:
    """Which share of the natural look --look says; `UsageError` for another."""
    try:
        return check_look(text)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def parse_region(text: str | None) -> Region | None:
    """A region from `X,Y,W,H`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text.replace(" ", ""), re.ASCII)
    region = Region(*map(int, match.groups())) if match else None
    if region is None or not region.width or not region.height:
        raise UsageError(f"--region {text}: not a region; write left,top,width,height in pixels: 0,0,512,512")
    return region


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS",
        help="Files, or folders of them (at any depth), also by URLs; `-` is stdin.",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="File, or folder for several inputs or a folder; `-` is stdout. Default: beside the input.",
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the networks run.")]
Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        min=0,
        max=mvc.MAX_EFFORT,
        help="Time for a better picture in about as many bytes; with a target for a smaller file. 0 (fastest) to 3. "
        "Exact files are smaller, and slow, from 2 on.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="A name from `mvc models`, or a folder with weights.")]
EncodingModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A name from `mvc models`, or a folder with weights. Default: mambavc-lite, of --tune look "
        "mambavc-lite-seen.",
    ),
]
NamedModel = Annotated[str | None, typer.Option("--model", help="A name from `mvc models`. Default: each codec's own.")]
FileModel = Annotated[
    str | None,
    typer.Option("--model", help="Name or folder of the model. Default: the one the file asks for."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=MAX_THREADS, help="CPU threads. Default: one per core.")
]
StatsOption = Annotated[Stats | None, typer.Option("--stats", help="One line of JSON per file on stdout.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing files.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        "--skip-existing",
        help="Leave out inputs whose output is there and whole; one that is not is an error, or with -f made anew.",
    ),
]
Report = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="A row for every picture: .csv, .json, or .html, a page with small pictures. Repeatable.",
    ),
]
Processes = Annotated[
    int,
    typer.Option("-j", "--jobs", min=1, max=64, help="Pictures at a time, each by a process with a model of its own."),
]
Tile = Annotated[
    int | None,
    typer.Option(
        "--tile", metavar="PX", help="Side of tiles: 256, 512, 1024, or 0 for one. Default: 512 above 8 megapixels."
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option("--region", metavar="X,Y,W,H", help="Only this part of pictures: left, top, width, height in pixels."),
]
Scale = Annotated[
    str,
    typer.Option("--scale", metavar="1/N", help="Smaller pictures, by means over squares: 1/2, 1/4, 1/8 or 1/16."),
]
Slices = Annotated[
    int | None,
    typer.Option("--slices", metavar="K", min=0, help="A preview: of latents the first K slices alone, 0 to 5."),
]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Show what has arrived of a picture whose file is cut or damaged.")
]
MaxPixels = Annotated[
    str | None,
    typer.Option("--max-pixels", metavar="NUMBER", help="Refuse files of larger pictures; 100M. Default: 8192x8192."),
]
MaxMemory = Annotated[
    str | None,
    typer.Option("--max-memory", metavar="BYTES", help="Refuse files that take more to decode; 2GB. Default: none."),
]
Metadata = Annotated[
    str, typer.Option("--metadata", metavar="KINDS", help="What to keep: all, none, or some of icc,exif,xmp,gainmap.")
]
NoGps = Annotated[bool, typer.Option("--no-gps", help="Take the places out of EXIF and XMP.")]
Grain = Annotated[
    bool,
    typer.Option("--grain", help="Tell which noise coding smooths away (16 bytes), for decode --grain to make anew."),
]
AddGrain = Annotated[
    bool,
    typer.Option("--grain", help="Add noise like that which was smoothed away, if the file tells (encode --grain)."),
]
Look = Annotated[
    str,
    typer.Option(
        "--look",
        metavar="NAME",
        help="Pictures faithful (default), or natural: with detail that files leave open; 0 ... 1: between the two.",
    ),
]
Thumbnail = Annotated[bool, typer.Option("--thumbnail", help="Add a JPEG of 3-6 kB, for programs without a network.")]
Quiet = Annotated[bool, typer.Option("-Q", "--quiet", help="Show errors only.")]
