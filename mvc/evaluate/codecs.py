"""The codecs that a sweep compares: mvc and what Pillow and its relatives write, each as two functions around bytes.

`encode(samples, setting)` returns a whole file and nothing else; `decode(data)` sees nothing but a file.
There is no way to hand over a reconstruction: what is measured is what `mvc.evaluate.sweep` reads from disk.
All run on one thread (mvc on as many as it is told), so that times can be compared.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from PIL import Image, features

from mvc import choice
from mvc.arguments import LOOKS
from mvc.container import read_head
from mvc.errors import BackendError, MvcError
from mvc.evaluate.adapter import ZOO, Adapter, Samples
from mvc.picture import Picture
from mvc.quality import DEFAULT_EFFORT, DEFAULT_MODEL, INDICES, Coder, model_for, quality_index
from mvc.still_file import StillFile
from mvc.version import __version__

if TYPE_CHECKING:
    from mvc.codec import Codec


@dataclass(frozen=True)
class _Format:
    """One of Pillow's formats: how to write it, and what to call it."""

    title: str
    kind: str
    feature: str
    options: Callable[[int], dict[str, object]]
    settings: tuple[float, ...]
    lowest: int = 0
    highest: int = 100


def _jpeg(subsampling: str) -> _Format:
    return _Format(
        f"JPEG, {subsampling}, optimised Huffman tables",
        "JPEG",
        "libjpeg_turbo",
        lambda quality: {"quality": quality, "subsampling": subsampling, "optimize": True},
        (5, 10, 20, 35, 55, 75, 87, 93),
        lowest=1,
    )


# The grids cover 0.1 to 2.5 bits per pixel on the Kodak pictures, as far as a codec reaches that low.
_FORMATS: Mapping[str, _Format] = MappingProxyType(
    {
        "jpeg": _jpeg("4:4:4"),
        "jpeg-420": _jpeg("4:2:0"),
        "webp": _Format(
            "WebP, method 6",
            "WEBP",
            "webp",
            lambda quality: {"quality": quality, "method": 6},
            (0, 8, 25, 45, 65, 80, 90, 95),
        ),
        "jpeg2000": _Format(
            "JPEG 2000, 9/7 wavelet, colour transform; the setting is 100 times the bits per pixel",
            "JPEG2000",
            "jpg_2000",
            lambda rate: {
                "irreversible": True,
                "mct": 1,
                "quality_mode": "rates",
                "quality_layers": [2400 / rate],
            },
            (10, 20, 35, 55, 85, 125, 180, 250),
            lowest=1,
            highest=2400,
        ),
        "avif": _Format(
            "AVIF, 4:4:4, speed 4",
            "AVIF",
            "avif",
            lambda quality: {"quality": quality, "subsampling": "4:4:4", "speed": 4, "max_threads": 1},
            (8, 20, 35, 50, 62, 75, 84, 91),
        ),
        "jxl": _Format(
            "JPEG XL, effort 7",
            "JXL",
            "",
            lambda quality: {"quality": quality, "effort": 7, "num_threads": 1},
            (0, 10, 30, 50, 67, 80, 90, 95),
        ),
        "heic": _Format(
            "HEIC, x265, 4:4:4",
            "HEIF",
            "",
            lambda quality: {"quality": quality, "chroma": 444, "enc_params": {"x265:pools": "none"}},
            (5, 15, 28, 40, 50, 60, 70, 80),
        ),
    }
)

OWN = "mvc", "mvc-auto", "mvc-grain", "mvc-natural", "mvc-tuned", "mvc-tuned-auto", "mvc-tuned-natural"
NAMES = (*OWN, *_FORMATS)
"""All codecs by name, but for CompressAI's."""

_PLUGINS = {"jxl": ("pillow_jxl", "pillow-jxl-plugin"), "heic": ("pillow_heif", "pillow-heif")}
"""Formats that Pillow has not: the module, and what pip calls it."""


def available() -> tuple[str, ...]:
    """The codecs that can be used here."""
    return tuple(name for name in NAMES if name in OWN or _library(name) is not None)


