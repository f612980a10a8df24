"""Section 5.9 of bitstream_spec.md, the papers' models: its programs against the exact layers of the package."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from test_spec import SPEC, section, table
from torch import Tensor, nn

from mvc.blocks.conv import GDN, Conv, Deconv
from mvc.blocks.layers import LogScale
from mvc.blocks.window import WindowAttention
from mvc.entropy.tables import SCALE_MIN
from mvc.exact import attention, functions, norms, scan
from mvc.exact.fixed import FINE, divide, square_root
from mvc.exact.lower import lower

TEXT = section("5.9")
RNG = np.random.default_rng(0)


def whole(limit: int, *shape: int) -> Tensor:
    """Random integers, the extremes among them."""
    values = RNG.integers(-limit, limit, shape, endpoint=True)
    values.flat[:2] = -limit, limit
    return torch.from_numpy(values)


def lowered(layer: nn.Module) -> nn.Module:
    return lower(nn.Sequential(layer), FINE)[0]


def test_numbers() -> None:
    assert SPEC["ONE"] == FINE.one and SPEC["FINE_LIMIT"] == FINE.limit
    a, b = whole(2**40, 100), whole(2**40, 100).abs() + 1
    assert np.array_equal(SPEC["divide"](a.numpy(), b.numpy()), divide(a, b).numpy())
    x = whole(2**52, 100).abs()
    assert np.array_equal(SPEC["root"](x.numpy()), square_root(x).numpy())


def test_tables_have_the_documents_hashes() -> None:
    rows = table(TEXT, "Function")
    assert len(rows) == 5
    for name, _, expected in rows:
        made = functions.table(getattr(functions, name), FINE, 20).astype("<i8").tobytes()
        assert hashlib.sha256(made).hexdigest() == expected.strip("`")


@pytest.mark.parametrize("limit", [300, 2**24, FINE.input_limit])
def test_normalisation(limit: int) -> None:
    torch.manual_seed(0)
    layer = nn.LayerNorm(12)
    nn.init.normal_(layer.weight, std=2)
    nn.init.normal_(layer.bias)
    exact, x = lowered(layer), whole(limit, 4, 12)
    assert isinstance(exact, norms.ExactLayerNorm) and exact.eps == 168
    expected = SPEC["normalise"](x.numpy(), exact.weight.long().numpy(), exact.bias.long().numpy())
    assert np.array_equal(exact(x).numpy(), expected)


@pytest.mark.parametrize("limit", [3 * 4096, 2**23])
def test_inverse_gdn(limit: int) -> None:
    exact, x = lowered(GDN(6, inverse=True)), whole(limit, 5, 6)
    weights = (exact.weight.long().numpy(), exact.bias.long().numpy(), int(exact.shift))
    assert np.array_equal(exact(x).numpy(), SPEC["inverse_gdn"](x.numpy(), *weights))


@pytest.mark.parametrize("limit", [2 * 4096, FINE.limit])
def test_attention(limit: int) -> None:
    layer = WindowAttention(8, 8, 3, shifted=False)
    exact = lowered(layer)
    q, k, v = (whole(limit, 9, 8) for _ in range(3))
    hidden = whole(1, 9, 9) > 0
    hidden.fill_diagonal_(False)
    falling = functions.falling(12, attention.EXP_BITS, attention.EXP_END * 4096 + 1)
    assert falling[-1] == 0
    bias = exact.relative_bias()[0].long().numpy()
    expected = SPEC["attend"](q.numpy(), k.numpy(), v.numpy(), bias, hidden.numpy(), falling)
    mixed = exact.mix(*(t[None, None, None] for t in (q, k, v)), hidden[None, None])
    assert np.array_equal(mixed[0, 0, 0].numpy(), expected)


def test_scan() -> None:
    states, channels, tokens = 3, 5, 12
    v, dt = whole(FINE.limit, tokens, channels), whole(16 << 20, tokens, channels).abs()
    v[2:], dt[2:] = v[2:] >> 12, dt[2:] >> 8
    b, c = (whole(2**22, tokens, states) >> shift for shift in (9, 0))
    a, d = whole(2**18, states, channels).abs() >> 5, whole(2**20, channels)
    y = scan.scan_reference(v, torch.arange(tokens), dt, b, c, a, d, 12, FINE.limit)
    coarse, close = scan.decay_tables()
    state = np.zeros((states, channels), np.int64)
    for t in range(tokens):
        inputs = (x.numpy() for x in (v[t], dt[t], b[t], c[t], a, d))
        state, expected = SPEC["scan_step"](state, *inputs, coarse, close)
        assert np.array_equal(y[t].numpy(), expected)


def test_convolutions() -> None:
    x = whole(4096, 1, 4, 6, 3)
    exact = lowered(Conv(3, 2, 5, 2))
    padded = np.pad(x[0].numpy(), ((2, 2), (2, 2), (0, 0)))
    weight, bias, shift = (t.long().numpy() for t in (exact.weight, exact.bias, exact.shift))
    for i, j in ((0, 0), (1, 2)):
        part = padded[2 * i : 2 * i + 5, 2 * j : 2 * j + 5]
        total = np.einsum("rsi,oirs->o", part, weight) + bias
        assert np.array_equal(exact(x)[0, i, j].numpy(), SPEC["fine"](SPEC["round_shift"](total, int(shift))))
    exact = lowered(Deconv(3, 2, 3))
    weight, bias, shift = (t.long().numpy() for t in (exact.weight, exact.bias, exact.shift))
    sums = np.zeros((8, 12, 2), np.int64) + bias
    for i, j, r, s in np.ndindex(4, 6, 3, 3):
        row, column = 2 * i + r - 1, 2 * j + s - 1
        if 0 <= row < 8 and 0 <= column < 12:
            sums[row, column] += x[0, i, j].numpy() @ weight[:, :, r, s]
    assert np.array_equal(exact(x)[0].numpy(), SPEC["fine"](SPEC["round_shift"](sums, int(shift))))


def test_scales() -> None:
    exact, scale = lowered(LogScale(SCALE_MIN, 256.0)), whole(2**21, 200)
    rows = (exact.edges[None] <= scale[:, None]).sum(1)
    assert torch.equal(exact(scale), rows * 2**9)
    assert "round-shift by 9" in TEXT and (exact.edges.diff() > 0).all()
