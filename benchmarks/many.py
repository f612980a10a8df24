"""Many pictures in one call: against a codec that is loaded, by two processes against one, and memory over a long run.

    python -m benchmarks.many PICTURE [--count 200] [--side 256] [--runs 3] [--jobs 2] [--effort 1] [--record]
    python -m benchmarks.many PICTURE --memory 2500 [--side 32] [--jobs 2] [--effort 0]

Squares of PICTURE are encoded from PNG files. Ways take turns, run after run, and the shortest time of each counts:

- the loaded codec: pictures in memory to bytes in memory, as `mvc.codec` does it, on one thread a core and on one
- one call: `mvc encode FOLDER -o FOLDER`, from its start to its exit; and without its start, from the first result on
- one process on one thread, and `-j N`

Prints how the call does against the codec, and `-j N` against one process. With --memory instead the resident sets of
all processes of a run after a tenth of its pictures and at its end, for one process and for `-j N`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import mvc
from benchmarks.speed import machine

RESULT = Path(__file__).parent / "results" / "many.md"

_LOADED = """
import sys, time
from pathlib import Path
import mvc
from mvc import choice, codec
from mvc.media import read_picture
folder, effort, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pictures = [read_picture(path).picture for path in sorted(Path(folder).rglob("*.png"))]
loaded = codec.load(mvc.DEFAULT_MODEL, "cpu", threads)
how = {"index": mvc.quality_index(mvc.DEFAULT_QUALITY), "effort": effort, "target": {}}
choice.encode(pictures[0], lambda: loaded, **how)
start = time.perf_counter()
for picture in pictures:
    choice.encode(picture, lambda: loaded, **how)
print(time.perf_counter() - start)
"""


class Call(NamedTuple):
    """Seconds of a whole command, and of its pictures but the first, from the first result to the last."""

    whole: float
    rest: float


def squares(source: Path, folder: Path, count: int, side: int) -> None:
    """So many squares out of a picture, at places that are spread over it, as PNG files in a tree."""
    rng = np.random.default_rng(0)
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    for number in range(count):
        left, top = (int(rng.integers(0, room - side + 1)) for room in image.size)
        path = folder / f"{number // 500}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((left, top, left + side, top + side)).save(path, compress_level=1)


def command(source: Path, target: Path, effort: int, *more: str) -> list[str]:
    """`mvc encode` of a folder, which says when each picture is done."""
    own = [sys.executable, "-m", "mvc", "encode", str(source), "-o", str(target), "--effort", str(effort)]
    return [*own, "--device", "cpu", "--stats", "json", "-Q", "-f", *more]


def call(arguments: Sequence[str], count: int) -> Call:
    """Run a command to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    ends = [time.perf_counter() for _ in process.stdout]
    if process.wait() or len(ends) != count:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return Call(time.perf_counter() - start, ends[-1] - ends[0])


def loaded(folder: Path, effort: int, threads: int) -> float:
    """Seconds of a codec that is loaded, with pictures that are read."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(folder), str(effort), str(threads)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def speed(folder: Path, work: Path, options: argparse.Namespace) -> str:
    """The ratios, as a table."""
    count, effort, jobs = options.count, options.effort, f"{options.jobs}"
    cores = os.cpu_count() or 1
    codec, alone, one, single, several = [], [], [], [], []
    for _ in range(options.runs):
        codec.append(loaded(folder, effort, cores))
        alone.append(loaded(folder, effort, 1))
        one.append(call(command(folder, work / "one", effort), count))
        single.append(call(command(folder, work / "single", effort, "--threads", "1"), count))
        several.append(call(command(folder, work / "several", effort, "-j", jobs), count))
    ways = {f"the loaded codec, {cores} threads": min(codec), "the loaded codec, one thread": min(alone)}
    rows = [(name, best, best * (count - 1) / count) for name, best in ways.items()]
    named = {f"one call, {cores} threads": one, "one call, one thread": single, f"one call, -j {jobs}": several}
    rows += [(name, min(c.whole for c in calls), min(c.rest for c in calls)) for name, calls in named.items()]
    lines = ["| | whole, s | from the first picture on, s |", "|---|---:|---:|"]
    lines += [f"| {name} | {whole:.2f} | {rest:.2f} |" for name, whole, rest in rows]

    def ratio(title: str, before: int, after: int) -> str:
        return (
            f"{title}: {rows[before][1] / rows[after][1]:.3f}, "
            f"from the first picture on {rows[before][2] / rows[after][2]:.3f}"
        )

    return "\n".join(
        [
            *lines,
            "",
            ratio("one call at so much of the loaded codec's speed (wanted: 0.9)", 0, 2),
            ratio("and of that of one on one thread", 1, 2),
            ratio(f"-j {jobs} against one process on one thread (wanted: 1.7)", 3, 4),
            ratio(f"-j {jobs} against one process on {cores} threads", 2, 4),
        ]
    )


def resident_mib(number: int) -> float:
    """The resident sets of a process and of those that it started, in MiB; shared pages count in each."""
    try:
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        status = Path(f"/proc/{number}/status").read_text()
    except OSError:
        return 0.0
    own = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return own / 1024 + sum(resident_mib(int(child)) for child in children)


def memory(folder: Path, work: Path, options: argparse.Namespace) -> str:
    """Resident sets in the course of long runs."""
    count = options.memory
    lines = ["| | after a tenth, MiB | at the end, MiB |", "|---|---:|---:|"]
    for name, more in (("one process", ()), (f"-j {options.jobs}", ("-j", f"{options.jobs}"))):
        report = work / f"{len(lines)}.html"
        arguments = command(folder, work / name, options.effort, "--report", str(report), *more)
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        seen = {}
        for done, _ in enumerate(process.stdout, 1):
            if done in (count // 10, count - 1):  # before the last, who is done may be gone
                seen[done] = resident_mib(process.pid)
        if process.wait():
            raise SystemExit(f"{' '.join(arguments)} failed")
        lines.append(f"| {name} | {seen[count // 10]:.0f} | {seen[count - 1]:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--effort", type=int, default=mvc.DEFAULT_EFFORT)
    parser.add_argument("--memory", type=int, metavar="PICTURES", help="measure memory over so many pictures instead")
    parser.add_argument("--record", action="store_true", help=f"write {RESULT.name} too")
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="mvc-many-") as name:
        folder, work = Path(name, "in"), Path(name)
        squares(options.picture, folder, options.memory or options.count, options.side)
        text = memory(folder, work, options) if options.memory else speed(folder, work, options)
    print(text)
    if options.record:
        shown = f"    python -m benchmarks.many {' '.join(sys.argv[1:])}\n\n{before[0].upper()}{before[1:]}.\n"
        RESULT.write_text(f"# Many pictures\n\n{shown}\n{text}\n")


if __name__ == "__main__":
    main()
