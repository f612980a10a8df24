"""The exact layers of the papers' priors: the same integers from float64 and int64, and close to the float layers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mvc.blocks.conv import GDN, Conv, Deconv
from mvc.blocks.layers import Depthwise, GatedNorm, HalfTanh, LogScale, Norm, SigmoidGate, SiluGate
from mvc.blocks.lite import ConvBlock, GroupedScan, Stage, VSSBlock
from mvc.blocks.semantic import Clustering, MambaBlock, SemanticScan
from mvc.blocks.vss import PaperVSSBlock, Scan
from mvc.blocks.window import AttentionGate, SwinBlock, WindowAttention
from mvc.entropy.tables import SCALE_MIN, SCALE_ROWS
from mvc.errors import WeightsError
from mvc.exact import functions, scan
from mvc.exact.fixed import EXACT_FLOAT64, FINE, divide, square_root
from mvc.exact.lower import lower
from mvc.models.streams import scale_rows

ONE, LIMIT = FINE.one, FINE.limit


def values(*shape: int, spread: float = 2.0) -> Tensor:
    """Fixed-point normal numbers, int64."""
    return torch.round(torch.randn(shape) * spread * ONE).long()


def lowered(layer: nn.Module) -> nn.Module:
    """On the fine grid, whatever the layer: it stands in a container, as in a prior."""
    return lower(nn.Sequential(layer.eval()), FINE)[0]


def active(block: nn.Module) -> nn.Module:
    """lite's blocks start near the identity, which would prove nothing."""
    for name, parameter in block.named_parameters():
        if name.startswith("out"):
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return block


