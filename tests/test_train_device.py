"""Training on a GPU, as far as a CPU can show it: the same crops, batches ahead of their step, and nobody who waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_train_gops import clips, recipe, store  # noqa: F401 (fixtures, and the recipe for clips)
from tiny_model import CONFIG, picture
from torch.utils._python_dispatch import TorchDispatchMode

from mvc.errors import BackendError
from mvc.models.lite import Config
from mvc.ops.parallel import each
from mvc.train import captured
from mvc.train.augment import Augment, recoloured
from mvc.train.captured import WARM_UP
from mvc.train.clips import ClipStore
from mvc.train.data import CropStore, build_store
from mvc.train.device_crops import Ahead, DeviceCrops, changed
from mvc.train.gops import Gops
from mvc.train.loop import Trainer, hold
from mvc.train.optim import MuonAdamW
from mvc.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        Image.fromarray(picture(224, 256, seed=seed).samples).save(folder / f"{seed}.png")
    path = tmp_path_factory.mktemp("store") / "train"
    build_store(folder, path, smallest_px=64)
    return path


def still(crops: Path, run: Path, **changes: Any) -> Recipe:
    config = {key: value for key, value in CONFIG.to_dict().items() if value != getattr(Config(), key)}
    values: dict[str, Any] = {"warmup_steps": 0, "batch": 4, "crop_px": 64, "device": "cpu", "dtype": "float32"}
    return Recipe(pictures=".", store=str(crops), run=str(run), config=config, **values | changes)


# Crops


def test_crops_are_those_that_the_cpu_draws(crops: Path) -> None:
    opened = CropStore(crops)
    there = DeviceCrops(opened, "cpu")
    for seed in range(6):
        expected = opened.batch(np.random.default_rng(seed), 8, 64)
        found = there.batch(np.random.default_rng(seed), 8, 64)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.mul(255).round().byte().numpy(), expected)


def test_crops_that_must_be_enlarged_are_left_to_the_cpu(crops: Path, tmp_path: Path) -> None:
    opened = CropStore(crops)
    assert DeviceCrops.of(opened, "cpu", still(crops, tmp_path)) is not None
    assert DeviceCrops.of(opened, "cpu", still(crops, tmp_path, stages=[[5, 4, 192]])) is None
    assert DeviceCrops.of(object(), "cpu", still(crops, tmp_path)) is None


def test_colours_change_as_on_the_cpu() -> None:
    samples = np.stack([picture(64, 64, seed=seed).samples for seed in range(5)])
    found = changed(Augment(jitter=0.6), np.random.default_rng(4), torch.from_numpy(samples).float(), np.ones(5, bool))
    rng = np.random.default_rng(4)
    chosen, _, _ = rng.random(5) < 0.6, rng.random(5), rng.uniform(0, 0, 5)
    assert 0 < chosen.sum() < 5
    for own, crop, is_changed in zip(found.numpy(), samples.astype(np.float32), chosen, strict=True):
        expected = np.clip(np.rint(recoloured(rng, crop)), 0, 255) if is_changed else crop
        assert np.abs(own - expected).max() <= 1  # a half may be rounded either way
        assert (own != expected).mean() < 0.01


def test_photographs_alone_get_noise() -> None:
    gray = torch.full((64, 32, 32, 3), 128.0)
    photographs = np.arange(64) < 32
    found = changed(Augment(grain=3.0), np.random.default_rng(0), gray, photographs)
    assert torch.equal(found[32:], gray[32:]) and torch.equal(found, found.round())
    spread = found[:32].std((1, 2, 3))
    assert 8 <= int((spread > 0).sum()) <= 24 and 1.0 < float(spread.max()) < 3.5


# Ahead of the step


def test_batches_are_made_ahead_and_in_order() -> None:
    made: list[int] = []

    def make(step: int) -> tuple[torch.Tensor]:
        made.append(step)
        if step == 5:
            raise ValueError("nothing to draw")
        return (torch.tensor(step),)

    ahead = Ahead(make)
    assert [int(ahead.take(step)[0]) for step in range(2, 5)] == [2, 3, 4]
    with pytest.raises(ValueError, match="nothing to draw"):
        ahead.take(5)
    assert made[:4] == [2, 3, 4, 5]


def test_sequences_made_side_by_side_follow_from_the_random_numbers(store: Path) -> None:  # noqa: F811
    steps = []
    for _ in range(2):
        gops = Gops(ClipStore(store), 3)
        gops.threads = 4
        rng = np.random.default_rng(1)
        steps.append([gops.next(rng, np.arange(6), 64, 64) for _ in range(3)])
    for one, other in zip(*steps, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_each_keeps_the_order() -> None:
    assert each(lambda x: x * x, range(40), 7) == [x * x for x in range(40)]


# Steps


class NobodyWaits(TorchDispatchMode):
    """Fails where a value is needed before the next operation can be asked for."""

    WAITS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in self.WAITS, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def test_a_step_asks_nothing_of_the_device(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the optimiser, whose step counts are on the CPU; and it learns what a step that waits learns."""
    told = []
    for waits in (True, False):
        trainer = Trainer(still(crops, tmp_path / str(waits), ms_ssim=0.3, crop_px=128, batch=2))
        trainer.waits = waits
        trainer.train_step(1e-3)
        if not waits:
            trainer.crops = DeviceCrops(trainer.store, "cpu")
            monkeypatch.setattr(trainer, "_move", lambda lr: None)
            with NobodyWaits():
                told.append(trainer.taken_step(1e-3))
        else:
            told.append(trainer.taken_step(1e-3))
    torch.testing.assert_close(told[0], told[1])


