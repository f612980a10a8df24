"""Pictures in tiles: the same picture whoever works on it, no seams, regions, and files of rows."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import fails, run
from tiny_model import picture as some_picture
from tiny_model import tiny_codec

import mvc
from mvc import choice, large, media, painting, stills, tiled
from mvc import codec as codecs
from mvc.container import Reader, describe, read_file, write_file
from mvc.errors import Checksum, Corrupt, FormatError, Limit
from mvc.media import pictures
from mvc.media.rows import RowSource, open_rows
from mvc.media.rows_out import open_rows_out
from mvc.picture import Picture
from mvc.still_file import StillFile
from mvc.tiling import Region, Tiling, grown, meet

SAMPLES = Path(__file__).parent.parent / "samples"
WIDE = some_picture(300, 700, seed=3)
TILED = tiny_codec().encode(WIDE, 40, 0, 256)
MIXED = WIDE.samples.copy()
MIXED[:, :256] = (np.indices((300, 256)).sum(0) // 9 % 2 * 200)[..., None]
REGIONS = [Region(0, 0, 700, 300), Region(250, 100, 30, 40), Region(699, 299, 1, 1), Region(30, 0, 300, 300)]


def regional(data: bytes, region: Region, codec: Any = None) -> Picture:
    return StillFile(data, region).decode(lambda _: codec or tiny_codec())


def test_sides_are_cut_into_tiles_from_a_half_to_one_and_a_half() -> None:
    for side in range(1, 1500):
        tiling = Tiling(side, 1, 256)
        widths = [tile.width for tile in tiling]
        assert sum(widths) == side and set(widths[:-1]) <= {256}
        assert 128 <= widths[-1] < 384 or len(widths) == 1
        assert [tiling[k].left for k in range(len(tiling))] == list(range(0, 256 * len(tiling), 256))
    with pytest.raises(IndexError):
        Tiling(10, 10)[1]
    assert grown(slice(3, 5), 4, 8) == slice(0, 8) and meet(slice(0, 4), slice(4, 6)) is None


def test_a_tile_is_one_stream_with_a_checksum_and_a_sum() -> None:
    head, units = read_file(TILED)
    assert (head.tile_px, [(unit.role, unit.index, len(unit.streams)) for unit in units]) == (
        256,
        [("picture", k, 1) for k in range(3)],
    )
    about = describe(TILED)
    assert about["intact"] and about["tile_px"] == 256 and "SUMS" in {chunk["name"] for chunk in about["chunks"]}
    assert write_file(head, units) == TILED


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads: int) -> None:
    codec = tiny_codec().with_threads(threads)
    assert codec.encode(WIDE, 40, 0, 256) == TILED
    assert np.array_equal(codec.decode(TILED).samples, tiny_codec().decode(TILED).samples)


def test_tiles_side_by_side_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: tiles of one size are a batch, which a thread for each of them reads."""
    expected = tiny_codec().decode(TILED).samples.astype(int)
    parts = [regional(TILED, region).samples.astype(int) for region in REGIONS]
    together: list[list[int]] = []
    read = codecs.Codec._read_abreast

    def noted(self: Any, head: Any, tiles: Any) -> Any:
        together.append([unit.index for unit, _ in tiles])
        return read(self, head, tiles)

    monkeypatch.setattr(codecs, "most_abreast", lambda device: 8)
    monkeypatch.setattr(codecs.Codec, "_read_abreast", noted)
    assert np.abs(tiny_codec().decode(TILED).samples - expected).max() <= 1  # the file has the latents' sums
    assert together == [[0, 1]]  # the last one is narrower
    for region, part in zip(REGIONS, parts, strict=True):
        assert np.abs(regional(TILED, region).samples - part).max() <= 1
    head, units = read_file(TILED)
    cut = replace(units[1], streams=(units[1].streams[0][:-40],))
    damaged = write_file(head, [units[0], cut, units[2]])
    with pytest.raises(FormatError, match="CODE 1"):
        tiny_codec().decode(damaged)
    still = StillFile(damaged, partial=True)
    shown = still.decode(lambda _: tiny_codec()).samples
    assert still.lost == {1} and np.abs(shown[:, :200] - expected[:, :200]).max() <= 1
    mixed = choice.by_both(Picture(MIXED), tiny_codec(), 0, 256, 40)
    assert [unit.role for unit in read_file(mixed)[1]] == ["exact", "picture", "picture"]
    assert np.array_equal(tiny_codec().decode(mixed).samples[:, :256], MIXED[:, :256])


