"""Entropy coding: tables, the reference coder, and that the compiled one equals it byte for byte."""

from __future__ import annotations

import random
import time
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mvc.entropy import rans
from mvc.entropy.coders import Decoder, Encoder
from mvc.entropy.tables import (
    LATENT_SIGMAS,
    MAX_HALF_WIDTH,
    MAX_VALUE,
    TOTAL,
    Tables,
    gaussian_tables,
    mixture_tables,
    tables_from_pmfs,
)
from mvc.errors import Corrupt, FormatError, Limit, MvcError, Truncated, WeightsError

GAUSSIAN = gaussian_tables()

Ints = NDArray[np.int32]


def realistic(count: int, seed: int = 0, offset: float = -4.5) -> tuple[Ints, Ints]:
    """(symbols, rows), count each: rows as sparse as a picture's, symbols drawn from their row."""
    rng = np.random.default_rng(seed)
    rows = np.clip(np.rint(rng.normal(offset, 25, count)), 0, GAUSSIAN.rows - 1).astype(np.int32)
    slots = rng.integers(0, TOTAL, count)
    symbols = np.empty(count, np.int32)
    for row in np.unique(rows):
        start, width = GAUSSIAN.start[row], 2 * GAUSSIAN.half_width[row]
        index = np.searchsorted(GAUSSIAN.cdf[start : start + width + 3], slots[rows == row], side="right") - 1
        symbols[rows == row] = index + GAUSSIAN.lowest[row]  # the escape becomes the nearest integer above
    return symbols, rows


def encoded(tables: Tables, symbols: Ints, rows: Ints) -> bytes:
    encoder = Encoder(tables)
    encoder.put(symbols, rows)
    return encoder.finish()


def decoded(tables: Tables, stream: bytes, rows: Ints) -> Ints:
    decoder = Decoder(stream, tables)
    symbols = decoder.take(rows)
    decoder.finish()
    return symbols


@st.composite
def any_tables(draw: st.DrawFn) -> Tables:
    pmfs, lowest = [], []
    for _ in range(draw(st.integers(1, 5))):
        weights = np.array(draw(st.lists(st.floats(0, 1), min_size=1, max_size=40)))
        inside = draw(st.sampled_from([1.0, 0.999, 0.5, 0.0]))
        pmfs.append(weights * (inside / max(weights.sum(), 1e-9)))
        lowest.append(draw(st.integers(-MAX_VALUE, MAX_VALUE - 50)))
    return tables_from_pmfs(pmfs, lowest)


@st.composite
def any_coding(draw: st.DrawFn) -> tuple[Tables, Ints, Ints]:
    """Tables and symbols with their rows: inside, at both ends, just outside and far outside the row."""
    tables = draw(any_tables())
    rows = np.array(draw(st.lists(st.integers(0, tables.rows - 1), max_size=60)), np.int32)
    symbols = []
    for row in rows:
        lowest, width = int(tables.lowest[row]), 2 * int(tables.half_width[row])
        near = st.integers(max(lowest - 3, -MAX_VALUE), min(lowest + width + 3, MAX_VALUE))
        symbols.append(draw(st.one_of(near, st.integers(-MAX_VALUE, MAX_VALUE))))
    return tables, np.array(symbols, np.int32), rows


# --- round trips ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(any_coding(), st.data())
def test_round_trip_in_any_parts_equals_reference(
    coding: tuple[Tables, Ints, Ints], data: st.DataObject
) -> None:
    tables, symbols, rows = coding
    stream = rans.encode(tables, symbols, rows)
    assert rans.decode(tables, rows, stream) == symbols.tolist()
    cuts = st.lists(st.integers(0, rows.size), max_size=4).map(sorted)

    encoder = Encoder(tables)
    for part in np.split(np.arange(rows.size), data.draw(cuts)):
        encoder.put(symbols[part], rows[part])
    assert encoder.finish() == stream

    decoder = Decoder(stream, tables)
    parts = [decoder.take(rows[part]) for part in np.split(np.arange(rows.size), data.draw(cuts))]
    decoder.finish()
    np.testing.assert_array_equal(np.concatenate(parts), symbols)


@settings(deadline=None, max_examples=100)
@given(any_coding())
def test_length_is_ideal_up_to_the_state(coding: tuple[Tables, Ints, Ints]) -> None:
    tables, symbols, rows = coding
    stream = rans.encode(tables, symbols, rows)
    # At most: the state's 16 bits to begin with, 8 not filled at the end, and 1 % for the rarest symbols.
    assert 8 * len(stream) <= 1.01 * tables.cost_bits(symbols, rows) + 24
    assert (stream == b"") == (rows.size == 0)


