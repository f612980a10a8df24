"""The training loop: one or many processes, resumable at any step, weights averaged (EMA).

Two single-threaded processes over gloo train more pixels on two cores than one process with two threads. What a step
does depends on the recipe's seed, the step and the rank alone, so a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mvc.errors import SourceError, WeightsError
from mvc.models import registry
from mvc.models.density import FactorizedDensity
from mvc.train import captured, state, stores
from mvc.train.checkpoints import UNREADABLE
from mvc.train.device_crops import Ahead, DeviceCrops, sent
from mvc.train.gops import Gops, InterObjective
from mvc.train.grow import describe, grow, is_deeper
from mvc.train.log import COLUMNS, Report
from mvc.train.look import LookObjective
from mvc.train.objective import Objective
from mvc.train.optim import OPTIMIZERS, Adam, MuonAdamW
from mvc.train.recipe import Recipe
from mvc.train.trained import start, trained_with
from mvc.train.validate import VALIDATED, validate

TOLD = ("loss", "bpp", "hyper_bpp", "mse", "motion_bpp")  # of what an objective says
NOISE_STREAM = 1  # sets the noise's random numbers apart from those of the crops


def objective_of(model: Any, recipe: Recipe) -> Objective | LookObjective:
    """What the recipe trains a model for."""
    dtype = getattr(torch, recipe.dtype)
    if recipe.for_look:
        return LookObjective(model, dtype)
    shares = recipe.ms_ssim, recipe.seen
    return Objective(model, dtype, *shares, recipe.rd_lambda, recipe.parts, recipe.lpips, recipe.lpips_part)


def trained_for(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The objective of a step: that of pictures or whole sequences, or of frames that are known one by one."""
    if recipe.in_gops:
        return InterObjective(model, getattr(torch, recipe.dtype))
    return objective_of(model, recipe)


@torch.no_grad()
def hold(gradients: list[Tensor], norm: Tensor, most: float) -> None:
    """Scale gradients down to a norm of `most`, without waiting for it; one that is not finite makes them zero."""
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)
    lost = ~torch.isfinite(norm)
    for gradient in gradients:
        gradient.masked_fill_(lost, 0.0)


