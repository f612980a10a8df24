"""The search for motion that predicts better: what it promises, on a tiny random model and on the shipped one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_clip_lite import codec, coded, decoded, equal, moving
from tiny_model import tiny_clip_weights

from mvc.clip import ClipCodec
from mvc.codec import Codec
from mvc.effort import motion
from mvc.effort.motion import Motion
from mvc.frames import Frame
from mvc.models.base import Moving
from mvc.models.rounding import NEAREST
from mvc.models.weights import folder_of, load
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(autouse=True)
def all_parts_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks say little that is worth its bits."""
    monkeypatch.setattr("mvc.clip_encoding.cheapest", lambda attempts, samples, index: attempts[0])


def apart(count: int) -> list[Frame]:
    """Two parts of a photograph that slide over each other, 0.75 and 1.5 pixels a frame."""
    photo = Image.open(SAMPLES / "kodim03.png").convert("RGB")
    frames = []
    for n in range(count):
        upper, lower = (
            photo.resize((128, 64), Image.Resampling.LANCZOS, box=(100 + shift * n, top, 356 + shift * n, top + 128))
            for shift, top in ((1.5, 150), (-3.0, 280))
        )
        samples = np.vstack([np.asarray(upper), np.asarray(lower)])
        frames.append(Frame.of_picture(Picture(samples), n).converted("yuv420p"))
    return frames


@contextmanager
def observed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """The arguments and results of every search meanwhile."""
    seen: list[tuple[Any, ...]] = []
    refined = Motion.refined

    def kept(self: Motion, *arguments: Any) -> torch.Tensor:
        seen.append((self, arguments, refined(self, *arguments)))
        return seen[-1][-1]

    with monkeypatch.context() as context:
        context.setattr(Motion, "refined", kept)
        yield seen


def test_the_floats_are_nearly_what_the_integers_are() -> None:
    network = tiny_clip_weights().networks["motion"]
    own, index = Motion(network), torch.tensor([30])
    y_hat = torch.randint(-9, 10, (1, 4, 6, network.model.config.motion)).float()
    exact, close = network.model.synthesise(y_hat, index), own.synthesis(y_hat, index)
    assert float((exact - close).abs().max()) <= 0.25 and float((exact == close).float().mean()) > 0.9


@pytest.mark.parametrize("effort", [2, 3])
def test_both_ends_have_what_was_found(effort: int) -> None:
    frames = moving(3)
    own = ClipCodec(Codec(tiny_clip_weights()))
    state = torch.random.get_rng_state()
    units, known, data = coded(frames, own, effort=effort)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert equal(decoded(data), known)
    assert coded(frames, codec(), effort=effort)[2] == data  # its noise is its own
    assert [unit.role for unit in units] == ["picture", "inter", "inter"]


def test_quick_efforts_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    with observed(monkeypatch) as seen:
        coded(moving(2), effort=0)
        assert not seen
        coded(moving(2), effort=3)
        assert seen


def test_padding_costs_nothing() -> None:
    own = Motion(tiny_clip_weights().networks["motion"])
    index, channels = torch.tensor([30]), own.prior.channels
    generator = torch.Generator().manual_seed(1)
    y, z = torch.randn(1, 4, 4, channels, generator=generator), torch.zeros(1, 1, 1, channels)
    given = torch.zeros(1, 4, 4, own.prior.temporal.inp.weight.shape[1])
    frame = torch.rand(1, 32, 32, 6, generator=generator)
    reference = (255 * torch.rand(1, 32, 32, 6, generator=generator)).to(torch.uint8)
    other = frame.clone()
    other[:, 20:], other[:, :, 25:] = 0.5, 1.0
    of = Moving(reference)
    found = [own.refined(y, z, given, own_frame, of, (40, 50), index, 5) for own_frame in (frame, other)]
    assert torch.equal(*found) and not torch.equal(found[0], y)


def test_shipped_weights_take_fewer_bytes_and_make_fewer_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    own, frames = ClipCodec(Codec(load(folder_of("mambavc-ssf-lite")))), apart(4)
    monkeypatch.setattr(own.codec.model, "rounding", NEAREST)  # of the keyframe, which is not what is measured here

    def cost(iterations: int) -> float:
        monkeypatch.setattr(motion, "ITERATIONS", (iterations,) * 4)
        _, known, data = coded(frames, own, index=45)
        errors = (a.planes[0].astype(float) - b.planes[0] for a, b in zip(frames, known, strict=True))
        squares = sum(float(np.square(error).sum()) for error in errors)
        return 8 * len(data) + float(own.codec.model.lagrangian(45)) * squares

    costs = [cost(iterations) for iterations in (0, 8, 32)]
    assert costs[2] < costs[1] < costs[0] and costs[2] < 0.985 * costs[0]
