"""Checkpoints and folders of models that somebody else made: what they may hold, and how much memory they get."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz import checkpoints, models
from fuzz.harness import Report, Target, attempt
from safetensors.torch import save as serialise
from torch import Tensor

from mvc.errors import MvcError, WeightsError
from mvc.models import papers, ssf
from mvc.models.lite import Config
from mvc.models.papers import PaperConfig
from mvc.models.sizes import MAX_WEIGHTS, _weights
from mvc.models.weights import MANIFEST_FILE, WEIGHTS_FILE, load
from mvc.train import state
from mvc.train.export import export
from mvc.train.importing import read_tensors
from mvc.train.trained import load_checkpoint

LITE, PAPER = range(2)


def folder_with(
    folder: Path,
    model: int,
    change: Callable[[dict[str, Any], dict[str, Tensor]], object] = lambda manifest, tensors: None,
) -> Path:
    """A small model of one of the kinds, changed, with hashes that fit what was made of it."""
    manifest, tensors = models.seeds()[model]
    manifest, tensors = json.loads(json.dumps(manifest)), {name: value.clone() for name, value in tensors.items()}
    change(manifest, tensors)
    models.rehashed(manifest, tensors)
    weights = serialise(tensors)
    manifest["sha256"] = hashlib.sha256(weights).hexdigest()
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("model", [LITE, PAPER])
def test_the_models_without_a_change_are_good(model: int, tmp_path: Path) -> None:
    assert load(folder_with(tmp_path, model)).name == ["mambavc-lite", "mambavc"][model]


def filled(name: str, value: float) -> Callable[[dict[str, Any], dict[str, Tensor]], object]:
    """The last number of a tensor is another."""
    return lambda manifest, tensors: tensors[name].view(-1)[-1:].fill_(value)


def cast(name: str, dtype: torch.dtype, add: int = 0) -> Callable[[dict[str, Any], dict[str, Tensor]], object]:
    return lambda manifest, tensors: tensors.update({name: tensors[name].to(dtype) + add})


def configured(**values: Any) -> Callable[[dict[str, Any], dict[str, Tensor]], object]:
    return lambda manifest, tensors: manifest["config"].update(values)


def with_manifest(**values: Any) -> Callable[[dict[str, Any], dict[str, Tensor]], object]:
    return lambda manifest, tensors: manifest.update(values)


SCAN, NORM = "exact.h_mean.1.mixer.scan", "exact.h_mean.1.norm"
FOLDERS = [
    # types that the format does not know, numbers outside its ranges
    (LITE, cast("exact.h_s.up1.bias", torch.int64, 1 << 40), "h_s.up1.bias is torch.int64 .*, not torch.int32"),
    (LITE, cast("exact.h_s.up1.weight", torch.float64), "h_s.up1.weight is torch.float64"),
    (LITE, filled("exact.h_s.up1.shift", -1), r"h_s.up1.shift is outside 0\.\.14"),
    (LITE, filled("exact.h_s.up1.shift", 15), r"h_s.up1.shift is outside 0\.\.14"),
    (LITE, filled("exact.h_s.up1.weight", 16384), "h_s.up1.weight is outside -16383"),
    (LITE, filled("exact.h_s.up1.bias", -(2**31)), "h_s.up1.bias is outside"),
    (LITE, filled("exact.h_s.gain.table", 65533), r"h_s.gain.table is outside 0\.\.65532"),
    (LITE, filled("exact.h_s.gain_in.table", -(2**31)), "h_s.gain_in.table is outside"),
    (LITE, lambda manifest, tensors: tensors.pop("exact.h_s.up1.bias"), "do not fit their configuration"),
    # tables
    (LITE, lambda manifest, tensors: rows(tensors, 95), "96 and|95 rows|have 64 and 95 rows"),
    (LITE, filled("tables.latent.half_width", -1), "half width is outside"),
    (LITE, filled("tables.latent.lowest", 2**30), "reaches beyond"),
    # the float part
    (LITE, filled("g_s.head.weight", torch.nan), "a weight is not a number"),
    (LITE, filled("h_a.down1.weight", torch.inf), "a weight is not a number"),
    # what the manifest says
    (LITE, with_manifest(curvature=[[1.0, -2.0]] * 4), "curvature"),
    (LITE, with_manifest(curvature=3), "curvature"),
    (LITE, with_manifest(curvature=[["a", "b"]] * 4), "curvature"),
    (LITE, with_manifest(name="vvc"), "no model 'vvc'"),
    (LITE, with_manifest(config=7), "cannot be used"),
    (LITE, configured(analysis=[10**6, 1]), r"analysis = .* outside 0\.\.64"),
    (LITE, configured(width8=-16), r"width8 = -16 .* outside 1\.\.1024"),
    (LITE, configured(width8="16"), "width8 = '16' should be of the kind of"),
    (LITE, configured(features=10**9), r"features = 1000000000 has"),
    (LITE, configured(slices=[[4, 3]]), "1 or 2 passes"),
    (LITE, configured(slices=[[4, 2]] * 65), "slices = .* of the kind"),
    (LITE, configured(slices=[[1024, 1]] * 64), "more than 256 million weights"),
    (LITE, configured(block="mamba"), "block = 'mamba' should be one of vss, swin, conv"),
    (LITE, configured(width9=3), "width9"),
    (LITE, lambda manifest, tensors: manifest["config"].pop("states"), "not a complete one"),
    (LITE, configured(block="vss"), "not a complete one"),
    # the papers' layers
    (PAPER, filled(f"{SCAN}.a", -1), r"mixer.scan.a is outside 0\.\.262144"),
    (PAPER, filled(f"{SCAN}.d", 1 << 22), "mixer.scan.d is outside"),
    (PAPER, filled(f"{NORM}.weight", 1 << 24), "norm.weight is outside"),
    (PAPER, filled("exact.contexts.1.log_scale.edges", 0), "edges do not ascend"),
    (PAPER, configured(kind="mamba"), "kind = 'mamba' should be one of vss"),
    (PAPER, configured(blocks=[1, 1, 10**6, 1]), r"blocks = .* outside 0\.\.64"),
    (PAPER, configured(windows=[4, 4]), "windows = .* of the kind"),
    (PAPER, configured(kernel=1023), "kernel = 1023"),
]


def rows(tensors: dict[str, Tensor], count: int) -> None:
    """Fewer latent tables."""
    last = 2 * int(tensors["tables.latent.half_width"][count:].sum()) + 2 * (96 - count)
    for name in ("half_width", "lowest"):
        tensors[f"tables.latent.{name}"] = tensors[f"tables.latent.{name}"][:count].clone()
    tensors["tables.latent.frequency"] = tensors["tables.latent.frequency"][:-last].clone()


@pytest.mark.parametrize(("model", "change", "said"), FOLDERS, ids=[said for *_, said in FOLDERS])
def test_a_folder_is_held_to_the_format(model: int, change: Any, said: str, tmp_path: Path) -> None:
    folder_with(tmp_path, model, change)
    with pytest.raises(WeightsError, match=said) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def estimate(config: Any) -> int:
    return _weights(config, 3 if isinstance(config, ssf.SSFConfig) else 1)


def test_every_configuration_here_is_within_the_sizes() -> None:
    presets: list[Any] = [Config(), papers.MAMBAVC, papers.SWINVC, papers.CONVVC]
    presets += [ssf.MAMBAVC_SSF, ssf.SWINVC_SSF, ssf.CONVVC_SSF]
    assert max(map(estimate, presets)) < MAX_WEIGHTS
    for change in ({"width": 1024, "blocks": (64, 64, 64, 64)}, {"latents": 1000, "slices": 50, "kernel": 15}):
        with pytest.raises(ValueError, match="million weights"):
            PaperConfig(**change)


@pytest.mark.parametrize(
    "config", [Config(), papers.MAMBAVC, papers.tiny(papers.CONVVC), models.CONFIG, ssf.CONVVC_SSF]
)
def test_the_estimate_of_weights_is_no_less_than_half_of_them(config: Any) -> None:
    makers: dict[type, Any] = {Config: models.MambaVCLite, PaperConfig: papers.PaperModel, ssf.SSFConfig: ssf.SSFModel}
    with torch.device("meta"):
        network = makers[type(config)](config)
    assert sum(parameter.numel() for parameter in network.parameters()) < 2 * estimate(config)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def deflated(data: bytes) -> bytes:
    """The same archive, compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


