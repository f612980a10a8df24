"""Training frames between keyframes: slots of GOPs, the objective, the rounded estimate, recipes and starts."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_clip_lite import codec, head_of, moving
from tiny_model import CLIP_CONFIG, picture, tiny_clip_network, tiny_network

from mvc.clip_choice import index_at
from mvc.clip_runs import Turn, turns
from mvc.errors import SourceError, WeightsError
from mvc.models.base import Known
from mvc.models.estimate import RateEstimator, RoundedEstimator
from mvc.models.lite_flow import FUTURE, KEY, LAST, MOTION
from mvc.models.lite_video import LiteVideo
from mvc.models.rounding import Rounding
from mvc.planes import pack
from mvc.train.clips import ClipStore, build_clip_store
from mvc.train.data import CropStore, build_store
from mvc.train.export import export
from mvc.train.gops import Gops, InterObjective, _rounded
from mvc.train.loop import Trainer
from mvc.train.packed import Frames
from mvc.train.recipe import Recipe
from mvc.train.trained import load_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def all_parts_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks say little that is worth its bits."""
    monkeypatch.setattr("mvc.clip_encoding.cheapest", lambda attempts, samples, index: attempts[0])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        (root / str(seed)).mkdir()
        for n in range(5):
            samples = np.roll(picture(137, 151, seed=seed).samples, 3 * n, 1)
            Image.fromarray(samples).save(root / str(seed) / f"im{n}.png")
    return root


