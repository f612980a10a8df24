"""Pictures and files by URL: the stores that fsspec has of its own, what is missing, and that local files need none."""

from __future__ import annotations

import builtins
import http.server
import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import SAMPLES, fails, pixels, run
from fake_codec import FakeCodec
from PIL import Image

import mvc
from mvc import files, urls
from mvc.errors import BackendError, MvcError, SourceError

fsspec: Any = pytest.importorskip("fsspec")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with k.png in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(SAMPLES).save("k.png")
    return tmp_path


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's memory, with pictures in it and nothing else."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    buffer = io.BytesIO()
    Image.fromarray(SAMPLES).save(buffer, "PNG")
    for name in ("/in/a.png", "/in/deep/b.PNG", "/in/.hidden/c.png", "/in/notes.txt"):
        store.pipe_file(name, buffer.getvalue())
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("s3://bucket/a.png", True),
        ("memory://a", True),
        ("zip://a.png::b.zip", True),
        ("simplecache::https://host/a.png", True),
        ("k.png", False),
        ("a:b.png", False),
        ("/a//b", False),
        ("./s3://b", False),
        ("C://temp/a.png", False),
        ("-", False),
        (Path("s3://b"), False),
    ],
)
def test_what_a_url_is(name: Any, wanted: bool) -> None:
    assert urls.is_url(name) is wanted


def test_folders_of_a_store_there_and_back(codec: FakeCodec, folder: Path, memory: Any) -> None:
    result = run("encode", "memory://in", "-o", "memory://coded", "--report", "r.csv")
    assert result.exit_code == 0, result.output
    assert memory.find("/coded") == ["/coded/a.mvc", "/coded/deep/b.mvc"]
    assert "memory://in/deep/b.PNG -> memory://coded/deep/b.mvc: 9x6, " in result.stderr
    assert run("decode", "memory://coded", "-o", "back").exit_code == 0  # from there to here
    assert np.array_equal(pixels(folder / "back" / "deep" / "b.png"), SAMPLES)
    assert run("encode", "k.png", "-o", "memory://coded/k.mvc").exit_code == 0  # and the other way
    assert run("decode", "memory://coded/k.mvc", "-o", "memory://coded/").exit_code == 0
    assert np.array_equal(pixels(memory.cat("/coded/k.png")), SAMPLES)
    assert run("encode", "memory://in/a.png").exit_code == 0  # beside it
    assert memory.exists("/in/a.mvc")


def test_nothing_of_a_store_is_overwritten_unless_asked_for(codec: FakeCodec, folder: Path, memory: Any) -> None:
    memory.pipe_file("/coded/a.mvc", b"precious")
    result = run("encode", "memory://in", "-o", "memory://coded/")
    fails(result, 1, "error: memory://in/a.png: memory://coded/a.mvc already exists", "1 of 2 files done, 1 failed")
    result = run("encode", "memory://in", "-o", "memory://coded/", "--resume")
    fails(result, 1, "a.mvc is there, and not whole: ", "b.PNG: skipped, memory://coded/deep/b.mvc is there and whole")
    assert memory.cat("/coded/a.mvc") == b"precious"
    assert run("encode", "memory://in", "-o", "memory://coded/", "--resume", "-f").exit_code == 0
    fails(run("encode", "memory://in/a.png", "-f", "-o", "memory://in/a.png"), 2, "overwritten by its own result")
    fails(run("encode", "memory://empty", "-o", "x"), 1, "cannot read memory://empty: no such file")
    memory.pipe_file("/other/a.txt", b"")
    fails(run("encode", "memory://other", "-o", "x"), 1, "memory://other holds no pictures")


def test_what_is_in_an_archive(codec: FakeCodec, folder: Path) -> None:
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in ("x/a.png", "x/y/b.png", "z.png"):
            archive.write("k.png", name)
    assert run("encode", "zip://x::photos.zip", "-o", "out").exit_code == 0
    assert sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.mvc")) == ["a.mvc", "y/b.mvc"]
    assert run("encode", "zip://z.png::photos.zip", "-o", "z.mvc").exit_code == 0
    assert (folder / "z.mvc").read_bytes() == (folder / "out" / "a.mvc").read_bytes()
    fails(run("encode", "k.png", "-o", "zip://k.mvc::photos.zip"), 1, "it is a chain of URLs")


