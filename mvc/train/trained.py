"""What a checkpoint of training holds, as a model; and new runs that begin with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvc.errors import WeightsError
from mvc.models import registry
from mvc.models.lite import MambaVCLite
from mvc.models.lite_video import LiteVideo, from_still
from mvc.models.looks import Natural
from mvc.train import state
from mvc.train.checkpoints import UNREADABLE
from mvc.train.recipe import Recipe


def trained_with(stored: dict[str, Any], name: str) -> Any:
    """A field of the recipe that a checkpoint was trained with; the default if it is older than the field."""
    return stored["recipe"].get(name, Recipe.__dataclass_fields__[name].default)


def load_checkpoint(path: Path) -> tuple[Any, dict[str, Any]]:
    """The model with its averaged weights (an Autoencoder, or for video a module of several), and the checkpoint."""
    try:
        stored = state.read(path)
        model = registry.known(trained_with(stored, "model")).make(stored["config"])
        weights = {name: value.float() for name, value in stored["average"].items()}
        if not all(bool(value.half().isfinite().all()) for value in weights.values()):
            raise ValueError("a weight is not a number, or too large for half precision")
        if stored["recipe"].get("parts") and len(weights) < len(model.state_dict()):  # packed: the rest is elsewhere
            start(model, Path(trained_with(stored, "start")))
            weights = model.state_dict() | weights
        model.load_state_dict(weights)
        if type(trained_with(stored, "rd_lambda")) not in (int, float):
            raise ValueError("its rd_lambda is no number")
    except UNREADABLE as error:
        raise WeightsError(f"{path} is not a checkpoint of `mvc train`: {state.line(error)}") from error
    return model.eval(), stored


def start(model: Any, checkpoint: Path) -> None:
    """Give an untrained model the averaged weights of a checkpoint; WeightsError if they do not fit it.

    A model for clips can begin with one for still pictures: keyframe and residual are coded as those at first. A look
    begins with the model that it is of.
    """
    trained, _ = load_checkpoint(checkpoint)
    try:
        if isinstance(model, LiteVideo) and isinstance(trained, MambaVCLite):
            trained = from_still(trained, model.config)
        if isinstance(model, Natural) and isinstance(trained, MambaVCLite):
            model = model.picture
        model.load_state_dict(trained.state_dict())
    except UNREADABLE as error:
        raise WeightsError(
            f"{checkpoint} does not fit the recipe's model: {state.line(error)}", hint="`config` must be what it has"
        ) from error