@pytest.fixture(scope="module")
def store(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "clips"
    assert build_clip_store(clips, path, packing=2) == 2
    return path


def recipe(clips: Path, store: Path, run: Path, **changes: Any) -> Recipe:
    plain = Recipe(
        pictures=str(clips), store=str(store), run=str(run), model="mambavc-ssf-lite", config=config(),
        parts=["motion", "residual"], warmup_steps=0, clip=1.0, ema=0.0, dtype="float32", batch=2, crop_px=64,
        frames=3, steps=3, log_steps=1, device="cpu", processes=1,
    )  # fmt: skip
    return Recipe.from_dict({**asdict(plain), **changes})


@cache
def _config() -> dict[str, Any]:
    values = CLIP_CONFIG.to_dict()
    values["picture"] = {k: v for k, v in values["picture"].items() if k != "packing"}
    return values


def config() -> dict[str, Any]:
    return {**_config(), "picture": dict(_config()["picture"])}


# What is drawn


def test_a_packed_store_holds_even_frames(store: Path) -> None:
    opened = ClipStore(store)
    assert opened.packing == 2 and [(e.frames, e.height, e.width) for e in opened.entries] == [(5, 136, 150)] * 2
    assert opened.clip(0).shape == (5, 68, 75, 6)


@pytest.mark.parametrize("bframes", [0, 1, 3])
def test_slots_deal_out_gops_frame_by_frame(store: Path, bframes: int) -> None:
    """A keyframe for each slot that begins, then its frames in the order and with the qualities of coding."""
    gops, rng = Gops(ClipStore(store), 5, bframes={bframes: 1.0}), np.random.default_rng(0)
    left: list[list[Turn]] = [[] for _ in range(4)]
    base = [0] * 4
    begun = 0
    for step in range(12):
        drawn = np.arange(4) + 5 * step
        made = gops.next(rng, drawn, 64, 64)
        assert made.x.shape == (4, 32, 32, 6) and made.keyframes.shape[0] == int(made.new.sum())
        assert len(made.key_quality) == len(made.keyframes)
        number = 0
        for k in range(4):
            assert bool(made.new[k]) == (not left[k])
            if made.new[k]:
                base[k], left[k] = int(drawn[k]), list(turns(len(gops.slots[k].frames), bframes))
                assert drawn[k] <= int(made.key_quality[number]) <= 63
                number += 1
                begun += 1
            turn = left[k].pop(0)
            assert made.turns[k].tolist() == [turn.number, turn.past, -1 if turn.future is None else turn.future,
                                              int(turn.future_later)]  # fmt: skip
            offset = (4 if turn.future is None else (-3, -9, -9)[turn.halved]) if bframes else 0
            expected = index_at(turn.number, base[k], 64) if not bframes else min(63, max(0, base[k] + offset))
            assert int(made.quality[k]) == expected
            shown = made.x[k].mul(255).byte().numpy()
            assert np.array_equal(shown, gops.slots[k].frames[turn.number])
    assert begun > 4 * 2
    assert bool(gops.next(rng, np.arange(4), 128, 64).new.all())  # another size begins all anew


def test_gops_follow_from_the_random_numbers_alone(store: Path, stills: Path) -> None:
    def drawn(seed: int) -> list[np.ndarray]:
        gops = Gops(ClipStore(store), 4, CropStore(stills), 0.5)
        rng = np.random.default_rng(seed)
        return [gops.next(rng, np.arange(3), 64, 64).x.numpy() for _ in range(5)]

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, path = tmp_path_factory.mktemp("stills"), tmp_path_factory.mktemp("store") / "stills"
    for seed in range(2):
        Image.fromarray(picture(330, 340, seed=seed).samples).save(folder / f"{seed}.png")
    build_store(folder, path, scales=(0.7,), smallest_px=224)
    return path


def test_frames_are_of_clips_and_of_pictures(store: Path, stills: Path) -> None:
    for share in (0.0, 1.0):
        frames = Frames(ClipStore(store), CropStore(stills), share)
        made, again = (frames.batch(np.random.default_rng(3), 4, 64) for _ in range(2))
        assert made.shape == (4, 32, 32, 6) and np.array_equal(made, again) and made[..., 4:].std() > 1


# The objective


@pytest.mark.parametrize("bframes", [0, 1])
def test_training_knows_what_coding_knows(bframes: int) -> None:
    """The flow and the numbers behind it are one: given the same, latents and samples after a step are ClipCodec's.

    But for floats that whole numbers stand for: some vectors lie near the middle of two eighths, and some symbols.
    """
    frames = moving(3, 64, 64)
    packed = [torch.from_numpy(pack(frame.planes, 64, 64))[None] for frame in frames]
    own = codec()
    objective = InterObjective(tiny_clip_network(), torch.float32).eval()
    head = head_of(frames[0], own)
    signal = own.signal(head)
    units = [unit for unit, _ in own.coded(head, frames, bframes=bframes)]
    states = {0: own.read(head, signal, units[0], None)}
    objective._begin(torch.tensor([True]), packed[0] / 255, torch.tensor([28]))
    begun = objective.known[0][0]
    assert float(((begun.latents[KEY] - states[0].latents[KEY]).abs() > 0.1).float().mean()) < 0.02
    assert float((begun.frame.int() - torch.from_numpy(states[0].samples).int()).abs().float().mean()) < 0.5

    def apart(turn: Turn, flip: bool = False) -> tuple[dict[str, float], dict[str, Any]]:
        """Shares of the latents that are others after a step, how far samples are apart, and what the step says."""
        for number, state in states.items():
            reference = signal.reference(state.samples)
            reference = reference.flip(1) if flip else reference
            objective.known[0][number] = Known(reference, dict(state.latents), dict(state.fields))
        with torch.no_grad():
            none = torch.zeros(0, 32, 32, 6)
            index = torch.tensor([units[turn.number].quality_index or 20])
            told = objective(packed[turn.number] / 255, index, torch.tensor([False]), none, index[:0], row_of(turn))
        after, state = objective.known[0][turn.number], states[turn.number]
        assert after.latents.keys() == state.latents.keys() and after.fields.keys() == state.fields.keys()
        shares = {
            name: float(((after.latents[name] - y).abs() > 0.1).float().mean()) for name, y in state.latents.items()
        }
        frame = (after.frame.int() - torch.from_numpy(state.samples).int()).abs().float()
        return shares | {"frame": float(frame.mean())}, told

    for turn in turns(3, bframes):
        unit = units[turn.number]
        if turn.future is None:
            states[turn.number] = own.read(head, signal, unit, states[turn.past])
        else:
            states[turn.number] = own.read_between(head, signal, unit, states[turn.past], states[turn.future], FUTURE)
        found, told = apart(turn)
        assert found[KEY] == 0 and found[MOTION] < 0.05 and found[LAST] < 0.15 and found["frame"] < 2
        real = 8 * len(unit.streams[0]) / 64**2
        assert float(told["bpp"]) == pytest.approx(real, rel=0.1)
        assert 0 < float(told["motion_bpp"]) < float(told["bpp"])
        others, _ = apart(turn, flip=True)  # one step with other references
        assert others[LAST] > 3 * found[LAST] and others["frame"] > 3 * found["frame"]


def row_of(*turns: Turn) -> torch.Tensor:
    """As `Step` has them."""
    return torch.tensor([(t.number, t.past, -1 if t.future is None else t.future, t.future_later) for t in turns])


FIRST = Turn(1, 0)


def test_known_frames_are_whole_samples_and_have_no_gradient() -> None:
    model = LiteVideo(CLIP_CONFIG)
    objective = InterObjective(model, torch.float32)
    x = torch.rand(2, 16, 16, 6)
    index, rows = torch.tensor([10, 50]), row_of(Turn(2, 0), FIRST)
    told = objective(x, index, torch.tensor([True, True]), x, torch.tensor([20, 60]), rows)
    told["loss"].mean().backward()
    for part in (model.motion, model.residual):
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in part.parameters())
        assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0
    # a frame between two others beside one that is not; the numbers of both stand where they were asked for
    none = torch.zeros(0, 16, 16, 6)
    told = objective(x, index, torch.tensor([False, False]), none, index[:0], row_of(Turn(1, 0, 2), Turn(2, 1)))
    told["loss"].mean().backward()
    assert set(objective.known[0]) == {0, 1, 2}
    objective.eval()
    rows = row_of(Turn(1, 0, 2), Turn(2, 1))
    with torch.no_grad():
        one = objective(x, index, torch.tensor([False, False]), none, index[:0], rows)
        objective.known.reverse()
        other = objective(x.flip(0), index.flip(0), torch.tensor([False, False]), none, index[:0], rows.flip(0))
    torch.testing.assert_close({name: own.flip(0) for name, own in one.items()}, other)
    for slot in objective.known:
        for known in slot.values():
            assert known.frame.dtype == torch.uint8
            assert not any(value.requires_grad for value in (*known.latents.values(), *known.fields.values()))
    assert torch.equal(_rounded(torch.tensor([-1.0, 0.5, 2.0, float("nan")])), torch.tensor([0, 128, 255, 0]).byte())


