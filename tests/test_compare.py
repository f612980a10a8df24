"""`mvc compare`: the search for one size, the places that are shown, and the page, in a browser where there is one."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import fake_codec
import numpy as np
import pytest
from command import fails, run
from numpy.typing import NDArray
from pages import Page, no_network
from PIL import Image

from mvc.cli import compare as command
from mvc.evaluate import codecs, equal_size
from mvc.evaluate.adapter import Adapter
from mvc.evaluate.compare_page import data_url
from mvc.evaluate.equal_size import Shown, best_at, largest_within, places, steps
from mvc.metrics import psnr

Samples = NDArray[np.uint8]
BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)


def scene(height: int = 60, width: int = 90) -> Samples:
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(2).normal(0, 8, (height, width, 3))
    planes = [128 + 60 * np.sin(rows / (4 + c)) + 50 * np.cos(columns / (7 - c)) for c in range(3)]
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


def codec_of(sizes: list[int], **changes: object) -> tuple[Adapter, list[float]]:
    """A codec whose file at setting n has sizes[n] bytes, and the settings at which it was used."""
    used: list[float] = []

    def encode(samples: Samples, setting: float) -> bytes:
        used.append(setting)
        return bytes([int(setting)]) * sizes[int(setting)]

    def decode(data: bytes) -> Samples:
        return np.full((60, 90, 3), data[0], np.uint8)

    made = Adapter("x", "X", "1", (0.0,), 0, len(sizes) - 1, False, encode, decode)
    return dataclasses.replace(made, **changes), used  # type: ignore[arg-type]


# the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "setting"), [(10, 0), (19, 0), (20, 1), (999, 98), (1000, 99), (10**6, 99)])
def test_the_largest_file_within_a_size(most: int, setting: int) -> None:
    codec, used = codec_of([10 * (n + 1) for n in range(100)])
    assert largest_within(codec, scene(), most) == (setting, bytes([setting]) * (10 * (setting + 1)))
    assert len(used) == len(set(used)) <= 11


def test_sizes_that_fall_from_one_setting_to_the_next() -> None:
    codec, _ = codec_of([10, 20, 30, 45, 38, 50, 60])
    assert largest_within(codec, scene(), 40)[0] == 4
    assert largest_within(codec, scene(), 30)[0] == 2


def test_a_codec_without_a_file_that_small() -> None:
    codec, _ = codec_of([50, 60, 70])
    shown = best_at([codec], scene(), 40)
    assert (shown.setting, len(shown.data), shown.fits) == (0, 50, False)


def test_of_variants_the_nearer_is_shown() -> None:
    flat = np.full((60, 90, 3), 3, np.uint8)
    near, _ = codec_of([99, 99, 99, 20, 99], settings=(3.0,), fractions=True, name="near")
    far, _ = codec_of([99, 99, 20, 99, 99], settings=(2.0,), fractions=True, name="far")
    large, _ = codec_of([99, 99, 99, 50, 99], settings=(3.0,), fractions=True, name="large")
    assert best_at([far, near, large], flat, 40).name == "near"
    assert best_at([far, large], flat, 40).name == "far"  # the other does not fit
    assert best_at([far, large], flat, 10).name == "far"  # and here it is the smaller one


def test_settings_that_are_tried() -> None:
    assert steps(codecs.adapter("jpeg")) == list(range(1, 101))
    described, _ = codec_of([1], settings=(5.0, 2.5), fractions=True, highest=float("inf"))
    assert steps(described) == [2.5, 5.0]
    qualities = steps(dataclasses.replace(described, name="mvc"))
    assert (len(qualities), qualities[0], qualities[-1]) == (64, 1, 8)


# places -----------------------------------------------------------------------------------------------------------


def shown_as(samples: Samples) -> Shown:
    return Shown("x", "X", 1, b"x", samples, 30.0, None, True)


def test_places_are_where_codecs_differ_most() -> None:
    original = np.full((400, 300, 3), 100, np.uint8)
    both, one = original.copy(), original.copy()
    both[:100] = 0  # spoilt by both alike: no difference between them
    one[:100] = 0
    one[250:290, 200:240] = 130
    one[130:170, 10:50] = 110
    found = places(original, [shown_as(both), shown_as(one)], side_px=64)
    assert len(found) == 2
    worst, second = found
    assert worst.top <= 250
    assert worst.top + 64 >= 290
    assert worst.left <= 200
    assert worst.left + 64 >= 240
    assert second.top <= 130 <= 170 <= second.top + 64
    assert places(original, [shown_as(one), shown_as(one)]) == []


def test_places_do_not_meet_and_stay_inside() -> None:
    rng = np.random.default_rng(1)
    original = rng.integers(0, 256, (203, 175, 3), dtype=np.uint8)
    noise = rng.integers(0, 256, (203, 175, 3), dtype=np.uint8)
    found = places(original, [shown_as(original), shown_as(noise)], side_px=50, count=9)
    assert len(found) >= 4
    for n, one in enumerate(found):
        assert 0 <= one.left <= 175 - 50
        assert 0 <= one.top <= 203 - 50
        for other in found[:n]:
            assert abs(one.left - other.left) >= 50 or abs(one.top - other.top) >= 50
    (whole,) = places(original[:40, :30], [shown_as(original[:40, :30]), shown_as(noise[:40, :30])])
    assert (whole.width, whole.height) == (30, 40)


def test_window_means_are_means() -> None:
    plane = np.random.default_rng(4).random((37, 50))
    means = equal_size._window_means(plane, 16, 20)
    assert means.shape == (4, 5)
    assert means[0, 0] == pytest.approx(plane[:16, :20].mean())
    assert means[2, 1] == pytest.approx(plane[16:32, 8:28].mean())
    assert means[3, 4] == pytest.approx(plane[21:, 30:].mean())  # the last ones end at the edges


# the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_codec.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene()).save("k.png")
    return tmp_path


def embedded(url: str | None) -> Samples:
    assert url is not None
    kind, _, text = url.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def test_the_page(folder: Path) -> None:
    result = run("compare", "k.png", "--size", "1500", "--codec", "jpeg", "--codec", "webp", "-o", "page.html")
    assert result.exit_code == 0, result.output
    text = Path("page.html").read_text()
    found = Page(text)
    no_network(text, found)
    layers = {image["data-codec"]: image for image in found.all("img") if image.get("class") == "left"}
    assert list(layers) == ["original", "jpeg", "webp"]
    assert np.array_equal(embedded(layers["original"]["src"]), scene())
    rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["jpeg", "webp"]
    for name, setting, size, rate, near, _ in rows:
        codec = codecs.adapter(name)
        data = codec.encode(scene(), float(setting))
        assert len(data) == int(size) <= 1500
        assert float(rate) == pytest.approx(8 * len(data) / (60 * 90), abs=1e-4)
        shown = embedded(layers[name]["src"])
        assert np.array_equal(shown, codec.decode(data))  # what is shown is what was measured
        assert float(near) == pytest.approx(psnr(scene(), shown), abs=0.01)
        assert size in found.texts
        assert near in found.texts
    # No setting that is finer fits.
    assert len(codecs.adapter("jpeg").encode(scene(), float(rows[0][1]) + 1)) > 1500


def test_the_page_can_be_used_without_a_mouse(folder: Path) -> None:
    assert run("compare", "k.png", "--bpp", "2", "--codec", "jpeg", "--codec", "webp").exit_code == 0
    found = Page(Path("k.html").read_text())
    assert found.all("html")[0]["lang"] == "en"
    (slider,) = (each for each in found.all("input") if each["type"] == "range")
    assert slider["aria-label"]
    radios = [each for each in found.all("input") if each["type"] == "radio"]
    assert [each["value"] for each in radios if each["name"] == "b"] == ["original", "jpeg", "webp"]
    assert [each["value"] for each in radios if "checked" in each] == ["original", "webp"]
    assert len(found.all("legend")) == 2
    assert all(image["alt"] and image["width"] and image["height"] for image in found.all("img"))
    assert found.all("noscript")
    assert not any("tabindex" in each and each["tabindex"] != "0" for _, each in found.tags)


def test_the_usual_codecs_with_mvc_among_them(folder: Path) -> None:
    result = run("compare", "k.png", "--size", "30kB")
    assert result.exit_code == 0, result.output
    names = [line.split()[1] for line in result.stdout.splitlines()[2:]]
    assert names[0] in ("jpeg", "jpeg-420")
    assert names[1:] == [name for name in ("webp", "avif", "mvc") if name in codecs.available()]
    assert "| equal |" in result.stdout  # the fake codec is lossless


def test_a_size_that_is_too_small_for_a_codec_is_told(folder: Path) -> None:
    result = run("compare", "k.png", "--size", "300", "--codec", "jpeg", "--codec", "webp")
    assert result.exit_code == 0, result.output
    assert "jpeg has no file as small as 300 bytes" in result.stderr
    assert any(text.startswith("jpeg has no file as small as that") for text in Page(Path("k.html").read_text()).texts)


def test_gray_pictures_and_described_codecs(folder: Path) -> None:
    Image.fromarray(scene()[:, :, 0]).save("g.png")
    script = "import sys; from PIL import Image; i = Image.open(sys.argv[1]); i.save(sys.argv[2], **eval(sys.argv[3]))"
    about = {
        "name": "mine",
        "encode": [sys.executable, "-c", script, "{input}", "{output}", "dict(quality=int({quality}))"],
        "decode": [sys.executable, "-c", script, "{input}", "{output}", "dict()"],
        "suffix": ".jpg",
        "qualities": [5, 50],
    }
    Path("c.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in about.items()))
    result = run("compare", "g.png", "--size", "2kB", "--codec", "c.toml", "--codec", "webp")
    assert result.exit_code == 0, result.output
    assert [line.split()[1] for line in result.stdout.splitlines()[2:]] == ["mine", "webp"]


def test_compare_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(run("compare", "k.png"), 2, "one of --bpp and --size")
    fails(run("compare", "k.png", "--bpp", "1", "--size", "1kB"), 2, "one of --bpp and --size")
    for wrong in ("0", "-1", "nan"):
        fails(run("compare", "k.png", "--bpp", wrong), 2, "--bpp")
    fails(run("compare", "k.png", "--bpp", "0.0001"), 2, "less than one byte")
    fails(run("compare", "none.png", "--bpp", "1"), 1, "none.png")
    fails(run("compare", "k.png", "--bpp", "1", "--codec", "gif"), 1, "gif")
    fails(run("compare", "k.png", "--bpp", "1", "-o", "k.png", "-f"), 2, "overwritten")
    Path("k.html").write_text("mine")
    fails(run("compare", "k.png", "--bpp", "1", "--codec", "jpeg"), 1, "already exists")
    assert Path("k.html").read_text() == "mine"
    monkeypatch.setattr(command, "MOST_PIXELS", 60 * 90 - 1)
    fails(run("compare", "k.png", "--bpp", "1", "-o", "new.html"), 1, "90x60", "scale it down")


def test_names_cannot_break_the_page(folder: Path) -> None:
    shutil.copy("k.png", "<i>&.png")
    assert run("compare", "<i>&.png", "--bpp", "2", "--codec", "jpeg", "-o", "p.html").exit_code == 0
    text = Path("p.html").read_text()
    assert "<i>" not in text
    assert "<i>&.png" in Page(text).texts


def test_pictures_are_embedded_without_loss() -> None:
    for samples in (scene(), scene()[:, :, 0]):
        shown = embedded(data_url(samples))
        assert np.array_equal(shown, samples if samples.ndim == 3 else np.stack([samples] * 3, -1))


# in a browser -----------------------------------------------------------------------------------------------------

PROBE = """
<script>
const seen = [], shownNow = side => [...document.querySelectorAll('.stage img.' + side)].filter(i => !i.hidden)
  .map(i => i.dataset.codec).join();
