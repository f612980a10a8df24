"""Selective scan on CUDA devices: mamba-ssm's kernel where it can be imported, else our Triton kernel or the reference.

mamba-ssm scans [B, channels, tokens] in memory order, so the four orders become a gather before and after it, and the
four groups of channels its groups of B and C. The Triton kernel (scan_triton.py) finds its tokens itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from mvc.ops.scan import ORDERS, scan_orders, selective_scan_reference

Scan = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def selective_scan_on_gpu(v: Tensor, parameters: Tensor, weights: Tensor, rank: int) -> Tensor:
    """As scan.selective_scan, for tensors on a CUDA device."""
    return _backend()(v, parameters, weights, rank)


@lru_cache(maxsize=1)
def _backend() -> Scan:
    """The first of the three that can be imported. A package that is broken counts as absent."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except (ImportError, OSError):  # absent, built without this kernel, or for another torch
        pass
    else:
        return lambda *arguments: scan_with_mamba(selective_scan_fn, *arguments)
    try:
        from mvc.ops.scan_triton import selective_scan_triton
    except ImportError:
        return lambda v, *others: selective_scan_reference(v, *others).to(v.dtype)
    return selective_scan_triton


def scan_with_mamba(
    selective_scan_fn: Callable[..., Tensor], v: Tensor, parameters: Tensor, weights: Tensor, rank: int
) -> Tensor:
    """scan.selective_scan by way of mamba-ssm's `selective_scan_fn`.

    Everything goes through it in float32: it wants one type for the values and the step sizes, and bfloat16 step
    sizes would differ visibly from the other backends.
    """
    batch, height, width, channels = v.shape
    states = (parameters.shape[-1] - rank) // 2
    group = channels // ORDERS
    dt_weight, bias, a, d = weights.split([rank, 1, states, 1])
    orders = scan_orders(height, width, v.device)

    def in_order(x: Tensor, order: Tensor) -> Tensor:
        """Reorder the tokens of x [B, 4, n, H*W], each scan order its own way."""
        return x.gather(3, order[None, :, None].expand_as(x))

    values = v.float().reshape(batch, height * width, ORDERS, group).permute(0, 2, 3, 1)
    p_dt, p_b, p_c = in_order(parameters.permute(0, 2, 3, 1), orders).split([rank, states, states], 2)
    delta = torch.einsum("bkrt,rkg->bkgt", p_dt, dt_weight.view(rank, ORDERS, group))
    y = selective_scan_fn(
        in_order(values, orders).reshape(batch, channels, -1),
        delta.reshape(batch, channels, -1),
        a.t().contiguous(),
        p_b.contiguous(),
        p_c.contiguous(),
        d[0],
        delta_bias=bias[0],
        delta_softplus=True,
    )
    y = in_order(y.view(batch, ORDERS, group, -1), orders.argsort(1))
    return y.permute(0, 3, 1, 2).reshape(v.shape).to(v.dtype)
