"""Who may import whom: read from the sources, and tried in fresh interpreters."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mvc

PACKAGE = Path(mvc.__file__).parent

# From the bottom up: a part may import those on the lines before its own, at whatever depth of a function, and nothing
# else of the package. A part that is new must be added here: the layers are a decision, not an accident.
LAYERS = (
    ("errors", "version", "metrics", "tiling", "replacing", "metadata", "threads", "places"),
    ("environment",),
    ("jit", "urls"),
    ("quality", "clip_runs"),
    ("arguments",),
    ("picture", "files", "colour"),
    ("frames",),
    ("container", "entropy", "lossless", "media"),
    ("clip_files", "tiled", "stored"),
    ("strips",),
    ("stills", "scaling", "grain"),
    ("still_file", "targets"),
    ("picture_file",),
    ("ops",),
    ("planes",),
    ("signals",),
    ("blocks",),
    ("distortion",),
    ("exact",),
    ("models",),
    ("effort",),
    ("painting", "decoder_export"),
    ("codec",),
    ("clip_choice", "clip_lookahead", "estimate", "reencoding"),
    ("choice",),
    ("large",),
    ("clip_model",),
    ("clip_encoding",),
    ("clip",),
    ("video",),
    ("opening", "previews"),
    ("evaluate",),
    ("train",),
    ("analysis",),
    ("view",),
    ("__init__",),
    ("pillow_plugin", "imageio_plugin", "compressai_plugin", "ray"),
    ("cli",),
    ("__main__",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
TRAINING = "train"  # only the command line may import it


def part_of(path: Path) -> str:
    """The part of the package that a source file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def target_of(module: str) -> str | None:
    """The part that an imported module belongs to; None for other packages."""
    match module.split("."):
        case ["mvc", name, *_]:
            known = (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()
            return name if known else "__init__"  # else a name that mvc/__init__.py defines
        case ["mvc"]:
            return "__init__"
    return None


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether at its own import (not in a function, not for typing)."""

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield from ((f"{child.module}.{alias.name}", at_import) for alias in child.names)
            else:
                inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from visit(child, at_import and not inside and not typing_only)

    yield from visit(ast.parse(path.read_text()), True)


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"{part} is new: say in LAYERS where it stands"
    for name, _ in imported(path):
        target = target_of(name)
        if target in (None, part):
            continue
        assert LEVEL[target] < LEVEL[part], f"{path.name} ({part}) imports {name}"
        assert target != TRAINING or part == "cli", f"{path.name} ({part}) imports {name}"


LIGHT = ["arguments.py", "environment.py", "errors.py", "files.py", "quality.py", "replacing.py", "tiling.py"]
LIGHT += ["urls.py", "version.py", "__init__.py", "__main__.py", "cli", "container"]


@pytest.mark.parametrize("name", LIGHT)
def test_light_parts_import_nothing_heavy_at_start(name: str) -> None:
    heavy = {"torch", "numba", "numpy", "PIL", "rich", "scipy", "safetensors", "av"}
    root = PACKAGE / name
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        found = {module.split(".")[0] for module, at_import in imported(path) if at_import}
        assert not found & heavy, f"{path} imports {found & heavy} at once"


def test_optional_packages_are_never_imported_at_start() -> None:
    optional = {
        "mamba_ssm",
        "triton",
        "compressai",
        "av",
        "tensorboard",
        "pytorch_msssim",
        "pillow_heif",
        "pillow_jxl",
        "imagecodecs",
        "matplotlib",
        "onnx",
        "onnxruntime",
        "scipy",
    }
    # Kernels cannot be written without triton: nobody else may import these at start.
    backends = {f"mvc.{path.parent.stem}.{path.stem}": path for path in PACKAGE.glob("*/*_triton.py")}
    found = {name.removeprefix("mvc.").removesuffix("_triton") for name in backends}
    assert found == {"exact.weighted", "ops.depthwise", "ops.mixer", "ops.scan"}
    for path in SOURCES:
        at_start = {module for module, at_import in imported(path) if at_import}
        if path in backends.values():
            at_start -= {module for module in at_start if module.split(".")[0] == "triton"}
        else:
            assert not any(module.startswith(tuple(backends)) for module in at_start), f"{path} imports triton at once"
        found = {module.split(".")[0] for module in at_start}
        if part_of(path) == TRAINING:
            found -= {"scipy", "tensorboard", "pytorch_msssim"}  # the extra `train`
        assert not found & optional, f"{path} imports {found & optional} at once"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import mvc", {"torch", "numba", "numpy", "PIL", "google_crc32c", "typer", "rich"}),
        ("import mvc; mvc.info", {"torch", "numba", "numpy", "PIL"}),
        ("import mvc.container", {"torch", "numba", "numpy", "PIL"}),
        ("import mvc; mvc.Picture", {"torch", "numba", "PIL"}),
        ("import mvc; mvc.read_picture", {"torch", "numba"}),
        ("import mvc.cli.app", {"torch", "numba", "numpy", "PIL"}),
        ("import mvc.metrics", {"torch", "numba"}),
    ],
)
def test_fresh_interpreter(statement: str, absent: set[str]) -> None:
    check = f"{statement}\nimport sys\nprint(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_error_is_public() -> None:
    from mvc import errors

    assert set(errors.__all__) <= set(mvc.__all__)
    assert all(getattr(mvc, name) is getattr(errors, name) for name in errors.__all__)