const look = () => seen.push([shownNow('left'), shownNow('right'), stage.style.getPropertyValue('--split'),
  slider.getAttribute('aria-valuetext'), stage.classList.contains('pixels')]);
look();
slider.value = 20; slider.dispatchEvent(new Event('input')); look();
document.dispatchEvent(new KeyboardEvent('keydown', {key: '2'})); look();
document.querySelector('input[name=a][value=webp]').click(); look();
zoom.click(); look();
document.title = JSON.stringify(seen);
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="there is no headless Chromium here")
def test_the_slider_in_a_browser(folder: Path) -> None:
    assert run("compare", "k.png", "--bpp", "2", "--codec", "jpeg", "--codec", "webp").exit_code == 0
    Path("probe.html").write_text(Path("k.html").read_text().replace("</body>", PROBE))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]
    shown = subprocess.run(
        [str(BROWSER), *options, "--dump-dom", (folder / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    seen = json.loads(next(text for text in Page(shown).texts if text.startswith("[[")))
    assert seen == [
        ["original", "webp", "50%", "50 % original, 50 % webp", False],
        ["original", "webp", "20%", "20 % original, 80 % webp", False],
        ["original", "jpeg", "20%", "20 % original, 80 % jpeg", False],
        ["webp", "jpeg", "20%", "20 % webp, 80 % jpeg", False],
        ["webp", "jpeg", "20%", "20 % webp, 80 % jpeg", True],
    ]
