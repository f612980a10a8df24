"""LPIPS and DISTS of pictures, on the weights that `mvc metrics --fetch` has brought."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvc.errors import WeightsError
from mvc.evaluate import metric_weights
from mvc.evaluate.networks import DISTS, LPIPS, FeatureDistance

Samples = NDArray[np.uint8]
Network = TypeVar("Network", bound=nn.Module)

REMEMBERED_PX = 1 << 20  # of an original at most: what DISTS makes of it is 0.5 GB


def lpips(device: str = "cpu") -> Callable[[Samples, Samples], float]:
    """A function of two pictures, uint8 `[H, W, 3]`, 31 pixels or more a side: LPIPS v0.1 (AlexNet), 0 for equal ones.

    Raises `WeightsError` where its weights have not been fetched.
    """
    return _Distance(fetched(LPIPS(), "lpips"), device)


def dists(device: str = "cpu") -> Callable[[Samples, Samples], float]:
    """A function of two pictures, uint8 `[H, W, 3]`: DISTS (VGG16), 0 for equal ones. Not resized.

    A picture of 768x512 takes seconds on a CPU, and 0.5 GB; the original is looked at once for all in a row that are
    compared with it. Raises `WeightsError` where its weights have not been fetched.
    """
    return _Distance(fetched(DISTS(), "dists"), device)


def fetched(network: Network, name: str) -> Network:
    """The network with the weights of "lpips" or "dists", not to be trained; `WeightsError` where there are none."""
    try:
        network.load_state_dict(metric_weights.load(name))
    except RuntimeError as error:  # names or shapes
        text = f"the weights in {metric_weights.path(name)} are not those of {name.upper()}"
        raise WeightsError(text, hint=metric_weights.HINT) from error
    return network.eval().requires_grad_(False)


class _Distance:
    """Compares with one original after the other; what the network makes of that is kept while it stays the same."""

    def __init__(self, network: FeatureDistance, device: str) -> None:
        self._network, self._device = network.to(device), device
        self._original: Samples | None = None
        self._known: Sequence[Tensor] = ()

    def __call__(self, original: Samples, decoded: Samples) -> float:
        with torch.inference_mode():
            return float(self._network.between(self._of(original), self._features(decoded)))

    def _features(self, samples: Samples) -> Iterator[Tensor]:
        return self._network.features(_planes(samples, self._device))

    def _of(self, original: Samples) -> Iterable[Tensor]:
        if original.shape[0] * original.shape[1] > REMEMBERED_PX:
            return self._features(original)
        if self._original is None or not np.array_equal(self._original, original):
            self._known, self._original = list(self._features(original)), original.copy()
        return self._known


def _planes(samples: Samples, device: str) -> Tensor:
    return torch.from_numpy(np.array(samples)).to(device).permute(2, 0, 1)[None].float() / 255
