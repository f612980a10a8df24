"""What a GPU does with this codec: tests, decoding and training in one table, in under three minutes.

    python -m benchmarks.gpu [--output gpu.md] [--only decode ...]     # on a GPU machine
    python -m benchmarks.gpu --device cpu --quick                      # that it works: small pictures, a step or two

Every part is a process of its own with a time limit (benchmarks/gpu_parts.py): one that fails, or takes too long, is a
row that says so, and the others go on. Rows are printed as they come.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).parent.parent
TOTAL_S = 175.0  # of all parts together
HEAD = "| part | what | figure |\n|---|---|---|"
TESTS = ("tests/test_gpu.py", "tests/test_ops.py", "tests/test_warp.py", "tests/test_train_device.py")


class Row(NamedTuple):
    part: str
    what: str
    figure: str

    def __str__(self) -> str:
        cells = (cell.replace("|", "/").replace("\n", " ") for cell in self)
        return "| " + " | ".join(cells) + " |"


class Part(NamedTuple):
    """A command that prints lines of JSON [what, figure] among others, and its time limit in seconds."""

    name: str
    command: list[str]
    limit_s: float


def parts(device: str, quick: bool) -> list[Part]:
    """The most important first: what the time does not suffice for is left out."""

    def measured(name: str, limit_s: float, *arguments: str) -> Part:
        command = [sys.executable, "-m", "benchmarks.gpu_parts", *arguments, "--device", device]
        return Part(name, [*command, *(["--quick"] if quick else [])], limit_s)

    tests = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-rfE", "-p", "no:cacheprovider", *TESTS]
    if find_spec("xdist") is not None:  # what takes time is the compiling of kernels
        tests += ["-n", str(max(1, min(8, (os.cpu_count() or 1) // 2)))]
    still = "recipes/tiny.toml" if quick else "recipes/mambavc-lite.toml"
    video = "recipes/mambavc-ssf-lite.toml"
    # Compiling kernels comes first, on nobody's clock: a machine that has just been started has none.
    found = [
        measured("prepare", 60, "prepare"),
        Part("tests", tests, 75),
        measured("decode 768x512", 30, "decode", "--size", "768x512"),
        measured("train still", 45, "train", still, "--batch", "64"),
        measured("decode 4K", 40, "decode", "--size", "3840x2160"),
        measured("decode 4K in tiles", 40, "decode", "--size", "3840x2160", "--tile", "512"),
        measured("decode clip", 40, "clip"),
        measured("train video", 45, "train", video, "--batch", "64"),
        measured("mambavc", 45, "paper"),
        measured("kernels", 30, "kernels"),
    ]
    left_out = ("prepare", "decode 4K", "decode 4K in tiles", "mambavc") if quick else ()
    return [part for part in found if part.name not in left_out]


def run(part: Part, limit_s: float) -> Iterator[Row]:
    """The rows of a part, the last of them how it ended if that was not well."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        part.command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,  # so that what it starts can be ended with it
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=limit_s)
        ended = "" if process.returncode == 0 else f"failed with exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        ended = f"stopped after {limit_s:.0f} s"
    lines = text.splitlines()
    for what, figure in read(lines):
        yield Row(part.name, what, figure)
    if ended:
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        yield Row(part.name, "ERROR", f"{ended}: {said.strip()[:300]}")
    yield Row(part.name, "time, s", f"{time.perf_counter() - start:.1f}")


def read(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What a part said: its own lines of JSON, and of pytest what failed and how many there were."""
    for line in lines:
        if line.startswith('["'):
            what, figure = json.loads(line)
            yield what, figure
        elif line.startswith(("FAILED ", "ERROR ")):
            yield line.split(" ")[0], line.partition(" ")[2][:300]
        elif line[:1].isdigit() and any(word in line for word in (" passed", " failed", " skipped", " error")):
            yield "pytest", line


def machine(device: str) -> str:
    """Where this ran."""
    if device == "cuda":
        try:
            from mvc.ops.scan import _gpu_backend

            scan = getattr(_gpu_backend(), "__name__", "mamba-ssm or reference")
            return f"{torch.cuda.get_device_name()}, torch {torch.__version__}, scan by {scan}"
        except Exception as error:  # the table must come whatever is wrong with the device
            return f"CUDA is not usable: {error}"
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="small pictures and few steps, to see that all works")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="parts whose name has one of these words")
    parser.add_argument("--patience", type=float, default=1.0, help="this times as much time, on a busy machine")
    parser.add_argument("--output", type=Path, help="a Markdown file for the table, too")
    options = parser.parse_args()
    start = time.perf_counter()
    done = [f"{machine(options.device)}\n", HEAD]
    print("\n".join(done), flush=True)
    for part in parts(options.device, options.quick):
        if options.only and not any(word in part.name for word in options.only):
            continue
        left = options.patience * TOTAL_S - (time.perf_counter() - start)
        limit_s = min(options.patience * part.limit_s, left)
        rows = run(part, limit_s) if left > 5 else iter([Row(part.name, "left out", "no time left")])
        for row in rows:
            done.append(str(row))
            print(row, flush=True)
            if options.output:
                options.output.write_text("\n".join(done) + "\n")


if __name__ == "__main__":
    main()
