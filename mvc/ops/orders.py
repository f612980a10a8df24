"""The four orders in which a picture is scanned: rows forward and backward, columns forward and backward."""

from __future__ import annotations

import torch
from torch import Tensor

ORDERS = 4


def scan_orders(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Token index of every step of the four orders, int64 [4, H*W]."""
    rows = torch.arange(height * width, device=device)
    columns = rows.view(height, width).t().reshape(-1)
    return torch.stack([rows, rows.flip(0), columns, columns.flip(0)])
