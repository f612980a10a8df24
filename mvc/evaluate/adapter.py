"""What a sweep knows of a codec: two functions around bytes, and their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvc.errors import Limit

ZOO = "compressai:"
"""What the names of CompressAI's models begin with."""

Samples = NDArray[np.uint8]
Encode = Callable[[Samples, float], bytes]
Decode = Callable[[bytes], Samples]


@dataclass(frozen=True)
class Adapter:
    """A codec ready to be measured.

    `settings` is the default grid, from small files to large ones; `lowest` and `highest` bound a setting.
    `version` says which library, options and weights made a file: results are comparable where it is equal.
    """

    name: str
    title: str
    version: str
    settings: tuple[float, ...]
    lowest: float
    highest: float
    fractions: bool
    encode: Encode
    decode: Decode
    anchor: bool = True
    """Whether its results stay what they are, and so may come from a cache."""

    def check(self, setting: float) -> None:
        """Raise `Limit` for a setting that the codec does not take."""
        if not self.lowest <= setting <= self.highest or not (self.fractions or setting == int(setting)):
            whole = "" if self.fractions else "a whole number "
            raise Limit(f"{self.name} takes {whole}from {self.lowest:g} to {self.highest:g}, not {setting:g}")
