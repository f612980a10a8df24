"""`mvc export-decoder`: every operator against ours, the whole, and a picture by a program without this package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import fails, run
from safetensors import safe_open
from tiny_model import CONFIG, picture, tiny_weights
from torch import Tensor

from mvc.blocks.layers import QualityGain, shuffle
from mvc.blocks.lite import GroupedScan, VSSBlock
from mvc.codec import Codec
from mvc.decoder_export import folder, synthesis
from mvc.decoder_export.graph import Graph
from mvc.decoder_export.prior import described, meaning
from mvc.errors import BackendError, Unsupported, WeightsError
from mvc.models.lite import MambaVCLite
from mvc.models.weights import folder_of, load, save
from mvc.ops.mixer import depthwise_reference, norm
from mvc.ops.scan import selective_scan_reference
from mvc.picture import Picture
from mvc.train.export import make_weights

ROOT = Path(__file__).parent.parent
PIXELS = ROOT / "conformance" / "reference_pixels.py"
TOLERANCE = 2e-6  # of float32, relative to the largest value

missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}")


def session(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def computed(make: Callable[[Graph], str], **given: Tensor) -> Tensor:
    """What onnxruntime makes of a graph of these inputs."""
    g = Graph()
    info, kinds = g.onnx.helper.make_tensor_value_info, {torch.float32: 1, torch.int64: 7}
    result = make(g)
    inputs = [info(name, kinds[value.dtype], [None] * value.ndim) for name, value in given.items()]
    model = g.model("test", inputs, [info(result, 1, [None] * 3)], {})
    found = session(model.SerializeToString()).run(None, {name: value.numpy() for name, value in given.items()})
    return torch.from_numpy(found[0])


def close(found: Tensor, expected: Tensor, times: float = 1) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= times * TOLERANCE * expected.abs().max()


@pytest.fixture(scope="module")
def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# --- operators ------------------------------------------------------------------------------------------------------


@needs_onnx
def test_linear_layers_gains_norms_and_shuffles(random: torch.Generator) -> None:
    x, gain = torch.randn(3, 5, 24, generator=random), QualityGain(24)
    weight, bias = torch.randn(7, 24, generator=random), torch.randn(7, generator=random).half().float()
    gain.log_gain.data = torch.randn(8, 24, generator=random)
    found = computed(lambda g: synthesis.linear(g, "x", weight, bias, "layer"), x=x)
    close(found, x @ weight.T + bias)
    quality = torch.tensor([37])
    found = computed(lambda g: synthesis.gained(g, "x", gain, "gain"), x=x, quality_index=quality)
    with torch.no_grad():
        close(found, gain(x[None], quality)[0])
    close(computed(lambda g: synthesis.normalised(g, "x", 24), x=x), norm(x), 2)

    def shuffled(g: Graph) -> str:
        height, width, _ = g.split(g.op("Shape", "x"), [1, 1, 1], 0)
        return synthesis.shuffled(g, "x", 2, 6, height, width)

    assert torch.equal(computed(shuffled, x=x), shuffle(x[None], 2)[0])


@needs_onnx
def test_depthwise_and_softplus(random: torch.Generator) -> None:
    x = torch.randn(4, 6, 16, generator=random)
    weight, bias = torch.randn(9, 16, generator=random), torch.randn(16, generator=random)
    found = computed(lambda g: synthesis.depthwise(g, "x", weight, bias, "conv"), x=x)
    close(found, depthwise_reference(x[None], weight, bias, "none")[0])
    wide = torch.linspace(-120, 120, 500).view(5, 10, 10)
    close(computed(lambda g: synthesis.softplus(g, "x"), x=wide), torch.nn.functional.softplus(wide, threshold=1000))


@needs_onnx
@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (6, 1), (5, 4)])
def test_the_recurrence_along_each_order(order: int, height: int, width: int, random: torch.Generator) -> None:
    a = torch.rand(height, width, 3, generator=random).pow(4)
    b = torch.randn(height, width, 3, generator=random)
    found = computed(lambda g: synthesis.recurrence(g, "a", "b", order, 3), a=a, b=b)
    places = [(i, j) for i in range(height) for j in range(width)]
    places = places if order < 2 else sorted(places, key=lambda place: place[::-1])
    expected, h = torch.zeros_like(b), torch.zeros(3)
    for place in places[::-1] if order % 2 else places:
        h = a[place] * h + b[place]
        expected[place] = h
    close(found, expected)


@needs_onnx
@pytest.mark.parametrize("states", [1, 2])
def test_the_selective_scan_and_a_block(states: int, random: torch.Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(states)
        scan, vss = GroupedScan(32, states), VSSBlock(32, states)
    v = torch.randn(1, 7, 9, 32, generator=random)
    with torch.no_grad():
        parameters = (v.flatten(1, 2) @ scan.projection.T).unflatten(-1, (4, -1))
        expected = selective_scan_reference(v, parameters, scan.weights(), scan.rank)
        close(computed(lambda g: synthesis.scanned(g, "v", scan, "scan"), v=v[0]), expected[0], 4)
        vss.out_proj.weight.mul_(50)
        close(computed(lambda g: synthesis.block(g, "x", vss, "block"), x=v[0]), vss(v)[0], 8)


# --- the whole ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder of a tiny random model."""
    if missing:
        pytest.skip("no onnx")
    made = tmp_path_factory.mktemp("tiny")
    save(made / "weights", tiny_weights())
    agreement = folder.export_decoder(made / "decoder", str(made / "weights"))
    assert agreement is not None and agreement.by_more == 0 and agreement.different < 1e-3 * agreement.samples
    return made / "decoder"


