"""Loading a codec for a command: as late as possible, once for each model."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from mvc.cli import options
from mvc.environment import no_collections
from mvc.errors import libraries

if TYPE_CHECKING:
    from mvc.codec import Codec

Load = Callable[[str | bytes], "Codec"]
"""Loads the codec of a model's name or id."""


@cache
def on_cpu(device: options.Device) -> bool:
    """Whether networks compute on the CPU; not so where there is no torch."""
    try:
        return options.torch_device(device) == "cpu"
    except ImportError:
        return False


def codec_loader(device: options.Device, threads: int | None) -> Load:
    """A function that loads the codec of a model's name or id when it is called: a bad input is told before."""

    lock, known = Lock(), dict[str | bytes, "Codec"]()

    def load(model: str | bytes) -> Codec:
        with lock:  # several threads may need the first
            if model not in known:
                with no_collections(), libraries():
                    from mvc import codec

                    known[model] = codec.load(model, device.value, threads)
                    gc.freeze()  # nothing of it will go: the collector need not walk through it again and again
            return known[model]

    return load
