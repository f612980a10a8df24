"""The training loop: one or many processes, resumable at any step, weights averaged (EMA), logged to CSV.

    python -m torch.distributed.run --nproc-per-node 2 -m mvc.train.loop RECIPE.toml

Two single-threaded processes over gloo train more pixels on two cores than one process with two threads.
"""

from __future__ import annotations

import csv
import math
import os
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mvc.errors import SourceError
from mvc.models.mambavc_lite import Config, MambaVCLite
from mvc.train.data import CropStore, build_store
from mvc.train.objective import rate_distortion
from mvc.train.optim import MuonAdamW

COLUMNS = ["step", "minutes", "loss", "bpp", "hyper_bpp", "psnr", "grad_norm", "lr", "mpx_per_s"]


@dataclass(frozen=True)
class Recipe:
    """A training run, as read from a TOML file."""

    pictures: str
    store: str
    run: str
    config: dict[str, Any] = field(default_factory=dict)
    batch: int = 16
    crop_px: int = 256
    lr: float = 1e-3
    warmup_steps: int = 100
    minutes: float = 60.0
    cooldown: float = 0.0  # share of the time, at the end, in which the learning rate falls to zero
    clip: float = 20.0
    ema: float = 0.999
    seed: int = 0
    dtype: str = "bfloat16"
    checkpoint_minutes: float = 5.0
    log_steps: int = 50

    @classmethod
    def read(cls, path: Path) -> Recipe:
        try:
            return cls(**tomllib.loads(path.read_text()))
        except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
            raise SourceError(f"{path} is not a training recipe: {error}") from error


class _Objective(nn.Module):
    """The objective as a module, so that DistributedDataParallel sees one forward pass."""

    def __init__(self, model: MambaVCLite, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x: Tensor, quality: Tensor) -> dict[str, Tensor]:
        return rate_distortion(self.model, x, quality, dtype=self.dtype)


class Trainer:
    """State of one run in one process. Rank 0 writes the checkpoint and the log."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if recipe.batch % self.world:
            raise SourceError(f"batch {recipe.batch} does not divide among {self.world} processes")
        self.folder = Path(recipe.run)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.model = MambaVCLite(Config.from_dict(recipe.config))
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimizer = MuonAdamW(self.model, recipe.lr)
        self.step, self.minutes_before = 0, 0.0
        self.store = self._open_store()

    def _open_store(self) -> CropStore:
        store = Path(self.recipe.store)
        if self.rank == 0 and not store.with_suffix(".json").exists():
            build_store(Path(self.recipe.pictures), store)
        if self.world > 1:
            dist.barrier()
        return CropStore(store)

    # --- state ---------------------------------------------------------------------------------------------------

    def save(self, path: Path, minutes: float) -> None:
        state = {
            "recipe": asdict(self.recipe),
            "config": self.model.config.to_dict(),
            "step": self.step,
            "minutes": minutes,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = path.with_suffix(".part")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = {k: v.float() for k, v in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.minutes_before = state["step"], state["minutes"]

    # --- work ----------------------------------------------------------------------------------------------------

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Crops and quality indices of this step and rank; qualities are spread evenly over the whole batch."""
        rng = np.random.default_rng((self.recipe.seed, self.step, self.rank))
        count = self.recipe.batch // self.world
        crops = self.store.batch(rng, count, self.recipe.crop_px)
        shared = np.random.default_rng((self.recipe.seed, self.step))
        spread = (shared.permutation(self.recipe.batch) + shared.random(self.recipe.batch)) / self.recipe.batch * 64
        own = spread[self.rank * count : (self.rank + 1) * count].astype(np.int64)
        return torch.from_numpy(crops).float() / 255, torch.from_numpy(own)

    def _lr(self, share: float) -> float:
        """Warm-up, constant, and a cosine to zero over the last `cooldown` of the time."""
        recipe = self.recipe
        rate = recipe.lr * min(1.0, (self.step + 1) / recipe.warmup_steps)
        if recipe.cooldown and share > 1 - recipe.cooldown:
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, (share - 1 + recipe.cooldown) / recipe.cooldown)))
        return rate

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema, 1 - 8 / (self.step + 10))
        values = self.model.state_dict()
        torch._foreach_lerp_([self.average[k] for k in values], list(values.values()), 1 - decay)

    def train(self, report: Callable[[dict[str, float]], None] | None = None) -> None:
        """Train for `recipe.minutes` of wall time; rank 0 decides when time is up."""
        recipe = self.recipe
        objective: nn.Module = _Objective(self.model, getattr(torch, recipe.dtype))
        if self.world > 1:
            objective = nn.parallel.DistributedDataParallel(objective, gradient_as_bucket_view=True)
        start = last_save = window = time.monotonic()
        sums: list[tuple[float, ...]] = []
        while True:
            clock = torch.tensor([(time.monotonic() - start) / 60 / recipe.minutes])
            if self.world > 1:
                dist.broadcast(clock, 0)
            share = clock.item()
            if share >= 1:
                break
            lr = self._lr(share)
            x, quality = self._batch()
            result = objective(x, quality)
            for parameter in self.model.parameters():
                parameter.grad = None
            result["loss"].mean().backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip, foreach=True)
            if torch.isfinite(norm):
                self.optimizer.step(lr)
                self._update_average()
            self.step += 1
            sums.append((*(result[k].mean().item() for k in ("loss", "bpp", "hyper_bpp", "mse")), norm.item()))
            if self.rank == 0 and self.step % recipe.log_steps == 0:
                now = time.monotonic()
                loss, bpp, hyper, mse, norm_mean = np.mean(sums, 0)
                pixels = recipe.log_steps * recipe.batch * recipe.crop_px**2
                minutes = self.minutes_before + (now - start) / 60
                values = [self.step, minutes, loss, bpp, hyper, -10 * math.log10(mse), norm_mean, lr]
                row = dict(zip(COLUMNS, [*values, pixels / 1e6 / (now - window)], strict=True))
                self._log(row)
                if report:
                    report(row)
                sums, window = [], now
            if self.rank == 0 and time.monotonic() - last_save > 60 * recipe.checkpoint_minutes:
                self.save(self.folder / "last.pt", self.minutes_before + (time.monotonic() - start) / 60)
                last_save = time.monotonic()
        if self.rank == 0:
            self.save(self.folder / "last.pt", self.minutes_before + (time.monotonic() - start) / 60)

    def _log(self, row: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow([f"{row[c]:.6g}" for c in COLUMNS])


def main(recipe_path: Path, *, resume: Path | None = None, minutes: float | None = None, threads: int | None = None) -> None:
    """Train as the recipe says; under torchrun, as one rank of many."""
    recipe = Recipe.read(recipe_path)
    if minutes is not None:
        recipe = replace(recipe, minutes=minutes)
    if "WORLD_SIZE" in os.environ:
        torch.set_num_threads(threads or 1)
        dist.init_process_group("gloo")
    elif threads:
        torch.set_num_threads(threads)
    trainer = Trainer(recipe)
    if resume:
        trainer.load(resume)

    def show(row: dict[str, float]) -> None:
        print(" ".join(f"{k} {row[k]:.4g}" for k in COLUMNS), flush=True)

    try:
        trainer.train(show)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    main(arguments.recipe, resume=arguments.resume, minutes=arguments.minutes)
