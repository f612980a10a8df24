"""Training the papers' still-picture models: recipes, schedule, the tails of the density, resuming, checkpoints."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mvc.codec import Codec
from mvc.entropy.tables import TOTAL
from mvc.errors import SourceError, WeightsError
from mvc.models import papers, registry, samic
from mvc.models.density import FactorizedDensity
from mvc.models.papers import PaperConfig
from mvc.models.weights import load as load_weights
from mvc.train import state
from mvc.train.data import CropStore, build_store
from mvc.train.export import WIDEST, export, hyper_tables
from mvc.train.log import Report
from mvc.train.loop import Trainer
from mvc.train.recipe import Recipe
from mvc.train.trained import load_checkpoint
from tests import tiny_model

RECIPES = Path(__file__).parent.parent / "recipes"
PRESETS = {"mambavc": papers.MAMBAVC, "swinvc": papers.SWINVC, "convvc": papers.CONVVC, "samic": samic.SAMIC}
MODELS = list(PRESETS)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two pictures, 96 x 128, one of them held out."""
    folder = tmp_path_factory.mktemp("papers")
    for seed in range(2):
        Image.fromarray(tiny_model.picture(96, 128, seed=seed).samples).save(folder / f"{seed}.png")
    build_store(folder, folder / "store", holdout=1, scales=(1.0,), smallest_px=64)
    return folder / "store"


def tiny(name: str) -> PaperConfig:
    return samic.tiny() if name == "samic" else papers.tiny(PRESETS[name])


def tiniest(name: str) -> dict[str, Any]:
    """Half as wide, one block in every stage."""
    return replace(tiny(name), width=32, blocks=(1, 1, 1, 1)).to_dict()


@pytest.fixture
def recipe(store: Path, tmp_path: Path) -> Recipe:
    """Of mambavc."""
    return Recipe(
        pictures=str(store.parent), store=str(store), run=str(tmp_path / "run"), holdout=1, scales=[1.0],
        model="mambavc", config=tiniest("mambavc"), rd_lambda=0.013,
        optimizer="adam", lr=1e-3, aux_lr=0.1, warmup_steps=0, clip=1.0, ema=0.0, dtype="float32",
        batch=2, crop_px=64, steps=12, log_steps=4, device="cpu",
    )  # fmt: skip


def of_model(recipe: Recipe, name: str) -> Recipe:
    return replace(recipe, model=name, config=tiniest(name))


def roughness(samples: np.ndarray) -> float:
    """Mean difference of neighbours in a row."""
    return float(np.abs(np.diff(samples.astype(int), axis=1)).mean())


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


# recipes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_recipes_have_the_papers_sizes_and_the_tiny_ones(name: str) -> None:
    full, small = Recipe.read(RECIPES / f"{name}.toml"), Recipe.read(RECIPES / f"{name}-tiny.toml")
    assert (full.model, full.config, small.model) == (name, {}, name)
    assert PRESETS[name].with_fields(small.config) == tiny(name)
    assert (full.optimizer, full.lr, full.minutes) == ("adam", 1e-4, math.inf)
    # what makes the two one training is the same
    for field in ("optimizer", "clip", "ema", "dtype"):
        assert getattr(full, field) == getattr(small, field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "mambavx"}, "model: there is no model 'mambavx'"),
        ({"rd_lambda": 0.0}, "rd_lambda = 0 should be more than 0: convvc"),
        ({"model": "mambavc-lite", "dtype": "bfloat16"}, "rd_lambda = 0.01 should be left out"),
        ({"dtype": "bfloat16"}, "dtype = 'bfloat16' should be \"float32\": convvc"),
        ({"config": {"widht": 3}}, "config: .*widht"),
        ({"config": {"slices": 0}}, "config: "),
        ({"optimizer": "sgd"}, "optimizer = 'sgd' should be one of muon, adam"),
        ({"lr_drops": [5, 5]}, "lr_drops = .* in growing order"),
        ({"lr_drops": 5}, "lr_drops = 5 should be of type list"),
        ({"stages": [[5, 2]]}, r"stages: \[5, 2\] should be three whole numbers"),
        ({"stages": [[5, 2, 100]]}, "crop_px = 100 should be a multiple of 64"),
        ({"stages": [[9, 2, 64], [5, 2, 64]]}, "stages should be in the order of their steps"),
        ({"minutes": math.inf}, "minutes = inf should be more than 0"),
    ],
)
def test_recipe_errors_name_the_field(change: dict[str, Any], message: str) -> None:
    fields = {"pictures": "p", "store": "s", "run": "r", "model": "convvc", "rd_lambda": 0.01, "dtype": "float32"}
    with pytest.raises(SourceError, match=message):
        Recipe.from_dict({**fields, **change})
    assert Recipe.from_dict({**fields, "minutes": math.inf, "steps": 5}).minutes == math.inf


