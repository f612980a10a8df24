"""Training: the store, recipes, the optimiser, resuming, several processes, packing and export, with tiny models."""

from __future__ import annotations

import csv
import json
import lzma
import math
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from PIL import Image
from torch import nn

from mvc.codec import Codec
from mvc.entropy.tables import gaussian_tables
from mvc.errors import MvcError, SourceError, WeightsError
from mvc.models import estimate
from mvc.models.coding import checkerboard
from mvc.models.lite import Config, MambaVCLite
from mvc.models.weights import load as load_weights
from mvc.ops import rate
from mvc.picture import Picture
from mvc.train import export as exporting
from mvc.train import run, state
from mvc.train.augment import Augment, noise, recoloured
from mvc.train.data import CropStore, build_store, held_store
from mvc.train.grow import is_deeper
from mvc.train.log import COLUMNS, VALIDATION_COLUMNS, Report
from mvc.train.loop import Trainer
from mvc.train.optim import Muon, MuonAdamW, share_work
from mvc.train.recipe import Recipe
from mvc.train.synthetic import drawn_picture
from tests import tiny_model

ROOT = Path(__file__).parent.parent
STEPS = 6


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four pictures of 128 x 160."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        Image.fromarray(tiny_model.picture(128, 160, seed=seed).samples).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def store(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "train"
    build_store(pictures, path, smallest_px=64)
    return path


@pytest.fixture
def recipe(pictures: Path, store: Path, tmp_path: Path) -> Recipe:
    config = {key: value for key, value in tiny_model.CONFIG.to_dict().items() if value != getattr(Config(), key)}
    return Recipe(
        pictures=str(pictures), store=str(store), run=str(tmp_path / "run"), config=config, batch=4, crop_px=64,
        warmup_steps=2, steps=STEPS, dtype="float32", log_steps=1, device="cpu",
    )  # fmt: skip


def write(recipe: Recipe, path: Path) -> Path:
    """The recipe as a TOML file."""
    lines, tables = [], []
    for name, value in vars(recipe).items():
        if isinstance(value, dict):
            tables += [f"[{name}]", *(f"{key} = {as_toml(item)}" for key, item in value.items())]
        else:
            lines.append(f"{name} = {as_toml(value)}")
    path.write_text("\n".join(lines + tables))
    return path


def as_toml(value: Any) -> str:
    return repr(value).replace("(", "[").replace(",)", "]").replace(")", "]")


def log(recipe: Recipe, name: str = "log.csv") -> list[dict[str, float]]:
    with open(Path(recipe.run) / name) as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def losses(trainer: Trainer, steps: int) -> list[float]:
    return [trainer.train_step(1e-3)[0] for _ in range(steps)]


# the crop store ---------------------------------------------------------------------------------------------


def test_store_holds_every_picture_at_every_scale(pictures: Path, store: Path) -> None:
    opened = CropStore(store)
    assert [(e.height, e.width) for e in opened.entries] == [(128, 160), (77, 96)] * 4
    for i in range(4):
        np.testing.assert_array_equal(opened.picture(2 * i), np.asarray(Image.open(pictures / f"{i}.png")))
    assert opened.smallest_px == 77


