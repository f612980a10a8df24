"""Exact coding of pictures: integer prediction, and binary decisions whose probabilities are mixed by context.

`code` is what the rest of mvc uses; `kernels` is what runs. conformance/reference_exact.py is the same format in plain
Python and defines the bytes, as section 8 of bitstream_spec.md does in words. `tables` holds the constants, `fit` what
only an encoder does.
Nothing is imported here.
"""
