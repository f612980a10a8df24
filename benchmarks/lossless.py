"""The exact coder beside PNG, WebP and JPEG XL: bytes of every picture, decoded back and compared, and speed.

    python -m benchmarks.lossless FOLDER [FOLDER ...] [--effort 1 2] [--anchors FILE] [--out FILE]

writes benchmarks/results/lossless.md. Anchors are Pillow's optimised PNG, Pillow's lossless WebP (method 6, quality
100, exact) and, where pillow-jxl-plugin is installed, JPEG XL of effort 7. They are slow, so FILE (JSON) keeps their
sizes by SHA-256 of the pixels and a later run measures only what is not there. Rates are megapixels for each second
of processor time on one core, kernels compiled, reading and writing of files apart.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvc.lossless.code import Way, decode, encode

RESULTS = Path(__file__).parent / "results"
ANCHORS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {"optimize": True}),
    "webp": ("WEBP", {"lossless": True, "method": 6, "quality": 100, "exact": True}),
    "jxl": ("JXL", {"lossless": True, "effort": 7}),
}
NAMES = {"png": "PNG", "webp": "WebP", "jxl": "JPEG XL"}


def anchors_of(pixels: NDArray[np.uint8], known: dict[str, dict[str, int]]) -> dict[str, int]:
    """Bytes of each anchor for a picture [H, W, 3]; measured only where `known` does not have them."""
    sizes = known.setdefault(hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(), {})
    for name, (kind, options) in ANCHORS.items():
        if name in sizes or (name == "jxl" and importlib.util.find_spec("pillow_jxl") is None):
            continue
        if name == "jxl":
            importlib.import_module("pillow_jxl")
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **options)
        if not np.array_equal(np.asarray(Image.open(file).convert("RGB")), pixels):
            raise RuntimeError(f"{name} is not exact")
        sizes[name] = len(file.getvalue())
    return sizes


def ours(pixels: NDArray[np.uint8], effort: int) -> tuple[bytes, float, float]:
    """(stream, seconds to encode, seconds to decode) of a picture [H, W, 3]."""
    planes = tuple(np.ascontiguousarray(pixels[..., k]) for k in range(3))
    start = time.process_time()
    data = encode(planes, effort=effort)
    middle = time.process_time()
    found = decode(data, (3, *pixels.shape[:2]))
    end = time.process_time()
    if not all(np.array_equal(a, b) for a, b in zip(found, planes, strict=True)):
        raise RuntimeError("a picture did not come back")
    return data, middle - start, end - middle


def report(folder: Path, known: dict[str, dict[str, int]], efforts: list[int]) -> list[str]:
    """Lines of Markdown for the pictures of a folder."""
    rows, pixels_total = [], 0
    total: dict[str, float] = {}
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".webp"))
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        sizes = anchors_of(pixels, known)
        pixels_total += pixels.shape[0] * pixels.shape[1]
        values: dict[str, float] = {**sizes}
        cells = []
        for effort in efforts:
            data, values[f"encode {effort}"], values[f"decode {effort}"] = ours(pixels, effort)
            values[f"mvc {effort}"] = len(data)
            cells += [f"{len(data):,}", "stored" if data[0] == 0x80 else Way(data[0] & 3).name.lower()]
        for name, value in values.items():
            total[name] = total.get(name, 0.0) + value
        cells += [f"{sizes[name]:,}" if name in sizes else "" for name in ANCHORS]
        rows.append(f"| {path.stem} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    lines = [f"## {folder.name} ({len(paths)} pictures, {pixels_total / 1e6:.2f} megapixels)\n"]
    there = [name for name in ANCHORS if name in total]
    lines += ["| effort | " + " | ".join(NAMES[name] for name in there) + " | bits a pixel | encode | decode |"]
    lines += ["|---|" + "---|" * (len(there) + 3)]
    for effort in efforts:
        size = total[f"mvc {effort}"]
        cells = [f"{size / total[name] - 1:+.1%}" for name in there] + [f"{8 * size / pixels_total:.3f}"]
        cells += [f"{pixels_total / total[f'{way} {effort}'] / 1e6:.2f}" for way in ("encode", "decode")]
        lines.append(f"| {effort} | {' | '.join(cells)} |")
    names = [f"mvc {effort} | way" for effort in efforts] + [NAMES[name] for name in ANCHORS]
    cells = [f"**{total[f'mvc {effort}']:,.0f}** | " for effort in efforts]
    cells += [f"{total[name]:,.0f}" if name in total else "" for name in ANCHORS]
    return [
        *lines,
        f"\n| picture | {' | '.join(names)} |",
        "|---|" + "---|" * (2 * len(efforts) + len(ANCHORS)),
        *rows,
        f"| **total** | {' | '.join(cells)} |\n",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--anchors", type=Path, default=RESULTS / "lossless_anchors.json")
    parser.add_argument("--out", type=Path, default=RESULTS / "lossless.md")
    parser.add_argument("--effort", nargs="+", type=int, default=[1, 2])
    args = parser.parse_args()
    small = np.asarray(np.random.default_rng(0).integers(0, 3, (8, 8, 3)), np.uint8)
    for way in Way:  # compiles
        for effort in args.effort:
            data = encode(tuple(small[..., k].copy() for k in range(3)), way=way, effort=effort)
            decode(data, (3, 8, 8))
    lines = ["# The exact coder\n", "Made by `python -m benchmarks.lossless`; every stream was decoded and compared."]
    lines[1] += " Sizes are against the anchors, rates in megapixels for each second of one core.\n"
    for folder in args.folders:
        known = json.loads(args.anchors.read_text()) if args.anchors.exists() else {}
        lines += report(folder, known, args.effort)
        args.anchors.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n")
    args.out.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
