"""What works where torch, or numba too, is left out: `pip install --no-deps mvc-codec` and a few small packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_codec

import mvc
from mvc.metadata import Metadata
from mvc.picture import Picture

HEAVY = ("torch", "safetensors", "numba", "llvmlite", "scipy", "av")
SAMPLES = np.mgrid[:60, :80][1].astype(np.uint8)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command ("mvc" and its arguments) or a program in an interpreter without some packages."""
    (tmp_path / "exact.mvc").write_bytes(mvc.encode(Picture(SAMPLES, None, Metadata(xmp=b"<x/>")), lossless=True))
    with_one = mvc.encode(np.kron(SAMPLES, np.ones((4, 4), np.uint8)), lossless=True, thumbnail=True)
    (tmp_path / "thumb.mvc").write_bytes(with_one)
    (tmp_path / "network.mvc").write_bytes(tiny_codec().encode(Picture(SAMPLES), 20))
    Image.fromarray(SAMPLES).save(tmp_path / "a.png")

    def started(*words: str, without: tuple[str, ...] = HEAVY) -> subprocess.CompletedProcess[str]:
        program = "import mvc.cli; mvc.cli.main()" if words[0] == "mvc" else words[0]
        block = f"import sys\nfor name in {without!r}: sys.modules[name] = None\n"
        env = {**os.environ, "PYTHONPATH": str(Path(mvc.__file__).parent.parent)}
        arguments = [sys.executable, "-c", block + program, *words[1:]]
        return subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True)

    return started


def test_what_a_file_says_and_its_checksum(run: Run, tmp_path: Path) -> None:
    done = run("mvc", "info", "exact.mvc", "network.mvc", "thumb.mvc", without=(*HEAVY, "numpy", "PIL"))
    assert done.returncode == 0 and done.stdout.count("checksum  right") == 3, done.stderr
    done = run("mvc", "verify", "--checksum", "exact.mvc", "network.mvc", without=(*HEAVY, "numpy", "PIL"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "exact.mvc: checksum right, 80x60, 1 unit"
    data = (tmp_path / "exact.mvc").read_bytes()
    (tmp_path / "exact.mvc").write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    done = run("mvc", "verify", "--checksum", "exact.mvc", "network.mvc")
    assert done.returncode == 1 and "checksum is" in done.stderr and "network.mvc: checksum right" in done.stdout


def test_thumbnails_and_metadata(run: Run, tmp_path: Path) -> None:
    assert run("mvc", "info", "thumb.mvc", "--thumbnail", "t.jpg").returncode == 0
    assert run("mvc", "thumbnail", "thumb.mvc", "t.png").returncode == 0
    assert Image.open(tmp_path / "t.png").size == Image.open(tmp_path / "t.jpg").size == (256, 192)
    assert run("mvc", "thumbnail", "thumb.mvc", "t.png", "--size", "300", "-f").returncode == 0  # the one there is
    done = run(
        "import mvc, mvc.pillow_plugin\n"
        "from PIL import Image\n"
        "print(mvc.open('exact.mvc').metadata.xmp, mvc.info('exact.mvc')['width'], Image.open('network.mvc').size)\n"
        "try: mvc.decode('network.mvc')\n"
        "except mvc.BackendError as error: print(error)\n"
        "try: mvc.encode('a.png')\n"
        "except mvc.BackendError as error: print(error.hint)\n"
        "try: Image.open('network.mvc').load()\n"
        "except OSError as error: print(error)"
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "b'<x/>' 80 (80, 60)", done.stderr
    assert all("is not installed" in line for line in (lines[1], lines[3])) and "verify --checksum" in lines[2]


def test_the_rest_says_what_is_missing(run: Run) -> None:
    commands = ("decode network.mvc", "encode a.png", "verify exact.mvc", "thumbnail exact.mvc t.png")
    for command in commands:
        done = run("mvc", *command.split())
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert "is not installed, and" in done.stderr and "hint: `pip install mvc-codec`" in done.stderr
    assert "mambavc-lite" in run("mvc", "models").stdout
    done = run("mvc", "doctor")
    assert done.returncode == 1 and "torch  FAILED" in done.stdout


def test_with_numba_all_that_is_lossless_works(run: Run, tmp_path: Path) -> None:
    no_torch = ("torch", "safetensors")
    assert run("mvc", "encode", "a.png", "--lossless", without=no_torch).returncode == 0
    assert run("mvc", "decode", "a.mvc", "-o", "back.png", without=no_torch).returncode == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "back.png")), SAMPLES)
    assert run("mvc", "verify", "a.mvc", without=no_torch).returncode == 0
    done = run("mvc", "decode", "network.mvc", without=no_torch)
    assert done.returncode == 1 and "torch is not installed, and networks need it" in done.stderr, done.stderr


def test_view_shows_what_there_is(run: Run) -> None:
    done = run(
        "import json\n"
        "from mvc.cli.info import lines_of\n"
        "from mvc.cli.loading import codec_loader\n"
        "from mvc.cli.options import Device\n"
        "from mvc.opening import reader_of\n"
        "from mvc.stored import Stored\n"
        "from mvc.view.library import Library\n"
        "from mvc.view.pictures import Pictures\n"
        "from mvc.view.routes import Routes\n"
        "load = codec_loader(Device.auto, None)\n"
        "library = Library([('thumb.mvc', 'a'), ('network.mvc', 'b')], lambda p: reader_of(Stored(p), load))\n"
        "routes = Routes(library, Pictures(library, load), lines_of, told=print)\n"
        "for path in ('files/0', 'files/1', 'files/0/thumbnail', 'files/1/blocks/1/0/0/0/faithful', 'files/1/bits'):\n"
        "    answer = routes.answer(path.split('/'))\n"
        "    print(answer.status, answer.type, json.loads(answer.body).get('error') if answer.status > 200 else '')\n"
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["200", "200", "200", "501", "501"], done.stdout + done.stderr
    assert all("is not installed, and" in line for line in lines[3:])


def test_the_checksum_alone_is_not_compared_with_a_picture(run: Run) -> None:
    done = run("mvc", "verify", "exact.mvc", "--checksum", "--against", "a.png")
    assert done.returncode == 2 and "--checksum" in done.stderr
