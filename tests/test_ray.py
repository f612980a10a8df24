"""Ray Data jobs, on a cluster of this machine alone, with two actors; and without Ray."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import SAMPLES
from PIL import Image

import mvc
import mvc.ray
from mvc.errors import BackendError, SourceError


def pictures(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(SAMPLES, number, 0)).save(path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Of this machine, with two processors, whatever it has."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    logging.disable(logging.DEBUG)  # Ray's, which pytest would keep
    paths = os.pathsep.join([str(Path(mvc.__file__).parents[1]), *filter(None, sys.path)])
    runtime = {"env_vars": {"PYTHONPATH": paths}}
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env=runtime, object_store_memory=10**8)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()
    logging.disable(logging.NOTSET)


def by_name(dataset: Any) -> dict[str, dict[str, Any]]:
    return {Path(row["path"]).name: row for row in dataset.take_all()}


def test_a_folder_there_and_back(cluster: Any, tmp_path: Path) -> None:
    """Without a model, so that two actors are there quickly."""
    names = ["a.png", "b.png", "deep/c.png", "deep/er/d.png"]
    pictures(tmp_path / "in", *names)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    source, coded, back = (str(tmp_path / name) for name in ("in", "coded", "back"))
    told = by_name(mvc.ray.encode(source, coded, actors=2, lossless=True))
    assert {name for name, row in told.items() if row["state"] == "done"} == {"a.png", "b.png", "c.png", "d.png"}
    assert "not a picture" in told["bad.png"]["error"] and not (tmp_path / "coded" / "bad.mvc").exists()
    row = told["c.png"]
    file = tmp_path / "coded" / "deep" / "c.mvc"
    assert (row["output"], row["width"], row["height"], row["mvc_bytes"]) == (str(file), 9, 6, file.stat().st_size)
    assert row["bpp"] == pytest.approx(8 * file.stat().st_size / 54, abs=1e-4)
    (tmp_path / "coded" / "a.mvc").write_bytes(file.read_bytes()[:-2])
    again = by_name(mvc.ray.encode(source, coded, actors=2, lossless=True, resume=True))
    assert {name for name, row in again.items() if row["state"] == "skipped"} == {"b.png", "c.png", "d.png"}
    assert "a.mvc is there, and not whole" in again["a.png"]["error"]
    done = by_name(mvc.ray.encode([tmp_path / "in/a.png"], coded, actors=1, lossless=True, resume=True, force=True))
    assert done["a.png"]["state"] == "done"
    decoded = by_name(mvc.ray.decode(coded, back, actors=2, suffix=".ppm"))
    assert {row["state"] for row in decoded.values()} == {"done"}
    for number, name in enumerate(names):
        shown = np.asarray(Image.open((tmp_path / "back" / name).with_suffix(".ppm")))
        assert np.array_equal(shown, np.roll(SAMPLES, number, 0))


def test_datasets_in_and_bytes_out(cluster: Any, tmp_path: Path) -> None:
    images = cluster.data.from_items([{"image": np.roll(SAMPLES, number, 0)} for number in range(3)])
    coded = mvc.ray.encode(images, actors=1, lossless=True)
    assert {row["state"] for row in coded.take_all()} == {"done"}
    shown = [row["image"] for row in mvc.ray.decode(coded, actors=1).take_all()]
    wanted = sorted(np.roll(SAMPLES, number, 0).tobytes() for number in range(3))
    assert sorted(np.asarray(image, np.uint8).tobytes() for image in shown) == wanted
    pictures(tmp_path, "a.png")
    files = cluster.data.read_binary_files(str(tmp_path), include_paths=True)
    row = mvc.ray.encode(files, str(tmp_path / "coded"), actors=1, lossless=True).take_all()[0]
    assert mvc.decode(row["output"]).samples.tobytes() == SAMPLES.tobytes()


@pytest.mark.parametrize("options", [{"quality": 99}, {"model": "none"}, {"qualty": 4}])
def test_what_every_picture_would_fail_by_ends_the_job(cluster: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    pictures(tmp_path, "a.png")
    with pytest.raises(Exception, match=r"quality must be 1 to 8|none|unexpected keyword"):
        mvc.ray.encode(str(tmp_path), actors=1, **options).take_all()


def test_what_is_refused_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.data")
    pictures(tmp_path, "a.png", "a.jpg")
    with pytest.raises(ValueError, match="would both become"):
        mvc.ray.encode(str(tmp_path), str(tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no pictures"):
        mvc.ray.encode(str(tmp_path / "empty"))


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(BackendError, match="Ray is not installed") as caught:
        mvc.ray.encode(str(tmp_path))
    assert caught.value.hint == "pip install 'mvc-codec[ray]'"
