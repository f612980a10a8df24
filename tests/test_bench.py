"""Curves, tables and plots of results, published points, and the command `mvc bench` around them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import fake_codec
import numpy as np
import pytest
from fake_codec import FakeCodec
from PIL import Image
from typer.testing import CliRunner, Result

from mvc.cli.app import app
from mvc.errors import BackendError, MvcError, SourceError
from mvc.evaluate import curves, plots
from mvc.evaluate.cache import Cache
from mvc.evaluate.results import FORMAT, Results

COLUMNS = ["codec", "setting", "picture", "size_bytes", "psnr", "ms_ssim", "encode_s", "decode_s", "more"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two tiny pictures."""
    place = tmp_path / "pictures"
    place.mkdir()
    noise = np.random.default_rng(3).normal(128, 40, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(place / "a.png")
    Image.fromarray(noise[:30]).save(place / "b.png")
    return place


def results_of(rows: dict[str, list[tuple[float, int, int, float | None]]]) -> Results:
    """Results on two pictures of 100 pixels: for each codec (setting, bytes, bytes, PSNR of the second).

    The first picture has a PSNR of 30 dB plus the setting.
    """
    return Results.from_json(
        json.dumps(
            {
                "format": FORMAT,
                "machine": "m",
                "columns": COLUMNS[:-1],  # as it was before there were other metrics
                "codecs": {name: {"title": name, "version": "1"} for name in rows},
                "pictures": {key: {"name": key, "width": 10, "height": 10} for key in "ab"},
                "rows": [
                    row
                    for name, points in rows.items()
                    for setting, one, other, quality in points
                    for row in (
                        [name, setting, "a", one, 30 + setting, 0.9, 1, 1],
                        [name, setting, "b", other, quality, 0.99, 3, 1],
                    )
                ],
            }
        )
    )


def test_means_over_pictures() -> None:
    found = results_of({"x": [(1, 10, 30, 35.0), (2, 20, 40, None)]}).means()
    assert found["x"] == {
        "setting": [1, 2],
        "bpp": [1.6, 2.4],
        "psnr": [33.0, None],
        "ms_ssim": [0.945, 0.945],
        "encode_s": [2, 2],
        "decode_s": [1, 1],
    }


def test_curves_have_ms_ssim_in_db_of_the_mean_and_leave_gaps_out() -> None:
    (curve,) = curves.measured(results_of({"x": [(1, 10, 30, 35.0), (2, 20, 40, None)]}))
    assert curve.points("psnr") == ([1.6], [33.0])
    assert curve.points("ms_ssim")[1] == pytest.approx([-10 * math.log10(0.055)] * 2)


def test_bd_rate_table() -> None:
    results = results_of(
        {
            "x": [(1, 10, 30, 31.0), (2, 20, 60, 32.0), (3, 40, 120, 33.0)],
            "half": [(1, 5, 15, 31.0), (2, 10, 30, 32.0), (3, 20, 60, 33.0)],
            "mixed": [(1, 5, 30, 31.0), (2, 10, 60, 32.0), (3, 20, 120, 33.0)],
        }
    )
    by_picture = curves.bd_rate_by_picture(results, "x", "mixed", "psnr")
    assert by_picture == pytest.approx({"a": -50, "b": 0})
    beside = curves.Curve("far", (9.0, 10.0), (70.0, 71.0), (None, None), True)
    anchors = [curves.find(curves.measured(results), "x")]
    lines = curves.bd_rate_table(results, anchors, [beside]).splitlines()
    assert lines[0] == "| codec | PSNR vs x | MS-SSIM vs x |"
    # MS-SSIM is the same at all settings here: no BD-rate.
    assert lines[2:] == [
        "| x | - | - |",
        "| half | -50.0 % (-50.0 %) | - |",
        "| mixed | -12.5 % (-25.0 %) | - |",
        "| far (published) | - | - |",
    ]


def test_means_table() -> None:
    table = curves.means_table(results_of({"x": [(1.5, 10, 30, 35.0), (2, 20, 40, None)]}))
    assert table.splitlines()[2:] == [
        "| x | 1.5 | 1.6000 | 33.250 | 0.94500 | 2.000 | 1.000 |",
        "| x | 2 | 2.4000 | - | 0.94500 | 2.000 | 1.000 |",
    ]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A file of published points."""
    path = tmp_path / "points.json"
    kodak = {
        "av1": {"bpp": [0.1, 0.5, 1], "psnr": [28, 33, 36], "ms_ssim": [0.9, 0.97, 1.0], "source": "s"},
        "elic": {"bpp": [0.1, 0.2], "ms_ssim_db": [12.0, 15.0]},
    }
    path.write_text(json.dumps({"kodak": kodak, "other": {"x": {"bpp": [1]}, "y": {"bpp": 1}}}))
    return path


def test_published_points(points: Path) -> None:
    (av1,) = curves.published(points, "kodak")
    assert av1.published
    assert av1.points("psnr") == ([0.1, 0.5, 1.0], [28, 33, 36])
    assert av1.points("ms_ssim")[0] == [0.1, 0.5]
    (elic,) = curves.published(points, "kodak", ["elic"])
    assert elic.points("psnr") == ([], [])
    assert elic.points("ms_ssim") == ([0.1, 0.2], [12.0, 15.0])
    with pytest.raises(MvcError, match="clic"):
        curves.published(points, "clic")
    with pytest.raises(MvcError, match="vtm"):
        curves.published(points, "kodak", ["vtm"])
    with pytest.raises(SourceError):
        curves.published(points, "other")
    with pytest.raises(SourceError):
        curves.published(points.parent / "none.json", "kodak")


def test_plots_name_every_curve(points: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = results_of({"mine": [(1, 10, 30, 35.0), (2, 20, 40, 36.0)]})
    lines = [*curves.measured(results), *curves.published(points, "kodak")]
    plots.draw(lines, tmp_path / "c.svg", title="two pictures")
    text = (tmp_path / "c.svg").read_text()
    for word in ("mine", "av1", "two pictures", "bits per pixel", "PSNR, dB", "MS-SSIM, dB"):
        assert word in text
    plots.draw(lines, tmp_path / "c.png")
    assert Image.open(tmp_path / "c.png").width > 1000
    with pytest.raises(MvcError, match="no curve"):
        plots.draw([], tmp_path / "d.svg")


def test_plots_without_matplotlib_and_into_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MvcError, match=r"c\.txt"):
        plots.check_plot(Path("c.txt"))
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="matplotlib") as caught:
        plots.check_plot(Path("c.svg"))
    assert caught.value.hint == "pip install matplotlib"


# mvc bench ------------------------------------------------------------------------------------------------


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_bench(folder: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    codec: FakeCodec = fake_codec.install(monkeypatch)
    target, plot, cache = tmp_path / "r.json", tmp_path / "r.svg", tmp_path / "cache.json"
    options = ["--codec", "mvc", "--codec", "webp", "--codec", "jpeg", "--quality", "mvc=1,8"]
    options += ["--quality", "jpeg=10,50,90", "--json", target, "--plot", plot, "--published", points]
    result = bench(folder, *options, "--anchor", "jpeg", "--anchor", "av1", "--cache", cache)
    assert result.exit_code == 0, result.output
    assert "| codec | PSNR vs jpeg | PSNR vs av1 | MS-SSIM vs av1 |" in result.stdout
    assert [index for name, index in codec.calls if name == "encode"][1:] == [0, 63] * 2
    data = json.loads(target.read_text())
    assert {row[0] for row in data["rows"]} == {"mvc", "webp", "jpeg"}
    assert data["means"]["jpeg"]["setting"] == [10, 50, 90]
    assert data["means"]["mvc"]["psnr"] == [None, None]  # the fake codec is lossless
    assert plot.read_text().startswith("<?xml")
    assert {row.codec for row in Cache(cache).known.rows} == {"webp", "jpeg"}
    again = bench(folder, *options)
    assert again.exit_code == 1
    assert "already exists" in again.stderr


def test_bench_keeps_its_cache_where_caches_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "caches"))
    assert bench(folder, "--codec", "jpeg", "--quality", "50", "--no-cache").exit_code == 0
    assert not (folder.parent / "caches").exists()
    assert bench(folder, "--codec", "jpeg", "--quality", "50").exit_code == 0
    assert len(Cache(folder.parent / "caches" / "mvc" / "bench.json").known.rows) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--codec", "gif"], 1, "gif"),
        (["--codec", "jpeg", "--quality", "webp=3"], 2, "webp=3"),
        (["--codec", "jpeg", "--quality", "many"], 2, "many"),
        (["--codec", "jpeg", "--quality", "nan"], 1, "nan"),
        (["--codec", "jpeg", "--quality", "500"], 1, "500"),
        (["--codec", "jpeg", "--anchor", "vtm"], 2, "vtm"),
        (["--codec", "jpeg", "--cache", "x", "--no-cache"], 2, "--no-cache"),
        (["--codec", "jpeg", "--plot", "x.txt"], 1, "x.txt"),
        (["--codec", "jpeg", "--published", "none.json"], 1, "none.json"),
    ],
)
def test_bench_refuses(arguments: list[str], code: int, word: str, folder: Path) -> None:
    result = bench(folder, *arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert word in result.stderr
    assert "Traceback" not in result.stderr
