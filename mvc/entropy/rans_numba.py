"""The range coder as two compiled loops, equal byte for byte to `rans`, where the arithmetic is explained.

Both run without the GIL and go on where the last call stopped. They trust their arguments: `coders` checks
rows and symbols, `Tables` checks itself. Only the bytes of a stream are untrusted here: `decode` never reads
beyond `words`, nor loops longer than the rows and MAX_ZEROS allow.
"""

from __future__ import annotations

from numba import int64, uint64

from mvc.entropy.rans import MAX_ZEROS, START, STATE_BITS, STATE_LOW
from mvc.entropy.tables import BUCKET_BITS, MAX_VALUE, TOTAL_BITS
from mvc.jit import kernel

__all__ = ["ABSURD", "DONE", "SHORT", "WORDS_PER_SYMBOL", "decode", "encode"]

DONE, SHORT, ABSURD = 0, 1, 2
"""How `decode` went: all symbols read, words missing, or an escape beyond MAX_VALUE."""

WORDS_PER_SYMBOL = 4
"""Most words that one symbol can add: one at its own step and three in the up to 44 bits of an escape."""

_SLOT_MASK = (1 << TOTAL_BITS) - 1
_BIT_LIMIT = 1 << (STATE_BITS - 1)


@kernel()
def encode(symbols, rows, words, position, state, entries, start, half_width, lowest):
    """Code symbols[n], the last first, into words[... : position]; returns the new (position, state).

    At least WORDS_PER_SYMBOL * n words must be free before `position`.
    """
    for i in range(symbols.size - 1, -1, -1):
        row = rows[i]
        width = int64(2 * half_width[row])
        index = int64(symbols[i]) - lowest[row]
        if index < 0 or index > width:
            below = 1 if index < 0 else 0
            distance = -index if below else index - width
            length = 0
            while distance >> length:
                length += 1
            code = below << (2 * length - 1) | distance
            for shift in range(2 * length):
                if state >= _BIT_LIMIT:
                    position -= 1
                    words[position] = state & 0xFFFF
                    state >>= 16
                state = state << 1 | (code >> shift & 1)
            index = width + 1
        entry = int64(entries[start[row] + index])
        frequency = entry >> TOTAL_BITS
        if state >= frequency << (STATE_BITS - TOTAL_BITS):
            position -= 1
            words[position] = state & 0xFFFF
            state >>= 16
        # Unsigned, as neither is negative: the compiler then leaves out what floors a negative quotient.
        quotient = int64(uint64(state) // uint64(frequency))
        state = (quotient << TOTAL_BITS) + (state - quotient * frequency) + (entry & _SLOT_MASK)
    return position, state


@kernel()
def decode(symbols, rows, words, position, state, entries, buckets, start, half_width, lowest, usual, usually):
    """Read symbols[n], one for each of rows[n]; returns the new (position, state) and how it went."""
    for i in range(rows.size):
        row = rows[i]
        slot = state & _SLOT_MASK
        # Guessed right, a symbol costs one product: which entry it has does not wait for the state.
        entry = int64(usual[row])
        guessed = uint64(slot - (entry & _SLOT_MASK)) < uint64(entry >> TOTAL_BITS)
        index = int64(0)
        if not guessed:
            base = int64(start[row])
            # From the first symbol of the slot's bucket upward: rarely a step where rows are narrow, and never
            # more steps than a bucket has slots, whatever the stream.
            index = int64(buckets[row << BUCKET_BITS | slot >> (TOTAL_BITS - BUCKET_BITS)])
            entry = int64(entries[base + index])
            while slot - (entry & _SLOT_MASK) >= entry >> TOTAL_BITS:
                index += 1
                entry = int64(entries[base + index])
        state = (entry >> TOTAL_BITS) * (state >> TOTAL_BITS) + slot - (entry & _SLOT_MASK)
        if state < STATE_LOW:
            if position < words.size:
                state = state << 16 | words[position]
                position += 1
            elif state < START:
                return position, state, SHORT
        if guessed:
            symbols[i] = usually[row]
            continue
        symbol = lowest[row] + index
        width = int64(2 * half_width[row])
        if index > width:
            # Sign, zeros, a one and as many bits as there were zeros: one loop, so that one place reads bits.
            below, zeros, distance, left = False, -1, 0, 0
            while distance == 0 or left > 0:
                bit = state & 1
                state >>= 1
                if state < STATE_LOW:
                    if position < words.size:
                        state = state << 16 | words[position]
                        position += 1
                    elif state < START:
                        return position, state, SHORT
                if zeros < 0:
                    below, zeros = bit == 1, 0
                elif distance > 0:
                    distance, left = distance << 1 | bit, left - 1
                elif bit:
                    distance, left = 1, zeros
                else:
                    zeros += 1
                    if zeros > MAX_ZEROS:
                        return position, state, ABSURD
            symbol = lowest[row] - distance if below else lowest[row] + width + distance
            if abs(symbol) > MAX_VALUE:
                return position, state, ABSURD
        symbols[i] = symbol
    return position, state, DONE
