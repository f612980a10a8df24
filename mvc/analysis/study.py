"""All analyses of a codec on pictures, and their numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mvc.analysis import erf
from mvc.analysis.allocation import Allocation, allocation, hyper_bits, latent_bits
from mvc.analysis.correlation import Correlation, correlation, mean
from mvc.analysis.deviation import Deviation, deviation
from mvc.analysis.erf import Field
from mvc.analysis.record import record
from mvc.codec import Codec
from mvc.errors import SourceError
from mvc.picture import Picture
from mvc.tiling import round_up

ANALYSES = ("erf", "correlation", "deviation", "allocation")
FORMAT = 1
TRANSFORMS = "g_a", "h_a_after_g_a"  # whose outputs `Autoencoder.analyse` gives


@dataclass
class Report:
    """What was analysed and found; an analysis that was not asked for is empty or None."""

    model: str
    model_id: str
    index: int
    pictures: list[tuple[str, Picture]]
    erf: dict[str, Field] = field(default_factory=dict)  # by transform
    correlation: Correlation | None = None
    deviation: list[Deviation] = field(default_factory=list)  # as pictures
    allocation: list[Allocation] = field(default_factory=list)

    def to_json(self) -> str:
        names = [name for name, _ in self.pictures]
        content: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model,
            "model_id": self.model_id,
            "quality_index": self.index,
            "pictures": [
                {"name": name, "width_px": picture.width, "height_px": picture.height}
                for name, picture in self.pictures
            ],
        }
        if self.erf:
            content["erf"] = {transform: one.numbers() for transform, one in self.erf.items()}
        if self.correlation:
            content["correlation"] = self.correlation.numbers()
        found: dict[str, Sequence[Deviation | Allocation]] = {
            "deviation": self.deviation,
            "allocation": self.allocation,
        }
        for key, each in found.items():
            if each:
                content[key] = [{"picture": name, **one.numbers()} for name, one in zip(names, each, strict=True)]
        return json.dumps(content, allow_nan=False) + "\n"


def analyse(
    codec: Codec,
    pictures: Sequence[tuple[str, Picture]],
    index: int,
    wanted: Collection[str] = ANALYSES,
    *,
    crop_px: int = erf.CROP_PX,
    on_step: Callable[[str], None] = lambda _: None,
) -> Report:
    """The `wanted` ones of ANALYSES at a quality index, for models of one rate at theirs.

    `crop_px` bounds the side of the square that receptive fields are measured in; `on_step` is told each picture's
    name. Raises SourceError without pictures.
    """
    if not pictures:
        raise SourceError("there is no picture to analyse")
    index = min(index, codec.model.rates - 1)
    report = Report(codec.weights.name, codec.model_id.hex(), index, list(pictures))
    side = crop_side(pictures, codec.model.align, crop_px)
    correlations, fields = [], []
    for name, picture in pictures:
        on_step(name)
        if "erf" in wanted:
            fields.append(gradients(codec, picture, index, side))
        if set(wanted) <= {"erf"}:
            continue
        recorded = record(codec, picture, index)
        if "correlation" in wanted:
            correlations.append(correlation(recorded))
        if "deviation" in wanted:
            report.deviation.append(deviation(recorded))
        if "allocation" in wanted:
            bits = (
                latent_bits(recorded, codec.network.latent_tables),
                hyper_bits(recorded, codec.network.hyper_tables, index),
            )
            file = codec.encode(picture, index, effort=0, tile_px=0)
            report.allocation.append(allocation(file, *bits, recorded.widths))
    if correlations:
        report.correlation = mean(correlations)
    for transform, found in zip(TRANSFORMS, zip(*fields, strict=True), strict=False):
        report.erf[transform] = erf.field(np.mean([gradient for gradient, _ in found], 0), found[0][1])
    return report


def crop_side(pictures: Sequence[tuple[str, Picture]], align: int, most_px: int) -> int:
    """Of the square crops for receptive fields: the largest that all padded pictures have, `most_px` at the most.

    A multiple of what the model pads to, and never less than one.
    """
    padded = (round_up(side, align) for _, picture in pictures for side in (picture.height, picture.width))
    return max(align, min(most_px // align * align, *padded))


def gradients(codec: Codec, picture: Picture, index: int, side: int) -> list[tuple[erf.Map, tuple[float, float]]]:
    """For each of TRANSFORMS the gradient map of a picture's central crop [side, side], and its latent's middle."""
    x = erf.crop(codec.to_tensor(picture), side).requires_grad_()
    with torch.enable_grad():
        outputs = codec.model.analyse(x, torch.tensor([index], device=codec.device))
    return [(erf.gradient_map(output, x), erf.centre(output, x)[2]) for output in outputs]