# name: how to make the layer, channels of its inputs, tolerance against float in units of the grid
LAYERS: dict[str, tuple[Callable[[], nn.Module], int, float]] = {
    "conv": (lambda: Conv(8, 6, 3), 8, 8),
    "conv, stride 2": (lambda: Conv(8, 6, 5, 2), 8, 8),
    "1x1": (lambda: Conv(8, 6, 1), 8, 8),
    "depthwise": (lambda: Conv(8, 8, 3, groups=8), 8, 8),
    "deconv 3": (lambda: Deconv(8, 6, 3), 8, 8),
    "deconv 5": (lambda: Deconv(8, 6, 5), 8, 8),
    "gdn": (lambda: GDN(8), 8, 8),
    "igdn": (lambda: GDN(8, inverse=True), 8, 30),
    "layer norm": (lambda: nn.LayerNorm(8), 8, 8),
    "gelu": (nn.GELU, 8, 2),
    "silu": (nn.SiLU, 8, 2),
    "relu": (nn.ReLU, 8, 1),
    "depthwise silu": (lambda: Depthwise(16, 3, "silu"), 16, 8),
    "depthwise leaky": (lambda: Depthwise(16, 5, "leaky"), 16, 8),
    "half tanh": (HalfTanh, 8, 2),
    "attention": (lambda: WindowAttention(16, 8, 4, False), 16, 30),
    "attention, shifted": (lambda: WindowAttention(16, 8, 4, True), 16, 30),
    "swin block": (lambda: SwinBlock(16, 8, 4, True), 16, 30),
    "attention gate": (lambda: AttentionGate(8, 16, 8, 4), 8, 30),
    "scan": (lambda: Scan(8, 2, 3), 8, 40),
    "semantic scan": (lambda: SemanticScan(8, 2, 3), 8, 40),
    "norm": (Norm, 8, 8),
    "grouped scan": (lambda: GroupedScan(16, 2, 3), 16, 80),
    "vss block": (lambda: PaperVSSBlock(8, 4), 8, 30),
    "lite's vss block": (lambda: active(VSSBlock(16, 2)), 16, 30),
    "lite's conv block": (lambda: active(ConvBlock(16)), 16, 30),
    "a stage": (lambda: Stage(*(active(VSSBlock(64)) for _ in range(3))), 64, 60),
    "mamba block": (lambda: MambaBlock(8, 4), 8, 30),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_the_same_in_both_carriers_and_near_the_float_layer(name: str) -> None:
    make, channels, tolerance = LAYERS[name]
    torch.manual_seed(1)
    layer = make()
    x = values(2, 6, 10, channels)
    with torch.no_grad():
        exact, expected = lowered(layer), layer.eval()((x / ONE).float()).double() * ONE
        slow, fast = exact(x), exact(x.double())
        assert slow.dtype == torch.int64 and fast.dtype == torch.float64
        assert torch.equal(slow, fast.long()) and torch.equal(fast, fast.round())
        assert slow.shape == expected.shape
        assert (fast - expected).abs().max() < tolerance
        assert fast.abs().max() > 50  # or there was nothing to compare
        wild = values(2, 6, 10, channels, spread=3000.0)  # far beyond what training makes: clamped, and still the same
        assert torch.equal(exact(wild), exact(wild.double()).long())


@pytest.mark.parametrize(("gate", "tolerance"), [(SigmoidGate(), 6), (SiluGate(), 6), (GatedNorm(), 12)])
def test_gates(gate: nn.Module, tolerance: float) -> None:
    torch.manual_seed(0)
    a, b, exact = values(500), values(500, spread=6.0), lowered(gate)
    assert torch.equal(exact(a, b), exact(a.double(), b.double()).long())
    assert (exact(a, b) - gate(a / ONE, b / ONE) * ONE).abs().max() < tolerance


def test_scales_fall_into_the_row_whose_logarithm_is_nearest() -> None:
    torch.manual_seed(0)
    layer = LogScale(SCALE_MIN, 256.0)
    scale = torch.cat([torch.exp(torch.randn(5000) * 3) * 2, torch.tensor([0.0, -3.0, 4000.0])])
    x = torch.round(scale * ONE).long()
    rows, exact = scale_rows(lowered(layer)(x), FINE), lowered(layer)
    assert torch.equal(rows, scale_rows(exact(x.double()), FINE).long())
    expected = torch.round(8 * layer(x / ONE)).clamp(0, SCALE_ROWS - 1)
    assert rows.min() == 0 and rows.max() == round(8 * math.log2(256 / SCALE_MIN))
    assert ((rows - expected) == 0).double().mean() > 0.999 and (rows - expected).abs().max() <= 1


def test_clusters_do_not_depend_on_the_carrier_and_match_the_float_ones() -> None:
    torch.manual_seed(0)
    layer = SemanticScan(16, 2, 3).eval()
    exact = lowered(layer).clustering
    v = values(1, 8, 8, 16)
    assert torch.equal(exact(v), exact(v.double()))
    float_clusters = layer.clustering((v / ONE).float())[0]
    assert (exact(v) == float_clusters).double().mean() > 0.9  # near ties may differ
    assert len(exact(v).unique()) > 1


def test_positions_of_clusters_are_those_of_the_float_layer() -> None:
    layer = Clustering(4, features=6).eval()
    exact = lowered(SemanticScan(4, 1, 1, features=6)).clustering
    expected = layer.position(5, 7, torch.zeros(1)) * ONE
    assert (exact.position(5, 7) - expected).abs().max() < 1


def test_the_scan_of_numba_is_the_reference() -> None:
    rng = np.random.default_rng(0)

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return torch.from_numpy(rng.integers(low, high, shape, endpoint=True))

    tokens, channels, states = 40, 70, 3
    order = torch.from_numpy(rng.permutation(tokens))
    for wild in (False, True):
        size = (LIMIT, 1 << 24, scan.PARAMETER_LIMIT, 1 << 18) if wild else (3 * ONE, 1 << 17, 2 * ONE, 4 * ONE)
        v, dt = whole(-size[0], size[0], tokens, channels), whole(0, size[1], tokens, channels)
        b, c = (whole(-size[2], size[2], tokens, states) for _ in range(2))
        a, d = whole(0, size[3], states, channels), whole(-size[3], size[3], channels)
        given_ = (v, order, dt, b, c, a, d, FINE.fraction_bits, LIMIT)
        y = scan.scan(*given_)
        assert torch.equal(y, scan.scan_reference(*given_))
        assert y.abs().max() > ONE


def test_no_intermediate_of_the_scan_can_leave_64_bits() -> None:
    """The bounds that mvc/exact/scan.py and the specification state, one product after the other."""
    step, decay = functions.REACH << functions.STEP_BITS, 1 << scan.DECAY_BITS
    bits, states = FINE.fraction_bits, 16
    products = [
        step * (1 << 18),
        decay * decay,
        (1 << functions.STEP_BITS) * scan.STATE_LIMIT,
        step * LIMIT,
        scan.DRIVE_LIMIT * scan.PARAMETER_LIMIT,
        states * scan.PARAMETER_LIMIT * ((scan.STATE_LIMIT >> (functions.STEP_BITS - bits)) + 1) + (1 << 22) * LIMIT,
    ]
    assert max(products) < EXACT_FLOAT64  # so float64 could carry it as well


TABLES = {
    "sigmoid": "f5ca6fe9b59b48bfbcbdbcbf3b630b10817325f064b6042c6ae8478d829e3b4f",
    "silu": "90e09e0039bdcf3a4f3fd4b282cbe261c0a1de5bf2a96799363e6a68b248b7e5",
    "softplus": "ce8bdadbf2a7ffed68b4692e085d472eec3a3829a83d05a09317cead624ca947",
    "half_tanh": "08293239c765cc04d38b77e6cfc78225c0d9024d5c77adea6275c815461ad320",
    "gelu": "89cb1e0d87934c1eeb3e631bf3f17cf0ad30d051f9af00467a937ee214d50e1d",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_the_same_on_every_machine(name: str) -> None:
    made = functions.table(getattr(functions, name), FINE, functions.STEP_BITS)
    assert hashlib.sha256(made.astype("<i8").tobytes()).hexdigest() == TABLES[name]


def test_tables_are_the_functions() -> None:
    x = np.linspace(-functions.REACH, functions.REACH, 4001)
    t = torch.from_numpy(x)
    for mine, theirs in (
        (functions.exp, torch.exp),
        (functions.sigmoid, torch.sigmoid),
        (functions.silu, nn.functional.silu),
        (functions.softplus, lambda v: torch.logaddexp(v, torch.zeros(()).double())),
        (functions.half_tanh, lambda v: torch.tanh(v) / 2),
        (functions.gelu, nn.functional.gelu),
    ):
        np.testing.assert_allclose(mine(x), theirs(t).numpy(), rtol=1e-12, atol=1e-13)
    u = np.linspace(0, 1, 101)
    np.testing.assert_allclose(functions.sin_half_turns(u), np.sin(np.pi * u), atol=1e-15)


@given(st.integers(-(2**51), 2**51), st.integers(1, 2**40))
def test_division_rounds_to_the_nearest(a: int, b: int) -> None:
    expected = (2 * a + b) // (2 * b)
    if 2 * abs(a) + b < EXACT_FLOAT64:
        assert int(divide(torch.tensor([a]), torch.tensor([b]))) == expected
        both = (torch.tensor([n], dtype=torch.float64) for n in (a, b))
        assert int(divide(*both)) == expected


@given(st.one_of(st.integers(0, 2**52), st.integers(0, 2**26).map(lambda n: max(0, n * n - 1))))
def test_square_roots_are_rounded_down(x: int) -> None:
    assert int(square_root(torch.tensor([x]))) == math.isqrt(x)
    assert int(square_root(torch.tensor([x], dtype=torch.float64))) == math.isqrt(x)


def test_what_cannot_be_lowered_is_refused() -> None:
    with pytest.raises(WeightsError, match="groups"):
        lowered(Conv(8, 8, 3, groups=2))
    norm = nn.LayerNorm(4)
    nn.init.constant_(norm.weight, 1e9)
    with pytest.raises(WeightsError, match="normalisation"):
        lowered(norm)
    scan_ = Scan(8, 2, 3)
    nn.init.constant_(scan_.a_log, 9.0)
    with pytest.raises(WeightsError, match="decays"):
        lowered(scan_)
    gdn = GDN(512)
    nn.init.constant_(gdn.gamma_root, 120.0)
    with pytest.raises(WeightsError, match="2\\^53"):
        lowered(gdn)
