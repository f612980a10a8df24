"""`mvc import-weights`: names, layouts and parametrisations of the authors' public code, and what it refuses."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import mvc
from mvc import codec
from mvc.blocks.conv import GDN
from mvc.blocks.vss import SS2D, Scan
from mvc.blocks.window import WindowAttention
from mvc.cli.app import app
from mvc.errors import MvcError, WeightsError
from mvc.models import papers, registry, ssf
from mvc.models.base import no_index
from mvc.models.density import FactorizedDensity
from mvc.models.estimate import RateEstimator
from mvc.models.papers import PaperConfig, PaperModel
from mvc.models.ssf import SSFModel
from mvc.train import state
from mvc.train.export import export
from mvc.train.foreign import translate
from mvc.train.importing import Imported, _config, fit, import_weights
from mvc.train.loop import Trainer
from mvc.train.recipe import Recipe
from mvc.train.trained import load_checkpoint
from tests import tiny_model

STILL = {"mambavc": papers.MAMBAVC, "swinvc": papers.SWINVC, "convvc": papers.CONVVC}
QUALITY = torch.zeros(1, dtype=torch.long)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import-weights", *map(str, arguments)])


# the authors' names and layouts, from ours --------------------------------------------------------------------------

THEIR_ORDER = [0, 2, 1, 3]  # where rows, columns, rows backward and columns backward stand here; it is its own inverse


def of_orders(x: Tensor) -> Tensor:
    """[N, 4D] -> [4, D, N] in their order."""
    return torch.stack([x.chunk(4, -1)[k].t() for k in THEIR_ORDER])


def stored(value: Tensor) -> Tensor:
    """A number that cannot be negative, as CompressAI keeps it."""
    return (value + 2.0**-36).sqrt()


RENAMED: list[tuple[str, str, Callable[[Tensor], Tensor] | None]] = [
    (r"mixer\.inp", "op.in_proj", None),
    (r"mixer\.conv", "op.conv2d", None),
    (r"mixer\.norm", "op.out_norm", None),
    (r"mixer\.out", "op.out_proj", None),
    (r"mixer\.scan\.projection", "op.x_proj_weight", lambda x: torch.stack([x.chunk(4)[k] for k in THEIR_ORDER])),
    (r"mixer\.scan\.dt_weight", "op.dt_projs_weight", of_orders),
    (r"mixer\.scan\.dt_bias", "op.dt_projs_bias", lambda x: of_orders(x[None])[..., 0]),
    (r"mixer\.scan\.a_log", "op.A_logs", lambda x: of_orders(x).flatten(0, 1)),
    (r"mixer\.scan\.d$", "op.Ds", lambda x: of_orders(x[None]).flatten()),
    (r"(?<=\.)norm([12])", r"ln\1", None),
    (r"attention\.qkv", "msa.embedding_layer", None),
    (r"attention\.out", "msa.linear", None),
    (r"attention\.bias", "msa.relative_position_params", lambda x: x.t().unflatten(1, (int(len(x) ** 0.5), -1))),
    (r"gamma_root", "gamma", lambda x: stored(x**2)),
    (r"beta_root", "beta", lambda x: stored(x**2 + 1e-6)),
    (r"density\.quantiles", "entropy_bottleneck.quantiles", lambda x: x[:, None]),
    (r"density\.(matri|bias|factor)(?:ces|es|s)\.(\d)", r"entropy_bottleneck._\1\2", None),
    (r"_matri(\d)", r"_matrix\1", None),
    (r"_gate\.inp", "_gate.in_conv", None),
    (r"_gate\.out", "_gate.out_conv", None),
    (r"_gate\.windows\.0", "_gate.non_local_block.block_1", None),
    (r"_gate\.windows\.1", "_gate.non_local_block.block_2", None),
    (r"_gate\.([ab])\.([012])\.layers", r"_gate.conv_\1.\2.conv", None),
    (r"_gate\.b\.3", "_gate.conv_b.3", None),
    (r"^prior\.contexts\.(\d)\.(mean|scale)_gate", r"atten_\2.\1.0", None),
    (r"^prior\.contexts\.(\d)\.(mean|scale)", r"cc_\2_transforms.\1", None),
    (r"^prior\.contexts\.(\d)\.correction", r"lrp_transforms.\1", None),
    (r"^prior\.h_(mean|scale)", r"h_\1_s", None),
]
RENAMED_VIDEO: list[tuple[str, str, Callable[[Tensor], Tensor] | None]] = [
    (r"^(\w+)\.density\.quantiles", r"\1_hyperprior.entropy_bottleneck.quantiles", lambda x: x[:, None]),
    (r"^(\w+)\.density", r"\1_hyperprior.entropy_bottleneck", None),
    (r"^(\w+)\.g_a", r"\1_encoder", None),
    (r"^(\w+)\.g_s", r"\1_decoder", None),
    (r"^(\w+)\.h_a", r"\1_hyperprior.hyper_encoder", None),
    (r"^(\w+)\.prior\.h_mean", r"\1_hyperprior.hyper_decoder_mean", None),
    (r"^(\w+)\.prior\.h_scale\.0\.0", r"\1_hyperprior.hyper_decoder_scale.deconv1", None),
    (r"^(\w+)\.prior\.h_scale\.0\.2", r"\1_hyperprior.hyper_decoder_scale.deconv2", None),
    (r"^(\w+)\.prior\.h_scale\.0\.4", r"\1_hyperprior.hyper_decoder_scale.deconv3", None),
    (r"^keyframe_", "img_", None),
    (r"^residual_", "res_", None),
]


def theirs(model: nn.Module) -> dict[str, Tensor]:
    """The state dict that the authors' code has for a model of ours, tables and constants included."""
    tensors = {}
    for name, value in model.state_dict().items():
        for pattern, replacement, layout in RENAMED_VIDEO if isinstance(model, SSFModel) else RENAMED:
            if re.search(pattern, name):
                name = re.sub(pattern, replacement, name)
                value = layout(value) if layout else value
        tensors[name] = value
    tensors["gaussian_conditional._quantized_cdf"] = torch.zeros(64, 90, dtype=torch.int32)
    tensors["gaussian_conditional.scale_table"] = torch.linspace(0.11, 256, 64)
    tensors["entropy_bottleneck.target"] = torch.tensor([-21.4, 0.0, 21.4])
    return tensors


