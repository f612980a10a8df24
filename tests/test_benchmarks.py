"""The instruments of benchmarks/: what they measure of a process and of a model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import picture, tiny_paper_weights

from benchmarks import gpu, gpu_parts, graphics_table, looks_table, many, models, speed
from mvc.evaluate.results import Made, Original, Results, Row


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


def part(name: str, code: str, limit_s: float = 60) -> gpu.Part:
    return gpu.Part(name, [sys.executable, "-c", code], limit_s)


def test_parts_that_fail_or_hang_are_rows_of_the_gpu_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [
        part("fails", """print('["speed", "12"]'); raise SystemExit("out of order")"""),
        part("hangs", "import time; time.sleep(100)", 3),
        part("tests", "print('FAILED tests/test_gpu.py::test_x - one | two'); print('1 failed, 2 passed in 3.0s')"),
    ]
    monkeypatch.setattr(gpu, "parts", lambda device, quick: parts)
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--output", str(tmp_path / "gpu.md")])
    gpu.main()
    rows = [line for line in (tmp_path / "gpu.md").read_text().splitlines() if "time, s" not in line]
    assert rows[rows.index("|---|---|---|") + 1 :] == [
        "| fails | speed | 12 |",
        "| fails | ERROR | failed with exit code 1: out of order |",
        "| hangs | ERROR | stopped after 3 s: it said nothing |",
        "| tests | FAILED | tests/test_gpu.py::test_x - one / two |",
        "| tests | pytest | 1 failed, 2 passed in 3.0s |",
    ]


def test_time_that_is_spent_leaves_parts_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "parts", lambda device, quick: [part("late", "print(1)")])
    monkeypatch.setattr(gpu, "TOTAL_S", 1.0)
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu"])
    gpu.main()
    assert capsys.readouterr().out.splitlines()[-1] == "| late | left out | no time left |"


def test_a_part_of_the_gpu_table_runs_on_a_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it is `python -m benchmarks.gpu --device cpu --quick`."""
    monkeypatch.setattr(subprocess, "run", lambda command, **options: None)  # `mvc decode`, as a process
    monkeypatch.setattr(sys, "argv", ["gpu_parts", "decode", "--device", "cpu", "--quick"])
    gpu_parts.main()
    rows = dict(gpu.read(capsys.readouterr().out.splitlines()))
    assert rows["same symbols"] == "yes"
    assert rows["samples against the CPU's"].startswith("at most 0,")
    assert rows["device: range decoder, s, all its calls"].endswith(", 8")  # the hyperlatent, and passes of slices
    assert len(rows) == 7


def test_kernels_are_compared_with_torch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_parts", "kernels", "--device", "cpu", "--quick"])
    gpu_parts.main()
    rows = dict(gpu.read(capsys.readouterr().out.splitlines()))
    names = ["norm", "gated norm", "depthwise 3x3 silu", "depthwise 5x5 silu", "depthwise 5x5 leaky"]
    names += ["VSSBlock", "ConvBlock"]
    assert list(rows) == [f"{name}, 1x8x8x64: ms (torch's operators)" for name in names]
    assert all(re.fullmatch(r"[0-9.]+ \([0-9.]+\), [0-9.]+ times(, \d+ GB/s)?", figure) for figure in rows.values())


def test_many_pictures_are_counted_and_their_processes_watched(tmp_path: Path) -> None:
    Image.fromarray(picture(40, 50).samples).save(tmp_path / "p.png")
    many.squares(tmp_path / "p.png", tmp_path / "in", 3, 8)
    command = many.command(tmp_path / "in", tmp_path / "out", 0, "--lossless")
    done = many.call(command, 3)
    assert 0 < done.rest < done.whole and len(list((tmp_path / "out").rglob("*.mvc"))) == 3
    with pytest.raises(SystemExit, match="failed"):
        many.call(command, 4)
    script = "import time; a = b'x' * 100_000_000; print(flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {script!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout and process.stdout.readline()
        assert 95 < many.resident_mib(process.pid) < 300
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _looks(codec: str, sizes: tuple[int, int]) -> Results:
    """A codec on two pictures at two settings."""
    rows = [
        Row(codec, setting, key, size * (1 + number), 30.0 + setting, 0.9, 1.0, 1.0, {"lpips": 0.2 - 0.1 * at})
        for at, (setting, size) in enumerate(zip((1.0, 2.0), sizes, strict=True))
        for number, key in enumerate(("a", "b"))
    ]
    pictures = {key: Original(key, 100, 80) for key in ("a", "b")}
    return Results({codec: Made(codec, "1")}, pictures, rows)


def test_the_table_of_looks_joins_what_was_measured_apart() -> None:
    old, new = _looks("mvc", (150, 300)), _looks("mvc", (50, 100))
    whole = looks_table.merged([_looks("avif", (100, 200)), old, new])
    assert [row.codec for row in whole.rows] == ["avif"] * 4 + ["mvc"] * 4
    lines = looks_table.rates(whole).splitlines()
    assert lines[0] == "| 2 pictures | PSNR | MS-SSIM | LPIPS |"
    assert lines[2:] == ["| faithful against AVIF | -50.0 ± 0.0 % | - | -50.0 ± 0.0 % |"]  # one MS-SSIM has no curve
    assert looks_table.means(whole).splitlines()[2:] == [
        "| 1, faithful | 0.075 | 31.00 | 0.200 |",
        "| 2, faithful | 0.150 | 32.00 | 0.100 |",
    ]
    with pytest.raises(ValueError, match="different pictures"):
        looks_table.merged([whole, Results(pictures={"c": Original("c", 1, 1)})])


def test_the_table_of_graphics_counts_what_is_exact() -> None:
    def rows(codec: str, sizes: list[int], psnr: list[float | None], ms_ssim: list[float]) -> list[Row]:
        numbers = enumerate(zip(sizes, psnr, ms_ssim, strict=True), 1)
        return [Row(codec, setting, "a", *values, 1.0, 1.0) for setting, values in numbers]

    made = {name: Made(name, "1") for name in ("avif", "mvc-auto")}
    # The third file has more bits and no more dB; the last two are exact, the anchor's last is as good as that.
    own = rows("mvc-auto", [100, 200, 250, 400, 400], [30.0, 40.0, 40.0, None, None], [0.9, 0.99, 0.99, 1.0, 1.0])
    other = rows("avif", [200, 400, 800], [30.0, 40.0, 61.0], [0.9, 0.99, 1.0])
    results = Results(made, {"a": Original("a", 100, 80)}, own + other)
    assert graphics_table.curve(results, "mvc-auto", "a", "psnr")[1] == [30.0, 40.0, 60.0]
    lines = graphics_table.table(results, "avif", "mvc-auto").splitlines()
    assert lines[0] == "| picture | PSNR | MS-SSIM |"
    assert lines[2:] == [
        "| a | -50.0 | -50.0 |",
        "| mean of 1, 1 | -50.0 | -50.0 |",
        "| median of 1, 1 | -50.0 | -50.0 |",
        "",
        "At 5 at least - dB; 1 exact.",
    ]
