"""From a training checkpoint to weights that code: lower the prior, build the tables, write the manifest."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvc.effort.refine import choose_curvature
from mvc.entropy.tables import Tables, gaussian_tables, tables_from_pmfs
from mvc.errors import SourceError
from mvc.models import looks, registry
from mvc.models.density import FactorizedDensity
from mvc.models.lite import HyperDensity
from mvc.models.network import make_network
from mvc.models.registry import PICTURE
from mvc.models.weights import Weights, save
from mvc.models.weights import make_weights as assemble
from mvc.quality import INDICES
from mvc.train.calibrate import calibrated_tables
from mvc.train.calibrate_clips import clip_curvature, clip_tables
from mvc.train.clips import ClipStore
from mvc.train.data import CropStore
from mvc.train.stores import stills_store
from mvc.train.trained import load_checkpoint, trained_with

TAIL = 2.0**-17
CURVATURE_CROPS = 8
WIDEST = 255
HYPER_BUCKETS = 16  # parts of the qualities, each with its own tables of the hyperlatent


def hyper_tables(density: HyperDensity | FactorizedDensity) -> Tables:
    """The tables of the hyperlatent.

    mambavc-lite: a row for every quality bucket and channel, bucket first: the logistic in the middle of the bucket.
    A learned density: a row for every channel, over the integers between its tails.
    """
    if isinstance(density, FactorizedDensity):
        return _learned_tables(density)
    width = INDICES // HYPER_BUCKETS
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


def _learned_tables(density: FactorizedDensity) -> Tables:
    """The trained quantiles bound a row; a run that ended before they came to rest loses escapes to it, not coding."""
    exact = copy.deepcopy(density).double()
    with torch.no_grad():
        low, high = (exact.quantiles[:, k].round().clamp(-WIDEST, WIDEST).long().tolist() for k in (0, 2))
        first = min(low)
        edges = torch.arange(first, max(high) + 2, dtype=torch.float64) - 0.5
        masses = torch.sigmoid(exact.logits(edges.expand(len(low), -1))).diff().numpy()
    pmfs = [mass[a - first : b - first + 1] for mass, a, b in zip(masses, low, high, strict=True)]
    return tables_from_pmfs(pmfs, low)


def make_weights(
    model: Any,
    record: dict[str, Any],
    latent: Mapping[str, Tables] | None = None,
    curvature: list[list[float]] | None = None,
    *,
    name: str,
) -> Weights:
    """Lower all networks of a trained model; its name and `record` (training facts) go into the manifest.

    `latent` are latent tables by what is coded, Gaussian by default; `curvature` (refine.py) is of the network for
    pictures.
    """
    fitted = latent or {}
    networks = {
        part: make_network(own, hyper_tables(own.density), fitted.get(part) or gaussian_tables())
        for part, own in model.networks.items()
    }
    networks[PICTURE] = replace(networks[PICTURE], curvature=curvature)
    return assemble(networks, name, model.config.to_dict(), record)


def export(checkpoint: Path, folder: Path, store: Path | None = None) -> Weights | None:
    """Write the weights folder of a checkpoint's averaged model; what a look has is not what codes, and not given.

    With the store of a run the curvatures of refinement are chosen and the latent tables fitted on it; else those are
    careful ones and these Gaussian. SourceError for a model that cannot refine, with a store.
    """
    model, stored = load_checkpoint(checkpoint)
    record = {"steps": stored["step"], "minutes": round(stored["minutes"], 1)}
    if isinstance(model, looks.Natural):
        looks.save(folder, model, record)
        return None
    name, rd_lambda = (trained_with(stored, field) for field in ("model", "rd_lambda"))
    if store is not None and not model.networks[PICTURE].refines:
        raise SourceError(f"no tables are fitted for {name}", hint="without --store they are Gaussian")
    record["calibrated"] = store is not None
    if rd_lambda:
        record["rd_lambda"] = rd_lambda
    weights = make_weights(model, record, name=name)
    if store is not None and registry.known(name).kind == "video":
        clips = ClipStore(store)
        stills = CropStore(stills_store(store)) if stills_store(store).with_suffix(".json").exists() else None
        curvature = clip_curvature(weights, clips, stills)
        weights = make_weights(model, record, curvature=curvature, name=name)
        weights = make_weights(model, record, clip_tables(weights, clips), curvature, name=name)
    elif store is not None:
        crops = CropStore(store)
        pictures = torch.from_numpy(crops.batch(np.random.default_rng(1), CURVATURE_CROPS, 256)).float() / 255
        curvature = choose_curvature(weights.picture, pictures.split(1))
        weights = make_weights(model, record, curvature=curvature, name=name)
        weights = make_weights(model, record, {PICTURE: calibrated_tables(weights, crops)}, curvature, name=name)
    save(folder, weights)
    return weights