def adapter(
    name: str,
    *,
    model: str | None = None,
    effort: int = DEFAULT_EFFORT,
    device: str = "auto",
    threads: int | None = None,
) -> Adapter:
    """The codec of this name; the keyword arguments are for mvc only, which without a `model` has the usual one.

    Raises `MvcError` for an unknown name, `BackendError` where a library is missing, and what
    `mvc.codec.load` raises.
    """
    if name in OWN:
        from mvc import codec

        ways = name.split("-")[1:]
        named = model_for("look" if "tuned" in ways else "error", model)
        return mvc_adapter(codec.load(named, device, threads), named, effort, ways=ways)
    if name.startswith(ZOO):
        from mvc.evaluate import compressai_zoo

        return compressai_zoo.adapter(name)
    if name not in _FORMATS:
        hint = f"known are {', '.join(NAMES)} and {ZOO}ARCHITECTURE"
        raise MvcError(f"there is no codec {name!r} to compare with", hint=hint)
    library = _library(name)
    if library is None:
        hint = f"pip install {_PLUGINS[name][1]}" if name in _PLUGINS else "install Pillow from its wheel"
        raise BackendError(f"{name} is not in this installation of Pillow", hint=hint)
    form = _FORMATS[name]

    def encode(samples: Samples, setting: float) -> bytes:
        options = form.options(round(setting))
        if samples.ndim == 2:
            options.pop("mct", None)  # a transform between three components
        buffer = io.BytesIO()
        image: Any = Image.fromarray(samples)
        if name == "heic":  # called directly: registered with Pillow it would change what a program can open
            import_module("pillow_heif").from_pillow(image).save(buffer, **options)
        else:
            image.save(buffer, form.kind, **options)
        return buffer.getvalue()

    def decode(data: bytes) -> Samples:
        if name == "heic":
            opened: Image.Image = import_module("pillow_heif").open_heif(io.BytesIO(data)).to_pillow()
        else:
            opened = Image.open(io.BytesIO(data), formats=(form.kind,))
        with opened as image:
            image.load()
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"), np.uint8)

    return Adapter(name, form.title, library, form.settings, form.lowest, form.highest, False, encode, decode)


def mvc_adapter(
    codec: Codec, name: str = DEFAULT_MODEL, effort: int = DEFAULT_EFFORT, *, ways: Sequence[str] = ()
) -> Adapter:
    """mvc itself, from a loaded codec, warmed up so that no clock sees kernels being compiled.

    Its network alone, in these ways: "tuned" to the look; shown in the "natural" look, or with "grain". "auto" is what
    `mvc encode` makes, by the network, the exact coder or both.
    """
    codec = codec.tuned("look" if "tuned" in ways else "error")
    grain, look = "grain" in ways, LOOKS["natural" if "natural" in ways else "faithful"]
    coder: Coder = "auto" if "auto" in ways else "network"

    def encode(samples: Samples, quality: float) -> bytes:
        how: Any = {"index": quality_index(quality), "effort": effort, "coder": coder, "grain": grain}
        return choice.encode(Picture(samples), lambda: codec, target={}, **how)

    def decode(data: bytes) -> Samples:
        return StillFile(data, grain=grain, look=look).decode(lambda model_id: codec).samples

    coded = codec.encode(Picture(np.zeros((64, 64, 3), np.uint8)), INDICES // 2, effort)
    decode(coded)
    return Adapter(
        "-".join(["mvc", *ways]),
        ", ".join(["mvc", name, f"effort {effort}", *ways]),
        f"mvc {__version__}, model id {read_head(coded).model_id.hex()}",
        tuple(float(quality) for quality in range(1, 9)),
        1,
        8,
        True,
        encode,
        decode,
        anchor=False,
    )


def _library(name: str) -> str | None:
    """The library behind a format with its version, or None where it is missing."""
    if name in _PLUGINS:
        module, package = _PLUGINS[name]
        try:
            import_module(module)  # pillow_jxl registers itself with Pillow
        except ImportError:
            return None
        return f"{package} {version(package)}"
    form = _FORMATS[name]
    feature = form.feature
    if not features.check(feature):
        # Pillow may be built with another libjpeg: still JPEG, under its own name.
        return f"Pillow {PIL.__version__}, libjpeg" if form.kind == "JPEG" else None
    return f"Pillow {PIL.__version__}, {feature} {features.version(feature)}"
