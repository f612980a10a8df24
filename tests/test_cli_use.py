"""The command line as people type it: no input is ever lost, pipes of every kind, folders, batches, odd names."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import SAMPLES, fails, pixels, run
from fake_codec import FakeCodec
from PIL import Image

import mvc
from mvc import files
from mvc.cli import options, parts, terminal
from mvc.cli.progress import Progress
from mvc.container import whole
from mvc.errors import BackendError, WeightsError
from mvc.picture import Picture

TESTS = Path(__file__).parent
CHILD = "import fake_codec, pytest; fake_codec.install(pytest.MonkeyPatch())\nfrom mvc.cli import main\nmain()"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with k.png in it, and a folder."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(SAMPLES).save("k.png")
    (tmp_path / "sub").mkdir()
    return tmp_path


def shell(script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a bash script in which `mvc` is the command with the fake codec."""
    function = f"mvc() {{ {sys.executable} -c '{CHILD}' \"$@\"; }}\n"
    paths = os.pathsep.join([str(TESTS), str(Path(mvc.__file__).parents[1])])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": paths}
    return subprocess.run(["bash", "-c", function + script], env=environment, capture_output=True, timeout=120)


def pictures(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(SAMPLES).save(name)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# no input is lost ------------------------------------------------------------------------------------------------


def link(target: str) -> Callable[[str], None]:
    return lambda name: os.symlink(target, name)


WAYS: list[tuple[str, Callable[[str], Any]]] = [
    ("own", lambda name: None),
    ("./own", lambda name: None),
    ("sub/../own", lambda name: None),
    ("way/../own", lambda name: os.symlink("sub", "way")),
    ("soft.mvc", link("own")),
    ("twice.mvc", lambda name: (os.symlink("own", "once"), os.symlink("once", name))),
    ("hard.mvc", lambda name: os.link("own", name)),
    ("here/own", lambda name: os.symlink(".", "here")),
]


@pytest.mark.parametrize(("output", "make"), WAYS, ids=[output for output, _ in WAYS])
@pytest.mark.parametrize("source", ["own", "other"])
def test_no_result_replaces_its_source(
    codec: FakeCodec, folder: Path, output: str, make: Callable[[str], Any], source: str
) -> None:
    (folder / "k.png").rename(folder / "own")
    (folder / "other").symlink_to("own")  # the source by another name
    before = (folder / "own").read_bytes()
    make(output)
    fails(run("encode", source, "-o", output, "-f"), 2, f"error: {source} would be overwritten by its own result")
    assert (folder / "own").read_bytes() == before
    assert codec.calls == []


def test_no_picture_replaces_the_file_it_came_from(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    before = (folder / "k.mvc").read_bytes()
    for name in ("l.png", "sub/l.webp"):
        (folder / name).symlink_to(folder / "k.mvc")
        fails(run("decode", "k.mvc", "-o", name, "-f"), 2, "would be overwritten by its own result")
    (folder / "sub" / "k.png").symlink_to(folder / "k.mvc")
    fails(run("decode", "k.mvc", "-o", "sub", "-f"), 2, "would be overwritten by its own result")
    assert (folder / "k.mvc").read_bytes() == before


def test_no_result_replaces_another_input(codec: FakeCodec, folder: Path) -> None:
    pictures("a.png", "b.png")
    (folder / "a.mvc").symlink_to("b.png")
    result = run("encode", "a.png", "b.png", "-f")
    fails(result, 1, "error: a.png: a.mvc would overwrite the input b.png", "1 of 2 files done, 1 failed")
    assert np.array_equal(pixels(folder / "b.png"), SAMPLES)
    assert (folder / "b.mvc").is_file()


@pytest.mark.parametrize("second", ["k.jpg", "sub/../k.jpg", "here/k.jpg", "k.png", "./k.png", "here/k.png"])
def test_two_inputs_never_become_one_output(codec: FakeCodec, folder: Path, second: str) -> None:
    pictures("k.jpg")
    (folder / "here").symlink_to(".")
    fails(run("encode", "k.png", second, "-f"), 2, f"k.png and {second} would both become {Path(second).stem and ''}")
    assert not (folder / "k.mvc").exists()


def test_two_inputs_do_not_become_one_output_on_the_way_either(codec: FakeCodec, folder: Path) -> None:
    """Where A.mvc and a.mvc are one file nothing tells before the first is written; here a link plays that part."""
    pictures("1/a.png", "2/A.png")
    (folder / "out").mkdir()
    (folder / "out" / "A.mvc").symlink_to("a.mvc")
    result = run("encode", "1/a.png", "2/A.png", "-o", "out", "-f")
    fails(result, 1, "error: 2/A.png: out/A.mvc would overwrite the result of 1/a.png")


def test_a_file_that_comes_in_during_the_work_is_kept(
    codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = codec.encode

    def slow(*arguments: Any) -> bytes:
        (folder / "k.mvc").write_bytes(b"precious")
        return real(*arguments)

    monkeypatch.setattr(codec, "encode", slow)
    fails(run("encode", "k.png"), 1, "k.mvc already exists")
    assert (folder / "k.mvc").read_bytes() == b"precious"


@pytest.mark.parametrize("command", ["bench", "analyze", "import-weights"])
def test_other_commands_keep_their_inputs_too(folder: Path, command: str) -> None:
    before = (folder / "k.png").read_bytes()
    (folder / "erf.png").symlink_to("k.png")
    arguments = {
        "bench": ["k.png", "--json", "sub/../k.png", "-f"],
        "analyze": ["k.png", "-o", ".", "--only", "erf", "--format", "png", "-f"],
        "import-weights": ["k.png", "-o", "erf.png", "-f"],
    }
    fails(run(command, *arguments[command]), 2, "k.png would be overwritten by the result")
    assert (folder / "k.png").read_bytes() == before


# pipes and streams -----------------------------------------------------------------------------------------------


def test_pipes_of_the_shell(folder: Path) -> None:
    done = shell(
        """
        mvc encode <(cat k.png) -o a.mvc || exit 1
        mkfifo pipe; cat k.png > pipe & mvc encode pipe -o b.mvc || exit 2
        cat k.png | mvc encode /dev/stdin -o c.mvc || exit 3
        mvc encode k.png -o /dev/stdout --stats json | cat > d.mvc || exit 4
        mvc encode k.png -o >(cat > e.mvc; touch done) || exit 5
        while ! test -e done; do sleep 0.05; done
        cat e.mvc | mvc decode - -o >(cat > back.png; touch done2) || exit 6
        while ! test -e done2; do sleep 0.05; done
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    first = (folder / "a.mvc").read_bytes()
    assert mvc.info(first)["width"] == 9
    assert [(folder / f"{name}.mvc").read_bytes() == first for name in "bcde"] == [True] * 4
    assert np.array_equal(pixels(folder / "back.png"), SAMPLES)


def test_streams_that_were_closed(folder: Path) -> None:
    done = shell(
        """
        mvc encode k.png 2>&- ; echo $?
        mvc decode k.mvc -o back.png 1>&- ; echo $?
        mvc encode - <&- ; echo $?
        mvc encode k.png -o - 1>&- ; echo $?
        mvc info k.mvc 1>&- ; echo $?
        mvc info k.mvc 1>/dev/full ; echo $?
        mvc encode k.png -o x.mvc <&- 1>&- 2>&- ; echo $?
        """
    )
    assert done.stdout.split() == b"0 0 1 1 1 1 0".split(), done.stderr
    errors = [line for line in done.stderr.decode().splitlines() if not line.startswith("k.mvc -> ")]
    assert errors == [
        "error: cannot read <stdin>: bad file descriptor",
        "error: cannot write to stdout: bad file descriptor",
        "error: cannot write to stdout: bad file descriptor",
        "error: cannot write to stdout: no space left on device",
    ]
    assert (folder / "x.mvc").read_bytes() == (folder / "k.mvc").read_bytes()


def test_a_source_on_stdin_or_stdout_is_kept(folder: Path) -> None:
    before = (folder / "k.png").read_bytes()
    done = shell("mvc encode - -f -o k.png <k.png; echo $?; mvc encode k.png -o - 1<>k.png; echo $? >&2")
    assert done.stdout.split() == [b"2"]
    assert done.stderr.count(b"would be overwritten by its own result") == 2
    assert done.stderr.split()[-1] == b"2"
    assert (folder / "k.png").read_bytes() == before


def test_pipes_are_bounded(codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_PIPED_BYTES", 2 << 20)
    monkeypatch.setattr(whole, "MAX_BYTES", 1 << 20)
    hint = "hint: name a file"
    fails(run("encode", "-", stdin=bytes(3 << 20)), 1, "error: <stdin> gives more than 2 MiB", hint)
    fails(run("encode", "/dev/zero", "-o", "z.mvc"), 1, "error: /dev/zero gives more than 2 MiB")
    fails(run("info", "-", stdin=bytes(2 << 20)), 1, "error: <stdin>: not an mvc file")
    run("encode", "k.png")
    fails(run("decode", "-", stdin=(folder / "k.mvc").read_bytes() + bytes(1 << 20)), 1, "larger than 1 MiB")


# what people type ------------------------------------------------------------------------------------------------


def test_input_and_output_without_o(codec: FakeCodec, folder: Path) -> None:
    assert run("encode", "k.png", "new.mvc").exit_code == 0
    assert run("decode", "new.mvc", "back.png").exit_code == 0
    assert np.array_equal(pixels(folder / "back.png"), SAMPLES)
    coded = (folder / "new.mvc").read_bytes()
    assert run("decode", "-", "piped.ppm", stdin=coded).exit_code == 0
    assert np.array_equal(pixels(folder / "piped.ppm"), SAMPLES)
    assert run("encode", "k.png", "place/").exit_code == 0
    assert (folder / "place" / "k.mvc").read_bytes() == coded


def test_a_second_name_that_exists_is_not_overwritten_unless_by_o(codec: FakeCodec, folder: Path) -> None:
    """`mvc encode -f *` in a folder with one picture and one file is typed like that, too."""
    (folder / "old one.mvc").write_bytes(b"precious")
    run("encode", "k.png")
    for flags in ([], ["-f"]):
        hint = "hint: `mvc encode k.png -o 'old one.mvc' -f` overwrites it"
        fails(run("encode", "k.png", "old one.mvc", *flags), 2, "error: old one.mvc exists", hint)
        fails(run("decode", "k.mvc", "k.png", *flags), 2, "k.png exists", "`mvc decode k.mvc -o k.png -f`")
    assert (folder / "old one.mvc").read_bytes() == b"precious"


def test_three_names_without_o(codec: FakeCodec, folder: Path) -> None:
    pictures("a.png")
    fails(run("encode", "k.png", "a.png", "both.mvc"), 2, "both.mvc does not exist", "-o")
    fails(run("encode", "k.png", "a.png", "place/"), 2, "place/ does not exist", "-o")
    assert codec.calls == []


def test_files_of_the_wrong_kind_are_told_as_such(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    codec.calls.clear()
    hints = "hint: `mvc decode` turns it into a picture", "hint: `mvc encode` turns a picture into one"
    for flags in ([], ["-f"], ["-o", "x.mvc"]):
        fails(run("encode", "k.mvc", *flags), 1, "error: k.mvc is an .mvc file already", hints[0])
    for flags in ([], ["-f"], ["-o", "x.png"]):
        fails(run("decode", "k.png", *flags), 1, "error: k.png is not an mvc file", hints[1])
    assert codec.calls == []
    pictures("a.png", "b.png")
    result = run("encode", "a.png", "b.png", "k.mvc", "-f")  # as `*` gives them: the pictures are encoded
    fails(result, 1, "error: k.mvc is an .mvc file already", "2 of 3 files done, 1 failed")


def test_an_mvc_file_is_not_named_like_a_picture(codec: FakeCodec, folder: Path) -> None:
    fails(run("encode", "k.png", "-o", "sub/weird.JPG"), 2, "named like a picture", "hint: write -o sub/weird.mvc")
    assert run("encode", "k.png", "-o", "no-extension").exit_code == 0
    (folder / "folder.png").mkdir()
    assert run("encode", "k.png", "-o", "folder.png").exit_code == 0
    assert (folder / "folder.png" / "k.mvc").is_file()


def test_hints_name_the_command(codec: FakeCodec, folder: Path) -> None:
    fails(run("decode", "k.mvc", "k.mvc"), 2, "hint: `mvc decode --help` shows the usage")
    fails(run("verify", "--threads", "0", "k.mvc"), 2, "hint: `mvc verify --help` shows the usage")
    fails(run("encode", "k.png", "-q", "75"), 2, "quality must be 1 to 8, not 75", "hint: 1 is small", "no JPEG scale")
    fails(run("encode", "k.png", "-quality", "4"), 2, "hint: write --quality, with two dashes")
    fails(run("encode", "k.png", "-effort=2"), 2, "hint: write --effort, with two dashes")


def test_help_and_version_by_all_their_names() -> None:
    for arguments in (["-h"], ["help"], ["--help"]):
        assert "encode" in run(*arguments).stdout
    for arguments in (["encode", "-h"], ["help", "encode"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "--resume" in result.stdout
    assert run("-V").stdout == run("--version").stdout == f"mvc {mvc.__version__}\n"


def test_threads_are_bounded(codec: FakeCodec, folder: Path) -> None:
    fails(run("encode", "k.png", "--threads", "100000"), 2, "--threads", str(options.MAX_THREADS))
    assert codec.calls == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion_completes(tmp_path: Path) -> None:
    program = tmp_path / "mvc"
    program.write_text(f"#!{sys.executable}\nfrom mvc.cli import main\nmain()\n")
    program.chmod(0o755)
    script = """
        mvc --install-completion > installed || exit 1
        mvc --show-completion > shown || exit 2
        cmp shown <(cat ~/.bash_completions/mvc.sh; echo) && . ~/.bashrc || exit 3
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mvc_completion mvc; echo "${COMPREPLY[@]}"; }
        try mvc deco; try mvc encode --skip; try mvc decode --format p; try mvc encode k
        complete -p mvc
    """
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(mvc.__file__).parents[1]),
    }
    # Not one of bash's own -c tricks: the shell is found by looking at the processes above.
    done = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == ["decode", "--skip-existing", "png ppm", ""]
    assert "-o default" in done.stdout.splitlines()[4]  # where mvc has nothing to say bash completes file names


# folders, formats, many files ------------------------------------------------------------------------------------


def test_folders_there_and_back(codec: FakeCodec, folder: Path) -> None:
    pictures("in/a.png", "in/deep/b.JPG", "in/deep/er/c.webp", "in/.hidden/d.png")
    (folder / "in" / "notes.txt").write_text("no picture")
    result = run("encode", "in", "-o", "coded")
    assert result.exit_code == 0
    assert tree(folder / "coded") == ["a.mvc", "deep/b.mvc", "deep/er/c.mvc"]
    assert result.stderr.splitlines()[-1] == "encoding: 3 of 3 files done"
    assert run("decode", "coded", "-o", "back", "--format", "ppm").exit_code == 0
    assert tree(folder / "back") == ["a.ppm", "deep/b.ppm", "deep/er/c.ppm"]
    assert np.array_equal(pixels(folder / "back" / "a.ppm"), SAMPLES)
    assert run("verify", "coded").stdout.count(": ok, ") == 3
    assert next(call for call in codec.calls if call[0] == "load") == ("load", ("mambavc-lite", "auto", 1))


def test_folders_without_o_keep_results_beside(codec: FakeCodec, folder: Path) -> None:
    pictures("in/a.png", "in/deep/b.png")
    assert run("encode", "in", "k.png").exit_code == 0
    assert (folder / "in" / "deep" / "b.mvc").is_file() and (folder / "k.mvc").is_file()


def test_a_folder_of_one_keeps_its_tree_too(codec: FakeCodec, folder: Path) -> None:
    pictures("in/deep/b.png")
    assert run("encode", "in", "-o", "coded").exit_code == 0
    assert tree(folder / "coded") == ["deep/b.mvc"]
    fails(run("encode", "in", "-o", "-"), 2, "only one input can go to stdout")
    fails(run("encode", "in", "-o", "k.png"), 2, "it must be a folder")


def test_folders_that_hold_nothing_and_pictures_that_collide(codec: FakeCodec, folder: Path) -> None:
    fails(run("encode", "sub"), 1, "error: sub holds no pictures", "hint: names of files must end in .png")
    fails(run("decode", ".", "-o", "x"), 1, "holds no .mvc files")
    pictures("sub/a.png", "sub/a.jpg")
    fails(run("encode", "sub", "-o", "out"), 2, "sub/a.jpg and sub/a.png would both become out/a.mvc")
    assert codec.calls == []


def test_resuming(codec: FakeCodec, folder: Path) -> None:
    pictures("a.png", "b.png", "c.png")
    run("encode", "a.png")
    whole = (folder / "a.mvc").read_bytes()
    (folder / "c.mvc").write_bytes(whole[:-3])
    for option in ("--resume", "--skip-existing"):
        result = run("encode", "a.png", "b.png", "c.png", option)
        words = "a.png: skipped, a.mvc is there and whole\n", "error: c.png: c.mvc is there, and not whole: the file "
        fails(result, 1, *words, "hint: -f with --resume makes those anew", "failed: c.png\n")
        assert (folder / "c.mvc").read_bytes() == whole[:-3]
    assert result.stderr.splitlines()[-1] == "encoding: 0 of 3 files done, 2 skipped, 1 failed"
    codec.calls.clear()
    assert run("encode", "a.png", "b.png", "c.png", "--resume", "-f").exit_code == 0
    assert len([call for call in codec.calls if call[0] == "encode"]) == 1  # of what was not whole
    assert (folder / "c.mvc").read_bytes() == whole
    result = run("encode", "a.png", "b.png")
    fails(result, 1, "a.mvc already exists", "0 of 2 files done, 2 failed")
    assert result.stderr.count("hint: ") == 1  # the same advice once


def test_resuming_of_decoding(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png", "-o", "coded/")
    (folder / "coded" / "l.mvc").write_bytes((folder / "coded" / "k.mvc").read_bytes())
    run("decode", "coded/k.mvc", "-o", "back/")
    (folder / "back" / "l.png").write_bytes((folder / "back" / "k.png").read_bytes()[:-80])
    result = run("decode", "coded", "-o", "back", "--resume")
    fails(result, 1, "coded/k.mvc: skipped, back/k.png is there and whole", "back/l.png is there, and not whole: ")
    assert run("decode", "coded", "-o", "back", "--resume", "-f").exit_code == 0
    assert np.array_equal(pixels(folder / "back" / "l.png"), SAMPLES)


def test_quiet(codec: FakeCodec, folder: Path) -> None:
    Image.fromarray(np.dstack([SAMPLES, SAMPLES[:, :, 0]])).save("alpha.png")
    result = run("encode", "k.png", "alpha.png", "-Q")
    assert (result.exit_code, result.output) == (0, "")
    assert run("verify", "k.mvc", "alpha.mvc", "--quiet").output == ""
    result = run("decode", "k.mvc", "none.mvc", "-o", "out", "--quiet")
    lines = result.stderr.splitlines()
    assert lines == ["error: cannot read none.mvc: no such file or directory", "decoding: 1 of 2 files done, 1 failed"]
    assert "k.png -> k.mvc" in run("encode", "k.png", "-f").stderr  # quiet for one run only


def test_formats_and_their_quality(codec: FakeCodec, folder: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save("a.png")
    run("encode", "a.png", "k.png")
    assert run("decode", "a.mvc", "k.mvc", "-o", "many", "--format", "jpg").exit_code == 0
    assert tree(folder / "many") == ["a.jpg", "k.jpg"]
    for name, quality in (("fine.jpg", "98"), ("coarse.jpg", "20"), ("coarse.webp", "20")):
        assert run("decode", "a.mvc", "-o", name, "--quality", quality).exit_code == 0
    size = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert size["coarse.jpg"] < (folder / "many" / "a.jpg").stat().st_size < size["fine.jpg"]
    assert run("decode", "a.mvc", "-o", "whole.webp").exit_code == 0
    assert size["coarse.webp"] < (folder / "whole.webp").stat().st_size
    streamed = run("decode", "a.mvc", "-o", "-", "--format", "webp").stdout_bytes
    assert Image.open(io.BytesIO(streamed)).format == "WEBP"
    codec.calls.clear()
    words = "--quality is for jpg, webp and avif", "--format jpg"
    fails(run("decode", "a.mvc", "-o", "x.png", "--quality", "50"), 2, *words)
    fails(run("decode", "a.mvc", "-o", "x.png", "--format", "jpg"), 2, "exclude each other")
    fails(run("decode", "a.mvc", "-o", "x.jpg", "--quality", "0"), 2, "--quality")
    assert codec.calls == []


def test_every_format_that_can_be_asked_for_can_be_written(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    for form in options.Format:
        assert run("decode", "k.mvc", "-o", "out/", "--format", form.value).exit_code == 0
        assert pixels(folder / "out" / f"k.{form.value}").shape == SAMPLES.shape


def test_info_of_many(codec: FakeCodec, folder: Path) -> None:
    pictures("a.png")
    run("encode", "k.png", "a.png")
    result = run("info", "k.mvc", "a.mvc", "none.mvc")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines() if "bits per pixel" in line] == ["k.mvc", "a.mvc"]
    assert "error: cannot read none.mvc" in result.stderr
    rows = [json.loads(line) for line in run("info", "--json", ".").stdout.splitlines()]
    assert [row.pop("file") for row in rows] == ["a.mvc", "k.mvc"]
    assert [(row.pop("looks")[0], row.pop("model")) for row in rows] == [("faithful", None)] * 2
    assert rows[1] == mvc.info("k.mvc")


# batches ---------------------------------------------------------------------------------------------------------


def out_of_memory() -> Exception:
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (out_of_memory(), "error: b.png: out of memory"),
        (MemoryError(), "error: b.png: out of memory"),
        (ZeroDivisionError("oops"), "error: b.png: internal error: ZeroDivisionError: oops"),
        (RuntimeError("two\nlines"), "error: b.png: internal error: RuntimeError: two lines"),
        (OSError(28, "No space left on device"), "error: b.png: [Errno 28] No space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_happens_to_one_file_the_others_go_on(
    codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    pictures("a.png", "c.png")
    Image.fromarray(SAMPLES[:5]).save("b.png")
    real = codec.encode

    def encode(picture: Picture, *arguments: Any) -> bytes:
        if picture.height == 5:
            raise error
        return real(picture, *arguments)

    monkeypatch.setattr(codec, "encode", encode)
    result = run("encode", "a.png", "b.png", "c.png")
    fails(result, 1, words, "encoding: 2 of 3 files done, 1 failed")
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1
    assert (folder / "a.mvc").is_file() and (folder / "c.mvc").is_file() and not (folder / "b.mvc").exists()


@pytest.mark.parametrize("error", [WeightsError("no such model"), BackendError("no such device")])
def test_what_every_file_would_fail_by_ends_a_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_: object) -> None:
        raise error

    pictures("a.png")
    monkeypatch.setattr(parts, "codec_loader", lambda *_: load)
    result = run("encode", "a.png", "k.png")
    fails(result, 1, f"error: {error}")
    assert result.stderr.count("error: ") == 1


# limits of whoever decodes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["decode", "verify", "info"])
def test_limits_are_kept_before_any_weights_are_loaded(codec: FakeCodec, folder: Path, command: str) -> None:
    run("encode", "k.png")  # 9x6
    codec.calls.clear()
    more = ["-o", "x.ppm"] if command == "decode" else []
    fails(run(command, "k.mvc", *more, "--max-pixels", "53"), 1, "error: k.mvc: ", "9x6, 54 pixels", "at most 53")
    fails(run(command, "k.mvc", *more, "--max-memory", "1kB"), 1, "error: k.mvc: ", "9x6", "allowed")
    for option, text in (("--max-pixels", "many"), ("--max-pixels", "0"), ("--max-memory", "5 apples")):
        fails(run(command, "k.mvc", *more, option, text), 2, f"error: {option} {text}: not a")
    assert codec.calls == []
    assert run(command, "k.mvc", *more, "--max-pixels", "54", "--max-memory", "2GB").exit_code == 0


@pytest.mark.parametrize(("text", "pixels"), [("54", 54), ("100M", 10**8), ("1.5k", 1500), ("2G", 2 * 10**9)])
def test_numbers_of_pixels(text: str, pixels: int) -> None:
    assert options.parse_pixels(text) == pixels


# names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("k\x1b[31mred", r"k\x1b[31mred"),
        ("two\nlines", r"two\nlines"),
        ("bell\x07\r", r"bell\x07\r"),
        ("lat\udce9", r"lat\xe9"),
        ("csi\x9b31m", r"csi\x9b31m"),
        ("turned\u202egnp", r"turned\u202egnp"),
        ("line\u2028end", r"line\u2028end"),
        ("日本 ü 👩\u200d👧", "日本 ü 👩\u200d👧"),
    ],
)
def test_names_do_nothing_to_a_terminal(codec: FakeCodec, folder: Path, name: str, shown: str) -> None:
    pictures(f"{name}.png")
    result = run("encode", f"{name}.png")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"{shown}.png -> {shown}.mvc: 9x6")
    assert run("verify", f"{name}.mvc").stdout.startswith(f"{shown}.mvc: ok, ")
    assert run("info", f"{name}.mvc").stdout.startswith(f"{shown}.mvc: 9x6")
    assert json.loads(run("decode", f"{name}.mvc", "-f", "--stats", "json").stdout)["input"] == f"{name}.mvc"
    fails(run("encode", f"{name}.gone"), 1, f"error: cannot read {shown}.gone: no such file")
    debug = run("encode", f"{name}.gone", "--debug").stderr
    assert "Traceback" in debug and (shown == name or "\n" in name or name not in debug)


def test_a_stream_without_the_letters_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
        terminal.note("日.png") if stream == "stderr" else Progress("reading", 1).data("日.png")
        assert raw.getvalue() == rb"\u65e5.png" + b"\n"


# anything at all -------------------------------------------------------------------------------------------------

NAMES = ("a.png", "b.jpg", "a.mvc", "b.mvc", "c", "d/a.png", "d/a.mvc", "d/e/b.png", "x.ppm", ".h.png")


def random_tree(rng: np.random.Generator, picture: bytes, coded: bytes) -> None:
    """Pictures, .mvc files, other files and links of all kinds among them, some to nothing or to each other."""
    os.makedirs("d/e")
    for name in rng.permutation(NAMES):
        match rng.integers(0, 10):
            case 0 | 1 | 2 | 3:
                Path(name).write_bytes(coded if name.endswith(".mvc") else picture)
            case 4 | 5:
                Path(name).symlink_to(Path(str(rng.choice(NAMES))).absolute())
            case 6 if Path(other := str(rng.choice(NAMES))).is_file() and not os.path.lexists(name):
                os.link(other, name)
            case 7:
                Path(name).write_bytes(b"something else")
    if rng.random() < 0.5:
        os.symlink(".", "d/loop")


def contents() -> dict[str, bytes]:
    """Every name below the working folder that leads to a file, with what is in it."""
    paths = (Path(folder, name) for folder, _, names in os.walk(".") for name in names)
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_typed_no_input_is_lost_and_nothing_without_f(codec: FakeCodec, folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    run("encode", "k.png")
    picture, coded = (folder / "k.png").read_bytes(), (folder / "k.mvc").read_bytes()
    (folder / "work").mkdir()
    os.chdir("work")
    random_tree(rng, picture, coded)
    prefixes = ("", "./", "d/../", "d/loop/../", f"{os.getcwd()}/")
    command, kind = [("encode", (".png", ".jpg")), ("decode", ".mvc")][seed % 2]
    fitting = [name for name in NAMES if name.endswith(kind) and os.path.exists(name)] or ["c"]
    choices = [*fitting * 4, *NAMES, "d"]
    typed = [str(rng.choice(prefixes)) + str(rng.choice(choices)) for _ in range(rng.integers(1, 4))]
    outputs = [[], ["-o", str(rng.choice(prefixes)) + str(rng.choice([*NAMES, "d", "new", "new/"]))]]
    flags = [["-f"], ["-f"], ["--skip-existing"], []][rng.integers(0, 4)]
    before = contents()
    inputs = {str(path.resolve()) for name in typed for path in ([Path(name)] if Path(name).is_file() else [])}

    result = run(command, *typed, *outputs[rng.integers(0, 2)], *flags)
    after = contents()
    assert "internal error" not in result.stderr
    assert not [name for name in after if ".tmp" in name]
    for name, data in before.items():
        if "-f" not in flags or str(Path(name).resolve()) in inputs:
            assert after[name] == data, (name, result.stderr)
    written = [line for line in result.stderr.splitlines() if " -> " in line and not line.startswith("error")]
    made = {str(Path(line.split(" -> ")[1].split(": ")[0]).resolve()) for line in written}
    assert len(made) == len(written), result.stderr
