"""Every model by its public name: how its networks are made, and how a picture passes through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mvc.models import mambavc_lite, papers, samic, ssf
from mvc.models.complexity import Complexity, ShapeCoder, measure
from mvc.models.mambavc_lite import MambaVCLite
from mvc.models.papers import PaperModel
from mvc.models.samic import SamicModel
from mvc.models.ssf import SSFModel


def _lite(model: nn.Module, width: int, height: int) -> None:
    assert isinstance(model, MambaVCLite)
    x, quality = torch.empty(1, height, width, 3), torch.zeros(1)
    y, z = model.analyse(x, quality)
    model.g_s(model.prior.code(ShapeCoder(), quality, z, y), quality)


def _still(model: nn.Module, width: int, height: int) -> None:
    assert isinstance(model, PaperModel)
    model.code(ShapeCoder(), torch.empty(1, height, width, 3))


def _video(model: nn.Module, width: int, height: int) -> None:
    """A keyframe and an inter frame: each of the three autoencoders once."""
    assert isinstance(model, SSFModel)
    x = torch.empty(1, height, width, 3)
    model.code_inter(lambda _: ShapeCoder(), x, model.code_keyframe(lambda _: ShapeCoder(), x))


@dataclass(frozen=True)
class Entry:
    """A model: its constructor, what its picture sides must be multiples of, and one pass over a picture."""

    make: Callable[[], nn.Module]
    stride: int
    run: Callable[[nn.Module, int, int], object]


ENTRIES = {
    "mambavc-lite": Entry(MambaVCLite, mambavc_lite.STRIDE, _lite),
    "mambavc": Entry(lambda: PaperModel(papers.MAMBAVC), papers.STRIDE, _still),
    "swinvc": Entry(lambda: PaperModel(papers.SWINVC), papers.STRIDE, _still),
    "convvc": Entry(lambda: PaperModel(papers.CONVVC), papers.STRIDE, _still),
    "samic": Entry(lambda: SamicModel(samic.SAMIC), papers.STRIDE, _still),
    "mambavc-ssf": Entry(lambda: SSFModel(ssf.MAMBAVC_SSF), ssf.STRIDE, _video),
    "swinvc-ssf": Entry(lambda: SSFModel(ssf.SWINVC_SSF), ssf.STRIDE, _video),
    "convvc-ssf": Entry(lambda: SSFModel(ssf.CONVVC_SSF), ssf.STRIDE, _video),
}


def build(name: str) -> nn.Module:
    """The untrained networks of a model, float32; KeyError for a name that no preset has."""
    return ENTRIES[name].make()


def complexity(name: str, width: int, height: int) -> Complexity:
    """Cost of a model for a picture of this size, which is padded to the model's stride as coding would."""
    entry = ENTRIES[name]
    with torch.device("meta"):
        model = entry.make().eval()
    padded = [-(-side // entry.stride) * entry.stride for side in (width, height)]
    return measure(model, entry.run, *padded)
