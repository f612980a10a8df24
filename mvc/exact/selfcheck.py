"""A start-up check that a device really computes whole-number sums exactly."""

from __future__ import annotations

from functools import lru_cache

import torch

from mvc.errors import BackendError
from mvc.exact.fixed import LIMIT
from mvc.exact.weighted import ExactDepthwise, ExactLinear

_SIDE = 64
_MODULUS = 1 << 22


@lru_cache(maxsize=4)
def check_backend(device: str) -> None:
    """Multiply whole numbers with sums close to 2^53 and compare with int64; BackendError if they differ."""
    index = torch.arange(_SIDE * _SIDE, dtype=torch.int64)
    a = ((index * 2654435761) % (2 * _MODULUS) - _MODULUS).view(_SIDE, _SIDE)
    b = ((index * 40503 + 977) % (2 * _MODULUS) - _MODULUS).view(_SIDE, _SIDE)
    got = (a.to(device, torch.float64) @ b.to(device, torch.float64)).cpu()
    rounded = torch.floor(got * 2.0**-9 + 0.5)
    expected = a @ b
    same = torch.equal(got.long(), expected) and torch.equal(rounded.long(), (expected + 256) >> 9)
    if not (same and (device == "cpu" or _layers_agree(device))):
        raise BackendError(
            f"the device {device} does not add whole numbers exactly, so it cannot decode mvc files",
            hint="use --device cpu, or try MVC_MIXER=reference, and report this with the output of `mvc doctor`",
        )


def _layers_agree(device: str) -> bool:
    """Whether layers of the prior, for which a GPU has kernels of its own, give there what they do in int64 here."""
    index = torch.arange(2 * 5 * 9 * 32)
    x = ((index * 2654435761) % (2 * LIMIT) - LIMIT).view(2, 5, 9, 32)
    weight = ((index[:1024] * 40503 + 977) % 2048 - 1024).float().view(32, 32) / 1024
    bias = weight[0] * 100
    for layer in (ExactDepthwise(weight[:25], bias, "leaky"), ExactLinear(weight, bias)):
        if not torch.equal(layer.to(device)(x.to(device, torch.float64)).cpu().long(), layer.to("cpu")(x)):
            return False
    return True
