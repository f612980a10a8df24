"""CompressAI's pretrained models as codecs to compare with, where compressai is installed and their weights lie.

A name is `compressai:ARCHITECTURE`, or `compressai:ARCHITECTURE:ms-ssim` for those trained for that metric; settings
are the qualities whose weights are in torch's folder of downloads. Nothing is fetched: CompressAI itself does that, as
in `python -m compressai.utils.eval_model pretrained ... -a cheng2020-anchor -q 1,2,3`.

CompressAI writes no files. Here a file is what a decoder would have to be told, and no more: quality, size of the
picture, size of the hyperlatent, and the strings with their lengths.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mvc.errors import BackendError, MvcError
from mvc.evaluate.adapter import ZOO, Adapter, Samples

_HEAD = struct.Struct("<BHHHHB")  # quality, width, height, columns and rows of the shape, number of strings
_STRIDE_PX = 64
_METRICS = ("mse", "ms-ssim")


def adapter(name: str) -> Adapter:
    """The codec of such a name; MvcError for one that is none, BackendError without the package or any weights."""
    architecture, _, metric = name.removeprefix(ZOO).partition(":")
    metric = metric or _METRICS[0]
    urls, folder = modules("zoo.image")[0].model_urls, _downloads()
    if metric not in urls.get(architecture, ()):
        hint = f"there are {', '.join(urls)}, and after another colon {' or '.join(_METRICS)}"
        raise MvcError(f"CompressAI has no pretrained {name.removeprefix(ZOO)!r}", hint=hint)
    paths = {quality: folder / url.rpartition("/")[2] for quality, url in urls[architecture][metric].items()}
    found = {quality: path for quality, path in sorted(paths.items()) if path.is_file()}
    if not found:
        hint = f"`python -m compressai.utils.eval_model pretrained DIR -a {architecture} -m {metric} -q 1` fetches one"
        raise BackendError(f"no weights of {name} lie in {folder}", hint=hint)

    @lru_cache(maxsize=1)
    def model(quality: int) -> Any:
        return _loaded(architecture, found[quality])

    title = f"CompressAI, {architecture}, for {metric}"
    digest = hashlib.sha256("".join(path.name for path in found.values()).encode()).hexdigest()[:8]
    made = f"compressai {version('compressai')}, weights {digest}"

    def encode(samples: Samples, setting: float) -> bytes:
        if setting not in found:
            raise MvcError(f"there are no weights of {name} of quality {setting:g}", hint=f"there are {[*found]}")
        return _encoded(model, samples, int(setting))

    settings = tuple(map(float, found))
    return Adapter(name, title, made, settings, settings[0], settings[-1], False, encode, lambda d: _decoded(model, d))


def modules(*names: str) -> list[Any]:
    """Modules of CompressAI; BackendError where it is missing or broken."""
    try:
        return [import_module(f"compressai.{name}") for name in names]
    except (ImportError, OSError, RuntimeError) as error:  # the last two of a torchvision made for another torch
        hint = "pip install 'mvc-codec[compressai]', with a torchvision that was made for this torch"
        raise BackendError(f"compressai cannot be imported: {error}", hint=hint) from error


def _downloads() -> Path:
    """Where torch keeps weights that were fetched from an address."""
    import torch

    return Path(torch.hub.get_dir(), "checkpoints")


def _loaded(architecture: str, path: Path) -> Any:
    import torch

    (zoo,) = modules("zoo.image")
    try:
        state = zoo.load_pretrained(torch.load(path, map_location="cpu", weights_only=True))
        model = zoo.model_architectures[architecture].from_state_dict(state).eval()
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, pickle.UnpicklingError) as error:
        said = str(error).partition("\n")[0]
        raise BackendError(f"the weights {path} cannot be used: {said}") from error
    model.update()
    return model


def _encoded(model: Callable[[int], Any], samples: Samples, quality: int) -> bytes:
    import torch

    from mvc.ops.computing import computing

    height, width = samples.shape[:2]
    colour = np.repeat(samples[..., None], 3, 2) if samples.ndim == 2 else samples
    with computing(1):
        x = torch.from_numpy(np.array(colour)).permute(2, 0, 1)[None].float() / 255
        pad = 0, -width % _STRIDE_PX, 0, -height % _STRIDE_PX
        coded = model(quality).compress(torch.nn.functional.pad(x, pad, mode="replicate"))
    rows, columns = coded["shape"]
    strings = [string[0] for string in coded["strings"]]
    lengths = struct.pack(f"<{len(strings)}I", *map(len, strings))
    return _HEAD.pack(quality, width, height, columns, rows, len(strings)) + lengths + b"".join(strings)


def _decoded(model: Callable[[int], Any], data: bytes) -> Samples:
    from mvc.ops.computing import computing

    quality, width, height, columns, rows, count = _HEAD.unpack_from(data)
    place, strings = _HEAD.size + 4 * count, []
    for length in struct.unpack_from(f"<{count}I", data, _HEAD.size):
        strings.append([data[place : place + length]])
        place += length
    with computing(1):
        x = model(quality).decompress(strings, (rows, columns))["x_hat"][0, :, :height, :width]
        found: Samples = x.permute(1, 2, 0).mul(255).round().clamp(0, 255).byte().numpy()
    return found