def test_a_checkpoint_does_not_know_of_captured_steps() -> None:
    parameters = [torch.nn.Parameter(torch.ones(16, 16)), torch.nn.Parameter(torch.ones(3))]
    plain, one = MuonAdamW(parameters, 1e-3), MuonAdamW(parameters, 1e-3)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    one.step(1e-3)
    before = one.state_dict()
    one.captured()
    one.adamw.param_groups[0]["lr"] = torch.tensor(1e-3)
    after = one.state_dict()["adamw"]
    (found,), (expected,) = after["param_groups"], before["adamw"]["param_groups"]
    assert found == {**expected, "lr": pytest.approx(1e-3)} and type(found["lr"]) is float
    assert after["state"][0]["step"].device.type == "cpu"
    plain.load_state_dict(before)
    one.load_state_dict(before)
    assert not plain.adamw.param_groups[0]["capturable"] and one.adamw.param_groups[0]["capturable"]


@pytest.mark.parametrize("kind", ["small", "large"])
def test_gradients_are_held_without_a_look_at_their_norm(kind: str) -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    norm = torch.nn.utils.get_total_norm(gradients)
    hold(gradients, norm, 10.0 if kind == "small" else 1.0)
    expected = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    torch.testing.assert_close(gradients, expected if kind == "small" else [g / 5 for g in expected])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_counts_as_none(value: float) -> None:
    gradients = [torch.tensor([1.0, value]), torch.ones(3)]
    hold(gradients, torch.nn.utils.get_total_norm(gradients), 1.0)
    assert not any(g.any() for g in gradients)


@pytest.mark.gpu
@on_gpu
def test_a_gpu_is_not_waited_for(crops: Path, tmp_path: Path) -> None:
    trainer = Trainer(still(crops, tmp_path, device="cuda", dtype="bfloat16", crop_px=128, ms_ssim=0.3))
    assert trainer.crops is not None
    for _ in range(WARM_UP + 2):  # kernels are compiled, buffers made, and a step captured
        trainer.train_step(1e-3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        told = [trainer.taken_step(1e-3) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(told).isfinite().all()


def test_whether_steps_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MVC_GRAPH", raising=False)
    assert captured.is_wanted()
    monkeypatch.setenv("MVC_GRAPH", "none")
    assert not captured.is_wanted()
    monkeypatch.setenv("MVC_GRAPH", "no")
    with pytest.raises(BackendError, match="MVC_GRAPH=no is not known"):
        captured.is_wanted()


@pytest.mark.gpu
@on_gpu
def test_captured_steps_learn_the_same(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops, noise, gradients and moves: those of steps whose kernels are started one by one."""
    told, moved = [], []
    for wanted in (False, True):
        monkeypatch.setattr(captured, "is_wanted", lambda wanted=wanted: wanted)
        trainer = Trainer(still(crops, tmp_path / str(wanted), device="cuda", crop_px=128, ms_ssim=0.3))
        assert (trainer.captured is not None) == wanted
        told.append(torch.stack([trainer.taken_step(1e-3) for _ in range(WARM_UP + 3)]))
        moved.append([p.detach().clone() for p in trainer.parameters])
        assert trainer.captured is None or trainer.captured.is_replayed
    torch.testing.assert_close(*told, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@on_gpu
def test_frames_are_trained_on_a_gpu_as_on_a_cpu(clips: Path, store: Path, tmp_path: Path) -> None:  # noqa: F811
    told = []
    for device in ("cpu", "cuda"):
        trainer = Trainer(recipe(clips, store, tmp_path / device, device=device))
        told.append([trainer.train_step(1e-3) for _ in range(2)])
    assert all(np.isfinite(told[1]).ravel())
    # the same distribution, not the same noise
    assert abs(told[0][0][0] - told[1][0][0]) < 1.0
