"""LPIPS and DISTS of pictures, on the weights that `mvc metrics --fetch` has brought."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvc.errors import WeightsError
from mvc.evaluate import metric_weights
from mvc.evaluate.networks import DISTS, LPIPS

Samples = NDArray[np.uint8]
Network = TypeVar("Network", bound=nn.Module)


def lpips(device: str = "cpu") -> Callable[[Samples, Samples], float]:
    """A function of two pictures, uint8 `[H, W, 3]`, 31 pixels or more a side: LPIPS v0.1 (AlexNet), 0 for equal ones.

    Raises `WeightsError` where its weights have not been fetched.
    """
    return _distance(LPIPS(), "lpips", device)


def dists(device: str = "cpu") -> Callable[[Samples, Samples], float]:
    """A function of two pictures, uint8 `[H, W, 3]`: DISTS (VGG16), 0 for equal ones. Not resized.

    A pair of 768x512 takes seconds on a CPU, and 0.5 GB. Raises `WeightsError` where its weights have not been fetched.
    """
    return _distance(DISTS(), "dists", device)


def fetched(network: Network, name: str) -> Network:
    """The network with the weights of "lpips" or "dists", not to be trained; `WeightsError` where there are none."""
    try:
        network.load_state_dict(metric_weights.load(name))
    except RuntimeError as error:  # names or shapes
        text = f"the weights in {metric_weights.path(name)} are not those of {name.upper()}"
        raise WeightsError(text, hint=metric_weights.HINT) from error
    return network.eval().requires_grad_(False)


def _distance(network: nn.Module, name: str, device: str) -> Callable[[Samples, Samples], float]:
    fetched(network, name).to(device)

    def measure(original: Samples, decoded: Samples) -> float:
        with torch.inference_mode():
            return float(network(_planes(original, device), _planes(decoded, device)))

    return measure


def _planes(samples: Samples, device: str) -> Tensor:
    return torch.from_numpy(np.array(samples)).to(device).permute(2, 0, 1)[None].float() / 255
