"""conformance/reference_decoder.py against the package: the same symbols, the same y_hat, the same refusals."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_container import BAD, BAD_FILES, BAD_STREAMS
from tiny_model import decoded_digests, picture, tiny_codec, tiny_weights
from valid_files import Content, coded_files, contents, repaired

from mvc import errors
from mvc.container import read_file
from mvc.models.weights import save

SCRIPT = Path(__file__).parent.parent / "conformance" / "reference_decoder.py"
SHIPPED = Path(__file__).parent.parent / "mvc" / "weights" / "mambavc-lite"


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_decoder", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_decoder"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


reference: Any = imported()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save(folder, tiny_weights())
    return folder


@cache
def tiny_reference() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), tiny_weights())
        return reference.read_model(Path(folder))


@pytest.fixture(scope="module")
def model(weights: Path) -> Any:
    return reference.read_model(weights)


def test_imports_nothing_but_the_standard_library_and_numpy() -> None:
    nodes = ast.walk(ast.parse(SCRIPT.read_text()))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    nodes = ast.walk(ast.parse(SCRIPT.read_text()))
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize(
    ("height", "width", "gray", "quality"),
    [(1, 1, False, 0), (64, 65, True, 63), (70, 100, False, 22), (50, 130, True, 41)],
)
def test_symbols_and_latents_are_the_same(model: Any, height: int, width: int, gray: bool, quality: int) -> None:
    data = tiny_codec().encode(picture(height, width, gray=gray), quality)
    head, symbols, (y_hat,) = reference.decode(data, model)
    assert (head.width, head.height, head.colour) == (width, height, "gray" if gray else "rgb")
    assert y_hat.dtype == np.int64
    assert y_hat.shape == (-(-height // 16), -(-width // 16), 64)
    assert tuple(reference.digests(symbols, [y_hat]).values()) == decoded_digests(tiny_codec(), data)


def test_command_line(weights: Path, tmp_path: Path) -> None:
    data = tiny_codec().encode(picture(20, 30), 30)
    (tmp_path / "a.mvc").write_bytes(data)
    command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "a.mvc"), "--weights", str(weights)]
    plain = subprocess.run([*command, "--sha256"], capture_output=True, text=True, check=True).stdout
    symbols, y_hat = decoded_digests(tiny_codec(), data)
    assert plain == f"symbols  {symbols}\ny_hat    {y_hat}\n"
    verbose = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert verbose.endswith(plain)
    assert "30x20, rgb, quality index 30" in verbose
    (tmp_path / "a.mvc").write_bytes(data[:-1])
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert damaged.stderr.startswith("error: Truncated: the chunk at byte ")
    assert damaged.stderr.count("\n") == 1


def test_model_id(model: Any) -> None:
    assert model.exact_hash == tiny_weights().exact_hash


@settings(max_examples=25, deadline=None)
@given(coded_files())
def test_files_of_any_make_are_decoded_the_same(data: bytes) -> None:
    _, symbols, y_hat = reference.decode(data, tiny_reference())
    assert tuple(reference.digests(symbols, y_hat).values()) == decoded_digests(tiny_codec(), data)


def in_words(head: Any) -> dict[str, Any]:
    """The fields of a head, ours or the reference decoder's."""
    return {k: v for k, v in vars(head).items() if k != "sums"} | {"clip": vars(head.clip) if head.clip else None}