def test_crops_follow_from_the_random_numbers_alone(store: Path) -> None:
    first, again, other = (CropStore(store).batch(np.random.default_rng(seed), 5, 64) for seed in (1, 1, 2))
    assert first.shape == (5, 64, 64, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_held_pictures_are_in_no_crop(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    assert build_store(pictures, path, holdout=1, scales=(1.0,), smallest_px=64) == 3
    held, kept = CropStore(held_store(path)).picture(0), CropStore(path)
    assert kept.settings == {"holdout": 1, "drawn": 0, "scales": [1.0]}
    assert all((held != kept.picture(i)).any() for i in range(3))
    renamed = [np.asarray(Image.open(pictures / f"{i}.png")) for i in range(4)]
    assert sum(bool((held == picture).all()) for picture in renamed) == 1


def test_drawn_pictures_are_added(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    assert build_store(pictures, path, drawn=3, scales=(1.0,), smallest_px=64) == 4 + 3
    store = CropStore(path)
    assert store.settings == {"holdout": 0, "drawn": 3, "scales": [1.0]}
    pages = [store.picture(i) for i in range(4, 7)]
    for seed, page in enumerate(pages):
        np.testing.assert_array_equal(page, drawn_picture(seed))
        assert page.std() > 5
    assert (pages[0] != pages[1]).any()


def test_graphics_have_the_share_that_is_asked_for(pictures: Path, tmp_path: Path) -> None:
    folder, path = tmp_path / "graphics", tmp_path / "store"
    folder.mkdir()
    page = tiny_model.picture(90, 70, seed=9).samples
    Image.fromarray(page).save(folder / "page.png")
    build_store(pictures, path, graphics=folder, drawn=1, scales=(1.0, 0.5), smallest_px=64)
    plain, shared = CropStore(path), CropStore(path, 0.25)
    assert [e.group for e in plain.entries] == [0] * 8 + [1] * 2
    np.testing.assert_array_equal(plain.picture(8), page)  # at full scale only
    areas = np.array([e.height * e.width for e in plain.entries])
    np.testing.assert_allclose(plain.weights, areas / areas.sum())
    np.testing.assert_allclose(shared.weights[8:], 0.25 * areas[8:] / areas[8:].sum())
    np.testing.assert_allclose(shared.weights[:8], 0.75 * areas[:8] / areas[:8].sum())
    photographs: list[bool] = []
    shared.change = lambda _, crop, photograph: photographs.append(photograph) or crop
    shared.batch(np.random.default_rng(0), 400, 64)
    assert 0.2 < 1 - np.mean(photographs) < 0.3


def test_a_store_from_before_groups_holds_photographs(store: Path, tmp_path: Path) -> None:
    index = json.loads(store.with_suffix(".json").read_text())
    old = {key: value for key, value in index.items() if key != "scales"}
    old["pictures"] = [row[:3] for row in index["pictures"]]
    (tmp_path / "old.json").write_text(json.dumps(old))
    (tmp_path / "old.bin").write_bytes(store.with_suffix(".bin").read_bytes())
    opened = CropStore(tmp_path / "old")
    assert opened.entries == CropStore(store).entries
    assert opened.settings["scales"] == [1.0, 0.6]
    with pytest.raises(SourceError, match=r"graphics_share = 0.3, but the crop store has no graphics"):
        CropStore(tmp_path / "old", 0.3)


def test_changed_crops_follow_from_the_random_numbers_and_unchanged_ones_are_as_before(store: Path) -> None:
    def crops(seed: int, augment: Augment | None) -> np.ndarray:
        return CropStore(store, change=augment).batch(np.random.default_rng(seed), 8, 64)

    np.testing.assert_array_equal(crops(1, Augment()), crops(1, None))
    changed = crops(1, Augment(3.0, 0.5))
    np.testing.assert_array_equal(changed, crops(1, Augment(3.0, 0.5)))
    assert changed.dtype == np.uint8
    assert (changed != crops(2, Augment(3.0, 0.5))).any()


def test_noise_is_of_photographs_alone_and_as_strong_as_asked_for() -> None:
    flat, rng = np.full((64, 64, 3), 100, np.uint8), np.random.default_rng(0)
    found = [Augment(grain=3.0)(rng, flat, True).std() for _ in range(200)]
    noisy = [sigma for sigma in found if sigma > 0.3]
    assert 70 < len(noisy) < 115  # a half, less those of almost none
    assert 2.5 < max(noisy) < 3.2
    assert 1.2 < float(np.mean(noisy)) < 2.1
    assert all((Augment(grain=3.0)(rng, flat, False) == flat).all() for _ in range(20))
    assert noise(rng, (200, 200, 3), 2.0).std() == pytest.approx(2.0, rel=0.02)


def test_recolouring_leaves_gray_gray_and_brightness_in_place() -> None:
    rng = np.random.default_rng(0)
    gray = rng.uniform(0, 255, (32, 32, 1)).astype(np.float32).repeat(3, 2)
    coloured = rng.uniform(0, 255, (32, 32, 3)).astype(np.float32)
    for _ in range(10):
        changed = recoloured(rng, gray)
        np.testing.assert_allclose(changed, changed.mean(2, keepdims=True).repeat(3, 2), atol=1e-3)
        assert changed.mean() == pytest.approx(gray.mean(), abs=0.01)
    assert np.abs(recoloured(rng, coloured) - coloured).mean() > 5
    share = [bool((Augment(jitter=0.25)(rng, coloured.astype(np.uint8), False) != coloured.astype(np.uint8)).any())
             for _ in range(200)]  # fmt: skip
    assert 30 < sum(share) < 70


def test_store_errors_name_the_cause(pictures: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no pictures found"):
        build_store(tmp_path / "empty", tmp_path / "s")
    with pytest.raises(SourceError, match="no pictures found"):
        build_store(pictures, tmp_path / "s", graphics=tmp_path / "empty", smallest_px=64)
    with pytest.raises(SourceError, match="only 4 pictures"):
        build_store(pictures, tmp_path / "s", holdout=4)
    with pytest.raises(SourceError, match="none of 4 pictures could be used") as caught:
        build_store(pictures, tmp_path / "s", smallest_px=512, drawn=1)
    assert caught.value.hint and "512" in caught.value.hint
    with pytest.raises(SourceError, match="none of 1 pictures could be used"):
        build_store(pictures, tmp_path / "s", smallest_px=512, holdout=1)
    assert not [*tmp_path.glob("s.*"), *tmp_path.glob("s-held.*")]  # nothing half-made is left
    samples, index = (store.with_suffix(end).read_bytes() for end in (".bin", ".json"))
    damaged = tmp_path / "damaged"
    for data, text in ((samples[:-1], index), (samples, index[:-9]), (samples, b'{"version": 1}'), (samples, b"[]")):
        damaged.with_suffix(".bin").write_bytes(data)
        damaged.with_suffix(".json").write_bytes(text)
        with pytest.raises(SourceError, match="damaged"):
            CropStore(damaged)
    damaged.with_suffix(".json").write_bytes(index.replace(b'"version": 1', b'"version": 99'))
    with pytest.raises(SourceError, match="another version"):
        CropStore(damaged)
    damaged.with_suffix(".bin").unlink()
    with pytest.raises(SourceError, match="damaged"):
        CropStore(damaged)


# recipes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert Recipe.read(path).batch > 0


def test_the_default_recipe_names_every_field() -> None:
    text = (ROOT / "recipes" / "mambavc-lite.toml").read_text()
    for name in Recipe.__dataclass_fields__:
        assert f"\n{name} = " in text or f"\n[{name}]" in text, f"{name} is not explained"


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"bacth": 4}, "no field 'bacth'", "'batch'"),
        ({"batch": "many"}, "batch = 'many' should be of type int", None),
        ({"batch": True}, "batch = True should be of type int", None),
        ({"batch": 0}, "batch = 0 should be more than 0", None),
        ({"lr": math.nan}, "lr = nan", None),
        ({"ema": 1.5}, "ema = 1.5 should be at most 1", None),
        ({"crop_px": 100}, "multiple of 64", None),
        ({"ms_ssim": 1.5}, "ms_ssim = 1.5 should be at most 1", None),
        ({"crop_px": 64, "ms_ssim": 0.3}, "crop_px = 64 is too small for ms_ssim, which needs 96", None),
        ({"seen": -0.1}, "seen = -0.1", None),
        ({"crop_px": 128, "seen": 0.5}, "crop_px = 128 is too small for seen, which needs 160", None),
        ({"crop_px": 192, "seen": 0.5, "ms_ssim": 0.6}, "should not be more than 1 together", None),
        ({"scales": []}, "scales = .* should be numbers above 0", None),
        ({"scales": [1.5]}, "scales = .* should be numbers above 0 and up to 1", None),
        ({"graphics_share": 0.3}, "graphics_share = 0.3 needs `graphics`", None),
        ({"jitter": 2.0}, "jitter = 2.0 should be at most 1", None),
        ({"grain": -1.0}, "grain = -1.0 should be at least 0", None),
        ({"device": "tpu"}, "device = 'tpu' should be one of auto, cpu, cuda", None),
        ({"run": ""}, "'run' is missing", "recipes/"),
        ({"config": {"widht8": 3}}, "config: .*widht8", None),
    ],
)
def test_recipe_errors_name_the_field(change: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        Recipe.from_dict({"pictures": "p", "store": "s", "run": "r", **change})
    assert hint is None or (caught.value.hint and hint in caught.value.hint)


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"pictures = \xff")
    for name in ("r.toml", "absent.toml"):
        with pytest.raises(SourceError, match="cannot be read as a training recipe"):
            Recipe.read(tmp_path / name)


