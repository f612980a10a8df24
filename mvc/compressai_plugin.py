"""CompressAI has our models once this is imported: in its registry, its zoo and its evaluation script.

    python -m mvc.compressai_plugin pretrained PICTURES -a mambavc-lite -q 1,2,3,4,5,6,7,8
    python -m mvc.compressai_plugin checkpoint PICTURES -a mambavc-lite -p mine.pth.tar

are `python -m compressai.utils.eval_model` with our names. They are for evaluation: `mvc train` trains.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mvc.codec import Codec
from mvc.errors import MvcError, WeightsError
from mvc.evaluate.compressai_zoo import modules
from mvc.models import registry, weights
from mvc.picture import Picture
from mvc.quality import DEFAULT_EFFORT, MAX_QUALITY, MIN_QUALITY, quality_index


class MvcModel(nn.Module):
    """A model with shipped or exported weights at one quality, with the methods of CompressAI's models.

    Pictures are [B, 3, H, W] in 0..1. A picture's string is its whole .mvc file, made by the network alone, so bits
    count everything; threads are those that torch is set to. Its state dict is the model's two files, as bytes, and
    the quality, 1 to 8. There is nothing to train in it.
    """

    manifest: Tensor
    weights: Tensor

    def __init__(self, manifest: bytes, data: bytes, quality: float) -> None:
        """Of a model's two files; WeightsError where they are none of a model of pictures, ValueError for a quality."""
        super().__init__()
        quality_index(quality)
        self.quality = nn.Parameter(torch.tensor(float(quality)), requires_grad=False)
        self.register_buffer("manifest", _as_tensor(manifest))
        self.register_buffer("weights", _as_tensor(data))
        self._codec = Codec(weights.of_files(manifest, data, "the checkpoint"))
        if registry.known(self._codec.weights.name).kind != "still":
            raise WeightsError(f"{self._codec.weights.name} is no model of pictures")

    @classmethod
    def of_folder(cls, model: str, quality: float) -> MvcModel:
        """A preset's name, or a folder of `mvc export`."""
        folder = weights.folder_of(model)
        try:
            return cls(*weights.stored(folder), quality)
        except OSError as error:
            raise WeightsError(f"the weights in {folder} cannot be read: {error}") from error

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> MvcModel:
        """As saved; WeightsError for another model's."""
        try:
            manifest, data = (state_dict[name].cpu().numpy().tobytes() for name in ("manifest", "weights"))
            quality = float(state_dict["quality"])
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise WeightsError(
                "this is no checkpoint of an mvc model for CompressAI", hint="docs/compressai.md says how to make one"
            ) from error
        return cls(manifest, data, quality)

    def update(self, *arguments: object, **options: object) -> bool:
        """Nothing: tables are part of the weights."""
        return False

    def compress(self, x: Tensor) -> dict[str, Any]:
        """{"strings": one list of files, "shape": height and width}."""
        index, codec = quality_index(float(self.quality)), self._ready()
        samples = x.detach().float().mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
        files = [codec.encode(Picture(np.ascontiguousarray(one)), index, DEFAULT_EFFORT) for one in samples]
        return {"strings": [files], "shape": x.shape[2:]}

    def decompress(self, strings: Sequence[Sequence[bytes]], shape: Sequence[int]) -> dict[str, Tensor]:
        """{"x_hat": pictures in 0..1, of 8 bits}."""
        codec = self._ready()
        samples = np.stack([codec.decode(data).samples for data in strings[0]])
        return {"x_hat": torch.from_numpy(samples).to(self.quality.device).permute(0, 3, 1, 2).float() / 255}

    def forward(self, x: Tensor) -> dict[str, Any]:
        """What a coded picture looks like, and likelihoods that stand for its file's bits, spread over the pixels."""
        coded = self.compress(x)
        bits = x.new_tensor([8.0 * len(data) for data in coded["strings"][0]], dtype=torch.float32)
        spread = torch.exp2(-bits / (x.shape[2] * x.shape[3]))[:, None, None, None]
        likelihoods = {"file": spread.expand(-1, 1, *x.shape[2:])}
        return self.decompress(**coded) | {"likelihoods": likelihoods}

    def _ready(self) -> Codec:
        """On the device that the module was moved to, with torch's threads."""
        device = str(self.quality.device)
        if str(self._codec.device) != device:
            self._codec = Codec(self._codec.weights, device)
        return self._codec.with_threads(torch.get_num_threads())


def _as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _maker(name: str) -> Callable[..., MvcModel]:
    def make(quality: float, metric: str = "mse", pretrained: bool = False, progress: bool = True) -> MvcModel:
        """The shipped model at a quality of 1 to 8."""
        if metric != "mse" or not pretrained:
            raise ValueError(f"{name} is here pretrained, and for mse; `mvc train` trains")
        if not MIN_QUALITY <= quality <= MAX_QUALITY:
            raise ValueError(f'Invalid quality "{quality}", should be between (1, 8)')
        return MvcModel.of_folder(name, quality)

    return make


def register() -> tuple[str, ...]:
    """Tell CompressAI the names of the shipped models of pictures; BackendError where it is missing or broken."""
    known, zoo, images = modules("registry", "zoo", "zoo.image")
    names = tuple(preset.name for preset in registry.presets("still") if preset.shipped)
    for name in names:
        known.register_model(name)(MvcModel)
        images.model_architectures[name] = MvcModel
        zoo.image_models[name] = zoo.models[name] = _maker(name)
    return names


def main(arguments: list[str]) -> None:
    """CompressAI's evaluation of these arguments."""
    try:
        register()
        import_module("compressai.utils.eval_model.__main__").main(arguments)
    except MvcError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        raise SystemExit(f"error: {error}{hint}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
else:
    register()
