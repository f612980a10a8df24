"""The block search: known motion, still scenes, padding, and that nothing about it depends on chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mvc.ops import warp
from mvc.ops.motion_search import search


def texture(height: int, width: int, seed: int) -> Tensor:
    """Smooth noise over all of 0 ... 255."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(1, 1, height // 8 + 2, width // 8 + 2)))
    fine = torch.from_numpy(rng.normal(size=(1, 1, height // 2 + 2, width // 2 + 2)))
    total = sum(
        weight * torch.nn.functional.interpolate(noise, size=(height, width), mode="bicubic")[0, 0]
        for noise, weight in ((coarse, 50.0), (fine, 20.0))
    )
    return (total + 128).round().clamp(0, 255).to(torch.uint8)


def moved(picture: Tensor, right: float, down: float) -> Tensor:
    """What the warp makes of it."""
    height, width = picture.shape
    motion = torch.tensor([round(8 * right), round(8 * down), 0], dtype=torch.int32).repeat(height // 8, width // 8, 1)
    half = torch.zeros(height // 2, width // 2, dtype=torch.uint8)
    return warp.predict((picture, half, half), motion)[0]


@pytest.mark.parametrize(
    ("right", "down"), [(3, -2), (-11, 7), (40, -24), (0.5, 0.0), (-0.25, 1.75), (6.5, 2.25), (-37.75, 20.5)]
)
def test_finds_a_translation(right: float, down: float) -> None:
    reference = texture(192, 256, 1)
    flow = search(moved(reference, right, down), reference, 0.1)
    assert flow.shape == (24, 32, 2) and flow.dtype == torch.float32
    inner = flow[6:-6, 6:-6]  # whose windows lie in the picture
    assert torch.equal(inner, torch.tensor([right, down]).expand_as(inner).float())


@pytest.mark.parametrize("weight", [0.02, 0.4])
def test_still_scenes_rest(weight: float) -> None:
    picture = texture(96, 128, 2)
    rng = np.random.default_rng(3)
    noisy = (picture + torch.from_numpy(rng.normal(scale=1.0, size=picture.shape))).round().clamp(0, 255)
    assert not search(picture, picture, weight).any()
    flow = search(noisy.to(torch.uint8), picture, weight)
    assert (flow != 0).any(-1).double().mean() < (0.02 if weight > 0.1 else 0.1)


def test_two_motions_part_at_blocks() -> None:
    reference = texture(128, 128, 4)
    current = reference.clone()
    current[24:64, 40:88] = reference[29:69, 37:85]  # 5 down, 3 left
    flow = search(current, reference, 0.1)
    expected = torch.zeros(16, 16, 2)
    expected[3:8, 5:11] = torch.tensor([-3.0, 5.0])
    assert (flow != expected).any(-1).sum() <= 12  # some at the borders, whose windows see both


def test_more_weight_less_motion() -> None:
    rng = np.random.default_rng(5)
    reference = texture(128, 128, 5)
    current = moved(reference, 1.25, 0.5).double() + torch.from_numpy(rng.normal(scale=12, size=reference.shape))
    flows = [search(current.round().clamp(0, 255).to(torch.uint8), reference, w) for w in (0.01, 0.1, 1.0)]
    changes = [int((f[:, 1:] != f[:, :-1]).any(-1).sum()) for f in flows]
    assert changes[0] > changes[1] > changes[2]


@pytest.mark.parametrize("inside", [(120, 100), (113, 97), (128, 113), (1, 1), (8, 128), (17, 65)])
def test_padding_is_left_out(inside: tuple[int, int]) -> None:
    """What lies in the padding changes no vector, and its blocks repeat the nearest real one's."""
    reference = texture(128, 128, 6)
    current = moved(reference, -2.5, 1.0)
    other = torch.from_numpy(np.random.default_rng(7).integers(0, 256, (128, 128), np.uint8))
    other[: inside[0], : inside[1]] = current[: inside[0], : inside[1]]
    # the small pictures of the first stages average over the border of an odd size, so their padding is the edge's
    rows, columns = torch.arange(128).clamp_max(inside[0] - 1), torch.arange(128).clamp_max(inside[1] - 1)
    edge = current[rows][:, columns]
    flow = search(edge, reference, 0.1, inside)
    if inside[0] % 8 == 0 and inside[1] % 8 == 0:
        assert torch.equal(search(other, reference, 0.1, inside), flow)
    rows, columns = torch.arange(16).clamp_max((inside[0] - 1) // 8), torch.arange(16).clamp_max((inside[1] - 1) // 8)
    assert torch.equal(flow, flow[rows][:, columns])
    if min(inside) > 90:
        assert (flow[4:11, 4:9] == torch.tensor([-2.5, 1.0])).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (48, 16), (80, 112)])
def test_every_size_and_any_content(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    a, b = (torch.from_numpy(rng.integers(0, 256, shape, np.uint8)) for _ in range(2))
    flow = search(a, b, 0.1)
    assert flow.shape == (shape[0] // 8, shape[1] // 8, 2)
    assert torch.equal((flow * 4).round() / 4, flow) and flow.abs().max() < 256


def test_search_is_deterministic() -> None:
    reference, current = texture(96, 96, 9), texture(96, 96, 10)
    before = torch.get_num_threads()
    flows = []
    try:
        for threads in (1, 3, 1):
            torch.set_num_threads(threads)
            flows.append(search(current, reference, 0.05))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(flows[0], flows[1]) and torch.equal(flows[0], flows[2])
    wide = torch.zeros(96, 192, dtype=torch.uint8)
    wide[:, ::2] = current
    assert torch.equal(search(wide[:, ::2], reference, 0.05), flows[0])  # however it lies in memory
