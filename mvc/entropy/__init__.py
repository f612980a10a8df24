"""Entropy coding: symbols to bytes and back by rANS with integer tables, the same on every machine.

`tables` holds the probabilities, `rans` defines the bytes, `rans_numba` makes them fast, `coders` is what the
rest of mvc uses. Nothing is imported here, so that tables can be read without starting numba.
"""
