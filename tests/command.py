"""The command line in this process, and how it must fail."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from mvc.cli.app import app

SAMPLES = np.random.default_rng(5).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def pixels(path: Path | bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(path) if isinstance(path, bytes) else path))


def fails(result: Result, code: int, *words: str) -> None:
    """The command failed as people should see it: `error:` first, no traceback, nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True
