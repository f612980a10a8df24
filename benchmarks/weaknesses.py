"""The model card's picture of what the default model is bad at: text, line art and noise, beside AVIF at the same size.

    python -m benchmarks.weaknesses samples/kodim23.png docs/weaknesses.png [--quality 4]

Every panel is read back from the bytes of a real file. PNG's size is printed too: for the first two it is the answer.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import mvc
from benchmarks.comparison import CAPTION_PX, panel, smallest_over

WIDTH, HEIGHT = 384, 256
DETAIL = (0, 0, 256, 160)  # of each picture, shown twice as large
SENTENCE = "Sphinx of black quartz, judge my vow. 0123456789 "


def text() -> Image.Image:
    """Lines of small type on white."""
    page = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(page)
    for line in range(HEIGHT // 14):
        size = 9 + line % 4
        draw.text((6, 14 * line), SENTENCE[line:] + SENTENCE, "black", ImageFont.load_default(size))
    return page


def line_art() -> Image.Image:
    """One-pixel lines, hatching and flat colours."""
    page = Image.new("RGB", (WIDTH, HEIGHT), (250, 245, 230))
    draw = ImageDraw.Draw(page)
    for i in range(0, WIDTH, 6):
        draw.line((i, 0, WIDTH - i, HEIGHT), "navy")
    for i, colour in enumerate(("red", "green", "blue", "orange")):
        box = (30 + 80 * i, 40 + 20 * i, 100 + 80 * i, 120 + 20 * i)
        draw.rectangle(box, fill=colour, outline="black")
        draw.ellipse((box[0] - 12, box[1] + 30, box[2] - 12, box[3] + 30), outline="black")
    return page


def noisy(photograph: Path) -> Image.Image:
    """A photograph as a sensor at high gain would see it."""
    with Image.open(photograph) as opened:
        samples = np.asarray(opened.convert("RGB"), np.float64)[60 : 60 + HEIGHT, 60 : 60 + WIDTH]
    noise = np.random.default_rng(0).normal(0, 20, samples.shape)
    return Image.fromarray((samples + noise).round().clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--quality", type=float, default=4.0)
    arguments = parser.parse_args()
    font = ImageFont.load_default(15)
    width, height = 2 * (DETAIL[2] - DETAIL[0]), 2 * (DETAIL[3] - DETAIL[1])
    pictures = {"text": text(), "line art": line_art(), "noise": noisy(arguments.photograph)}
    sheet = Image.new("RGB", (3 * (width + 8), len(pictures) * (height + CAPTION_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, original) in enumerate(pictures.items()):
        samples = np.asarray(original)
        coded = mvc.encode(mvc.Picture(samples), arguments.quality, coder="network")
        avif = smallest_over(original, len(coded), format="AVIF", subsampling="4:4:4", speed=4)
        png = io.BytesIO()
        original.save(png, "PNG", optimize=True)
        panels = [
            (f"{name}, as PNG {len(png.getvalue()):,} bytes", original),
            panel("mvc", coded, samples),
            panel("AVIF", avif, samples),
        ]
        for column, (caption, shown) in enumerate(panels):
            left, top = column * (width + 8), row * (height + CAPTION_PX)
            detail = shown.crop(DETAIL).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(detail, (left, top + CAPTION_PX))
            draw.text((left + 4, top + 8), caption, "black", font)
            print(caption)
    sheet.quantize(128).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
