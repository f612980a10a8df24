"""The exact prior: every carrier of its integers gives the same ones, its bounds hold, and lowering loses little."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import CONFIG, picture, tiny_codec, tiny_network, tiny_weights
from torch import Tensor, nn

from mvc.blocks.layers import Clamp, Depthwise, Leaky, Linear, QualityGain
from mvc.entropy.tables import SCALE_ROWS, Tables
from mvc.errors import BackendError, WeightsError
from mvc.exact import fixed, lower, selfcheck
from mvc.exact.fixed import EXACT_FLOAT32, EXACT_FLOAT64, INPUT_LIMIT, LIMIT, ONE, shift_round
from mvc.exact.functions import ExactFunction, silu
from mvc.exact.weighted import Weighted
from mvc.models import streams
from mvc.quality import INDICES

SHAPES = [(1, 1, 1), (2, 3, 7), (1, 9, 4)]


def linear(inputs: int, outputs: int, seed: int = 0, scale: float = 0.3) -> Linear:
    torch.manual_seed(seed)
    layer = Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=scale)
    nn.init.normal_(layer.bias)
    return layer


def depthwise(channels: int, activation: str, seed: int = 0) -> Depthwise:
    torch.manual_seed(seed)
    layer = Depthwise(channels, 5, activation)
    nn.init.normal_(layer.bias)
    return layer


def exact_of(layer: nn.Module) -> nn.Module:
    return lower.LOWERED[type(layer)](layer, fixed.COARSE)


def whole(shape: tuple[int, ...], limit: int, seed: int = 0) -> Tensor:
    """Random integers, the extremes among them, int64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-limit, limit + 1, shape, generator=generator)
    x.view(-1)[::5] = limit
    x.view(-1)[2::7] = -limit
    return x


# The rounding rule