def test_one_tile_is_the_picture_as_it_is_without_tiles() -> None:
    source = some_picture(50, 60)
    plain, alone = (tiny_codec().encode(source, 30, 0, tile_px) for tile_px in (0, 256))
    assert np.array_equal(tiny_codec().decode(plain).samples, tiny_codec().decode(alone).samples)


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_is_that_of_the_whole_picture(region: Region) -> None:
    whole = tiny_codec().decode(TILED).samples[region.rows, region.columns].astype(int)
    found = regional(TILED, region).samples
    assert found.shape == whole.shape and np.abs(found - whole).max() <= 1
    exact = stills.exact_file(WIDE, tile_px=256)
    assert np.array_equal(regional(exact, region).samples, WIDE.samples[region.rows, region.columns])
    plain = tiny_codec().encode(WIDE, 40, 0, 0)  # one tile
    whole = tiny_codec().decode(plain).samples[region.rows, region.columns]
    assert np.array_equal(regional(plain, region).samples, whole)


def test_a_region_can_be_a_preview() -> None:
    region = REGIONS[1]
    whole = StillFile(TILED, slices=1).decode(lambda _: tiny_codec()).samples[region.rows, region.columns].astype(int)
    found = StillFile(TILED, region, slices=1).decode(lambda _: tiny_codec()).samples
    assert found.shape == whole.shape and np.abs(found - whole).max() <= 1


@pytest.mark.parametrize("region", [Region(0, 0, 701, 300), Region(0, 299, 1, 2), Region(700, 0, 1, 1)])
def test_a_region_must_lie_in_the_picture(region: Region) -> None:
    with pytest.raises(Limit, match="700x300"):
        regional(TILED, region)


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_a_region_reads_what_it_takes_and_no_more() -> None:
    noise = Picture(np.random.default_rng(0).integers(0, 256, (600, 2000, 3), np.uint8))
    data = stills.exact_file(noise, tile_px=256)
    file = Counting(data)
    found = StillFile(file, Region(300, 20, 100, 50)).decode(lambda _: tiny_codec())
    assert np.array_equal(found.samples, noise.samples[20:70, 300:400])
    assert file.count < len(data) / 8
    damaged = bytearray(data)
    damaged[-100_000] ^= 1  # in the last tile
    assert np.array_equal(regional(bytes(damaged), Region(300, 20, 100, 50)).samples, found.samples)
    with pytest.raises(Checksum, match="CODE 15"):
        regional(bytes(damaged), Region(1900, 500, 10, 10))
    with pytest.raises(Checksum):
        mvc.decode(bytes(damaged))


def test_units_are_read_by_index_from_pipes_too() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for file in (io.BytesIO(TILED), Pipe(TILED)):
        assert [unit.index for unit in Reader(file).units({0, 2})] == [0, 2]


def test_the_synthesis_sees_the_tiles_around() -> None:
    codec = tiny_codec()
    rng = torch.Generator().manual_seed(0)
    plane = torch.rand(1, 12, 14, 5, generator=rng)
    rows, columns = (slice(0, 4), slice(4, 9), slice(9, 12)), (slice(0, 6), slice(6, 10), slice(10, 14))
    around = {(r - 1, c - 1): plane[:, rows[r], columns[c]] for r in range(3) for c in range(3)}
    amid, own = painting.amid(around, 2)
    assert torch.equal(amid, plane[:, 2:11, 4:12]) and own == (slice(2, 7), slice(2, 6))
    del around[-1, -1], around[1, 0]
    amid, own = painting.amid(around, 1)
    assert torch.equal(amid[:, 1:], plane[:, 4:9, 5:11])
    assert torch.equal(amid[:, 0], plane[:, 3, [6, *range(6, 11)]]) and own == (slice(1, 6), slice(1, 5))
    assert codec.margin_px == 16


def test_seams_are_not_worse_than_the_same_places_without_them() -> None:
    source, codec = media.read_picture(SAMPLES / "kodim23.png").picture, codecs.load(device="cpu")
    seams = np.zeros((source.height, source.width), bool)
    for at in (256, 512):
        seams[at - 8 : at + 8], seams[:, at - 8 : at + 8] = True, True
    found = []
    for tile_px in (0, 256):
        error = np.square(codec.decode(codec.encode(source, 27, 0, tile_px)).samples - source.samples.astype(float))
        found.append(10 * np.log10(255**2 / error[seams].mean()))
    assert found[1] > found[0] - 0.1


def test_other_latents_than_were_coded_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tiny_codec()
    right = type(codec).latent

    def wrong(self: Any, *arguments: Any) -> Any:
        latent = right(self, *arguments)
        return replace(latent, y_hat=latent.y_hat + 1)

    monkeypatch.setattr(type(codec), "latent", wrong)
    with pytest.raises(Corrupt, match="is not what was coded") as caught:
        codec.decode(TILED)
    assert caught.value.hint and "this machine" in caught.value.hint
    assert not read_file(codec.encode(some_picture(16, 16), 0))[1][0].latent_sum  # in small files it would be felt