# training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_falls(recipe: Recipe, name: str) -> None:
    trainer = Trainer(of_model(recipe, name))
    crops = trainer.batch()

    def losses() -> tuple[float, float]:
        with torch.no_grad():
            result = trainer.objective(*crops, noise=False)
        return float(result["loss"].mean()), float(result["tail_loss"])

    before = losses()
    with Report(trainer.folder) as report:
        assert trainer.train(report) is True
    after = losses()
    assert after[0] < 0.6 * before[0]
    assert after[1] < before[1]
    with open(trainer.folder / "validation.csv") as file:
        (row,) = csv.DictReader(file)  # one rate
    assert row["quality"] == "0" and float(row["estimated_bpp"]) > 0
    assert trainer.model.training


def test_resumed_is_the_same_to_the_last_bit(recipe: Recipe) -> None:
    """With noise, stochastic depth, both optimisers and a stage between."""
    recipe = replace(recipe, stages=[[2, 1, 128]])
    whole = Trainer(recipe)
    losses = [whole.train_step(1e-3) for _ in range(4)]
    first = Trainer(recipe)
    assert [first.train_step(1e-3) for _ in range(2)] == losses[:2]
    first.save(0.5)
    second = Trainer(recipe)
    second.load(recipe.checkpoint)
    assert [second.train_step(1e-3) for _ in range(2)] == losses[2:]
    ended = weights_of(whole)
    for name, value in weights_of(second).items():
        assert torch.equal(value, ended[name]), name
    assert not torch.equal(ended["density.quantiles"], weights_of(first)["density.quantiles"])


def test_the_tails_feel_nothing_but_their_own_loss(recipe: Recipe) -> None:
    """Another rate for the tails changes them and no other weight."""
    slow, fast = Trainer(recipe), Trainer(replace(recipe, aux_lr=0.5))
    for trainer in (slow, fast):
        trainer.train_step(1e-3)
    others = weights_of(fast)
    for name, value in weights_of(slow).items():
        assert torch.equal(value, others[name]) == (name != "density.quantiles"), name


def test_lambda_weighs_the_squared_error(recipe: Recipe) -> None:
    trainer = Trainer(recipe)
    with torch.no_grad():
        result = trainer.objective(*trainer.batch(), noise=False)
    expected = 0.013 * 255**2 * (result["x_hat"] - trainer.batch()[0]).square().mean((1, 2, 3)) + result["bpp"]
    torch.testing.assert_close(result["loss"], expected)


def test_the_schedule_follows_the_steps(recipe: Recipe) -> None:
    trainer = Trainer(replace(recipe, lr=1e-4, lr_drops=[10, 20], stages=[[10, 4, 128]]))
    found = []
    for trainer.step in (0, 9, 10, 19, 20, 99):
        found.append((round(trainer._lr(0.5), 12), *trainer.batch()[0].shape[:3]))
    first, second = (2, 64, 64), (4, 128, 128)
    assert found == [(1e-4, *first)] * 2 + [(1e-5, *second)] * 2 + [(1e-6, *second)] * 2


def test_small_pictures_are_enlarged_for_larger_crops(store: Path) -> None:
    opened = CropStore(store)
    assert opened.smallest_px == 96
    crops = opened.batch(np.random.default_rng(0), 3, 192)
    assert crops.shape == (3, 192, 192, 3)
    for crop in crops:
        assert roughness(crop) < 0.7 * roughness(opened.picture(0))
        assert abs(float(crop.mean()) - float(opened.picture(0).mean())) < 20


