"""The fast kernels against their plain references: values and all gradients, on every backend that can run here.

float32 kernels are held against float64 references, so that the tolerances are those of the kernels alone.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from mvc.ops import lane_math, lanes, mixer, registers, scan
from mvc.ops.scan import ORDERS, scan_orders, selective_scan, selective_scan_reference

SIZES = [(1, 1, 1), (1, 1, 9), (1, 9, 1), (2, 5, 7), (3, 12, 11)]  # batch, height, width; 132 tokens are three tiles
BFLOAT16 = 0.02  # of the largest value: sums of numbers of 8 bits, rounded once more
FLOAT32 = 3e-6
RANK = 4
Make = Callable[..., Tensor]
Op = Callable[..., Tensor]


@pytest.fixture
def make() -> Make:
    """Normal numbers of a shape, reproducible."""
    generator = torch.Generator().manual_seed(1)
    return lambda *shape, scale=1.0: torch.randn(*shape, generator=generator) * scale


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def scan_weights(make: Make, channels: int, states: int) -> Tensor:
    """dt_weight, bias, A and D as a trained block has them: step sizes around 0.1, decays up to 4 times as fast."""
    a = -torch.arange(1.0, states + 1)[:, None] * torch.exp(make(1, channels, scale=0.3))
    rows = [make(RANK, channels, scale=0.3), make(1, channels) - 2, a, make(1, channels)]
    return torch.cat(rows)


def assert_same(fast: Op, plain: Op, tensors: list[Tensor], tolerance: float) -> None:
    """fast(*tensors) and its gradients against plain(*tensors) in float64, relative to the largest value."""
    given = [t.clone().requires_grad_() for t in tensors]
    exact = [t.double().requires_grad_() for t in tensors]
    y, expected = fast(*given), plain(*exact)
    assert y.dtype == tensors[0].dtype and y.shape == expected.shape
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype)
    results = [y, *torch.autograd.grad(y, given, weight)]
    truths = [expected, *torch.autograd.grad(expected, exact, weight.double())]
    for which, (result, truth) in enumerate(zip(results, truths, strict=True)):
        scale = truth.abs().max().item() + 1e-3
        error = (result.double() - truth).abs().max().item() / scale
        assert error < tolerance, f"{'value' if which == 0 else f'gradient {which - 1}'} is off by {error:.1e}"


# --- norm, depthwise, mixer ----------------------------------------------------------------------------------------


def plain_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def gated(both: Tensor) -> Tensor:
    """Of a value and a gate side by side, as an in-projection leaves them."""
    return mixer.gated_norm(*both.chunk(2, -1))


def plain_gated(both: Tensor) -> Tensor:
    y, gate = both.chunk(2, -1)
    return plain_norm(y) * F.silu(gate)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)])
def test_gated_norm(make: Make, dtype: torch.dtype, tolerance: float) -> None:
    both = make(2, 3, 5, 96).to(dtype)
    assert_same(gated, plain_gated, [both], tolerance)
    with torch.no_grad():  # then it is a kernel of its own
        expected = plain_gated(both.double())
        assert (gated(both).double() - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.bfloat16, BFLOAT16)])
@pytest.mark.parametrize("channels", [16, 48, 320])
def test_norm(make: Make, threads: None, channels: int, dtype: torch.dtype, tolerance: float) -> None:
    assert_same(mixer.norm, plain_norm, [(3 + 2 * make(2, 3, 5, channels)).to(dtype)], tolerance)


@pytest.mark.parametrize("activation", ["none", "silu", "leaky"])
@pytest.mark.parametrize("size", [3, 5])
def test_depthwise(make: Make, threads: None, size: int, activation: str) -> None:
    for batch, height, width in SIZES:
        tensors = [make(batch, height, width, 48), make(size * size, 48), make(48)]
        assert_same(
            lambda *t: mixer.depthwise(*t, activation),
            lambda *t: mixer.depthwise_reference(*t, activation),
            tensors,
            FLOAT32,
        )


@pytest.mark.parametrize("size", [3, 5])
def test_depthwise_bfloat16(make: Make, size: int) -> None:
    tensors = [make(2, 6, 7, 32).bfloat16(), make(size * size, 32), make(32)]
    assert_same(
        lambda *t: mixer.depthwise(*t, "silu"), lambda *t: mixer.depthwise_reference(*t, "silu"), tensors, BFLOAT16
    )


def mixer_tensors(make: Make, batch: int, height: int, width: int, channels: int, states: int = 1) -> list[Tensor]:
    """The arguments of `mix` but for the rank."""
    projection = make(ORDERS * (RANK + 2 * states), channels, scale=channels**-0.5)
    gates = make(batch, height, width, 2 * channels)
    return [gates, make(9, channels, scale=1 / 3), make(channels), projection, scan_weights(make, channels, states)]


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_mix(make: Make, threads: None, shape: tuple[int, int, int]) -> None:
    tensors = mixer_tensors(make, *shape, channels=64)
    assert_same(lambda *t: mixer.mix(*t, RANK), lambda *t: mixer.mix_reference(*t, RANK), tensors, 2e-5)


def test_mix_bfloat16(make: Make) -> None:
    tensors = mixer_tensors(make, 2, 9, 8, channels=128)
    tensors[0] = tensors[0].bfloat16()
    assert_same(lambda *t: mixer.mix(*t, RANK), lambda *t: mixer.mix_reference(*t, RANK), tensors, 0.05)


def test_mix_gives_the_same_without_gradients(make: Make) -> None:
    """It then works in place."""
    tensors = mixer_tensors(make, 2, 5, 6, channels=64)
    kept = mixer.mix(*(t.clone().requires_grad_() for t in tensors), RANK)
    assert torch.equal(mixer.mix(*tensors, RANK), kept.detach())


def test_other_widths_and_types_take_the_references(make: Make) -> None:
    x, kernel, bias = make(1, 4, 5, 24), make(9, 24), make(24)
    assert_same(mixer.norm, plain_norm, [x], FLOAT32)
    assert torch.equal(mixer.depthwise(x, kernel, bias), mixer.depthwise_reference(x, kernel, bias, "none"))
    v, parameters, weights = make(1, 3, 4, 24), make(1, 12, ORDERS, RANK + 2), scan_weights(make, 24, 1)
    expected = selective_scan_reference(v, parameters, weights, RANK)
    assert torch.equal(selective_scan(v, parameters, weights, RANK), expected)
    assert selective_scan(v.bfloat16(), parameters, weights, RANK).dtype == torch.bfloat16


# --- selective scan ------------------------------------------------------------------------------------------------


def scan_tensors(make: Make, batch: int, height: int, width: int, channels: int, states: int) -> list[Tensor]:
    parameters = make(batch, height * width, ORDERS, RANK + 2 * states)
    return [make(batch, height, width, channels), parameters, scan_weights(make, channels, states)]


def fast_scan(*tensors: Tensor) -> Tensor:
    return selective_scan(*tensors, RANK)


def plain_scan(*tensors: Tensor) -> Tensor:
    return selective_scan_reference(*tensors, RANK)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_scan_with_numba(make: Make, threads: None, shape: tuple[int, int, int]) -> None:
    assert_same(fast_scan, plain_scan, scan_tensors(make, *shape, channels=128, states=1), FLOAT32)


@pytest.mark.parametrize("states", [2, 3, 4, 8])  # 8: more numbers per token than lanes
def test_scan_with_more_states(make: Make, states: int) -> None:
    assert_same(fast_scan, plain_scan, scan_tensors(make, 1, 6, 13, channels=64, states=states), FLOAT32)


def test_scan_with_numba_in_bfloat16(make: Make) -> None:
    tensors = scan_tensors(make, 2, 9, 8, channels=128, states=1)
    tensors[0] = tensors[0].bfloat16()
    assert_same(fast_scan, plain_scan, tensors, BFLOAT16)


def test_scan_reads_tensors_that_are_not_contiguous(make: Make) -> None:
    v, parameters, weights = scan_tensors(make, 2, 4, 6, channels=64, states=1)
    turned = v.transpose(1, 2).contiguous().transpose(1, 2)
    expected = selective_scan(v, parameters, weights, RANK)
    assert torch.equal(selective_scan(turned, parameters, weights.t().contiguous().t(), RANK), expected)


def test_scan_orders() -> None:
    rows, rows_back, columns, columns_back = scan_orders(2, 3).tolist()
    assert rows == [0, 1, 2, 3, 4, 5] and rows_back == rows[::-1]
    assert columns == [0, 3, 1, 4, 2, 5] and columns_back == columns[::-1]


def test_reference_by_hand() -> None:
    """Two tokens in a row, one state, one channel an order: every number from the recurrence in scan.py."""
    v = torch.tensor([[2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0]], dtype=torch.float64).view(1, 1, 2, 4)
    parameters = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64).expand(1, 2, ORDERS, 3).clone()
    dt_weight, bias, a, d = 0.7, -0.2, -1.5, 0.1
    weights = torch.tensor([[dt_weight], [bias], [a], [d]], dtype=torch.float64).expand(4, 4).clone()
    dt = np.log1p(np.exp(dt_weight + bias))

    def outputs(first: float, second: float) -> tuple[float, float]:
        h = dt * 0.5 * first
        later = np.exp(dt * a) * h + dt * 0.5 * second
        return 0.25 * h + d * first, 0.25 * later + d * second

    forward, backward = outputs(2, 3), outputs(3, 2)[::-1]
    y = selective_scan_reference(v, parameters, weights, 1)[0, 0].T
    assert np.allclose(y.numpy(), [forward, backward, forward, backward], rtol=1e-12)


def test_gradients_of_the_reference(make: Make) -> None:
    tensors = scan_tensors(make, 1, 2, 2, channels=4, states=2)
    assert torch.autograd.gradcheck(plain_scan, [t.double().requires_grad_() for t in tensors])


# --- on GPUs, as far as one is not needed --------------------------------------------------------------------------


def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """What mamba-ssm documents for its kernel, one step after another: u, delta [b, dim, L]; A [dim, N];
    B, C [b, G, N, L]; D, delta_bias [dim]."""
    assert u.dtype == delta.dtype and A.dtype == torch.float32 and z is None
    assert all(t.stride(-1) == 1 for t in (u, delta, B, C))
    delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    per_group = u.shape[1] // B.shape[1]
    B, C = (t.repeat_interleave(per_group, 1) for t in (B, C))  # group g holds consecutive channels
    state, steps = u.new_zeros(*u.shape[:2], A.shape[1]), []
    for t in range(u.shape[2]):
        step = delta[..., t, None]
        state = torch.exp(step * A) * state + step * B[..., t] * u[..., t, None]
        steps.append((state * C[..., t]).sum(-1) + D * u[..., t])
    return torch.stack(steps, -1)


@pytest.mark.parametrize("states", [1, 3])
def test_what_mamba_ssm_is_given(make: Make, states: int) -> None:
    tensors = scan_tensors(make, 2, 3, 5, channels=32, states=states)
    assert_same(lambda *t: scan.scan_with_mamba(selective_scan_fn, *t, RANK), plain_scan, tensors, FLOAT32)


def test_mamba_ssm_with_bfloat16(make: Make) -> None:
    v, parameters, weights = scan_tensors(make, 1, 3, 5, channels=16, states=1)
    y = scan.scan_with_mamba(selective_scan_fn, v.bfloat16(), parameters, weights, RANK)
    assert y.dtype == torch.bfloat16
    expected = selective_scan_reference(v.bfloat16().float(), parameters, weights, RANK)
    assert (y - expected).abs().max() < BFLOAT16 * expected.abs().max()


TRITON_CHECK = """
import torch
from mvc.ops import scan_triton
from tests import test_ops
scan_triton.TILE, scan_triton.CHANNELS = 8, 4  # Triton's interpreter is slow
generator = torch.Generator().manual_seed(1)
make = lambda *shape, scale=1.0: torch.randn(*shape, generator=generator) * scale
fast = lambda *t: scan_triton.selective_scan_triton(*t, test_ops.RANK)
for shape, channels, states in [((1, 3, 6), 20, 1), ((2, 1, 9), 8, 3)]:
    tensors = test_ops.scan_tensors(make, *shape, channels, states)
    test_ops.assert_same(fast, test_ops.plain_scan, tensors, test_ops.FLOAT32)
