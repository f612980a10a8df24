"""Checkpoints: the full one that `mvc train` writes, and a packed one, a fifth of its size, to keep in a repository.

A packed checkpoint holds, for every weight, the averaged value in float16, and in four bits each the distance from it
to the raw weight and the momentum, scaled by the largest in their row. AdamW's moments (vectors and small tables only)
are kept in bfloat16, which has the range that squares need. All is packed by LZMA, the bytes of float16 in two planes.
Both kinds are read by `read`, as a full checkpoint.
"""

from __future__ import annotations

import io
import lzma
import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mvc.blocks.lite import renamed
from mvc.errors import WeightsError
from mvc.files import atomic, check_input
from mvc.train import checkpoints

ZIP = b"PK"  # how torch.save's files start
XZ = b"\xfd7zXZ"  # and how packed ones do
PACKED_VERSION = 2
MAX_PACKED_BYTES, MAX_INFLATION = 1 << 30, 16
MAX_DICTIONARY_BYTES = 1 << 28  # of LZMA: a file says how much it takes to unpack it
KEYS = ("recipe", "config", "step", "minutes", "model", "average", "optimizer")


def write(path: Path, data: bytes | dict[str, Any]) -> None:
    """Write a checkpoint, full or packed, so that an interruption leaves the one before."""
    with atomic(path, force=True) as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            torch.save(data, file)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of either kind as `Trainer` writes it, in float32.

    WeightsError if it is none, or one that takes memory out of proportion; SourceError if there is none.
    """
    check_input(path)
    try:
        with open(path, "rb") as file:
            start = file.read(len(ZIP))
            file.seek(0)
            state = _load(file) if start == ZIP else unpack(file.read(MAX_PACKED_BYTES))
        if not all(key in state for key in KEYS):
            raise WeightsError("is not a checkpoint of `mvc train`")
        _check_kinds(state)
        state |= {key: renamed(state[key]) for key in ("model", "average")}
    except WeightsError as error:
        raise WeightsError(f"{path} {error.message}", hint=error.hint) from error
    except checkpoints.UNREADABLE as error:
        raise WeightsError(f"{path} is not a checkpoint of `mvc train`: {line(error)}") from error
    return state


def _check_kinds(state: dict[str, Any]) -> None:
    """ValueError unless everything has the type that `Trainer.state_dict` gives it."""
    for key in ("recipe", "config", "model", "average", "optimizer"):
        if not isinstance(state[key], dict) or not all(isinstance(name, str) for name in state[key]):
            raise ValueError(f"{key} is no dictionary of names")
    for key in ("model", "average"):
        if not all(isinstance(value, Tensor) and value.is_floating_point() for value in state[key].values()):
            raise ValueError(f"{key} holds what is no weight")
    if type(state["step"]) is not int or state["step"] < 0:
        raise ValueError("step is no number of steps")
    if type(state["minutes"]) not in (int, float) or not 0 <= state["minutes"] < math.inf:
        raise ValueError("minutes is no time")


def line(error: BaseException) -> str:
    """The first line of what an error says; those of torch may have many."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def pack(state: dict[str, Any]) -> bytes:
    """A full checkpoint in less than three bytes a weight; training goes on from it with nearly the same losses.

    Of a model of which a run trains some networks those alone are kept: the others are in the recipe's `start`.
    WeightsError for one of another optimiser than Muon with AdamW.
    """
    if "muon" not in state["optimizer"]:
        raise WeightsError("only checkpoints that were trained with Muon can be packed")
    trained = state.get("trained")  # the names of what the run trains; the rest is what it began with
    model, average = ({n: v for n, v in state[k].items() if not trained or n in trained} for k in ("model", "average"))
    buffers = state["optimizer"]["muon"]["buffers"]
    adamw = state["optimizer"]["adamw"]
    halves = torch.cat([value.float().half().flatten() for value in average.values()])
    distances = [model[name].float() - value.float().half().float() for name, value in average.items()]
    packed = {
        **{key: state[key] for key in ("recipe", "config", "step", "minutes")},
        "packed": PACKED_VERSION,
        "shapes": {name: tuple(value.shape) for name, value in average.items()},
        "average": halves.view(torch.uint8).view(-1, 2).t().contiguous(),
        "distance": _to_nibbles(distances),
        "momentum_shapes": [tuple(buffer.shape) for buffer in buffers],
        "momentum": _to_nibbles(buffers),
        "adamw": _convert(adamw, torch.bfloat16),
    }
    file = io.BytesIO()
    torch.save(packed, file)
    return lzma.compress(file.getvalue())