# By rows


def rows_of(path: Path, **options: Any) -> RowSource:
    source = open_rows(path, **options)
    assert source is not None
    return source


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("coder", ["network", "exact", "auto"])
def test_rows_give_the_file_that_the_picture_gives(tmp_path: Path, coder: Any, alpha: bool) -> None:
    ramp = (np.indices(WIDE.samples.shape[:2]).sum(0) % 256).astype(np.uint8)
    picture = Picture(WIDE.samples, ramp if alpha else None)
    media.write_picture(picture, tmp_path / "a.png")
    file = io.BytesIO()
    source = rows_of(tmp_path / "a.png", deep=coder == "exact")
    told: list[tuple[int, int]] = []
    large.encode(
        source,
        file,
        tiny_codec,
        index=40,
        effort=0,
        coder=coder,
        tile_px=256,
        told=lambda *count: told.append(count),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    exact = read_file(stills.exact_file(picture, 0, 0, 256))
    network = read_file(tiny_codec().encode(picture, 40, 0, 256))
    head, units = read_file(file.getvalue())
    if coder == "auto":
        assert head.tile_px == 256 and {unit.index for unit in units} == {0, 1, 2}
    elif not alpha or coder == "exact":
        assert (head, units) == (exact if coder == "exact" else network)
    target = open_rows_out(tmp_path / "b.png", head.width, head.height, head.colour, 8, head.alpha)
    with target:
        large.write(StillFile(file.getvalue()).strips(lambda _: tiny_codec()), target)
    back = media.read_picture(tmp_path / "b.png").picture
    whole = StillFile(file.getvalue()).decode(lambda _: tiny_codec())
    assert np.array_equal(np.asarray(back), np.asarray(whole))


def test_large_pictures_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mvc.picture.MAX_READ_PIXELS", 1000)
    monkeypatch.setattr(pictures, "MAX_READ_PIXELS", 1000)
    media.write_picture(WIDE, "a.png")
    media.write_picture(WIDE, "a.jpg")
    run("encode", "a.png", "--lossless", "--tile", "256", "-o", "a.mvc")
    assert run("verify", "a.mvc").stdout.startswith("a.mvc: ok, 700x300")
    run("decode", "a.mvc", "-o", "b.tiff")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(media.read_picture("b.tiff").picture.samples, WIDE.samples)
    assert mvc.info("a.mvc")["tile_px"] == 256
    monkeypatch.setattr("mvc.picture.MAX_READ_PIXELS", 1000)
    monkeypatch.setattr(pictures, "MAX_READ_PIXELS", 1000)
    fails(run("encode", "a.jpg", "-o", "c.mvc"), 1, "210000 pixels; at most 1000", "row by row")
    fails(run("encode", "a.png", "--bpp", "1", "-o", "c.mvc"), 1, "no target is searched")
    assert not Path("c.mvc").exists()


def test_regions_and_tiles_by_command_and_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    media.write_picture(WIDE, "a.png")
    run("encode", "a.png", "--lossless", "--tile", "512", "-o", "a.mvc")
    run("decode", "a.mvc", "--region", "20, 30,40,50", "-o", "r.png")
    want = WIDE.samples[30:80, 20:60]
    assert np.array_equal(media.read_picture("r.png").picture.samples, want)
    assert np.array_equal(mvc.decode("a.mvc", region=(20, 30, 40, 50)).samples, want)
    data = mvc.encode(WIDE, lossless=True, tile=256)
    assert mvc.info(data)["tile_px"] == 256 and mvc.info(mvc.encode(WIDE, lossless=True))["tile_px"] == 0
    for text in ("1,2,3", "a,b,c,d", "0,0,0,5", "-1,0,5,5"):
        fails(run("decode", "a.mvc", f"--region={text}", "-o", "x.png"), 2, "left,top,width,height")
    fails(run("decode", "a.mvc", "--region", "690,0,20,20", "-o", "x.png"), 1, "not within the picture")
    fails(run("encode", "a.png", "--tile", "100", "-o", "x.mvc"), 2, "tile must be 0, 256, 512 or 1024")
    for wrong, error in (((1, 2, 3), ValueError), ((0, 0, 0, 1), ValueError), (("a", 0, 1, 1), TypeError)):
        with pytest.raises(error):
            mvc.decode(data, region=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tile must be"):
        mvc.encode(WIDE, tile=300)


def test_large_pictures_have_tiles_by_themselves() -> None:
    assert (tiled.usual_tile(3840, 2160), tiled.usual_tile(4000, 3000)) == (0, 512)
    assert (tiled.usual_exact_tile(3840, 2160), tiled.usual_exact_tile(4000, 3000)) == (0, 1024)


# What has arrived, and previews


@pytest.mark.parametrize("coder", ["network", "exact"])
def test_tiles_that_have_arrived_are_shown(coder: str) -> None:
    alpha = np.full(WIDE.samples.shape[:2], 200, np.uint8)
    picture = Picture(WIDE.samples, alpha)
    data = tiny_codec().encode(picture, 40, 0, 256) if coder == "network" else stills.exact_file(picture, tile_px=256)
    whole = StillFile(data).decode(lambda _: tiny_codec())
    last = [chunk for chunk in describe(data)["chunks"] if chunk["name"].startswith("CODE")][-1]
    cut = data[: last["offset"] + 9]
    with pytest.raises(mvc.Truncated):
        StillFile(cut)
    still = StillFile(cut, partial=True)
    shown = still.decode(lambda _: tiny_codec())
    assert np.array_equal(shown.samples[:, :480], whole.samples[:, :480])
    assert shown.alpha is not None and (shown.alpha[:, :512] == 200).all()
    assert still.missing[0].startswith("not all of the file is there: the file ends too early")
    if last["name"] == "CODE 2":  # alpha is with the colour, so both are gone
        assert still.lost == {2} and (shown.samples[:, 512:] == 128).all() and (shown.alpha[:, 512:] == 0).all()
        assert still.missing[1:] == ["1 of 3 tiles are missing, and gray"]
    else:
        assert not still.lost and (shown.alpha == 255)[:, 512:].all()
    complete = StillFile(data, partial=True)
    assert np.array_equal(complete.decode(lambda _: tiny_codec()).samples, whole.samples) and complete.missing == []


def test_a_damaged_tile_costs_itself() -> None:
    chunk = next(chunk for chunk in describe(TILED)["chunks"] if chunk["name"] == "CODE 1")
    place = chunk["offset"] + 40
    damaged = TILED[:place] + bytes([TILED[place] ^ 4]) + TILED[place + 1 :]
    still = StillFile(damaged, partial=True)
    shown, whole = still.decode(lambda _: tiny_codec()), tiny_codec().decode(TILED)
    assert still.lost == {1} and (shown.samples[:, 256:512] == 128).all()
    assert np.abs(shown.samples[:, :200].astype(int) - whole.samples[:, :200]).max() <= 1
    assert len(still.missing) == 2


def test_slices_that_have_arrived_are_shown_and_previews_are_the_same(tmp_path: Path) -> None:
    source, codec = media.read_picture(SAMPLES / "kodim23.png").picture, codecs.load(device="cpu")
    source = source.part(slice(0, 256), slice(0, 256))
    for tile_px in (0, 256):
        data = codec.encode(source, 27, 0, tile_px)
        found = [
            stills.psnr(source, StillFile(data, slices=count).decode(lambda _: codec)) for count in (0, 1, 2, 3, 4, 5)
        ]
        assert all(one < two for one, two in pairwise(found)) and found[0] > 18
        assert found[5] == stills.psnr(source, codec.decode(data))
    data = codec.encode(source, 27, 0, 0)
    (unit,) = read_file(data)[1]
    behind = sum(len(stream) for stream in unit.streams[3:])
    cut = data[: data.index(unit.streams[3]) + 5]
    assert behind > 5
    preview = StillFile(data, slices=2).decode(lambda _: codec)
    assert np.array_equal(StillFile(cut, partial=True).decode(lambda _: codec).samples, preview.samples)
    (tmp_path / "cut.mvc").write_bytes(cut)
    with pytest.warns(mvc.LossWarning, match="not all of the file is there"):
        mvc.decode(tmp_path / "cut.mvc", partial=True)
    result = run("decode", str(tmp_path / "cut.mvc"), "--allow-partial", "-o", str(tmp_path / "k.png"))
    assert result.exit_code == 0 and "warning: " in result.stderr and "not all of the file is there" in result.stderr
    fails(run("decode", str(tmp_path / "cut.mvc"), "-o", str(tmp_path / "l.png")), 1, "ends too early")


def test_what_has_not_arrived_at_all_is_an_error() -> None:
    with pytest.raises(mvc.Truncated):
        StillFile(TILED[:12], partial=True)
    nothing = StillFile(TILED[:30], partial=True)
    assert (nothing.decode(lambda _: tiny_codec()).samples == 128).all() and nothing.lost == {0, 1, 2}
