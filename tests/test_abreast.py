"""Small pictures side by side: in the order of the inputs, large ones alone, and nobody waits when a run is ended."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command import fails, pixels, run
from fake_codec import FakeCodec
from PIL import Image

import mvc
from mvc import threads
from mvc.cli import parts
from mvc.cli.abreast import abreast
from mvc.cli.jobs import Job
from mvc.cli.outcome import Outcome, Told
from mvc.errors import SourceError, WeightsError
from mvc.media.trouble import pillow_errors
from mvc.picture import Picture


class Act:
    """Does what names say; `seen` has how many jobs were under way when each was, and the share of its thread."""

    abreast = 2

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.seen: dict[str, tuple[int, int]] = {}
        self.two, self.stop = threading.Barrier(2, timeout=30), threading.Event()

    def small(self, job: Job) -> bool:
        return "large" not in job.source

    def prepare(self, job: Job, told: Told) -> Callable[[], Outcome]:
        with self.lock:
            self.inside += 1
        if "pair" in job.source:
            self.two.wait()
        if "slow" in job.source:
            self.stop.wait(30)
        self.seen[job.source] = self.inside, threads.share()
        with self.lock:
            self.inside -= 1
        if "fail" in job.source:
            raise SourceError("oops")
        if "end" in job.source:
            raise WeightsError("no such model")
        writer = threading.current_thread()

        def finish() -> Outcome:
            assert threading.current_thread() is threading.main_thread() is not writer
            return Outcome(job.name, job.target_name)

        return finish

    def __call__(self, job: Job, told: Told) -> Outcome:
        self.seen[job.source] = self.inside, threads.share()
        return Outcome(job.name, job.target_name, text="alone")


class Deaf:
    def now(self, text: str) -> None:
        pass


def attempt(job: Job, action: Callable[[], Outcome]) -> Outcome:
    try:
        return action()
    except SourceError:
        return Outcome(job.name, job.target_name, "failed")


def started(act: Act, *names: str, **targets: str) -> Generator[tuple[Job, Outcome]]:
    jobs = [Job(name, targets.get(name, f"{name}.out")) for name in names]
    refused = {"refused": Outcome("refused", "", "failed")}
    return abreast(jobs, act, Deaf(), lambda job: refused.get(job.source), attempt)


def test_two_at_a_time_and_what_is_large_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 4)
    act, names = Act(), ["pair1", "pair2", "fail", "refused", "large", "b", "c", "d", "e", "f", "large2", "g"]
    told = [(job.source, outcome.state, outcome.text) for job, outcome in started(act, *names)]
    wrong = ("fail", "refused")
    assert told == [
        (name, "failed" if name in wrong else "done", "alone" if "large" in name else "") for name in names
    ]
    assert act.seen["large"] == act.seen["large2"] == (0, 4)  # nobody else was under way, and all threads are its
    assert act.seen.keys() == set(names) - {"refused"} and act.seen["pair1"][1] == act.seen["g"][1] == 1


def test_what_every_picture_would_fail_by_ends_all() -> None:
    with pytest.raises(WeightsError):
        list(started(Act(), "a", "end", "b"))


def test_results_that_may_be_one_file_wait_for_each_other() -> None:
    act, waited = Act(), []
    for job, _ in started(act, "a", "slow", "b", slow="OUT", b="out"):
        waited.append((job.source, "b" in act.seen))
        act.stop.set()
    assert waited[0] == ("a", False) and ("slow", False) in waited


def test_nobody_waits_for_what_is_under_way() -> None:
    act = Act()
    run_ = started(act, "a", "slow1", "slow2", "b", "c", "d", "e")
    assert next(run_)[0].source == "a"
    start = time.monotonic()
    run_.close()
    assert time.monotonic() - start < 10
    act.stop.set()
    assert "e" not in act.seen


def test_the_command_does_small_ones_side_by_side(
    codec: FakeCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are the same as one by one, reports in order, and a picture of many pixels has all threads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mvc.cli.encoding.SMALL_PX", 100)
    samples = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.fromarray(np.roll(samples, number, 0)).save(f"in/{number}.png")
    Image.fromarray(np.tile(samples, (3, 3, 1))).save("in/3large.png")
    (tmp_path / "in" / "4bad.png").write_bytes(b"no picture")
    names = ["0", "1", "2", "3", "3large", "4", "4bad", "5"]
    result = run("encode", "in", "-o", "out", "--report", "r.csv", "--measure")
    fails(result, 1, "error: in/4bad.png is not a picture", "encoding: 7 of 8 files done, 1 failed")
    assert [line.split(",")[0] for line in Path("r.csv").read_text().splitlines()[1:]] == [f"in/{n}.png" for n in names]
    asked = [call[1][2] for call in codec.calls if call[0] == "load"]
    assert sorted(asked, key=str) == [1, None]
    assert run("encode", "in", "-o", "one", "--threads", "1").exit_code == 1
    assert run("decode", "out", "-o", "back").exit_code == 0
    for name in set(names) - {"4bad"}:
        assert (tmp_path / "one" / f"{name}.mvc").read_bytes() == (tmp_path / "out" / f"{name}.mvc").read_bytes()
        assert np.array_equal(pixels(tmp_path / "back" / f"{name}.png"), pixels(tmp_path / "in" / f"{name}.png"))
    assert parts.SMALL_PX > 768 * 512  # as Kodak's are


# shares -----------------------------------------------------------------------------------------------------------


def test_threads_below_share_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)

    def below(_: int) -> tuple[int, bool]:
        return threads.share(), threading.current_thread() is threading.main_thread()

    run_ = threads.in_threads(4)
    assert list(run_(below, range(9))) == [(2, False)] * 9
    assert list(run_(below, range(1))) == [(8, True)]
    with threads.sharing(4):
        assert list(run_(below, range(2))) == [(2, False)] * 2
        with threads.sharing(None):
            assert threads.share() == 4
    assert threads.share() == 8


def test_exact_tiles_take_no_more_threads_than_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the exact coder, too, so that workers side by side do not each take all cores."""
    asked: list[int] = []

    def noted(count: int) -> threads.Run:
        asked.append(count)
        return map

    for place in ("mvc.tiled", "mvc.strips", "mvc.lossless.search"):
        monkeypatch.setattr(f"{place}.in_threads", noted)
    picture = Picture(np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8))
    data = mvc.encode(picture, lossless=True, tile=256, effort=3, threads=3)
    assert np.array_equal(mvc.decode(data, threads=3).samples, picture.samples)
    assert asked and set(asked) <= {1, 3} and 3 in asked


def test_filters_of_warnings_are_as_before_when_several_threads_have_read() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Barrier(2, timeout=30), threading.Event()

    def first() -> None:
        with pillow_errors("a"):
            inside.wait()
        leave.set()

    def second() -> None:
        with pillow_errors("b"):
            inside.wait()
            leave.wait(30)  # it came while the first was in there, and goes when that has gone

    with ThreadPoolExecutor(2) as pool:
        for done in (pool.submit(first), pool.submit(second)):
            done.result()
    assert list(warnings.filters) == before
