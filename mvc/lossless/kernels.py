"""The loops over a picture. State lies in arrays, so that a call can go on where the last one stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint64

from mvc.jit import kernel
from mvc.lossless.decide import lone
from mvc.lossless.pixel import indexed, matched, remember, surroundings
from mvc.lossless.quick import key_above, place, quick_end, quick_sample
from mvc.lossless.quick_pixel import quick_match, quick_remember
from mvc.lossless.recall import recall, recall_learn
from mvc.lossless.sample import finish_row, sample, skip

__all__ = ["graphic_row", "indexed_row", "numbers", "quick_rows", "smooth_row"]


@kernel(bare=True)
def numbers(decoding: bool, values: Any, context: int, singles: Any, coder: Any, words: Any) -> None:
    """Code integers, 0 <= value < 2^24: a length in unary, then the bits below the highest one of value + 1."""
    for i in range(values.size):
        value, length = values[i] + 1, 0
        while value >> (length + 1) > 0 and not decoding:
            length += 1
        got = 0
        while got < 24 and lone(decoding, 1 if length > got else 0, context * 64 + got, singles, coder, words) == 1:
            got += 1
        value_got = 1
        for rest in range(got - 1, -1, -1):
            slot = 32 + got if rest == got - 1 else 24
            value_got = 2 * value_got + lone(decoding, (value >> rest) & 1, context * 64 + slot, singles, coder, words)
        values[i] = value_got - 1


@kernel(bare=True)
def smooth_row(
    decoding: bool,
    k: int,
    y: int,
    depth: int,
    near: int,
    source: Any,
    planes: Any,
    coefs: Any,
    classes: Any,
    slips: Any,
    misses: Any,
    errors: Any,
    bias: Any,
    counters: Any,
    weights: Any,
    singles: Any,
    scratch: Any,
    coder: Any,
    words: Any,
) -> None:
    """Code row y of plane k, where the earlier planes are complete."""
    taps, guess, context, at, inputs = scratch[0], scratch[1], scratch[2, :7], scratch[3], scratch[4]
    for x in range(planes.shape[2] - 4):
        wanted = 0 if decoding else source[k, y, x]
        sample(
            decoding, wanted, k, y, x, True, depth, near, planes, coefs, classes, slips, misses, errors[:, y], bias,
            counters, weights, singles, taps, guess, context, at, inputs, coder, words,
        )  # fmt: skip
    finish_row(planes, k, y, slips, misses)


@kernel(bare=True)
def graphic_row(
    decoding: bool,
    y: int,
    depth: int,
    near: int,
    slack: int,
    source: Any,
    planes: Any,
    coefs: Any,
    classes: Any,
    slips: Any,
    misses: Any,
    errors: Any,
    bias: Any,
    counters: Any,
    weights: Any,
    singles: Any,
    keys: Any,
    memory: Any,
    ranks: Any,
    flag_counters: Any,
    flag_weights: Any,
    recalling: bool,
    refused: Any,
    seen: Any,
    scratch: Any,
    coder: Any,
    words: Any,
) -> None:
    """Code row y of all planes, pixel by pixel: the same as a candidate, or sample by sample."""
    taps, guess, context, at, inputs = scratch[0], scratch[1], scratch[2, :7], scratch[3], scratch[4]
    close, hashes = scratch[5], scratch[6]
    count, mask = planes.shape[0], (1 << depth) - 1
    for x in range(planes.shape[2] - 4):
        surroundings(keys, y, x, close, hashes)
        key = np.int64(0)
        if not decoding:
            for k in range(count):
                key |= source[k, y, x] << (depth * k)
        found = matched(
            decoding, key, y, x, depth, slack, close, hashes, memory, ranks, flag_counters, flag_weights, refused, at,
            inputs, coder, words,
        )  # fmt: skip
        if found >= 0:
            key = found
            for k in range(count):
                planes[k, y + 2, x + 2] = (key >> (depth * k)) & mask
                skip(k, y, x, slips, misses, errors[:, y])
        else:
            full, key = key, np.int64(0)
            for k in range(count):
                wanted = 0 if decoding else source[k, y, x]
                sample(
                    decoding, wanted, k, y, x, False, depth, near, planes, coefs, classes, slips, misses, errors[:, y],
                    bias, counters, weights, singles, taps, guess, context, at, inputs, coder, words,
                )  # fmt: skip
                value = np.int64(planes[k, y + 2, x + 2])
                key |= value << (depth * k)
                if recalling and k == 0:
                    slip = np.int64(slips[0, y % 3, x + 2])
                    found = recall(
                        decoding, full, value, slip, count, depth, slack, close[0], close[1], refused, seen, coder,
                        words,
                    )  # fmt: skip
                    if found >= 0:
                        break
            if found >= 0:
                key = found
                for k in range(1, count):
                    planes[k, y + 2, x + 2] = (key >> (depth * k)) & mask
                    skip(k, y, x, slips, misses, errors[:, y])
            if recalling:
                recall_learn(key, seen)
        keys[y + 4, x + 4] = key
        remember(key, hashes, memory)
    for k in range(count):
        finish_row(planes, k, y, slips, misses)


@kernel(bare=True)
def quick_rows(
    decoding: bool, matching: bool, recalling: bool, begin: int, end: int, depth: int, near: int, slack: int,
    source: Any, samples: Any, matches: Any, seen: Any, coder: Any, words: Any,
) -> None:  # fmt: skip
    """Code rows `begin` to `end` of all planes, pixel by pixel, with matches and recall where so told."""
    count, height, width = samples.shape[0], samples.shape[1], samples.shape[2]
    mask = (1 << depth) - 1
    for y in range(begin, end):
        west = int64(0)
        for x in range(width):
            key, found = int64(0), int64(-1)
            if (matching or recalling) and not decoding:
                for k in range(count):
                    key |= int64(source[k, y, x]) << (depth * k)
            if matching:
                found = quick_match(decoding, key, y, x, width, depth, slack, matches, coder, words)
            if found >= 0:
                key = found
                for k in range(count):
                    samples.planes[uint64(place(k, y, x, height, width))] = (key >> (depth * k)) & mask
                    samples.slips[uint64((3 * k + y % 3) * (width + 4) + x + 2)] = 0
            else:
                full, key = key, int64(0)
                for k in range(count):
                    wanted = int64(0)
                    if not decoding:
                        wanted = int64(source[k, y, x])
                    value = quick_sample(decoding, wanted, k, y, x, depth, near, samples, coder, words)
                    key |= value << (depth * k)
                    if recalling and k == 0:
                        slip = int64(samples.slips[uint64(y % 3 * (width + 4) + x + 2)])
                        north = key_above(y, x, count, depth, samples)
                        found = recall(
                            decoding, full, value, slip, count, depth, slack, west, north, matches.refused, seen,
                            coder, words,
                        )  # fmt: skip
                        if found >= 0:
                            break
                if found >= 0:
                    key = found
                    for k in range(1, count):
                        samples.planes[uint64(place(k, y, x, height, width))] = (key >> (depth * k)) & mask
                        samples.slips[uint64((3 * k + y % 3) * (width + 4) + x + 2)] = 0
                if recalling:
                    recall_learn(key, seen)
            west = key
            if matching:
                matches.keys[uint64((y + 4) * (width + 8) + x + 4)] = key
                quick_remember(key, matches)
        for k in range(count):
            quick_end(k, y, samples)


@kernel(bare=True)
def indexed_row(
    decoding: bool,
    y: int,
    bits: int,
    matching: bool,
    keys: Any,
    memory: Any,
    ranks: Any,
    flag_counters: Any,
    flag_weights: Any,
    refused: Any,
    counters: Any,
    weights: Any,
    scratch: Any,
    coder: Any,
    words: Any,
) -> None:
    """Code row y of a picture of few colours: `keys` holds, or gets, their numbers of `bits` bits."""
    at, inputs, close, hashes = scratch[3], scratch[4], scratch[5], scratch[6]
    for x in range(keys.shape[1] - 8):
        surroundings(keys, y, x, close, hashes)
        key = keys[y + 4, x + 4]
        found = np.int64(-1)
        if matching:
            found = matched(
                decoding, key, y, x, bits, 0, close, hashes, memory, ranks, flag_counters, flag_weights, refused, at,
                inputs, coder, words,
            )  # fmt: skip
        if found >= 0:
            key = found
        else:
            key = indexed(decoding, key, bits, y, x, keys, close, hashes, counters, weights, at, inputs, coder, words)
        keys[y + 4, x + 4] = key
        if matching:
            remember(key, hashes, memory)
