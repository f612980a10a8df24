"""Compiled code is kept where it can be, made anew when it is damaged, and never the reason for a failure."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from mvc import jit
from mvc.cli import terminal
from mvc.exact import scan as exact_scan

PROGRAM = """
import logging, sys
import numpy as np
from mvc.jit import kernel

if "--tell" in sys.argv:
    logging.basicConfig(level=logging.INFO, format="%(message)s")

@kernel()
def doubled(begin, end, x):
    for i in range(begin, end):
        x[i] *= 2

x = np.ones(3)
doubled(0, 2, x)
print(x.tolist())
"""


def add_one(begin: int, end: int, x: Any) -> None:
    for i in range(begin, end):
        x[i] += 1


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    """Use a kernel as a new process would, its code kept in tmp_path; whether it had to be compiled."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    caplog.set_level(logging.INFO, "mvc")

    def use() -> bool:
        jit._said.clear()
        caplog.clear()
        x = np.zeros(4)
        jit.kernel()(add_one)(1, 3, x)
        assert x.tolist() == [0, 1, 1, 0]
        return "compiling" in caplog.text

    return use


def kept(folder: Path, suffix: str) -> Path:
    (path,) = folder.rglob(f"*.{suffix}")
    return path


def test_code_is_kept(compiled: Callable[[], bool]) -> None:
    assert [compiled(), compiled(), compiled()] == [True, False, False]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "garbage", "gone", "folder"])
def test_damaged_files_are_made_anew(compiled: Callable[[], bool], tmp_path: Path, suffix: str, damage: str) -> None:
    compiled()
    path = kept(tmp_path, suffix)
    data = path.read_bytes()
    path.unlink()
    match damage:
        case "folder":
            path.mkdir()
        case "gone":
            pass
        case _:
            flipped = data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]
            broken = {"empty": b"", "cut": data[: len(data) // 2], "flipped": flipped, "garbage": os.urandom(5000)}
            path.write_bytes(broken[damage])
    assert compiled()
    assert compiled() == (damage == "folder")  # which nothing can replace


class Planted:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("how", ["numba's format", "everyone may write it", "another user's"])
def test_what_others_may_have_written_is_not_read(
    compiled: Callable[[], bool], tmp_path: Path, suffix: str, how: str
) -> None:
    compiled()
    marker, path = tmp_path / "marker", kept(tmp_path, suffix)
    data = pickle.dumps(Planted(marker))
    path.write_bytes(data if how == "numba's format" else hashlib.sha256(data).digest() + data)
    if how == "everyone may write it":
        path.chmod(0o666)
    elif how == "another user's":
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(path, 12345, -1)
    assert compiled() and not marker.exists()


def test_code_made_from_other_sources_is_not_used(
    compiled: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files' constants and functions are compiled into a kernel."""
    compiled()
    monkeypatch.setattr(jit, "_sources", lambda: "others")
    assert compiled() and not compiled()


def test_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    result = run(tmp_path, {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}, preexec_fn=limit)
    assert "cannot be kept" in result.stderr and str(tmp_path / "kept") in result.stderr
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file() and path.stat().st_size]


def run(folder: Path, environment: dict[str, str], *arguments: str, **options: Any) -> Any:
    """PROGRAM in a process of its own, its source in `folder`."""
    source = folder / "program.py"
    source.write_text(PROGRAM)
    root = str(Path(__file__).parents[1])
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(source), *(arguments or ["--tell"])]
    result = subprocess.run(command, env=known | environment, capture_output=True, text=True, **options)
    assert result.returncode == 0 and result.stdout == "[2.0, 2.0, 1.0]\n", result.stderr
    return result


def nowhere(folder: Path) -> dict[str, str]:
    """No place beside the source nor in a home, also for root, who may write to read-only folders."""
    (folder / "__pycache__").write_text("in the way")
    return {"HOME": "/dev/null", "NUMBA_CACHE_DIR": "/dev/null/here", "TMPDIR": str(folder)}


def test_without_a_home_or_a_writable_package(tmp_path: Path) -> None:
    environment = nowhere(tmp_path)
    assert "once" in run(tmp_path, environment).stderr
    (own,) = tmp_path.glob("mvc-kernels-*")
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert run(tmp_path, environment).stderr == ""
    own.chmod(0o777)  # anyone could have put something there
    assert "every start" in run(tmp_path, environment).stderr


def test_no_place_at_all_and_silence(tmp_path: Path) -> None:
    """A program that uses the library hears nothing unless it asks for INFO."""
    environment = nowhere(tmp_path) | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    assert run(tmp_path, environment, "--silent").stderr == ""


def test_the_command_says_that_it_compiles(
    compiled: Callable[[], bool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("mvc"), "handlers", [])
    terminal.show_log()
    terminal.show_log()
    compiled()
    compiled()
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("compiling kernels") == 1


def test_all_kernels_come_from_here() -> None:
    """No other file of the package makes a numba function, so none has a cache of its own."""
    package = Path(jit.__file__).parent
    assert isinstance(exact_scan._scan._cache, jit._Cache | jit._NoCache)
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert path.name == "jit.py" or not any(word in text for word in ("njit", "cache=True")), path
