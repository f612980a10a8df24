"""Damaged checkpoints: of `mvc train`, packed ones, those of public code; what stands in them and how it is stored."""

from __future__ import annotations

import copy
import io
import lzma
import os
import tempfile
import zipfile
import zlib
from collections import OrderedDict
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from test_import_weights import random_model, theirs
from torch import Tensor

from fuzz.bytes_of import cut, flips, havoc
from fuzz.harness import Target
from fuzz.models import CONFIG
from mvc.errors import WeightsError
from mvc.models.lite import MambaVCLite
from mvc.models.weights import load
from mvc.train import state
from mvc.train.export import export
from mvc.train.importing import fit, read_tensors
from mvc.train.optim import MuonAdamW


class Call:
    """What a pickle asks for when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def code() -> Call:
    """What must not be run."""
    return Call(os.mkdir, "/tmp/mvc-fuzz-ran-code")


@cache
def full() -> dict[str, Any]:
    """A checkpoint of a small network before its first step, weights nearly all zero (so that cases compress)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MambaVCLite(CONFIG)
    for parameter in network.parameters():
        if parameter.numel() > 1000:
            parameter.data[...] = 0
    optimizer = MuonAdamW(list(network.parameters()), 1e-3).state_dict()
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    recipe = {"model": "mambavc-lite", "optimizer": "muon", "rd_lambda": 0.0}
    return {
        "recipe": recipe, "config": CONFIG.to_dict(), "step": 3, "minutes": 0.5,
        "model": weights, "average": weights, "optimizer": optimizer,
    }  # fmt: skip


@cache
def packed() -> dict[str, Any]:
    """What `state.pack` compresses."""
    return dict(torch.load(io.BytesIO(lzma.decompress(state.pack(full()))), weights_only=True))


def compressed(random: Random, plain: bytes) -> bytes:
    """In one of the two ways that are read."""
    return random.choice([zlib.compress(plain, 1), lzma.compress(plain, preset=0)])


@cache
def public() -> dict[str, Any]:
    """A state dict with names of public code, and some that they do not have."""
    names = ("g_a.0.weight", "g_a.0.bias", "g_a.1.beta", "g_a.1.gamma", "h_a.0.weight", "entropy_bottleneck.quantiles")
    names += ("g_a.1.op.Ds", "g_a.1.op.x_proj_weight", "g_a.1.op.A_logs", "g_s.0.weight", "lrp_transforms.1.2.bias")
    names += ("img_encoder.0.weight", "img_hyperprior.entropy_bottleneck._matrix0")
    shapes = ((8, 3, 5, 5), (8,), (8, 8), (4, 6, 8), (), (0, 3), (16, 1, 3))
    return {"epoch": 3, "state_dict": {name: torch.zeros(shapes[k % len(shapes)]) for k, name in enumerate(names)}}


