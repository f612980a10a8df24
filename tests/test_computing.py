"""What a call of the codec computes in: its own number of threads, its own torch, in threads and after fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import mvc
from mvc.arguments import MAX_THREADS
from mvc.environment import prepare
from mvc.ops.computing import computing


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_hold_for_the_block_alone() -> None:
    with computing(3):
        assert torch.get_num_threads() == 3
        with computing(1):  # within another: that one counts
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2
    with computing():
        assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), computing(1):
        _ = 1 / 0
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("threads", "error"),
    [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("2", TypeError), (True, TypeError), (100_000, ValueError)],
)
def test_wrong_numbers_of_threads(threads: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="thread"), computing(threads):
        pytest.fail("it was let in")
    assert torch.get_num_threads() == 2


def test_the_bound_is_above_what_anyone_needs() -> None:
    assert 2 * (os.cpu_count() or 1) <= MAX_THREADS
    with computing(MAX_THREADS):
        pass


def test_nothing_of_the_caller_reaches_inside() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.device("meta"), torch.enable_grad():
            with computing():
                x = torch.ones(2, 2)
                assert x.dtype == torch.float32 and x.device.type == "cpu"
                assert (x @ x).dtype == torch.float32
                assert not torch.is_grad_enabled()
            y = torch.ones(2, 2)
            assert y.device.type == "meta" and y.dtype == torch.float64
            assert torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
    assert not torch.is_autocast_enabled("cpu")


def test_gradients_can_be_taken_inside_inference_mode() -> None:
    """What encoding does, whatever its caller is in."""
    with torch.inference_mode():
        with computing():
            x = torch.ones(2)
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad((x.requires_grad_() ** 2).sum(), x)
            assert gradient.tolist() == [2.0, 2.0]
        assert torch.is_inference_mode_enabled()


def test_calls_with_different_numbers_do_not_meet() -> None:
    inside: set[tuple[int, int]] = set()
    lock = threading.Lock()

    def call(number: int) -> None:
        threads = 1 + number % 3
        with computing(None if threads == 2 else threads):
            with lock:
                inside.add((number, threads))
                assert {count for _, count in inside} == {threads}
            for _ in range(20):
                assert torch.get_num_threads() == threads
                torch.ones(200, 200) @ torch.ones(200, 200)
            with lock:
                inside.discard((number, threads))
        assert torch.get_num_threads() == 2

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(call, range(60)))
    assert torch.get_num_threads() == 2


def test_calls_with_one_number_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def call() -> None:
        with computing(1):
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(call), pool.submit(call)]:
            done.result()


def test_public_calls_neither_see_nor_change_torch() -> None:
    rows, columns = np.mgrid[0:48, 0:80]
    picture = mvc.Picture(np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8))
    data = mvc.encode(picture, device="cpu", threads=1)
    samples = mvc.decode(data, device="cpu", threads=1).samples
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            assert mvc.encode(picture, device="cpu", threads=1) == data
            assert np.array_equal(mvc.decode(data, device="cpu", threads=1).samples, samples)
            assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
            assert torch.empty(1).device.type == "meta"
        assert torch.get_default_dtype() == torch.float64 and torch.get_num_threads() == 2
    finally:
        torch.set_default_dtype(torch.float32)


FORK = """
import os, sys, torch
from mvc.errors import BackendError
from mvc.ops import norm_numba
from mvc.ops.computing import computing
from mvc.ops.parallel import array, run

def work():
    with computing(2):
        x, out, stats = torch.randn(64, 32), torch.empty(64, 32), torch.empty(64, 2)
        run(norm_numba.norm_forward, 64, *map(array, (x, out, stats)))
        assert torch.allclose(out, torch.nn.functional.layer_norm(x, (32,)), atol=1e-4)
        return float((torch.randn(700, 700) @ torch.randn(700, 700)).sum())

def differentiate():
    with computing(2), torch.enable_grad():
        x = torch.ones(300_000, requires_grad=True)
        torch.autograd.grad((x * x).sum(), x)

work()
differentiate()
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
work()
work()
try:
    differentiate()
except BackendError as error:
    assert "spawn" in error.hint
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_made_by_fork_after_use() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_a_user_has_set_for_openmp_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for own, expected in ({}, ("PASSIVE", "3000")), ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)):
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        prepare()
        assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT")) == expected
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    prepare()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
