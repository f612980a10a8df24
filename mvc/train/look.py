"""What a look is trained for: to look like the original, with its files, its model and their bits as they are.

LPIPS and the distance of local statistics of VGG16's features (Wasserstein distortion, Qiu et al. 2024, with uniform
windows instead of Gaussian ones), and the squared error, each in proportion to that of the faithful picture, so that
all qualities and pictures count alike, and little is made up where it gains little. What is the
same in all blocks of a neighbourhood counts apart: the networks hardly see a weak grid, and people do. Needs weights
that `mvc metrics --fetch` brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvc.distortion.pattern import pattern
from mvc.evaluate.deep import fetched
from mvc.evaluate.networks import DISTS, LPIPS
from mvc.models.detail import BLOCK_PX, limit_of, open_blocks
from mvc.models.estimate import RateEstimator
from mvc.models.looks import Natural
from mvc.train.objective import pixels_of, squared_errors

LPIPS_WEIGHT, STATISTICS_WEIGHT, ERROR_WEIGHT = 1.0, 1.0, 0.2
PATTERN_WEIGHT, PATTERN_BLOCKS = 30.0, 8
WINDOWS = (16, 8, 8, 4)
"""To a side, in positions of the first four stages of VGG16: 16, 16, 32 and 32 pixels."""
FLOOR = 1e-2
LEAST_VARIANCE = 1e-4
LEAST_ERROR = 1e-5


class LookObjective(nn.Module):
    """As `mvc.train.objective.Objective`, for the natural look. The rate is what it is, and is told."""

    def __init__(self, model: Natural, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.lpips, self.vgg = fetched(LPIPS(), "lpips"), fetched(DISTS(), "dists")

    def forward(self, x: Tensor, index: Tensor, noise: bool = True) -> dict[str, Tensor]:
        """Per-sample loss, bits per pixel and MSE of pictures x [B, H, W, 3] in 0..1; only MSE without gradients."""
        with torch.no_grad():
            features, faithful, coder = self._decoded(x, index)
            open_ = open_blocks(faithful)
            limit = limit_of(self.model.picture.g_s, index)
        noise_in = torch.randn(*features.shape[:3], self.model.detail.noise.in_features, device=x.device)
        detail = self.model.detail(features, noise_in, index, limit, open_)
        x_hat = faithful + detail
        mse, _ = squared_errors(x_hat, x)
        pixels = pixels_of(x)
        result = {"bpp": coder.bits / pixels, "hyper_bpp": coder.hyper_bits / pixels, "mse": mse}
        if torch.is_grad_enabled():
            with torch.no_grad():
                wanted = self._features(x)
                lost = self._unlike(x, wanted, faithful) + limit  # of what loses nothing, nothing is a share
                before, _ = squared_errors(faithful, x)
            unlike, error = self._unlike(x, wanted, x_hat) / lost, mse / (before + LEAST_ERROR) - 1
            same = pattern(detail, BLOCK_PX, PATTERN_BLOCKS) / limit.square()
            result["loss"] = unlike + ERROR_WEIGHT * error + PATTERN_WEIGHT * same
        return result

    def _decoded(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor, RateEstimator]:
        """Features of the synthesis, its picture and the rate, as a file would have them."""
        model = self.model.picture
        coder = RateEstimator(model.density, index, noise=False, dtype=self.dtype)
        y_hat = model.code(coder, x.to(self.dtype), index)
        y, features = model.g_s.features(y_hat.float(), index, self.dtype)
        return features, torch.cat(list(model.g_s.painted(y, features)), 1), coder

    def _unlike(self, x: Tensor, wanted: Sequence[Tensor], x_hat: Tensor) -> Tensor:
        """How unlike pictures x_hat are to x, whose features are wanted, [B]."""
        stages = zip(wanted, self._features(x_hat), WINDOWS, strict=True)
        apart = torch.stack([statistics_apart(a, b, window) for a, b, window in stages])
        unlike: Tensor = LPIPS_WEIGHT * self.lpips(channels_first(x), channels_first(x_hat))
        return unlike + STATISTICS_WEIGHT * apart.mean(0)

    def _features(self, pictures: Tensor) -> Sequence[Tensor]:
        """Of VGG16's first stages, in the type of training, channels last in memory."""
        x = (channels_first(pictures) - self.vgg.mean) / self.vgg.deviation
        x = x.to(self.dtype, memory_format=torch.channels_last)
        found = []
        for number in range(len(WINDOWS)):
            x = F.avg_pool2d(x, 2) if number else x
            layers: Any = self.vgg.stages[number]
            for layer in layers:
                weight = layer.weight.to(x.dtype, memory_format=torch.channels_last)
                x = F.relu(F.conv2d(x, weight, layer.bias.to(x.dtype), padding=1))
            found.append(x)
        return found


def channels_first(pictures: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] as the networks take them, [B, 3, H, W] in 0..1."""
    return pictures.clamp(0, 1).permute(0, 3, 1, 2)


def statistics_apart(a: Tensor, b: Tensor, window: int) -> Tensor:
    """How far the means and deviations of features [B, C, H, W] are apart in windows, [B]; of a's energy."""
    (mean_a, deviation_a), (mean_b, deviation_b) = (_statistics(t, window) for t in (a, b))
    energy = (mean_a.square() + deviation_a.square()).mean((1, 2), keepdim=True) + FLOOR
    apart = (mean_a - mean_b).square() + (deviation_a - deviation_b).square()
    return (apart / energy).mean((1, 2, 3))


def _statistics(features: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation in windows side by side, [B, h, w, C]."""
    height, width = (side // window for side in features.shape[2:])
    cut = features.permute(0, 2, 3, 1)[:, : height * window, : width * window]
    cut = cut.unflatten(2, (width, window)).unflatten(1, (height, window)).float()
    mean = cut.mean((2, 4))
    variance = cut.square().mean((2, 4)) - mean.square()
    return mean, (variance.clamp_min(0) + LEAST_VARIANCE).sqrt()
