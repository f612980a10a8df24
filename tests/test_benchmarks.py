"""The instruments of benchmarks/: what they measure of a process and of a model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import picture, tiny_paper_weights

from benchmarks import models, speed


def test_memory_and_time_are_those_of_the_process_alone() -> None:
    mine = bytearray(b"x" * 400_000_000)  # a peak that a child would start out with
    del mine
    small = speed.run([sys.executable, "-c", "pass"])
    large = speed.run([sys.executable, "-c", "import time; a = b'x' * 300_000_000; time.sleep(0.3)"])
    assert small.peak_mib < 100
    assert large.peak_mib - small.peak_mib > 200
    assert large.seconds > 0.3


def test_a_process_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="out of order"):
        speed.run([sys.executable, "-c", "raise SystemExit('out of order')"])


def test_table_gives_ratios_per_pixel() -> None:
    figures = [
        speed.Figures(100, 2000, 1.0, 2.0, 0.5, 1.0, 2.0, 1.0, 300.0, 200.0),
        speed.Figures(1000, 20000, 12.0, 20.0, 5.0, 9.0, 30.0, 8.0, 600.0, 1000.0),
    ]
    lines = speed.table(["small", "large"], figures).splitlines()
    assert lines[0] == "| | small | large | ratio per pixel |"
    assert lines[2] == "| encode, s | 1.000 | 12.000 | 1.20 |"
    assert lines[4] == "| decode, s | 0.500 | 5.000 | 1.00 |"
    assert lines[-1] == "| file, kB | 2.0 | 20.0 | 1.00 |"


def test_the_large_picture_is_4k_of_the_middle(tmp_path: Path) -> None:
    picture = Image.new("RGB", (768, 512), "black")
    picture.paste("white", (0, 40, 768, 472))  # 432 of 512 rows are the middle at 16:9
    picture.save(tmp_path / "a.png")
    speed.enlarge(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as large:
        assert large.size == speed.LARGE
        assert large.crop((0, 20, 3840, 2140)).getextrema() == ((255, 255),) * 3
        assert large.getpixel((0, 0)) != (255, 255, 255)  # the filter reaches over the edge into black


def test_a_model_is_measured_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "weights_of", lambda name: tiny_paper_weights(name))
    Image.fromarray(picture(60, 70).samples).save(tmp_path / "a.png")
    figures = models.measure("convvc", tmp_path / "a.png", "cpu", 1)
    assert set(figures) == set(models.COLUMNS)
    assert 0 < figures["prior_s"] < figures["decode_s"] + 1
    assert figures["mib"] > 50