def laughs() -> list[Any]:
    nest: list[Any] = [1]
    for _ in range(30):
        nest = [nest, nest]
    return nest


def full(**values: Any) -> bytes:
    return saved(checkpoints.full() | values)


def packed(**values: Any) -> bytes:
    return zlib.compress(saved(checkpoints.packed() | values), 1)


BIG = 1 << 28
ONE = torch.zeros(1).expand(BIG)
CHECKPOINTS: list[tuple[str, Callable[[], bytes], str]] = [
    ("stride 0", lambda: full(average={"x": ONE}), "stands for more numbers than the file has bytes"),
    ("stride 0 in the optimiser", lambda: full(optimizer={"x": [ONE]}), "stands for more numbers"),
    ("deflated", lambda: deflated(full(average={"x": torch.zeros(BIG // 8)})), "is compressed"),
    ("zlib bomb", lambda: zlib.compress(bytes(1 << 28), 9), "cut off, or larger than any model"),
    ("xz bomb", lambda: lzma.compress(bytes(1 << 28), preset=0), "cut off, or larger than any model"),
    (
        "packed, stride 0",
        lambda: packed(average=torch.zeros(1, dtype=torch.uint8).expand(2, BIG)),
        "stands for more numbers",
    ),
    ("packed, of another version", lambda: packed(packed=1), "another version of mvc"),
    ("packed, shapes", lambda: packed(shapes={"x": (BIG, BIG)}), "is not a checkpoint"),
    ("packed, momenta", lambda: packed(momentum_shapes=[(0, 0)] * 3), "is not a checkpoint"),
    ("list of lists", lambda: full(optimizer={"x": laughs()}), "more objects than any checkpoint"),
    ("packed list of lists", lambda: packed(adamw=laughs()), "more objects than any checkpoint"),
    ("sparse", lambda: full(average={"x": torch.eye(3).to_sparse()}), "holds torch._utils._rebuild_sparse_tensor"),
    ("without values", lambda: full(average={"x": torch.empty(BIG, device="meta")}), "_rebuild_meta_tensor_no_storage"),
    ("bytes of any number", lambda: full(optimizer={"x": checkpoints.Call(bytearray, BIG)}), "holds .*bytearray"),
    ("keys that are tuples", lambda: full(optimizer={(1, (2, 3)): 4}), "is not a checkpoint"),
    ("as torch had it before 1.6", lambda: checkpoints.saved(checkpoints.full(), legacy=True), "is not a checkpoint"),
    ("many objects", lambda: full(optimizer={"x": [0] * (3 << 20)}), "more objects than any checkpoint"),
    ("too many objects", lambda: full(optimizer={"x": [[] for _ in range(9 << 20)]}), "beside its tensors"),
    ("code", lambda: full(optimizer={"x": checkpoints.code()}), "holds posix.mkdir; only plain tensors and values"),
    ("recipe is a number", lambda: full(recipe=5), "recipe is no dictionary"),
    ("step is text", lambda: full(step="3"), "step is no number"),
    ("minutes are text", lambda: full(minutes="3"), "minutes is no time"),
    ("minutes are not a number", lambda: full(minutes=float("nan")), "minutes is no time"),
    ("a weight is text", lambda: full(average={"x": "y"}), "average holds what is no weight"),
]
EXPORTED: list[tuple[str, Callable[[], bytes], str]] = [
    ("blocks", lambda: full(config=checkpoints.full()["config"] | {"analysis": (10**6, 1)}), r"outside 0\.\.64"),
    ("width", lambda: full(config={"width8": 10**6}), r"width8 = 1000000 has a number outside 1\.\.1024"),
    ("half the weights", lambda: full(average={"x": torch.zeros(2)}), "Error.s. in loading state_dict"),
    ("model", lambda: full(recipe={"model": 5}), "there is no model 5"),
    ("lambda", lambda: full(recipe={"rd_lambda": "many"}), "rd_lambda is no number"),
    ("not a number", lambda: full(average=of_all(torch.nan)), "a weight is not a number"),
    ("too large", lambda: full(average=of_all(1e9)), "too large for half precision"),
    ("large", lambda: full(average=of_all(6e4)), "cannot be lowered"),
]


def of_all(value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(own, value) for name, own in checkpoints.full()["average"].items()}


@pytest.mark.parametrize(("data", "said"), [case[1:] for case in CHECKPOINTS], ids=[case[0] for case in CHECKPOINTS])
def test_a_checkpoint_is_refused_and_fills_no_memory(data: Callable[[], bytes], said: str, tmp_path: Path) -> None:
    """Also by what reads those of public code, if it is no packed one."""
    path = tmp_path / "last.pt"

    def read(content: bytes) -> str:
        path.write_bytes(content)
        for reader in (state.read, load_checkpoint):
            with pytest.raises(WeightsError, match=said) as caught:
                reader(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(MvcError):
            read_tensors(path)
        return "refused"

    report = Report()
    failure = attempt(Target("own", lambda random: ("", b""), read, 20, 128), "", data(), report)
    assert failure is None, failure.what + failure.trace
    assert report.outcomes == {"refused": 1}
    assert not Path("/tmp/mvc-fuzz-ran-code").exists()


@pytest.mark.parametrize(("data", "said"), [case[1:] for case in EXPORTED], ids=[case[0] for case in EXPORTED])
def test_export_refuses_what_makes_no_model(data: Callable[[], bytes], said: str, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(data())
    with pytest.raises(WeightsError, match=said) as caught:
        export(path, tmp_path / "weights")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "weights").exists()


def test_checkpoints_without_a_change_are_good(tmp_path: Path) -> None:
    for name, data in (("full", full()), ("packed", packed())):
        (tmp_path / name).write_bytes(data)
        export(tmp_path / name, tmp_path / "weights")
        assert load(tmp_path / "weights").name == "mambavc-lite"
