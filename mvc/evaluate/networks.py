"""LPIPS and DISTS: distances between pictures in the features of networks for classification.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018 (LPIPS v0.1, AlexNet).
Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2022 (DISTS, VGG16).

Weights are not here: `mvc.evaluate.metric_weights` reads those that `mvc metrics --fetch` has brought. Pictures are
float32 `[N, 3, H, W]`, 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LPIPS_MIN_SIDE_PX = 31
"""Below, AlexNet's second pooling has nothing left."""
DISTS_MIN_SIDE_PX = 16

ALEX_CHANNELS = (64, 192, 384, 256, 256)
_ALEX_LAYERS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
VGG_STAGES = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))
DISTS_CHANNELS = (3, 64, 128, 256, 512, 512)


class FeatureDistance(nn.Module):
    """A distance between pictures `[N, 3, H, W]` in what a network makes of each."""

    def features(self, pictures: Tensor) -> Iterator[Tensor]:
        """What is compared, one after the other: no two need be in memory."""
        raise NotImplementedError

    def between(self, one: Iterable[Tensor], other: Iterable[Tensor]) -> Tensor:
        """Distances `[N]`, given the features of both."""
        raise NotImplementedError

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Distances `[N]`."""
        return self.between(self.features(one), self.features(other))


class LPIPS(FeatureDistance):
    """LPIPS v0.1 on AlexNet: 0 for equal pictures, about 0.7 for unlike ones."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, outputs, taps, stride, padding) for inputs, outputs, taps, stride, padding in _ALEX_LAYERS
        )
        self.weights = nn.ParameterList(torch.zeros(channels) for channels in ALEX_CHANNELS)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)

    def features(self, pictures: Tensor) -> Iterator[Tensor]:
        """What follows each of the five activations."""
        x = (2 * pictures - 1 - self.shift) / self.scale
        for number, layer in enumerate(self.layers):
            if number in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(layer(x))
            yield x

    def between(self, one: Iterable[Tensor], other: Iterable[Tensor]) -> Tensor:
        total = torch.zeros((), device=self.shift.device)
        for weights, a, b in zip(self.weights, one, other, strict=True):
            difference = (_normalised(a) - _normalised(b)).square().mean(dim=(2, 3))
            total = total + difference @ weights
        return total


class DISTS(FeatureDistance):
    """DISTS: 0 for equal pictures, up to 1; a texture resampled is nearer than by any comparison of pixels."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(stage)) for stage in VGG_STAGES
        )
        self.alpha = nn.Parameter(torch.zeros(sum(DISTS_CHANNELS)))
        self.beta = nn.Parameter(torch.zeros(sum(DISTS_CHANNELS)))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def features(self, pictures: Tensor) -> Iterator[Tensor]:
        """The pictures themselves, and what follows each of VGG's five stages."""
        yield pictures
        x = (pictures - self.mean) / self.deviation
        for number, stage in enumerate(self.stages):
            x = _l2_pool(x) if number else x
            for layer in stage:  # type: ignore[attr-defined]  # a ModuleList of them
                x = F.relu(layer(x))
            yield x

    def between(self, one: Iterable[Tensor], other: Iterable[Tensor]) -> Tensor:
        whole = self.alpha.sum() + self.beta.sum()
        similarity = torch.zeros((), device=self.mean.device)
        weights = (torch.split(own, list(DISTS_CHANNELS)) for own in (self.alpha, self.beta))
        for alpha, beta, a, b in zip(*weights, one, other, strict=True):
            luminance, structure = _similarities(a, b)
            similarity = similarity + (luminance @ alpha + structure @ beta) / whole
        return 1 - similarity


def _similarities(a: Tensor, b: Tensor, floor: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Of means and of structure, `[N, C]`, over whole planes."""
    mean_a, mean_b = a.mean(dim=(2, 3), keepdim=True), b.mean(dim=(2, 3), keepdim=True)
    rest_a, rest_b = a - mean_a, b - mean_b
    variances = rest_a.square().mean(dim=(2, 3)) + rest_b.square().mean(dim=(2, 3))
    covariance = (rest_a * rest_b).mean(dim=(2, 3))
    mean_a, mean_b = mean_a[:, :, 0, 0], mean_b[:, :, 0, 0]
    luminance = (2 * mean_a * mean_b + floor) / (mean_a.square() + mean_b.square() + floor)
    return luminance, (2 * covariance + floor) / (variances + floor)


def _normalised(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _l2_pool(x: Tensor) -> Tensor:
    """The root of the mean square under a 3x3 Hann window, at every second place."""
    taps: Sequence[float] = (0.5, 1.0, 0.5)
    window = x.new_tensor(taps)
    window = torch.outer(window, window) / 4
    filters = window.expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), filters, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