def test_files_are_written_whole_or_not_at_all(folder: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"file://{folder}/new/k.bin"
    files.write_atomic(url, b"whole")
    assert (folder / "new" / "k.bin").read_bytes() == b"whole"
    with pytest.raises(MvcError, match=r"k\.bin already exists"):
        files.write_atomic(url, b"other")
    files.write_atomic(url, b"other", force=True)

    from fsspec.implementations.local import LocalFileOpener

    def full(self: Any, data: bytes) -> int:
        self.f.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFileOpener, "write", full, raising=False)
    for name, kept in ((url, b"other"), (f"file://{folder}/new/l.bin", None)):
        with pytest.raises(MvcError, match=f"cannot write {name}: .*No space left"):
            files.write_atomic(name, b"whole", force=True)
        path = folder / "new" / name.rpartition("/")[2]
        assert (path.read_bytes() if path.exists() else None) == kept
    monkeypatch.undo()
    files.write_atomic(url, b"again", force=True)  # the store is as it was
    assert (folder / "new" / "k.bin").read_bytes() == b"again"


def test_python_functions_take_urls(codec: FakeCodec, folder: Path, memory: Any) -> None:
    data = mvc.encode("memory://in/a.png")
    memory.pipe_file("/a.mvc", data)
    assert np.array_equal(mvc.decode("memory://a.mvc").samples, SAMPLES)
    assert mvc.info("memory://a.mvc") == mvc.info(data) and mvc.thumbnail("memory://a.mvc") is None
    assert mvc.read_picture("memory://in/a.png").picture.width == 9
    with mvc.open("memory://a.mvc") as file:
        assert file.kind == "still" and file.name == "memory://a.mvc" and file.size == (9, 6)
        assert np.array_equal(file.read(region=(1, 2, 3, 4)).samples, SAMPLES[2:6, 1:4])
    for action in (mvc.open, mvc.decode, mvc.info, mvc.encode):
        with pytest.raises(SourceError, match=r"cannot read memory://none\.mvc: no such file"):
            action("memory://none.mvc")
    with pytest.raises(SourceError, match="is a URL, and what is to be read here is a local file"):
        mvc.encode_video("memory://in/a.png", "b.mvc")
    run("encode", "memory://in/a.png", "-o", "here.mvc")
    assert run("verify", "memory://a.mvc").stdout.startswith("memory://a.mvc: ok, 9x6")
    assert run("info", "memory://a.mvc").stdout.startswith("memory://a.mvc: 9x6")


def test_a_server(codec: FakeCodec, folder: Path) -> None:
    """One that knows nothing of ranges: the file is read from its front."""
    pytest.importorskip("aiohttp")
    run("encode", "k.png")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        with mvc.open(f"{base}/k.mvc") as file:
            assert np.array_equal(file.read().samples, SAMPLES)
        assert run("encode", f"{base}/k.png?size=full", "-o", "out/").exit_code == 0
        assert (folder / "out" / "k.mvc").is_file()
        with pytest.raises(SourceError, match=r"cannot read http://.*none\.mvc"):
            mvc.open(f"{base}/none.mvc")
        server.shutdown()


@pytest.mark.parametrize("url", ["s3://bucket/k.png", "sftp://host/k.png", "nonsense://k.png"])
def test_stores_that_are_not_installed(codec: FakeCodec, folder: Path, url: str) -> None:
    package = {"s3": "s3fs", "sftp": "paramiko"}.get(url.partition(":")[0])
    if package and package in sys.modules:
        pytest.skip(f"{package} is installed")
    words = (package, "hint: install the package") if package else ("nonsense",)
    fails(run("encode", url, "-o", "x.mvc"), 1, f"error: cannot read {url}: ", *words)


def test_without_fsspec(codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *others: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "fsspec":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *others, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    words = "memory://a.png is a URL, and fsspec", "is not installed", "hint: pip install 'mvc-codec[fsspec]'"
    fails(run("encode", "memory://a.png", "-o", "x.mvc"), 1, *words)
    fails(run("encode", "k.png", "-o", "memory://x/"), 1, "fsspec, which reads those, is not installed")
    with pytest.raises(BackendError, match="fsspec"):
        mvc.open("memory://a.mvc")
    assert run("encode", "k.png", "-o", "deep/k.mvc").exit_code == 1  # no such folder: a local file needs no fsspec
    assert run("encode", "k.png", "-o", "deep/").exit_code == 0
