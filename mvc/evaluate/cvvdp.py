"""CVVDP (ColorVideoVDP) of still pictures, by its authors' package, without the rest of what that package asks for.

Mantiuk et al., "ColorVideoVDP: A visual difference predictor for image, video and display distortions", SIGGRAPH 2024.
The package `cvvdp` names torchvision, FFmpeg, imageio and more, all for reading videos and drawing: of these nothing
runs here, so `pip install --no-deps cvvdp` will do, and what is missing is stood in for while its modules are loaded.
Its tables are in its wheel. The display is its default one, `standard_4k`: sRGB at 200 cd/m2, 75 pixels a degree.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvc.errors import BackendError

DISPLAY = "standard_4k"
HINT = "pip install --no-deps cvvdp==0.5.7"
_STOOD_IN = ("torchvision", "torchvision.transforms", "ffmpeg", "imageio", "imageio.v2", "tqdm")
_LEFT_OUT = ("matplotlib", "matplotlib.pyplot")  # which it can do without, and which takes a second to import
_TOP_LEVEL = ("interp", "third_party", "third_party.cpuinfo", "third_party.loadmat")
"""Modules of the package that it imports as if they were not its own."""


def metric(device: str = "cpu") -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """A function of original and decoded picture, both `[H, W, 3]`, uint8 or uint16: JOD, 10 where nothing is seen.

    Raises `BackendError` without the package, or with one that cannot be loaded.
    """
    with _unheard():
        predictor = _module().cvvdp(display_name=DISPLAY, quiet=True, device=torch.device(device))

    def measure(original: NDArray[Any], decoded: NDArray[Any]) -> float:
        shown = [np.ascontiguousarray(samples) for samples in (decoded, original)]
        if original.dtype == np.uint16:  # the package knows 16 bits as a share of 1
            shown = [np.asarray(samples / np.float32(65535), np.float32) for samples in shown]
        with torch.inference_mode(), _unheard():
            jod, _ = predictor.predict(*shown, dim_order="HWC")
        return float(jod)

    return measure


@contextmanager
def _unheard() -> Iterator[None]:
    """The package speaks to the root of Python's log, which then would show everything of everybody from there on."""
    nobody, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(nobody)
    try:
        yield
    finally:
        root.removeHandler(nobody)


class _GaussianBlur:
    """`torchvision.transforms.GaussianBlur`: a normalised window, mirrored at the edges."""

    def __init__(self, taps: int, sigma: float) -> None:
        distance = torch.arange(taps, dtype=torch.float32) - (taps - 1) / 2
        window = torch.exp(-0.5 * (distance / sigma) ** 2)
        self._window, self._pad = window / window.sum(), taps // 2

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """Planes `[..., H, W]`, blurred."""
        flat = planes.reshape(-1, 1, *planes.shape[-2:])
        padded = torch.nn.functional.pad(flat, [self._pad] * 4, mode="reflect")
        window = self._window.to(planes)
        down = torch.nn.functional.conv2d(padded, window[None, None, :, None])
        return torch.nn.functional.conv2d(down, window[None, None, None, :]).reshape(planes.shape)

    __call__ = forward


@cache
def _module() -> ModuleType:
    spec = find_spec("pycvvdp")
    if spec is None or not spec.submodule_search_locations:
        raise BackendError("CVVDP is not installed", hint=HINT)
    try:
        with _alone(list(spec.submodule_search_locations)):
            return importlib.import_module("pycvvdp.cvvdp_metric")
    except (ImportError, AttributeError, OSError) as error:
        raise BackendError(f"the package cvvdp cannot be used: {error}", hint=HINT) from error


@contextmanager
def _alone(places: list[str]) -> Iterator[None]:
    """The package without its `__init__`, and stand-ins for what it imports and does not use here.

    Afterwards `sys.path` and the names of other packages are as they were.
    """
    names = ("pycvvdp", *_STOOD_IN, *_LEFT_OUT, *_TOP_LEVEL)
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    path = list(sys.path)
    try:
        for name in _TOP_LEVEL:
            sys.modules.pop(name, None)
        package = ModuleType("pycvvdp")
        package.__path__ = places
        sys.modules["pycvvdp"] = package
        missing: dict[str, Any] = dict.fromkeys(_LEFT_OUT)
        sys.modules.update(missing)
        for name in _STOOD_IN:
            stand_in: Any = ModuleType(name)
            stand_in.__path__ = []
            stand_in.GaussianBlur, stand_in.tqdm = _GaussianBlur, lambda steps, **_: steps
            sys.modules[name] = stand_in
        yield
    finally:
        sys.path[:] = path
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)
