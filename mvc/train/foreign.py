"""Public checkpoints: how their authors name and lay out tensors, and which of ours each one is.

Names and layouts were read in, and nothing was copied from:

- github.com/QinSY123/2024-MambaVC, models/MambaVC.py at afdedf84061a47bfbdca4743d7e40680c86afcbb (`MAMBAVC`; its
  attention gates are those of LIC-TCM, its 2DSS that of VMamba);
- github.com/InterDigitalInc/CompressAI at 869a9f5d4126d015b7de8f203fe60ee9e1608193 (compressai/models/video/google.py,
  layers/gdn.py, ops/parametrizers.py, entropy_models/entropy_models.py, zoo/pretrained.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

Convert = Callable[[Tensor], Tensor]

ORDERS = (0, 2, 1, 3)
"""VMamba's four directions are rows, columns, rows backward, columns backward; ours are these of them in turn."""

PEDESTAL = 2.0**-36  # of CompressAI's parameters that cannot be negative
BETA_LEAST = 1e-6


def same(x: Tensor) -> Tensor:
    """Laid out as ours."""
    return x


def projection(x: Tensor) -> Tensor:
    """[4, R + 2N, D] -> [4 (R + 2N), D]"""
    return x[list(ORDERS)].flatten(0, 1)


def step_weight(x: Tensor) -> Tensor:
    """[4, D, R] -> [R, 4D]"""
    return x[list(ORDERS)].permute(2, 0, 1).flatten(1)


def step_bias(x: Tensor) -> Tensor:
    """[4, D] -> [4D]"""
    return x[list(ORDERS)].flatten()


def decay(x: Tensor) -> Tensor:
    """[4D, N] -> [N, 4D]"""
    return x.unflatten(0, (4, -1))[list(ORDERS)].permute(2, 0, 1).flatten(1)


def skip(x: Tensor) -> Tensor:
    """[4D] -> [4D]"""
    return x.unflatten(0, (4, -1))[list(ORDERS)].flatten()


def relative_bias(x: Tensor) -> Tensor:
    """[heads, 2w - 1, 2w - 1], rows first -> [(2w - 1)^2, heads]; both count from query minus key = -(w - 1)."""
    return x.permute(1, 2, 0).flatten(0, 1)


def quantiles(x: Tensor) -> Tensor:
    """[Z, 1, 3] -> [Z, 3]"""
    return x.squeeze(1)


def gamma_root(x: Tensor) -> Tensor:
    """CompressAI's value is x^2 - pedestal, and 0 for x below the pedestal's root; ours is the square."""
    return (x.double().clamp_min(0).square() - PEDESTAL).clamp_min(0).sqrt()


def beta_root(x: Tensor) -> Tensor:
    """As `gamma_root`, for a value that is at least BETA_LEAST; ours is that much and the square."""
    return (x.double().clamp_min(0).square() - PEDESTAL - BETA_LEAST).clamp_min(0).sqrt()


_PARTS = {"img": "keyframe", "motion": "motion", "res": "residual"}
_IN_PART = (
    (r"encoder\.", "g_a."),
    (r"decoder\.", "g_s."),
    (r"hyperprior\.hyper_encoder\.", "h_a."),
    (r"hyperprior\.hyper_decoder_mean\.", "prior.h_mean."),
    (r"hyperprior\.hyper_decoder_scale\.deconv1\.", "prior.h_scale.0.0."),
    (r"hyperprior\.hyper_decoder_scale\.deconv2\.", "prior.h_scale.0.2."),
    (r"hyperprior\.hyper_decoder_scale\.deconv3\.", "prior.h_scale.0.4."),
    (r"hyperprior\.entropy_bottleneck\.", "density."),
)
_GATE = r"atten_(mean|scale)\.(\d+)\.0\."

PLACES: tuple[tuple[str, str], ...] = (
    (r"(g_a|g_s|h_a)\.", r"\1."),
    (r"h_(mean|scale)_s\.", r"prior.h_\1."),
    (_GATE + r"non_local_block\.block_1\.", r"prior.contexts.\2.\1_gate.windows.0."),
    (_GATE + r"non_local_block\.block_2\.", r"prior.contexts.\2.\1_gate.windows.1."),
    (_GATE, r"prior.contexts.\2.\1_gate."),
    (r"cc_(mean|scale)_transforms\.(\d+)\.", r"prior.contexts.\2.\1."),
    (r"lrp_transforms\.(\d+)\.", r"prior.contexts.\1.correction."),
    (r"entropy_bottleneck\.", "density."),
    *((f"{theirs}_{place}", f"{ours}.{here}") for theirs, ours in _PARTS.items() for place, here in _IN_PART),
)
"""Where a layer stands: a pattern of how its name begins, and how ours does. The first that fits counts."""

