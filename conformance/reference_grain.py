"""Section 6.8 of bitstream_spec.md: grain, pixel by pixel."""

from __future__ import annotations

import math

from reference_decoder import crc32c

__all__ = ["with_grain"]

Pixel = tuple[int, ...]


def with_grain(rows: list[list[Pixel]], grain: bytes, top: int = 0, left: int = 0) -> list[list[Pixel]]:
    """Rows of pixels (gray, or red, green and blue) with grain; the first has the row and column `top`, `left`."""
    seed = crc32c(grain)
    across, down = ((byte + 128) % 256 - 128 for byte in grain[10:])
    deviation = math.isqrt(21845 * (65536 + 2 * across**2) * (65536 + 2 * down**2))

    def white(plane: int, y: int, x: int) -> int:
        h = (x * 0x9E3779B1 + y * 0x85EBCA77 + seed + plane * 0xC2B2AE3D) % 2**32
        h = (h ^ h >> 16) * 0x7FEB352D % 2**32
        h = (h ^ h >> 15) * 0x846CA68B % 2**32
        h ^= h >> 16
        return sum(h.to_bytes(4, "little")) - 510

    def noise(plane: int, y: int, x: int, strength: int) -> int:
        if not strength:
            return 0
        lines = [
            256 * white(plane, y + 1, column) + down * (white(plane, y, column) + white(plane, y + 2, column))
            for column in (x, x + 1, x + 2)
        ]
        total = 256 * lines[1] + across * (lines[0] + lines[2])
        return (2 * total * strength + deviation) // (2 * deviation)

    def strength(luma: int) -> int:
        between = min(max(luma - 16, 0), 224)
        low = min(between // 32, 6)
        share = between - 32 * low
        return (grain[low] * (32 - share) + grain[low + 1] * share + 16) // 32

    def made(pixel: Pixel, y: int, x: int) -> Pixel:
        luma = pixel[0] if len(pixel) == 1 else (pixel[0] + 2 * pixel[1] + pixel[2] + 2) // 4
        own = noise(0, y, x, strength(luma))
        cb, cr = (noise(plane, y, x, grain[7 + plane]) for plane in (1, 2)) if len(pixel) > 1 else (0, 0)
        shifts = (0,) if len(pixel) == 1 else (359 * cr, -88 * cb - 183 * cr, 454 * cb)
        sums = (16 * value + own + (shift + 128) // 256 for value, shift in zip(pixel, shifts, strict=True))
        return tuple(min(max((value + 8) // 16, 0), 255) for value in sums)

    return [[made(pixel, top + y, left + x) for x, pixel in enumerate(row)] for y, row in enumerate(rows)]