@pytest.mark.parametrize("offset", [-60.0, -4.5, 30.0])
def test_realistic_latents(offset: float) -> None:
    symbols, rows = realistic(200_000, offset=offset)
    stream = encoded(GAUSSIAN, symbols, rows)
    np.testing.assert_array_equal(decoded(GAUSSIAN, stream, rows), symbols)
    head = slice(0, 4000)
    assert encoded(GAUSSIAN, symbols[head], rows[head]) == rans.encode(GAUSSIAN, symbols[head], rows[head])


def test_overhead_below_a_thousandth() -> None:
    symbols, rows = realistic(200_000)
    ideal_bits = GAUSSIAN.cost_bits(symbols, rows)
    assert 0.6 < ideal_bits / rows.size < 1.0  # that it is the sparse case that is measured
    assert ideal_bits <= 8 * len(encoded(GAUSSIAN, symbols, rows)) < 1.001 * ideal_bits


def test_cost_bits_is_the_sum_of_the_steps() -> None:
    symbols = np.array([0, -1, 1, 2, -2, 9, -100, MAX_VALUE, -MAX_VALUE], np.int32)
    rows = np.array([0, 0, 30, 0, 0, 12, 40, 95, 0], np.int32)
    steps = [
        step for pair in zip(symbols, rows, strict=True) for step in rans._steps(GAUSSIAN, *map(int, pair))
    ]
    assert GAUSSIAN.cost_bits(symbols, rows) == pytest.approx(sum(n - np.log2(f) for f, _, n in steps))
    assert GAUSSIAN.cost_bits([], []) == 0


def test_golden_stream() -> None:
    """The bytes are the format: they may change only together with its version."""
    tables = tables_from_pmfs([[0.25, 0.5, 0.25], [0.125, 0.125]], [-1, 10])
    symbols = [0, 1, -1, 0, 10, 11, 13, 9, -40, 0, 1000]
    rows = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    stream = encoded(tables, np.array(symbols), np.array(rows))
    assert stream == rans.encode(tables, symbols, rows)
    assert stream.hex() == "91af508e0333d041e67701007c"


def test_nothing_and_almost_nothing() -> None:
    none = np.zeros(0, np.int32)
    encoder = Encoder(GAUSSIAN)
    encoder.put(none, none)
    assert encoder.finish() == Encoder(GAUSSIAN).finish() == rans.encode(GAUSSIAN, [], []) == b""
    assert decoded(GAUSSIAN, b"", none).size == 0
    # A slice of zeros alone, where the prior expects zeros, is its state and nothing else.
    zeros = np.zeros(20_000, np.int32)
    stream = encoded(GAUSSIAN, zeros, zeros)
    assert len(stream) == 3
    np.testing.assert_array_equal(decoded(GAUSSIAN, stream, zeros), zeros)


def test_put_copies_and_accepts_any_integers() -> None:
    symbols, rows = realistic(500)
    stream = encoded(GAUSSIAN, symbols, rows)
    encoder = Encoder(GAUSSIAN)
    wide, narrow = np.repeat(symbols.astype(np.int64), 2), rows.astype(np.uint8)
    encoder.put(wide[::2], narrow)
    wide[:], narrow[:] = 0, 0
    assert encoder.finish() == encoder.finish() == stream
    np.testing.assert_array_equal(decoded(GAUSSIAN, stream, rows.astype(np.uint8)), symbols)


# --- arguments -----------------------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    encoder = Encoder(GAUSSIAN)
    for symbols, rows in (
        ([1], [0, 0]),
        ([1.0], [0]),
        ([[1]], [[0]]),
        ([1], [-1]),
        ([1], [96]),
        ([1], [2**32]),
    ):
        with pytest.raises(ValueError):
            encoder.put(symbols, rows)
    for symbol in (MAX_VALUE + 1, -MAX_VALUE - 1, -(2**31), 2**32, 2**63):
        with pytest.raises(Limit):
            encoder.put([symbol], [0])
    assert encoder.finish() == b""
    decoder = Decoder(rans.encode(GAUSSIAN, [0], [0]), GAUSSIAN)
    for bad_rows in ([96.0], [96], [-1], [[0]]):
        with pytest.raises(ValueError):
            decoder.take(bad_rows)
    decoder.take([0])
    decoder.finish()