_WB = r"(weight|bias)"

LAYERS: tuple[tuple[str, str, Convert], ...] = (
    (_WB, r"\1", same),
    # VMamba's block without its MLP
    (rf"norm\.{_WB}", r"norm.\1", same),
    (r"op\.in_proj\.weight", "mixer.inp.weight", same),
    (rf"op\.conv2d\.{_WB}", r"mixer.conv.\1", same),
    (rf"op\.out_norm\.{_WB}", r"mixer.norm.\1", same),
    (r"op\.out_proj\.weight", "mixer.out.weight", same),
    (r"op\.x_proj_weight", "mixer.scan.projection", projection),
    (r"op\.dt_projs_weight", "mixer.scan.dt_weight", step_weight),
    (r"op\.dt_projs_bias", "mixer.scan.dt_bias", step_bias),
    (r"op\.A_logs", "mixer.scan.a_log", decay),
    (r"op\.Ds", "mixer.scan.d", skip),
    # LIC-TCM's Swin block, and the gate around two of them
    (rf"ln([12])\.{_WB}", r"norm\1.\2", same),
    (rf"msa\.embedding_layer\.{_WB}", r"attention.qkv.\1", same),
    (rf"msa\.linear\.{_WB}", r"attention.out.\1", same),
    (r"msa\.relative_position_params", "attention.bias", relative_bias),
    (rf"mlp\.(\d)\.{_WB}", r"mlp.\1.\2", same),
    (rf"in_conv\.{_WB}", r"inp.\1", same),
    (rf"out_conv\.{_WB}", r"out.\1", same),
    (rf"conv_([ab])\.(\d)\.conv\.(\d)\.{_WB}", r"\1.\2.layers.\3.\4", same),
    (rf"conv_b\.3\.{_WB}", r"b.3.\1", same),
    # CompressAI's GDN and EntropyBottleneck, the latter under its names of three ages
    (r"beta", "beta_root", beta_root),
    (r"gamma", "gamma_root", gamma_root),
    (r"(?:_matrix|_?matrices\.)(\d)", r"matrices.\1", same),
    (r"(?:_bias|_?biases\.)(\d)", r"biases.\1", same),
    (r"(?:_factor|_?factors\.)(\d)", r"factors.\1", same),
    (r"quantiles", "quantiles", quantiles),
)
"""What a layer calls its tensors behind its place and, inside an nn.Sequential, its number."""

IGNORED = frozenset(("_offset", "_quantized_cdf", "_cdf_length", "scale_table", "scale_bound"))
"""Ends of names that hold a coder's tables, which are built anew here."""

CONSTANT = frozenset(("target", "bound", "pedestal", "attn_mask", "relative_position_index"))
"""Ends of names that hold constants of the layers, the same in every checkpoint."""


def is_ignored(name: str) -> bool:
    """Whether a tensor of this name says nothing about the model."""
    return name.rpartition(".")[2] in IGNORED | CONSTANT


def translate(name: str) -> tuple[str, Convert] | None:
    """Our name for a tensor of the authors', and how to lay it out as ours; None for a name that is not known."""
    for place, here in PLACES:
        if begin := re.match(place, name):
            rest = name[begin.end() :]
            number = found[0] if (found := re.match(r"\d+\.", rest)) else ""
            for layer, ours, convert in LAYERS:
                if end := re.fullmatch(layer, rest[len(number) :]):
                    return begin.expand(here) + number + end.expand(ours), convert
            return None
    return None


def certain_channel() -> dict[str, Tensor]:
    """A FactorizedDensity of one channel that is always 1: all its mass but 1e-24 lies between 1/2 and 3/2."""
    steep = 6.0
    widths = ((3, 1), (3, 3), (3, 3), (3, 3), (1, 3))
    channel = {f"matrices.{k}": torch.zeros(1, outer, inner) for k, (outer, inner) in enumerate(widths)}
    channel |= {f"biases.{k}": torch.zeros(1, outer, 1) for k, (outer, _) in enumerate(widths)}
    channel |= {f"factors.{k}": torch.zeros(1, outer, 1) for k, (outer, _) in enumerate(widths[:-1])}
    # softplus(6) (3 softplus(0))^4 = 112 is the slope of the logit, which is 0 very near 1
    channel["matrices.0"] += steep
    channel["biases.0"] -= steep
    channel["quantiles"] = torch.tensor([[0.8, 1.0, 1.2]])
    return channel