def test_a_slot_that_begins_takes_its_keyframe() -> None:
    """The others keep what they have."""
    objective = InterObjective(LiteVideo(CLIP_CONFIG), torch.float32)
    x, index = torch.rand(2, 16, 16, 6), torch.tensor([20, 60])
    objective._begin(torch.tensor([True, True]), x, index)
    before = [slot[0].latents[KEY] for slot in objective.known]
    objective._begin(torch.tensor([False, True]), 1 - x[1:], index[1:])
    assert torch.equal(objective.known[0][0].latents[KEY], before[0])
    assert not torch.equal(objective.known[1][0].latents[KEY], before[1])


def test_rounded_estimates_have_the_bits_of_rounded_values_and_gradients_of_noise() -> None:
    torch.manual_seed(0)
    density, index = tiny_network().density, torch.tensor([20])
    values = [torch.randn(1, 4, 6, 16, requires_grad=True) for _ in range(3)]
    y, mean, log_scale = values
    z = (3 * torch.randn(1, 2, 2, 16)).requires_grad_()
    plain, rounded = (kind(density, index, noise) for kind, noise in ((RateEstimator, False), (RoundedEstimator, True)))
    with torch.no_grad():
        expected = [plain.hyper(z), plain.latent(y, mean, log_scale, None)]
    found = [rounded.hyper(z), rounded.latent(y, mean, log_scale, None)]
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other)
    torch.testing.assert_close(rounded.bits, plain.bits, rtol=1e-4, atol=1e-3)
    gradients = torch.autograd.grad(rounded.bits.sum(), [y, z, log_scale, mean], retain_graph=True)
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in gradients)
    # those of the prior: what rounded values cost, by scale, as differences of that cost have it
    step = 1e-3
    with torch.no_grad():
        costs = []
        for sign in (1, -1):
            moved = RateEstimator(density, index, False)
            offset = torch.zeros_like(log_scale)
            offset[0, 1, 2, 3] = sign * step
            moved.latent(y, mean, log_scale + offset, None)
            costs.append(float(moved.latent_bits))
    assert float(gradients[2][0, 1, 2, 3]) == pytest.approx((costs[0] - costs[1]) / (2 * step), abs=0.05)
    # those of values are of noise: drawn again they are others, while the bits stay
    again = RoundedEstimator(density, index, True)
    again.hyper(z)
    again.latent(y, mean, log_scale, None)
    torch.testing.assert_close(again.bits, rounded.bits)
    assert not torch.equal(torch.autograd.grad(again.bits.sum(), y)[0], gradients[0])


