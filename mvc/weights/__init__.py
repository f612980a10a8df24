"""Weights on disk, one folder per model.

`weights.safetensors` holds the float transforms in half precision, the exact prior in integers and the probability
tables; `manifest.json` the configuration, the hashes and the training record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from mvc.entropy.tables import Tables
from mvc.errors import WeightsError
from mvc.exact.layers import lower
from mvc.models.base import PictureModel
from mvc.models.family import make
from mvc.models.prior import CodingPrior

WEIGHTS_FILE, MANIFEST_FILE = "weights.safetensors", "manifest.json"
FLOAT_PARTS = ("g_a.", "g_s.", "h_a.")


@dataclass(frozen=True)
class Weights:
    """A model ready to code; `exact_hash` is the SHA-256 of what decides the symbols."""

    model: PictureModel  # only g_a, g_s and h_a are used
    prior: CodingPrior
    hyper_tables: Tables
    latent_tables: Tables
    exact_hash: bytes
    manifest: dict[str, Any]


def exact_hash(tensors: Mapping[str, Tensor], config: dict[str, Any]) -> bytes:
    """SHA-256 over the configuration and each exact tensor's name, type, shape and little-endian bytes.

    Tensors go in the order of their names. This is what decides the symbols; the first 8 bytes stand in a file's
    header (spec, section 3).
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name].numpy())
        digest.update(f"{name}:{values.dtype.str}:{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.digest()


def save(folder: Path, weights: Weights) -> None:
    """Write the model's two files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.to(torch.float16).contiguous()
        for name, value in weights.model.state_dict().items()
        if name.startswith(FLOAT_PARTS)
    }
    tensors |= exact_tensors(weights.prior, weights.hyper_tables, weights.latent_tables)
    data = serialise(tensors)
    manifest = weights.manifest | {"sha256": hashlib.sha256(data).hexdigest()}
    (folder / WEIGHTS_FILE).write_bytes(data)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")


def exact_tensors(prior: CodingPrior, hyper: Tables, latent: Tables) -> dict[str, Tensor]:
    """Everything that decides a symbol, under the names it has in the weights file."""
    tensors = {f"exact.{name}": value.contiguous() for name, value in prior.state_dict().items()}
    for prefix, tables in (("tables.hyper.", hyper), ("tables.latent.", latent)):
        tensors |= {prefix + name: torch.from_numpy(np.array(value)) for name, value in tables.to_arrays().items()}
    return tensors


def load(folder: Path) -> Weights:
    """Read a model's folder; WeightsError if anything is missing, damaged or not what the manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        data = (folder / WEIGHTS_FILE).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise WeightsError(f"{folder / WEIGHTS_FILE} is damaged", hint="install mvc again")
        tensors = parse(data)
        return _assemble(tensors, manifest)
    except RuntimeError as error:  # of load_state_dict, and many lines long
        raise WeightsError(
            f"the weights in {folder} do not fit their configuration", hint="install mvc again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(f"the weights in {folder} cannot be used: {error}", hint="install mvc again") from error


def _assemble(tensors: dict[str, Tensor], manifest: dict[str, Any]) -> Weights:
    # Not on the meta device, whose random initialisation imports torch's compiler: two seconds at every start.
    with torch.random.fork_rng(devices=[]):
        model = make(manifest["name"], manifest["config"])
    floats = {name: value.float() for name, value in tensors.items() if name.startswith(FLOAT_PARTS)}
    missing, unexpected = model.load_state_dict(floats, strict=False, assign=True)
    if unexpected or any(name.startswith(FLOAT_PARTS) for name in missing):
        raise WeightsError("the weights do not fit the configuration")
    integers = {name.removeprefix("exact."): v for name, v in tensors.items() if name.startswith("exact.")}
    prior = lower(model.prior, model.prior.grid)
    prior.load_state_dict(integers)
    hyper, latent = (
        Tables.from_arrays({n.removeprefix(p): v.numpy() for n, v in tensors.items() if n.startswith(p)})
        for p in ("tables.hyper.", "tables.latent.")
    )
    exact = {name: v for name, v in tensors.items() if name.startswith(("exact.", "tables."))}
    digest = exact_hash(exact, model.config.to_dict())
    if digest.hex() != manifest["exact_sha256"]:
        raise WeightsError("the exact part of the weights is not the one the manifest names")
    return Weights(model.eval(), prior, hyper, latent, digest, manifest)
