"""Products by oneDNN against the plain ones: within the rounding of float32, whatever the parts of the sums."""

import pytest
import torch
import torch.nn.functional as F

from mvc.ops import product

INPUTS = (24, 128, 192, 193, 256, 320, 384, 385, 768)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_that_of_float64(inputs, bias):
    x, weight = torch.randn(1, 27, 23, inputs), torch.randn(40, inputs)
    added = torch.randn(40) if bias else None
    exact = F.linear(x.double(), weight.double(), None if added is None else added.double())
    with torch.no_grad():
        own = product.linear(x, weight, added)
    assert own.dtype == torch.float32 and own.shape == (1, 27, 23, 40)
    torch.testing.assert_close(own.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("inputs", INPUTS)
def test_parts_of_sums_are_as_long_as_mkls(inputs):
    parts = [min(product.terms(inputs), inputs - k) for k in range(0, inputs, product.terms(inputs))]
    assert sum(parts) == inputs and max(parts) <= product.MOST_TERMS
    assert len(parts) != 2 or parts[0] - parts[1] in (0, 1) or inputs > 2 * product.MOST_TERMS


def test_tensors_that_lie_scattered_give_what_packed_ones_do():
    x, weight = torch.randn(2, 40, 30, 300)[:, 3:17], torch.randn(80, 256).chunk(2)[1]
    with torch.no_grad():
        own = product.linear(x[..., :256], weight)
        assert torch.equal(own, product.linear(x[..., :256].contiguous(), weight.contiguous()))


def test_rows_do_not_depend_on_those_beside_them():
    x, weight = torch.randn(1500, 320), torch.randn(96, 320)
    with torch.no_grad():
        assert torch.equal(product.linear(x, weight)[100:1000], product.linear(x[100:1000], weight))


def test_whatever_onednn_does_not_take_is_torchs(monkeypatch):
    monkeypatch.setattr(product, "_ONEDNN", None)
    x, weight = torch.randn(700, 64), torch.randn(8, 64)
    with torch.no_grad():
        assert torch.equal(product.linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_stay_what_they_are(dtype):
    x, weight = torch.randn(700, 64).to(dtype), torch.randn(8, 64).to(dtype)
    with torch.no_grad():
        own = product.linear(x, weight)
    assert own.dtype == dtype and torch.equal(own, F.linear(x, weight))


def test_gradients_go_through():
    x, weight = torch.randn(100, 64, requires_grad=True), torch.randn(8, 64, requires_grad=True)
    product.linear(x, weight).square().sum().backward()
    assert x.grad is not None and weight.grad is not None and float(x.grad.abs().max()) > 0


@pytest.mark.parametrize(("name", "value"), [("OMP_DYNAMIC", "TRUE"), ("OMP_DYNAMIC", "1"), ("OMP_THREAD_LIMIT", "2")])
def test_onednn_is_left_alone_where_threads_may_be_missing(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert product._onednn() is None
