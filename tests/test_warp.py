"""The warp: kernels against their plain definition, bit for bit, and its gradient against finite differences."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from mvc.ops import planes, warp, warp_numba, warp_torch

SIZES = [(16, 16), (16, 48), (48, 32), (80, 64)]
# amplitude of the flow and range of the scale, both in eighths
KINDS = {
    "still": (0, (0, 0)),
    "sub-pixel": (7, (0, 0)),
    "negative scales": (40, (-40, 0)),
    "a little blur": (40, (-3, 5)),
    "each level": (40, (0, 24)),
    "beyond the levels": (24, (-60, 60)),
    "out of the picture": (2000, (-8, 30)),
    "the most a decoder meets": (1 << 20, (-(1 << 20), 1 << 20)),
}


def frame(height: int, width: int, seed: int) -> warp.Planes:
    """Noise, with runs of black and white so that the cubic overshoots."""
    rng = np.random.default_rng(seed)

    def plane(h: int, w: int) -> Tensor:
        noise = rng.integers(-200, 456, (h, w)).clip(0, 255)
        return torch.from_numpy(noise.astype(np.uint8))

    return plane(height, width), plane(height // 2, width // 2), plane(height // 2, width // 2)


def field(height: int, width: int, amplitude: int, scales: tuple[int, int], seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    motion = rng.integers(-amplitude, amplitude + 1, (height // 8, width // 8, 3), np.int32)
    motion[..., 2] = rng.integers(scales[0], scales[1] + 1, motion.shape[:2])
    return torch.from_numpy(motion)


def same(a: warp.Planes, b: warp.Planes) -> bool:
    return all(torch.equal(x, y) and x.dtype == torch.uint8 for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_are_the_definition(kind: str) -> None:
    for (height, width), seed in itertools.product(SIZES, range(3)):
        reference, motion = frame(height, width, seed), field(height, width, *KINDS[kind], seed)
        assert same(warp.predict(reference, motion), warp.predict_reference(reference, motion)), (height, width)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(threads: int) -> None:
    reference, motion = frame(80, 64, 0), field(80, 64, 40, (-8, 24), 0)
    one = warp.predict(reference, motion)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert same(warp.predict(reference, motion), one)
    finally:
        torch.set_num_threads(before)


def batch(kind: str, height: int = 48, width: int = 32) -> tuple[Tensor, Tensor]:
    """Packed frames [3, H/2, W/2, 6] and motion in pixels and levels."""
    frames = torch.stack([planes.pack(*frame(height, width, seed)) for seed in range(3)])
    return frames, torch.stack([field(height, width, *KINDS[kind], seed) for seed in range(3)]) / 8


def gradient(method: type[torch.autograd.Function], reference: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """A prediction, and the gradient of its product with noise, on the CPU."""
    leaf = motion.clone().requires_grad_()
    out = method.apply(reference, leaf)
    noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.device)
    (found,) = torch.autograd.grad((out * noise).sum(), leaf)
    return out.detach().cpu(), found.cpu()


@pytest.mark.parametrize("kind", KINDS)
def test_torch_warps_as_the_kernels_do(kind: str) -> None:
    """What trains on a GPU: the same samples, and the same gradient but for the order of its sums."""
    reference, motion = batch(kind)
    ours, expected = (gradient(method, reference, motion) for method in (warp_torch.TorchWarp, warp._Warp))
    assert torch.equal(ours[0], expected[0])
    assert (ours[1] - expected[1]).abs().max() < 1e-5 * expected[1].abs().max().clamp_min(1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_warps_as_the_cpu_does(kind: str) -> None:
    reference, motion = batch(kind)
    ours = gradient(warp_torch.TorchWarp, reference.cuda(), motion.cuda())
    expected = gradient(warp._Warp, reference, motion)
    # a GPU divides by 255 by a product with its inverse, which may round the other way
    assert torch.equal((255 * ours[0]).round(), (255 * expected[0]).round())
    assert (ours[0] - expected[0]).abs().max() < 1e-7
    assert (ours[1] - expected[1]).abs().max() < 1e-4 * expected[1].abs().max().clamp_min(1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_predicts_the_same() -> None:
    for kind, (height, width) in itertools.product(KINDS, SIZES):
        reference, motion = frame(height, width, 0), field(height, width, *KINDS[kind], 0)
        y, u, v = warp.predict((reference[0].cuda(), reference[1].cuda(), reference[2].cuda()), motion.cuda())
        assert same((y.cpu(), u.cpu(), v.cpu()), warp.predict(reference, motion))


def test_smooth_and_constant_fields_too() -> None:
    """Spans of one flow go another way through the kernel than others."""
    reference = frame(96, 96, 1)
    for right, down in itertools.product((-800, -13, -8, 0, 1, 4, 16, 90, 800), repeat=2):
        motion = torch.tensor([right, down, 0], dtype=torch.int32).repeat(12, 12, 1)
        assert same(warp.predict(reference, motion), warp.predict_reference(reference, motion))
        motion[..., 0] += torch.arange(12, dtype=torch.int32) // 5
        assert same(warp.predict(reference, motion), warp.predict_reference(reference, motion))


def test_values_beyond_the_bound_are_held_to_it() -> None:
    reference, motion = frame(32, 32, 2), field(32, 32, 1 << 20, (-9, 9), 2)
    motion[0, 0] = torch.tensor([2**31 - 1, -(2**31), 2**31 - 1])
    held = motion.clamp(-(1 << 20), 1 << 20)
    assert same(warp.predict(reference, motion), warp.predict(reference, held))
    assert same(warp.predict(reference, motion), warp.predict_reference(reference, motion))


def test_whole_flow_copies() -> None:
    y, u, v = frame(64, 64, 3)
    motion = torch.tensor([16 * 3, -16 * 2, -5], dtype=torch.int32).repeat(8, 8, 1)  # 6 right, 4 up
    rows, columns = torch.arange(64), torch.arange(64)
    expected = y[(rows - 4).clamp_min(0)][:, (columns + 6).clamp_max(63)]
    chroma = [p[(rows[:32] - 2).clamp_min(0)][:, (columns[:32] + 3).clamp_max(31)] for p in (u, v)]
    assert same(warp.predict((y, u, v), motion), (expected, *chroma))


def test_half_a_pixel_is_the_cubic() -> None:
    ramp = torch.tensor([0, 0, 0, 0, 64, 128, 128, 128], dtype=torch.uint8).repeat(16, 2)
    flat = torch.full((8, 8), 77, dtype=torch.uint8)
    motion = torch.tensor([4, 0, 0], dtype=torch.int32).repeat(2, 2, 1)
    y, u, _ = warp.predict((ramp, flat, flat), motion)
    assert y[5, 3] == (-5 * 0 + 37 * 0 + 37 * 64 - 5 * 128 + 32) // 64
    assert torch.equal(u, flat)  # taps add up to one


def test_scale_blurs() -> None:
    reference = frame(64, 64, 4)
    spread = []
    for scale in (0, 4, 8, 16, 24, 99):
        motion = torch.tensor([0, 0, scale], dtype=torch.int32).repeat(8, 8, 1)
        spread.append(float(warp.predict(reference, motion)[0].double().std()))
    assert spread == sorted(spread, reverse=True) and spread[0] > 1.4 * spread[1] and spread[0] > 3 * spread[2]
    assert spread[4] == spread[5]


def test_taps() -> None:
    taps = warp_numba.TAPS
    assert taps.shape == (16, 4) and (taps.sum(1) == 64).all()
    assert (taps[1:] == taps[:0:-1, ::-1]).all()


def test_known_prediction() -> None:
    """The numbers of this format: another sum here is another format."""
    reference, motion = frame(64, 48, 5), field(64, 48, 60, (-10, 30), 5)
    digest = hashlib.sha256(b"".join(p.numpy().tobytes() for p in warp.predict(reference, motion)))
    assert digest.hexdigest()[:16] == "f571e6b9acc10c58"


# --- packing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_packing(kind: str) -> None:
    reference = frame(32, 48, 6)
    parts = tuple(p.numpy() if kind == "numpy" else p for p in reference)
    packed = planes.pack(*parts)
    assert packed.shape == (16, 24, 6) and packed.dtype == parts[0].dtype
    square = [parts[0][6, 8], parts[0][6, 9], parts[0][7, 8], parts[0][7, 9], parts[1][3, 4], parts[2][3, 4]]
    assert packed[3, 4].tolist() == [int(value) for value in square]
    for a, b in zip(planes.unpack(packed), parts, strict=True):
        assert a.dtype == b.dtype and (a == b).all()
    batch = planes.pack(*(torch.stack([p, p]).float() for p in reference))
    assert batch.shape == (2, 16, 24, 6)
    assert torch.equal(planes.unpack(batch)[0][1], reference[0].float())


# --- training ---------------------------------------------------------------------------------------------------------


def float_prediction(reference: warp.Planes, motion: Tensor) -> list[Tensor]:
    """The warp in float64, nothing rounded; motion float64 in pixels and levels."""

    def cubic(t: Tensor) -> Tensor:
        a, t = -0.6, t.abs()
        near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
        return torch.where(t < 1, near, torch.where(t < 2, far, torch.zeros_like(t)))

    def linear(t: Tensor) -> Tensor:
        return (1 - t.abs()).clamp_min(0)

    out = []
    for plane, size in zip(reference, (8, 4, 4), strict=True):
        height, width = plane.shape
        dense = torch.nn.functional.interpolate(motion.permute(2, 0, 1)[None], scale_factor=size, mode="bilinear")[0]
        flow = dense[:2] * (size / 8)
        x, y = torch.arange(width) + flow[0], torch.arange(height)[:, None] + flow[1]
        samples = []
        for level, kernel in zip(warp_torch.blurs(plane), (cubic, linear, linear, linear), strict=True):
            total = torch.zeros_like(x)
            for i, j in itertools.product(range(-1, 3), repeat=2):
                row, column = y.floor() + i, x.floor() + j
                values = level[row.long().clamp(0, height - 1), column.long().clamp(0, width - 1)].double()
                total = total + kernel(y - row) * kernel(x - column) * values
            samples.append(total)
        scale = dense[2].clamp(0, 3)
        out.append(sum((linear(scale - k) * sample for k, sample in enumerate(samples)), torch.zeros_like(x)) / 255)
    return out


def smooth_frame(height: int, width: int, seed: int) -> warp.Planes:
    def smooth(plane: Tensor) -> Tensor:
        return warp_torch.blurs(plane)[2].to(torch.uint8)

    y, u, v = frame(height, width, seed)
    return smooth(y), smooth(u), smooth(v)


@pytest.mark.parametrize(
    ("name", "constant"),
    [("sharp", (1.125, -2.5, -0.25)), ("between", (0.375, 0.625, 0.5)), ("blurred", (-1.25, 0.5, 2.25))],
)
def test_gradient_is_that_of_finite_differences(name: str, constant: tuple[float, float, float]) -> None:
    height, width, step = 48, 64, 1e-4
    reference = smooth_frame(height, width, 7)
    motion = torch.tensor(constant).repeat(height // 8, width // 8, 1)
    rng = np.random.default_rng(8)
    weights = [torch.from_numpy(rng.normal(size=p.shape)) for p in reference]

    def value(moved: Tensor) -> float:
        return sum(float((w * p).sum()) for w, p in zip(weights, float_prediction(reference, moved), strict=True))

    leaf = motion[None].clone().requires_grad_()
    (warp.warp(planes.pack(*reference)[None], leaf) * planes.pack(*weights)[None]).sum().backward()
    found, expected = [], []
    for block in [(0, 0), (2, 2), (3, 5), (5, 7)]:
        for k in range(3 if name != "sharp" else 2):
            ends = []
            for sign in (1, -1):
                moved = motion.double().clone()
                moved[(*block, k)] += sign * step
                ends.append(value(moved))
            expected.append((ends[0] - ends[1]) / (2 * step))
            found.append(float(leaf.grad[(0, *block, k)]))
    error = np.subtract(found, expected)
    assert np.linalg.norm(error) < 0.05 * np.linalg.norm(expected), np.c_[found, expected]


def test_forward_is_the_prediction_of_each_sample() -> None:
    frames = [frame(32, 48, seed) for seed in range(3)]
    fields = torch.stack([field(32, 48, 40, (-8, 20), seed) for seed in range(3)])
    packed = torch.stack([planes.pack(*f) for f in frames])
    out = warp.warp(packed, fields / 8)
    assert out.dtype == torch.float32
    for b, reference in enumerate(frames):
        assert torch.equal(out[b] * 255, planes.pack(*warp.predict(reference, fields[b])).float())


@pytest.mark.parametrize("scale", [-3.0, -1.0, -0.5, 0.0, 1.0, 2.0, 3.0, 3.5])
def test_gradient_of_the_scale_where_it_is_held(scale: float) -> None:
    """A target that is blurred, or sharp, asks for more, or less, scale; outside 0 ... 3 one of them is heard."""
    reference = planes.pack(*frame(64, 64, 9))[None]
    levels = [torch.tensor([0.0, 0.0, s]).repeat(1, 8, 8, 1) for s in (0.0, 3.0)]
    sharp, blurred = (warp.warp(reference, level) for level in levels)
    sums = []
    for push in (sharp - blurred, blurred - sharp):  # along a descent, the first blurs
        motion = torch.tensor([0.0, 0.0, scale]).repeat(1, 8, 8, 1).requires_grad_()
        (warp.warp(reference, motion) * push).sum().backward()
        sums.append(float(motion.grad[..., 2].sum()))
    assert (sums[0] < 0) == (-1 < scale <= 3)
    assert (sums[1] > 0) == (scale > 0)


def test_motion_is_found_by_descent() -> None:
    reference = smooth_frame(64, 64, 10)
    packed = planes.pack(*reference)[None]
    truth = torch.tensor([1.5, -0.75, 0.0]).repeat(1, 8, 8, 1)
    target = warp.warp(packed, truth)
    motion = torch.zeros_like(truth).requires_grad_()
    for step in range(60):
        rounded = motion + ((motion * 8).round() / 8 - motion).detach()
        loss = (warp.warp(packed, rounded) - target).square().sum()
        (gradient,) = torch.autograd.grad(loss, motion)
        with torch.no_grad():
            motion[..., :2] -= 0.08 * (1 - step / 60) * gradient[..., :2].sign()
    assert (motion.detach() - truth)[0, 1:-1, 1:-1, :2].abs().mean() < 0.15
