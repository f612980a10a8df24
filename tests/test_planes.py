"""Planes of 4:2:0 packed into one array, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvc.ops import planes as ops
from mvc.planes import fitted, luma_of, mirrored, pack, transposed, unpack


def frame(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    small = -(-height // 2), -(-width // 2)
    return tuple(rng.integers(0, 256, shape, np.uint8) for shape in ((height, width), small, small))


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (5, 8), (16, 13), (31, 33)])
def test_what_is_packed_comes_back(size: tuple[int, int]) -> None:
    planes = frame(*size)
    for height, width in ((-(-size[0] // 2) * 2, -(-size[1] // 2) * 2), (48, 48)):
        packed = pack(planes, height, width)
        assert packed.shape == (height // 2, width // 2, 6) and packed.dtype == np.uint8
        back = unpack(packed, *size)
        assert all(np.array_equal(a, b) and b.flags.c_contiguous for a, b in zip(planes, back, strict=True))


def test_channels_are_the_square_and_both_chroma() -> None:
    planes = frame(6, 8)
    packed = pack(planes, 6, 8)
    assert packed[1, 3].tolist() == [*planes[0][2:4, 6:8].reshape(-1), planes[1][1, 3], planes[2][1, 3]]


def test_planes_are_continued_each_by_itself() -> None:
    planes = frame(5, 7)
    luma, u, _ = unpack(pack(planes, 16, 32), 16, 32)
    assert np.array_equal(luma, np.pad(planes[0], ((0, 11), (0, 25)), mode="edge"))
    assert np.array_equal(u, np.pad(planes[1], ((0, 5), (0, 12)), mode="edge"))
    assert np.array_equal(fitted(planes[0], 3, 9), np.pad(planes[0][:3], ((0, 0), (0, 2)), mode="edge"))


def test_tensors_and_batches_as_arrays() -> None:
    several = [frame(8, 12, seed) for seed in range(3)]
    packed = np.stack([pack(planes, 8, 12) for planes in several])
    batch = tuple(torch.from_numpy(np.stack(own)) for own in zip(*several, strict=True))
    assert np.array_equal(ops.pack(*batch).numpy(), packed)
    assert all(torch.equal(a, b) for a, b in zip(ops.unpack(torch.from_numpy(packed)), batch, strict=True))
    assert torch.equal(luma_of(torch.from_numpy(packed)), batch[0])


@pytest.mark.parametrize(("turn", "plain"), [(mirrored, np.fliplr), (transposed, np.transpose)])
def test_turned_packed_is_packed_turned(turn, plain) -> None:
    planes = frame(8, 12)
    wanted = tuple(np.ascontiguousarray(plain(plane)) for plane in planes)
    found = turn(pack(planes, 8, 12))
    assert np.array_equal(found, pack(wanted, *wanted[0].shape))
    assert np.array_equal(turn(found), pack(planes, 8, 12))
