"""`mvc bench` beyond Pillow's codecs and PSNR: other metrics, command-line codecs, BD-rates of pictures, the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command import fails, run
from pages import Page, no_network
from PIL import Image

from mvc.errors import BackendError, SourceError
from mvc.evaluate import commands, curves, page, ssimulacra2
from mvc.evaluate.cache import Cache
from mvc.evaluate.results import Made, Original, Results, Row

RECIPES = Path(__file__).parents[1] / "recipes"
SCRIPT = """
import sys
from PIL import Image
what, source, target, *rest = sys.argv[1:]
if what == "encode":
    Image.open(source).save(target, "JPEG", quality=int(rest[0]))
elif what == "decode":
    Image.open(source).save(target)
elif what == "nothing":
    pass
elif what == "version":
    print("tiny 1.0\\nand more")
else:
    print("it is broken", file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures, one gray, and a codec that is a script, in a place with a blank in its name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    place = tmp_path / "a place"
    place.mkdir()
    rows, columns = np.mgrid[0:48, 0:64]
    waves = 128 + 60 * np.sin(rows / 5) + 50 * np.cos(columns / 7)
    noise = np.random.default_rng(3).normal(0, 9, (48, 64, 3))
    Image.fromarray(np.clip(waves[..., None] + noise, 0, 255).astype(np.uint8)).save(place / "a.png")
    Image.fromarray(np.clip(waves + noise[..., 0], 0, 255).astype(np.uint8)).save(place / "b.png")
    (place / "codec.py").write_text(SCRIPT)
    describe(place)
    return place


def describe(place: Path, **changes: object) -> Path:
    """Write codec.toml: the script, unless told otherwise; None leaves a word out."""
    about: dict[str, object] = {
        "name": "tiny",
        "encode": [sys.executable, "{here}/codec.py", "encode", "{input}", "{output}", "{quality}"],
        "decode": [sys.executable, "{here}/codec.py", "decode", "{input}", "{output}"],
        "suffix": ".jpg",
        "qualities": [20, 80],
        **changes,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in about.items() if value is not None]
    (place / "codec.toml").write_text("\n".join(lines))
    return place / "codec.toml"


# command-line codecs ----------------------------------------------------------------------------------------------


def test_a_codec_with_a_command_line(folder: Path) -> None:
    described = folder / "codec.toml"
    options = ["--codec", str(described), "--codec", "jpeg", "--quality", "jpeg=20,80", "--anchor", "tiny"]
    result = run("bench", str(folder), *options, "--json", str(folder / "r.json"))
    assert result.exit_code == 0, result.output
    data = json.loads((folder / "r.json").read_text())
    sizes = {(row[0], row[1], row[2]): row[3] for row in data["rows"]}
    quality = {(row[0], row[1], row[2]): row[4] for row in data["rows"]}
    assert len(sizes) == 2 * 2 * 2
    for (codec, setting, picture), size in sizes.items():
        if codec == "tiny" and data["pictures"][picture]["name"] == "b":  # gray has no chroma to differ in
            assert quality[codec, setting, picture] == pytest.approx(quality["jpeg", setting, picture], abs=0.3)
            assert size > sizes["jpeg", setting, picture]  # its tables are not optimised
    assert data["codecs"]["tiny"]["title"] == "tiny"
    kept = Cache(folder.parent / "caches" / "mvc" / "bench.json").known
    assert set(kept.codecs) == {"jpeg"}  # who does not say its version is measured anew


def test_a_codec_that_says_its_version_is_kept(folder: Path) -> None:
    described = describe(
        folder, version=[sys.executable, "{here}/codec.py", "version", "x", "x"], title="Tiny", range=[1, 95]
    )
    adapter = commands.read(described)
    assert adapter.version.startswith("tiny 1.0, described by ")
    assert (adapter.title, adapter.settings, adapter.lowest, adapter.highest) == ("Tiny", (20, 80), 1, 95)
    assert adapter.anchor
    fails(run("bench", str(folder / "a.png"), "--codec", str(described), "--quality", "99"), 1, "tiny takes", "99")
    before = adapter.version
    assert commands.read(describe(folder, version=str(sys.executable) + " --version")).version != before


def test_a_line_is_split_as_a_shell_would(folder: Path) -> None:
    described = describe(
        folder, decode=f'"{sys.executable}" "{{here}}/codec.py" decode {{input}} {{output}}', picture="ppm"
    )
    assert run("bench", str(folder / "a.png"), "--codec", str(described)).exit_code == 0


def test_vvc_as_it_is_shipped(folder: Path) -> None:
    """With the ffmpeg of imageio-ffmpeg, where that is: real bytes, and pixels that are read back."""
    pytest.importorskip("imageio_ffmpeg")
    codec = commands.read(RECIPES / "codecs" / "vvc.toml")
    picture = np.asarray(Image.open(folder / "a.png"))
    errors, sizes = [], []
    for setting in (22, 42):
        data = codec.encode(picture, setting)
        assert data[:4] == b"\0\0\0\1" or data[:3] == b"\0\0\1"  # a stream of NAL units
        errors.append(float(np.square(codec.decode(data) - picture.astype(float)).mean()))
        sizes.append(len(data))
    assert sizes[0] > 2 * sizes[1] and errors[0] < errors[1] < 300 and "ffmpeg version" in codec.version


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encode": None}, ["says no encode"]),
        ({"speed": 4}, ["speed", "known are"]),
        ({"suffix": 3}, ["suffix is of another kind"]),
        ({"suffix": "/../x"}, ["suffix"]),
        ({"name": "web p"}, ["name 'web p'"]),
        ({"name": "webp"}, ["name 'webp'"]),
        ({"qualities": []}, ["at least one"]),
        ({"qualities": ["high"]}, ["numbers"]),
        ({"qualities": [True]}, ["numbers"]),
        ({"range": [30, 40]}, ["range"]),
        ({"range": [30]}, ["lowest and the highest"]),
        ({"timeout": 0}, ["timeout"]),
        ({"picture": "gif"}, ["picture 'gif'"]),
        ({"decode": "tool {input}"}, ["decode has no {output}"]),
        ({"decode": "tool {input} {output} {quality}"}, ["{quality}", "stands for nothing"]),
        ({"encode": 'tool "{input}'}, ["quotation"]),
        ({"encode": ["tool", 3]}, ["encode is no command"]),
    ],
)
def test_descriptions_that_are_refused(changes: dict[str, object], words: list[str], folder: Path) -> None:
    described = describe(folder, **changes)
    with pytest.raises(SourceError):
        commands.read(described)
    fails(run("bench", str(folder / "a.png"), "--codec", str(described)), 1, "codec.toml", *words)


