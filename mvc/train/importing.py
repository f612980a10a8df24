"""Checkpoints of the authors' public code as checkpoints of `mvc train`; foreign.py has their names and layouts."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.errors import WeightsError
from mvc.files import check_input, refuse_existing, write_atomic
from mvc.models import papers, ssf
from mvc.models.papers import PaperConfig, PaperModel
from mvc.models.ssf import SSFModel
from mvc.train import state
from mvc.train.foreign import certain_channel, is_ignored, translate

NAMED = 3  # tensors named in a message about many
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Imported:
    """A model of ours with the weights of a public checkpoint."""

    name: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]  # the model's state dict, float32
    ignored: list[str]  # tensors of the source that say nothing about the model
    note: str = ""  # in what the model is not the authors'


@dataclass(frozen=True)
class _Layout:
    """One of our models: a tensor that no other has, and the networks at the widths of a state dict."""

    mark: str
    make: Callable[[Tensors], nn.Module]


def import_weights(source: Path, target: Path, name: str | None = None, *, force: bool = False) -> Imported:
    """Write what `mvc export` and `mvc train --resume-from` read: step 0, and no optimiser state yet.

    Raises WeightsError if `source` is no checkpoint or fits no model (not `name`, if that is given).
    """
    refuse_existing(target, force=force)
    try:
        model = fit(read_tensors(source), name)
    except WeightsError as error:
        raise WeightsError(f"{source} {error}", hint=error.hint) from error
    file = io.BytesIO()
    checkpoint = {"recipe": {"model": model.name}, "config": model.config, "step": 0, "minutes": 0.0}
    torch.save({**checkpoint, "model": model.tensors, "average": model.tensors, "optimizer": {}}, file)
    write_atomic(target, file.getvalue(), force=force)
    return model


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a torch checkpoint, bare or under `state_dict`, without DataParallel's prefix.

    No code in the file is run. Raises WeightsError, whose message goes on from the file's name.
    """
    check_input(path)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError) as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            hint = "where you trust it, load it and save its state dict alone: torch.save(model.state_dict(), ...)"
            raise WeightsError(f"holds {found[1]}; only tensors and plain values are read", hint=hint) from error
        raise WeightsError("is not a checkpoint of torch") from error
    if isinstance(stored, dict) and all(key in stored for key in state.KEYS):
        raise WeightsError("is a checkpoint of `mvc train` already")
    tensors = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise WeightsError("holds no state dict", hint="it may be bare, or stand under the key state_dict")
    return {str(name).removeprefix("module."): value for name, value in tensors.items()}


def fit(theirs: Tensors, name: str | None = None) -> Imported:
    """Our model (`name`, or the one that it looks like) with these tensors; every one of them is used or ignored.

    Raises WeightsError, naming the first tensors that are missing, not known or of another shape.
    """
    if name is not None and name not in _LAYOUTS:
        raise WeightsError(f"cannot be read as {name}", hint=f"weights are imported for {', '.join(_LAYOUTS)}")
    ours: dict[str, Tensor] = {}
    ignored, unknown, odd = [], [], []
    for their_name, value in theirs.items():
        if is_ignored(their_name):
            ignored.append(their_name)
        elif (known := translate(their_name)) is None or known[0] in ours:
            unknown.append(their_name)
        else:
            our_name, convert = known
            try:
                ours[our_name] = convert(value).float().contiguous()
            except (RuntimeError, IndexError):
                odd.append(f"{their_name} {list(value.shape)}")
    found = name or next((model for model, layout in _LAYOUTS.items() if layout.mark in ours), None)
    if found is None:
        hint = f"weights are imported for {', '.join(_LAYOUTS)}; --model says which one is meant"
        raise WeightsError(f"fits none of our models: {_some('tensors', list(theirs))}", hint=hint)
    try:
        with torch.device("meta"):
            model = _LAYOUTS[found].make(ours)
    except (KeyError, IndexError, ValueError, RuntimeError, ZeroDivisionError) as error:
        lacking = f"{error.args[0]} is missing" if isinstance(error, KeyError) else "its shapes do not belong together"
        raise WeightsError(f"does not fit {found}: {lacking}") from error
    wanted = model.state_dict()
    unknown += [our_name for our_name in ours if our_name not in wanted]
    for our_name, value in ours.items():
        if our_name in wanted and value.shape != wanted[our_name].shape:
            odd.append(f"{our_name} {list(value.shape)} instead of {list(wanted[our_name].shape)}")
        elif not value.isfinite().all():
            odd.append(f"{our_name} with values that are not finite")
    missing = [our_name for our_name in wanted if our_name not in ours]
    wrong = {"missing": missing, "not known": unknown, "of another shape": odd}
    if any(wrong.values()):
        said = "; ".join(_some(what, names) for what, names in wrong.items() if names)
        raise WeightsError(f"does not fit {found}: {said}", hint="the config of the run may differ from the paper's")
    return _centred(found, model, {our_name: ours[our_name] for our_name in wanted}, ignored)


def _some(what: str, names: list[str]) -> str:
    """A count with the first few names."""
    rest = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMED])}{rest})"


# --- the median of the hyperlatent -----------------------------------------------------------------------------------


