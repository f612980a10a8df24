"""Which coder a picture gets: the smaller file, targets beyond the network, and little time for what is hopeless."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from command import run
from fake_codec import FakeCodec
from test_lossless import few, smooth, text

import mvc
from mvc import choice, estimate, stills, tiled
from mvc.container import Head, Unit, read_file, read_head
from mvc.errors import Limit
from mvc.picture import Picture

TEXT = Picture(np.dstack(text(90, 120)))
SMOOTH = Picture(np.dstack(smooth(90, 120)))
NOISE = Picture(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))


@dataclass
class Network:
    """A codec whose tiles have a size and are off by so much, where an error of 1 is worth `weight` bits per pixel."""

    size: int
    off: int = 0
    weight: float = 1.0
    rates: int = 64
    reaches: bool = True
    asked: list[Any] = field(default_factory=list)

    @property
    def model(self) -> Network:
        return self

    def lagrangian(self, index: int) -> float:
        return self.weight

    def threads_for(self, head: Head) -> tuple[Network, int]:
        return self, 1

    def head(self, picture: Picture, index: int, tile_px: int | None = None) -> Head:
        size = picture.width, picture.height
        tile_px = tiled.usual_tile(*size) if tile_px is None else tile_px
        return Head("still", *size, picture.colour, 8, index, b"network!", None, picture.has_alpha, tile_px)

    def coded(self, head: Head, cut: tiled.Cut, effort: int) -> tuple[list[Unit], Any]:
        self.asked.append(head.quality_index)
        unit = Unit("picture", cut.number, None, (bytes(self.size),))
        return [unit], cut.picture.samples.astype(int) + self.off

    def paint(self, samples: Any, around: Any) -> None:
        samples[...] = np.clip(around[0, 0], 0, 255)

    def encode(self, picture: Picture, index: int, effort: int, tile_px: int | None) -> bytes:
        ((cut,),) = tiled.cuts(picture, 0)
        return stills.file_of(self.head(picture, index, tile_px), self.coded(self.head(picture, index), cut, effort)[0])

    def encode_to(self, picture: Picture, encode: Any, **target: float) -> bytes:
        self.asked.append(target)
        if not self.reaches:
            raise Limit("not reached")
        made: bytes = encode(20)
        return made


def coded(picture: Picture, network: Network, coder: Any = "auto", **target: float) -> bytes:
    return choice.encode(picture, lambda: network, index=20, effort=1, target=target, coder=coder)  # type: ignore[arg-type, return-value]


def chosen(picture: Picture, network: Network, coder: Any = "auto", **target: float) -> str:
    return read_head(coded(picture, network, coder, **target)).coder


def stream_size(picture: Picture) -> int:
    """Bytes of the stream of the exact coder."""
    return len(read_file(stills.exact_file(picture))[1][0].streams[0])


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """The pictures, or parts, that were coded exactly."""
    pictures: list[Picture] = []

    def exact_tile(cut: tiled.Cut, *args: Any, **options: Any) -> list[Unit]:
        pictures.append(cut.picture)
        return made(cut, *args, **options)

    made = stills.exact_tile
    monkeypatch.setattr(stills, "exact_tile", exact_tile)
    return pictures


def test_the_smaller_file_is_taken_where_errors_count_for_nothing(tried: list[Picture]) -> None:
    size = stream_size(TEXT)
    assert chosen(TEXT, Network(size + 1, weight=0)) == "exact"
    assert chosen(TEXT, Network(size - 1, weight=0)) == chosen(TEXT, Network(size - 1)) == "network"
    assert chosen(TEXT, Network(10**6), "network") == "network"
    network = Network(10)
    assert chosen(TEXT, network, "exact") == "exact" and network.asked == []


def test_errors_are_weighed_against_bytes() -> None:
    """10 squared is worth 100 bits a pixel at a weight of 1."""
    size, pixels = stream_size(TEXT), TEXT.width * TEXT.height
    picture = Picture(np.clip(TEXT.samples, 10, 245))
    for weight in (0.0005, 0.002):
        worth = weight * 100 * pixels / 8
        assert worth < size
        assert chosen(picture, Network(int(size - worth - 40), 10, weight)) == "network"
        assert chosen(picture, Network(int(size - worth + 40), 10, weight)) == "exact"


def test_what_is_hopeless_is_not_tried(tried: list[Picture]) -> None:
    for picture in (SMOOTH, NOISE):
        size = len(stills.exact_file(picture))
        tried.clear()
        assert chosen(picture, Network(size // 3)) == "network"
        assert chosen(picture, Network(1), size=size // 3) == "network"
        assert tried == []


def test_a_size_that_holds_every_sample_holds_every_sample(tried: list[Picture]) -> None:
    size, network = len(stills.exact_file(TEXT)), Network(99)
    assert chosen(TEXT, network, size=size) == chosen(TEXT, network, bpp=8 * size / 10800) == "exact"
    assert network.asked == []
    assert chosen(TEXT, network, size=size - 1) == "network"
    assert network.asked[0] == {"size": size - 1}


def test_what_the_network_does_not_reach_is_exact() -> None:
    assert chosen(TEXT, Network(9, reaches=False), psnr=60) == "exact"
    assert chosen(TEXT, Network(10**6), psnr=30) == "exact"
    assert chosen(TEXT, Network(10), psnr=30) == "network"
    for target in ({"size": 40}, {"bpp": 0.001}):
        with pytest.raises(Limit, match="not reached"):
            chosen(NOISE, Network(9, reaches=False), **target)
    with pytest.raises(Limit, match="not reached"):  # of one rate: what the user asked for does not exist
        chosen(TEXT, Network(9, rates=1, reaches=False), psnr=60)


@pytest.mark.parametrize("alpha", [False, True])
def test_the_highest_quality_has_45_db_everywhere(alpha: bool) -> None:
    seen = None
    if alpha:  # a tenth can be seen, and all the errors are in it
        seen = np.zeros(NOISE.samples.shape[:2], np.uint8)
        seen[:9] = 255
    inner = np.clip(TEXT.samples, 10, 245)  # where no error is cut off
    for picture in (Picture(NOISE.samples, seen), Picture(SMOOTH.samples, seen), Picture(inner, seen)):
        for off, index, roles in ((5, 63, {"exact"}), (2, 63, {"exact"}), (1, 63, {"picture"}), (5, 62, {"picture"})):
            network = Network(9, off, weight=1e-9)
            data = choice.encode(picture, lambda own=network: own, index=index, effort=1, target={})  # type: ignore[arg-type, misc, return-value]
            units = read_file(data)[1]
            assert {unit.role for unit in units} - {"alpha"} == roles
            if roles == {"exact"}:
                assert stills.psnr(picture, mvc.decode(data)) >= choice.FINE_DB
                assert len(data) < len(stills.exact_file(picture)) or picture.samples is inner


def test_what_no_network_reaches_has_the_errors_that_are_allowed() -> None:
    for psnr, near in ((44, 2), (49, 1), (52, 0)):
        data = coded(NOISE, Network(9, reaches=False), psnr=psnr)
        assert mvc.info(data)["units"][0]["near"] == near and stills.psnr(NOISE, mvc.decode(data)) >= psnr


def test_pictures_of_both_kinds_are_coded_in_tiles_by_both(monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
    page[:, :256] = np.tile(TEXT.samples, (4, 3, 1))[:300, :256]
    picture = Picture(page)
    tile = stream_size(Picture(np.ascontiguousarray(page[:, :256])))
    tried, exact_tile = [], stills.exact_tile

    def noted(cut: tiled.Cut, *args: Any, **options: Any) -> list[Unit]:
        tried.append(cut.tile.width)
        return exact_tile(cut, *args, **options)

    monkeypatch.setattr(stills, "exact_tile", noted)
    head, units = read_file(coded(picture, Network(tile // 2, 12, 0.01)))
    assert (head.tile_px, [unit.role for unit in units]) == (256, ["exact", "picture"])
    assert set(tried) == {256}  # not all of it, as the network is better at a tile
    assert [unit.role for unit in read_file(coded(picture, Network(tile // 2, 12, 0.01), "network"))[1]] == ["picture"]
    whole = choice.encode(picture, lambda: Network(tile // 2, 12, 0.01), index=20, effort=1, target={}, tile_px=0)  # type: ignore[arg-type, return-value]
    assert read_head(whole).tile_px == 0


@pytest.mark.parametrize(("off", "times", "role"), [(1, 1, "picture"), (6, 3, "picture"), (14, 1, "exact")])
def test_tiles_are_coded_by_the_network_only_where_that_may_be_better(off: int, times: int, role: str) -> None:
    """An enlarged photograph repeats a little everywhere, and its tiles are no match for a network that does well."""
    enlarged = Picture(np.tile(SMOOTH.samples, (3, 3, 1)).repeat(2, 0).repeat(2, 1)[:250, :500])
    assert not estimate.hopeless(enlarged)
    network = Network(20, off, weight=0.01)
    data = choice.encode(enlarged, lambda: network, index=20, effort=1, target={})  # type: ignore[arg-type, return-value]
    assert len(network.asked) == times and {unit.role for unit in read_file(data)[1]} == {role}


@pytest.mark.parametrize("effort", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_estimate_is_hardly_above_what_it_estimates(seed: int, effort: int) -> None:
    kinds = [smooth(70, 80, seed=seed), text(70, 80, seed), few(70, 80, 5, seed), few(70, 80, 30, seed)]
    for picture in [*(Picture(np.dstack(planes)) for planes in kinds), Picture(smooth(70, 80, 1, seed)[0]), NOISE]:
        size = len(stills.exact_file(picture, effort=effort))
        assert 0.05 * size < estimate.least_bytes(picture) < 1.3 * size + 40
    deep = Picture(np.dstack(smooth(40, 50, seed=seed, top=65535)))
    assert estimate.least_bytes(deep) < 1.2 * len(stills.exact_file(deep, effort=effort))
    tall = Picture(np.ascontiguousarray(np.tile(SMOOTH.samples, (40, 2, 1))))  # looked at in bands
    assert estimate.least_bytes(tall) == pytest.approx(80 * estimate.least_bytes(SMOOTH), rel=0.3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (17, 3, 3), (1, 1, 3)])
def test_small_pictures_have_an_estimate(shape: tuple[int, ...]) -> None:
    assert 0 <= estimate.least_bytes(Picture(np.zeros(shape, np.uint8))) < 30


def test_a_dither_is_no_photograph() -> None:
    """No two neighbours are alike in it, as in a photograph, but it has few colours."""
    rows, columns = np.indices((64, 64))
    levels = np.random.default_rng(1).choice([0, 85, 255], (64, 64, 3), p=[0.2, 0.3, 0.5])
    dots = np.where(((rows + columns) % 2 == 0)[..., None], levels, 0).astype(np.uint8)
    kinds = PIL.Image.Palette.WEB, PIL.Image.Dither.FLOYDSTEINBERG
    web = SMOOTH.to_pil().resize((160, 140)).convert("P", palette=kinds[0], dither=kinds[1]).convert("RGB")
    for samples in (dots, np.asarray(web)):
        picture = Picture(np.ascontiguousarray(samples))
        assert not estimate.hopeless(picture)
        assert estimate.least_bytes(picture) < 1.1 * len(stills.exact_file(picture))
    assert estimate.hopeless(NOISE)
    assert estimate.hopeless(Picture(NOISE.samples[..., 0].copy()))


def test_small_errors_where_they_cost_less(monkeypatch: pytest.MonkeyPatch) -> None:
    page = TEXT.samples.copy()
    page[:, 60:] = SMOOTH.samples[:, 60:]  # half of it a photograph
    picture = Picture(page)
    sizes = {near: len(stills.exact_file(picture, near)) for near in (0, 1, 4)}
    assert sizes[4] < sizes[1] < sizes[0]
    monkeypatch.setattr(choice, "fewer", lambda *_: None)  # too many colours
    for weight, expected in ((0.001, 4), (10, 0), (0, 0)):
        made = coded(picture, Network(10**6, 30, weight))
        assert mvc.info(made)["units"][0]["near"] == expected
    assert estimate.least_bytes(SMOOTH, 4) == estimate.least_bytes(NOISE, 1) == np.inf


def test_fewer_colours_where_they_cost_less() -> None:
    """Type has hundreds of shades at its edges. What was changed says so, and what must be exact is not changed."""
    drawn = PIL.Image.new("RGB", (160, 96), "white")
    PIL.ImageDraw.Draw(drawn).text((6, 20), "Fewer", "navy", PIL.ImageFont.load_default(48))
    picture = Picture(np.asarray(drawn))
    made = {weight: coded(picture, Network(10**6, 30, weight)) for weight in (0.005, 0.1, 0, 1e4)}
    shown = {weight: mvc.decode(data) for weight, data in made.items()}
    few, more, exact, _ = map(len, made.values())
    assert few < more < 0.8 * exact
    assert 25 < stills.psnr(picture, shown[0.005]) < stills.psnr(picture, shown[0.1])
    assert all(np.array_equal(shown[weight].samples, picture.samples) for weight in (0, 1e4))
    assert ["changed" in mvc.info(data)["units"][0] for data in made.values()] == [True, True, False, False]
    assert "exact 0  in fewer colours, a stream of" in " ".join(run("info", "-", stdin=made[0.1]).stdout.split("\n"))
    alpha = np.arange(160, dtype=np.uint8)[None].repeat(96, 0)
    both = mvc.decode(coded(Picture(picture.samples, alpha), Network(10**6, 30, 0.005)))
    assert both.alpha is not None and np.array_equal(both.alpha, alpha)
    assert not np.array_equal(both.samples, picture.samples)
    fine = choice.encode(picture, lambda: Network(10**6, 30, 0.005), index=63, effort=1, target={})  # type: ignore[arg-type, return-value]
    assert "changed" not in mvc.info(fine)["units"][0]


def test_python_and_command(codec: FakeCodec, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    import fake_codec

    codec = fake_codec.install(monkeypatch)
    monkeypatch.setattr(choice, "by_both", lambda picture, *_: stills.exact_file(picture))
    assert read_head(mvc.encode(TEXT)).coder == "exact"
    assert read_head(mvc.encode(TEXT, coder="network")).coder == "network" and codec.calls[-1] == ("encode", 27)
    mvc.write_picture(TEXT, "k.png")
    assert "by the exact coder" in run("encode", "k.png").stderr
    assert "by the exact coder" not in run("encode", "k.png", "-f", "--coder", "network").stderr
    assert np.array_equal(mvc.decode("k.mvc").samples, TEXT.samples)
