"""Damaged folders of models: manifest and weights, with hashes that fit, so that what they hide is met."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from test_reference_decoder import reference
from tiny_model import decoded_digests, picture
from torch import Tensor

from fuzz.bytes_of import cut, havoc
from fuzz.harness import Target
from mvc.codec import Codec
from mvc.errors import MvcError
from mvc.exact.fixed import EXACT_FLOAT64
from mvc.models import papers, registry
from mvc.models.lite import Config, MambaVCLite
from mvc.models.weights import MANIFEST_FILE, WEIGHTS_FILE, exact_hash, load, save
from mvc.train.export import make_weights

CONFIG = Config(
    width8=16, width16=16, analysis=(1, 1), synthesis=(1, 1), slices=((4, 2), (4, 1)),
    hyper=4, hyper_hidden=4, features=4, context_hidden=4,
)  # fmt: skip
PAPER = papers.tiny(papers.MAMBAVC)
LENGTH_BYTES = 4  # a case is the length of the manifest, the manifest and the weights


@cache
def seeds() -> tuple[tuple[dict[str, Any], dict[str, Tensor]], ...]:
    """Manifests and tensors of two small models; the transforms' weights are zero, so that cases compress."""
    made = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = ("mambavc-lite", MambaVCLite(CONFIG)), ("mambavc", registry.known("mambavc").make(PAPER.to_dict()))
    for name, network in networks:
        for part in (network.g_a, network.g_s, network.h_a):
            for parameter in part.parameters():
                parameter.data.zero_()
        curvature = [[1.0, 2.0]] * 4 if name == "mambavc-lite" else None
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), make_weights(network.eval(), {"about": "zero"}, curvature=curvature, name=name))
            manifest = json.loads((Path(folder) / MANIFEST_FILE).read_text())
            made.append((manifest, parse((Path(folder) / WEIGHTS_FILE).read_bytes())))
    return tuple(made)


def assembled(manifest: Any, weights: bytes) -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + weights


# --- changes ---------------------------------------------------------------------------------------------------------


def _tensor(random: Random, value: Tensor) -> Tensor:
    """Another type or shape, or a number out of range."""
    flat = value.flatten().clone()
    signed = flat.view(torch.int16) if flat.dtype == torch.uint16 else flat  # torch can do little with uint16
    match random.randrange(8):
        case 0:
            kinds = (torch.float16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64)
            return value.to(random.choice([*kinds, torch.uint8, torch.uint16, torch.bfloat16, torch.bool]))
        case 1:
            return random.choice([value[None], flat, flat[:-1], torch.cat([flat, flat[:1]]), flat[:0]])
        case 2 if len(flat):
            return signed.flip(0).view(flat.dtype).view(value.shape)
        case _ if len(flat):
            numbers: tuple[float, ...] = (
                -1,
                0,
                1,
                2,
                15,
                31,
                32,
                4096,
                32767,
                -32768,
                65532,
                65533,
                2**31 - 1,
                -(2**31),
            )
            if value.is_floating_point():
                numbers = (float("nan"), float("inf"), 65504.0, -1e4, 1.0)
            number = random.choice(numbers)
            kind = signed.dtype
            least, most = (-1e5, 1e5) if kind.is_floating_point else (torch.iinfo(kind).min, torch.iinfo(kind).max)
            number = number if number != number else min(max(number, least), most)
            at = random.randrange(len(flat))
            signed[at : at + random.choice([1, 1, len(flat)])] = number
            return flat.view(value.shape)
    return value


JSON = (
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    7,
    17,
    64,
    1024,
    10**6,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "swin",
    "gdn",
)
NESTS: tuple[Any, ...] = (
    [],
    {},
    [1],
    [-1, 1],
    [64, 64],
    [10**6, 1],
    [[4, 2]],
    [[4, 3]],
    [[4, 2]] * 100,
    [[1.0, 0.0]] * 4,
)


def _json(random: Random) -> Any:
    return random.choice([random.choice(JSON), random.choice(JSON), random.choice(NESTS)])


def _manifest(random: Random, manifest: dict[str, Any]) -> None:
    config = manifest.get("config")
    place = random.choice([manifest, config, config] if isinstance(config, dict) and config else [manifest])
    key = random.choice(list(place))
    match random.randrange(5):
        case 0:
            del place[key]
        case 1:
            place[random.choice(["x", "block", "kind", "kernel", "curvature"])] = _json(random)
        case 2 if isinstance(place[key], list) and place[key]:
            place[key] = list(place[key])
            place[key][random.randrange(len(place[key]))] = _json(random)
        case _:
            place[key] = _json(random)


def rehashed(manifest: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Let the manifest name the exact part that is there, if it is one of integers."""
    exact = {name: value for name, value in tensors.items() if name.startswith(("exact.", "tables."))}
    try:
        config = registry.known(manifest["name"]).make(manifest["config"]).config.to_dict()
        manifest["exact_sha256"] = exact_hash(exact, config).hex()
    except (MvcError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError):
        pass


def _case(random: Random) -> tuple[str, bytes]:
    own, tensors = random.choice(seeds())
    manifest: dict[str, Any] = json.loads(json.dumps(own))
    tensors = dict(tensors)
    kinds = []
    for _ in range(random.choice([1, 1, 1, 2])):
        name = random.choice(list(tensors))
        if random.random() < 0.6:
            name = random.choice([name for name in tensors if name.startswith(("exact.", "tables."))] or [name])
        draw = random.randrange(8)
        if draw < 4:
            tensors[name] = _tensor(random, tensors[name])
            kinds.append("tensor")
        elif draw == 4:
            value = tensors.pop(name)
            if random.random() < 0.5:
                tensors[name + random.choice([".x", "s"])] = value
            kinds.append("name")
        else:
            _manifest(random, manifest)
            kinds.append("manifest")
    if random.random() < 0.9:
        rehashed(manifest, tensors)
    weights = serialise({name: value.contiguous() for name, value in tensors.items()})
    if random.randrange(8) == 0:
        size = 8 + int.from_bytes(weights[:8], "little")
        weights = random.choice([havoc(random, weights[:size]) + weights[size:], cut(random, weights)])
        kinds = ["bytes"]
    manifest["sha256"] = hashlib.sha256(weights).hexdigest() if random.random() < 0.95 else "0" * 64
    text = json.dumps(manifest).encode()
    if random.randrange(20) == 0:
        text, kinds = random.choice([havoc(random, text), cut(random, text), b"[" * 10**5, b"1" * 10**5]), ["json"]
    return " and ".join(sorted(kinds)), assembled(text, weights)


def _run(data: bytes) -> str:
    """A folder is refused, or it codes: the same in its own decoder and, if that knows the model, in the reference."""
    size = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / MANIFEST_FILE).write_bytes(data[LENGTH_BYTES:size])
        (folder / WEIGHTS_FILE).write_bytes(data[size:])
        weights = load(folder)
        codec = Codec(weights)
        coded = codec.encode(picture(5, 9), 20, 0)
        digests = decoded_digests(codec, coded)
        if weights.name == "mambavc-lite":
            model = reference.read_model(folder)
            assert max(map(reference.bound, model.layers.values(), [".mix" in n for n in model.layers])) < EXACT_FLOAT64
            assert tuple(reference.digests(*reference.decode(coded, model)[1:]).values()) == digests
    return "loaded"


def targets() -> list[Target]:
    return [Target("model", _case, _run, seconds=30, megabytes=1500)]
