"""The one list of models: what each is, and whether its weights lie in this installation. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvc.errors import WeightsError

MODEL_ID_BYTES = 8
WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Preset:
    """A model by its public name."""

    name: str
    about: str

    @property
    def folder(self) -> Path:
        """Where its weights and manifest lie."""
        return WEIGHTS / self.name

    @property
    def shipped(self) -> bool:
        return (self.folder / "manifest.json").is_file()

    @property
    def manifest(self) -> dict[str, Any]:
        """What its export wrote down; WeightsError where it cannot be read."""
        try:
            manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        return manifest

    @property
    def card(self) -> str:
        """Its model card, Markdown: data and licences, recipe, results, weaknesses; empty if it has none."""
        card = self.folder / "card.md"
        return card.read_text(encoding="utf-8") if card.is_file() else ""

    @property
    def model_id(self) -> bytes:
        """What files made with its weights carry in their header (spec, section 3)."""
        try:
            return bytes.fromhex(self.manifest["exact_sha256"])[:MODEL_ID_BYTES]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> WeightsError:
        return WeightsError(f"the weights of {self.name} cannot be used: {error}", hint="install mvc again")


PRESETS = (
    Preset("mambavc-lite", "the default: small, one model for all rates, exact prior"),
    Preset("mambavc", "MambaVC at the paper's size"),
    Preset("swinvc", "its variant with Swin blocks, at the paper's size"),
    Preset("convvc", "its convolutional variant, at the paper's size"),
    Preset("samic", "SAMIC: semantic-aware scan and low-rank latents, at the paper's size"),
    Preset("mambavc-ssf", "video: scale-space flow with MambaVC's blocks"),
    Preset("swinvc-ssf", "video: scale-space flow with Swin blocks"),
    Preset("convvc-ssf", "video: scale-space flow as first published"),
)


def presets() -> tuple[Preset, ...]:
    """All models, the default first."""
    return PRESETS


def preset(name: str) -> Preset | None:
    """The model of this name, or None."""
    return next((p for p in PRESETS if p.name == name), None)


def preset_of(model_id: bytes) -> Preset | None:
    """The shipped model that made a file with this id in its header, or None."""
    return next((p for p in PRESETS if p.shipped and p.model_id == model_id), None)