def tiny(name: str) -> PaperConfig:
    """Fields that no tensor shows are the paper's."""
    usual, small = STILL[name], papers.tiny(STILL[name])
    fields = {"mambavc": ("windows", "head_width"), "swinvc": ("states",)}
    unseen = fields.get(name, ("windows", "head_width", "states", "blocks"))
    return replace(small, **{field: getattr(usual, field) for field in unseen})


def random_model(name: str) -> PaperModel:
    model = PaperModel(tiny(name)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "density" not in key:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
            if key.endswith("_root"):
                parameter.abs_()  # its sign says nothing
        model.h_a[-1].weight.mul_(30)
        model.g_a[-1].weight.mul_(10)
    return model


def coded(model: PaperModel, coder: RateEstimator, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        return model(coder, x, no_index(x)), coder.latent_bits, coder.hyper_bits


def rebuilt(made: Imported) -> PaperModel:
    model = registry.known(made.name).make(made.config)
    model.load_state_dict(made.tensors)
    assert isinstance(model, PaperModel)
    return model.eval()


# whole models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STILL)
def test_a_model_comes_back_from_the_authors_names(name: str) -> None:
    model = random_model(name)
    made = fit(theirs(model))
    assert (made.name, made.config) == (name, asdict(model.config))
    assert made.unusual["width"] == 64
    assert sorted(made.ignored) == [
        "entropy_bottleneck.target", "gaussian_conditional._quantized_cdf", "gaussian_conditional.scale_table",
    ]  # fmt: skip
    again, x = rebuilt(made), torch.rand(1, 64, 128, 3)
    for ours, expected in zip(again.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)
    results = [coded(m, RateEstimator(m.density, QUALITY, False), x) for m in (again, model)]
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", STILL)
def test_the_paper_size_is_recognised(name: str) -> None:
    with torch.device("meta"):
        tensors = theirs(PaperModel(STILL[name]))
    known = [(translate(key), value) for key, value in tensors.items()]
    ours = {found[0]: found[1](value) for found, value in known if found}
    assert _config(STILL[name], ours) == STILL[name]


class AroundMedians(RateEstimator):
    """Rounds z as CompressAI does."""

    def hyper(self, z: Tensor) -> Tensor:
        assert isinstance(self.density, FactorizedDensity)
        medians = self.density.quantiles[:, 1]
        z_hat = (z - medians).round() + medians
        self.hyper_bits = -torch.log2(self.density.likelihood(z_hat)).sum((1, 2, 3))
        return z_hat


def test_medians_of_the_hyperlatent_are_kept() -> None:
    model = random_model("convvc")
    with torch.no_grad():
        model.density.quantiles += 2 * torch.randn(16, 1)
        for parameter in [*model.density.matrices, *model.density.biases, *model.density.factors]:
            parameter += 0.3 * torch.randn_like(parameter)
    made = fit(theirs(model))
    assert made.unusual["hyper"] == 17  # one channel that is always 1 carries them
    again, x = rebuilt(made), torch.rand(1, 128, 64, 3)
    expected = coded(model, AroundMedians(model.density, QUALITY, False), x)
    for ours, theirs_ in zip(coded(again, RateEstimator(again.density, QUALITY, False), x), expected, strict=True):
        torch.testing.assert_close(ours, theirs_, rtol=1e-4, atol=1e-5)
    plain = coded(model, RateEstimator(model.density, QUALITY, False), x)
    assert not torch.allclose(plain[0], expected[0], atol=1e-3)  # without them it would be another picture


def test_scale_space_flow_of_compressai() -> None:
    model = SSFModel(replace(ssf.CONVVC_SSF, width=32, latents=48, hyper=48)).eval()
    made = fit(theirs(model))
    assert (made.name, made.config) == ("convvc-ssf", asdict(model.config))
    frames = torch.rand(1, 2, 128, 128, 3)
    with torch.no_grad():
        for ours, expected in zip(built(made)(frames), model(frames), strict=True):
            assert ours.x_hat.equal(expected.x_hat)
        for part in (model.keyframe, model.motion, model.residual):
            part.density.quantiles[:, 1] += torch.randint(-3, 4, (48,))  # whole medians: z is rounded as before
    moved = fit(theirs(model))
    assert moved.config["hyper"] == 49
    with torch.no_grad():
        for ours, expected in zip(built(moved)(frames), model(frames), strict=True):
            torch.testing.assert_close(ours.x_hat, expected.x_hat, atol=1e-4, rtol=0)


def built(made: Imported) -> SSFModel:
    model = SSFModel(ssf.SSFConfig(**made.config)).eval()
    model.load_state_dict(made.tensors)
    return model


# single layers against the authors' formulas ------------------------------------------------------------------------


def loaded(layer: nn.Module, place: str, tensors: dict[str, Tensor], prefix: str = "") -> nn.Module:
    """A layer of ours with the tensors that stand at `place` under their names."""
    ours = {}
    for name, value in tensors.items():
        known = translate(place + name)
        assert known is not None
        ours[known[0].removeprefix(prefix)] = known[1](value).float()
    layer.load_state_dict(ours)
    return layer


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_in_compressais_parametrisation(inverse: bool) -> None:
    beta, gamma = torch.rand(12) - 0.1, 0.3 * torch.randn(12, 12)  # those below their bounds count as the bounds
    layer = loaded(GDN(12, inverse), "g_a.1.", {"beta": beta, "gamma": gamma}, "g_a.1.")
    pedestal = 2.0**-36
    least = (1e-6 + pedestal) ** 0.5
    x = torch.randn(2, 12, 5, 7)
    power = F.conv2d(
        x**2, (gamma.clamp(min=pedestal**0.5) ** 2 - pedestal)[..., None, None], beta.clamp(min=least) ** 2 - pedestal
    )
    expected = x * power.sqrt() if inverse else x / power.sqrt()
    torch.testing.assert_close(layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("age", ["_matrix{0} _bias{0} _factor{0}", "matrices.{0} biases.{0} factors.{0}"])
def test_likelihood_of_an_entropy_bottleneck(age: str) -> None:
    channels, widths = 6, [1, 3, 3, 3, 3, 1]
    tensors = {"quantiles": torch.randn(channels, 1, 3)}
    values = torch.linspace(-4, 4, 40).repeat(channels, 1)[:, None]
    edges = {-0.5: values - 0.5, 0.5: values + 0.5}
    for k in range(5):
        matrix, bias, factor = (name.format(k) for name in age.split())
        tensors[matrix] = torch.randn(channels, widths[k + 1], widths[k])
        tensors[bias] = torch.randn(channels, widths[k + 1], 1)
        for side, logits in edges.items():
            edges[side] = torch.log1p(torch.exp(tensors[matrix])) @ logits + tensors[bias]
        if k < 4:
            tensors[factor] = torch.randn(channels, widths[k + 1], 1)
            for side, logits in edges.items():
                edges[side] = logits + torch.tanh(tensors[factor]) * torch.tanh(logits)
    expected = torch.sigmoid(edges[0.5]) - torch.sigmoid(edges[-0.5])
    density = loaded(FactorizedDensity(channels), "entropy_bottleneck.", tensors, "density.")
    assert isinstance(density, FactorizedDensity)
    mass = density.likelihood(values[:, 0].t()[None, None])
    torch.testing.assert_close(mass[0, 0].t(), expected[:, 0], rtol=1e-3, atol=1e-6)
    assert density.quantiles.equal(tensors["quantiles"][:, 0])


def their_scan(x: Tensor, t: dict[str, Tensor]) -> Tensor:
    """x [D, H, W], channels first, along VMamba's directions, each with its own weights: [D, H, W]."""
    channels, height, width = x.shape
    states, rank = t["A_logs"].shape[1], t["dt_projs_weight"].shape[2]
    total = torch.zeros_like(x)
    for k in range(4):
        view = x.transpose(1, 2) if k % 2 else x
        tokens = view.reshape(channels, -1)
        tokens = tokens.flip(1) if k >= 2 else tokens
        steps, inputs, outputs = (t["x_proj_weight"][k] @ tokens).split([rank, states, states])
        steps = F.softplus(t["dt_projs_weight"][k] @ steps + t["dt_projs_bias"][k][:, None])
        own = slice(k * channels, (k + 1) * channels)
        decay, memory = -torch.exp(t["A_logs"][own]), torch.zeros(channels, states)
        along = []
        for i in range(height * width):
            memory = torch.exp(steps[:, i, None] * decay) * memory
            memory = memory + (steps[:, i] * tokens[:, i])[:, None] * inputs[:, i]
            along.append(memory @ outputs[:, i] + t["Ds"][own] * tokens[:, i])
        y = torch.stack(along, 1)
        y = (y.flip(1) if k >= 2 else y).view(view.shape)
        total += y.transpose(1, 2) if k % 2 else y
    return total


def test_ss2d_of_vmamba() -> None:
    channels, inner, states, rank, height, width = 8, 16, 3, 2, 4, 6
    shapes: dict[str, tuple[int, ...]] = {
        "in_proj.weight": (2 * inner, channels), "conv2d.weight": (inner, 1, 3, 3), "conv2d.bias": (inner,),
        "x_proj_weight": (4, rank + 2 * states, inner), "dt_projs_weight": (4, inner, rank),
        "dt_projs_bias": (4, inner), "A_logs": (4 * inner, states), "Ds": (4 * inner,),
        "out_norm.weight": (inner,), "out_norm.bias": (inner,), "out_proj.weight": (channels, inner),
    }  # fmt: skip
    t = {name: 0.5 * torch.randn(shape) for name, shape in shapes.items()}
    place = "g_a.1.op."
    layer = loaded(SS2D(channels, inner, Scan(inner, states, rank)), place, t, "g_a.1.mixer.")
    x = torch.randn(1, height, width, channels)
    value, gate = (x @ t["in_proj.weight"].t()).chunk(2, -1)
    value = F.silu(F.conv2d(value.permute(0, 3, 1, 2), t["conv2d.weight"], t["conv2d.bias"], padding=1, groups=inner))
    y = F.layer_norm(their_scan(value[0], t).permute(1, 2, 0), (inner,), t["out_norm.weight"], t["out_norm.bias"])
    torch.testing.assert_close(layer(x)[0], (y * F.silu(gate[0])) @ t["out_proj.weight"].t(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_of_lic_tcm(shifted: bool) -> None:
    channels, head, window = 8, 4, 4
    t = {
        "embedding_layer.weight": torch.randn(3 * channels, channels),
        "embedding_layer.bias": torch.randn(3 * channels),
        "linear.weight": torch.randn(channels, channels), "linear.bias": torch.randn(channels),
        "relative_position_params": torch.randn(channels // head, 2 * window - 1, 2 * window - 1),
    }  # fmt: skip
    layer = loaded(WindowAttention(channels, head, window, shifted), "g_a.1.msa.", t, "g_a.1.attention.")
    x = torch.randn(1, 8, 8, channels)
    projected = F.linear(x[0], t["embedding_layer.weight"], t["embedding_layer.bias"])
    mixed = torch.zeros(8, 8, channels)
    shift = window // 2 if shifted else 0
    cell = [(i + shift) // window for i in range(8)]  # the shifted grid cuts windows off at the edges
    for r in range(8):
        for c in range(8):
            keys = [(i, j) for i in range(8) for j in range(8) if (cell[i], cell[j]) == (cell[r], cell[c])]
            for h in range(channels // head):
                part = slice(h * head, (h + 1) * head)
                q, k, v = projected.split(channels, -1)
                scores = [
                    q[r, c, part] @ k[i, j, part] * head**-0.5
                    + t["relative_position_params"][h, r - i + window - 1, c - j + window - 1]
                    for i, j in keys
                ]
                weights = torch.stack(scores).softmax(0)
                mixed[r, c, part] = sum(w * v[i, j, part] for w, (i, j) in zip(weights, keys, strict=True))
    expected = F.linear(mixed, t["linear.weight"], t["linear.bias"])
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-4, atol=1e-5)


# the command --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the authors' training script writes it, of a tiny mambavc with medians, from several GPUs."""
    torch.manual_seed(1)
    model = random_model("mambavc")
    with torch.no_grad():
        model.density.quantiles += 0.3
    path = tmp_path_factory.mktemp("theirs") / "best.pth.tar"
    tensors = {f"module.{name}": value for name, value in theirs(model).items()}
    schedule = {"milestones": Counter([450, 490]), "last_epoch": 3}
    torch.save({"epoch": 3, "state_dict": tensors, "loss": torch.tensor(0.5), "lr_scheduler": schedule}, path)
    return path


def test_command(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours.pt"
    result = run(checkpoint, "-o", target)
    assert result.exit_code == 0, result.stderr
    assert "mambavc, 0.712 M" in result.stderr and "3 tables" in result.stderr and "'hyper': 17" in result.stderr
    kept = state.read(target)
    assert kept["recipe"]["model"] == "mambavc" and (kept["step"], kept["minutes"]) == (0, 0.0)
    again = run(checkpoint, "-o", target)
    assert again.exit_code == 1 and "already exists" in again.stderr
    assert run(checkpoint, "-o", target, "--force", "--model", "mambavc").exit_code == 0
    model, _ = load_checkpoint(target)
    assert model.config.hyper == 17


def test_an_imported_model_codes(checkpoint: Path, tmp_path: Path) -> None:
    import_weights(checkpoint, tmp_path / "ours.pt")
    export(tmp_path / "ours.pt", tmp_path / "weights")
    coder, picture = codec.load(str(tmp_path / "weights")), tiny_model.picture(60, 70)
    data, digests = tiny_model.encoded_digests(coder, picture, 0)
    assert tiny_model.decoded_digests(coder, data) == digests


def test_training_goes_on_from_it(checkpoint: Path, tmp_path: Path) -> None:
    made = import_weights(checkpoint, tmp_path / "ours.pt")
    recipe = Recipe(
        pictures=str(tmp_path), store=str(tmp_path / "store"), run=str(tmp_path / "run"), holdout=0, model="mambavc",
        config=made.config, rd_lambda=0.013, optimizer="adam", dtype="float32", batch=1, crop_px=64, device="cpu",
    )  # fmt: skip
    Image.fromarray(tiny_model.picture(64, 64).samples).save(tmp_path / "one.png")
    trainer = Trainer(recipe)
    trainer.load(tmp_path / "ours.pt")
    assert all(value.equal(made.tensors[name]) for name, value in trainer.model.state_dict().items())
    loss, *_ = trainer.train_step(1e-4)
    assert trainer.step == 1 and np.isfinite(loss)
    assert not trainer.model.g_a[0].weight.equal(made.tensors["g_a.0.weight"])


# what does not fit --------------------------------------------------------------------------------------------------


def without(tensors: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name not in names}


def test_every_tensor_must_have_its_counterpart() -> None:
    whole = theirs(random_model("mambavc"))
    name = "lrp_transforms.1.2.bias"
    cases = [
        (without(whole, name), "1 missing (prior.contexts.1.correction.2.bias)"),
        (without(whole, "g_a.0.weight"), "1 missing (g_a.0.weight)"),
        (whole | {"extra.weight": torch.zeros(1)}, "1 not known (extra.weight)"),
        (whole | {"g_a.1.op.bias": torch.zeros(1)}, "1 not known (g_a.1.op.bias)"),
        (whole | {f"g_a.{n}.weight": torch.zeros(1) for n in range(20, 25)}, "5 not known (g_a.20.weight, g_a.21.weig"),
        (whole | {name: torch.zeros(3)}, "prior.contexts.1.correction.2.bias [3] instead of [8]"),
        (whole | {name: torch.full((8,), torch.inf)}, "prior.contexts.1.correction.2.bias, not all of it finite"),
        (whole | {"g_a.1.op.Ds": torch.zeros(7)}, "g_a.1.op.Ds [7]"),
        (whole | {"g_a.1.op.x_proj_weight": torch.zeros(2, 6, 128)}, "g_a.1.op.x_proj_weight [2, 6, 128]"),
        (whole | {"g_s.0.weight": torch.zeros(())}, "its shapes do not belong together"),
    ]
    for tensors, said in cases:
        with pytest.raises(WeightsError, match=re.escape(said)) as caught:
            fit(tensors, "mambavc")
        assert "does not fit mambavc" in str(caught.value)


def test_other_models_are_refused() -> None:
    whole = theirs(random_model("convvc"))
    with pytest.raises(WeightsError, match=r"does not fit mambavc: 1 missing \(g_a\.1\.mixer\.scan\.a_log\)"):
        fit(whole, "mambavc")
    with pytest.raises(WeightsError, match="cannot be read as samic") as caught:
        fit(whole, "samic")
    assert "mambavc, swinvc, convvc, convvc-ssf" in str(caught.value.hint)
    with pytest.raises(WeightsError, match=r"fits none of our models: 2 tensors \(conv1.weight, fc.bias\)"):
        fit({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)})


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def test_files_that_are_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, target = tmp_path / "source.pth.tar", tmp_path / "target.pt"

    def refused(said: str, kind: type[MvcError] = WeightsError) -> None:
        with pytest.raises(kind, match=re.escape(said)) as caught:
            import_weights(source, target)
        assert "\n" not in str(caught.value) and str(source) in str(caught.value)
        assert not target.exists()

    refused("no such file", mvc.SourceError)
    for junk in (b"", b"hello", b"PK\x03\x04abc", bytes(200)):
        source.write_bytes(junk)
        refused("is not a checkpoint of torch")
    torch.save({"state_dict": {"x": Code()}}, source)
    refused("holds posix.mkdir; only plain tensors and values are read")
    assert not (tmp_path / "ran").exists()
    torch.save({"loss": np.float64(1.0)}, source)
    refused("holds numpy._core.multiarray.scalar")
    for odd in ([1, 2], {}, {"epoch": 3}, {"state_dict": 4}, {"state_dict": {"a": 1}}):
        torch.save(odd, source)
        refused("holds no state dict")
    torch.save(dict.fromkeys(state.KEYS, 0), source)
    refused("is a checkpoint of `mvc train` already")
