"""The training objective: rate from a noisy estimate, distortion through rounded latents, straight through.

mambavc-lite trains for all rates at once and may do so in bfloat16. A model of the papers trains for one rate, in
float32: in bfloat16 latents beyond 256 have steps of two, and a density that is the difference of two sigmoids has
none of its digits left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvc.models.base import PictureModel
from mvc.models.estimate import RateEstimator
from mvc.models.mambavc_lite import MambaVCLite, rd_lambda
from mvc.train.structure import LAMBDA_RATIO, ms_ssim_loss


def rate_distortion(
    model: PictureModel,
    x: Tensor,
    quality: Tensor,
    *,
    noise: bool = True,
    dtype: torch.dtype = torch.float32,
    ms_ssim: float = 0.0,
    fixed_lambda: float = 0.0,
) -> dict[str, Tensor]:
    """Per-sample bits per pixel (all and hyperlatent), MSE and loss for pictures x [B, H, W, 3] in 0..1.

    `ms_ssim` is the share of 1 - MS-SSIM in the distortion, the rest being the squared error. With `fixed_lambda` the
    loss is fixed_lambda * 255^2 * MSE + bits per pixel (MambaVC, equation 11), else lambda follows the quality index.
    """
    coder = RateEstimator(model.density, quality, noise, dtype)
    if isinstance(model, MambaVCLite):
        y = model.g_a(x.to(dtype), quality)
        z = model.h_a(y.to(dtype), quality)
        y_hat = model.prior.code(coder, quality, z, y)
        x_hat = model.g_s(y_hat.float(), quality, dtype)
    else:
        y, z = model.analyse(x, quality)
        x_hat = model.g_s(model.prior.code(coder, quality, z, y))
    mse = (x_hat - x).square().mean((1, 2, 3))
    pixels = x.shape[1] * x.shape[2]
    bpp = (coder.latent_bits + coder.hyper_bits) / pixels
    distortion = 255**2 * mse
    if ms_ssim:
        distortion = (1 - ms_ssim) * distortion + ms_ssim * LAMBDA_RATIO * ms_ssim_loss(x, x_hat)
    if fixed_lambda:
        loss = fixed_lambda * distortion + bpp
    else:
        weight = rd_lambda(quality)
        # dividing by sqrt(lambda) keeps every rate's gradient of about one size
        loss = (weight * distortion + bpp) * (weight / 0.018) ** -0.5
    return {"loss": loss, "bpp": bpp, "hyper_bpp": coder.hyper_bits / pixels, "mse": mse, "x_hat": x_hat}
