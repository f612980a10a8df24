"""From a training checkpoint to weights that code: lower the prior, build the tables, write the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvc.blocks.layers import QUALITIES
from mvc.effort.refine import choose_curvature
from mvc.entropy.tables import Tables, gaussian_tables, tables_from_pmfs
from mvc.errors import WeightsError
from mvc.exact.layers import lower
from mvc.models.mambavc_lite import Config, HyperDensity, MambaVCLite
from mvc.train import state
from mvc.train.calibrate import calibrated_tables
from mvc.train.data import CropStore
from mvc.weights import Weights, exact_hash, exact_tensors, save

TAIL = 2.0**-17
CURVATURE_CROPS = 4
WIDEST = 255
HYPER_BUCKETS = 16  # parts of the qualities, each with its own tables of the hyperlatent


def hyper_tables(density: HyperDensity) -> Tables:
    """A row for every quality bucket and channel, bucket first: the logistic in the middle of the bucket."""
    width = QUALITIES // HYPER_BUCKETS
    middles = torch.arange(HYPER_BUCKETS) * width + (width - 1) / 2
    with torch.no_grad():
        means, scales = (p[:, 0, 0].double().numpy() for p in density.parameters_at(middles))
    pmfs, lowest = [], []
    for mean, scale in zip(means.reshape(-1), scales.reshape(-1), strict=True):
        centre = round(float(mean))
        reach = int(np.clip(np.ceil(-np.log(TAIL) * scale + 1), 1, WIDEST))
        edges = (np.arange(centre - reach, centre + reach + 2) - 0.5 - mean) / scale
        pmfs.append(np.diff(0.5 * (1 + np.tanh(edges / 2))))
        lowest.append(centre - reach)
    return tables_from_pmfs(pmfs, lowest)


def load_checkpoint(path: Path) -> tuple[MambaVCLite, dict[str, Any]]:
    """The model with its averaged weights, and the checkpoint."""
    try:
        stored = state.read(path)
        model = MambaVCLite(Config.from_dict(stored["config"]))
        model.load_state_dict({name: value.float() for name, value in stored["average"].items()})
    except (OSError, KeyError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path} is not a checkpoint of `mvc train`: {error}") from error
    return model.eval(), stored


def make_weights(
    model: MambaVCLite,
    record: dict[str, Any],
    latent: Tables | None = None,
    curvature: list[list[float]] | None = None,
) -> Weights:
    """Lower a float model; `record` (training facts) and `curvature` (effort/refine.py) go into the manifest."""
    prior, hyper = lower(model.prior), hyper_tables(model.density)
    latent = latent or gaussian_tables()
    config = model.config.to_dict()
    digest = exact_hash(exact_tensors(prior, hyper, latent), config)
    manifest: dict[str, Any] = {"name": "mambavc-lite", "config": config, "exact_sha256": digest.hex()}
    manifest["training"] = record
    if curvature is not None:
        manifest["curvature"] = curvature
    return Weights(model, prior, hyper, latent, digest, manifest)


def export(checkpoint: Path, folder: Path, store: Path | None = None) -> Weights:
    """Write the weights folder of a checkpoint's averaged model.

    With a crop store (data.py) the curvatures of refinement are chosen and the latent tables fitted on it; else those
    are careful ones and these Gaussian.
    """
    model, stored = load_checkpoint(checkpoint)
    record = {"steps": stored["step"], "minutes": round(stored["minutes"], 1), "calibrated": store is not None}
    weights = make_weights(model, record)
    if store is not None:
        crops = CropStore(store)
        pictures = torch.from_numpy(crops.batch(np.random.default_rng(1), CURVATURE_CROPS, 256)).float() / 255
        curvature = choose_curvature(weights, pictures.split(1))
        weights = make_weights(model, record, curvature=curvature)
        weights = make_weights(model, record, calibrated_tables(weights, crops), curvature)
    save(folder, weights)
    return weights
