"""Which coder a picture gets: the smaller file, targets beyond the network, and little time for what is hopeless."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from command import run
from fake_codec import FakeCodec
from test_lossless import few, smooth, text

import mvc
from mvc import choice, stills
from mvc.container import read_head
from mvc.errors import Limit
from mvc.picture import Picture

TEXT = Picture(np.dstack(text(90, 120)))
SMOOTH = Picture(np.dstack(smooth(90, 120)))
NOISE = Picture(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))


@dataclass
class Network:
    """A codec whose files have a size."""

    size: int
    rates: int = 64
    reaches: bool = True
    asked: list[Any] = field(default_factory=list)
    shows: Picture | None = None

    def encode(self, picture: Picture, index: int, effort: int) -> bytes:
        self.asked.append(index)
        return bytes(self.size)

    def decode(self, data: bytes) -> Picture:
        return self.shows or TEXT

    def encode_to(self, picture: Picture, effort: int, **target: float) -> bytes:
        self.asked.append(target)
        if not self.reaches:
            raise Limit("not reached")
        return bytes(self.size)


def chosen(picture: Picture, network: Network, coder: Any = "auto", **target: float) -> str:
    coded = choice.encode(picture, lambda: network, index=20, effort=1, target=target, coder=coder)  # type: ignore[arg-type, return-value]
    return "network" if not any(coded) else read_head(coded).coder


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """The pictures that were coded exactly."""
    pictures: list[Picture] = []

    def exact_file(picture: Picture, near: int = 0, effort: int = 1) -> bytes:
        pictures.append(picture)
        return made(picture, near, effort)

    made = stills.exact_file
    monkeypatch.setattr(stills, "exact_file", exact_file)
    return pictures


def test_the_smaller_file_is_taken(tried: list[Picture]) -> None:
    size = len(stills.exact_file(TEXT))
    assert chosen(TEXT, Network(size)) == "exact"
    assert chosen(TEXT, Network(size - 1)) == "network"
    assert chosen(TEXT, Network(10**6), "network") == "network"
    network = Network(10)
    assert chosen(TEXT, network, "exact") == "exact" and network.asked == []


def test_what_is_hopeless_is_not_tried(tried: list[Picture]) -> None:
    for picture in (SMOOTH, NOISE):
        size = len(stills.exact_file(picture))
        tried.clear()
        assert chosen(picture, Network(size // 3)) == "network"
        assert chosen(picture, Network(1), size=size // 3) == "network"
        assert tried == []
        assert chosen(picture, Network(2 * size)) == "exact"


def test_a_size_that_holds_every_sample_holds_every_sample(tried: list[Picture]) -> None:
    size, network = len(stills.exact_file(TEXT)), Network(99)
    assert chosen(TEXT, network, size=size) == chosen(TEXT, network, bpp=8 * size / 10800) == "exact"
    assert network.asked == []
    assert chosen(TEXT, network, size=size - 1) == "network"
    assert network.asked == [{"size": size - 1}]


def test_what_the_network_does_not_reach_is_exact() -> None:
    assert chosen(TEXT, Network(9, reaches=False), psnr=60) == "exact"
    assert chosen(TEXT, Network(10**6), psnr=30) == "exact"
    assert chosen(TEXT, Network(10), psnr=30) == "network"
    for target in ({"size": 40}, {"bpp": 0.001}):
        with pytest.raises(Limit, match="not reached"):
            chosen(NOISE, Network(9, reaches=False), **target)
    with pytest.raises(Limit, match="not reached"):  # of one rate: what the user asked for does not exist
        chosen(TEXT, Network(9, rates=1, reaches=False), psnr=60)


@pytest.mark.parametrize("effort", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_estimate_is_hardly_above_what_it_estimates(seed: int, effort: int) -> None:
    kinds = [smooth(70, 80, seed=seed), text(70, 80, seed), few(70, 80, 5, seed), few(70, 80, 30, seed)]
    for picture in [*(Picture(np.dstack(planes)) for planes in kinds), Picture(smooth(70, 80, 1, seed)[0]), NOISE]:
        size = len(stills.exact_file(picture, effort=effort))
        assert 0.05 * size < choice.least_bytes(picture) < 1.3 * size + 40
    deep = Picture(np.dstack(smooth(40, 50, seed=seed, top=65535)))
    assert choice.least_bytes(deep) < 1.2 * len(stills.exact_file(deep, effort=effort))
    tall = Picture(np.ascontiguousarray(np.tile(SMOOTH.samples, (40, 2, 1))))  # looked at in bands
    assert choice.least_bytes(tall) == pytest.approx(80 * choice.least_bytes(SMOOTH), rel=0.3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (17, 3, 3), (1, 1, 3)])
def test_small_pictures_have_an_estimate(shape: tuple[int, ...]) -> None:
    assert 0 <= choice.least_bytes(Picture(np.zeros(shape, np.uint8))) < 30


def test_small_errors_where_they_are_better_than_the_network() -> None:
    rng = np.random.default_rng(1)
    page = TEXT.samples.copy()
    page[:, 60:] = SMOOTH.samples[:, 60:]  # half of it a photograph
    picture = Picture(page)
    sizes = {near: len(stills.exact_file(picture, near)) for near in (0, 1, 4)}
    assert sizes[4] < sizes[1] < sizes[0]
    off = Picture(np.clip(page + rng.integers(-20, 21, page.shape), 0, 255).astype(np.uint8))
    for shown, size, expected in ((off, sizes[4] + 1, 4), (off, sizes[4], None), (picture, sizes[4] + 1, None)):
        coded = choice.encode(picture, lambda: Network(size, shows=shown), index=20, effort=1, target={})  # type: ignore[arg-type, return-value]  # noqa: B023
        assert (mvc.info(coded)["units"][0]["near"] if any(coded) else None) == expected
    assert choice.least_bytes(SMOOTH, 4) == choice.least_bytes(NOISE, 1) == np.inf


def test_python_and_command(codec: FakeCodec, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    import fake_codec

    codec = fake_codec.install(monkeypatch)
    monkeypatch.setattr(choice, "least_bytes", lambda *_: 0.0)
    assert read_head(mvc.encode(TEXT)).coder == "exact" and codec.calls[-1] == ("encode", 27)
    assert read_head(mvc.encode(TEXT, coder="network")).coder == "network"
    mvc.write_picture(TEXT, "k.png")
    assert "by the exact coder" in run("encode", "k.png").stderr
    assert "by the exact coder" not in run("encode", "k.png", "-f", "--coder", "network").stderr
    assert np.array_equal(mvc.decode("k.mvc").samples, TEXT.samples)
