"""Which symbols an encoder chooses (mvc/models/rounding.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import picture, tiny_codec

import mvc.codec
from mvc.effort.search import _Symbols
from mvc.entropy.tables import ROWS_PER_OCTAVE, SCALE_ROWS
from mvc.exact.fixed import COARSE, shift_round
from mvc.media import read_picture
from mvc.models.lite import MambaVCLite
from mvc.models.rounding import FARTHEST, NEAREST, Rounding
from mvc.models.weighing import rd_lambda
from mvc.ops.rate import step_bits
from mvc.picture import Picture

SAMPLES = Path(__file__).parent.parent / "samples"
ROWS = torch.arange(SCALE_ROWS)[:, None]
DISTANCE = torch.linspace(-2.4, 2.4, 481, dtype=torch.float64).expand(SCALE_ROWS, -1)


def test_ones_become_zeros_where_that_saves_their_bits() -> None:
    nearest = DISTANCE.round()
    log_scale = (ROWS / ROWS_PER_OCTAVE).expand_as(DISTANCE)
    found = Rounding(thrift=0.05).taken(DISTANCE, torch.zeros(1), log_scale).round()
    _, saved, _ = step_bits(torch.ones(SCALE_ROWS, 1).double(), ROWS.double() / ROWS_PER_OCTAVE)
    allowed = (0.5 - 0.05 * saved).clamp(0.5, FARTHEST)
    assert torch.equal(found == 0, (DISTANCE.abs() < allowed) | (nearest == 0))
    assert torch.equal(found[found != 0], nearest[found != 0])
    zeros = (found == 0).sum(1)
    assert zeros[0] > zeros[20] > zeros[-1]  # a one of a narrow density costs most
    assert NEAREST.taken(DISTANCE, torch.zeros(1), log_scale) is DISTANCE
    fixed = (DISTANCE * COARSE.one).round()
    assert torch.equal(NEAREST.symbols(fixed, ROWS, COARSE), shift_round(fixed, COARSE.fraction_bits))
    lost = Rounding(thrift=0.05).taken(DISTANCE, torch.zeros(1), log_scale * torch.nan)
    assert lost.shape == DISTANCE.shape  # of what is no number nothing is said, but nothing ends


def test_all_numbers_mean_the_same() -> None:
    """Integers in units of the grid, which a file is written with, and the floats of the search."""
    one, rounding = COARSE.one, Rounding(thrift=0.02)
    fixed = 2 * (DISTANCE * one / 2).round() + 1  # never between two symbols: floats round that in another way
    rows = ROWS.expand_as(fixed)
    as_floats = rounding.symbols(fixed, rows.double(), COARSE)
    as_integers = rounding.symbols(fixed.long(), rows, COARSE)
    assert as_floats.dtype == torch.float64 and torch.equal(as_floats.long(), as_integers)
    in_steps = rounding.taken(fixed / one, torch.zeros(1), rows / ROWS_PER_OCTAVE).round()
    assert (in_steps != as_floats).float().mean() < 1e-3  # thresholds are whole units there
    coder = _Symbols(torch.float32, rounding)
    log_scale = (rows / ROWS_PER_OCTAVE).float()
    values = coder.latent(fixed.float() / one, torch.zeros(1), log_scale, None)
    assert (values != in_steps.float()).float().mean() < 1e-3


def test_the_encoder_and_nobody_else_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, source = tiny_codec(), picture(70, 90)
    monkeypatch.setattr(codec.model, "rounding", Rounding(thrift=0.05))
    thrifty = codec.encode(source, 30, effort=0)
    shown = codec.decode(thrifty).samples
    monkeypatch.setattr(codec.model, "rounding", NEAREST)
    assert thrifty != codec.encode(source, 30, effort=0)
    assert np.array_equal(codec.decode(thrifty).samples, shown)


@pytest.mark.parametrize("effort", [0, 1])
def test_it_pays(monkeypatch: pytest.MonkeyPatch, effort: int) -> None:
    """Bits and squared error together, weighed as in training, of a photograph with the shipped weights."""
    codec = mvc.codec.load()
    own = read_picture(SAMPLES / "kodim23.png").picture.samples[100:356, 200:584]
    source = Picture(np.ascontiguousarray(own))

    def cost(index: int) -> tuple[int, float]:
        data = codec.encode(source, index, effort)
        error = np.square(codec.decode(data).samples.astype(float) - own).sum() / 3
        return len(data), 8 * len(data) + float(rd_lambda(torch.tensor(index))) * error

    thrifty = [cost(index) for index in (15, 35, 55)]
    assert codec.model.rounding == MambaVCLite.rounding != NEAREST
    monkeypatch.setattr(codec.model, "rounding", NEAREST)
    nearest = [cost(index) for index in (15, 35, 55)]
    assert all(own[0] < other[0] for own, other in zip(thrifty, nearest, strict=True))
    assert sum(own[1] for own in thrifty) < sum(other[1] for other in nearest)
