"""The mixer's Triton kernels without a GPU, and when they are taken. tests/test_gpu.py compares them on a device."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mvc.ops
from mvc.errors import BackendError
from mvc.ops import mixer, mixer_numba

CHECKS = Path(__file__).with_name("triton_checks.py")
ON_GPU: Any = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16)  # as much of a tensor as is asked for
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def check(what: str, **environment: str) -> str:
    command = [sys.executable, str(CHECKS), what]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_triton
def test_in_the_interpreter() -> None:
    check("interpreted", TRITON_INTERPRET="1")


@needs_triton
def test_all_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """What the interpreter lets pass: types, shapes that are no powers of two, arguments that a launch cannot take.

    And sums over an axis that become products of matrices, whose factors are then rounded to tf32.
    """
    launched = check("compiled", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    mixing = ["_backward", "_forward", "_norm", "_norm_gradients", "convolve", "gradients"]
    assert launched.split() == sorted([*mixing, "_depthwise"])
    lowered = list(tmp_path.rglob("*.ttgir"))
    assert len(lowered) >= 7 and not any("tt.dot" in path.read_text() for path in lowered)


@pytest.fixture
def afresh() -> Iterator[None]:
    mixer.on_gpus.cache_clear()
    yield
    mixer.on_gpus.cache_clear()


@pytest.mark.usefixtures("afresh")
def test_the_references_stand_in_for_absent_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mvc.ops.mixer_triton", None)
    monkeypatch.delattr(mvc.ops, "mixer_triton", raising=False)
    assert mixer.kernels(ON_GPU, 64) is None
    assert not mixer.is_fused(ON_GPU, 64) and not mixer.by_strips(ON_GPU, 64)


@needs_triton
@pytest.mark.usefixtures("afresh")
def test_gpus_take_triton_unless_the_environment_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MVC_MIXER", raising=False)
    found = mixer.kernels(ON_GPU, 64)
    assert found is not None and found.__name__ == "mvc.ops.mixer_triton"
    assert mixer.kernels(ON_GPU, 24) is None  # 16 channels at a time
    assert mixer.kernels(torch.zeros(1), 64) is mixer_numba
    mixer.on_gpus.cache_clear()
    monkeypatch.setenv("MVC_MIXER", "reference")
    assert mixer.kernels(ON_GPU, 64) is None
    assert mixer.kernels(torch.zeros(1), 64) is mixer_numba


@pytest.mark.usefixtures("afresh")
def test_an_unknown_mixer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVC_MIXER", "fast")
    with pytest.raises(BackendError, match="MVC_MIXER=fast") as caught:
        mixer.kernels(ON_GPU, 64)
    assert caught.value.hint == "unset it, or set it to: reference"