tensors[0] = tensors[0].bfloat16()
test_ops.assert_same(fast, test_ops.plain_scan, tensors, test_ops.BFLOAT16)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernels_in_the_interpreter() -> None:
    """In a process of its own: triton decides whether it interprets when it is imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", TRITON_CHECK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("states", [1, 4])
def test_scan_on_a_gpu(make: Make, states: int) -> None:
    from mvc.ops.scan_triton import selective_scan_triton

    tensors = [t.cuda() for t in scan_tensors(make, 2, 12, 11, channels=128, states=states)]
    assert_same(lambda *t: selective_scan_triton(*t, RANK).cpu(), lambda *t: plain_scan(*t).cpu(), tensors, 1e-5)
    assert_same(lambda *t: fast_scan(*t).cpu(), lambda *t: plain_scan(*t).cpu(), tensors, 1e-5)


# --- lanes -----------------------------------------------------------------------------------------------------------


@njit
def apply_exp(x, out):
    for i in range(0, x.size, lanes.WIDTH):
        lanes.store(out, i, lane_math.exp(lanes.load(x, i)))


@njit
def apply_exp2_of_small(x, out):
    for i in range(0, x.size, lanes.WIDTH):
        lanes.store(out, i, lane_math.exp2_of_small(lanes.load(x, i)))


@njit
def apply_sigmoid(x, out):
    for i in range(0, x.size, lanes.WIDTH):
        lanes.store(out, i, lane_math.sigmoid(lanes.load(x, i)))


@njit
def apply_softplus_base2(x, softplus, sigmoid):
    for i in range(0, x.size, lanes.WIDTH):
        argument = lanes.load(x, i)
        u = lane_math.falling_power_of_two(argument)
        lanes.store(softplus, i, lane_math.softplus_base2(argument, u))
        lanes.store(sigmoid, i, lane_math.sigmoid_base2(argument, u))


def arguments(low: float, high: float) -> np.ndarray:
    """Evenly spread, at every scale around 0, and the extremes: float32, a multiple of sixteen of them."""
    fine = np.geomspace(1e-30, min(-low, high), 4096)
    return np.concatenate([np.linspace(low, high, 65536), fine, -fine, np.full(16, low), np.full(16, high)]).astype(
        np.float32
    )


def relative_error(result: np.ndarray, truth: np.ndarray) -> float:
    assert np.isfinite(result).all()
    return float((np.abs(result - truth) / np.abs(truth)).max())


def test_exponentials() -> None:
    x = arguments(-87, 88)
    out = np.empty_like(x)
    apply_exp(x, out)
    assert relative_error(out, np.exp(x.astype(np.float64))) < 1e-6
    x = arguments(-126, 126)
    apply_exp2_of_small(x, out)
    assert relative_error(out, np.exp2(x.astype(np.float64))) < 3e-7


def test_sigmoid() -> None:
    x = arguments(-80, 80)
    out = np.empty_like(x)
    apply_sigmoid(x, out)
    truth = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(out - truth).max() < 2e-7
    near = np.abs(x) < 10  # further out the rounding of x * log2(e) counts
    assert relative_error(out[near], truth[near]) < 1e-6


def test_softplus() -> None:
    x = arguments(-120, 120)
    softplus, sigmoid = np.empty_like(x), np.empty_like(x)
    apply_softplus_base2(x, softplus, sigmoid)
    natural = x.astype(np.float64) * np.log(2)
    assert relative_error(softplus, np.log1p(np.exp(-np.abs(natural))) + np.maximum(natural, 0)) < 1e-6
    assert relative_error(sigmoid, 1 / (1 + np.exp(-natural))) < 1e-6


@pytest.mark.parametrize("far", [1e3, 1e30, 3e38])
def test_nothing_overflows(far: float) -> None:
    """Beyond the range of an exponential there are its limits: no infinity, no NaN."""
    x = np.array([-far, far] * 8, np.float32)
    out, slope = np.empty_like(x), np.empty_like(x)
    apply_exp(x, out)
    assert np.isfinite(out).all() and out[0] < 1e-37 and out[1] > 1e38
    apply_exp2_of_small(-np.abs(x), out)
    assert (out < 2e-38).all() and (out > 0).all()
    apply_sigmoid(x, out)
    assert out[0] < 1e-37 and out[1] == 1
    apply_softplus_base2(x, out, slope)
    assert 0 < out[0] < 1e-37 and np.isclose(out[1], far * np.log(2)) and 0 < slope[0] < 1e-37 and slope[1] == 1


def test_bfloat16_rounds_to_nearest_even() -> None:
    @njit
    def copy(x, out):
        for i in range(0, x.size, lanes.WIDTH):
            lanes.store(out, i, lanes.load(x, i))

    bits = np.random.default_rng(3).integers(0, 0x7F00 << 16, 4096, dtype=np.uint32)
    ties = (bits & 0xFFFF0000) | 0x8000
    x = np.concatenate([bits, ties]).view(np.float32)
    out, back = np.empty(x.size, np.uint16), np.empty_like(x)
    copy(x, out)
    expected = torch.from_numpy(x).bfloat16()
    assert np.array_equal(out, expected.view(torch.uint16).numpy())
    copy(out, back)
    assert np.array_equal(back, expected.float().numpy())


@pytest.mark.parametrize("count", [1, 2, 6, 7, 16, 21])
def test_totals_of_registers(count: int) -> None:
    @njit
    def totals(x, out, each):
        held = registers.registers(each)
        for i in range(len(each)):
            registers.put(held, i, lanes.load(x, i * lanes.WIDTH))
        registers.add_totals(out, 1, held)

    x = np.random.default_rng(4).integers(-1000, 1000, (count, lanes.WIDTH)).astype(np.float32)
    out = np.arange(count + 2, dtype=np.float32)
    totals(x, out, tuple(range(count)))
    assert np.array_equal(out, np.arange(count + 2) + np.concatenate([[0], x.sum(1), [0]]))
