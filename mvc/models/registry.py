"""The one list of models: what each is, and whether its weights lie in this installation. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


PRESETS = (Preset("mambavc-lite", "the default: small, one model for all rates, exact prior"),)


def presets() -> tuple[Preset, ...]:
    """All models, the default first."""
    return PRESETS


def preset(name: str) -> Preset | None:
    """The model of this name, or None."""
    return next((p for p in PRESETS if p.name == name), None)
