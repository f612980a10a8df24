"""Many pictures: several processes, reports, what is said at the end, and runs that are ended in the middle."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from command import SAMPLES, fails, pixels, run
from fake_codec import FakeCodec
from pages import Page, no_network
from PIL import Image
from worker_tasks import Copying, Impossible

import mvc
from mvc.cli import many, workers
from mvc.cli.outcome import Task
from mvc.cli.plan import Plan
from mvc.cli.reports import Reports
from mvc.errors import BackendError, WeightsError

TESTS = Path(__file__).parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pictures(*names: str) -> None:
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(SAMPLES, number, 0)).save(name)


def do(names: list[str], task: Task | None = None) -> None:
    """Run a task by workers, which are processes of their own, on files of these names."""
    for name in names:
        Path(name).write_bytes(name.encode())
    pairs = Plan([(name, f"out/{name}.copy") for name in names], encoding=True, into=True)
    reports = Reports(["r.json"], names, "Copies", force=True)
    how = {"force": False, "resume": False, "stats": False}
    many.do_all("copying", pairs, task or Copying(), workers=2, reports=reports, **how)


def rows() -> dict[str, dict[str, object]]:
    return {row["file"]: row for row in json.loads(Path("r.json").read_text())}


# several processes -----------------------------------------------------------------------------------------------


def test_folders_by_two_processes_there_and_back(folder: Path) -> None:
    """The commands as they are; without a model, so that they are quick."""
    names = ["a.png", "b.PNG", "deep/c.png", "deep/er/d.png"]
    pictures(*(f"in/{name}" for name in names))
    (folder / "in" / "bad.png").write_bytes(b"no picture")
    result = run("encode", "in", "-o", "coded", "--lossless", "-j", "2", "--report", "r.csv", "--measure")
    words = "error: in/bad.png is not a picture", "failed: in/bad.png\n", "encoding: 4 of 5 files done, 1 failed"
    fails(result, 1, *words, " bytes became ")
    assert (folder / "coded" / "deep" / "er" / "d.mvc").is_file() and not (folder / "coded" / "bad.mvc").exists()
    told = {row["file"]: row for row in csv.DictReader(io.StringIO(Path("r.csv").read_text()))}
    assert sorted(told) == sorted(f"in/{name}" for name in [*names, "bad.png"])
    assert told["in/bad.png"]["state"] == "failed" and "not a picture" in told["in/bad.png"]["error"]
    row = told["in/deep/c.png"]
    size = (folder / "coded" / "deep" / "c.mvc").stat().st_size
    assert (row["output"], row["width"], row["height"], row["coder"]) == ("coded/deep/c.mvc", "9", "6", "exact")
    assert int(row["input_bytes"]) == (folder / "in" / "deep" / "c.png").stat().st_size
    assert int(row["mvc_bytes"]) == int(row["output_bytes"]) == size
    assert float(row["bpp"]) == pytest.approx(8 * size / 54, abs=1e-4)
    assert row["psnr_db"] == "inf" and float(row["seconds"]) > 0 and row["quality"] == row["error"] == ""
    assert run("decode", "coded", "-o", "back", "-j", "2").exit_code == 0
    for number, name in enumerate(names):
        assert np.array_equal(pixels((folder / "back" / name).with_suffix(".png")), np.roll(SAMPLES, number, 0))
    again = run("encode", "in", "-o", "coded", "--lossless", "--resume", "--stats", "json")
    assert again.exit_code == 1 and [json.loads(line)["skipped"] for line in again.stdout.splitlines()] == [True] * 4


def test_a_process_that_dies_takes_one_picture_along(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        do(["a1", "die", "fail", "warn", "a2", "a3", "a4", "a5"])
    told = rows()
    assert {name for name, row in told.items() if row["state"] == "failed"} == {"die", "fail"}
    assert told["die"]["error"] == "its worker process died by signal 9"
    assert told["fail"]["error"] == "internal error: ZeroDivisionError: oops"
    assert sorted(os.listdir("out")) == ["a1.copy", "a2.copy", "a3.copy", "a4.copy", "a5.copy", "warn.copy"]
    shown = capsys.readouterr().err
    assert "warning: warn is odd\n" in shown and "hint: signal 9" in shown
    assert "copying: 6 of 8 files done, 2 failed" in shown


def test_what_every_picture_would_fail_by_ends_all(folder: Path) -> None:
    with pytest.raises(WeightsError, match="no such model"):
        do(["a1", "end", "a2"])
    with pytest.raises(BackendError, match="ended with exit code 3 before it began"):
        do(["b1", "b2"], Impossible())
    assert not Path("r.json").exists()


def test_results_that_may_be_one_file_wait_for_each_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where A.copy and a.copy are one name: here by a link."""
    (folder / "out").mkdir()
    (folder / "out" / "B.copy").symlink_to("b.copy")
    with pytest.raises(SystemExit):
        do(["b", "B"])
    assert rows()["B"]["error"] == "out/B.copy would overwrite the result of b"
    assert (folder / "out" / "b.copy").read_bytes() == b"b"


