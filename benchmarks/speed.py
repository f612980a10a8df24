"""Time and memory of encoding and decoding, at 768x512 and at 3840x2160.

    python -m benchmarks.speed PICTURE [--model NAME] [--threads 2] [--runs 3] [--record]

PICTURE is one of the Kodak pictures; the large one is made of it, cut to 16:9 and enlarged by Lanczos. Prints
a Markdown table; with --record it goes to benchmarks/results/speed.md too. Times are the shortest of the
runs: with the weights loaded and everything warm, and for whole `mvc` processes from start to exit. Memory is
the highest resident set of such a process. On a busy machine only processor time and memory mean much.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import mvc
from mvc.quality import DEFAULT_MODEL

RESULT = Path(__file__).parent / "results" / "speed.md"
LARGE = (3840, 2160)


class Figures(NamedTuple):
    """Seconds and MiB for one picture."""

    pixels: int
    size_bytes: int
    encode_s: float
    encode_cpu_s: float
    decode_s: float
    decode_cpu_s: float
    encode_process_s: float
    decode_process_s: float
    encode_mib: float
    decode_mib: float


class Process(NamedTuple):
    """What a process took from its start to its exit."""

    seconds: float
    peak_mib: float


# A child starts out with the memory peak of the process that starts it, whatever that has loaded: so a fresh
# interpreter stands between, whose own peak is far below that of any command measured here.
_WATCH = """
import os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def run(command: Sequence[str]) -> Process:
    """Run a command to its end; exits with its message if it fails."""
    watch = subprocess.run([sys.executable, "-c", _WATCH, *command], capture_output=True, text=True)
    seconds, peak, status = watch.stdout.split() if watch.returncode == 0 else ("0", "0", "1")
    if int(status):
        raise SystemExit(watch.stderr)
    return Process(float(seconds), int(peak) / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def shortest(runs: int, command: Sequence[str]) -> Process:
    """The least time and the highest memory of several runs."""
    found = [run(command) for _ in range(runs)]
    return Process(min(p.seconds for p in found), max(p.peak_mib for p in found))


def shortest_seconds(runs: int, action: Callable[[], object]) -> tuple[float, float]:
    """The least time of several calls by the wall clock, and of all threads together on the processor."""
    wall, processor = [], []
    for _ in range(runs):
        start, start_cpu = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_cpu)
    return min(wall), min(processor)


def enlarge(path: Path, target: Path) -> None:
    """A PNG of `LARGE` out of the middle of a picture."""
    with Image.open(path) as image:
        height = image.width * LARGE[1] // LARGE[0]
        top = (image.height - height) // 2
        box = (0, top, image.width, top + height)
        image.convert("RGB").resize(LARGE, Image.Resampling.LANCZOS, box=box).save(target, compress_level=1)


def processes(
    picture: Path, folder: Path, quality: float, options: argparse.Namespace
) -> tuple[Path, Process, Process]:
    """The coded file, and `mvc encode` and `mvc decode` as processes."""
    command = [sys.executable, "-m", "mvc"]
    coded, decoded = folder / f"{picture.stem}.mvc", folder / f"{picture.stem}.out.png"
    common = ["-f", "--device", "cpu", "--threads", str(options.threads), "--model", options.model]
    encoded = [*command, "encode", str(picture), "-q", f"{quality:g}", "-o", str(coded), *common]
    return (
        coded,
        shortest(options.runs, encoded),
        shortest(options.runs, [*command, "decode", str(coded), "-o", str(decoded), *common]),
    )


def measure(pictures: Sequence[Path], folder: Path, options: argparse.Namespace) -> list[Figures]:
    """Everything about each picture."""
    run([sys.executable, "-c", "import mvc.codec"])  # numba's kernels are compiled once, on nobody's clock
    quality = options.quality
    outside = [processes(picture, folder, quality, options) for picture in pictures]
    from mvc import codec as codecs
    from mvc.media import read_picture

    codec = codecs.load(options.model, device="cpu", threads=options.threads)
    index = mvc.quality_index(quality)
    found = []
    for path, (coded, encode, decode) in zip(pictures, outside, strict=True):
        picture, data = read_picture(path).picture, coded.read_bytes()
        codec.decode(codec.encode(picture, index))
        found.append(
            Figures(
                picture.width * picture.height,
                len(data),
                *shortest_seconds(options.runs, partial(codec.encode, picture, index)),
                *shortest_seconds(options.runs, partial(codec.decode, data)),
                encode.seconds,
                decode.seconds,
                encode.peak_mib,
                decode.peak_mib,
            )
        )
    return found


def table(names: Sequence[str], figures: Sequence[Figures]) -> str:
    """Markdown: one row per figure, one column per picture, and the ratio of the time per pixel."""
    small, large = figures
    scale = large.pixels / small.pixels
    lines = [f"| | {names[0]} | {names[1]} | ratio per pixel |", "|---|---:|---:|---:|"]

    def row(title: str, field: str, form: str, factor: float = 1.0) -> None:
        one, other = (getattr(figure, field) * factor for figure in (small, large))
        lines.append(f"| {title} | {one:{form}} | {other:{form}} | {other / one / scale:.2f} |")

    row("encode, s", "encode_s", ".3f")
    row("encode, processor s of all threads", "encode_cpu_s", ".3f")
    row("decode, s", "decode_s", ".3f")
    row("decode, processor s of all threads", "decode_cpu_s", ".3f")
    row("`mvc encode`, from PNG, whole process, s", "encode_process_s", ".2f")
    row("`mvc decode`, to PNG, whole process, s", "decode_process_s", ".2f")
    row("`mvc encode`, peak memory, MiB", "encode_mib", ".0f")
    row("`mvc decode`, peak memory, MiB", "decode_mib", ".0f")
    row("file, kB", "size_bytes", ".1f", 1e-3)
    return "\n".join(lines)


def machine() -> str:
    """The processor and the load that it had."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name, or a folder of weights")
    parser.add_argument("--quality", type=float, default=mvc.DEFAULT_QUALITY)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--record", action="store_true", help=f"write {RESULT.name} too")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="mvc-speed-") as name:
        folder = Path(name)
        large = folder / "large.png"
        enlarge(options.picture, large)
        figures = measure([options.picture, large], folder, options)
    with Image.open(options.picture) as image:
        names = [f"{image.width}x{image.height}", "x".join(map(str, LARGE))]
    text = table(names, figures)
    print(text)
    if options.record:
        command = f"python -m benchmarks.speed {options.picture.name} --threads {options.threads} --runs {options.runs}"
        note = f"    {command}\n\nQuality {options.quality:g}, {options.threads} threads, on {before}.\n"
        RESULT.write_text(f"# Speed and memory\n\n{note}\n{text}\n")


if __name__ == "__main__":
    main()
