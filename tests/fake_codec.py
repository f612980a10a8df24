"""A codec without a model: real containers that hold the samples, for tests of what is around it."""

from __future__ import annotations

import sys
import types
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import mvc
from mvc import stills
from mvc.container import Head, Unit, read_file, write_file
from mvc.picture import Picture


@dataclass
class FakeCodec:
    """Lossless, and remembers what it was asked for."""

    rates = 64
    refines = True
    calls: list[tuple[str, Any]] = field(default_factory=list)
    efforts: list[int] = field(default_factory=list)

    def encode(self, picture: Picture, quality_index: int, effort: int = mvc.DEFAULT_EFFORT) -> bytes:
        self.efforts.append(effort)
        self.calls.append(("encode", quality_index))
        colour = "gray" if picture.samples.ndim == 2 else "rgb"
        head = Head("still", picture.width, picture.height, colour, 8, quality_index, b"no model")
        units = [Unit("picture", 0, None, (b"", zlib.compress(picture.samples.tobytes())))]
        alpha = getattr(picture, "alpha", None)
        if alpha is None:
            return write_file(head, units)
        return write_file(replace(head, alpha=True), [*units, stills.alpha_unit(alpha, effort)])

    def encode_to(self, picture: Picture, effort: int = mvc.DEFAULT_EFFORT, **target: float | None) -> bytes:
        self.calls.append(("encode_to", {name: value for name, value in target.items() if value is not None}))
        return self.encode(picture, 5, effort)

    def decode(self, data: bytes) -> Picture:
        return stills.decode(*read_file(data), lambda _: self)

    def decode_units(self, head: Head, units: list[Unit]) -> Picture:
        shape = (head.height, head.width) if head.colour == "gray" else (head.height, head.width, 3)
        return Picture(np.frombuffer(zlib.decompress(units[0].streams[1]), np.uint8).reshape(shape))


def install(monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    """Put a fake `mvc.codec` in place of the real one, which is not even imported; returns its codec."""
    monkeypatch.setattr("mvc.choice.least_bytes", lambda *_: float("inf"))  # so that the exact coder is not chosen
    codec = FakeCodec()

    def load(model: str | bytes, device: str, threads: int | None) -> FakeCodec:
        codec.calls.append(("load", (model, device, threads)))
        return codec

    module = types.ModuleType("mvc.codec")
    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mvc.codec", module)
    monkeypatch.setattr(mvc, "codec", module, raising=False)
    return codec