# --- damage --------------------------------------------------------------------------------------------


def outcome(stream: bytes, rows: Ints, tables: Tables, *, reference: bool) -> list[int] | type[Exception]:
    try:
        if reference:
            return rans.decode(tables, rows, stream)
        return decoded(tables, stream, rows).tolist()
    except FormatError as error:
        return type(error)


def test_end_state_is_checked() -> None:
    symbols, rows = realistic(1000)
    stream = encoded(GAUSSIAN, symbols, rows)
    longer = np.append(rows, np.int32(60))
    for reference in (False, True):
        assert outcome(stream, rows[:-1], GAUSSIAN, reference=reference) is Corrupt
        for damaged in (stream + b"\0\0", stream[:-2], stream + b"\0", stream[:-1], stream[2:]):
            assert outcome(damaged, rows, GAUSSIAN, reference=reference) in (Truncated, Corrupt)
        assert outcome(stream, np.repeat(longer, 2), GAUSSIAN, reference=reference) is Truncated
        assert outcome(stream, rows[:0], GAUSSIAN, reference=reference) is Corrupt
        assert outcome(b"", rows, GAUSSIAN, reference=reference) is Truncated


def test_streams_have_one_form() -> None:
    """No second stream for the same symbols: not a longer state, nor a state where nothing is coded."""
    for stream, error in (
        (b"\1", Truncated),
        (b"\1\1", Truncated),
        (b"\0\0\1", Corrupt),  # the start state, but no symbols
        (b"\0\0\0", Corrupt),  # a state that its bytes are too many for
        (b"\0\0\1\0", Corrupt),
        (b"\0\0\0\1\0", Corrupt),
    ):
        for reference in (False, True):
            assert outcome(stream, np.zeros(0, np.int32), GAUSSIAN, reference=reference) is error