def test_a_dead_zone_brings_values_nearer_to_their_means() -> None:
    density, index = tiny_network().density, torch.tensor([20])
    offsets = torch.tensor([0.55, -0.55, 0.7, -1.6, 1.7, 0.05]).repeat(1, 1, 1, 16)[..., :16].contiguous()
    mean, log_scale = torch.full_like(offsets, 0.25), torch.ones_like(offsets)
    estimator = RoundedEstimator(density, index, True, rounding=Rounding(deadzone=0.15))
    symbols = (estimator.latent(mean + offsets, mean, log_scale, None) - mean).round()[0, 0, 0]
    assert symbols[:6].tolist() == [0, 0, 1, -1, 2, 0]
    plain = RateEstimator(density, index, False)
    plain.latent(mean + symbols, mean, log_scale, None)
    torch.testing.assert_close(estimator.latent_bits, plain.latent_bits)


def test_where_nothing_moves_motion_is_left_out_of_a_batch() -> None:
    """As ClipCodec leaves it out: no bits, no latents, and the frame before is the prediction."""
    torch.manual_seed(0)
    objective = InterObjective(LiteVideo(CLIP_CONFIG), torch.float32)
    none, index = torch.zeros(0, 32, 32, 6), torch.tensor([30, 30])
    frame = torch.from_numpy(pack(moving(1, 64, 64)[0].planes, 64, 64))[None].repeat(2, 1, 1, 1)
    objective._begin(torch.tensor([True, True]), frame / 255, index)
    still = objective.known[0][0].frame.float() / 255
    x = torch.cat([still, still.roll(2, 2)])
    told = objective(x, index, torch.tensor([False, False]), none, index[:0], row_of(FIRST, FIRST))
    assert told["motion_bpp"][0] == 0 and told["motion_bpp"][1] > 0
    moved = [bool(slot[1].latents[MOTION].any()) for slot in objective.known]
    assert moved == [False, True]
    told["loss"].mean().backward()  # and all of it can be trained


# Recipes and runs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ["sound"]}, "parts: 'sound' should be one of picture, motion, residual"),
        ({"frames": 1}, "frames = 1 should be at least 2: mambavc-ssf-lite codes clips"),
        ({"parts": ["picture"]}, "frames = 3 should be 1"),
        ({"frames": 0}, "frames = 0 should be at least 2"),
        ({"rd_lambda": 0.1}, "rd_lambda = 0.1 should be left out"),
        ({"ms_ssim": 0.1, "crop_px": 128}, "ms_ssim = 0.1 should be left out"),
        ({"crop_px": 96}, "crop_px = 96 should be a multiple of 64"),
        ({"config": {"motion": 4}}, "config: widths"),
        ({"config": {"picture": {"packing": 1}}}, "config: packing = 1 should be 2"),
        ({"start": 3}, "start = 3 should be of type str"),
    ],
)
def test_recipe_errors_name_the_field(
    clips: Path, store: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        recipe(clips, store, tmp_path, **change)


def test_a_store_of_the_other_kind_is_refused(clips: Path, tmp_path: Path) -> None:
    build_clip_store(clips, tmp_path / "rgb")
    with pytest.raises(SourceError, match="holds samples of another kind than mambavc-ssf-lite takes"):
        Trainer(recipe(clips, tmp_path / "rgb", tmp_path / "run"))


def test_keyframes_then_frames_then_weights(clips: Path, store: Path, tmp_path: Path) -> None:
    """The second run begins with the first one's weights and changes what it says alone; its export codes clips."""
    key = recipe(clips, store, tmp_path / "key", parts=["picture"], frames=1)
    first = Trainer(key)
    assert first.train()
    second = recipe(clips, store, tmp_path / "inter", start=str(key.checkpoint))
    trainer = Trainer(second)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for name, value in load_checkpoint(key.checkpoint)[0].state_dict().items():
        assert torch.equal(before[name], value)
    assert trainer.train()
    after = trainer.model.state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"motion", "residual"}
    weights = export(second.checkpoint, tmp_path / "weights")
    assert weights.name == "mambavc-ssf-lite" and list(weights.networks) == ["picture", "motion", "residual"]


def test_what_does_not_fit_starts_nothing(clips: Path, store: Path, tmp_path: Path) -> None:
    key = recipe(clips, store, tmp_path / "key", parts=["picture"], frames=1, steps=1)
    Trainer(key).train()
    with pytest.raises(WeightsError, match="does not fit the recipe's model"):
        other = config() | {"motion": 24}
        Trainer(replace(recipe(clips, store, tmp_path / "other", config=other), start=str(key.checkpoint)))
    (tmp_path / "none.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="is not a checkpoint"):
        Trainer(recipe(clips, store, tmp_path / "third", start=str(tmp_path / "none.pt")))
