"""Checkpoints of the authors' public code as checkpoints of `mvc train`; foreign.py has their names and layouts."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from mvc.models.ssf import SSFConfig, SSFModel
from mvc.train import checkpoints, state
from mvc.train.foreign import certain_channel, is_ignored, translate
from mvc.train.optim import Adam

NAMED = 3  # tensors named in a message about many
Tensors = Mapping[str, Tensor]

_PRESETS: dict[str, tuple[str, PaperConfig | SSFConfig]] = {
    "mambavc": ("g_a.1.mixer.scan.projection", papers.MAMBAVC),
    "swinvc": ("g_a.1.attention.bias", papers.SWINVC),
    "convvc": ("g_a.1.beta_root", papers.CONVVC),
    "convvc-ssf": ("keyframe.g_a.0.weight", ssf.CONVVC_SSF),
}
"""A tensor that no other of these models has, and the paper's configuration."""


@dataclass(frozen=True)
class Imported:
    """A model of ours with the weights of a public checkpoint."""

    name: str
    config: dict[str, Any]
    unusual: dict[str, Any]  # the fields of config that are not the paper's
    tensors: dict[str, Tensor]  # the model's state dict, float32
    optimizer: dict[str, Any]  # as `Trainer` keeps it, before its first step
    ignored: list[str]  # tensors of the source that say nothing about the model


def import_weights(source: Path, target: Path, name: str | None = None, *, force: bool = False) -> Imported:
    """Write a checkpoint of step 0, with the authors' optimiser (Adam) before its first step.

    Raises WeightsError if `source` is no checkpoint or fits no model (not `name`, if that is given).
    """
    refuse_existing(target, force=force)
    try:
        made = fit(read_tensors(source), name)
    except WeightsError as error:
        raise WeightsError(f"{source} {error}", hint=error.hint) from error
    recipe = {"model": made.name, "optimizer": "adam"}
    checkpoint = {"recipe": recipe, "config": made.config, "step": 0, "minutes": 0.0, "optimizer": made.optimizer}
    file = io.BytesIO()
    torch.save({**checkpoint, "model": made.tensors, "average": made.tensors}, file)
    write_atomic(target, file.getvalue(), force=force)
    return made


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a torch checkpoint, bare or under `state_dict`, without DataParallel's prefix.

    No code in the file is run. Raises WeightsError, whose message goes on from the file's name.
    """
    check_input(path)
    with open(path, "rb") as file:
        stored = checkpoints.load(file)
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
    if name is not None and name not in _PRESETS:
        raise WeightsError(f"cannot be read as {name}", hint=f"weights are imported for {', '.join(_PRESETS)}")
    ours, ignored, unknown, odd = _translated(theirs)
    found = name or next((model for model, (mark, _) in _PRESETS.items() if mark in ours), None)
    if found is None:
        raise WeightsError(
            f"fits none of our models: {_some('tensors', list(theirs))}",
            hint=f"weights are imported for {', '.join(_PRESETS)}; --model says which one is meant",
        )
    preset = _PRESETS[found][1]
    try:
        with torch.device("meta"):
            model = _model(_config(preset, ours))
    except KeyError as error:
        raise _misfit(found, [error.args[0]], unknown, odd) from error
    except (IndexError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"does not fit {found}: its shapes do not belong together") from error
    wanted = model.state_dict()
    for our_name, value in ours.items():
        if our_name not in wanted:
            unknown.append(our_name)
        elif value.shape != wanted[our_name].shape:
            odd.append(f"{our_name} {list(value.shape)} instead of {list(wanted[our_name].shape)}")
        elif not value.isfinite().all():
            odd.append(f"{our_name}, not all of it finite")
    missing = [our_name for our_name in wanted if our_name not in ours]
    if missing or unknown or odd:
        raise _misfit(found, missing, unknown, odd)
    tensors, config = _centred(model, {our_name: ours[our_name] for our_name in wanted})
    usual = asdict(preset)
    fields = asdict(config)
    unusual = {key: value for key, value in fields.items() if value != usual[key]}
    return Imported(found, fields, unusual, tensors, _optimizer(model), ignored)


def _translated(theirs: Tensors) -> tuple[dict[str, Tensor], list[str], list[str], list[str]]:
    """-> tensors under our names and as we lay them out; names that are ignored, not known, of an odd shape."""
    ours: dict[str, Tensor] = {}
    ignored, unknown, odd = [], [], []
    for their_name, value in theirs.items():
        known = translate(their_name)
        if is_ignored(their_name):
            ignored.append(their_name)
        elif known is None or known[0] in ours:
            unknown.append(their_name)
        else:
            try:
                ours[known[0]] = known[1](value).float().contiguous()
            except (RuntimeError, IndexError):
                odd.append(f"{their_name} {list(value.shape)}")
    return ours, ignored, unknown, odd


def _some(what: str, names: list[str]) -> str:
    """A count with the first few names."""
    rest = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMED])}{rest})"


def _misfit(name: str, missing: list[str], unknown: list[str], odd: list[str]) -> WeightsError:
    wrong = {"missing": missing, "not known": unknown, "of another shape": odd}
    said = "; ".join(_some(what, names) for what, names in wrong.items() if names)
    return WeightsError(f"does not fit {name}: {said}")


def _model(config: PaperConfig | SSFConfig) -> PaperModel | SSFModel:
    return PaperModel(config) if isinstance(config, PaperConfig) else SSFModel(config)


def _optimizer(model: nn.Module) -> dict[str, Any]:
    """Adam's state for the network and for the tails of its densities, as `Trainer.state_dict` has them."""
    split: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        split[name.endswith("density.quantiles")].append(parameter)
    return Adam(split[False], 0.0).state_dict() | {"tails": Adam(split[True], 0.0).state_dict()}