@cache
def fitting() -> dict[str, Any]:
    """One that is read as a small convvc."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = theirs(random_model("convvc"))
    zero = {name: torch.zeros_like(value) for name, value in tensors.items()}
    return {"epoch": 3, "state_dict": zero}


# --- changes in the nest ----------------------------------------------------------------------------------------------


def _laughs(depth: int) -> list[Any]:
    """A list that holds another twice, and that one another twice: 2^depth in all."""
    nest: list[Any] = [1]
    for _ in range(depth):
        nest = [nest, nest]
    return nest


def _deep(depth: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(depth):
        nest = [nest]
    return nest


def _tensor(random: Random, like: Any) -> Any:
    """A tensor that is not as it should be."""
    own = like if isinstance(like, Tensor) and like.numel() < 1 << 20 else torch.zeros(4, 4)
    huge = random.choice([1 << 20, 1 << 28, 1 << 34])
    makers = (
        lambda: torch.zeros(1).expand(huge),
        lambda: torch.zeros(1).expand(own.shape) if own.ndim else torch.zeros(1).expand(huge),
        lambda: own.flatten()[:-1],
        lambda: own[None],
        lambda: own.to(random.choice([torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.complex64])),
        lambda: torch.full_like(own, random.choice([torch.nan, torch.inf, 1e30, -1e6, 65504.0])),
        lambda: own.to_sparse() if own.ndim and own.is_floating_point() else own,
        lambda: torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (huge,)),
        lambda: torch.empty(own.shape, device="meta"),
        lambda: torch.empty(huge, device="meta"),
        lambda: torch.quantize_per_tensor(own.float(), 0.1, 0, torch.qint8),
        lambda: torch.empty(0),
        lambda: torch.tensor(3.0),
        lambda: torch.zeros(3).as_strided((1 << 14, 1 << 14), (0, 0)),
    )
    try:
        return random.choice(makers)()
    except (RuntimeError, IndexError, ValueError):  # of a kind that this one has not
        return torch.empty(0)


def _value(random: Random, like: Any) -> Any:
    if random.random() < (0.7 if isinstance(like, Tensor) else 0.1):
        return _tensor(random, like)
    plain = (
        None,
        True,
        -1,
        0,
        1,
        64,
        10**6,
        2**70,
        1.5,
        float("nan"),
        float("inf"),
        -0.5,
        "x",
        "x" * 5000,
        "vss",
        "muon",
    )
    nests = ([], {}, (), [1, 2], [10**6, 10**6], {"x": 1}, {1: 2}, b"", [[1, 2]] * 100, _laughs(24), _deep(200))
    calls = (code(), Call(bytearray, 1 << 30), Call(torch.Tensor, 1 << 28), Call(OrderedDict, [(1, 2)]))
    return random.choice([random.choice(plain), random.choice(plain), random.choice(nests), random.choice(calls)])


def _places(nest: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """(container, key) of everything in dictionaries and lists."""
    found: list[tuple[Any, Any]] = []
    if depth < 5 and isinstance(nest, (dict, list)):
        for key, value in nest.items() if isinstance(nest, dict) else enumerate(nest):
            found += [(nest, key), *_places(value, depth + 1)]
    return found


def _copied(nest: Any) -> Any:
    """The same dictionaries and lists anew, with the same tensors."""
    if isinstance(nest, dict):
        return {key: _copied(value) for key, value in nest.items()}
    return [_copied(value) for value in nest] if isinstance(nest, list) else copy.copy(nest)


def _changed(random: Random, nest: dict[str, Any]) -> dict[str, Any]:
    nest = _copied(nest)
    for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
        top = random.random() < 0.4
        places = [(nest, key) for key in nest] if top else _places(nest)
        if not places:
            break
        container, key = random.choice(places)
        match random.randrange(4):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, dict):
                container[random.choice(["x", 5, "average", "h_a.down1.weight", "block"])] = _value(
                    random, container[key]
                )
            case _:
                container[key] = _value(random, container[key])
    return nest


# --- changes of what is stored ----------------------------------------------------------------------------------------


def _rewritten(random: Random, data: bytes) -> bytes:
    """The archive anew, deflated, or with a changed pickle, or with an entry left out, under right checksums."""
    how = random.randrange(5)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        left_out = random.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl") and how in (0, 1):
                content = havoc(random, content, 3)
            if name == left_out and how == 2:
                continue
            if name == left_out and how == 3:
                content = content[: len(content) // 2]
            entry = zipfile.ZipInfo(name)  # with a date of its own: a case is the same whenever it is made
            new.writestr(entry, content, zipfile.ZIP_DEFLATED if how == 4 else zipfile.ZIP_STORED)
    return out.getvalue()


def saved(value: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _stored(random: Random, nest: dict[str, Any]) -> tuple[str, bytes]:
    draw = random.randrange(10)
    try:
        data = saved(_changed(random, nest) if draw > 2 else nest, legacy=random.randrange(8) == 0)
    except (RuntimeError, ValueError, NotImplementedError):  # that tensor cannot be stored so
        data = saved(nest)
    if draw > 3 or not data.startswith(b"PK"):
        return "nest", data
    if draw == 3:
        return "bits", flips(random, data[:4000], 3) + data[4000:]
    if draw == 2:
        return "bytes", random.choice([havoc, cut])(random, data)
    return "archive", _rewritten(random, data)


def _train_case(random: Random) -> tuple[str, bytes]:
    if random.random() < 0.6:
        return _stored(random, full())
    kind, plain = _stored(random, packed())
    match random.randrange(12):
        case 0:
            return "packed bomb", zlib.compress(plain + bytes(1 << 26), 9)
        case 1:
            return "packed, damaged", havoc(random, compressed(random, plain))
    return f"packed, {kind}", compressed(random, plain)


def _train(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.pt"
        path.write_bytes(data)
        stored = state.read(path)
        assert set(state.KEYS) <= set(stored)
        export(path, Path(folder) / "weights")
        load(Path(folder) / "weights")
    assert not Path("/tmp/mvc-fuzz-ran-code").exists(), "code in the checkpoint was run"
    return "exported"


def _public(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs.pth.tar"
        path.write_bytes(data)
        tensors = read_tensors(path)
        with suppress(WeightsError):
            fit(tensors)
        fit(tensors, "convvc")
    assert not Path("/tmp/mvc-fuzz-ran-code").exists(), "code in the checkpoint was run"
    return "fits"


def targets() -> list[Target]:
    return [
        Target("checkpoint", _train_case, _train, seconds=10, megabytes=160),
        Target("public", lambda random: _stored(random, random.choice([public, fitting])()), _public, seconds=10),
    ]
