"""The command line, around a codec that keeps every sample: files, streams, errors and exit codes."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from command import SAMPLES, Terminal, fails, pixels, run
from fake_codec import FakeCodec
from PIL import Image

import mvc
from mvc.cli import progress as progress_module
from mvc.cli import terminal
from mvc.cli.options import parse_size
from mvc.cli.plan import plan
from mvc.cli.progress import Progress
from mvc.cli.terminal import UsageError
from mvc.models import registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with k.png in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(SAMPLES).save("k.png")
    return tmp_path


# encode and decode --------------------------------------------------------------------------------------


def test_there_and_back(codec: FakeCodec, folder: Path) -> None:
    result = run("encode", "k.png", "-q", "4", "-o", "k.mvc")
    assert result.exit_code == 0
    assert result.stdout == ""  # messages are not data
    assert "k.png -> k.mvc: 9x6" in result.stderr
    assert codec.calls == [("load", ("mambavc-lite", "auto", None)), ("encode", 27)]
    assert run("decode", "k.mvc", "-o", "back.png").exit_code == 0
    assert np.array_equal(pixels(folder / "back.png"), SAMPLES)


def test_default_output_lies_beside_the_input(codec: FakeCodec, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "k.png").rename(folder / "sub" / "my.holiday.png")
    assert run("encode", "sub/my.holiday.png").exit_code == 0
    (folder / "sub" / "my.holiday.png").unlink()
    assert run("decode", "sub/my.holiday.mvc").exit_code == 0
    assert np.array_equal(pixels(folder / "sub" / "my.holiday.png"), SAMPLES)


@pytest.mark.parametrize(
    ("option", "index"), [((), 27), (("-q", "1"), 0), (("-q", "2.5"), 14), (("-q8",), 63)]
)
def test_quality(codec: FakeCodec, folder: Path, option: tuple[str, ...], index: int) -> None:
    assert run("encode", "k.png", *option).exit_code == 0
    assert codec.calls[-1] == ("encode", index)


@pytest.mark.parametrize(
    ("option", "target"),
    [
        (("--bpp", "0.5"), {"bpp": 0.5}),
        (("--size", "50kB"), {"size": 50_000}),
        (("--psnr", "35"), {"psnr": 35.0}),
    ],
)
def test_targets(codec: FakeCodec, folder: Path, option: tuple[str, ...], target: dict[str, float]) -> None:
    assert run("encode", "k.png", *option).exit_code == 0
    assert ("encode_to", target) in codec.calls


def test_model_device_and_threads_reach_the_codec(codec: FakeCodec, folder: Path) -> None:
    assert run("encode", "k.png", "--model", "samic", "--device", "cpu", "--threads", "2").exit_code == 0
    assert codec.calls[0] == ("load", ("samic", "cpu", 2))


def test_several_inputs_load_the_weights_once(codec: FakeCodec, folder: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(SAMPLES).save(name)
    assert run("encode", "a.png", "b.png", "k.png", "-o", "new/out").exit_code == 0
    assert sorted(path.name for path in (folder / "new" / "out").iterdir()) == ["a.mvc", "b.mvc", "k.mvc"]
    assert [call for call in codec.calls if call[0] == "load"] == [("load", ("mambavc-lite", "auto", 1))]
    assert run("decode", "new/out/a.mvc", "new/out/k.mvc", "-o", "back/").exit_code == 0
    assert np.array_equal(pixels(folder / "back" / "k.png"), SAMPLES)


def test_one_bad_input_of_several_does_not_stop_the_others(codec: FakeCodec, folder: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    result = run("encode", "bad.png", "k.png", "-o", "out")
    fails(result, 1, "error: bad.png is not a picture")
    assert (folder / "out" / "k.mvc").is_file()


def test_effort_reaches_the_codec(codec: FakeCodec, folder: Path) -> None:
    for options, effort in (([], mvc.DEFAULT_EFFORT), (["--effort", "0"], 0), (["--effort", "3", "--bpp", "1"], 3)):
        assert run("encode", "k.png", "-f", *options).exit_code == 0
        assert codec.efforts[-1] == effort
    assert run("encode", "k.png", "-f", "--effort", "4").exit_code == 2


def test_streams(codec: FakeCodec, folder: Path) -> None:
    coded = run("encode", "-", stdin=(folder / "k.png").read_bytes())
    assert coded.exit_code == 0
    assert mvc.info(coded.stdout_bytes)["width"] == 9
    decoded = run("decode", "-", "-o", "-", stdin=coded.stdout_bytes)
    assert np.array_equal(pixels(decoded.stdout_bytes), SAMPLES)
    assert run("encode", "-", "-o", "s.mvc", stdin=(folder / "k.png").read_bytes()).exit_code == 0
    assert (folder / "s.mvc").read_bytes() == coded.stdout_bytes


@pytest.mark.parametrize("name", ["k.ppm", "k.webp", "k.tiff", "k.bmp"])
def test_the_extension_picks_the_format(codec: FakeCodec, folder: Path, name: str) -> None:
    run("encode", "k.png")
    assert run("decode", "k.mvc", "-o", name).exit_code == 0
    assert np.array_equal(pixels(folder / name), SAMPLES)


def test_stats_are_one_json_line_per_file(codec: FakeCodec, folder: Path) -> None:
    Image.fromarray(SAMPLES[:, :, 0]).save("gray.png")
    result = run("encode", "k.png", "gray.png", "-o", "out", "--stats", "json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["colour"] for row in rows] == ["rgb", "gray"]
    assert rows[0]["mvc_bytes"] == (folder / "out" / "k.mvc").stat().st_size
    assert rows[0]["bpp"] == pytest.approx(8 * rows[0]["mvc_bytes"] / 54, abs=1e-6)
    assert set(rows[0]["seconds"]) == {"read", "load", "encode", "write"}


def test_stats_do_not_mix_with_a_picture_on_stdout(codec: FakeCodec, folder: Path) -> None:
    result = run("encode", "k.png", "-o", "-", "--stats", "json")
    assert mvc.info(result.stdout_bytes)["height"] == 6
    assert json.loads(result.stderr)["output"] == "<stdout>"


def test_losses_are_warned_about(codec: FakeCodec, folder: Path) -> None:
    Image.fromarray(np.dstack([SAMPLES, SAMPLES[:, :, 0]])).save("alpha.png")
    result = run("encode", "alpha.png")
    assert result.exit_code == 0 and "warning" not in result.stderr
    assert "warning: <stdout>: alpha is dropped" in run("decode", "alpha.mvc", "-o", "-", "--format", "jpg").stderr
    result = run("encode", "alpha.png", "-o", "flat.mvc", "--no-alpha")
    assert result.exit_code == 0
    assert "warning: alpha.png: alpha is dropped" in result.stderr


def test_what_a_model_does_not_have_is_warned_about(codec: FakeCodec, folder: Path) -> None:
    codec.rates, codec.refines = 1, False
    result = run("encode", "k.png", "-q", "5", "--effort", "3", "--model", "samic")
    assert result.exit_code == 0
    assert "warning: samic has one rate: -q changes nothing" in result.stderr
    assert "warning: samic has no efforts: --effort changes nothing" in result.stderr
    assert "warning" not in run("encode", "k.png", "-f").stderr


# what is refused ----------------------------------------------------------------------------------------


def test_existing_files_are_kept_without_force(codec: FakeCodec, folder: Path) -> None:
    (folder / "k.mvc").write_bytes(b"precious")
    fails(run("encode", "k.png"), 1, "error: k.png: k.mvc already exists", "hint: use -f")
    assert (folder / "k.mvc").read_bytes() == b"precious"
    assert codec.calls == []  # refused before any work
    assert run("encode", "k.png", "-f").exit_code == 0
    fails(run("decode", "k.mvc"), 1, "k.png already exists")
    assert run("decode", "k.mvc", "--force").exit_code == 0


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\nrest", b"some text\n" * 50], ids=str)
def test_bad_pictures_are_one_line_and_no_file(codec: FakeCodec, folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / "bad.png").write_bytes(content)
    fails(run("encode", "bad.png"), 1, "bad.png")
    assert not (folder / "bad.mvc").exists()
    assert codec.calls == []


def test_truncated_picture(codec: FakeCodec, folder: Path) -> None:
    data = (folder / "k.png").read_bytes()
    (folder / "k.png").write_bytes(data[: len(data) // 2])
    fails(run("encode", "k.png"), 1, "error: k.png is broken or unsupported")


def test_damaged_mvc_files_are_named_before_anything_is_loaded(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    codec.calls.clear()
    whole = (folder / "k.mvc").read_bytes()
    flipped = bytearray(whole)
    flipped[40] ^= 1
    for name, data, words in (
        ("empty", b"", "error: empty.mvc: "),
        ("cut", whole[:-3], "chunk END"),
        ("flip", bytes(flipped), "checksum"),
        ("text", b"hello world, this is text", "not an mvc file"),
        ("long", whole + b"!", "END"),
    ):
        (folder / f"{name}.mvc").write_bytes(data)
        fails(run("decode", f"{name}.mvc"), 1, f"error: {name}.mvc", words)
        fails(run("verify", f"{name}.mvc"), 1, f"error: {name}.mvc", words)
        assert not (folder / f"{name}.png").exists()
    assert codec.calls == []


def test_unknown_output_format_is_refused_before_decoding(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    codec.calls.clear()
    fails(run("decode", "k.mvc", "-o", "k.xyz"), 1, "no picture format is known for .xyz", "hint: use one of")
    assert codec.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "k.png", "-q", "9"],
        ["encode", "k.png", "-q", "0.5"],
        ["encode", "k.png", "-q", "nan"],
        ["encode", "k.png", "-q", "fine"],
        ["encode", "k.png", "-q", "4", "--bpp", "1"],
        ["encode", "k.png", "--psnr", "30", "--size", "3kB"],
        ["encode", "k.png", "--bpp", "0"],
        ["encode", "k.png", "--psnr", "inf"],
        ["encode", "k.png", "--size", "big"],
        ["encode", "k.png", "--device", "tpu"],
        ["encode", "k.png", "--threads", "0"],
        ["encode", "k.png", "--stats", "xml"],
        ["encode", "k.png", "other.png", "-o", "-"],
        ["encode", "k.png", "other.png", "-o", "k.png"],
        ["encode", "k.png", "sub/k.png", "-o", "out"],
        ["encode", "k.png", "-f", "-o", "k.png"],
        ["encode", "-", "-", "-o", "out"],
        ["encode", "-", "k.png"],
        ["decode", "k.mvc", "--bpp", "1"],
        ["info"],
        ["nonsense"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(codec: FakeCodec, folder: Path, arguments: list[str]) -> None:
    fails(run(*arguments), 2, "hint: ")
    assert codec.calls == []


def test_results_never_go_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(UsageError, match="terminal"):
        plan(["-"], None, ".mvc")


def test_tracebacks_only_with_debug(codec: FakeCodec, folder: Path) -> None:
    assert "Traceback" not in run("encode", "no.png").stderr
    result = run("encode", "no.png", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "error: cannot read no.png" in result.stderr


def test_bugs_are_reported_as_such(codec: FakeCodec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(codec, "encode", broken)
    fails(run("encode", "k.png"), 1, "internal error: ZeroDivisionError: oops", "hint: --debug")
    assert not (folder / "k.mvc").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("12345", 12345), ("50kB", 50_000), ("50k", 50_000), ("1.5MB", 1_500_000), ("64KiB", 65536), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "kB", "-5", "0", "1e3", "5iB", "5 apples", "0.4"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--size"):
        parse_size(text)


# info, verify, doctor -----------------------------------------------------------------------------------


def test_info(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png", "-q", "2")
    text = run("info", "k.mvc").stdout
    assert text.startswith("k.mvc: 9x6, ")
    assert "quality index  9\n" in text
    assert "checksum  right\n" in text
    facts = json.loads(run("info", "k.mvc", "--json").stdout)
    assert facts.pop("looks")[0] == "faithful"  # which is of the installation
    assert facts.pop("model") is None and "model  none that is installed\n" in text
    assert facts == mvc.info("k.mvc") == mvc.info((folder / "k.mvc").read_bytes())
    assert [chunk["name"] for chunk in facts["chunks"]] == ["HEAD", "CODE 0", "END"]
    assert run("info", "-", stdin=(folder / "k.mvc").read_bytes()).stdout.startswith("<stdin>: 9x6")
    fails(run("info", "k.png"), 1, "error: k.png: not an mvc file")


def test_info_starts_quickly_and_without_the_heavy_imports(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    script = (
        "import sys; sys.argv[1:] = ['info', 'k.mvc']\n"
        "from mvc.cli import main\nmain()\n"
        "heavy = {'torch', 'numba', 'numpy', 'PIL', 'typer', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = str(Path(mvc.__file__).parents[1])
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONPATH": root}, capture_output=True, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: what the clock on the wall shows depends on what else the machine is doing.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("k.mvc: 9x6, ")
    assert min(seconds) < 0.2


def test_a_reader_that_goes_away_is_no_traceback(codec: FakeCodec, folder: Path) -> None:
    run("encode", "k.png")
    environment = {"PYTHONPATH": str(Path(mvc.__file__).parents[1])}
    for arguments in (["info", "k.mvc"], ["info", "k.mvc", "--debug"]):
        command = [sys.executable, "-m", "mvc", *arguments]
        reading, writing = os.pipe()
        os.close(reading)  # before anything can be written
        done = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert (done.returncode, done.stderr) == (1, b"")


def test_verify(codec: FakeCodec, folder: Path) -> None:
    large = np.random.default_rng(1).integers(0, 256, (170, 180, 3), dtype=np.uint8)
    Image.fromarray(large).save("large.png")
    near = large.copy()
    near[0, 0, 0] ^= 16
    Image.fromarray(near).save("near.png")
    run("encode", "k.png", "large.png", "-o", ".")
    result = run("verify", "k.mvc", "large.mvc")
    assert result.exit_code == 0
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == ["k.mvc: ok", "large.mvc: ok"]
    assert "PSNR inf dB, MS-SSIM 1.00000" in run("verify", "large.mvc", "--against", "large.png").stdout
    assert (
        f"PSNR {10 * np.log10(255**2 * large.size / 256):.2f} dB"
        in run("verify", "large.mvc", "--against", "near.png").stdout
    )
    assert "MS-SSIM not defined below 161" in run("verify", "k.mvc", "--against", "k.png").stdout
    fails(run("verify", "k.mvc", "--against", "large.png"), 1, "cannot be compared")
    fails(run("verify", "k.mvc", "--against", "none.png"), 1, "none.png")
    fails(run("verify", "k.mvc", "large.mvc", "--against", "k.png"), 2, "one picture, but there are 2 files")


def test_verify_against_a_folder_of_originals(codec: FakeCodec, folder: Path) -> None:
    for name in ("a.png", "b.bmp", "deep/a.png"):
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(SAMPLES, len(name), 0)).save(path)
    assert run("encode", "in", "-o", "coded").exit_code == 0
    assert run("verify", "coded", "--against", "in").stdout.count("PSNR inf dB") == 3
    assert run("verify", "coded/b.mvc", "coded/deep/a.mvc", "--against", "in/deep").exit_code == 1  # has no b
    Image.fromarray(SAMPLES).save(folder / "in" / "b.png")
    result = run("verify", "coded", "--against", "in")
    assert result.exit_code == 1 and result.stdout.count("PSNR inf dB") == 2
    assert "several originals: b.bmp, b.png of the name b" in " ".join(result.stderr.split())


def test_doctor_runs_a_picture_through_the_codec(codec: FakeCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("doctor", "--device", "cpu")
    assert result.exit_code == 0
    assert "self-check  passed" in result.stdout
    assert codec.calls[0] == ("load", ("mambavc-lite", "cpu", None))

    def garbage(data: bytes) -> mvc.Picture:
        return mvc.Picture(np.zeros((97, 131, 3), np.uint8))

    monkeypatch.setattr(codec, "decode", garbage)
    result = run("doctor")
    assert result.exit_code == 1
    assert "FAILED: a test picture came back with" in result.stdout


def test_help_and_version() -> None:
    for arguments in ([], ["--help"]):
        result = run(*arguments)
        assert result.exit_code == 0
        for command in ("encode", "decode", "info", "models", "verify", "doctor", "train", "export"):
            assert command in result.stdout
    assert run("--version").stdout == f"mvc {mvc.__version__}\n"


def test_models() -> None:
    result = run("models")
    assert result.exit_code == 0
    assert result.stdout.startswith("mambavc-lite ")
    verbose = run("models", "--verbose").stdout
    assert "model id " in verbose and "Trained on" in verbose and "Where it is weak" in verbose


def test_models_complexity_wants_a_size() -> None:
    assert run("models", "--size", "64x64").exit_code == 2
    for size in ("64", "0x64", "64x99999999"):
        assert run("models", "--complexity", "--size", size).exit_code == 2


def test_models_complexity_counts_all() -> None:
    result = run("models", "--complexity", "--size", "256x256")
    assert result.exit_code == 0, result.stderr
    shown = result.stdout.splitlines()
    for preset in registry.presets():
        at = next(number for number, line in enumerate(shown) if line.startswith(f"{preset.name}: "))
        assert "M parameters" in shown[at]
        for line in shown[at + 1 : at + 3]:
            assert all(float(count) > 0 for count in line.split()[1:]), line


def test_train_and_export_are_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    module = types.ModuleType("mvc.train.run")
    module.train = lambda recipe, **options: calls.append((recipe, options))  # type: ignore[attr-defined]
    module.export = lambda *paths: calls.append(paths)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mvc.train.run", module)
    assert run("train", "r.toml", "--resume", "--minutes", "90").exit_code == 0
    assert run("export", "runs/last.pt", "-o", "weights").exit_code == 0
    assert calls == [
        (Path("r.toml"), {"resume": True, "minutes": 90.0}),
        (Path("runs/last.pt"), Path("weights"), None),
    ]
    monkeypatch.setitem(sys.modules, "mvc.train.run", None)  # as if an import in it failed
    fails(
        run("train", "r.toml"),
        1,
        "error: training needs the package mvc.train.run",
        "hint: install the extra",
    )


# progress -----------------------------------------------------------------------------------------------


def test_a_bar_appears_only_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with Progress("encoding", 2) as progress:
        progress.step("a.png")
    assert screen.getvalue() == ""
    monkeypatch.setattr(progress_module, "PROGRESS_DELAY_S", 0.01)
    monkeypatch.setattr(sys, "stdout", data := io.StringIO())
    with Progress("encoding", 2) as progress:
        progress.step("[a].png")
        deadline = time.monotonic() + 20
        while "[a].png" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        progress.data("a result")
        terminal.note("a message")
        progress.step("b.png")
    assert "encoding [a].png" in screen.getvalue()
    assert "a message" in screen.getvalue()
    assert data.getvalue() == "a result\n"


def test_no_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "PROGRESS_DELAY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    before = threading.active_count()
    with Progress("encoding", 1) as progress:
        progress.step("a.png")
        assert threading.active_count() == before
    assert screen.getvalue() == ""


# the Python API -----------------------------------------------------------------------------------------


def test_api(codec: FakeCodec, folder: Path) -> None:
    data = mvc.encode("k.png", 2)
    assert codec.calls[-1] == ("encode", 9)
    assert np.array_equal(mvc.decode(data).samples, SAMPLES)
    Path("k.mvc").write_bytes(data)
    assert np.array_equal(mvc.decode(Path("k.mvc")).samples, SAMPLES)
    assert mvc.encode(mvc.Picture(SAMPLES), psnr=30, threads=1, device="cpu")
    assert ("load", ("mambavc-lite", "cpu", 1)) in codec.calls
    assert ("encode_to", {"psnr": 30}) in codec.calls


def test_api_warns_and_refuses(codec: FakeCodec, folder: Path) -> None:
    Image.fromarray(SAMPLES).quantize(4).save("p.png")
    with pytest.warns(mvc.LossWarning, match=r"p\.png: the palette is expanded to RGB"):
        mvc.encode("p.png")
    with pytest.raises(ValueError, match="only one of"):
        mvc.encode("k.png", bpp=1, size=1000)
    with pytest.raises(mvc.Truncated):
        mvc.decode(mvc.encode("k.png")[:-1])
    with pytest.raises(mvc.SourceError):
        mvc.decode("nothing.mvc")