# the rate kernel and the optimiser --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_rate_kernel_equals_its_reference(dtype: torch.dtype, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (3, 8, 8, 64)
    y = torch.randn(shape, generator=generator) * torch.exp2(torch.randn(shape, generator=generator) * 3)
    y[0, 0, 0, :2] = torch.tensor([300.0, -300.0])  # far outside any scale: the mass is clamped
    mean = torch.randn(shape, generator=generator).to(dtype)
    log_scale = (torch.rand(shape, generator=generator) * 18 - 3).to(dtype)  # on both sides out of 0 ... 11.875
    noise, towards = torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)
    mask = checkerboard(8, 8, mean)[0] if masked else None
    found = []
    for function in (rate.latent, rate.latent_reference):
        leaves = [t.clone().requires_grad_() for t in (y, mean, log_scale)]
        part = leaves[0].split([32, 32], -1)[1]  # a slice of a wider tensor, as in training
        others = [t[..., 32:] for t in (*leaves[1:], noise)]
        y_hat, bits = function(part, *others, mask)
        ((y_hat.float() * towards[..., 32:]).sum() + (bits * torch.tensor([1.0, 2.0, -0.5])).sum()).backward()
        found.append([y_hat.float(), bits, *(t.grad.float() for t in leaves if t.grad is not None)])
    rounding = 1e-5 if dtype == torch.float32 else 1e-2  # the reference rounds parts of a gradient to bfloat16
    for name, ours, reference, bound in zip(
        ("y_hat", "bits", "y", "mean", "log_scale"), *found, (0, 1e-5, 1e-5, rounding, rounding), strict=True
    ):
        error = float((ours - reference).detach().norm() / reference.detach().norm())
        assert error <= bound, f"{name}: {error}"
    assert found[0][4].norm() > 1


