"""Looks: other pictures of the same files. A look stands beside the weights of the model that made the file.

In training it is a model of two networks, of which that for pictures stays as it is ("picture"), and the other is the
look ("detail"). Installed, its folder has the name of the model's with that of the look behind it, and holds the detail
network alone, with a hash of the synthesis that it was trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse
from torch import Tensor, nn

from mvc.errors import WeightsError
from mvc.models.base import Autoencoder
from mvc.models.detail import Detail, DetailConfig, Look
from mvc.models.lite import Config, MambaVCLite, Synthesis
from mvc.models.registry import PICTURE
from mvc.models.weights import store, stored
from mvc.quality import INDICES

NATURAL = "natural"
DETAIL = "detail"


@dataclass(frozen=True)
class NaturalConfig:
    """Of the model that makes the picture, and of its detail."""

    picture: Config
    detail: DetailConfig

    def to_dict(self) -> dict[str, Any]:
        return {PICTURE: self.picture.to_dict(), DETAIL: self.detail.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NaturalConfig:
        """Missing fields are the default model's; TypeError for others."""
        if unknown := values.keys() - {PICTURE, DETAIL}:
            raise TypeError(f"there is no {min(unknown)!r} in the configuration of a look")
        picture = Config.from_dict(values.get(PICTURE, {}))
        return cls(picture, DetailConfig(**{"width": picture.width8, **values.get(DETAIL, {})}))


class Natural(nn.Module):
    """The natural look as it is trained, for all rates."""

    rates = INDICES
    trains_in_half = True

    def __init__(self, config: NaturalConfig) -> None:
        super().__init__()
        if config.detail.width != config.picture.width8:
            raise ValueError(f"width = {config.detail.width} should be that of the features, {config.picture.width8}")
        self.config = config
        self.picture = MambaVCLite(config.picture)
        self.detail = Detail(config.detail)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """By what they are for; the first codes."""
        return {PICTURE: self.picture, DETAIL: self.detail}


def make(name: str, config: dict[str, Any]) -> Natural:
    """For the table of models (registry.py)."""
    return Natural(NaturalConfig.from_dict(config))


# --- on disk ---------------------------------------------------------------------------------------------------------


def folder_beside(folder: Path) -> Path:
    """Where the natural look of the model in a folder lies, if it has one."""
    return folder.with_name(f"{folder.name}-{NATURAL}")


def synthesis_hash(synthesis: Synthesis) -> str:
    """SHA-256, in hex, of the synthesis as it is stored, in half precision: what a look is trained on."""
    digest = hashlib.sha256()
    for name, value in sorted(synthesis.state_dict().items()):
        digest.update(name.encode() + value.to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(folder: Path, model: Natural, record: dict[str, Any]) -> None:
    """Write the look's two files, the manifest last; `record` are facts of its training."""
    tensors = {name: value.half().contiguous() for name, value in model.detail.state_dict().items()}
    manifest = {
        "look": NATURAL,
        "config": model.config.detail.to_dict(),
        "synthesis_sha256": synthesis_hash(model.picture.g_s),
        "training": record,
    }
    store(folder, tensors, manifest)


def look_of(model: Autoencoder, beside: Path | None, share: float) -> Look:
    """So much of the natural look of a model, which lies beside its folder; WeightsError where there is none."""
    if not isinstance(model, MambaVCLite) or beside is None:
        raise WeightsError("this model has no looks", hint="that of mambavc-lite has")
    return Look(model, _load(beside, model.g_s), share)


@lru_cache(maxsize=4)
def _load(beside: Path, synthesis: Synthesis) -> Detail:
    """The look beside a model's folder, for its synthesis; WeightsError where there is none, or it is another's."""
    try:
        folder = folder_beside(beside)
        text, data = stored(folder)
    except OSError as error:
        hint = "train one with `mvc train`, see docs/looks.md"
        raise WeightsError(f"this model has no natural look here: {error}", hint=hint) from error
    try:
        manifest = json.loads(text)
        if hashlib.sha256(data).hexdigest() != manifest["sha256"] or manifest["look"] != NATURAL:
            raise ValueError("its two files do not belong together")
        detail = Detail(DetailConfig(**manifest["config"]))
        detail.load_state_dict(_finite(parse(data)))
    except Exception as error:  # whatever a damaged file leads to
        raise WeightsError(f"the look in {folder} cannot be used: {error}", hint="install mvc again") from error
    if manifest["synthesis_sha256"] != synthesis_hash(synthesis):
        raise WeightsError(f"the look in {folder} was made for other weights than the file's", hint="train it again")
    return detail.to(next(synthesis.parameters()).device).eval().requires_grad_(False)


def _finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError("a weight is not a number")
    return {name: value.float() for name, value in tensors.items()}
