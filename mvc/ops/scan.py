"""The selective scan (Mamba's S6 recurrence) along four orders of a picture: reference, gradients, dispatch.

Grouped 2DSS: the channels fall into four equal groups; group k is scanned along order k: rows forward, rows backward,
columns forward, columns backward (MambaVC, section 3.2, has all channels in all four orders; a caller gets that by
repeating its channels four times). Per token t and order k the projection `parameters` holds R numbers that make the step
size, then N numbers B, then N numbers C. For a channel c of group k:

    dt[t] = softplus(bias[c] + sum_r parameters[t, k, r] * dt_weight[r, c])
    h[t, n] = exp(dt[t] * A[n, c]) * h[t-1, n] + dt[t] * B[t, n] * v[t, c]
    y[t, c] = sum_n C[t, n] * h[t, n] + D[c] * v[t, c]

`weights` [R + 1 + N + 1, C] stacks dt_weight, bias, A (negative) and D.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

ORDERS = 4


def scan_orders(height: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Token index of every step of the four orders, int64 [4, H*W]."""
    rows = torch.arange(height * width, device=device)
    columns = rows.view(height, width).t().reshape(-1)
    return torch.stack([rows, rows.flip(0), columns, columns.flip(0)])


def selective_scan_reference(v: torch.Tensor, parameters: torch.Tensor, weights: torch.Tensor, rank: int) -> torch.Tensor:
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


def selective_scan(v: torch.Tensor, parameters: torch.Tensor, weights: torch.Tensor, rank: int) -> torch.Tensor:
    """The recurrence above with the best backend for the tensors' device; arguments as in the reference."""
    return selective_scan_reference(v, parameters, weights, rank)
