"""Brings the clips that a recipe was trained on: `python recipes/clips/gather.py ../clips [CLONES]`.

From bare clones of public repositories below CLONES (as those of ../photographs/gather.py), which are made where they
are missing. MANIFEST.tsv names some consecutive frames of a video, or of a folder of numbered pictures, and the size
to which they are scaled down, so that what their file's compression did is mostly gone. They are written without loss
(x264 with qp 0). SOURCES.md has the licences: the clips are for training and are not shipped.
"""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.reformatter import Interpolation
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from photographs.gather import blob, clone_of

MANIFEST = Path(__file__).with_name("MANIFEST.tsv")
RATE = Fraction(25)  # of pictures and of videos that do not tell theirs
LOSSLESS = {"qp": "0", "preset": "medium"}


def pictures(clone: Path, folder: str) -> list[str]:
    """The paths of a folder's pictures in the order of their numbers."""
    command = ["git", "-C", clone, "ls-tree", "-z", "--name-only", "HEAD", folder]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    paths = [path for path in listed if path.lower().endswith((".jpg", ".jpeg", ".png"))]
    return sorted(paths, key=lambda path: (len(path), path))


def decoded(clone: Path, path: str) -> Iterator[av.VideoFrame]:
    """All frames of a video, or of the pictures of a folder, whose path ends in "/"."""
    if path.endswith("/"):
        for name in pictures(clone, path):
            picture = Image.open(io.BytesIO(blob(clone, name) or b"")).convert("RGB")
            yield av.VideoFrame.from_image(picture)
        return
    data = blob(clone, path)
    if data is None:
        return
    with av.open(io.BytesIO(data)) as source:
        stream = source.streams.video[0]
        rate = stream.average_rate
        for frame in source.decode(stream):
            if rate and 1 <= rate <= 120:  # some files tell nonsense
                frame.time_base = 1 / Fraction(rate)
            yield frame


def scaled(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """4:2:0 of 8 bits and that size, as stored: training turns clips anyway."""
    return frame.reformat(width, height, "yuv420p", interpolation=Interpolation.LANCZOS, dst_color_range="MPEG")


def write(frames: list[av.VideoFrame], rate: Fraction, path: Path) -> None:
    """Write frames that are scaled already, whole or not at all."""
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="matroska") as target:
        stream = target.add_stream("libx264", rate=rate, options=LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / rate
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    os.replace(part, path)


def take(frames: Iterator[av.VideoFrame], wanted: list[list[str]], folder: Path) -> None:
    """Write the clips of one video: name, first frame, number of frames, size; in the order of their first frames."""
    at = 0
    for name, first, count, size in sorted(wanted, key=lambda row: int(row[1])):
        width, height = map(int, size.split("x"))
        chosen = list(itertools.islice(frames, int(first) - at, int(first) - at + int(count)))
        at = int(first) + int(count)
        if len(chosen) < int(count):
            print(f"{name}: the video is missing or too short now", file=sys.stderr)
            continue
        base = chosen[0].time_base
        rate = 1 / base if base and 1 <= 1 / base <= 120 else RATE
        write([scaled(frame, width, height) for frame in chosen], rate, folder / name)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    clones = Path(sys.argv[2]) if len(sys.argv) == 3 else folder / "clones"
    rows = [line.split("\t") for line in MANIFEST.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if not (folder / row[0]).exists()]
    for (repository, path), group in itertools.groupby(rows, key=lambda row: (row[1], row[2])):
        wanted = [[name, first, count, size] for name, _, _, first, count, size, _ in group]
        take(decoded(clone_of(repository, clones), path), wanted, folder)


if __name__ == "__main__":
    main()
