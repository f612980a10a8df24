"""The README's picture: one detail of a photograph after JPEG, AVIF and mvc at the same file size.

    python -m benchmarks.comparison samples/kodim23.png docs/comparison.png

Every panel is read back from the bytes of a real file; the caption gives its size and the PSNR of the whole picture.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import mvc
from mvc.metrics import psnr

DETAIL = (60, 40, 380, 300)  # left, top, right, bottom of the part that is shown
CAPTION_PX = 34


def smallest_over(original: Image.Image, limit: int, **options: object) -> bytes:
    """The best file of a Pillow codec within `limit` bytes, or its smallest where none fits."""
    best = None
    for quality in range(96):
        buffer = io.BytesIO()
        original.save(buffer, quality=quality, **options)
        if best is None or len(buffer.getvalue()) <= limit:
            best = buffer.getvalue()
        if len(buffer.getvalue()) > limit:
            break
    assert best is not None
    return best


def panel(name: str, data: bytes, samples: np.ndarray) -> tuple[str, Image.Image]:
    """What a file of mvc or Pillow decodes to, with its size and its PSNR against the original samples as a caption."""
    decoded = mvc.decode(data).samples if name == "mvc" else np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return f"{name}: {len(data):,} bytes, {psnr(samples, decoded):.1f} dB", Image.fromarray(decoded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--bpp", type=float, default=0.15)
    arguments = parser.parse_args()
    original = Image.open(arguments.picture).convert("RGB")
    samples = np.asarray(original)
    coded = mvc.encode(arguments.picture, bpp=arguments.bpp, coder="network")
    files = [
        ("JPEG", smallest_over(original, len(coded), format="JPEG", subsampling=2, optimize=True)),
        ("AVIF", smallest_over(original, len(coded), format="AVIF", subsampling="4:4:4", speed=4)),
        ("mvc", coded),
    ]
    panels = [("original", original), *(panel(name, data, samples) for name, data in files)]
    width, height = DETAIL[2] - DETAIL[0], DETAIL[3] - DETAIL[1]
    sheet = Image.new("RGB", (2 * width + 8, 2 * (height + CAPTION_PX)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for index, (caption, picture) in enumerate(panels):
        left, top = (index % 2) * (width + 8), (index // 2) * (height + CAPTION_PX)
        sheet.paste(picture.crop(DETAIL), (left, top + CAPTION_PX))
        draw.text((left + 4, top + 6), caption, "black", font)
        print(caption)
    sheet.save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
