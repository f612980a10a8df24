"""The one table of models: what each is, what it can do, who makes it, and whether its weights are installed.

Imports no torch: `mvc info`, `mvc models` and the start of every command read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mvc.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from mvc.models.base import Autoencoder, InterFlow

MODEL_ID_BYTES = 8
PICTURE = "picture"
"""The network that codes pictures and keyframes, which every model has."""
WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Preset:
    """A model by its public name. `maker` is MODULE:FUNCTION in mvc.models, from plain values to untrained networks."""

    name: str
    about: str
    maker: str
    several_rates: bool = False  # one model for all qualities
    flow: str = ""  # of video: MODULE:CLASS of the InterFlow (mvc/models/base.py)
    look_of: str = ""  # the model that it is a look of: it shows that one's files, and codes none
    packing: int = 1  # of video: pixels to a side for each position of a frame, 1 for RGB, 2 for 4:2:0 (mvc/planes.py)

    @property
    def kind(self) -> Literal["still", "video", "look"]:
        return "look" if self.look_of else "video" if self.flow else "still"

    def make(self, config: Mapping[str, Any] | None = None) -> nn.Module:
        """The untrained networks, float32: an Autoencoder, or for video a module of several.

        Fields that `config` lacks are those of the preset. TypeError for a field that does not exist.
        """
        made: nn.Module = _named(self.maker)(self.name, dict(config or {}))
        return made

    def flow_of(self, networks: Mapping[str, Autoencoder]) -> InterFlow | None:
        """How frames are coded given the one before, by networks of this model; None for still pictures."""
        return _named(self.flow)(networks) if self.flow else None

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


def _named(place: str) -> Any:
    module, name = place.split(":")  # imported late: most processes need one family alone
    return getattr(import_module(f"mvc.models.{module}"), name)


PRESETS = (
    Preset(
        "mambavc-lite",
        "the default: small, one model for all rates, exact prior",
        "lite:make",
        several_rates=True,
    ),
    Preset(
        "mambavc-lite-seen",
        "the same, trained for how errors are seen: what --tune look takes",
        "lite:make",
        several_rates=True,
    ),
    Preset("mambavc", "MambaVC at the paper's size", "papers:make"),
    Preset("swinvc", "its variant with Swin blocks, at the paper's size", "papers:make"),
    Preset("convvc", "its convolutional variant, at the paper's size", "papers:make"),
    Preset("samic", "SAMIC: semantic-aware scan and low-rank latents, at the paper's size", "samic:make"),
    Preset(
        "mambavc-ssf-lite",
        "video: small, one model for all rates, 4:2:0, exact prediction",
        "lite_video:make",
        several_rates=True,
        flow="lite_flow:LiteFlow",
        packing=2,
    ),
    Preset("mambavc-ssf", "video: scale-space flow with MambaVC's blocks", "ssf:make", flow="ssf:ScaleSpaceFlow"),
    Preset("swinvc-ssf", "video: scale-space flow with Swin blocks", "ssf:make", flow="ssf:ScaleSpaceFlow"),
    Preset("convvc-ssf", "video: scale-space flow as first published", "ssf:make", flow="ssf:ScaleSpaceFlow"),
)


LOOKS = (
    Preset(
        "mambavc-lite-natural",
        "the natural look of mambavc-lite: detail that its files leave open",
        "looks:make",
        several_rates=True,
        look_of="mambavc-lite",
    ),
    Preset(
        "mambavc-lite-seen-natural",
        "the natural look of mambavc-lite-seen",
        "looks:make",
        several_rates=True,
        look_of="mambavc-lite-seen",
    ),
)
"""What shows files in another way, and can be trained. Its folder's name is the model's with that of the look."""


def presets(kind: str | None = None) -> tuple[Preset, ...]:
    """All models, or those of one kind, the default first."""
    return tuple(p for p in PRESETS if kind in (None, p.kind))


def preset(name: str) -> Preset | None:
    """The model of this name, or None."""
    return next((p for p in PRESETS if p.name == name), None)


def known(name: str) -> Preset:
    """The model of this name; WeightsError if there is none."""
    found = preset(name) or next((look for look in LOOKS if look.name == name), None)
    if found is None:
        raise WeightsError(f"there is no model {name!r}", hint=f"there are {', '.join(p.name for p in PRESETS)}")
    return found


def preset_of(model_id: bytes) -> Preset | None:
    """The shipped model that made a file with this id in its header, or None."""
    return next((p for p in PRESETS if p.shipped and p.model_id == model_id), None)


def looks_of(model_id: bytes) -> tuple[str, ...]:
    """What the picture in a file with this id in its header can be shown as, by what is installed: "faithful" first."""
    made_by = preset_of(model_id)
    own = [look for look in LOOKS if made_by and look.look_of == made_by.name and look.shipped]
    return ("faithful", *(look.name.removeprefix(f"{look.look_of}-") for look in own))