def test_without_ema_the_average_is_the_weights(recipe: Recipe) -> None:
    trainer = Trainer(recipe)
    trainer.train_step(1e-3)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(trainer.average[name], value), name


# checkpoints and tables -------------------------------------------------------------------------------------


def test_checkpoints_know_their_model(recipe: Recipe, tmp_path: Path) -> None:
    recipe = of_model(recipe, "convvc")
    trainer = Trainer(recipe)
    trainer.save(0.0)
    model, stored = load_checkpoint(recipe.checkpoint)
    assert isinstance(model, papers.PaperModel) and model.config == trainer.model.config
    assert stored["recipe"]["model"] == "convvc" and not model.training
    with pytest.raises(WeightsError, match="trained with model = 'convvc', the recipe has 'mambavc'"):
        Trainer(replace(recipe, model="mambavc")).load(recipe.checkpoint)
    with pytest.raises(WeightsError, match="trained with optimizer = 'adam', the recipe has 'muon'"):
        Trainer(replace(recipe, optimizer="muon")).load(recipe.checkpoint)
    with pytest.raises(SourceError, match="no tables are fitted for convvc"):
        export(recipe.checkpoint, tmp_path / "weights", Path(recipe.store))


def test_export_codes_losslessly(recipe: Recipe, tmp_path: Path) -> None:
    recipe = of_model(recipe, "convvc")
    trainer = Trainer(recipe)
    for _ in range(2):
        trainer.train_step(1e-3)
    trainer.save(0.1)
    export(recipe.checkpoint, tmp_path / "weights")
    codec = Codec(load_weights(tmp_path / "weights"))
    assert codec.weights.manifest["name"] == "convvc"
    assert codec.weights.manifest["training"]["rd_lambda"] == 0.013
    data, encoded = tiny_model.encoded_digests(codec, tiny_model.picture(70, 90), 0)
    assert tiny_model.decoded_digests(codec, data) == encoded


def test_a_checkpoint_from_before_the_names_is_mambavc_lite(recipe: Recipe) -> None:
    lite = replace(recipe, model="mambavc-lite", config=tiny_model.CONFIG.to_dict(), optimizer="muon", rd_lambda=0.0)
    trainer = Trainer(lite)
    old = trainer.state_dict(1.0)
    old["recipe"] = {"batch": 2}
    state.write(lite.checkpoint, old)
    trainer.load(lite.checkpoint)
    model, _ = load_checkpoint(lite.checkpoint)
    assert model.rates == 64 and model.config == tiny_model.CONFIG


def test_tables_of_a_learned_density() -> None:
    """A row for every channel: the probabilities of the density, and room for all but its tails."""
    torch.manual_seed(3)
    density = FactorizedDensity(5)
    with torch.no_grad():
        density.quantiles += torch.tensor([0.0, 7.0, -3.4, 0.0, 0.0])[:, None]
        density.quantiles[3, 2] = 1e6  # as a run that went wrong may leave it
    tables = hyper_tables(density)
    assert tables.rows == 5
    assert tables.lowest.tolist() == [-10, -3, -13, -10, -10]
    assert tables.half_width.tolist() == [10, 10, 10, (WIDEST + 10) // 2 + 1, 10]
    for row in (0, 1, 2):
        start, symbols = int(tables.start[row]), 21
        frequency = np.diff(tables.cdf[start : start + symbols + 1].astype(np.int64))
        integers = torch.arange(symbols).float() + int(tables.lowest[row])
        with torch.no_grad():
            mass = density.likelihood(integers[:, None].expand(-1, 5))[:, row].numpy()
        np.testing.assert_allclose(frequency / TOTAL, mass, atol=2 / TOTAL)


def test_every_model_can_be_asked_for_its_hyper_tables() -> None:
    for name in MODELS:
        model = registry.known(name).make(tiny(name).to_dict())
        assert hyper_tables(model.density).rows == model.config.hyper
