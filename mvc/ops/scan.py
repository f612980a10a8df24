"""The selective scan (Mamba's S6 recurrence) along four orders of a picture: reference, gradients, dispatch.

On CPU scan_numba.py computes it. On CUDA devices mamba-ssm's kernel does where it can be imported, else scan_triton.py,
else the reference; mamba-ssm scans [B, channels, tokens] in memory order, so the four orders become a gather before and
after it, and the four groups of channels its groups of B and C.

Grouped 2DSS: the channels fall into four equal groups; group k is scanned along order k: rows forward, rows backward,
columns forward, columns backward (MambaVC, section 3.2, has all channels in all four orders; a caller gets that by
repeating its channels four times). Per token t and order k the projection `parameters` holds R numbers that make the
step size, then N numbers B, then N numbers C. For a channel c of group k:

    dt[t] = softplus(bias[c] + sum_r parameters[t, k, r] * dt_weight[r, c])
    h[t, n] = exp(dt[t] * A[n, c]) * h[t-1, n] + dt[t] * B[t, n] * v[t, c]
    y[t, c] = sum_n C[t, n] * h[t, n] + D[c] * v[t, c]

`weights` [R + 1 + N + 1, C] stacks dt_weight, bias, A (negative) and D.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.ops import scan_numba
from mvc.ops.lanes import WIDTH
from mvc.ops.orders import ORDERS, scan_orders
from mvc.ops.parallel import array, run

Scan = Callable[[Tensor, Tensor, Tensor, int], Tensor]
FAST_TYPES = (torch.float32, torch.bfloat16)

# On the meta device nothing is computed; the scan is one operator there, so that what counts operators sees it.
_LIBRARY = torch.library.Library("mvc", "FRAGMENT")
_LIBRARY.define("scan_shape(Tensor v, Tensor parameters, Tensor weights, int rank) -> Tensor")
_LIBRARY.impl("scan_shape", lambda v, parameters, weights, rank: torch.empty_like(v), "Meta")


def selective_scan_reference(v: Tensor, parameters: Tensor, weights: Tensor, rank: int) -> Tensor:
    """v [B, H, W, C]; parameters [B, H*W, 4, R+2N]; weights [R+1+N+1, C] -> y [B, H, W, C]. Slow and plain."""
    batch, height, width, channels = v.shape
    states = (parameters.shape[-1] - rank) // 2
    group = channels // ORDERS
    tokens = v.reshape(batch, height * width, channels)
    dt_weight, bias, a, d = weights.split([rank, 1, states, 1])
    groups = []
    for k, order in enumerate(scan_orders(height, width, v.device)):
        own = slice(k * group, (k + 1) * group)
        x = tokens[:, order, own]
        p_dt, p_b, p_c = parameters[:, order, k].split([rank, states, states], -1)
        dt = F.softplus(p_dt @ dt_weight[:, own] + bias[:, own])
        h = x.new_zeros(batch, states, group)
        steps = []
        for t in range(height * width):
            h = torch.exp(dt[:, t, None] * a[:, own]) * h + (dt[:, t] * x[:, t])[:, None] * p_b[:, t, :, None]
            steps.append((h * p_c[:, t, :, None]).sum(1))
        groups.append(torch.stack(steps, 1)[:, order.argsort()])
    return (torch.cat(groups, -1) + tokens * d).view_as(v)


def forward_on_cpu(v: Tensor, parameters: Tensor, weights: Tensor, rank: int, y: Tensor) -> Tensor:
    """Writes the scan of contiguous tensors into y, which may be v itself; returns what the backward pass needs."""
    states = (parameters.shape[-1] - rank) // 2
    kept = weights.new_empty(v.shape[0], scan_numba.tiles(parameters.shape[1]), states, v.shape[-1])
    arrays = [array(t) for t in (v, parameters, weights, y, kept)]
    run(scan_numba.scan_forward, v.shape[0] * ORDERS, *arrays, tuple(range(rank)), tuple(range(states)))
    return kept


def backward_on_cpu(
    grad: Tensor, v: Tensor, parameters: Tensor, weights: Tensor, kept: Tensor, rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of v, parameters and weights, from the contiguous gradient of y."""
    grad_v, grad_parameters = torch.empty_like(v), torch.zeros_like(parameters)
    grad_weights = weights.new_empty(v.shape[0], *weights.shape)
    inputs = [array(t) for t in (grad, v, parameters, weights, kept)]
    results = [array(t) for t in (grad_v, grad_parameters, grad_weights)]
    sizes = tuple(range(rank)), tuple(range(kept.shape[2]))
    run(scan_numba.scan_backward, v.shape[0] * ORDERS, *inputs, *sizes, *results)
    return grad_v, grad_parameters, grad_weights.sum(0)


class _ScanOnCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v, parameters, weights, rank):
        v, parameters, weights = v.contiguous(), parameters.contiguous(), weights.contiguous()
        y = torch.empty_like(v)
        kept = forward_on_cpu(v, parameters, weights, rank, y)
        ctx.save_for_backward(v, parameters, weights, kept)
        ctx.rank = rank
        return y

    @staticmethod
    def backward(ctx, grad):
        v, parameters, weights, kept = ctx.saved_tensors
        return *backward_on_cpu(grad.contiguous(), v, parameters, weights, kept, ctx.rank), None


@lru_cache(maxsize=1)
def _gpu_backend() -> Scan:
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


def is_triton() -> bool:
    """Whether it is scan_triton.py that scans on GPUs."""
    return _gpu_backend().__name__ == "selective_scan_triton"


def scan_with_mamba(
    selective_scan_fn: Callable[..., Tensor], v: Tensor, parameters: Tensor, weights: Tensor, rank: int
) -> Tensor:
    """`selective_scan` by way of mamba-ssm's `selective_scan_fn`.

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


def selective_scan(v: Tensor, parameters: Tensor, weights: Tensor, rank: int) -> Tensor:
    """The recurrence above with the best backend for the tensors' device; arguments as in the reference.

    numba on CPU for float32 and bfloat16 where the channels are a multiple of 64, mamba-ssm or Triton on CUDA
    devices, else the reference. parameters and weights are float32 beside a bfloat16 v; y has the type of v.
    """
    if v.device.type == "cuda":
        return _gpu_backend()(v, parameters, weights, rank)
    if v.device.type == "meta":
        return torch.ops.mvc.scan_shape(v, parameters, weights, rank)
    plain = parameters.dtype == weights.dtype == torch.float32
    if v.device.type == "cpu" and v.dtype in FAST_TYPES and plain and v.shape[-1] % (ORDERS * WIDTH) == 0:
        return _ScanOnCPU.apply(v, parameters, weights, rank)
    return selective_scan_reference(v, parameters, weights, rank).to(v.dtype)
