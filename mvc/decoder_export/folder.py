"""The folder that `mvc export-decoder` writes, and the check of what is in it by another program's arithmetic."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as serialise
from torch import Tensor

from mvc.decoder_export.graph import onnx_package
from mvc.decoder_export.prior import described
from mvc.decoder_export.readme import README
from mvc.decoder_export.synthesis import LATENT, PICTURE, QUALITY, UNITS, synthesis
from mvc.errors import BackendError, Unsupported
from mvc.exact.fixed import COARSE
from mvc.files import make_folder, refuse_existing, write_atomic
from mvc.models.lite import MARGIN, PATCH, WINDOW, MambaVCLite
from mvc.models.network import Network
from mvc.models.weights import Weights, folder_of, load
from mvc.version import __version__

SYNTHESIS_FILE, PRIOR_FILE, FACTS_FILE, README_FILE = "synthesis.onnx", "prior.safetensors", "decoder.json", "README.md"
FILES = SYNTHESIS_FILE, PRIOR_FILE, FACTS_FILE, README_FILE
SHARE_OFF = 1e-4
"""Of samples that may differ by more than 1: section 6.1 of the specification."""
CHECKED = ((3, 5, 0), (21, 12, 22), (12, 50, 45), (WINDOW // 3, WINDOW // 4, 63))
"""Rows and columns of latents, and quality indices, that a check takes."""


@dataclass(frozen=True)
class Agreement:
    """How what onnxruntime makes of latents compares with what mvc does, in samples of 8 bits."""

    samples: int
    different: int
    by_more: int
    most: int
    runtime: str

    def __str__(self) -> str:
        found = f"{self.different} of {self.samples} samples differ, by at most {self.most}"
        return f"checked with onnxruntime {self.runtime}: {found}"


def export_decoder(folder: Path, model: str, *, force: bool = False) -> Agreement | None:
    """Write the decoder of a model's name or folder; how its pixels compare, None where onnxruntime is not installed.

    WeightsError for what is no model, Unsupported for one that has no such form, BackendError without the package onnx
    or where the pixels are not ours, SourceError for a file that is there and not to be overwritten.
    """
    onnx_package()
    for name in FILES:
        refuse_existing(folder / name, force=force)
    weights = load(folder_of(model))
    network = _checked(weights)
    graph = synthesis(network.model.g_s, {"model": weights.name, "exact_sha256": weights.exact_hash.hex()})
    tensors = dict(network.exact_tensors())
    contents = {SYNTHESIS_FILE: graph.SerializeToString(), PRIOR_FILE: serialise(tensors)}
    agreement = compare(contents[SYNTHESIS_FILE], network)
    if agreement and agreement.by_more > SHARE_OFF * agreement.samples:
        raise BackendError(f"the ONNX graph gives other pixels than mvc: {agreement}")
    contents[FACTS_FILE] = (json.dumps(_facts(weights, tensors, contents), indent=1) + "\n").encode()
    contents[README_FILE] = README.encode()
    make_folder(folder)
    for name in FILES:
        write_atomic(folder / name, contents[name], force=force)
    return agreement


def _checked(weights: Weights) -> Network:
    network = weights.picture
    config = network.model.config
    able = len(weights.networks) == 1 and isinstance(network.model, MambaVCLite)
    if not able or config.block != "vss" or network.model.exact_synthesis:
        of = weights.name if not able else f"{weights.name} made of {config.block} blocks"
        raise Unsupported(f"the decoder of {of} cannot be exported", hint="that of mambavc-lite can")
    return network


def _facts(weights: Weights, tensors: dict[str, Tensor], contents: dict[str, bytes]) -> dict[str, Any]:
    """What decoder.json says."""
    config = weights.manifest["config"]
    latents = sum(channels for channels, _ in config["slices"])
    files = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    return {
        "made_by": f"mvc {__version__}",
        "format_version": 0,
        "model": weights.name,
        "model_id": weights.model_id.hex(),
        "exact_sha256": weights.exact_hash.hex(),
        "config": config,
        "files": files,
        "synthesis": {
            "inputs": {
                LATENT: {"type": "i32", "shape": ["H", "W", latents], "fraction_bits": COARSE.fraction_bits},
                QUALITY: {"type": "i64", "shape": [1], "range": [0, 63]},
            },
            "outputs": {PICTURE: {"type": "f32", "shape": [f"{PATCH} H", f"{PATCH} W", 3], "range": "around 0..1"}},
            "window": WINDOW,
            "margin": MARGIN,
        },
        "prior": described(tensors),
    }


def compare(graph: bytes, network: Network) -> Agreement | None:
    """Both programs' pixels of the same latents; None where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    off = []
    with torch.inference_mode():
        for height, width, index in CHECKED:
            y_hat = _latents(network.model, height, width, index)
            given = {LATENT: y_hat[0].numpy(), QUALITY: np.array([index])}
            theirs = torch.from_numpy(session.run([PICTURE], given)[0])
            ours = network.model.g_s(y_hat.float() / UNITS, torch.tensor([index]))[0]
            off.append((_samples(ours) - _samples(theirs)).abs().flatten())
    every = torch.cat(off)
    different, by_more, most = (int(count) for count in ((every > 0).sum(), (every > 1).sum(), every.max()))
    return Agreement(len(every), different, by_more, most, str(onnxruntime.__version__))


def _latents(model: Any, height: int, width: int, index: int) -> Tensor:
    """Latents like those of a picture, int32 [1, height, width, M]: of colours that drift, and noise."""
    random = torch.Generator().manual_seed(index)
    rows, columns = (torch.linspace(0, 1, PATCH * side) for side in (height, width))
    x = torch.stack([rows[:, None] * columns, rows[:, None].expand(-1, len(columns)), 1 - rows[:, None] * columns], -1)
    x = (x + 0.1 * torch.randn(x.shape, generator=random)).clamp(0, 1)
    y: Tensor = model.g_a(x[None], torch.tensor([index]))
    return y.mul(UNITS).round().int()


def _samples(x: Tensor) -> Tensor:
    return x.mul(255).round_().clamp_(0, 255).int()
