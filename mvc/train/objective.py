"""The training objectives: rate from a noisy estimate, distortion through rounded latents, straight through.

mambavc-lite trains for all rates at once and may do so in bfloat16. A model of the papers trains for one rate, in
float32: in bfloat16 latents beyond 256 have steps of two, and a density that is the difference of two sigmoids has
none of its digits left. A model of clips is trained on short sequences, each coded as a keyframe and frames after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mvc.distortion.pattern import pattern
from mvc.distortion.seen_error import seen_error
from mvc.distortion.structure import LAMBDA_RATIO, ms_ssim_loss
from mvc.evaluate.deep import fetched
from mvc.evaluate.networks import LPIPS
from mvc.models.base import CELL_PX, Autoencoder
from mvc.models.density import FactorizedDensity
from mvc.models.estimate import RateEstimator
from mvc.models.registry import PICTURE
from mvc.models.weighing import error_weights, rd_lambda
from mvc.planes import PACKING, SAMPLES

LPIPS_RATIO = 240.0
"""lambda of LPIPS over that of the squared error (0..255), near equal parts of both at qualities of 2 to 5."""
PATTERN_RATIO = 133.0
"""The same of the square of what all blocks of a crop have in common: a hundredth of a usual error, or a grid."""


def rate_distortion(
    model: Autoencoder,
    x: Tensor,
    index: Tensor,
    *,
    noise: bool = True,
    dtype: torch.dtype = torch.float32,
    ms_ssim: float = 0.0,
    seen: float = 0.0,
    fixed_lambda: float = 0.0,
    lpips: float = 0.0,
    lpips_part: float = 0.0,
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Per-sample bits per pixel (all and hyperlatent), MSE and loss for pictures x in 0..1.

    x is [B, H, W, 3], or packed 4:2:0 [B, H/2, W/2, 6] (mvc/planes.py), of which the MSE is that of luma.
    `ms_ssim` is the share of 1 - MS-SSIM in the distortion, `seen` that of the error as it is seen (seen_error.py), and
    the rest is the squared error; `lpips_part` of LPIPS and of what blocks have in common (pattern.py) is added. With
    `fixed_lambda` the loss is fixed_lambda * 255^2 * MSE + bits per pixel (MambaVC, equation 11), else lambda follows
    the quality index. `lpips` is the weight of LPIPS beside both, whatever lambda is (SAMIC, equation 13).
    `distance` gives LPIPS of x and x_hat, [B], and is needed for either.
    """
    coder = RateEstimator(model.density, index, noise, dtype)
    x_hat = model(coder, x, index, dtype=dtype)
    mse, error = squared_errors(x_hat, x)
    pixels = pixels_of(x)
    bpp = coder.bits / pixels
    distortion = 255**2 * (1 - ms_ssim - seen) * error
    if ms_ssim:
        distortion = distortion + ms_ssim * LAMBDA_RATIO * ms_ssim_loss(x, x_hat)
    if seen:
        distortion = distortion + seen * seen_error(x, x_hat)
    apart = distance(x, x_hat) if distance else torch.zeros(1, device=x.device)
    if lpips_part:
        same = pattern(255 * (x_hat.float() - x), CELL_PX, x.shape[1])
        distortion = distortion + lpips_part * (LPIPS_RATIO * apart + PATTERN_RATIO * same)
    weight = fixed_lambda or rd_lambda(index)
    loss = weight * distortion + bpp + lpips * apart
    if not fixed_lambda:
        loss = loss * (weight / 0.018) ** -0.5  # keeps every rate's gradient of about one size
    return {"loss": loss, "bpp": bpp, "hyper_bpp": coder.hyper_bits / pixels, "mse": mse, "x_hat": x_hat}


