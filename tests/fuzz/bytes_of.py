"""Damage to bytes of any kind, and numbers that break things."""

from __future__ import annotations

from random import Random

SIZES = (
    *(0, 1, 2, 7, 8, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 300, 1000, 1024, 2047, 2048, 4096),
    *(8191, 8192, 8193, 16383, 16384, 32767, 32768, 65535, 65536, 1 << 20, (1 << 28), (1 << 30) + 1),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 35) - 1),
)


def flips(random: Random, data: bytes, count: int) -> bytes:
    """So many single bits the other way."""
    changed = bytearray(data)
    for _ in range(count if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def havoc(random: Random, data: bytes, most: int = 8) -> bytes:
    """A few changes of a few bytes: replaced, inserted, taken out, repeated, numbers of 16 and 32 bits put in."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4, most])):
        size = len(changed)
        at = random.randrange(size + 1)
        match random.randrange(9) if size else 1:
            case 0:
                changed[at % size] = random.randrange(256)
            case 1:
                changed[at:at] = random.randbytes(random.choice([1, 2, 3, 4, 8, 16]))
            case 2:
                del changed[at : at + random.choice([1, 2, 3, 4, 5, 8, 16, 64])]
            case 3:
                start = random.randrange(size)
                changed[at:at] = changed[start : start + random.randrange(1, 64)]
            case 4:
                changed[at % size] = random.choice([0, 0x7F, 0x80, 0xFF])
            case 5:
                end = min(size, at + random.randrange(1, 32))
                changed[at:end] = bytes([random.choice([0, 255, 128])]) * (end - at)
            case 6:
                changed[at % size] = (changed[at % size] + random.choice([1, -1])) % 256
            case 7:
                width = random.choice([2, 4])
                number = random.choice(SIZES) % (1 << 8 * width)
                changed[at : at + width] = number.to_bytes(width, random.choice(["little", "big"]))
            case 8:
                changed[at % size] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(random: Random, data: bytes) -> bytes:
    """The first bytes alone."""
    return data[: random.randrange(len(data))] if data else data
