"""Models ready to code, and how they lie on disk: one folder per model.

`weights.safetensors` holds the float transforms in half precision, the exact priors in integers and the probability
tables; `manifest.json` the configuration, the hashes and the training record. What belongs to the network that codes
pictures stands under its own name, the parts of any other network behind its name ("motion.g_a....").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor, nn

from mvc.blocks.lite import renamed
from mvc.entropy.tables import SCALE_ROWS, Tables
from mvc.errors import Unsupported, WeightsError
from mvc.exact.fixed import Grid
from mvc.exact.lower import check_exact, lower
from mvc.files import write_atomic
from mvc.models import registry
from mvc.models.base import Autoencoder
from mvc.models.network import EXACT_SYNTHESIS, FLOAT_PARTS, Network
from mvc.models.registry import PICTURE

WEIGHTS_FILE, MANIFEST_FILE = "weights.safetensors", "manifest.json"
MAX_MANIFEST_BYTES, MAX_WEIGHTS_BYTES = 1 << 22, 1 << 30


@dataclass(frozen=True)
class Weights:
    """A model ready to code: networks by what they code. `exact_hash` is the SHA-256 of what decides the symbols."""

    networks: dict[str, Network]
    exact_hash: bytes
    manifest: dict[str, Any]

    @property
    def picture(self) -> Network:
        """The network for pictures, and for keyframes."""
        return self.networks[PICTURE]

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def model_id(self) -> bytes:
        """What files made with them carry in their header (spec, section 3)."""
        return self.exact_hash[: registry.MODEL_ID_BYTES]


def make_weights(networks: dict[str, Network], name: str, config: dict[str, Any], record: dict[str, Any]) -> Weights:
    """Of a model by its name in the registry, with its configuration and training record for the manifest."""
    digest = exact_hash(dict(_prefixed(networks, Network.exact_tensors)), config)
    manifest: dict[str, Any] = {"name": name, "config": config, "exact_sha256": digest.hex(), "training": record}
    curvature = networks[PICTURE].curvature
    if curvature is not None:
        manifest["curvature"] = curvature
    return Weights(networks, digest, manifest)


def exact_hash(tensors: Mapping[str, Tensor], config: dict[str, Any]) -> bytes:
    """SHA-256 over the configuration and each exact tensor's name, type, shape and little-endian bytes.

    Tensors go in the order of their names. This is what decides the symbols; the first 8 bytes stand in a file's
    header (spec, section 3).
    """
    digest = hashlib.sha256(_canonical(config).encode())
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name].numpy())
        digest.update(f"{name}:{values.dtype.str}:{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.digest()


def _canonical(config: dict[str, Any]) -> str:
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


# --- on disk ---------------------------------------------------------------------------------------------------------


def save(folder: Path, weights: Weights) -> None:
    """Write the model's two files into `folder`, the manifest last: what was there stays whole until then."""
    store(folder, dict(_prefixed(weights.networks, Network.tensors)), weights.manifest)


def store(folder: Path, tensors: dict[str, Tensor], manifest: Mapping[str, Any]) -> None:
    """Write tensors, and then a manifest that gets the hash of their file, into a folder that is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    data = serialise(tensors)
    whole = {**manifest, "sha256": hashlib.sha256(data).hexdigest()}
    write_atomic(folder / WEIGHTS_FILE, data, force=True)
    write_atomic(folder / MANIFEST_FILE, (json.dumps(whole, indent=2) + "\n").encode(), force=True)


def load(folder: Path) -> Weights:
    """Read a model's folder; WeightsError if anything is missing, damaged or not what manifest and format say."""
    try:
        files = stored(folder)
    except OSError as error:
        raise WeightsError(f"the weights in {folder} cannot be used: {error}", hint="install mvc again") from error
    return of_files(*files, str(folder))


def stored(folder: Path) -> tuple[bytes, bytes]:
    """Manifest and weights of a model's folder, as they lie there; OSError where they do not."""
    return _read(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES), _read(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES)


def of_files(text: bytes, data: bytes, place: str) -> Weights:
    """The model of the two files' bytes, which come from `place`; WeightsError as `load` raises it."""
    try:
        manifest = json.loads(text)
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise WeightsError(f"{Path(place, WEIGHTS_FILE)} is damaged", hint="install mvc again")
        return _assemble(parse(data), manifest)
    except RuntimeError as error:  # of load_state_dict, and many lines long
        message = f"the weights in {place} do not fit their configuration"
        raise WeightsError(message, hint="install mvc again") from error
    except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise WeightsError(f"the weights in {place} cannot be used: {error}", hint="install mvc again") from error


def _read(path: Path, most: int) -> bytes:
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise WeightsError(f"{path} is larger than {most >> 20} MiB, more than any model's")
    return data


