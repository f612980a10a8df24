"""What quantisation takes from the latents: |y_hat - y| by place and slice (MambaVC paper, section 4.6.3, figure 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mvc.analysis.record import Floats, Recorded


@dataclass(frozen=True, eq=False)
class Deviation:
    """Means over the picture, in quantisation steps; `rounded` ones are before latent residual prediction."""

    map_steps: Floats  # [h, w], mean over the channels
    mean_steps: float
    rounded_mean_steps: float
    relative: float  # sum |y_hat - y| / sum |y|
    slice_mean_steps: tuple[float, ...]
    slice_rounded_mean_steps: tuple[float, ...]

    def numbers(self) -> dict[str, Any]:
        return {
            "mean_steps": round(self.mean_steps, 6),
            "rounded_mean_steps": round(self.rounded_mean_steps, 6),
            "relative_share": round(self.relative, 6),
            "slice_mean_steps": [round(value, 6) for value in self.slice_mean_steps],
            "slice_rounded_mean_steps": [round(value, 6) for value in self.slice_rounded_mean_steps],
            "map_steps": [[round(float(value), 5) for value in row] for row in self.map_steps],
        }


def deviation(recorded: Recorded) -> Deviation:
    """Of the latents that lie in the picture."""
    y = recorded.inside(recorded.y)
    final, rounded = (np.abs(recorded.inside(values) - y) for values in (recorded.y_hat, recorded.rounded))
    return Deviation(
        map_steps=final.mean(-1),
        mean_steps=float(final.mean()),
        rounded_mean_steps=float(rounded.mean()),
        relative=float(final.sum(dtype=np.float64) / max(np.abs(y).sum(dtype=np.float64), 1e-30)),
        slice_mean_steps=tuple(float(part.mean()) for part in recorded.slices(final)),
        slice_rounded_mean_steps=tuple(float(part.mean()) for part in recorded.slices(rounded)),
    )