@settings(deadline=None)
@given(contents)
def test_valid_files_are_read_the_same(content: Content) -> None:
    head, units = reference.read_file(content.data())
    assert in_words(head) == in_words(content.head)
    sums = dict(enumerate(head.sums))
    own = [sums.get(u.index, 0) if u.role != "alpha" else 0 for u in units]
    found = [vars(u) | {"streams": tuple(u.streams), "latent_sum": one} for u, one in zip(units, own, strict=True)]
    assert found == [vars(unit) for unit in content.units]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_for_the_same_reason(draw: st.DataObject) -> None:
    """A few bytes of a still or a clip change, go or are doubled; the checksum of the file may be made right again."""
    data = bytearray(draw.draw(contents).data())
    for _ in range(draw.draw(st.integers(1, 3))):
        start = draw.draw(st.integers(0, min(len(data) - 1, 60)) | st.integers(0, len(data) - 1))
        stop = start + draw.draw(st.integers(0, 6))
        data[start:stop] = draw.draw(st.binary(max_size=4) | st.just(bytes(data[start:stop]) * 2))
        assume(len(data) > 4)
    damaged = repaired(bytes(data)) if draw.draw(st.booleans()) else bytes(data)
    try:
        head, units = read_file(damaged)
    except errors.MvcError as error:
        with pytest.raises(reference.Refused) as caught:
            reference.read_file(damaged)
        assert caught.value.reason == type(error).__name__, str(error)
    else:
        same, parts = reference.read_file(damaged)
        assert in_words(same) == in_words(head)
        assert [tuple(part.streams) for part in parts] == [unit.streams for unit in units]


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_bad_streams_are_refused_for_the_same_reason(name: str) -> None:
    with pytest.raises(reference.Refused) as caught:
        reference.decode((BAD / f"{name}.mvc").read_bytes(), reference.read_model(SHIPPED))
    assert caught.value.reason == BAD_STREAMS[name][0].__name__


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_for_the_same_reason(name: str) -> None:
    with pytest.raises(reference.Refused) as caught:
        reference.read_file((BAD / f"{name}.mvc").read_bytes())
    assert caught.value.reason == BAD_FILES[name][0].__name__


def test_damage_behind_a_right_checksum_has_the_same_outcome(model: Any) -> None:
    """One bit at a time: both decoders refuse it for one reason, or decode the same."""
    codec = tiny_codec()
    data = codec.encode(picture(9, 9), 5)
    rng = np.random.default_rng(3)
    outcomes = {"decoded": 0}
    positions = [*range(8, 60), *rng.integers(60, len(data) - 4, 50).tolist()]
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        damaged = repaired(bytes(changed))
        try:
            expected = decoded_digests(codec, damaged)
        except errors.MvcError as error:
            with pytest.raises(reference.Refused) as caught:
                reference.decode(damaged, model)
            assert caught.value.reason == type(error).__name__, f"byte {position}: {error}"
            outcomes[caught.value.reason] = outcomes.get(caught.value.reason, 0) + 1
        else:
            _, symbols, y_hat = reference.decode(damaged, model)
            assert tuple(reference.digests(symbols, y_hat).values()) == expected
            outcomes["decoded"] += 1
    assert {"decoded", "Corrupt", "Truncated", "Unsupported"} <= set(outcomes)


@pytest.mark.parametrize("damage", ["no manifest", "cut", "no header", "missing", "type", "shift", "gain", "frequency"])
def test_damaged_weights_are_refused(weights: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "weights.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    match damage:
        case "no manifest":
            (tmp_path / "manifest.json").unlink()
        case "cut":
            path.write_bytes(data[: 8 + length + 1000])
        case "no header":
            path.write_bytes(b"\xff" * 100)
        case "missing":
            path.write_bytes(data.replace(b"h_s.up2.bias", b"h_s.up3.bias"))
        case "type":
            path.write_bytes(data.replace(b'"I16"', b'"F16"'))
        case "shift" | "gain" | "frequency":
            names = {"shift": "exact.h_s.up1.shift", "gain": "exact.h_s.gain.table"}
            name = names.get(damage, "tables.latent.frequency")
            start = 8 + length + header[name]["data_offsets"][0]
            changed = b"\xfe\xff\1" if damage == "gain" else b"\x3c\x00"
            path.write_bytes(data[:start] + changed + data[start + len(changed) :])
    with pytest.raises(reference.Refused) as caught:
        reference.read_model(tmp_path)
    assert caught.value.reason == "Weights"
