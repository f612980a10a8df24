"""Loading a codec for a command: as late as possible, once for each model."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from mvc.cli import options
from mvc.environment import no_collections
from mvc.errors import libraries

if TYPE_CHECKING:
    from mvc.codec import Codec


def codec_loader(device: options.Device, threads: int | None) -> Callable[[str | bytes], Codec]:
    """A function that loads the codec of a model's name or id when it is called: a bad input is told before."""

    @cache
    def load(model: str | bytes) -> Codec:
        with no_collections(), libraries():
            from mvc import codec

            loaded = codec.load(model, device.value, threads)
            gc.freeze()  # nothing of it will go: the collector need not walk through it again and again
        return loaded

    return load