def unpack(data: bytes) -> dict[str, Any]:
    """The full checkpoint that `pack` was given, but for rounding."""
    # older ones are deflated, which takes 3 % more
    inflate = lzma.LZMADecompressor(memlimit=MAX_DICTIONARY_BYTES) if data.startswith(XZ) else zlib.decompressobj()
    plain = inflate.decompress(data, min(MAX_PACKED_BYTES, MAX_INFLATION * len(data) + (1 << 20)))
    if not inflate.eof:
        raise ValueError("it is cut off, or larger than any model")
    packed = _load(io.BytesIO(plain))
    if packed.get("packed") != PACKED_VERSION:
        raise WeightsError("is a packed checkpoint of another version of mvc")
    shapes = packed["shapes"]
    halves = packed["average"].t().contiguous().view(torch.float16).flatten()
    parts = halves.float().split([_size(shape) for shape in shapes.values()])
    average = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    distances = _from_nibbles(packed["distance"], shapes.values())
    return {
        **{key: packed[key] for key in ("recipe", "config", "step", "minutes")},
        "model": {name: value + d for (name, value), d in zip(average.items(), distances, strict=True)},
        "average": average,
        "optimizer": {
            "muon": {"buffers": _from_nibbles(packed["momentum"], packed["momentum_shapes"])},
            "adamw": _convert(packed["adamw"], torch.float32),
        },
    }


def _load(file: BinaryIO) -> dict[str, Any]:
    state = checkpoints.load(file)
    if not isinstance(state, dict):
        raise ValueError("no dictionary in it")
    return state


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _to_nibbles(tensors: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """All values as whole numbers -7 ... 7, two to a byte, and the float32 scale of each row (the last dimension)."""
    rows, scales = [], []
    for tensor in tensors:
        flat = tensor.float().reshape(-1, tensor.shape[-1])
        scale = flat.abs().amax(1, keepdim=True) / 7
        rows.append((torch.round(flat / scale.clamp_min(1e-30)) + 8).to(torch.uint8).flatten())
        scales.append(scale.flatten())
    values = torch.cat(rows)
    values = torch.nn.functional.pad(values, (0, len(values) % 2))
    return values[::2] * 16 + values[1::2], torch.cat(scales)


def _from_nibbles(stored: tuple[Tensor, Tensor], shapes: Iterable[tuple[int, ...]]) -> list[Tensor]:
    pairs, scales = stored
    values = torch.stack([pairs >> 4, pairs & 15], 1).flatten().float() - 8
    tensors, at, row = [], 0, 0
    for shape in shapes:
        size = _size(shape)
        rows = size // shape[-1]
        flat = values[at : at + size].view(rows, shape[-1]) * scales[row : row + rows, None]
        tensors.append(flat.view(shape))
        at, row = at + size, row + rows
    return tensors


def _convert(value: Any, dtype: torch.dtype) -> Any:
    """A nest of dictionaries and lists with its float tensors in another type; single numbers stay as they are."""
    if isinstance(value, dict):
        return {key: _convert(item, dtype) for key, item in value.items()}
    if isinstance(value, list):
        return [_convert(item, dtype) for item in value]
    if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
        return value.to(dtype)
    return value
