"""The wheel and the source distribution: built, and what is in them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mvc

ROOT = Path(mvc.__file__).parent.parent
SOURCES = ("LICENSE", "README.md", "MANIFEST.in", "pyproject.toml", "bitstream_spec.md", "constraints.txt")
SOURCES += ("CHANGELOG.md", "SECURITY.md", "conformance", "recipes", "mvc")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, of the sources as they are; the weights are left empty, which takes their time."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("packages")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
        else:
            shutil.copy(path, folder / name)
    for own in (ROOT / "mvc" / "weights").glob("*/weights.safetensors"):
        (folder / own.relative_to(ROOT)).touch()
    build = "from setuptools import build_meta as b; b.build_wheel('made'); b.build_sdist('made')"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "made"


def shipped() -> set[str]:
    """What a wheel is to hold of the package."""
    kinds = ("*.py", "py.typed", "weights/*/*.safetensors", "weights/*/manifest.json", "weights/*/card.md")
    kinds += ("view/page/*",)
    return {str(path.relative_to(ROOT)) for kind in kinds for path in (ROOT / "mvc").rglob(kind)}


def test_the_wheel_has_all_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"mvc_codec-{mvc.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        info = f"mvc_codec-{mvc.__version__}.dist-info/"
        names = set(file.namelist())
        assert {name for name in names if not name.startswith(info)} == shipped()
        assert file.read(info + "entry_points.txt").split() == [b"[console_scripts]", b"mvc", b"=", b"mvc.cli:main"]
        assert info + "licenses/LICENSE" in names
        metadata = file.read(info + "METADATA").decode()
    assert "\nRequires-Python: >=3.11\n" in metadata and "\nRequires-Dist: torch" in metadata


def test_the_sources_can_be_built_and_read(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert shipped() | {"LICENSE", "README.md", "pyproject.toml", "bitstream_spec.md", "constraints.txt"} <= names
    assert "conformance/reference_decoder.py" in names and "recipes/mambavc-lite.toml" in names
    assert not any(name.startswith(("tests", "samples", "benchmarks")) for name in names)
