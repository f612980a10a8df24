"""Entropy coders side by side on the same latents: symbols per second and bits above the ideal.

    python -m benchmarks.entropy [--symbols 491520] [--seconds 0.5]

prints a Markdown table; benchmarks/results/entropy.md records what it printed. One thread each. constriction
and compressai take part where they are installed: `pip install constriction` and, as compressai's own
dependencies do not fit a recent numpy, `pip install --no-deps compressai`: only its compiled module is used.

The latents imitate a picture's: 320 channels of falling energy at 48 x 32 positions, a smooth field over the
positions and some noise choose each symbol's row; the symbol is drawn from it. Rates are the best of many
runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import int64, njit, uint64
from numpy.typing import NDArray

from mvc.entropy import rans
from mvc.entropy.coders import Decoder, Encoder
from mvc.entropy.tables import BUCKET_BITS, LATENT_SIGMAS, TOTAL, Tables, gaussian_tables

Ints = NDArray[np.int32]
CHANNELS, WIDTH = 320, 48


class Coder(NamedTuple):
    """A coder with its data: `decode` returns the symbols of what `encode` returned."""

    name: str
    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    bits: Callable[[Any], int]
    symbols: Ints


def latents(tables: Tables, count: int, seed: int = 0) -> tuple[Ints, Ints]:
    """(symbols, rows), `count` each, channel by channel; no symbol needs an escape."""
    rng = np.random.default_rng(seed)
    positions = count // CHANNELS
    energy = np.linspace(39, -44, CHANNELS) + rng.normal(0, 6, CHANNELS)
    field = rng.normal(size=(positions // WIDTH, WIDTH))
    for _ in range(4):
        field = np.sum([np.roll(field, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)], axis=0)
    field *= 10 / field.std()
    noise = rng.normal(0, 3, (CHANNELS, positions))
    wanted = np.rint(energy[:, None] + field.ravel() + noise).ravel()
    rows = np.clip(wanted, 0, tables.rows - 1).astype(np.int32)
    slots, symbols = rng.integers(0, TOTAL, rows.size), np.empty(rows.size, np.int32)
    for row, chosen, cdf in by_row(tables, rows):
        index = np.searchsorted(cdf, slots[chosen], side="right") - 1
        symbols[chosen] = np.minimum(index, cdf.size - 3) + tables.lowest[row]
    return symbols, rows


def by_row(tables: Tables, rows: Ints) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.uint32]]]:
    """(row, where it is used, its cdf) of each row in use."""
    for row in np.unique(rows):
        start = tables.start[row]
        yield (
            int(row),
            np.flatnonzero(rows == row),
            tables.cdf[start : start + 2 * tables.half_width[row] + 3],
        )


def mvc_coder(tables: Tables, symbols: Ints, rows: Ints, parts: int) -> Coder:
    """`Encoder` and `Decoder`, fed in `parts` equal parts as the prior's slices and passes do."""
    cuts = np.array_split(np.arange(rows.size), parts)
    pieces = [slice(int(cut[0]), int(cut[-1]) + 1) for cut in cuts]

    def encode() -> bytes:
        encoder = Encoder(tables)
        for piece in pieces:
            encoder.put(symbols[piece], rows[piece])
        return encoder.finish()

    def decode(stream: Any) -> Ints:
        decoder = Decoder(stream, tables)
        taken = [decoder.take(rows[piece]) for piece in pieces]
        decoder.finish()
        return np.concatenate(taken)

    return Coder(f"mvc, {parts} part{'s' * (parts > 1)}", encode, decode, lambda s: 8 * len(s), symbols)


def reference_coder(tables: Tables, symbols: Ints, rows: Ints) -> Coder:
    return Coder(
        "mvc, plain Python reference",
        lambda: rans.encode(tables, symbols.tolist(), rows.tolist()),
        lambda stream: rans.decode(tables, rows.tolist(), stream),
        lambda stream: 8 * len(stream),
        symbols,
    )