@pytest.mark.parametrize("shapes", [[(32, 48)] * 3, [(64, 16), (16, 64)], [(24, 128), (128, 24), (24, 128), (40, 40)]])
def test_muon_equals_torch(shapes: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    muon = Muon(ours)
    reference = torch.optim.Muon(theirs, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    start = [p.detach().clone() for p in ours]
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for group in reference.param_groups:
            group["lr"] = 0.02
        muon.step(0.02)
        reference.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        assert float((a - b).detach().norm() / (b - before).detach().norm()) < 0.02  # bfloat16 products, other order


def test_every_matrix_has_one_owner_and_the_work_is_even() -> None:
    shapes = [(9, 512, 256), (8, 256, 256), (12, 128, 128), (1, 768, 320), (1, 320, 768), (2, 16, 64)]
    for world in (1, 2, 3):
        load = [0] * world
        for (count, m, n), owners in zip(shapes, share_work(shapes, world), strict=True):
            assert sorted(index for own in owners for index in own) == list(range(count))
            for rank, own in enumerate(owners):
                load[rank] += len(own) * min(m, n) ** 2 * (2 * max(m, n) + min(m, n))
        assert max(load) < 1.1 * sum(load) / world


# training ---------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_is_logged(recipe: Recipe) -> None:
    recipe = replace(recipe, steps=20, dtype="bfloat16", lr=2e-3, log_steps=10)
    trainer = Trainer(recipe)
    crops = trainer.batch()

    def loss() -> float:
        with torch.no_grad():
            return float(trainer.objective(*crops, noise=False)["loss"].mean())

    before = loss()
    with Report(trainer.folder) as report:
        assert trainer.train(report) is True
    assert loss() < 0.87 * before
    rows = log(recipe)
    assert list(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == [10, 20]
    assert all(row["lr"] == pytest.approx(2e-3) and row["mpx_per_s"] > 0 for row in rows)
    if find_spec("tensorboard"):
        assert list(trainer.folder.glob("tensorboard/events*"))


def test_resumed_equals_uninterrupted(recipe: Recipe) -> None:
    recipe = replace(recipe, grain=3.0, jitter=0.5)
    whole = losses(Trainer(recipe), STEPS)
    first = Trainer(recipe)
    before = losses(first, 3)
    first.save(1.5)
    second = Trainer(replace(recipe, seed=recipe.seed))
    second.load(recipe.checkpoint)
    assert (second.step, second.minutes_before) == (3, 1.5)
    np.testing.assert_allclose(before + losses(second, 3), whole, rtol=1e-6)


def test_packed_checkpoint_goes_on_nearly_the_same(recipe: Recipe, tmp_path: Path) -> None:
    first = Trainer(recipe)
    losses(first, 6)
    full = first.state_dict(2.0)
    state.write(tmp_path / "full.pt", full)
    state.write(tmp_path / "small.mvct", state.pack(full))
    assert (tmp_path / "small.mvct").stat().st_size < (tmp_path / "full.pt").stat().st_size / 3
    found = []
    for name in ("full.pt", "small.mvct"):
        trainer = Trainer(recipe)
        trainer.load(tmp_path / name)
        assert (trainer.step, trainer.minutes_before) == (6, 2.0)
        found.append(losses(trainer, 4))
    np.testing.assert_allclose(found[1], found[0], rtol=0.01)
    restored = state.read(tmp_path / "small.mvct")
    for name, value in first.average.items():
        torch.testing.assert_close(restored["average"][name], value, rtol=1e-3, atol=1e-6)
    deflated = zlib.compress(lzma.decompress((tmp_path / "small.mvct").read_bytes()))
    state.write(tmp_path / "older.mvct", deflated)
    for name, value in state.read(tmp_path / "older.mvct")["average"].items():
        assert torch.equal(value, restored["average"][name])


def test_packed_default_model_is_small_enough_to_keep() -> None:
    """Random values, which pack worse than trained ones."""
    torch.manual_seed(0)
    model = MambaVCLite()
    average = {name: value + 0.01 * torch.randn_like(value) for name, value in model.state_dict().items()}
    matrices, rest = [], []
    for p in model.parameters():
        (matrices if p.ndim == 2 and min(p.shape) >= 16 else rest).append(p.detach())
    moments = {
        i: {"step": torch.tensor(9.0), "exp_avg": torch.randn_like(p), "exp_avg_sq": torch.rand_like(p)}
        for i, p in enumerate(rest)
    }
    optimizer = {
        "muon": {"buffers": [torch.randn_like(p)[None] for p in matrices]},
        "adamw": {"state": moments, "param_groups": []},
    }
    full = {"recipe": {}, "config": model.config.to_dict(), "step": 9, "minutes": 1.0}
    full |= {"model": model.state_dict(), "average": average, "optimizer": optimizer}
    assert len(state.pack(full)) < 15 * 2**20


def test_checkpoints_that_do_not_fit(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe)
    trainer.save(0.0)
    wider = Trainer(replace(recipe, config=recipe.config | {"width8": 128}))
    with pytest.raises(WeightsError, match="does not fit the recipe's model"):
        wider.load(recipe.checkpoint)
    data = recipe.checkpoint.read_bytes()
    packed = state.pack(trainer.state_dict(0.0))
    torch.save({"step": 1}, tmp_path / "other.pt")
    other = (tmp_path / "other.pt").read_bytes()
    large = {"dict_size": 1 << 29}  # which unpacking would take
    greedy = lzma.compress(b"hello", filters=[{"id": lzma.FILTER_LZMA2, **large}])
    halves = data[: len(data) // 2], packed[: len(packed) // 2]
    for bad in (b"", b"hello", *halves, packed[:-5] + b"12345", packed[:99] + b"9" + packed[100:], greedy, other):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(WeightsError, match="is not a checkpoint"):
            trainer.load(tmp_path / "bad")
    stored = state.read(recipe.checkpoint)
    odd = {"adamw": {"state": {}, "param_groups": [5]}}
    for optimizer in ({}, {"muon": 3}, {"muon": {"buffers": [1]}}, stored["optimizer"] | odd):
        state.write(tmp_path / "odd", stored | {"optimizer": optimizer})
        with pytest.raises(WeightsError, match="does not fit the recipe's model"):
            trainer.load(tmp_path / "odd")


def deeper(recipe: Recipe) -> Recipe:
    """Another block at the end of two of the four stages."""
    blocks = {name: [recipe.config[name][0], recipe.config[name][1] + 1] for name in ("analysis", "synthesis")}
    return replace(recipe, config=recipe.config | blocks)


def optimizer_state(trainer: Trainer) -> dict[str, list[torch.Tensor]]:
    """What the optimiser has of each parameter, by name."""
    assert isinstance(trainer.optimizer, MuonAdamW)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    muon, adamw = trainer.optimizer.muon, trainer.optimizer.adamw
    found = {
        names[id(p)]: [row] for g, b in zip(muon.groups, muon.buffers, strict=True) for p, row in zip(g, b, strict=True)
    }
    return found | {names[id(p)]: [v.float() for v in adamw.state[p].values()] for p in trainer.optimizer.rest}


@pytest.mark.parametrize("packed", [False, True])
def test_a_deeper_recipe_grows_the_checkpoint(recipe: Recipe, packed: bool) -> None:
    first = Trainer(recipe)
    losses(first, 4)
    stored = first.state_dict(2.0)
    state.write(recipe.checkpoint, state.pack(stored) if packed else stored)
    grown = Trainer(deeper(recipe))
    fresh = {name: value.clone() for name, value in grown.model.state_dict().items()}
    grown.load(recipe.checkpoint)
    a, b = recipe.config["analysis"], recipe.config["synthesis"]
    words = [
        f"{name} from {[*had]} to {[had[0], had[1] + 1]} blocks" for name, had in (("analysis", a), ("synthesis", b))
    ]
    assert grown.grown == ", ".join(words)
    assert (grown.step, grown.minutes_before) == (4, 2.0)
    again = Trainer(recipe)
    again.load(recipe.checkpoint)
    assert again.grown == ""
    new = set(fresh) - set(again.model.state_dict())
    blocks = {".".join(name.split(".")[:3]) for name in new}
    assert blocks == {f"g_a.stage16.{a[1]}", f"g_s.stage8.{b[1]}"}
    for values, weights in ((grown.model.state_dict(), again.model.state_dict()), (grown.average, again.average)):
        for name, value in values.items():
            assert torch.equal(value, fresh[name] if name in new else weights[name]), name
    had, has = optimizer_state(again), optimizer_state(grown)
    for name, moments in has.items():
        if name in new:
            assert not any(m.any() for m in moments), name
        else:
            assert all(map(torch.equal, moments, had[name])), name
    expected = losses(again, 3)
    found = losses(grown, 3)
    assert found[0] == pytest.approx(expected[0], rel=2e-3)  # the new blocks start near the identity
    assert found[2] == pytest.approx(expected[2], rel=0.05)
    resumed = Trainer(deeper(recipe))
    state.write(recipe.checkpoint, state.pack(grown.state_dict(3.0)))
    resumed.load(recipe.checkpoint)
    assert resumed.grown == ""
    assert losses(resumed, 1) == pytest.approx(losses(grown, 1), rel=0.01)


def test_only_deeper_stages_grow(recipe: Recipe) -> None:
    config = Config.from_dict(recipe.config).to_dict()
    more = config | {"synthesis": tuple(n + 1 for n in config["synthesis"])}
    assert is_deeper(more, config)
    assert not is_deeper(config, more)
    assert not is_deeper(config, config)
    assert not is_deeper(more | {"width8": 2 * config["width8"]}, config)
    assert not is_deeper({"blocks": [1, 1]}, {"blocks": [1]})
    trainer = Trainer(deeper(recipe))
    trainer.save(0.0)
    with pytest.raises(WeightsError, match="does not fit the recipe's model"):
        Trainer(recipe).load(recipe.checkpoint)


def test_recipe_and_store_must_fit(recipe: Recipe) -> None:
    with pytest.raises(SourceError, match=r"holdout = 1, but .* was built with 0"):
        Trainer(replace(recipe, holdout=1))
    with pytest.raises(SourceError, match=r"crop_px = 128, but .* side of 77"):
        Trainer(replace(recipe, crop_px=128))
    with pytest.raises(SourceError, match=r"scales = \[1.0\], but .* was built with \[1.0, 0.6\]"):
        Trainer(replace(recipe, scales=[1.0]))
    with pytest.raises(SourceError, match=r"graphics_share = 0.3, but the crop store has no graphics"):
        Trainer(replace(recipe, graphics="g", graphics_share=0.3))


def test_validation_on_held_pictures(recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = replace(recipe, store=str(tmp_path / "held"), holdout=1, steps=1)
    trainer = Trainer(recipe)
    with Report(trainer.folder) as report:
        trainer.train(report)
    rows = log(recipe, "validation.csv")
    assert list(rows[0]) == VALIDATION_COLUMNS
    assert [row["quality"] for row in rows] == [9, 27, 45, 63]
    assert all(a["psnr"] < b["psnr"] for a, b in pairwise(rows))  # the DCT does that at once
    assert "bits estimated" in capsys.readouterr().out


def test_export_codes_losslessly(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe)
    losses(trainer, 2)
    trainer.save(0.1)
    run.export(recipe.checkpoint, tmp_path / "weights")
    codec = Codec(load_weights(tmp_path / "weights"))
    data, encoded = tiny_model.encoded_digests(codec, tiny_model.picture(70, 90), 40)
    assert tiny_model.decoded_digests(codec, data) == encoded
    assert isinstance(codec.decode(data), Picture)


def test_an_export_has_its_name(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "choose_curvature", lambda network, pictures: [[2.0, 3.0]] * 8)
    monkeypatch.setattr(exporting, "calibrated_tables", lambda weights, crops: gaussian_tables())
    Trainer(replace(recipe, model="mambavc-lite-seen")).save(0.1)
    run.export(recipe.checkpoint, tmp_path / "weights", Path(recipe.store))
    found = load_weights(tmp_path / "weights")
    assert found.name == "mambavc-lite-seen" and found.picture.curvature == [[2.0, 3.0]] * 8


# processes --------------------------------------------------------------------------------------------------


class WholeBatch(Trainer):
    """One process that takes the crops which two would take, and no noise (they draw it one by one)."""

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        parts = []
        self.world = 2
        for self.rank in (0, 1):
            parts.append(super().batch())
        self.world, self.rank = 1, 0
        return torch.cat([x for x, _ in parts]), torch.cat([quality for _, quality in parts])


def no_noise(*shape: Any, **options: Any) -> torch.Tensor:
    return torch.full(shape[0] if isinstance(shape[0], torch.Size) else shape[0].shape, 0.5)


def one_of_two(rank: int, recipe: Recipe, folder: str) -> None:
    torch.set_num_threads(1)
    estimate.torch.rand = estimate.torch.rand_like = no_noise  # type: ignore[attr-defined]
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    trainer = Trainer(recipe)
    found = losses(trainer, STEPS)
    torch.save((found, trainer.model.state_dict()), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multiprocessing.spawn(one_of_two, (recipe, str(tmp_path)), nprocs=2)
    (first, weights), (second, others) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for name, value in weights.items():
        assert torch.equal(value, others[name]), f"{name} differs between the processes"
    monkeypatch.setattr(torch, "rand", no_noise)
    monkeypatch.setattr(torch, "rand_like", no_noise)
    whole = losses(WholeBatch(recipe), STEPS)
    np.testing.assert_allclose(np.mean([first, second], 0), whole, rtol=2e-3)


def test_ctrl_c_saves_and_says_how_to_resume(recipe: Recipe, tmp_path: Path) -> None:
    """The real command with two processes, a signal to the first of them all, and on from there."""
    path = write(replace(recipe, steps=10**6, processes=2, minutes=30.0), tmp_path / "r.toml")
    command = [sys.executable, "-m", "mvc", "train", str(path)]
    environment = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
    logged = Path(recipe.run) / "log.csv"
    deadline = time.monotonic() + 120
    while not logged.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    assert f"`mvc train {path} --resume` goes on" in output
    steps = state.read(recipe.checkpoint)["step"]
    assert steps > 0
    with pytest.raises(SourceError, match="is there already") as caught:
        run.train(path)
    assert caught.value.hint and "--resume" in caught.value.hint
    write(replace(recipe, steps=steps + 1, processes=1), path)
    run.train(path, resume=True)
    assert state.read(recipe.checkpoint)["step"] == steps + 1
    with pytest.raises(SourceError, match="has had all its training"):
        run.train(path, resume=True)


def test_torchrun_starts_the_processes(recipe: Recipe, tmp_path: Path) -> None:
    """As docs/training.md has it: two of them meet, train one model, and the first writes."""
    path = write(replace(recipe, steps=2), tmp_path / "r.toml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "mvc", "train", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 process(es) on cpu, from step 0") == 1
    assert state.read(recipe.checkpoint)["step"] == 2 and len(log(recipe)) == 2


def test_torchrun_is_told_that_the_batch_does_not_divide(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(recipe, tmp_path / "r.toml")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(SourceError, match="batch = 4 does not divide among 3"):
        run.train(path)


def test_an_error_in_a_process_is_raised_once(recipe: Recipe, tmp_path: Path) -> None:
    path = write(replace(recipe, processes=2, pictures=str(tmp_path), store=str(tmp_path / "s")), tmp_path / "r.toml")
    with pytest.raises(MvcError, match="no pictures found below"):
        run.train(path)
    with pytest.raises(SourceError, match="there is no checkpoint"):
        run.train(path, resume=True)
    write(replace(recipe, processes=3), path)
    with pytest.raises(SourceError, match="batch = 4 does not divide among 3"):
        run.train(path)