# --- the median of the hyperlatent -----------------------------------------------------------------------------------


def _centred(
    model: PaperModel | SSFModel, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], PaperConfig | SSFConfig]:
    """The same model without medians, and its configuration: CompressAI rounds z around them, we to whole numbers."""
    config = model.config
    medians = {key: value[:, 1] for key, value in tensors.items() if key.endswith("density.quantiles")}
    if not any(values.any() for values in medians.values()):
        return tensors, config
    for key in medians:
        tensors = tensors | _with_constant(tensors, key.removesuffix("density.quantiles"))
    return tensors, replace(config, hyper=config.hyper + 1)


def _with_constant(tensors: Tensors, part: str) -> dict[str, Tensor]:
    """What changes when z = z' + medians: z' has medians of 0, and one more channel that is always 1.

    h_a subtracts the medians. Through the channel they reach the first layers of h_s, at the picture's edges as well,
    where a bias would not do: z is continued with zeros there, not with medians. Its density knows the channel, so it
    costs nothing. `part` is how the names of the autoencoder begin.
    """
    changed: dict[str, Tensor] = {}
    own = {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}
    medians = own["density.quantiles"][:, 1]
    own["density.biases.0"] = own["density.biases.0"] + F.softplus(own["density.matrices.0"]) * medians[:, None, None]
    own["density.quantiles"] = own["density.quantiles"] - medians[:, None]
    for key, row in certain_channel().items():
        changed[f"density.{key}"] = torch.cat([own[f"density.{key}"], row])
    last = f"h_a.{max(int(key.split('.')[1]) for key in own if key.startswith('h_a.'))}"
    weight, bias = own[f"{last}.weight"], own[f"{last}.bias"]
    changed[f"{last}.weight"] = torch.cat([weight, torch.zeros_like(weight[:1])])
    changed[f"{last}.bias"] = torch.cat([bias - medians, torch.ones(1)])
    for key, weight in own.items():
        if re.fullmatch(r"prior\.h_(mean|scale)\.(0\.)?0\.weight", key):  # of a transposed convolution: inputs first
            changed[key] = torch.cat([weight, torch.einsum("z,z...->...", medians, weight)[None]])
    return {part + key: value for key, value in changed.items()}


# --- widths ----------------------------------------------------------------------------------------------------------


def _config(preset: PaperConfig | SSFConfig, t: Tensors) -> PaperConfig | SSFConfig:
    """The configuration of the model with these tensors; fields that no tensor shows are those of the preset."""
    if isinstance(preset, SSFConfig):
        latents, width = t["keyframe.g_s.0.weight"].shape[:2]
        hyper = t["keyframe.density.quantiles"].shape[0]
        return replace(preset, width=width, latents=latents, hyper=hyper)
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
    if preset.kind == "gdn":
        return config
    one, two, three, hyper = *_block_counts(t, "g_a")[:3], *_block_counts(t, "h_a")[:1]
    config = replace(config, blocks=(one, two, three, hyper))
    if preset.kind == "vss":
        return replace(config, states=t["g_a.1.mixer.scan.a_log"].shape[0])
    stages = ("g_a.1", f"g_a.{one + 2}", f"g_a.{one + two + 3}", "h_a.1")
    one, two, three, hyper = (_window(t[f"{stage}.attention.bias"].shape[0]) for stage in stages)
    heads = t["g_a.1.attention.bias"].shape[1]
    return replace(config, windows=(one, two, three, hyper), head_width=config.width // heads)


def _block_counts(t: Tensors, place: str) -> list[int]:
    """How many blocks stand between the convolutions of an nn.Sequential."""
    numbers = {int(found[1]) for key in t if (found := re.match(rf"{place}\.(\d+)\.", key))}
    resampling = sorted(n for n in numbers if f"{place}.{n}.weight" in t)
    return [sum(a < n < b for n in numbers) for a, b in pairwise(resampling)]


def _window(places: int) -> int:
    """The side w of windows whose relative positions are (2w - 1)^2."""
    return (round(places**0.5) + 1) // 2