def experimental_coder(tables: Tables, symbols: Ints, rows: Ints, lanes: int, low_bits: int) -> Coder:
    """What the format could have been: interleaved lanes, 2^low_bits as a state's lower bound; no escapes."""

    @njit(nogil=True, error_model="numpy")
    def encode_loop(symbols, rows, words, entries, start, lowest):
        a = b = c = d = int64(1 << low_bits)
        position = words.size
        for i in range(symbols.size - 1, -1, -1):
            row = rows[i]
            entry = int64(entries[start[row] + int64(symbols[i]) - lowest[row]])
            frequency = entry >> 16
            x = a if lanes == 1 else b if lanes == 2 else d
            if x >= frequency << low_bits:
                position -= 1
                words[position] = x & 0xFFFF
                x >>= 16
            quotient = int64(uint64(x) // uint64(frequency))
            x = (quotient << 16) + (x - quotient * frequency) + (entry & 0xFFFF)
            a, b, c, d = x, a, b, c
        return position, (a, b, c, d)

    @njit(nogil=True, error_model="numpy")
    def decode_loop(symbols, rows, words, states, entries, buckets, start, lowest):
        a, b, c, d = states
        position = 0
        for i in range(rows.size):
            row = rows[i]
            base = int64(start[row])
            slot = a & 0xFFFF
            index = int64(buckets[row << BUCKET_BITS | slot >> (16 - BUCKET_BITS)])
            entry = int64(entries[base + index])
            while slot - (entry & 0xFFFF) >= entry >> 16:
                index += 1
                entry = int64(entries[base + index])
            x = (entry >> 16) * (a >> 16) + slot - (entry & 0xFFFF)
            if x < 1 << low_bits:
                if position >= words.size:
                    return False
                x = x << 16 | words[position]
                position += 1
            symbols[i] = lowest[row] + index
            if lanes == 1:
                a = x
            elif lanes == 2:
                a, b = b, x
            else:
                a, b, c, d = b, c, d, x
        return position == words.size

    def encode() -> tuple[NDArray[np.uint16], tuple[int, ...]]:
        words = np.empty(symbols.size + 4, np.uint16)
        position, states = encode_loop(symbols, rows, words, tables.entries, tables.start, tables.lowest)
        return words[position:].copy(), states

    def decode(coded: Any) -> Ints:
        words, states = coded
        out = np.empty(rows.size, np.int32)
        constants = (tables.entries, tables.buckets, tables.start, tables.lowest)
        if not decode_loop(out, rows, words, states, *constants):
            raise RuntimeError("the experimental coder lost its place")
        return out

    plural = "s" if lanes > 1 else ""
    return Coder(
        f"experiment: {lanes} lane{plural}, {low_bits + 16}-bit state, no escapes",
        encode,
        decode,
        lambda coded: 16 * coded[0].size + lanes * (low_bits + 16),
        symbols,
    )


def compressai_coder(ans: ModuleType, tables: Tables, symbols: Ints, rows: Ints) -> Coder:
    """compressai's rANS. It takes lists, which are made outside the clock."""
    ends = [*tables.start[1:], tables.cdf.size]
    cdfs = [tables.cdf[a:b].tolist() for a, b in zip(tables.start, ends, strict=True)]
    constants = (cdfs, [len(cdf) for cdf in cdfs], tables.lowest.tolist())
    listed_rows, listed_symbols = rows.tolist(), symbols.tolist()
    return Coder(
        "compressai.ans",
        lambda: ans.RansEncoder().encode_with_indexes(listed_symbols, listed_rows, *constants),
        lambda stream: ans.RansDecoder().decode_with_indexes(stream, listed_rows, *constants),
        lambda stream: 8 * len(stream),
        symbols,
    )


def constriction_gaussian(constriction: ModuleType, tables: Tables, symbols: Ints, rows: Ints) -> Coder:
    """constriction's rANS with a Gaussian computed in float64 for each symbol."""
    ans, bound = constriction.stream.stack.AnsCoder, int(tables.half_width.max())
    model = constriction.stream.model.QuantizedGaussian(-bound, bound)
    means, sigmas = np.zeros(rows.size), LATENT_SIGMAS[rows]

    def encode() -> NDArray[np.uint32]:
        coder = ans()
        coder.encode_reverse(symbols, model, means, sigmas)
        return coder.get_compressed()

    return Coder(
        "constriction, QuantizedGaussian",
        encode,
        lambda words: ans(words).decode(model, means, sigmas),
        lambda words: 32 * words.size,
        symbols,
    )


def constriction_tables(constriction: ModuleType, tables: Tables, symbols: Ints, rows: Ints) -> Coder:
    """constriction's rANS with our tables, symbols grouped by row: no use where rows depend on symbols."""
    ans, categorical = constriction.stream.stack.AnsCoder, constriction.stream.model.Categorical
    groups = [
        (
            where,
            categorical(np.diff(cdf.astype(np.float64)), perfect=False),
            (symbols - tables.lowest[row])[where],
        )
        for row, where, cdf in by_row(tables, rows)
    ]

    def encode() -> NDArray[np.uint32]:
        coder = ans()
        for _, model, indices in reversed(groups):
            coder.encode_reverse(indices, model)
        return coder.get_compressed()

    def decode(words: Any) -> Ints:
        coder, out = ans(words), np.empty(rows.size, np.int32)
        for where, model, _ in groups:
            out[where] = coder.decode(model, where.size)
        return out + tables.lowest[rows]

    return Coder("constriction, our tables, grouped", encode, decode, lambda w: 32 * w.size, symbols)


def compressai_ans() -> ModuleType | None:
    """The compiled module alone: compressai's own __init__ imports torchvision and more."""
    package = importlib.util.find_spec("compressai")
    if package is None or package.origin is None:
        return None
    for path in Path(package.origin).parent.glob("ans.*.so"):
        spec = importlib.util.spec_from_file_location("compressai.ans", path)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return None


def best_seconds(run: Callable[[], object], seconds: float) -> float:
    """The shortest of as many runs as fit into `seconds`, at least two, after one that does not count."""
    run()
    best, end, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 2 or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
        runs += 1
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=CHANNELS * 1536, help="a multiple of 320 * 48 * 4")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each coder and direction")
    options = parser.parse_args()
    tables = gaussian_tables()
    symbols, rows = latents(tables, options.symbols)
    ideal_bits = tables.cost_bits(symbols, rows)
    some = slice(0, rows.size, 16)

    coders = [
        mvc_coder(tables, symbols, rows, 1),
        mvc_coder(tables, symbols, rows, 16),
        reference_coder(tables, symbols[some], rows[some]),
        experimental_coder(tables, symbols, rows, lanes=1, low_bits=16),
        experimental_coder(tables, symbols, rows, lanes=1, low_bits=24),
        experimental_coder(tables, symbols, rows, lanes=2, low_bits=24),
        experimental_coder(tables, symbols, rows, lanes=4, low_bits=24),
    ]
    absent = []
    if (ans := compressai_ans()) is not None:
        coders.append(compressai_coder(ans, tables, symbols, rows))
    else:
        absent.append("compressai")
    if importlib.util.find_spec("constriction"):
        constriction = importlib.import_module("constriction")
        coders.append(constriction_gaussian(constriction, tables, symbols, rows))
        coders.append(constriction_tables(constriction, tables, symbols, rows))
    else:
        absent.append("constriction")

    nonzero = np.count_nonzero(symbols) / symbols.size
    print(
        f"{symbols.size} symbols, {ideal_bits / symbols.size:.3f} bits each, {100 * nonzero:.1f} % not zero\n"
    )
    print("| coder | encode, M symbols/s | decode, M symbols/s | overhead, % |")
    print("|---|---:|---:|---:|")
    for coder in coders:
        coded = coder.encode()
        if not np.array_equal(coder.decode(coded), coder.symbols):
            raise SystemExit(f"{coder.name} does not return what it was given")
        ideal = (
            ideal_bits if coder.symbols.size == symbols.size else tables.cost_bits(symbols[some], rows[some])
        )
        overhead = 100 * (coder.bits(coded) / ideal - 1)
        rates = [
            coder.symbols.size / best_seconds(run, options.seconds) / 1e6
            for run in (coder.encode, lambda coder=coder, coded=coded: coder.decode(coded))
        ]
        print(f"| {coder.name} | {rates[0]:.3g} | {rates[1]:.3g} | {overhead:+.3f} |", flush=True)
    for name in absent:
        print(f"\n{name} is not installed: left out.")


if __name__ == "__main__":
    main()
