"""Deeper stages for a trained model: new blocks go to the ends of its stages and start near the identity.

What is trained stays as it is, its optimiser's state included: Muon's momentum lies in groups of one shape and AdamW's
moments in the order of the parameters, and new parameters change both. New ones start without any.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from mvc.models import registry
from mvc.train.optim import MuonAdamW

DEPTHS = ("analysis", "synthesis")
BLOCK = re.compile(r"(.*\.stage\d+)\.(\d+)\.")


def is_deeper(config: dict[str, Any], than: dict[str, Any]) -> bool:
    """Whether two configurations differ in the blocks per stage alone, and the first has more of them, nowhere less."""
    if any(name not in config or name not in than for name in DEPTHS):
        return False
    pairs = [pair for name in DEPTHS for pair in zip(config[name], than[name], strict=True)]
    others = all(config.get(name) == than.get(name) for name in {*config, *than} - set(DEPTHS))
    return others and all(new >= old for new, old in pairs) and any(new > old for new, old in pairs)


def grow(stored: dict[str, Any], name: str, model: Any, optimizer: MuonAdamW) -> dict[str, Any]:
    """The checkpoint `stored` of a model called `name`, as one of the deeper `model`, with its fresh `optimizer`.

    The blocks it has not are those of `model`, as they are now.
    """
    former: Any = registry.known(name).make(stored["config"])
    fresh = {key: value.detach().clone() for key, value in model.state_dict().items()}
    added = set(fresh) - set(stored["model"])
    depths = _depths(stored["model"])
    for key in added:
        block = BLOCK.match(key)
        if block is None or int(block[2]) < depths[block[1]]:
            raise ValueError(f"{key} is not in the checkpoint")
    before = MuonAdamW(list(former.parameters()), 0.0)
    names = {id(parameter): key for net in (former, model) for key, parameter in net.named_parameters()}
    return {
        **stored,
        "config": model.config.to_dict(),
        "model": fresh | stored["model"],
        "average": fresh | stored["average"],
        "optimizer": {
            "muon": _grown_muon(stored["optimizer"]["muon"], before, optimizer, names),
            "adamw": _grown_adamw(stored["optimizer"]["adamw"], before, optimizer, names),
        },
    }


def _depths(parameters: dict[str, Any]) -> dict[str, int]:
    """How many blocks each stage has."""
    depths: dict[str, int] = {}
    for key in parameters:
        if block := BLOCK.match(key):
            depths[block[1]] = max(depths.get(block[1], 0), int(block[2]) + 1)
    return depths


def _grown_muon(stored: dict[str, Any], before: MuonAdamW, after: MuonAdamW, names: dict[int, str]) -> dict[str, Any]:
    momentum = {
        names[id(parameter)]: value
        for group, buffer in zip(before.muon.groups, stored["buffers"], strict=True)
        for parameter, value in zip(group, buffer, strict=True)
    }
    rows = [[momentum.get(names[id(p)], torch.zeros_like(p, device="cpu")) for p in g] for g in after.muon.groups]
    return {"buffers": [torch.stack(row) for row in rows]}


def _grown_adamw(stored: dict[str, Any], before: MuonAdamW, after: MuonAdamW, names: dict[int, str]) -> dict[str, Any]:
    """A parameter without an entry starts at AdamW's step 0, with moments of zero."""
    position = {names[id(parameter)]: index for index, parameter in enumerate(after.rest)}
    moments = {position[names[id(before.rest[index])]]: values for index, values in stored["state"].items()}
    groups = [{**group, "params": list(range(len(after.rest)))} for group in stored["param_groups"]]
    return {"state": moments, "param_groups": groups}


def describe(config: dict[str, Any], former: dict[str, Any]) -> str:
    """What was grown, in words: "analysis from [3, 6] to [4, 8] blocks"."""
    changed = [name for name in DEPTHS if list(config[name]) != list(former[name])]
    return ", ".join(f"{name} from {list(former[name])} to {list(config[name])} blocks" for name in changed)
