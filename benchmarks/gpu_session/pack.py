"""Lay out what a GPU machine needs in `.gpu/`, in parts that fit its transfer limit, and print the calls to make.

    python benchmarks/gpu_session/pack.py --pictures ../shared/data/train ../shared/data/graphics

In the root of the checkout from which `run` sends files (docs/gpu.md). What the session does not need must be out of
the tree: the shipped weights and checkpoints alone are more than the limit of 64 MiB a call.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEELS = ["google-crc32c==1.9.0", "pytest-xdist==3.8.0", "execnet==2.1.2"]  # what is imported and the GPU image lacks
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
MIB = 2**20


def size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def parts_of(folders: list[Path], room: float, most: int) -> list[list[Path]]:
    """Pictures of all folders, mixed, in parts of at most `room` bytes; what does not fit is left out."""
    pictures = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    random.Random(1).shuffle(pictures)
    parts: list[list[Path]] = [[]]
    used = 0
    for path in pictures:
        if used + path.stat().st_size > room:
            if len(parts) == most:
                break
            parts.append([])
            used = 0
        parts[-1].append(path)
        used += path.stat().st_size
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pictures", nargs="+", type=Path, default=[], help="folders named as DATA of train.sh has them"
    )
    parser.add_argument("--limit-mb", type=float, default=62)
    parser.add_argument("--most-parts", type=int, default=3)
    options = parser.parse_args()
    exclude = Path(said("git", "rev-parse", "--git-path", "info/exclude").strip())
    exclude.parent.mkdir(parents=True, exist_ok=True)
    if "/.gpu/" not in (exclude.read_text() if exclude.exists() else ""):
        with open(exclude, "a") as file:
            file.write("/.gpu/\n")
    shutil.rmtree(".gpu", ignore_errors=True)
    tools = Path(".gpu/tools")
    tools.mkdir(parents=True)
    for script in HERE.glob("*.sh"):
        shutil.copy2(script, tools)
    wheels = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    wheels += ["--python-version", "3.12", "--implementation", "cp", "-d", str(tools / "whl")]
    for platform in PLATFORMS:
        wheels += ["--platform", f"{platform}_x86_64"]
    subprocess.run([*wheels, *WHEELS], check=True)
    listed = said("git", "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    tree = size(Path(name) for name in listed if name) + size(tools.rglob("*"))
    room = options.limit_mb * MIB - tree
    print(f"tree and tools {tree / MIB:.1f} MiB, {room / MIB:.1f} MiB left for each part of the data")
    if room < 4 * MIB:
        raise SystemExit("too little room: move checkpoints and weights that are not needed out of the tree")
    parts = parts_of(options.pictures, room, options.most_parts) if options.pictures else []
    for number, part in enumerate(parts, 1):
        for path in part:
            folder = Path(f".gpu/part{number}") / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder)
        print(f'command "bash .gpu/tools/stage.sh {number}"   carry [".gpu/tools", ".gpu/part{number}"]   timeout_s 60')
    print(f"{sum(map(len, parts))} pictures in {len(parts)} part(s)")


if __name__ == "__main__":
    main()