class Trainer:
    """State of one run in one process. Rank 0 writes the checkpoint and the logs."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.device = recipe.chosen_device()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for batch in recipe.batches:
            if batch % self.world:
                raise SourceError(f"batch = {batch} does not divide among {self.world} processes")
        self.folder = Path(recipe.run)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        made: Any = registry.known(recipe.model).make(recipe.config)
        self.model = made.to(self.device)
        if recipe.start:
            start(self.model, Path(recipe.start))
        trained = [self.model.networks[part] for part in recipe.parts or self.model.networks]
        self.model.requires_grad_(False)
        for network in trained:
            network.requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        # The quantiles of a learned density have a loss and an optimiser of their own: no other part feels them.
        densities = [network.density for network in trained]
        tails = [density.quantiles for density in densities if isinstance(density, FactorizedDensity)]
        self.parameters = [
            p for p in self.model.parameters() if p.requires_grad and not any(p is tail for tail in tails)
        ]
        self.optimizer = OPTIMIZERS[recipe.optimizer](self.parameters, recipe.lr)
        self.tails = Adam(tails, recipe.aux_lr) if tails else None
        self.objective: nn.Module = trained_for(self.model, recipe)
        if self.world > 1:
            # Depthwise kernels of channels-last pictures: one copy more, as the warning says, and no error.
            warnings.filterwarnings("ignore", "Grad strides do not match")
            self.objective = nn.parallel.DistributedDataParallel(self.objective, gradient_as_bucket_view=True)
        self.step, self.minutes_before, self.grown = 0, 0.0, ""
        if self.rank == 0:
            stores.build(recipe)
        if self.world > 1:
            dist.barrier()
        self.store = stores.opened(recipe)
        self.held = stores.held(recipe)
        self.waits = self.device == "cpu"  # for what a step computes, before the next
        self.crops: DeviceCrops | None = None
        self.ahead: Ahead | None = None
        if not self.waits:
            if isinstance(self.store, Gops):
                self.store.threads = max(1, (os.cpu_count() or 1) // self.world)
            self.crops = DeviceCrops.of(self.store, self.device, recipe)
            self.ahead = Ahead(self._drawn) if self.crops is None else None
        self.captured: captured.Captured | None = None
        fixed = self.crops is not None and self.world == 1 and not self.tails
        if fixed and isinstance(self.optimizer, MuonAdamW) and captured.is_wanted():
            self.lr = torch.zeros((), device=self.device)
            self.captured = captured.Captured(partial(self._moved, self.optimizer.captured()))

    # --- state ---------------------------------------------------------------------------------------------------

    def state_dict(self, minutes: float) -> dict[str, object]:
        """All that `load` needs to go on from here."""
        return {
            "recipe": asdict(self.recipe),
            "config": self.model.config.to_dict(),
            "step": self.step,
            "minutes": minutes,
            "model": self.model.state_dict(),
            "average": self.average,
            "trained": self._trained(),
            "optimizer": self.optimizer.state_dict() | ({"tails": self.tails.state_dict()} if self.tails else {}),
        }

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, full or packed; WeightsError if it is none, or of another model or optimiser.

        Where the recipe's model has deeper stages, the new blocks start near the identity, and `grown` says which.
        """
        stored = state.read(path)
        for name, value in (("model", self.recipe.model), ("optimizer", self.recipe.optimizer)):
            if (had := trained_with(stored, name)) != value:
                raise WeightsError(f"{path} was trained with {name} = {had!r}, the recipe has {value!r}")
        config, former = self.model.config.to_dict(), stored["config"]
        try:
            if isinstance(self.optimizer, MuonAdamW) and is_deeper(config, former):
                stored = grow(stored, self.recipe.model, self.model, self.optimizer)
                self.grown = describe(config, former)
            self.model.load_state_dict(self._with_start(stored["model"]))
            averages = self._with_start(stored["average"])
            for name, value in self.average.items():
                value.copy_(averages[name])
            self.optimizer.load_state_dict(stored["optimizer"])
            if self.tails:
                self.tails.load_state_dict(stored["optimizer"]["tails"])
        except UNREADABLE as error:
            raise WeightsError(
                f"{path} does not fit the recipe's model: {state.line(error)}",
                hint="`config` must be what it was trained with",
            ) from error
        self.step, self.minutes_before = int(stored["step"]), float(stored["minutes"])

    def _trained(self) -> list[str]:
        """The names of what the run trains, where that is a part."""
        named = self.model.named_parameters() if self.recipe.parts else ()
        return [name for name, parameter in named if parameter.requires_grad]

    def _with_start(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stored values, and of what a packed checkpoint leaves out those that the run began with."""
        return {**(self.model.state_dict() if self.recipe.start and self.recipe.parts else {}), **values}

    # --- work ----------------------------------------------------------------------------------------------------

    def batch(self) -> tuple[Tensor, ...]:
        """What the objective is of in this step and rank; qualities are spread evenly over the whole batch.

        Crops [count, H, W, 3] in 0..1 and quality indices, or [count, T, H, W, 3] for a model of clips, or a Step of
        GOPs (gops.py).
        """
        if self.crops is not None:
            rng, own, crop_px = self._numbers(self.step)
            return self.crops.batch(rng, len(own), crop_px), sent(own, self.device)
        if self.ahead is not None:
            return tuple(part.to(self.device, non_blocking=True) for part in self.ahead.take(self.step))
        return tuple(part.to(self.device) for part in self._drawn(self.step))

    def _numbers(self, step: int) -> tuple[np.random.Generator, np.ndarray, int]:
        """Random numbers of a step and rank, its quality indices, and the side of its crops in pixels."""
        rng = np.random.default_rng((self.recipe.seed, step, self.rank))
        batch, crop_px = self.recipe.crops_at(step)
        count = batch // self.world
        shared = np.random.default_rng((self.recipe.seed, step))
        spread = (shared.permutation(batch) + shared.random(batch)) / batch * self.model.rates
        return rng, spread[self.rank * count : (self.rank + 1) * count].astype(np.int64), crop_px

    def _drawn(self, step: int) -> tuple[Tensor, ...]:
        """The batch of a step on the CPU."""
        rng, own, crop_px = self._numbers(step)
        if isinstance(self.store, Gops):
            return self.store.next(rng, own, crop_px, self.model.rates)
        crops = self.store.batch(rng, len(own), crop_px)
        return torch.from_numpy(crops).float().div_(255), torch.from_numpy(own)

    def _lr(self, share: float) -> float:
        """Warm-up, constant, a tenth after each of `lr_drops`, a cosine to zero over the last `cooldown` of the run."""
        recipe = self.recipe
        rate = recipe.lr * min(1.0, (self.step + 1) / max(1, recipe.warmup_steps))
        rate /= 10 ** sum(step <= self.step for step in recipe.lr_drops)
        if recipe.cooldown and share > 1 - recipe.cooldown:
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, (share - 1 + recipe.cooldown) / recipe.cooldown)))
        return rate

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema, 1 - 8 / (self.step + 10))
        values = self.model.state_dict()
        # what stays as it is must not be averaged with itself: -0.0 would become 0.0, and a look be of other weights
        names = self._trained() or list(values)
        torch._foreach_lerp_([self.average[name] for name in names], [values[name] for name in names], 1 - decay)

    def train_step(self, lr: float) -> tuple[float, ...]:
        """One step; TOLD of this rank's crops, and the norm of the gradient."""
        return tuple(self.taken_step(lr).tolist())

    def taken_step(self, lr: float) -> Tensor:
        """As `train_step`, but what it tells stays on the device, float32 [len(TOLD) + 1]: nothing waits for it.

        A step whose gradient is not finite changes nothing on a CPU. On a GPU, where that is not known in time, it
        counts as one whose gradient is zero.
        """
        seeds = np.random.SeedSequence((self.recipe.seed, self.step, self.rank, NOISE_STREAM))
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        if self.captured is not None:
            self.lr.fill_(lr)
            told = self.captured(*self.batch())
            self._update_average()
            self.step += 1
            return told
        told = self._passed(*self.batch())
        norm = told[-1]
        if not self.waits:
            self._move(lr)
        elif torch.isfinite(norm):
            if norm > self.recipe.clip:
                nn.utils.clip_grads_with_norm_(self.parameters, self.recipe.clip, norm, foreach=True)
            self._move(lr)
        self.step += 1
        return told

    def _moved(self, optimizer: MuonAdamW, *batch: Tensor) -> Tensor:
        """`_passed`, and the optimiser's step with the learning rate that is on the device."""
        told = self._passed(*batch)
        optimizer.step(self.lr)
        return told

    def _passed(self, *batch: Tensor) -> Tensor:
        """Forward and backward pass; what `taken_step` tells. On a GPU the gradients are held, too."""
        result = self.objective(*batch)
        self.model.zero_grad()
        loss = result["loss"].mean()
        (loss + result["tail_loss"] if self.tails else loss).backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        if not self.waits:
            hold(gradients, norm, self.recipe.clip)
        zero = torch.zeros_like(norm)
        means = [result[name].detach().mean() if name in result else zero for name in TOLD]
        return torch.stack([*means, norm]).float()

    def _move(self, lr: float) -> None:
        self.optimizer.step(lr)
        if self.tails:
            self.tails.step(self.recipe.aux_lr)
        self._update_average()

    def train(
        self, report: Report | None = None, *, minutes: float | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Train until the recipe's minutes or steps are over; True if so, False if it was stopped before.

        It stops after `minutes` of this call, or when `stopped()`; rank 0 decides. It writes the checkpoint either way.
        """
        recipe = self.recipe
        start = last_save = last_check = window = time.monotonic()
        sums: list[Tensor] = []
        megapixels = 0.0
        while True:
            now = time.monotonic()
            elapsed = (now - start) / 60
            share = (self.minutes_before + elapsed) / recipe.minutes
            share = max(share, self.step / recipe.steps) if recipe.steps else share
            stop = stopped() or (minutes is not None and elapsed >= minutes)
            check = bool(self.held) and now - last_check > 60 * recipe.validate_minutes
            share, stop, check = self._agree(share, stop, check)
            if report:
                report.progress(share)
            if check or (share >= 1 and self.held):
                self._validate(report, self.minutes_before + elapsed)
                last_check = time.monotonic()
                window += last_check - now
            if share >= 1 or stop:
                break
            lr = self._lr(share)
            batch, crop_px = recipe.crops_at(self.step)
            megapixels += batch * (1 if recipe.in_gops else max(1, recipe.frames)) * crop_px**2 / 1e6
            sums.append(self.taken_step(lr))
            now = time.monotonic()
            if self.step % recipe.log_steps == 0:
                told = torch.stack(sums).double().cpu().numpy()  # here, and here alone, a GPU is waited for
                now = time.monotonic()
                if report:
                    total = self.minutes_before + (now - start) / 60
                    speed = megapixels / (now - window)
                    report.row(self._row(told, total, lr, speed), total * (1 / share - 1) if share else 0.0)
                sums, window, megapixels = [], now, 0.0
            if self.rank == 0 and now - last_save > 60 * recipe.checkpoint_minutes:
                self.save(self.minutes_before + (now - start) / 60)
                last_save = now
        if self.rank == 0:
            self.save(self.minutes_before + (time.monotonic() - start) / 60)
        return share >= 1

    def save(self, minutes: float) -> None:
        """Write the run's checkpoint."""
        state.write(self.recipe.checkpoint, self.state_dict(minutes))

    def _agree(self, share: float, stop: bool, check: bool) -> tuple[float, bool, bool]:
        """What rank 0 says: all must leave the loop, and validate, at the same step."""
        if self.world == 1:
            return share, stop, check
        said = torch.tensor([share, float(stop), float(check)], dtype=torch.float64, device=self.device)
        dist.broadcast(said, 0)
        return said[0].item(), bool(said[1]), bool(said[2])

    def _row(self, told: np.ndarray, minutes: float, lr: float, speed: float) -> dict[str, float]:
        loss, bpp, hyper, mse, motion, norm = np.mean(told, 0).tolist()
        values = [self.step, minutes, loss, bpp, hyper, -10 * math.log10(mse), norm, lr, speed, motion]
        return dict(zip(COLUMNS, values, strict=True))

    def _validate(self, report: Report | None, minutes: float) -> None:
        objective = objective_of(self.model, replace(self.recipe, ms_ssim=0.0, seen=0.0))  # which no row shows
        indices = VALIDATED if self.model.rates > 1 else (0,)
        self.model.eval()
        rows = validate(objective, self.average, self.held, self.device, indices)
        self.model.train()
        if report:
            report.validation([{"step": self.step, "minutes": minutes, **row} for row in rows])
