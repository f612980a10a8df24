"""Files: found by one list of suffixes, read with a bound, written so that neither a race nor a signal loses any."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mvc
from mvc import files, media
from mvc.container import whole
from mvc.errors import Limit, MvcError, NotMvc, SourceError
from mvc.files import atomic, identity, write_atomic

ROOT = Path(mvc.__file__).parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(code: int) -> Callable[..., Any]:
    """A function of `os` that the file system refuses."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without (FAT, some shares)."""
    if not request.param:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))


# Writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("links")
def test_a_file_that_appears_while_ours_is_written_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "k.mvc"
    with pytest.raises(MvcError, match="already exists"), atomic(path) as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["k.mvc"]


@pytest.mark.usefixtures("links")
def test_of_many_writers_of_one_name_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "k.mvc"
    together = threading.Barrier(8)
    won: list[bytes] = []

    def write(data: bytes) -> None:
        try:
            with atomic(path) as file:
                file.write(data)
                together.wait()
            won.append(data)
        except MvcError as error:
            assert "already exists" in str(error)

    threads = [threading.Thread(target=write, args=(bytes([i]) * 1000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert path.read_bytes() == won[0]
    assert names(tmp_path) == ["k.mvc"]


def test_a_name_that_was_taken_for_nothing_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(MvcError, match="cannot write"):
        write_atomic(tmp_path / "k.mvc", b"new")
    assert names(tmp_path) == []


def test_a_link_to_nothing_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "k.mvc"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(MvcError, match="a link to a file that does not exist"):
        write_atomic(link, b"new")
    assert link.is_symlink()
    write_atomic(link, b"new", force=True)
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert names(tmp_path) == ["k.mvc"]


def test_a_link_to_nothing_that_appears_late_is_not_followed_either(tmp_path: Path) -> None:
    link = tmp_path / "k.mvc"
    with pytest.raises(MvcError, match="already exists"), atomic(link) as file:
        file.write(b"ours")
        link.symlink_to(tmp_path / "nowhere")
    assert names(tmp_path) == ["k.mvc"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444, 0o000])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_temporary_file_is_as_private_as_the_one_it_replaces(tmp_path: Path, mode: int, umask: int) -> None:
    path = tmp_path / "k.mvc"
    path.write_bytes(b"old")
    path.chmod(mode)
    before = os.umask(umask)
    try:
        with atomic(path, force=True) as file:
            (temporary,) = (entry for entry in tmp_path.iterdir() if entry != path)
            assert temporary.stat().st_mode & 0o777 == mode
            file.write(b"new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    path.chmod(0o600)
    assert path.read_bytes() == b"new"


def test_a_temporary_file_is_created_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not made first and closed afterwards: what is open already stays readable."""
    path = tmp_path / "k.mvc"
    path.write_bytes(b"old")
    path.chmod(0o600)
    monkeypatch.setattr(os, "fchmod", lambda number, mode: None)
    before = os.umask(0)
    try:
        write_atomic(path, b"new", force=True)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_file_has_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "k.mvc", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "k.mvc").stat().st_mode & 0o777 == 0o640


WRITER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup's do with this one
from mvc.files import atomic
with atomic(sys.argv[1], force=True) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_leaves_the_old_file_and_no_other(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "k.mvc"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(
        command, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(names(tmp_path)) == 2
        process.send_signal(number)
    assert process.returncode == -number  # it ended as the signal says, not by an exit code of ours
    assert names(tmp_path) == ["k.mvc"]
    assert path.read_bytes() == b"old"


def test_handlers_of_signals_are_ours_only_while_we_write(tmp_path: Path) -> None:
    def own(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGHUP, own)
    try:
        with atomic(tmp_path / "outer"), atomic(tmp_path / "inner"):
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, own)
            assert signal.getsignal(signal.SIGHUP) is own
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is own
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with atomic(tmp_path / "third"):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


@pytest.mark.parametrize("force", [False, True])
def test_the_bytes_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    steps = []
    for name in ("fsync", "replace", "link"):
        real = getattr(os, name)

        def step(*arguments: Any, name: str = name, real: Callable[..., Any] = real) -> Any:
            folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            steps.append("sync folder" if folder else name)
            return real(*arguments)

        monkeypatch.setattr(os, name, step)
    write_atomic(tmp_path / "k.mvc", b"data", force=force)
    assert steps == ["fsync", "replace" if force else "link", "sync folder"]


def test_a_disk_that_fails_to_sync_is_an_error_and_one_that_cannot_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k.mvc"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(MvcError, match="input/output error"):
        write_atomic(path, b"new", force=True)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["k.mvc"]
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    write_atomic(path, b"new", force=True)
    assert path.read_bytes() == b"new"


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k.mvc"
    with pytest.raises(ZeroDivisionError), atomic(path) as file:
        file.write(b"half")
        _ = 1 / 0
    assert names(tmp_path) == []


def test_pipes_and_open_files_are_written_directly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    write_atomic(f"/dev/fd/{writing}", b"through a pipe")
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"through a pipe"
    with (tmp_path / "log").open("wb") as file:  # `-o /dev/fd/3` of a shell that wrote to 3 before
        file.write(b"before, ")
        file.flush()
        write_atomic(f"/dev/fd/{file.fileno()}", b"after")
    assert (tmp_path / "log").read_bytes() == b"before, after"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_atomic(fifo, b"through a fifo")
    reader.join()
    assert got == [b"through a fifo"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\0b", "null"),
        ("x" * 300, "too long"),
        ("folder", "is a folder"),
        ("file/k.mvc", "not a directory"),
        ("loop", "symbolic links"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_names_that_cannot_be_written(tmp_path: Path, name: str, words: str, force: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(MvcError, match=words):
        write_atomic(tmp_path / name, b"", force=force)
    assert names(tmp_path) == ["file", "folder", "loop"]


def test_checkpoints_are_written_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mvc.train import state

    path = tmp_path / "last.pt"
    state.write(path, {"step": 1})
    old = path.read_bytes()
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    for data in ({"step": 2}, b"packed"):
        with pytest.raises(MvcError, match="no space left"):
            state.write(path, data)
    assert path.read_bytes() == old
    assert names(tmp_path) == ["last.pt"]


def test_nothing_else_writes_files_by_itself() -> None:
    """But for files in temporary folders (`mvc bench`, `metrics --fetch`, clips out of a pipe), a log, URLs, PyAV."""
    writing = re.compile(r"write_bytes|write_text|os\.replace|os\.rename|open\([^)]*[\"'][wxa]b?[\"']")
    package = ROOT / "mvc"
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if writing.search(path.read_text())}
    allowed = {"replacing.py", "files.py", "cli/terminal.py", "evaluate/sweep.py", "train/log.py", "video/decode.py"}
    allowed |= {"evaluate/commands.py", "evaluate/metric_weights.py", "urls.py"}
    assert found <= allowed | {"media/sound.py", "media/video_out.py"}


# Finding and telling apart ---------------------------------------------------------------------------------------


def test_finding_goes_down_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.png", "a/C.JPG", "a/deep/d.webp", "notes.txt", ".trash/e.png", "a/._C.jpg", "x.mvc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = files.find(tmp_path, files.PICTURE_SUFFIXES)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a/C.JPG", "a/deep/d.webp", "b.png"]
    assert files.find(tmp_path, [".mvc"]) == [tmp_path / "x.mvc"]
    assert files.find_pictures([tmp_path / "a", "z.png"]) == [*found[:2], Path("z.png")]
    with pytest.raises(SourceError, match=r"holds no \.mvc files"):
        raise files.no_files(tmp_path, [".mvc"])


def test_a_folder_that_cannot_be_listed_is_told_at_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "k.png").write_bytes(b"")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = files.find(tmp_path, [".png"])
    assert found == [tmp_path / "closed", tmp_path / "k.png"]
    with pytest.raises(SourceError, match="closed: permission denied"):
        files.check_input(found[0])


def test_the_suffixes_are_those_of_the_formats_that_are_read() -> None:
    kinds = {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in media.READABLE}
    with_extras = {".heic", ".heif", ".hif", ".jxl"}
    assert {kinds[suffix] for suffix in {*files.PICTURE_SUFFIXES} - with_extras} == set(media.READABLE)
    assert set(media.WRITABLE) <= set(files.PICTURE_SUFFIXES)


def test_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "k").write_bytes(b"")
    (tmp_path / "soft").symlink_to("k")
    (tmp_path / "way").symlink_to("sub/..")
    os.link("k", "hard")
    for name in ("./k", "sub/../k", "soft", "hard", "way/k", tmp_path / "k"):
        assert identity(name) == identity("k"), name
    for name in ("./new", "sub/../new", "way/new", tmp_path / "new"):
        assert identity(name) == identity("new"), name
    (tmp_path / "nothing").symlink_to("new")
    assert len({identity(name) for name in ("k", "new", "sub/new", "sub/k", "nothing", "sub", "a\0b")}) == 7


# Reading ---------------------------------------------------------------------------------------------------------


def test_what_never_ends_is_read_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MAX_BYTES", 3 << 20)
    with pytest.raises(NotMvc):
        whole.read_mvc("/dev/zero")
    assert files.read_up_to("/dev/zero", 2_500_000) == bytes(2_500_000)


def test_pipes_are_read_whole() -> None:
    data = os.urandom(300_000)
    reading, writing = os.pipe()

    def fill() -> None:
        with open(writing, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=fill)
    thread.start()
    assert files.is_stream(f"/dev/fd/{reading}")
    assert files.read_up_to(f"/dev/fd/{reading}", 1 << 20) == data
    thread.join()
    os.close(reading)


def test_kinds_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"\x93MVC damaged")
    (tmp_path / "b").write_bytes(b"\x89PNG")
    assert whole.is_mvc(tmp_path / "a") is True
    assert whole.is_mvc(tmp_path / "b") is False
    assert whole.is_mvc(tmp_path) is whole.is_mvc("/dev/null") is whole.is_mvc(tmp_path / "c") is None
    assert not files.is_stream(tmp_path / "a") and not files.is_stream(tmp_path) and files.is_stream("/dev/null")
    monkeypatch.setattr(whole, "MAX_BYTES", 1 << 20)
    with pytest.raises(Limit):
        whole.bounded(mvc_start() + bytes(whole.MAX_BYTES), name="long")


def mvc_start() -> bytes:
    from mvc.container import Head, Unit, write_file

    return write_file(Head("still", 8, 8, "rgb", 8, 0, bytes(8)), [Unit("picture", 0, None, (b"",))])
