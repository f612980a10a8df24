"""conformance/reference_exact.py against the package: the same samples of exact files and alpha, the same refusals."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_container import BAD, BAD_EXACT
from test_reference_decoder import reference
from valid_files import exact_files, exact_pictures, repaired

from mvc import errors, stills
from mvc.container import read_file
from mvc.picture import Picture

COMPILES = [HealthCheck.too_slow]  # kernels, when they are first called
FOLDER = Path(__file__).parent.parent / "conformance"


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_exact", FOLDER / "reference_exact.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_exact"] = module
    spec.loader.exec_module(module)
    return module


exact: Any = imported()
assert reference is sys.modules["reference_decoder"]  # one set of errors


def of_package(data: bytes) -> dict[str, list[list[int]]]:
    """What the package decodes, in the form of the reference."""
    picture = stills.decode(*read_file(data), lambda _: pytest.fail("no model is needed"))
    names = ["gray"] if picture.colour == "gray" else ["red", "green", "blue"]
    planes = dict(zip(names, np.moveaxis(np.atleast_3d(picture.samples), -1, 0), strict=True))
    planes |= {} if picture.alpha is None else {"alpha": picture.alpha}
    return {name: plane.tolist() for name, plane in planes.items()}


@pytest.mark.parametrize("script", ["reference_exact.py", "reference_samples.py", "reference_quick.py"])
def test_imports_nothing_of_the_package(script: str) -> None:
    nodes = list(ast.walk(ast.parse((FOLDER / script).read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    own = {"reference_decoder", "reference_samples", "reference_quick"}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) <= own


@settings(max_examples=40, deadline=None, suppress_health_check=COMPILES)
@given(exact_files())
def test_files_of_any_make_are_decoded_the_same(data: bytes) -> None:
    assert exact.decode_file(data)[1] == of_package(data)


@settings(max_examples=100, deadline=None, suppress_health_check=COMPILES)
@given(exact_files(), st.data())
def test_damaged_files_are_refused_for_the_same_reason_or_decode_the_same(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 2))):
        at = draw.draw(st.integers(8, min(60, len(data) - 7)) | st.integers(8, len(data) - 7))
        changed[at] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        del changed[draw.draw(st.integers(len(data) // 2, len(data) - 7)) : -6]
    damaged = repaired(bytes(changed))
    try:
        head, _ = read_file(damaged)
        if head.width * head.height > 1 << 13:
            return  # too large for a reference in Python
    except errors.MvcError:
        pass
    try:
        found: object = of_package(damaged) if read_file(damaged)[0].model_id is None else None
    except errors.MvcError as error:
        found = type(error).__name__
    try:
        expected: object = exact.decode_file(damaged)[1] if found is not None else None
    except exact.Refused as error:
        expected = error.reason
    assert expected == found


@pytest.mark.parametrize("name", BAD_EXACT)
def test_bad_files_are_refused_for_the_same_reason(name: str) -> None:
    with pytest.raises(exact.Refused) as caught:
        exact.decode_file((BAD / f"{name}.mvc").read_bytes())
    assert caught.value.reason == BAD_EXACT[name][0].__name__


@settings(max_examples=30, deadline=None, suppress_health_check=COMPILES)
@given(exact_pictures(), st.integers(0, 3))
def test_the_alpha_of_any_still(picture: Picture, effort: int) -> None:
    if picture.alpha is not None:
        unit = stills.alpha_unit(picture.alpha, effort)
        assert exact.decode(unit.streams[0], (1, picture.height, picture.width)) == [picture.alpha.tolist()]


def test_command_line(tmp_path: Path) -> None:
    samples = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    data = stills.exact_file(Picture(samples, samples[..., 1]))
    (tmp_path / "a.mvc").write_bytes(data)
    command = [sys.executable, "-I", str(FOLDER / "reference_exact.py"), str(tmp_path / "a.mvc")]
    plain = subprocess.run([*command, "--sha256"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in plain.splitlines()] == ["red", "green", "blue", "alpha"]
    assert plain.split()[1] == exact.digest(samples[..., 0].tolist())
    verbose = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert verbose == f"picture  5x4, rgb, 8 bits, by the exact coder\n{plain}"
    (tmp_path / "a.mvc").write_bytes(data[:-1])
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (damaged.returncode, damaged.stdout) == (1, "")
    assert damaged.stderr.startswith("error: Truncated: the chunk at byte ")