def test_files_that_are_no_descriptions(folder: Path) -> None:
    (folder / "x.toml").write_bytes(b"\xff\xfe")
    (folder / "y.toml").write_text("name = ")
    for name in ("x.toml", "y.toml"):
        fails(run("bench", str(folder / "a.png"), "--codec", str(folder / name)), 1, name, "no TOML file")
    fails(run("bench", str(folder / "a.png"), "--codec", str(folder / "none.toml")), 1, "none.toml", "no such file")


SLEEP = [sys.executable, "-c", "import time; time.sleep(9)"]


def script(what: str) -> list[str]:
    return [sys.executable, "{here}/codec.py", what, "{input}", "{output}", "{quality}"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encode": script("broken")}, ["tiny, encode", "ended with 3", "it is broken"]),
        ({"encode": script("nothing")}, ["tiny, encode", "it wrote no coded.jpg"]),
        ({"decode": script("nothing")[:-1]}, ["tiny, decode", "it wrote no picture.png"]),
        ({"encode": ["no-such-tool", "{input}", "{output}", "{quality}"]}, ["cannot run no-such-tool"]),
        ({"encode": [*SLEEP, "{input}{output}{quality}"], "timeout": 0.3}, ["more than 0.3 s"]),
        ({"version": "no-such-tool --version"}, ["tiny, version", "cannot run"]),
    ],
)  # fmt: skip
def test_commands_that_fail_are_told(changes: dict[str, object], words: list[str], folder: Path) -> None:
    fails(run("bench", str(folder / "a.png"), "--codec", str(describe(folder, **changes))), 1, *words)


def test_what_a_command_writes_must_be_the_picture(folder: Path) -> None:
    halves = "import sys; from PIL import Image; i = Image.open(sys.argv[1]); i.resize((9, 9)).save(sys.argv[2])"
    described = describe(folder, decode=[sys.executable, "-c", halves, "{input}", "{output}"])
    fails(run("bench", str(folder / "a.png"), "--codec", str(described)), 1, "tiny turns", "[9, 9, 3]")
    garbage = "import sys; open(sys.argv[2], 'w').write('no picture')"
    described = describe(folder, decode=[sys.executable, "-c", garbage, "{input}", "{output}"])
    fails(run("bench", str(folder / "a.png"), "--codec", str(described)), 1, "what it wrote cannot be read")
    with pytest.raises(BackendError):
        commands.read(described).decode(b"x")


def test_two_codecs_of_one_name(folder: Path) -> None:
    (folder / "again.toml").write_text((folder / "codec.toml").read_text())
    both = ["--codec", str(folder / "codec.toml"), "--codec", str(folder / "again.toml")]
    fails(run("bench", str(folder / "a.png"), *both), 2, "two are named tiny")
    fails(run("bench", str(folder / "a.png"), *both[:2], "--json", str(folder / "codec.toml"), "-f"), 2, "overwritten")


# metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_go_into_rows_tables_and_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def error(original: np.ndarray, decoded: np.ndarray) -> float:
        calls.append(original.shape)
        return -float(np.abs(original.astype(int) - decoded).mean())

    monkeypatch.setattr(ssimulacra2, "metric", lambda device: error)
    options = ["--codec", "jpeg", "--codec", "webp", "--quality", "10,50,90"]
    plain = run("bench", str(folder), *options)
    assert "SSIMULACRA" not in plain.stdout
    more = [*options, "--metrics", "psnr,ssimulacra2", "--per-picture", "--json", str(folder / "r.json")]
    result = run("bench", str(folder), *more)
    assert result.exit_code == 0, result.output
    assert calls == [(48, 64, 3)] * 12  # gray in three channels; what the cache had lacked them
    assert "| codec | setting | bpp | PSNR, dB | MS-SSIM | SSIMULACRA 2 | encode, s | decode, s |" in result.stdout
    assert "| codec | PSNR vs webp | SSIMULACRA 2 vs webp |" in result.stdout
    assert "| SSIMULACRA 2 vs webp | jpeg |" in result.stdout
    data = json.loads((folder / "r.json").read_text())
    assert all(-30 < row[-1]["ssimulacra2"] < 0 for row in data["rows"])
    assert len(data["means"]["jpeg"]["ssimulacra2"]) == 3
    found = data["bd_rates"]["webp"]["jpeg"]["ssimulacra2"]
    assert found["of_means"] > 0
    assert set(found["pictures"]) == set(data["pictures"])
    assert run("bench", str(folder), *more, "-f").exit_code == 0
    assert len(calls) == 12  # all from the cache
    again = run("bench", str(folder), *options)
    assert "SSIMULACRA" not in again.stdout  # no trace of what was not asked for
    assert len(calls) == 12


def test_metrics_that_are_not_there_stop_it_at_once(folder: Path) -> None:
    fails(
        run("bench", str(folder), "--codec", "jpeg", "--metrics", "vmaf"), 1, "vmaf", "known are psnr, ms-ssim, lpips"
    )
    fails(run("bench", str(folder), "--codec", "jpeg", "--metrics", "lpips"), 1, "weights of LPIPS", "--fetch")


def test_heic_is_a_codec(folder: Path) -> None:
    pytest.importorskip("pillow_heif")
    result = run("bench", str(folder), "--codec", "heic", "--quality", "20,80", "--no-cache")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("| heic |") == 3


# the page ---------------------------------------------------------------------------------------------------------


def test_the_page_of_a_bench(folder: Path) -> None:
    options = ["--codec", "jpeg", "--codec", "webp", "--quality", "10,50,90", "--html", str(folder / "r.html")]
    assert run("bench", str(folder), *options).exit_code == 0
    text = (folder / "r.html").read_text()
    found = Page(text)
    no_network(text, found)
    assert len(found.all("svg")) == 1  # pictures are too small for MS-SSIM
    assert len(found.all("polyline")) == 2
    assert len(found.all("circle")) == 6
    assert len(found.all("details")) == 2
    for word in ("Every file", "a, 64x48", "BD-rates of each picture against webp", "WebP, method 6"):
        assert word in found.texts, word
    fails(run("bench", str(folder), *options), 1, "r.html already exists")


def test_names_cannot_break_the_page() -> None:
    row = Row("<b>", 1, "k", 10, 30.0, None, 0.1, 0.1)
    made = Made("<script>alert(1)</script>", "&")
    rows = [row, Row("<b>", 2, "k", 20, 35.0, None, 0.1, 0.1)]
    results = Results({"<b>": made}, {"k": Original('"><i>', 10, 10)}, rows, "m")
    text = page.bench_page(results, curves.measured(results))
    assert "<script>" not in text
    assert "<i>" not in text
    assert "<b>" not in text
    Page(text)


def test_distances_are_drawn_with_less_at_the_top() -> None:
    rows = [Row("x", n, "k", 10 * n, 30.0, None, 0, 0, {"lpips": value}) for n, value in ((1, 0.4), (2, 0.1))]
    results = Results({"x": Made("x", "1")}, {"k": Original("k", 10, 10)}, rows)
    drawn = Page(page.chart("lpips", curves.measured(results)))
    (worse, better) = (float(circle["cy"] or 0) for circle in drawn.all("circle"))
    assert better < worse  # y grows downwards
    assert "0.1" in drawn.texts  # and not -0.1
    assert not any(text.startswith("-") for text in drawn.texts)
    assert page.chart("dists", curves.measured(results)) == ""