@given(st.lists(st.integers(-(2**51), 2**51), min_size=1, max_size=20), st.integers(0, 14))
def test_one_rounding_rule_for_all_carriers(values: list[int], bits: int) -> None:
    expected = [(2 * v + 2**bits) // 2 ** (bits + 1) for v in values]
    x = torch.tensor(values, dtype=torch.int64)
    assert shift_round(x, bits).tolist() == expected
    assert shift_round(x.double(), bits).tolist() == expected


def test_fixed_point_is_clamped() -> None:
    x = torch.tensor([0.0, 1 / 512, -1 / 512, 3 / 512, 1e9, -1e9])
    assert fixed.to_fixed(x).tolist() == [0, 1, 0, 2, LIMIT, -LIMIT]


# Layers: int64 defines, and float64 (numba kernels on CPU, plain torch elsewhere) must equal it


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [40, 5000, INPUT_LIMIT])
def test_linear(shape: tuple[int, int, int], limit: int) -> None:
    layer = exact_of(linear(48, 33))
    x = whole((*shape, 48), limit)
    expected = layer(x)
    assert expected.dtype == torch.int64
    assert torch.equal(layer(x.double()).long(), expected)
    sums = x.double() @ layer.weight.double().t() + layer.bias.double()
    assert torch.equal(shift_round(sums, int(layer.shift)).clamp(-LIMIT, LIMIT).long(), expected)
    shift, first = int(layer.shift), x.view(-1, 48)[0].tolist()  # and Python's unbounded integers, for one position
    for o, result in enumerate(expected.view(-1, 33)[0].tolist()):
        total = sum(w * v for w, v in zip(layer.weight[o].tolist(), first, strict=True)) + int(layer.bias[o])
        assert result == max(-LIMIT, min(LIMIT, (2 * total + 2**shift) // 2 ** (shift + 1)))


@pytest.mark.parametrize("limit", [3, 5000, INPUT_LIMIT])
@pytest.mark.parametrize("scale", [0.01, 1.0, 0.9 * fixed.WEIGHT_LIMIT])  # float32 suffices, float64, no shift at all
def test_linear_as_a_gpu_does_it(scale: float, limit: int) -> None:
    own = linear(48, 33)
    with torch.no_grad():
        own.weight *= scale / own.weight.abs().max()
        own.bias *= scale
    layer = exact_of(own)
    assert (int(layer.shift) == 0) == (scale > 1)
    x = whole((1, 70, 2, 48), limit)
    expected = layer(x).view(-1, 33)
    assert torch.equal(layer.at_once(x.double().view(-1, 48), False).long(), expected)
    if limit == 3:  # float32 holds these sums, whatever it holds of others
        assert torch.equal(layer.at_once(x.float().view(-1, 48), True).long(), expected)
        assert layer.at_once(x.float().view(-1, 48), True).dtype == torch.float64


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["none", "leaky", "silu"])
@pytest.mark.parametrize("limit", [40, INPUT_LIMIT])
def test_depthwise(shape: tuple[int, int, int], activation: str, limit: int) -> None:
    layer = exact_of(depthwise(16, activation))
    x = whole((*shape, 16), limit)
    expected = layer(x)
    assert torch.equal(layer(x.double()).long(), expected)  # numba
    height, width = shape[1:]
    padded = nn.functional.pad(x.double(), (0, 0, 2, 2, 2, 2))
    taps = layer.weight.double().view(5, 5, 16)
    sums = sum(padded[:, r : r + height, s : s + width] * taps[r, s] for r in reversed(range(5)) for s in range(5))
    out = shift_round(sums + layer.bias.double(), int(layer.shift)).clamp(-LIMIT, LIMIT)
    out = torch.maximum(out, shift_round(out, 3)) if activation == "leaky" else out
    out = ExactFunction(silu, fixed.COARSE)(out) if activation == "silu" else out
    assert torch.equal(out.long(), expected)  # plain torch, in another order
    kept = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(layer(x.double()).long(), expected)
    finally:
        torch.set_num_threads(kept)


def test_leaky_clamp_and_gain() -> None:
    x = torch.arange(-2000, 2000).view(1, 1, -1, 4)
    table = QualityGain(4)
    nn.init.normal_(table.log_gain)
    gain = exact_of(table)
    for quality in (0, 17, INDICES - 1):
        index = torch.tensor([quality])
        expected = gain(x, index)
        assert torch.equal(gain(x.double(), index).long(), expected)
        assert (expected - table(x.float(), index)).abs().max() < 1
    for exact, layer in ((lower.ExactLeaky(), Leaky()), (lower.ExactClamp(), Clamp())):
        assert torch.equal(exact(x.double()).long(), exact(x))
        assert (exact(x) / ONE - layer(x / ONE)).abs().max() <= 0.5 / ONE


@pytest.mark.parametrize("layer", [linear(48, 32), *(depthwise(32, name) for name in ("none", "leaky", "silu"))])
def test_lowered_layers_stay_close_to_their_floats(layer: nn.Module) -> None:
    exact = exact_of(layer)
    x = whole((1, 6, 5, 48 if isinstance(layer, Linear) else 32), 8 * ONE)
    with torch.no_grad():
        expected = layer(x.float() / ONE)
    assert (exact(x) / ONE - expected).abs().max() < 2 / ONE


def test_float32_carries_layers_of_small_bounds() -> None:
    layer = linear(16, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:, [1, 5, 11]] = torch.tensor([1.0, -1.0, 1.0]) * 2.0**-14
    exact = exact_of(layer)
    assert exact.weight.abs().sum(1).tolist() == [3, 3, 3]
    assert exact.bound() < EXACT_FLOAT32
    x = whole((2, 3, 5, 16), INPUT_LIMIT)
    x[0, 0, 0, [1, 5, 11]] = torch.tensor([INPUT_LIMIT, -INPUT_LIMIT, INPUT_LIMIT])
    used = mock.Mock(wraps=Tensor.float)
    with mock.patch.object(Tensor, "float", lambda tensor: used(tensor)):
        assert torch.equal(exact(x.double()).long(), exact(x))
        assert used.call_count == 2
        torch.set_float32_matmul_precision("high")
        try:
            assert torch.equal(exact(x.double()).long(), exact(x))
        finally:
            torch.set_float32_matmul_precision("highest")
        assert used.call_count == 2  # float32 in name only is not used
    with torch.no_grad():
        layer.weight[2, 0] = 2.0**-14  # a fourth
    assert not exact_of(layer).prepared(x.double())[2]


# Bounds


@pytest.mark.parametrize("seed", range(3))
def test_bounds_are_reached_and_not_exceeded(seed: int) -> None:
    exact = exact_of(linear(40, 24, seed))
    weight, bias = exact.weight.long(), exact.bias.long()
    worst = torch.sign(weight) * torch.where(bias < 0, -1, 1)[:, None] * INPUT_LIMIT
    sums = (worst * weight).sum(1) + bias
    assert int(sums.abs().max()) + 2 ** int(exact.shift) == exact.bound() < EXACT_FLOAT64
    taps = exact_of(depthwise(16, "none", seed))
    worst = (taps.weight.long().abs() * INPUT_LIMIT).sum(0) + taps.bias.long().abs()
    assert int(worst.max()) + 2 ** int(taps.shift) == taps.bound() < EXACT_FLOAT64


def test_layers_that_could_exceed_their_carrier_are_refused() -> None:
    wide = Linear(2**18, 1)
    nn.init.constant_(wide.weight, 0.9999)
    with pytest.raises(WeightsError, match=r"layer 0 can exceed 2\^53"):
        lower.lower(nn.Sequential(wide))
    exact = exact_of(linear(2**17, 1, scale=1e-4))
    exact.weight.fill_(2**15 - 1)  # as a damaged file would have it
    with pytest.raises(WeightsError, match=r"exceed 2\^53"):
        exact(torch.zeros(1, 2**17))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_have_no_integers_are_refused(value: float) -> None:
    layer = linear(4, 4)
    with torch.no_grad():
        layer.weight[1, 2] = value
    with pytest.raises(WeightsError, match="magnitude"):
        lower.lower(nn.Sequential(layer))


def test_every_layer_of_the_lowered_prior_is_far_below_the_bound() -> None:
    found = [m for m in tiny_weights().picture.prior.modules() if isinstance(m, Weighted)]
    assert len(found) == 4 + 7 * sum(passes for _, passes in CONFIG.slices)
    assert max(layer.bound() for layer in found) < EXACT_FLOAT64


def test_extreme_inputs_stay_within_the_input_limit() -> None:
    """What section 5.4 of the document says of the inputs of layers, tried with symbols as large as can be coded."""
    prior, seen = tiny_weights().picture.prior, []
    hooks = [
        m.register_forward_pre_hook(lambda _, inputs: seen.append(int(inputs[0].abs().max())))
        for m in prior.modules()
        if isinstance(m, Weighted)
    ]

    class Extreme:
        size = (8, 8)

        def hyper(self, z: None) -> Tensor:
            return whole((1, 2, 2, CONFIG.hyper), streams.HYPER_LIMIT) * ONE

        def latent(self, y: None, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
            assert int(mean.abs().max()) <= LIMIT
            return (whole(tuple(mean.shape), 2**20) * ONE + mean).clamp(-LIMIT, LIMIT)

        def end_slice(self) -> None:
            pass

    try:
        prior.code(Extreme(), torch.tensor([63]))
    finally:
        for hook in hooks:
            hook.remove()
    assert LIMIT <= max(seen) <= INPUT_LIMIT


# The whole prior


def test_lower_leaves_no_float() -> None:
    network = tiny_network()
    before = {name: value.clone() for name, value in network.prior.state_dict().items()}
    lowered = lower.lower(network.prior)
    assert not list(lowered.parameters())
    kinds = {value.dtype for value in lowered.state_dict().values()}
    assert kinds == {torch.int16, torch.int32}
    for name, value in network.prior.state_dict().items():
        assert torch.equal(value, before[name])  # a copy is lowered


def test_both_carriers_write_the_same_bytes() -> None:
    source = picture(70, 100)
    for quality in (3, 60):
        assert tiny_codec().encode(source, quality) == tiny_codec(torch.int64).encode(source, quality)


class Cost:
    """Counts the bits of symbols under the latent tables, for the float prior and for the lowered one."""

    def __init__(self, tables: Tables, unit: int) -> None:
        self.tables, self.unit, self.bits = tables, unit, 0.0

    def hyper(self, z: Tensor) -> Tensor:
        return torch.floor(z + 0.5) * self.unit

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        symbols = torch.floor(y - mean / self.unit + 0.5)
        rows = torch.floor(log_scale / self.unit * 8 + 0.5).clamp(0, SCALE_ROWS - 1)
        where = (torch.ones_like(y) if mask is None else mask.to(y.dtype).expand_as(y)) > 0
        self.bits += self.tables.cost_bits(symbols[where].int().numpy(), rows[where].int().numpy())
        return symbols * self.unit + mean

    def end_slice(self) -> None:
        pass


def test_lowering_costs_little() -> None:
    network, codec = tiny_network(), tiny_codec()
    with torch.inference_mode():
        for quality in (10, 50):
            index = torch.tensor([quality])
            y, z = network.analyse(codec.to_tensor(picture(120, 180)), index)
            floating, exact = (Cost(codec.network.latent_tables, unit) for unit in (1, ONE))
            y_float = network.prior.code(floating, index, z, y)
            y_exact = codec.network.prior.code(exact, index, z.double(), y.double())
            assert abs(exact.bits / floating.bits - 1) < 0.005
            # What is decoded is as far from y: within half a step, but for the correction, which is clamped.
            errors = [(y_hat - y).square().mean() for y_hat in (y_float, y_exact / ONE)]
            assert abs(errors[1] / errors[0] - 1) < 0.02
            bits = 8 * sum(map(len, streams_of(y, z, quality)))
            assert abs(bits / exact.bits - 1) < 0.01


def streams_of(y: Tensor, z: Tensor, quality: int) -> streams.Streams:
    """The slices' real streams."""
    return tiny_weights().picture.write(y, z, quality)[1:]


def test_scale_rows_cover_the_tables() -> None:
    x = torch.arange(-100, 96 * 32 + 100)
    rows = streams.scale_rows(x)
    assert torch.equal(streams.scale_rows(x.double()).long(), rows)
    assert rows.unique().tolist() == list(range(SCALE_ROWS))
    assert np.array_equal(rows.numpy(), np.clip(np.floor(x.numpy() / 32 + 0.5), 0, 95))


# The start-up check


def test_self_check() -> None:
    selfcheck.check_backend.__wrapped__("cpu")
    with mock.patch.object(torch, "floor", torch.trunc), pytest.raises(BackendError, match="whole numbers"):
        selfcheck.check_backend.__wrapped__("cpu")
    truncated = mock.patch.object(Tensor, "to", lambda x, device, dtype: x.float())
    with truncated, pytest.raises(BackendError):
        selfcheck.check_backend.__wrapped__("cpu")
