"""Any codec with a command line, described by a small TOML file, as a codec to compare with.

    name = "mozjpeg"
    encode = "cjpeg -quality {quality} -sample 1x1 -outfile {output} {input}"
    decode = "djpeg -outfile {output} {input}"
    suffix = ".jpg"                     # what the name of a coded file ends in
    qualities = [10, 30, 50, 70, 85, 95]
    version = "cjpeg -version"          # results are kept in the cache only with it
    title = "MozJPEG, 4:4:4"            # these four may be left out
    picture = "ppm"                     # what encode reads and decode writes: "png" (the default), "ppm" or "bmp"
    timeout = 600                       # seconds for one picture
    range = [1, 100]                    # of settings

A command is a list of arguments, or a line that is split into arguments as a shell would; no shell ever sees it. In
each argument {input}, {output}, {quality}, {here}, the folder of the TOML file, and {python}, the Python that runs mvc,
are replaced. Commands run in an empty temporary folder, and their seconds include the start of a process.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mvc import files, media
from mvc.errors import BackendError, MvcError, SourceError
from mvc.evaluate.adapter import Adapter, Samples
from mvc.evaluate.codecs import NAMES

SUFFIX = ".toml"
_TIMEOUT_S = 600.0
_LONGEST_BYTES = 1 << 20
_PICTURES = ("png", "ppm", "bmp")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "name": str, "encode": (str, list), "decode": (str, list), "suffix": str, "qualities": list,
    "version": (str, list), "title": str, "picture": str, "timeout": (int, float), "range": list,
}  # fmt: skip
_NEEDED = ("name", "encode", "decode", "suffix", "qualities")
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class _Tool:
    """One command of a description: its arguments, with places in braces."""

    what: str
    arguments: tuple[str, ...]
    here: str
    timeout_s: float

    def run(self, folder: Path, values: Mapping[str, str]) -> str:
        """Run it in `folder`; what it wrote, for people. `BackendError` for a failure."""
        known = {**values, "here": self.here, "python": sys.executable}
        command = [_PLACE.sub(lambda match: known[match[1]], argument) for argument in self.arguments]
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=self.timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BackendError(f"{self.what}: {command[0]} took more than {self.timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            raise BackendError(f"{self.what}: cannot run {command[0]}: {files.reason(error)}") from error
        if done.returncode:
            said = [line for line in done.stdout.splitlines() if line.strip()]
            last = f": {said[-1].strip()}" if said else ""
            raise BackendError(f"{self.what}: {shlex.join(command)} ended with {done.returncode}{last}")
        return done.stdout


def read(path: Path) -> Adapter:
    """The codec that a TOML file describes.

    Raises `SourceError` for a file that is no such description, and `BackendError` where its version command fails.
    """
    data = files.read_up_to(path, _LONGEST_BYTES)
    try:
        about = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"{path} is no TOML file: {error}") from error
    try:
        return _adapter(about, path, hashlib.sha256(data).hexdigest()[:12])
    except ValueError as error:
        raise SourceError(f"{path}: {error}", hint="docs/metrics.md shows one with all it may say") from error


def _adapter(about: Mapping[str, Any], path: Path, digest: str) -> Adapter:
    _check(about)
    name, suffix, picture = about["name"], about["suffix"], about.get("picture", "png")
    settings = sorted({float(quality) for quality in about["qualities"]})
    lowest, highest = map(float, about.get("range", (float("-inf"), float("inf"))))
    if not lowest <= settings[0] or not settings[-1] <= highest:
        raise ValueError(f"not all qualities lie in the range from {lowest:g} to {highest:g}")
    timeout, here = float(about.get("timeout", _TIMEOUT_S)), str(path.absolute().parent)

    def tool(key: str, needs: Sequence[str]) -> _Tool:
        return _Tool(f"{name}, {key}", _arguments(key, about[key], needs), here, timeout)

    coding = tool("encode", ("input", "output", "quality"))
    decoding = tool("decode", ("input", "output"))
    asking = tool("version", ()) if "version" in about else None

    def encode(samples: Samples, setting: float) -> bytes:
        with tempfile.TemporaryDirectory(prefix="mvc-bench-") as folder:
            source, target = Path(folder, f"picture.{picture}"), Path(folder, f"coded{suffix}")
            Image.fromarray(samples).save(source)
            values = {"input": str(source), "output": str(target), "quality": f"{setting:g}"}
            return _result(coding, Path(folder), values, target).read_bytes()

    def decode(data: bytes) -> Samples:
        with tempfile.TemporaryDirectory(prefix="mvc-bench-") as folder:
            source, target = Path(folder, f"coded{suffix}"), Path(folder, f"picture.{picture}")
            source.write_bytes(data)
            values = {"input": str(source), "output": str(target)}
            return _shown(_result(decoding, Path(folder), values, target), decoding.what)

    version = f"described by {digest}"
    if asking is not None:
        with tempfile.TemporaryDirectory(prefix="mvc-bench-") as folder:
            said = asking.run(Path(folder), {}).strip() or "silent about its version"
            version = f"{said.splitlines()[0].strip()}, {version}"
    title = about.get("title", name)
    return Adapter(
        name, title, version, tuple(settings), lowest, highest, True, encode, decode, anchor=asking is not None
    )


def _check(about: Mapping[str, Any]) -> None:
    """Raise `ValueError`, with a sentence, for what is missing, unknown or of another kind."""
    for key in _NEEDED:
        if key not in about:
            raise ValueError(f"it says no {key}")
    for key, value in about.items():
        if key not in _KINDS:
            raise ValueError(f"{key} is nothing that a codec's description says; known are {', '.join(_KINDS)}")
        if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
            raise ValueError(f"{key} is of another kind than it must be")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", about["name"]) or about["name"] in NAMES:
        raise ValueError(f"name {about['name']!r}: letters, digits and . _ + - alone, and none of {', '.join(NAMES)}")
    if not re.fullmatch(r"\.[A-Za-z0-9.]+", about["suffix"]):
        raise ValueError(f"suffix {about['suffix']!r}: write a dot and letters, as in .jpg")
    if about.get("picture", "png") not in _PICTURES:
        raise ValueError(f"picture {about['picture']!r}: one of {', '.join(_PICTURES)}")
    if not about.get("timeout", 1) > 0:
        raise ValueError("timeout: seconds above 0")
    numbers = [*about["qualities"], *about.get("range", ())]
    if any(not isinstance(number, (int, float)) or isinstance(number, bool) for number in numbers):
        raise ValueError("qualities and range are lists of numbers")
    if not about["qualities"] or not np.isfinite(about["qualities"]).all():
        raise ValueError("qualities: at least one number")
    if "range" in about and len(about["range"]) != 2:
        raise ValueError("range: the lowest and the highest setting")


def _arguments(key: str, command: str | list[Any], needs: Sequence[str]) -> tuple[str, ...]:
    parts = shlex.split(command) if isinstance(command, str) else command
    if not parts or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{key} is no command")
    places = {name for part in parts for name in _PLACE.findall(part)}
    for name in needs:
        if name not in places:
            raise ValueError(f"{key} has no {{{name}}}")
    if strange := sorted(places - {*needs, "here", "python"}):
        raise ValueError(f"{key} has {{{strange[0]}}}, which stands for nothing there")
    return tuple(parts)


def _result(tool: _Tool, folder: Path, values: Mapping[str, str], target: Path) -> Path:
    """Run it, and make sure that it wrote something."""
    tool.run(folder, values)
    if not target.is_file() or not target.stat().st_size:
        raise BackendError(f"{tool.what}: it wrote no {target.name}")
    return target


def _shown(path: Path, what: str) -> Samples:
    try:
        return np.asarray(media.read_picture(path, keep_alpha=False).picture.samples, np.uint8)
    except MvcError as error:
        raise BackendError(f"{what}: what it wrote cannot be read: {error}") from error
