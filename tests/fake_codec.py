"""A codec without a model: real containers that hold the samples, for tests of what is around it."""

from __future__ import annotations

import sys
import types
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import mvc
from mvc import stills
from mvc.container import Head, Unit, read_file, write_file
from mvc.picture import Picture
from mvc.tiling import Tile


@dataclass
class FakeCodec:
    """Lossless, and remembers what it was asked for."""

    rates = 64
    refines = True
    calls: list[tuple[str, Any]] = field(default_factory=list)
    efforts: list[int] = field(default_factory=list)

    def head(self, picture: Picture, index: int, tile_px: int | None = None) -> Head:
        return Head("still", picture.width, picture.height, picture.colour, 8, index, b"no model")

    def encode(
        self, picture: Picture, index: int, effort: int = mvc.DEFAULT_EFFORT, tile_px: int | None = None
    ) -> bytes:
        self.efforts.append(effort)
        self.calls.append(("encode", index))
        head = self.head(picture, index)
        units = [Unit("picture", 0, None, (b"", zlib.compress(picture.samples.tobytes())))]
        alpha = getattr(picture, "alpha", None)
        if alpha is None:
            return write_file(head, units)
        return write_file(replace(head, alpha=True), [*units, stills.alpha_unit(alpha, effort)])

    def encode_to(self, picture: Picture, encode: Callable[[int], bytes], **target: float | None) -> bytes:
        self.calls.append(("encode_to", {name: value for name, value in target.items() if value is not None}))
        return encode(5)

    def decode(self, data: bytes) -> Picture:
        return stills.decode(*read_file(data), lambda _: self)

    margin_px = 16

    def preview(self, slices: int | None = None) -> FakeCodec:
        return self

    def looking(self, share: float) -> FakeCodec:
        self.calls.append(("look", share))
        return self

    def tuned(self, to: str) -> FakeCodec:
        if to != "error":
            self.calls.append(("tune", to))
        return self

    def threads_for(self, head: Head) -> tuple[FakeCodec, int]:
        return self, 1

    def latent(self, head: Head, unit: Unit, tile: Tile) -> Any:
        shape = (tile.height, tile.width) if head.colour == "gray" else (tile.height, tile.width, 3)
        return np.frombuffer(zlib.decompress(unit.streams[1]), np.uint8).reshape(shape)

    def latent_sum(self, latent: Any) -> int:
        return zlib.crc32(latent.tobytes())

    abreast = 1

    def paint_all(self, tiles: Any) -> None:
        for samples, around in tiles:
            samples[...] = around[0, 0]


def install(monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    """Put a fake `mvc.codec` in place of the real one, which is not even imported; returns its codec."""
    monkeypatch.setattr("mvc.choice.least_bytes", lambda *_: float("inf"))  # so that the exact coder is not chosen
    monkeypatch.setattr("mvc.choice.hopeless", lambda _: True)
    monkeypatch.setattr("mvc.choice.fine", lambda _: False)
    monkeypatch.setattr("mvc.threads.cores", lambda: 2)  # so that small pictures are coded side by side
    codec = FakeCodec()

    def load(model: str | bytes, device: str, threads: int | None) -> FakeCodec:
        codec.calls.append(("load", (model, device, threads)))
        return codec

    module = types.ModuleType("mvc.codec")
    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mvc.codec", module)
    monkeypatch.setattr(mvc, "codec", module, raising=False)
    return codec