def test_absurd_escapes_are_corrupt() -> None:
    tables = tables_from_pmfs([[0.0], [0.0]], [MAX_VALUE, 0])  # row 0 escapes upward from the largest symbol

    def stream_of(steps: list[tuple[int, int, int]]) -> bytes:
        state, words = rans.START, b""
        for frequency, cumulative, bits in reversed(steps):
            if state >= frequency << (rans.STATE_BITS - bits):
                words = (state & 0xFFFF).to_bytes(2, "little") + words
                state >>= 16
            state = (state // frequency << bits) + state % frequency + cumulative
        return rans.join_stream(state, words)

    escape = (TOTAL - 1, 1, 16)
    above, zero, one = (1, 0, 1), (1, 0, 1), (1, 1, 1)
    for row, steps in (
        (0, [escape, above, one]),  # MAX_VALUE + 1
        (1, [escape, above] + [zero] * 22 + [one] * 23),  # a run of zeros too long for any symbol
        (1, [escape, above] + [zero] * 20 + [one] * 21),  # 2^21 - 1
    ):
        for reference in (False, True):
            assert outcome(stream_of(steps), np.array([row]), tables, reference=reference) is Corrupt
    largest = [escape, above] + [zero] * 20 + [one] + [zero] * 20
    assert outcome(stream_of(largest), np.array([1]), tables, reference=False) == [MAX_VALUE]


def test_damaged_streams_end_in_an_error_or_in_symbols() -> None:
    """Mutations of valid streams: never a crash or a hang, and the same outcome as the reference."""
    chance = random.Random(1)
    symbols, rows = realistic(60, offset=20)
    symbols[::9] = 5000  # escapes everywhere
    stream = encoded(GAUSSIAN, symbols, rows)
    seen = set()
    for _ in range(3000):
        mutant = bytearray(stream)
        for _ in range(chance.choice((1, 1, 2, 8))):
            mutant[chance.randrange(len(mutant))] = chance.choice((0, 255, chance.randrange(256)))
        if chance.random() < 0.3:
            mutant = mutant[: chance.randrange(len(mutant) + 1)]
        if chance.random() < 0.1:
            mutant += chance.randbytes(chance.randrange(9))
        result = outcome(bytes(mutant), rows, GAUSSIAN, reference=False)
        assert result == outcome(bytes(mutant), rows, GAUSSIAN, reference=True)
        seen.add(result if isinstance(result, type) else list)
    assert {Truncated, Corrupt} <= seen


def test_noise_decodes_in_bounded_time() -> None:
    """The dearest thing that a stream can ask for: the last slots of rows with thousands of symbols."""
    count = 200_000
    rows = np.full(count, GAUSSIAN.rows - 1, np.int32)
    for stream in (
        b"\xff" * 400_000,
        b"\x00\x00\x00\x01" + b"\x00" * 400_000,
        random.Random(2).randbytes(400_001),
    ):
        begin = time.perf_counter()
        outcome(stream, rows, GAUSSIAN, reference=False)
        assert time.perf_counter() - begin < 5


# --- tables --------------------------------------------------------------------------------------------


def row_frequencies(tables: Tables) -> list[NDArray[np.int64]]:
    ends = [*tables.start[1:], tables.cdf.size]
    cdf = tables.cdf.astype(np.int64)
    return [cdf[a + 1 : b] - cdf[a : b - 1] for a, b in zip(tables.start, ends, strict=True)]


@settings(deadline=None, max_examples=100)
@given(any_tables())
def test_rows_sum_to_the_total_and_leave_no_symbol_out(tables: Tables) -> None:
    for frequencies, half_width in zip(row_frequencies(tables), tables.half_width, strict=True):
        assert (
            frequencies.sum() == TOTAL and frequencies.min() >= 1 and frequencies.size == 2 * half_width + 2
        )


@settings(deadline=None, max_examples=50)
@given(any_tables())
def test_arrays_store_tables(tables: Tables) -> None:
    arrays = tables.to_arrays()
    again = Tables.from_arrays(arrays)
    for name in ("cdf", "start", "half_width", "lowest", "entries", "buckets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tables, name))
        assert getattr(again, name).dtype == getattr(tables, name).dtype


@settings(deadline=None, max_examples=50)
@given(any_tables())
def test_what_a_decoder_guesses_has_most_of_the_mass(tables: Tables) -> None:
    entries, symbols = tables.usual
    for row, frequencies in enumerate(row_frequencies(tables)):
        most = int(frequencies[:-1].argmax())
        if frequencies[most] > TOTAL // 2:
            assert symbols[row] == tables.lowest[row] + most
            assert entries[row] == frequencies[most] * TOTAL + frequencies[:most].sum()
        else:
            assert entries[row] == 0


def test_gaussian_rows() -> None:
    from scipy.stats import norm  # an independent opinion on the probabilities

    assert GAUSSIAN.rows == 96 and GAUSSIAN.half_width[0] == 1 and np.diff(GAUSSIAN.half_width).min() >= 0
    np.testing.assert_array_equal(GAUSSIAN.lowest, -GAUSSIAN.half_width)
    for sigma, half_width, frequencies in zip(
        LATENT_SIGMAS, GAUSSIAN.half_width, row_frequencies(GAUSSIAN), strict=True
    ):
        assert 2 * norm.sf((half_width + 0.5) / sigma) < 2.0**-16
        assert half_width == 1 or 2 * norm.sf((half_width - 0.5) / sigma) >= 2.0**-16
        k = np.arange(-half_width, half_width + 1)
        pmf = norm.cdf((k + 0.5) / sigma) - norm.cdf((k - 0.5) / sigma)
        entropy = -(pmf * np.log2(np.maximum(pmf, 1e-300))).sum()
        cost = (pmf * (16 - np.log2(frequencies[:-1]))).sum()
        # Bits per symbol lost to integers, to rare symbols and to the escape.
        assert cost - entropy < 0.0005 + 0.0015 * entropy
        assert abs(frequencies[:-1] - frequencies[:-1][::-1]).max() <= 1


def test_wide_gaussians_are_clamped() -> None:
    tables = gaussian_tables([1e5, 1e9])
    assert tables.half_width.tolist() == [MAX_HALF_WIDTH] * 2
    assert tables.cdf[-2] < 1.2 * (2 * MAX_HALF_WIDTH + 1)  # nearly all is left to the escape


def test_mixtures() -> None:
    sigmas = LATENT_SIGMAS[:60:7]
    ones = np.ones((sigmas.size, 1))
    plain = gaussian_tables(sigmas)
    same = mixture_tables(sigmas, np.hstack((0.3 * ones, 0.7 * ones)), np.hstack((ones, ones)))
    np.testing.assert_array_equal(same.cdf, plain.cdf)
    heavy = mixture_tables(sigmas, np.hstack((0.9 * ones, 0.1 * ones)), np.hstack((ones, 3 * ones)))
    assert (heavy.half_width >= plain.half_width).all() and (heavy.half_width > plain.half_width).any()
    far = heavy.half_width.copy()
    rows = np.arange(sigmas.size)
    assert heavy.cost_bits(far, rows) < plain.cost_bits(far, rows)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gaussian_tables([0.0]),
        lambda: gaussian_tables([float("nan")]),
        lambda: gaussian_tables([]),
        lambda: gaussian_tables([[1.0]]),
        lambda: mixture_tables([1.0], [[0.5, 0.4]], [[1.0, 2.0]]),
        lambda: mixture_tables([1.0], [[1.5, -0.5]], [[1.0, 2.0]]),
        lambda: mixture_tables([1.0], [[1.0]], [[1.0, 2.0]]),
        lambda: tables_from_pmfs([[0.5, 0.6]], [0]),
        lambda: tables_from_pmfs([[-0.1, 0.5]], [0]),
        lambda: tables_from_pmfs([[float("nan")]], [0]),
        lambda: tables_from_pmfs([[]], [0]),
        lambda: tables_from_pmfs([[0.5]], [0, 1]),
        lambda: tables_from_pmfs([np.zeros(2 * MAX_HALF_WIDTH + 2)], [0]),
        lambda: tables_from_pmfs([[0.5, 0.5, 0.0]], [MAX_VALUE - 1]),
        lambda: tables_from_pmfs([[0.5]], [-MAX_VALUE - 1]),
    ],
)
def test_what_makes_no_tables(make: object) -> None:
    with pytest.raises(WeightsError):
        make()  # type: ignore[operator]


