"""Training models of clips: the store, moved pictures, recipes, the objective, resuming, export to what codes."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import picture

from mvc.clip import ClipCodec
from mvc.codec import Codec
from mvc.container import ClipHead
from mvc.errors import SourceError
from mvc.frames import Frame
from mvc.models import ssf
from mvc.models.weights import load
from mvc.picture import Picture
from mvc.train.clips import ClipStore, Sequences, build_clip_store
from mvc.train.data import CropStore, build_store, held_store
from mvc.train.export import export
from mvc.train.loop import Trainer
from mvc.train.moved import moved
from mvc.train.objective import clip_rate_distortion
from mvc.train.recipe import Recipe
from mvc.train.run import train

RECIPES = Path(__file__).parent.parent / "recipes"
PRESETS = {"mambavc-ssf": ssf.MAMBAVC_SSF, "swinvc-ssf": ssf.SWINVC_SSF, "convvc-ssf": ssf.CONVVC_SSF}

pytestmark = pytest.mark.usefixtures("one_thread")


def frames_of(seed: int, count: int = 5) -> list[np.ndarray]:
    """A picture of 136 x 150 that moves three pixels a frame."""
    return [np.roll(picture(136, 150, seed=seed).samples, 3 * n, 1) for n in range(count)]


def y4m(frames: list[np.ndarray]) -> bytes:
    """Gray frames in a file that needs no library to be written."""
    height, width = frames[0].shape[:2]
    head = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 Cmono\n".encode()
    return head + b"".join(b"FRAME\n" + frame[..., 1].tobytes() for frame in frames)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of numbered pictures, a video, and what is left out: one frame, small frames, no clip."""
    root = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        folder = root / f"clip{seed}" / "frames"
        folder.mkdir(parents=True)
        for n, samples in enumerate(frames_of(seed)):
            Image.fromarray(samples).save(folder / f"im{n + 1}.png")
    (root / "videos").mkdir()
    (root / "videos" / "c.y4m").write_bytes(y4m(frames_of(2, 4)))
    (root / "videos" / "one.y4m").write_bytes(y4m(frames_of(3, 1)))
    (root / "videos" / "small.y4m").write_bytes(y4m([f[:100] for f in frames_of(3)]))
    (root / "videos" / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def store(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "clips"
    assert build_clip_store(clips, path, holdout=0) == 3
    return path


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two pictures that are large enough to be moved, also at 0.7 of their size."""
    folder = tmp_path_factory.mktemp("stills")
    for seed in range(2):
        Image.fromarray(picture(330, 340, seed=seed).samples).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def recipe(clips: Path, store: Path, tmp_path: Path) -> Recipe:
    return Recipe(
        pictures=str(clips), store=str(store), run=str(tmp_path / "run"), model="convvc-ssf",
        config=tiniest("convvc-ssf"), rd_lambda=0.02, optimizer="adam", lr=1e-3, aux_lr=0.1, warmup_steps=0, clip=1.0,
        ema=0.0, dtype="float32", batch=1, crop_px=128, frames=3, steps=3, log_steps=1, device="cpu", processes=1,
    )  # fmt: skip


def tiniest(name: str) -> dict[str, Any]:
    """Half as wide as the tiny ones."""
    config = ssf.tiny(PRESETS[name])
    return replace(config, width=32, latents=32, hyper=32).to_dict()


# The store


def test_a_store_holds_the_frames_of_clips(store: Path) -> None:
    opened = ClipStore(store)
    assert sorted((e.frames, e.height, e.width) for e in opened.entries) == [(4, 136, 150), *[(5, 136, 150)] * 2]
    assert opened.smallest_px == 136
    lengths = [e.frames for e in opened.entries]
    for number, seed in enumerate(seed for seed in range(2)):
        clip = opened.clip([i for i, n in enumerate(lengths) if n == 5][number])
        assert np.array_equal(clip, np.stack(frames_of(seed)))
    gray = opened.clip(lengths.index(4))
    assert np.array_equal(gray[..., 0], gray[..., 2]) and np.ptp(gray) > 100


def test_held_clips_are_in_no_crop(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    assert build_clip_store(clips / "clip0", path) == 1
    with pytest.raises(SourceError, match="only 1 clips found"):
        build_clip_store(clips / "clip0", path, holdout=1)
    folder = tmp_path / "two"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for n, samples in enumerate(frames_of(ord(name), 2)):
            Image.fromarray(samples).save(folder / name / f"{n}.png")
    assert build_clip_store(folder, path, holdout=1) == 1
    kept, held = ClipStore(path), ClipStore(held_store(path))
    assert kept.settings == {"holdout": 1}
    assert len(held.entries) == 1 and not np.array_equal(kept.clip(0), held.clip(0))


def test_only_the_first_frames_are_kept(clips: Path, tmp_path: Path) -> None:
    build_clip_store(clips / "clip0", tmp_path / "store", most_frames=2)
    assert [e.frames for e in ClipStore(tmp_path / "store").entries] == [2]


def test_store_errors_name_the_cause(clips: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no clips found"):
        build_clip_store(tmp_path / "empty", tmp_path / "store")
    with pytest.raises(SourceError, match="none of 6 clips could be used"):
        build_clip_store(clips, tmp_path / "store", smallest_px=256)
    with pytest.raises(SourceError, match="the longest clip of the store has 5"):
        Sequences(ClipStore(store), 6)
    for text in ("{}", '{"version": 0, "clips": [], "holdout": 0}', '{"version": 1, "clips": [], "holdout": 0}'):
        (tmp_path / "bad.json").write_text(text)
        (tmp_path / "bad.bin").write_bytes(b"x")
        with pytest.raises(SourceError, match=r"damaged|another version"):
            ClipStore(tmp_path / "bad")


def test_sequences_follow_from_the_random_numbers_alone(store: Path) -> None:
    sequences = Sequences(ClipStore(store), 4)
    first, again, other = (sequences.batch(np.random.default_rng(seed), 3, 64) for seed in (1, 1, 2))
    assert first.shape == (3, 4, 64, 64, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_frames_of_a_sequence_follow_each_other(store: Path) -> None:
    """Whatever was flipped: each frame is the one before, moved by three pixels along one side."""
    batch = Sequences(ClipStore(store), 3).batch(np.random.default_rng(0), 6, 64)
    for sequence in batch:
        for before, after in pairwise(sequence):
            shifts = [(axis, by) for axis in (0, 1) for by in (-3, 3)]
            inner = (slice(4, -4), slice(4, -4))
            assert sum(np.array_equal(np.roll(before, by, axis)[inner], after[inner]) for axis, by in shifts) == 1


# Moved pictures


def test_moved_pictures_move_and_have_noise_of_their_own(stills: Path, tmp_path: Path) -> None:
    build_store(stills, tmp_path / "stills", scales=(0.7,), smallest_px=224)
    opened = CropStore(tmp_path / "stills")
    made = [moved(opened, np.random.default_rng(seed), 5, 128) for seed in range(24)]
    assert all(s.shape == (5, 128, 128, 3) and s.dtype == np.uint8 for s in made)
    assert np.array_equal(made[3], moved(opened, np.random.default_rng(3), 5, 128))
    differences = [np.mean(s[1:] != s[:-1]) for s in made]
    assert max(differences) > 0.9 and min(differences) < 0.5  # some are still, or nearly
    for sequence in made:
        borders = np.concatenate([sequence[:, [0, -1]].reshape(-1, 3), sequence[:, :, [0, -1]].reshape(-1, 3)])
        assert (borders.max(-1) > 0).mean() > 0.95  # no black from outside the picture


def test_a_share_of_the_crops_is_moved(stills: Path, store: Path, tmp_path: Path) -> None:
    build_store(stills, tmp_path / "stills", scales=(0.7,), smallest_px=224)
    drawn = []
    for share in (0.0, 0.5, 1.0):
        sequences = Sequences(ClipStore(store), 3, CropStore(tmp_path / "stills"), share)
        with mock.patch.object(sequences, "_crop", return_value=np.zeros((3, 64, 64, 3), np.uint8)) as crop:
            sequences.batch(np.random.default_rng(0), 12, 64)
        drawn.append(crop.call_count)
    assert drawn[0] == 12 and 2 < drawn[1] < 10 and drawn[2] == 0


# Recipes


@pytest.mark.parametrize("name", PRESETS)
def test_tiny_recipes_have_the_tiny_sizes(name: str) -> None:
    small = Recipe.read(RECIPES / f"{name}-tiny.toml")
    assert small.model == name and PRESETS[name].with_fields(small.config) == ssf.tiny(PRESETS[name])
    full = Recipe.read(RECIPES / "mambavc-ssf.toml")
    for field in ("optimizer", "clip", "ema", "dtype"):
        assert getattr(full, field) == getattr(small, field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames = 0 should be at least 2: convvc-ssf codes clips"),
        ({"frames": 1}, "frames = 1 should be at least 2"),
        ({"model": "convvc", "config": {}}, "frames = 3 should be left out: convvc codes single pictures"),
        ({"crop_px": 192}, "crop_px = 192 should be a multiple of 128 for convvc-ssf"),
        ({"stages": [[2, 1, 64]]}, "crop_px = 64 should be a multiple of 128"),
        ({"moved": 0.5}, "moved = 0.5 and stills = '' do not go together"),
        ({"stills": "x"}, "moved = 0.0 and stills = 'x'"),
        ({"moved": 1.5, "stills": "x"}, "moved = 1.5 should be at most 1"),
        ({"ms_ssim": 0.5}, "ms_ssim = 0.5 should be left out"),
        ({"seen": 0.5, "crop_px": 256}, "seen = 0.5 should be left out"),
        ({"rd_lambda": 0.0}, "rd_lambda = 0 should be more than 0"),
        ({"dtype": "bfloat16"}, 'should be "float32"'),
    ],
)
def test_recipe_errors_name_the_field(recipe: Recipe, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Recipe.from_dict({**asdict(recipe), **change})


# Training


def test_the_objective_is_of_both_orders(recipe: Recipe) -> None:
    """The mean over frames, over the sequence and its reverse, of what the model says of each."""
    model = Trainer(recipe).model.eval()
    frames = torch.from_numpy(np.stack([frames_of(seed, 3) for seed in range(2)]))[:, :, :128, :128].float() / 255
    with torch.no_grad():
        result = clip_rate_distortion(model, frames, noise=False, fixed_lambda=0.02)
        backward = clip_rate_distortion(model, frames.flip(1), noise=False, fixed_lambda=0.02)
        one_by_one = [model(order, noise=False) for order in (frames, frames.flip(1))]
    assert {name: value.shape for name, value in result.items()} == dict.fromkeys(
        ("loss", "bpp", "hyper_bpp", "mse"), (2,)
    )
    bpp = torch.stack([coded.bits for order in one_by_one for coded in order]).mean(0) / 128**2
    torch.testing.assert_close(result["bpp"], bpp)
    torch.testing.assert_close(result["loss"], 0.02 * 255**2 * result["mse"] + result["bpp"])
    for name, value in result.items():
        torch.testing.assert_close(backward[name], value)
    assert (result["hyper_bpp"] < result["bpp"]).all()


@pytest.mark.parametrize("name", PRESETS)
def test_every_weight_has_a_gradient(recipe: Recipe, name: str) -> None:
    trainer = Trainer(replace(recipe, model=name, config=tiniest(name), frames=2))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    first = trainer.train_step(1e-3)
    assert all(np.isfinite(first))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trainer.model.parameters())
    changed = [key for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])]
    assert len(changed) > 0.8 * len(before)  # while z is rounded to zeros, its layers have nothing to learn from
    assert all(f"{part}.density.quantiles" in changed for part in ("keyframe", "motion", "residual"))


def test_the_loss_falls(recipe: Recipe) -> None:
    trainer = Trainer(recipe)
    crops = trainer.batch()
    assert crops[0].shape == (1, 3, 128, 128, 3)
    with torch.no_grad():
        before = trainer.objective(*crops, noise=False)
    for _ in range(20):
        trainer.train_step(2e-3)
    with torch.no_grad():
        after = trainer.objective(*crops, noise=False)
    assert after["loss"] < 0.7 * before["loss"] and after["tail_loss"] < before["tail_loss"]


def test_resumed_is_the_same_to_the_last_bit(recipe: Recipe, stills: Path) -> None:
    recipe = replace(recipe, stills=str(stills), moved=0.5)
    whole = Trainer(recipe)
    losses = [whole.train_step(1e-3) for _ in range(3)]
    first = Trainer(recipe)
    assert [first.train_step(1e-3)] == losses[:1]
    first.save(0.1)
    second = Trainer(recipe)
    second.load(recipe.checkpoint)
    assert [second.train_step(1e-3) for _ in range(2)] == losses[1:]
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


def test_the_command_trains_resumes_and_exports_what_codes(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps, a resumption, validation on held-out clips, weights by name, and a clip through them."""
    fields = asdict(replace(recipe, holdout=1, store=str(tmp_path / "own"), steps=2))
    path, longer = tmp_path / "r.toml", tmp_path / "longer.toml"
    for file, steps in ((path, 2), (longer, 4)):
        config = "".join(f"{key} = {toml(value)}\n" for key, value in fields["config"].items())
        plain = {key: value for key, value in fields.items() if key != "config"} | {"steps": steps}
        file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in plain.items()) + "[config]\n" + config)
    train(path)
    train(longer, resume=True)
    assert "step 4" in capsys.readouterr().out
    with open(Path(recipe.run) / "validation.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and all(float(row["estimated_bpp"]) > 0 for row in rows)
    export(recipe.checkpoint, tmp_path / "weights")
    codec = ClipCodec(Codec(load(tmp_path / "weights")))
    assert codec.codec.weights.manifest["name"] == "convvc-ssf" and set(codec.networks) == {
        "picture",
        "motion",
        "residual",
    }
    coded = io.BytesIO()
    source = [Frame.of_picture(Picture(samples), time) for time, samples in enumerate(frames_of(0, 3))]
    assert codec.encode(source, coded, ClipHead(chroma="rgb"), index=0) == 3
    shown = list(codec.decode(io.BytesIO(coded.getvalue())))
    assert [frame.time for frame in shown] == [0, 1, 2]
    with pytest.raises(SourceError, match="no tables are fitted"):
        export(recipe.checkpoint, tmp_path / "weights", Path(recipe.store))


def toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


def test_stores_of_other_recipes_are_refused(recipe: Recipe) -> None:
    for change, message in [
        ({"holdout": 1}, "holdout = 1, but .* was built with 0"),
        ({"crop_px": 256}, "crop_px = 256, but .* side of 136"),
        ({"stages": [[2, 1, 256]]}, "crop_px = 256, but"),
        ({"frames": 6}, "frames = 6, but the longest clip"),
    ]:
        with pytest.raises(SourceError, match=message):
            Trainer(replace(recipe, **change))