def _assemble(tensors: dict[str, Tensor], manifest: dict[str, Any]) -> Weights:
    # Not on the meta device, whose random initialisation imports torch's compiler: two seconds at every start.
    with torch.random.fork_rng(devices=[]):
        model: Any = registry.known(manifest["name"]).make(manifest["config"])
    if _canonical(manifest["config"]) != _canonical(model.config.to_dict()):  # what the hash is of
        raise WeightsError("the manifest's configuration is not a complete one, each field as mvc writes it")
    networks: dict[str, Network] = {}
    used: set[str] = set()
    for name, autoencoder in model.networks.items():
        own = _own(name, tensors)
        used |= own.keys()
        stored = {key.removeprefix(_prefix(name)): value for key, value in own.items()}
        curvature = _curvature(manifest) if name == PICTURE else None
        networks[name] = _network(autoencoder, stored, curvature)
    if used != tensors.keys():
        raise WeightsError(f"the weights have tensors of no network: {', '.join(sorted(tensors.keys() - used)[:3])}")
    floats = tuple(_prefix(name) + part for name in networks for part in FLOAT_PARTS)
    exact = {name: value for name, value in tensors.items() if not name.startswith(floats)}
    digest = exact_hash(exact, model.config.to_dict())
    if digest.hex() != manifest["exact_sha256"]:
        raise WeightsError("the exact part of the weights is not the one the manifest names")
    return Weights(networks, digest, manifest)


def _network(model: Autoencoder, stored: dict[str, Tensor], curvature: list[list[float]] | None) -> Network:
    """An untrained autoencoder with the values of its stored tensors; nothing that was not stored stays in it."""
    prior = _exact(model.prior, model.prior.grid, "exact.", stored)
    synthesis = _exact(model.g_s, prior.grid, EXACT_SYNTHESIS, stored) if model.exact_synthesis else None
    del model.prior, model.density
    if synthesis:
        del model.g_s
    floats = {name: value.float() for name, value in stored.items() if name.startswith(FLOAT_PARTS)}
    if not all(bool(torch.isfinite(value).all()) for value in floats.values()):
        raise WeightsError("a weight is not a number")
    model.load_state_dict(renamed(floats), assign=True)
    model.prior = prior
    model.g_s = synthesis or model.g_s
    hyper, latent = (
        Tables.from_arrays({n.removeprefix(p): v.numpy() for n, v in stored.items() if n.startswith(p)})
        for p in ("tables.hyper.", "tables.latent.")
    )
    if hyper.rows % model.hyper or latent.rows != SCALE_ROWS:
        raise WeightsError(f"the tables have {hyper.rows} and {latent.rows} rows, which fit no coding")
    return Network(model.eval(), hyper, latent, curvature)


Part = TypeVar("Part", bound=nn.Module)


def _exact(untrained: Part, grid: Grid, prefix: str, tensors: Mapping[str, Tensor]) -> Part:
    """A lowered part with the integers stored under a prefix, as they are: of spec 5's types, shapes and ranges."""
    lowered = lower(untrained, grid)
    stored = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    for name, own in lowered.state_dict().items():
        value = stored.get(name)
        if value is not None and (value.dtype, value.shape) != (own.dtype, own.shape):
            found = f"{value.dtype} {list(value.shape)}, not {own.dtype} {list(own.shape)}"
            raise WeightsError(f"the exact part {name} is {found}")
    lowered.load_state_dict(stored)
    check_exact(lowered)
    return lowered


def _curvature(manifest: Mapping[str, Any]) -> list[list[float]] | None:
    table = manifest.get("curvature")
    if table is not None and not (
        isinstance(table, list)
        and len(table) >= 2
        and all(isinstance(row, list) and len(row) == 2 for row in table)
        and all(type(value) in (int, float) and 0 < value < 1e6 for row in table for value in row)
    ):
        raise WeightsError("the manifest's curvature is no table of pairs of positive numbers")
    return table


def _prefix(name: str) -> str:
    return "" if name == PICTURE else f"{name}."


def _own(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one network, under the names they have in the file."""
    starts = tuple(_prefix(name) + part for part in (*FLOAT_PARTS, "exact.", EXACT_SYNTHESIS, "tables."))
    return {key: value for key, value in tensors.items() if key.startswith(starts)}


def _prefixed(
    networks: dict[str, Network], tensors_of: Callable[[Network], Iterator[tuple[str, Tensor]]]
) -> Iterator[tuple[str, Tensor]]:
    for name, network in networks.items():
        for key, value in tensors_of(network):
            yield _prefix(name) + key, value


# --- finding ---------------------------------------------------------------------------------------------------------


def folder_of(model: str | bytes) -> Path:
    """The folder with the weights of a preset's name, of a folder's path, or of the model id in a file's header.

    Raises WeightsError for a name that is unknown or has no weights, Unsupported for an id that no weights here have.
    """
    if isinstance(model, bytes):
        found = registry.preset_of(model)
        if found is None:
            raise unknown_id(model, [f"{p.name} {p.model_id.hex()}" for p in registry.presets() if p.shipped])
        return found.folder
    preset = registry.preset(model)
    if preset is not None and preset.shipped:
        return preset.folder
    try:
        if (Path(model) / MANIFEST_FILE).is_file():
            return Path(model).resolve()
    except (OSError, ValueError):  # too long for a path, or with a null byte
        pass
    if preset is not None:
        hint = "train it with `mvc train`, and name the folder that `mvc export` writes"
        raise WeightsError(f"the model {model} has no weights here", hint=hint)
    known = ", ".join(p.name for p in registry.presets())
    raise WeightsError(f"there is no model {model!r}", hint=f"known models: {known}; or a folder with weights")


def unknown_id(model_id: bytes, installed: list[str]) -> Unsupported:
    """The error for a file of another model than those installed."""
    return Unsupported(
        f"the file was made with a model that is not installed (id {model_id.hex()})",
        hint=f"this installation has {', '.join(installed) or 'none'}; --model names the folder of another",
    )
