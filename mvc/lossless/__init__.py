"""Exact coding of pictures: integer prediction, and binary decisions whose probabilities are mixed by context.

`code` is what the rest of mvc uses; `reference` is the same format in plain Python and defines the bytes, as
docs/lossless.md does in words; `kernels` is what runs. `tables` holds the constants, `fit` what only an encoder does.
Nothing is imported here.
"""