def squared_errors(x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of pictures, [B] each: the mean squared error that is told (of RGB, or of luma), and the one to be small.

    The latter is of packed 4:2:0 a mean over its planes, on the scale of RGB.
    """
    squares = (x_hat - x).square().mean((1, 2))
    if squares.shape[-1] != SAMPLES:
        told = squares.mean(-1)
        return told, told
    weights = _weights_on(squares.device) / (3 * PACKING**2)  # the mean over pixels and three channels
    return squares[:, :4].mean(-1), (squares * weights).sum(-1)


@cache
def _weights_on(device: torch.device) -> Tensor:
    """Copied there once: a copy waits for all that a GPU has to do."""
    return error_weights(SAMPLES).to(device)


def pixels_of(x: Tensor) -> int:
    """Pixels of each picture [B, H, W, 3], or packed [B, H/2, W/2, 6]."""
    return x.shape[1] * x.shape[2] * (PACKING**2 if x.shape[-1] == SAMPLES else 1)


def clip_rate_distortion(model: Any, frames: Tensor, *, noise: bool = True, fixed_lambda: float) -> dict[str, Tensor]:
    """As `rate_distortion`, the means over sequences of frames [B, T, H, W, 3] of a model of clips.

    Each sequence is coded in its order and in the reverse (MambaVC, section 4.1.1), with gradients through all frames.
    """
    both = torch.cat([frames, frames.flip(1)])
    coded = model(both, noise)
    pixels = frames.shape[2] * frames.shape[3]
    bpp, hyper = (torch.stack([getattr(frame, name) for frame in coded], 1) / pixels for name in ("bits", "hyper_bits"))
    x_hat = torch.stack([frame.x_hat for frame in coded], 1)
    mse = (x_hat - both).square().mean((2, 3, 4))
    loss = fixed_lambda * 255**2 * mse + bpp
    result = {"loss": loss, "bpp": bpp, "hyper_bpp": hyper, "mse": mse}
    return {name: value.mean(1).view(2, -1).mean(0) for name, value in result.items()}


class Objective(nn.Module):
    """The objective as a module, so that DistributedDataParallel sees one forward pass.

    `x` are pictures [B, H, W, 3] or sequences of them [B, T, H, W, 3], whichever the model is for.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: torch.dtype,
        ms_ssim: float = 0.0,
        seen: float = 0.0,
        fixed_lambda: float = 0.0,
        parts: Sequence[str] = (),
        lpips: float = 0.0,
        lpips_part: float = 0.0,
    ) -> None:
        """`parts` are the networks that are trained, by what they code; all by default.

        `WeightsError` if LPIPS has a weight or a share, and has not been fetched.
        """
        super().__init__()
        self.model, self.dtype = model, dtype
        self.ms_ssim, self.seen, self.fixed_lambda = ms_ssim, seen, fixed_lambda
        self.parts = tuple(parts)
        self.lpips_weight, self.lpips_part = lpips, lpips_part
        self.lpips = fetched(LPIPS(), "lpips") if lpips or lpips_part else None

    def _distance(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """LPIPS. Where its own grid of places lies is drawn if it counts at all rates: it must not be learned."""
        assert self.lpips is not None
        top, left = (int(n) for n in torch.randint(CELL_PX, (2,))) if self.lpips_part else (0, 0)
        one, other = (picture[:, top:, left:].clamp(0, 1).permute(0, 3, 1, 2) for picture in (x, x_hat))
        distance: Tensor = self.lpips(one, other)
        return distance

    def forward(self, x: Tensor, index: Tensor, noise: bool = True) -> dict[str, Tensor]:
        model: Any = self.model
        if isinstance(model, Autoencoder) or self.parts == (PICTURE,):
            options: dict[str, Any] = {name: getattr(self, name) for name in ("ms_ssim", "seen", "fixed_lambda")}
            if self.lpips is not None and torch.is_grad_enabled():  # validation does not tell the loss
                options |= {"lpips": self.lpips_weight, "lpips_part": self.lpips_part, "distance": self._distance}
            result = rate_distortion(model.networks[PICTURE], x, index, noise=noise, dtype=self.dtype, **options)
        else:
            result = clip_rate_distortion(model, x, noise=noise, fixed_lambda=self.fixed_lambda)
        densities = [network.density for network in model.networks.values()]
        learned = [density.quantile_loss() for density in densities if isinstance(density, FactorizedDensity)]
        return result | ({"tail_loss": torch.stack(learned).sum()} if learned else {})