def test_threads_are_divided(codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("mvc.cli.convert.do_all", lambda verb, plan, task, **how: asked.append((task, how["workers"])))
    monkeypatch.setattr("mvc.video.moments.cores", lambda: 8)
    pictures("a.png", "b.png", "c.png")
    for jobs, threads, processes in (("2", 4, 2), ("16", 2, 3), ("1", None, 1)):
        run("encode", "a.png", "b.png", "c.png", "-j", jobs)
        task, count = asked.pop()
        assert (task.threads, count) == (threads, processes)
    run("encode", "a.png", "b.png", "-j", "2", "--threads", "3")
    assert asked.pop()[0].threads == 3


# runs that end in the middle -------------------------------------------------------------------------------------

SCRIPT = """
if __name__ == "__main__":
    import signal
    import test_many
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    from mvc.cli.terminal import exit_after
    exit_after(lambda: test_many.do(["a1", "dawdle1", "a2", "dawdle2", "a3"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_ended_leaves_whole_files_alone(folder: Path, number: signal.Signals) -> None:
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{Path(mvc.__file__).parents[1]}"}
    process = subprocess.Popen(
        [sys.executable, "script.py"], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("out/*.begun"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal does it: to all of them
    shown = process.communicate(timeout=60)[1]
    left = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.suffix != ".begun"}
    assert left.items() <= {"a1.copy": b"a1", "a2.copy": b"a2"}.items() and "a1.copy" in left
    assert not list(folder.glob("**/*.tmp")) and not list(folder.glob("**/.mvc-*"))
    if number == signal.SIGINT:
        assert process.returncode == 130 and "--resume goes on with the others" in shown
        assert {row["state"] for row in rows().values()} == {"done"} and "a1" in rows()
        assert "Traceback" not in shown


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_workers_end_with_whoever_started_them(folder: Path) -> None:
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{Path(mvc.__file__).parents[1]}"}
    process = subprocess.Popen([sys.executable, "script.py"], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("out/*.begun"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    own = children.read_text().split() if children.exists() else []
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    deadline = time.monotonic() + 20  # multiprocessing's own helper notices it a moment later
    while left := [number for number in own if Path(f"/proc/{number}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


# reports ---------------------------------------------------------------------------------------------------------


def test_a_contact_sheet_needs_nothing_else(codec: FakeCodec, folder: Path) -> None:
    name = "<b onclick='x'>&\"quoted\u202e.png"
    pictures("in/a.png", f"in/{name}")
    (folder / "in" / "bad<i>.png").write_bytes(b"")
    result = run("encode", "in", "-o", "out", "--report", "sheet.html", "--report", "r.json", "-q", "4")
    assert result.exit_code == 1
    text = Path("sheet.html").read_text()
    page = Page(text)
    no_network(text, page)
    entries = [entry["class"] for entry in page.all("li")]
    assert sorted(str(entry) for entry in entries) == ["done", "done", "failed"] and not page.all("b")[0]
    assert not page.all("i") and "in/<b onclick='x'>&\"quoted\\u202e.png" in page.texts
    images = page.all("img")
    assert len(images) == 2
    shown = Image.open(io.BytesIO(b64decode(str(images[0]["src"]).partition(",")[2])))
    assert shown.format == "JPEG" and shown.size == (9, 6)
    assert "2 done, 0 skipped, 1 failed" in text and any("quality 4" in line for line in page.texts)
    assert rows()[f"in/{name}"]["quality"] == 4.0
    run("decode", "out", "-o", "back", "--report", "back.html")
    assert len(Page(Path("back.html").read_text()).all("img")) == 2


def test_reports_are_whole_and_replace_nothing(codec: FakeCodec, folder: Path) -> None:
    pictures("a.png", "b.png")
    fails(run("encode", "a.png", "--report", "r.txt"), 2, "--report r.txt: it is named .csv, .json or .html")
    fails(run("encode", "a.png", "--report", "r.csv", "--report", "./r.csv"), 2, "two reports have one name")
    Path("r.csv").write_text("precious")
    fails(run("encode", "a.png", "--report", "r.csv"), 1, "r.csv already exists")
    (folder / "l.csv").symlink_to("a.png")
    fails(run("encode", "a.png", "--report", "l.csv", "-f"), 2, "a.png would be overwritten by the result l.csv")
    assert Path("r.csv").read_text() == "precious" and codec.calls == []
    assert run("encode", "a.png", "b.png", "--report", "r.csv", "-f").exit_code == 0
    assert [line.split(",")[0] for line in Path("r.csv").read_text().splitlines()] == ["file", "a.png", "b.png"]
    Path("empty").mkdir()
    assert run("encode", "empty", "--report", "e.json").exit_code == 1 and not Path("e.json").exists()


def test_the_names_of_failures_are_bounded(codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MOST_NAMES", 2)
    for number in range(4):
        Path(f"{number}.png").write_bytes(b"")
    pictures("k.png")
    result = run("encode", *(f"{number}.png" for number in range(4)), "k.png")
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert lines == ["failed: 0.png", "failed: 1.png", "failed: 2 more, which --report would name"]


def test_a_process_started_again_and_again_is_no_loop(folder: Path) -> None:
    with pytest.raises(SystemExit):
        do([f"die{number}" for number in range(4)])
    assert [row["state"] for row in rows().values()] == ["failed"] * 4


def test_patience_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE_S", 0.2)
    with workers.Workers(Copying(), 1, lambda text: None) as crew:
        pass  # whoever has not even begun to listen
    assert all(not worker._process.is_alive() for worker in crew._all)
