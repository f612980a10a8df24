"""conformance/reference_clips.py against the package: the same symbols, latents, motion and predictions of clips."""

from __future__ import annotations

import ast
import importlib.util
import io
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from made_clips import Maker, Read, made_clip, read_clip
from test_clip_lite import codec, coded, moving
from test_container import BAD, BAD_CLIPS
from test_reference_decoder import SHIPPED, reference
from test_spec import SPEC
from test_spec_clips import CONFIG, MODEL
from tiny_model import picture, sha256, tiny_clip_weights, tiny_codec, tiny_weights

from mvc import errors
from mvc.container import read_file, write_file
from mvc.models.weights import save
from mvc.ops.warp import predict

SCRIPT = Path(__file__).parent.parent / "conformance" / "reference_clips.py"
SHIPPED_CLIPS = SHIPPED.parent / "mambavc-ssf-lite"


@pytest.fixture(autouse=True)
def all_parts_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks say little that is worth its bits."""
    monkeypatch.setattr("mvc.clip_encoding.cheapest", lambda attempts, samples, index: attempts[0])


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_clips", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_clips"] = module
    spec.loader.exec_module(module)
    return module


clips: Any = imported()
assert reference is sys.modules["reference_decoder"]  # one set of errors


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    save(folder, tiny_clip_weights())
    return folder


@pytest.fixture(scope="module")
def model(weights: Path) -> Any:
    return clips.read_clip_model(weights)


def test_imports_nothing_but_the_standard_library_and_numpy_and_its_neighbour() -> None:
    nodes = list(ast.walk(ast.parse(SCRIPT.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"numpy", "reference_decoder"}


def example(height: int, width: int, index: int = 20) -> bytes:
    """A keyframe, two frames, the second once more, another and a keyframe."""
    frames = moving(5, height, width)
    again = replace(coded(frames[:3], index=index)[1][2], time=24)
    return coded([*frames[:3], again, *frames[3:]], index=index, gop=5)[2]


@pytest.mark.parametrize(("height", "width", "index"), [(1, 1, 30), (40, 60, 0), (70, 130, 50)])
def test_frames_are_the_same(model: Any, height: int, width: int, index: int) -> None:
    data = example(height, width, index)
    ours = same_frames(model, data)
    assert [own.unit.role for own in ours].count("picture") == 2
    for before, own in pairwise(ours):
        if own.unit.role == "inter":
            planes = tuple(map(torch.from_numpy, before.planes))
            made = predict(planes, torch.from_numpy(own.fields[0]).int())  # type: ignore[arg-type]
            found = clips.predict(before.planes, own.fields[0])
            assert all(np.array_equal(a, b.numpy()) for a, b in zip(found, made, strict=True))


def same_frames(model: Any, data: bytes) -> list[Read]:
    """What the package reads, which the reference reads as well."""
    head, frames = clips.decode_clip(data, model)
    ours_head, _ = read_file(data)
    assert (head.width, head.height, head.kind) == (ours_head.width, ours_head.height, "clip")
    ours = read_clip(codec(), data)
    for frame, own in zip(frames, ours, strict=True):
        assert (frame.role, frame.index) == (own.unit.role, own.unit.index)
        expected = [sha256(np.array(own.symbols)), sha256(*own.latents), sha256(*own.fields, np.zeros(0))]
        assert list(clips.digests(frame).values()) == expected
    return ours


@pytest.mark.usefixtures("long_runs")
@pytest.mark.parametrize(("height", "width", "gop", "bframes"), [(1, 1, 4, 3), (40, 60, 8, 3), (20, 90, 12, 7)])
def test_frames_between_are_the_same(model: Any, height: int, width: int, gop: int, bframes: int) -> None:
    ours = same_frames(model, coded(moving(9, height, width), gop=gop, bframes=bframes)[2])
    roles = "".join(own.unit.role[0] for own in ours)
    assert roles == {4: "pbbbpbbbp", 8: "pbbbibbbp", 12: "pbbbbbbbi"}[gop]


def test_a_frame_between_without_a_residual_is_the_mean_of_two_predictions(model: Any) -> None:
    """Sample by sample what the package shows."""
    height, width = 33, 50
    data, _ = made_clip(height, width, seed=2)
    ours = same_frames(model, data)
    anchors = [number for number, own in enumerate(ours) if own.unit.role != "between"]
    count = 0
    for first, last in pairwise(anchors):
        for number, low, high, _ in SPEC["order_of"](first, last):
            stream = ours[number].unit.streams[0]
            if not stream or ours[number].symbols[0] & 4:
                shown = clips.predict_between(ours[low].planes, ours[high].planes, ours[number].fields)
                for plane, own, side in zip(shown, ours[number].planes, (1, 2, 2), strict=True):
                    part = slice(-(-height // side)), slice(-(-width // side))
                    assert np.array_equal(plane[part], own[part])
                count += 1
    assert count == 6


@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 60), (30, 90)])
def test_frames_between_are_what_was_made(model: Any, height: int, width: int) -> None:
    data, made = made_clip(height, width, seed=height)
    _, frames = clips.decode_clip(data, model)
    for number, (frame, expected) in enumerate(zip(frames, made, strict=True)):
        assert (frame.role, frame.index) == (expected.unit.role, number)
        fields = [own for own in (expected.past, expected.future) if own is not None]
        assert len(fields) == {"picture": 0, "inter": 1, "between": 2}[frame.role]
        sums = clips.digests(frame)
        assert (sums["y_hat"], sums["motion"]) == (sha256(*expected.whole()), sha256(*fields, np.zeros(0)))


@pytest.mark.parametrize("count", range(8))
def test_runs_of_every_length(model: Any, count: int) -> None:
    """Frames come in the order of their times; all symbols, latents and fields are those of the document's program."""
    maker = Maker(9, 20, count)
    with torch.no_grad():
        first = maker.picture()
        last = maker.picture() if count % 2 else maker.inter(first, 0)
        run = maker.run(first, last, [0, 6, 3, 5, 4, 1, 2][:count])
    data = maker.file([first, *run, last])
    _, frames = clips.decode_clip(data, model)
    own = SPEC["decode_clip"](*SPEC["read_file"](data), CONFIG, MODEL)
    for number, (frame, known) in enumerate(zip(frames, own, strict=True)):
        assert frame.index == number and frame.symbols == known["symbols"]
        for name in ("key", "last", "motion", "past", "future"):
            assert np.array_equal(getattr(frame, name), known[name])


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_bad_clips_are_refused_for_the_same_reason(name: str) -> None:
    with pytest.raises(reference.Refused) as caught:
        list(clips.decode_clip((BAD / f"{name}.mvc").read_bytes(), clips.read_clip_model(SHIPPED_CLIPS))[1])
    assert caught.value.reason == BAD_CLIPS[name][0].__name__


