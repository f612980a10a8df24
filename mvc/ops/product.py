"""`linear`: x times a weight, by oneDNN where no gradient is wanted.

torch gives products of float32 to MKL, which on AMD's processors computes with half of each register of AVX-512: oneDNN
takes half its time there. Terms are added up in MKL's order, so that what comes out has the same bits as
before: at most 192 at a time, or two halves where two parts suffice.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.environment import may_lack_threads

MOST_TERMS = 192
BLOCK_ROWS = 512
"""oneDNN is given multiples of it: it keeps code for every shape that it has seen, which took 46 MB at 4K."""
FEWEST_ROWS = 4  # that are left to MKL, which has another order for fewer


def _onednn() -> Any:
    """torch's call of oneDNN where it is the faster one; None elsewhere, and where torch is built without it.

    None too where threads may be missing, which makes its products wrong.
    """
    if may_lack_threads() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


_ONEDNN = _onednn()


def terms(inputs: int) -> int:
    """How many of the terms of a sum are added up before they go to the others."""
    return -(-inputs // 2) if MOST_TERMS < inputs <= 2 * MOST_TERMS else MOST_TERMS


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., K] -> [..., N], with weight [N, K] and bias [N] of the type of x; `F.linear` but for the rounding."""
    plain = x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled()
    if not plain or _ONEDNN is None or x.numel() < (BLOCK_ROWS + FEWEST_ROWS) * x.shape[-1]:
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    whole = (len(rows) - FEWEST_ROWS) // BLOCK_ROWS * BLOCK_ROWS if len(rows) % BLOCK_ROWS else len(rows)
    y = _by_onednn(rows[:whole], weight, bias)
    if whole < len(rows):
        y = torch.cat([y, F.linear(rows[whole:], weight, bias)])
    return y.view(*x.shape[:-1], -1)


def _by_onednn(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    own = terms(rows.shape[-1])
    sums: Any = None
    for part, weights in zip(rows.split(own, -1), weight.split(own, -1), strict=True):
        given = part.contiguous(), weights.contiguous()  # strided ones take a thousand times as long
        if sums is None:
            sums = _ONEDNN(*given, bias, "none", [], "")
        else:
            sums += _ONEDNN(*given, None, "none", [], "")
    result: Tensor = sums
    return result