def test_tables_are_immutable() -> None:
    cdf = GAUSSIAN.cdf.copy()
    tables = replace(GAUSSIAN, cdf=cdf)
    cdf[1] = 7
    assert tables.cdf[1] == GAUSSIAN.cdf[1]
    for name in ("cdf", "start", "half_width", "lowest", "entries", "buckets"):
        with pytest.raises(ValueError):
            getattr(tables, name)[0] = 1
    with pytest.raises(FrozenInstanceError):
        tables.cdf = cdf  # type: ignore[misc]


def test_malformed_tables_are_refused() -> None:
    """Every single change of an array that breaks a rule is found, whatever the rule."""
    good = gaussian_tables([0.2, 1.0, 3.0])
    chance = random.Random(3)
    refused = 0
    for _ in range(400):
        name = chance.choice(("cdf", "start", "half_width", "lowest"))
        array = getattr(good, name).copy()
        extremes = (0, -1, 1, 65535, 65536, -(2**31), 2**31 - 1, chance.randrange(-5000, 70000))
        value = np.array(chance.choice(extremes)).astype(array.dtype)
        array[chance.randrange(array.size)] = value
        if chance.random() < 0.2:
            array = array[: chance.randrange(array.size)]
        try:
            tables = replace(good, **{name: array})
        except WeightsError:
            refused += 1
            continue
        for frequencies in row_frequencies(tables):
            assert frequencies.sum() == TOTAL and frequencies.min() >= 1
        assert abs(tables.lowest.astype(int)).max() <= MAX_VALUE
    assert refused > 200
    for name, bad in (
        ("cdf", good.cdf.astype(np.int64)),
        ("start", good.start.tolist()),
        ("half_width", good.half_width[None]),
        ("lowest", good.lowest[:0]),
    ):
        with pytest.raises(WeightsError):
            replace(good, **{name: bad})  # type: ignore[arg-type]


def test_malformed_arrays_are_refused() -> None:
    arrays = gaussian_tables([0.2, 1.0, 3.0]).to_arrays()
    frequency, half_width = arrays["frequency"], arrays["half_width"]
    for change in (
        {"frequency": frequency[:-1]},
        {"frequency": np.concatenate((frequency, frequency[:1]))},
        {"frequency": frequency.astype(np.int64)},
        {"frequency": np.where(np.arange(frequency.size) == 1, 0, frequency).astype(np.uint16)},
        {"frequency": np.where(np.arange(frequency.size) == 1, 9, frequency).astype(np.uint16)},
        {"half_width": half_width[::-1].copy()},
        {"half_width": np.array([-1, 0, 0], np.int16)},
        {"half_width": half_width[:0]},
        {"lowest": arrays["lowest"][:-1]},
        {"lowest": np.full(3, -(2**31), np.int32)},
        {"lowest": None},
    ):
        with pytest.raises(MvcError) as caught:
            Tables.from_arrays({**arrays, **change})  # type: ignore[dict-item]
        assert caught.type is WeightsError and "\n" not in caught.value.message