@pytest.fixture(scope="module")
def codec(tiny: Path) -> Codec:
    """The model that it is of, as it lies on disk: in half precision."""
    return Codec(load(tiny.parent / "weights"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder of the default model, by the command."""
    if missing:
        pytest.skip("no onnx")
    made = tmp_path_factory.mktemp("decoder") / "made"
    done = run("export-decoder", "-o", str(made))
    assert done.exit_code == 0, done.output
    assert "checked with onnxruntime" in done.stderr and "by at most 1" in done.stderr
    return made


@pytest.fixture(scope="module")
def default() -> Codec:
    return Codec(load(folder_of("mambavc-lite")))


def test_what_is_in_the_folder(shipped: Path) -> None:
    facts = json.loads((shipped / "decoder.json").read_text())
    for name, own in facts["files"].items():
        data = (shipped / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (own["bytes"], own["sha256"])
    with safe_open(str(shipped / "prior.safetensors"), "np") as tensors:
        assert set(tensors.keys()) == set(facts["prior"])
        for name, own in facts["prior"].items():
            value = tensors.get_tensor(name)
            assert list(value.shape) == own["shape"]
            assert value.dtype == {"i16": np.int16, "i32": np.int32, "u16": np.uint16}[own["type"]]
    assert facts["prior"]["exact.h_s.gain.table"]["fraction_bits"] == 12
    layer = {part: facts["prior"][f"exact.h_s.up1.{part}"]["fraction_bits"] for part in ("weight", "bias", "shift")}
    assert layer["bias"] == layer["weight"] + 8 and layer["shift"] == 0
    assert (shipped / "synthesis.onnx").stat().st_size < 6e6


def test_every_tensor_of_the_prior_has_a_word() -> None:
    tensors = dict(tiny_weights().picture.exact_tensors())
    found = described(tensors)
    assert found.keys() == tensors.keys()
    assert "depthwise" in found["exact.h_s.mix2.layer.weight"]["meaning"]
    assert "linear" in found["exact.contexts.0.0.mid.weight"]["meaning"]
    with pytest.raises(ValueError, match="no word for"):
        meaning("exact.h_s.up1.scale")


def test_any_size_is_decoded_as_by_us(tiny: Path, codec: Codec) -> None:
    synthesised = session((tiny / "synthesis.onnx").read_bytes())
    rng = np.random.default_rng(2)
    for (height, width), index in {(1, 1): 0, (1, 9): 63, (8, 3): 20, (31, 50): 44}.items():
        y_hat = rng.laplace(0, 300, (height, width, CONFIG.latents)).astype(np.int32)
        (found,) = synthesised.run(["picture"], {"y_hat": y_hat, "quality_index": np.array([index])})
        with torch.inference_mode():
            ours = codec.model.g_s(torch.from_numpy(y_hat)[None].float() / 256, torch.tensor([index]))[0]
        assert found.shape == (16 * height, 16 * width, 3)
        assert np.abs(found - ours.numpy()).max() < 1e-5 * max(1, np.abs(found).max())


# --- a stranger's program -------------------------------------------------------------------------------------------

ALONE = """
import sys
sys.path.insert(0, {conformance!r})
import reference_pixels
code = reference_pixels.main({arguments!r})
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("mvc", "torch", "safetensors", "numba"))
assert not loaded, loaded
sys.exit(code)
"""


def stranger(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The reference program in a process of its own, which has loaded nothing of ours when it ends."""
    script = ALONE.format(conformance=str(PIXELS.parent), arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def strangers_samples(data: bytes, decoder: Path, tmp_path: Path) -> np.ndarray:
    (tmp_path / "a.mvc").write_bytes(data)
    done = stranger(str(tmp_path / "a.mvc"), "--decoder", str(decoder), "-o", str(tmp_path / "a.pam"))
    assert done.returncode == 0, done.stderr
    header, _, samples = (tmp_path / "a.pam").read_bytes().partition(b"ENDHDR\n")
    if samples:
        fields = dict(line.split(b" ", 1) for line in header.splitlines()[1:])
        shape = tuple(int(fields[name]) for name in (b"HEIGHT", b"WIDTH", b"DEPTH"))
    else:
        kind, size, _, samples = header.split(b"\n", 3)
        width, height = map(int, size.split())
        shape = height, width, 3 if kind == b"P6" else 1
    return np.frombuffer(samples, np.uint8).reshape(shape).astype(int)


def ours(picture: Picture) -> np.ndarray:
    planes = [np.atleast_3d(picture.samples), *([] if picture.alpha is None else [picture.alpha[..., None]])]
    return np.concatenate(planes, -1).astype(int)


def test_a_picture_without_this_package(shipped: Path, default: Codec, tmp_path: Path) -> None:
    data = default.encode(picture(75, 100), 27)
    found, expected = strangers_samples(data, shipped, tmp_path), ours(default.decode(data))
    assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 1e-3


def with_alpha(height: int, width: int) -> Picture:
    alpha = np.full((height, width), 255, np.uint8)
    alpha[:5, : width // 2] = 40
    return Picture(picture(height, width).samples, alpha)


@pytest.mark.parametrize(
    ("made", "tile_px"),
    [
        (picture(70, 50, gray=True), 0),
        (with_alpha(14, 20), 0),
        (picture(400, 600), 256),  # four tiles, with latents of those around at every edge
        (picture(16, 1000), 0),  # two windows
    ],
    ids=["gray", "alpha", "tiles", "windows"],
)
def test_pictures_of_other_kinds_without_this_package(
    tiny: Path, codec: Codec, tmp_path: Path, made: Picture, tile_px: int
) -> None:
    data = codec.encode(made, 22, 0, tile_px)
    found, expected = strangers_samples(data, tiny, tmp_path), ours(codec.decode(data))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 1e-3


def test_what_a_stranger_refuses(codec: Codec, shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mvc").write_bytes(codec.encode(picture(9, 9), 5))
    other = stranger(str(tmp_path / "a.mvc"), "--decoder", str(shipped))
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr.startswith("error: Unsupported: made with ")
    nothing = stranger(str(tmp_path / "a.mvc"), "--decoder", str(tmp_path))
    assert nothing.returncode == 1 and "holds no decoder" in nothing.stderr


# --- what goes wrong ------------------------------------------------------------------------------------------------


@needs_onnx
def test_models_that_have_no_such_form(tmp_path: Path) -> None:
    conv = MambaVCLite(replace(CONFIG, block="conv"))
    save(tmp_path / "conv", make_weights(conv, {}, name="mambavc-lite"))
    for model in ("mambavc-ssf-lite", str(tmp_path / "conv")):
        with pytest.raises(Unsupported, match="cannot be exported"):
            folder.export_decoder(tmp_path / "made", model)
    with pytest.raises(WeightsError):
        folder.export_decoder(tmp_path / "made", "no-such-model")
    assert not (tmp_path / "made").exists()


@needs_onnx
def test_other_pixels_are_refused_and_files_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "tiny", tiny_weights())
    arguments = ["export-decoder", "-o", str(tmp_path / "made"), "--model", str(tmp_path / "tiny")]
    right = synthesis.UNITS
    monkeypatch.setattr(synthesis, "UNITS", 2 * right)
    fails(run(*arguments), 1, "gives other pixels than mvc")
    assert not (tmp_path / "made").exists()
    monkeypatch.setattr(synthesis, "UNITS", right)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "decoder.json").write_text("mine")
    fails(run(*arguments), 1, "decoder.json already exists", "--force")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["decoder.json"]
    assert run(*arguments, "-f").exit_code == 0
    assert "prior" in json.loads((tmp_path / "made" / "decoder.json").read_text())


def test_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackendError, match="needs the package onnx") as caught:
        folder.export_decoder(tmp_path / "made", "mambavc-lite")
    assert caught.value.hint and "mvc-codec[onnx]" in caught.value.hint


@needs_onnx
def test_without_onnxruntime_nothing_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "tiny", tiny_weights())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = run("export-decoder", "-o", str(tmp_path / "made"), "--model", str(tmp_path / "tiny"))
    assert done.exit_code == 0 and "not checked" in done.stderr
    assert (tmp_path / "made" / "synthesis.onnx").is_file()