def test_predictions_are_the_same() -> None:
    """Of any planes and any field."""
    rng = np.random.default_rng(4)
    planes = [rng.integers(0, 256, shape, np.uint8) for shape in ((48, 64), (24, 32), (24, 32))]
    for most in (2, 60, 700, 2**22):
        field = rng.integers(-most, most + 1, (6, 8, 3))
        field[..., 2] = rng.integers(-8, 36, (6, 8))
        tensors = tuple(torch.from_numpy(plane) for plane in planes)
        made = predict(tensors, torch.from_numpy(field).int())  # type: ignore[arg-type]
        found = clips.predict(planes, field)
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(found, made, strict=True))
        others = [plane[::-1] for plane in planes]
        both = clips.predict_between(planes, others, [field, -field])
        expected = SPEC["predict_between"](planes, others, field, -field)
        assert all(np.array_equal(a, b) for a, b in zip(both, expected, strict=True))


def test_model_id(model: Any) -> None:
    assert model.exact_hash == tiny_clip_weights().exact_hash


def test_command_line(weights: Path, tmp_path: Path) -> None:
    data = coded(moving(2))[2]
    path = tmp_path / "a.mvc"
    path.write_bytes(data)
    command = [sys.executable, str(SCRIPT), str(path), "--weights", str(weights)]
    plain = subprocess.run([*command, "--sha256"], capture_output=True, text=True, check=True).stdout
    _, frames = clips.decode_clip(data, clips.read_clip_model(weights))
    lines = [f"{name:8} {digest}" for frame in frames for name, digest in clips.digests(frame).items()]
    assert plain.splitlines() == lines and len(lines) == 6
    verbose = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "clip     60x40, rgb, quality index 20" in verbose and "inter    13, " in verbose
    path.write_bytes(data[:-1])
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert damaged.returncode == 1 and damaged.stderr.startswith("error: Truncated: ")


def test_what_is_none_of_its_files_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(reference.Refused, match="is a still"):
        clips.decode_clip(tiny_codec().encode(picture(9, 9), 3), model)
    save(tmp_path, tiny_weights())
    with pytest.raises(reference.Refused, match="no usable model of clips"):
        clips.read_clip_model(tmp_path)
    data = coded(moving(2))[2]
    with pytest.raises(reference.Refused, match="the file is a clip"):
        reference.decode(data, reference.read_model(tmp_path))


def test_damage_behind_right_checksums_has_the_same_outcome(model: Any) -> None:
    data, rng = coded(moving(4), bframes=1)[2], np.random.default_rng(6)
    head, units = read_file(data)
    outcomes: dict[str, int] = {}
    for trial in range(40):
        number = int(rng.integers(4))
        stream = bytearray(units[number].streams[0])
        if trial % 4:
            stream[rng.integers(len(stream))] ^= 1 << int(rng.integers(8))
        else:
            del stream[int(rng.integers(len(stream))) :]
        changed = [*units]
        changed[number] = replace(units[number], streams=(bytes(stream),))
        file = write_file(head, changed)
        try:
            list(codec().decode(io.BytesIO(file)))
        except errors.MvcError as error:
            with pytest.raises(reference.Refused) as caught:
                list(clips.decode_clip(file, model)[1])
            assert caught.value.reason == type(error).__name__, str(error)
            outcomes[caught.value.reason] = outcomes.get(caught.value.reason, 0) + 1
        else:
            assert len(list(clips.decode_clip(file, model)[1])) == 4
    assert outcomes["Corrupt"] > 2 and outcomes["Truncated"] > 2
