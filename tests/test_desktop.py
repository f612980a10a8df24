"""`mvc desktop` and `mvc thumbnail`: what a desktop has to know, in folders of this test alone."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from command import fails, pixels, run
from PIL import Image, ImageCms
from test_videos import example, video
from tiny_model import tiny_codec

import mvc
from mvc.cli import desktop, man
from mvc.cli.app import NAME, app
from mvc.container.chunks import MAGIC
from mvc.metadata import Metadata
from mvc.picture import Picture

XMLNS = "{http://www.freedesktop.org/standards/shared-mime-info}"
SMOOTH = np.mgrid[:300, :400][1].astype(np.uint8)


def pages() -> dict[str, str]:
    return man.pages(typer.Context(typer.main.get_command(app), info_name=NAME))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's data lie; the home folder is beside it."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def samples() -> dict[str, bytes]:
    """Files of both kinds, by the MIME type that they have."""
    still = mvc.encode(SMOOTH[:40, :50], lossless=True)
    return {"image/x-mvc": still, "video/x-mvc": example()[0]}


def type_by(rules: Path, content: bytes) -> list[str]:
    """The MIME types whose magic fits, by the rules of shared-mime-info."""

    def fits(match: ElementTree.Element) -> bool:
        offset, value = int(match.attrib["offset"]), match.attrib["value"]
        if match.attrib["type"] == "string":
            wanted = value.encode().decode("unicode_escape").encode("latin-1")
            own = content[offset:].startswith(wanted)
        else:
            own = content[offset] & int(match.attrib["mask"], 16) == int(value)
        inside = list(match)
        return own and (not inside or any(map(fits, inside)))

    types = ElementTree.parse(rules).getroot()
    return [
        own.attrib["type"] for own in types for match in own.iter(f"{XMLNS}magic") if any(fits(top) for top in match)
    ]


def test_installing_and_taking_back(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):  # it may be written anew
        assert run("desktop", "--install").exit_code == 0
    rules = data / "mime" / "packages" / "mvc.xml"
    for name, content in samples().items():
        assert type_by(rules, content) == [name]
    assert type_by(rules, MAGIC + bytes(3) + b"\2") == [] == type_by(rules, b"\x89PNG" + bytes(20))
    thumbnailer = (data / "thumbnailers" / "mvc.thumbnailer").read_text()
    assert "thumbnail --force --size %s %i %o\n" in thumbnailer
    assert "\nMimeType=image/x-mvc;video/x-mvc;\n" in thumbnailer
    assert {path.name for path in (data / "man" / "man1").iterdir()} == set(pages())
    ours = [path for path in (*data.rglob("*"), Path.home() / ".magic") if path.is_file() and "made by" in head(path)]
    assert len(ours) == 3 + len(pages())
    (data / "man" / "man1" / "mvc-older.1").write_text(f'.\\" {desktop.MARK}\n')  # of a command that is no more
    foreign = data / "man" / "man1" / "mvc-other.1"
    foreign.write_text("someone else's")
    monkeypatch.setenv("PATH", "")
    told = run("desktop", "--uninstall")
    assert told.exit_code == 0 and f"removed: {len(ours) + 1} files" in told.stderr
    assert "no update-mime-database" in told.stderr
    assert not any(path.exists() for path in ours) and foreign.read_text() == "someone else's"
    assert "removed: 0 files" in run("desktop", "--uninstall").stderr


def head(path: Path) -> str:
    return path.read_text(errors="replace")[:200]


def test_what_is_not_ours_is_not_touched(data: Path) -> None:
    (Path.home() / ".magic").write_text("0 string ME mine\n")
    told = run("desktop", "--install")
    assert told.exit_code == 0 and ".magic is there, and not made by mvc" in told.stderr
    rules = data / "mime" / "packages" / "mvc.xml"
    run("desktop", "--uninstall")
    assert (Path.home() / ".magic").read_text() == "0 string ME mine\n" and not rules.exists()
    rules.write_text("<mine/>")
    fails(run("desktop", "--install"), 1, "mvc.xml is there, and not made by mvc")
    assert rules.read_text() == "<mine/>" and not (data / "thumbnailers" / "mvc.thumbnailer").exists()
    run("desktop", "--uninstall")
    assert rules.read_text() == "<mine/>"
    for wrong in ((), ("--install", "--uninstall")):
        fails(run("desktop", *wrong), 2, "give --install or --uninstall")


@pytest.mark.skipif(not shutil.which("file"), reason="there is no file(1)")
def test_file_knows_them(data: Path) -> None:
    run("desktop", "--install")
    for name, content in samples().items():
        (data / "a.mvc").write_bytes(content)
        done = subprocess.run(["file", "-b", "--mime-type", data / "a.mvc"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == name
        done = subprocess.run(["file", "-b", data / "a.mvc"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ("mvc picture" if name.startswith("image") else "mvc clip")


@pytest.mark.skipif(not shutil.which("update-mime-database"), reason="there is no shared-mime-info")
def test_the_desktop_takes_the_type(data: Path) -> None:
    assert "warning" not in run("desktop", "--install").stderr
    assert "image/x-mvc:*.mvc" in (data / "mime" / "globs2").read_text()
    assert (data / "mime" / "video" / "x-mvc.xml").exists()
    run("desktop", "--uninstall")
    assert "x-mvc" not in (data / "mime" / "globs2").read_text()


def test_the_manual_says_what_help_says() -> None:
    made = pages()
    assert {"mvc.1", "mvc-encode.1", "mvc-thumbnail.1", "mvc-desktop.1"} <= made.keys()
    for name in made:
        if name != "mvc.1":
            listed = name.removesuffix(".1").replace("-", "\\-")
            assert f".BR {listed} (1)" in made["mvc.1"]
    page = made["mvc-encode.1"]
    for words in ("\\-q, \\-\\-quality", "\\-\\-near\\-lossless N", "folders of them", "mvc encode [OPTIONS]"):
        assert words in page, words
    for page in made.values():
        assert page.startswith(".TH ") and not any(line[:1] == "'" for line in page.splitlines())


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff")
def test_groff_has_nothing_to_say_about_the_manual() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z"], input="".join(pages().values()), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_names_in_the_thumbnailer_are_quoted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(data / "a b%" / "python"))
    text = desktop.contents(data, data, pages())[data / "thumbnailers" / "mvc.thumbnailer"]
    assert f'Exec="{data}/a b%%/python" -m mvc thumbnail' in text
    assert desktop._quoted('/a"$b\\c') == '"/a\\\\"\\\\$b\\\\\\\\c"'


# mvc thumbnail


def test_a_thumbnail_in_the_file_is_taken(tmp_path: Path) -> None:
    path, made = tmp_path / "a.mvc", tmp_path / "a.png"
    path.write_bytes(mvc.encode(SMOOTH, lossless=True, thumbnail=True))
    script = (
        "import sys\nfrom mvc.cli.app import app\n"
        "try:\n    app(['thumbnail', *sys.argv[1:], '--size', '128'])\n"
        "finally:\n    print(*{'torch', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path, made],
        env={"PYTHONPATH": str(Path(mvc.__file__).parent.parent), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    image = Image.open(made)
    assert (image.format, image.size) == ("PNG", (128, 96))
    assert np.abs(np.asarray(image)[:, 60].astype(int) - SMOOTH[0, 187]).max() < 12


def test_a_larger_one_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mvc").write_bytes(mvc.encode(SMOOTH, lossless=True, thumbnail=True))
    Path("b.mvc").write_bytes(mvc.encode(SMOOTH, lossless=True))
    for name, size, wanted in (("a", 320, (320, 240)), ("b", 128, (128, 96)), ("b", 1024, (400, 300))):
        assert run("thumbnail", f"{name}.mvc", "t.png", "-s", str(size), "-f").exit_code == 0
        assert Image.open("t.png").size == wanted
    assert np.array_equal(pixels(Path("t.png")), SMOOTH)
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    shade = Picture(np.full((20, 20, 3), (200, 20, 20), np.uint8), None, Metadata(icc=bytes(swapped)))
    shown = pixels(run("thumbnail", "-", "-", stdin=mvc.encode(shade, lossless=True)).stdout_bytes)
    assert shown[10, 10, 2] > 150 > shown[10, 10, 0]  # in sRGB


def test_clips_and_pictures_that_cannot_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mvc.codec.load", lambda *_: video())
    Path("clip.mvc").write_bytes(example()[0])
    assert run("thumbnail", "clip.mvc", "t.png", "--size", "24").exit_code == 0
    assert Image.open("t.png").size == (24, 16)

    def refuse(*_: object) -> None:
        raise mvc.WeightsError("there are no weights")

    monkeypatch.setattr("mvc.codec.load", refuse)
    own = Picture(SMOOTH, None, Metadata(thumbnail=jpeg(40, 30)))
    Path("a.mvc").write_bytes(tiny_codec().encode(own, 20))
    assert run("thumbnail", "a.mvc", "t.png", "-f").exit_code == 0
    assert Image.open("t.png").size == (40, 30)
    Path("a.mvc").write_bytes(tiny_codec().encode(Picture(SMOOTH[:40, :50], None, Metadata(thumbnail=b"no")), 20))
    fails(run("thumbnail", "a.mvc", "t.png", "-f"), 1, "no weights")
    large = Picture(SMOOTH[:40, :50], None, Metadata(thumbnail=jpeg(1025, 3)))  # no thumbnail
    Path("a.mvc").write_bytes(tiny_codec().encode(large, 20))
    fails(run("thumbnail", "a.mvc", "t.png", "-f"), 1, "no weights")
    fails(run("thumbnail", "a.mvc", "t.png"), 1, "exists", "-f/--force")
    fails(run("thumbnail", "a.mvc", "a.mvc", "-f"), 2, "overwritten")
    Path("text.mvc").write_text("text")
    fails(run("thumbnail", "text.mvc", "u.png"), 1, "not an mvc file")


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG")
    return file.getvalue()
