"""Still-picture models by name and configuration: what a weights folder and a checkpoint say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mvc.errors import WeightsError
from mvc.models.base import PictureModel


def make(name: str, config: Mapping[str, Any]) -> PictureModel:
    """The untrained networks of a model; fields that `config` lacks are those of the preset.

    Raises WeightsError for a name that no still-picture model has, TypeError for a field that does not exist.
    """
    # Imported late: most processes need one family alone, and start faster for it.
    if name == "mambavc-lite":
        from mvc.models.mambavc_lite import Config, MambaVCLite

        return MambaVCLite(Config.from_dict(dict(config)))
    from mvc.models import papers, samic

    presets = {"mambavc": papers.MAMBAVC, "swinvc": papers.SWINVC, "convvc": papers.CONVVC, "samic": samic.SAMIC}
    if name not in presets:
        known = ", ".join(["mambavc-lite", *presets])
        raise WeightsError(f"there is no model {name!r} for still pictures", hint=f"there are {known}")
    model = samic.SamicModel if name == "samic" else papers.PaperModel
    return model(presets[name].with_fields(config))
