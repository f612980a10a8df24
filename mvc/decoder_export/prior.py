"""What the tensors of the exact prior mean, in words and numbers: bitstream_spec.md, sections 4.1, 5.3 and 5.8."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mvc.exact.fixed import COARSE, GAIN_BITS

TYPES = {torch.int16: "i16", torch.int32: "i32", torch.uint16: "u16"}

MEANINGS: tuple[tuple[str, str], ...] = (
    (r"exact\..*\.mix\d?\.layer\.weight", "weights [25, C] of a depthwise 5 x 5 layer: 5 * row + column, channel"),
    (r"exact\..*\.weight", "weights [O, I] of a linear layer"),
    (r"exact\..*\.bias", "biases of a layer, one for each output"),
    (r"exact\..*\.shift", "fraction bits of the layer's weights; its sums are shifted right by so much, rounded"),
    (r"exact\.h_s\.gain_in\.table", "gains of the hyperlatent, [quality index, channel]"),
    (r"exact\.h_s\.gain\.table", "gains of the features, [quality index, channel]"),
    (r"tables\.hyper\.half_width", "half width S of each row; row = quality index // 4 * channels + channel"),
    (r"tables\.latent\.half_width", "half width S of each row; row k is of the scale 0.11 * 2^(k / 8)"),
    (r"tables\.\w+\.lowest", "the lowest symbol of each row"),
    (r"tables\.\w+\.frequency", "frequencies, row after row: 2 S + 1 of symbols, one of an escape; of a row 65536"),
)
"""Patterns of names, and what those tensors are; the first that fits counts."""


def meaning(name: str) -> str:
    """What a tensor is; ValueError for one that section 5.8 does not have."""
    for pattern, text in MEANINGS:
        if re.fullmatch(pattern, name):
            return text
    raise ValueError(f"there is no word for the tensor {name}")


def fraction_bits(name: str, tensors: Mapping[str, Tensor]) -> int:
    """How many bits of a tensor's integers stand behind the point."""
    if name.endswith(".table"):
        return GAIN_BITS
    layer, _, part = name.rpartition(".")
    if part not in ("weight", "bias"):
        return 0
    return int(tensors[f"{layer}.shift"]) + (COARSE.fraction_bits if part == "bias" else 0)


def described(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Of each tensor its type, shape, fraction bits and meaning, by name."""
    return {
        name: {
            "type": TYPES[value.dtype],
            "shape": list(value.shape),
            "fraction_bits": fraction_bits(name, tensors),
            "meaning": meaning(name),
        }
        for name, value in sorted(tensors.items())
    }