def _centred(name: str, model: nn.Module, tensors: dict[str, Tensor], ignored: list[str]) -> Imported:
    """CompressAI rounds z around its medians, we to whole numbers: h_a subtracts them, one more channel adds them."""
    if isinstance(model, PaperModel):
        config = model.config
        if tensors["density.quantiles"][:, 1].any():
            tensors, config = tensors | _with_constant(tensors), replace(config, hyper=config.hyper + 1)
        return Imported(name, config.to_dict(), tensors, ignored)
    assert isinstance(model, SSFModel)
    medians = torch.cat([value[:, 1] for key, value in tensors.items() if key.endswith("density.quantiles")])
    furthest = (medians - medians.round()).abs().max().item()
    note = f"z is rounded to whole numbers, not around its medians: up to {furthest:.2f} aside" if furthest else ""
    return Imported(name, asdict(model.config), tensors, ignored, note)


def _with_constant(tensors: Tensors) -> dict[str, Tensor]:
    """What changes when z = z' + medians: z' has medians of 0, and one more channel that is always 1.

    Through it the medians reach the first layers of h_s, at the picture's edges as well, where a bias would not do:
    the border of z is padded with zeros, not with medians. The channel costs nothing, as its density knows it.
    """
    changed: dict[str, Tensor] = {}
    density = {key.removeprefix("density."): value for key, value in tensors.items() if key.startswith("density.")}
    medians = density["quantiles"][:, 1]
    density["biases.0"] = density["biases.0"] + F.softplus(density["matrices.0"]) * medians[:, None, None]
    density["quantiles"] = density["quantiles"] - medians[:, None]
    for key, row in certain_channel().items():
        changed[f"density.{key}"] = torch.cat([density[key], row])
    last = f"h_a.{max(int(key.split('.')[1]) for key in tensors if key.startswith('h_a.'))}"
    weight, bias = tensors[f"{last}.weight"], tensors[f"{last}.bias"]
    changed[f"{last}.weight"] = torch.cat([weight, torch.zeros_like(weight[:1])])
    changed[f"{last}.bias"] = torch.cat([bias - medians, torch.ones(1)])
    for key in ("prior.h_mean.0.weight", "prior.h_scale.0.weight"):
        weight = tensors[key]  # of a transposed convolution: inputs first
        changed[key] = torch.cat([weight, torch.einsum("z,z...->...", medians, weight)[None]])
    return changed


# --- widths ----------------------------------------------------------------------------------------------------------


def _block_counts(t: Tensors, place: str) -> list[int]:
    """How many blocks stand between the convolutions of an nn.Sequential."""
    numbers = {int(found[1]) for key in t if (found := re.match(rf"{place}\.(\d+)\.", key))}
    resampling = sorted(n for n in numbers if f"{place}.{n}.weight" in t)
    return [sum(a < n < b for n in numbers) for a, b in pairwise(resampling)]


def _still(preset: PaperConfig, t: Tensors) -> PaperModel:
    gate, mean = "prior.contexts.0.mean_gate", "prior.contexts.0.mean"
    inner = t[f"{gate}.inp.weight"].shape[0]
    places, heads = t[f"{gate}.windows.0.attention.bias"].shape
    config = replace(
        preset,
        width=t["g_a.0.weight"].shape[0],
        latents=t["g_s.0.weight"].shape[0],
        hyper=t["density.quantiles"].shape[0],
        kernel=t["g_s.0.weight"].shape[-1],
        outer_kernel=t["g_a.0.weight"].shape[-1],
        slices=sum(f"prior.contexts.{k}.mean.0.weight" in t for k in range(len(t))),
        context_hidden=(t[f"{mean}.0.weight"].shape[0], t[f"{mean}.2.weight"].shape[0]),
        context_inner=inner,
        context_head=inner // heads,
        context_window=_window(places),
    )
    if preset.kind != "gdn":
        one, two, three, hyper = *_block_counts(t, "g_a"), *_block_counts(t, "h_a")
        config = replace(config, blocks=(one, two, three, hyper))
    if preset.kind == "vss":
        config = replace(config, states=t["g_a.1.mixer.scan.a_log"].shape[0])
    if preset.kind == "swin":
        places, heads = t["g_a.1.attention.bias"].shape
        stages = (1, config.blocks[0] + 2, sum(config.blocks[:2]) + 3)
        first = [f"g_a.{n}" for n in stages] + ["h_a.1"]
        one, two, three, hyper = (_window(t[f"{block}.attention.bias"].shape[0]) for block in first)
        config = replace(config, head_width=config.width // heads, windows=(one, two, three, hyper))
    return PaperModel(config)


def _window(places: int) -> int:
    """The side w of windows whose relative positions are (2w - 1)^2."""
    return (round(places**0.5) + 1) // 2


def _video(t: Tensors) -> SSFModel:
    latents, width = t["keyframe.g_s.0.weight"].shape[:2]
    return SSFModel(replace(ssf.CONVVC_SSF, width=width, latents=latents))


_LAYOUTS = {
    "mambavc": _Layout("g_a.1.mixer.scan.projection", partial(_still, papers.MAMBAVC)),
    "swinvc": _Layout("g_a.1.attention.bias", partial(_still, papers.SWINVC)),
    "convvc": _Layout("g_a.1.beta_root", partial(_still, papers.CONVVC)),
    "convvc-ssf": _Layout("keyframe.g_a.0.weight", _video),
}
