"""MambaVC, SwinVC, ConvVC and SAMIC at lite size: one frame with their blocks, trained alike, compared on real files.

    python -m benchmarks.blocks --minutes 20 --store STORE --run FOLDER
    python -m benchmarks.blocks --kinds vss conv sass+rrm sass vss+rrm --seed 0 1 --loss samic --store ... --run ...
    python -m benchmarks.blocks_report --run FOLDER --pictures PICTURES... [--json] [--plot]

This gives each kind of block the same crops, seeds, recipe and processor time. A few steps of each are timed first,
in turn; from that follow the steps that each takes in --minutes on each core, and with them its learning rates,
whatever else the machine does. Stopped at any time, the same command goes on; with more seeds it goes on with those.

A kind is one of Config.block, the first being what the others are compared with; `+rrm` adds SAMIC's low-rank latents
(SVD-RRM). `sass+rrm` is samic-lite. The loss is the recipe's, or samic's: lambda MSE + bits per pixel + 3.5 LPIPS.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mvc import files
from mvc.cli.terminal import note
from mvc.errors import MvcError
from mvc.models.lite import BLOCKS
from mvc.train import state
from mvc.train.data import CropStore
from mvc.train.recipe import Recipe
from mvc.train.run import train as train_recipe

ROOT = Path(__file__).parent.parent
NAMES = dict(zip(BLOCKS, ("MambaVC-lite", "SwinVC-lite", "ConvVC-lite", "SASS-lite"), strict=True))
RRM = "+rrm"
KINDS = (*BLOCKS, *(block + RRM for block in BLOCKS))
DEFAULT_KINDS = BLOCKS[:3]  # those of MambaVC's comparison
LOSSES: dict[str, dict[str, float]] = {"ours": {}, "samic": {"ms_ssim": 0.0, "lpips": 3.5}}
"""What the recipe has otherwise, by the name of the loss."""
ROUNDS = 3  # of timing
ENDLESS_MINUTES = 1e6  # steps end a run, and no clock does
COOLDOWN = 0.3


@dataclass
class Plan:
    """How long each kind trains, and what it has taken so far; lies in the run's folder as plan.json."""

    minutes: float  # of processor time, on each of the processes
    processes: int
    batch_px: int  # pixels of a step
    step_s: dict[str, float]  # processor time of a step of each kind, on each process
    loss: str = "ours"
    seeds: list[int] = field(default_factory=lambda: [0])
    used_s: dict[str, float] = field(default_factory=dict)  # by run, over all processes, start and validation included

    @property
    def kinds(self) -> list[str]:
        """In the order of the tables; the first is what the others are compared with."""
        return list(self.step_s)

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Kind and seed of each: all kinds with a seed, then with the next."""
        return [(kind, seed) for seed in self.seeds for kind in self.kinds]

    def steps(self, kind: str) -> int:
        """How many steps the kind takes in its time."""
        return max(1, round(60 * self.minutes / self.step_s[kind]))

    @classmethod
    def read(cls, run: Path) -> Plan:
        try:
            return cls(**json.loads((run / "plan.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise MvcError(f"{run} has no plan of `benchmarks.blocks train`: {error}") from error

    def write(self, run: Path) -> None:
        text = json.dumps(asdict(self), indent=1) + "\n"
        files.write_atomic(run / "plan.json", text.encode(), force=True)


def name_of(kind: str) -> str:
    """What a kind is called in tables."""
    return NAMES[kind.removesuffix(RRM)] + (" with SVD-RRM" if kind.endswith(RRM) else "")


def run_of(kind: str, seed: int) -> str:
    """The name of a kind's run with a seed, and of its folder."""
    return f"{kind}-{seed}"


def recipe_of(kind: str, base: Recipe, store: Path, run: Path, seed: int = 0, loss: str = "ours") -> Recipe:
    """The recipe of one kind: `base`, but for its blocks, its seed and loss, its folders and its end."""
    made_with: dict[str, Any] = CropStore(store).settings if store.with_suffix(".json").exists() else {}
    return replace(
        base,
        config={**base.config, "block": kind.removesuffix(RRM), "rrm": kind.endswith(RRM)},
        seed=seed,
        store=str(store),
        run=str(run / run_of(kind, seed)),
        cooldown=COOLDOWN,
        steps=0,
        minutes=ENDLESS_MINUTES,
        validate_minutes=ENDLESS_MINUTES,
        **made_with,
        **LOSSES[loss],
    )


def to_toml(recipe: Recipe) -> str:
    """The recipe as a file that `mvc train` reads."""
    values = {name: value for name, value in asdict(recipe).items() if value is not None}
    tables = {name: values.pop(name) for name, value in list(values.items()) if isinstance(value, dict)}

    def lines(table: dict[str, object]) -> list[str]:
        return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in table.items()]

    parts = lines(values) + [line for name, table in tables.items() for line in (f"[{name}]", *lines(table))]
    return "\n".join(parts) + "\n"


def time_steps(recipes: dict[str, Recipe], seconds: float, processes: int) -> dict[str, float]:
    """Processor seconds per step and process, the least of some rounds: other work on the machine only adds to them."""
    from benchmarks import training  # not at the start: it holds its process, and so a report, to one thread

    least = dict.fromkeys(recipes, math.inf)
    for _ in range(ROUNDS):
        for kind, recipe in recipes.items():  # in turn, so that no kind has a busy time for itself
            least[kind] = min(least[kind], training.run(recipe, seconds / ROUNDS, processes)[2])
    return least


def steps_done(checkpoint: Path) -> int:
    """How far a run has come; 0 before its first checkpoint."""
    return int(state.read(checkpoint)["step"]) if checkpoint.is_file() else 0


def processor_s() -> float:
    """Processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def planned(base: Recipe, store: Path, run: Path, wanted: Plan, timing_s: float) -> Plan:
    """The plan in a run's folder with its seeds and those that are wanted, or a new one; MvcError for another plan."""
    if not (run / "plan.json").is_file():
        note(f"timing steps: {timing_s:g} s of each kind of block")
        recipes = {kind: recipe_of(kind, base, store, run, loss=wanted.loss) for kind in wanted.kinds}
        wanted.step_s = time_steps(recipes, timing_s, wanted.processes)
        wanted.write(run)
    plan = Plan.read(run)
    if (plan.minutes, plan.processes, plan.loss) != (wanted.minutes, wanted.processes, wanted.loss):
        was = f"{plan.minutes:g} minutes on {plan.processes} processes with the loss {plan.loss!r}"
        raise MvcError(f"{run} was planned for {was}", hint="go on with those, or name another folder")
    if plan.kinds != wanted.kinds:
        hint = "their steps were timed together: go on with those, or name another folder"
        raise MvcError(f"{run} was planned for {' '.join(plan.kinds)}", hint=hint)
    plan.seeds = sorted({*plan.seeds, *wanted.seeds})
    plan.write(run)
    return plan


def train(
    base: Recipe,
    store: Path,
    run: Path,
    minutes: float,
    timing_s: float,
    kinds: Sequence[str] = DEFAULT_KINDS,
    seeds: Sequence[int] = (0,),
    loss: str = "ours",
) -> bool:
    """Train what has not had its steps yet, all kinds with a seed and then with the next.

    False if that was stopped before its end.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise MvcError(f"there is no kind of block {unknown[0]!r}", hint="known are " + ", ".join(KINDS))
    processes = recipe_of(kinds[0], base, store, run).chosen_processes()
    files.make_folder(run)
    step_s, batch_px = dict.fromkeys(kinds, math.inf), base.batch * base.crop_px**2
    plan = planned(base, store, run, Plan(minutes, processes, batch_px, step_s, loss, list(seeds)), timing_s)
    for kind, seed in plan.runs:
        name, recipe = run_of(kind, seed), recipe_of(kind, base, store, run, seed, loss)
        steps, done = plan.steps(kind), steps_done(recipe.checkpoint)
        note(f"{name_of(kind)}, seed {seed}: {done} of {steps} steps done, {plan.step_s[kind]:.3f} s each")
        if done >= steps:
            continue
        path = run / f"{name}.toml"
        files.write_atomic(path, to_toml(replace(recipe, steps=steps)).encode(), force=True)
        before = processor_s()
        train_recipe(path, resume=done > 0)
        plan.used_s[name] = plan.used_s.get(name, 0.0) + processor_s() - before
        plan.write(run)
        if steps_done(recipe.checkpoint) < steps:
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of plan, checkpoints and logs")
    parser.add_argument("--store", type=Path, required=True, help="crop store, made as the recipe says if missing")
    parser.add_argument("--minutes", type=float, default=20.0, help="processor time of each kind on each core")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "mambavc-lite.toml")
    parser.add_argument("--timing", type=float, default=60.0, help="seconds for which steps of each kind are timed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=DEFAULT_KINDS, metavar="KIND", help="see above")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="one run of each kind for each")
    parser.add_argument("--loss", choices=LOSSES, default="ours", help="samic's needs LPIPS: mvc metrics --fetch")
    options = parser.parse_args()
    chosen = options.kinds, options.seed, options.loss
    try:
        base = Recipe.read(options.recipe)
        if not train(base, options.store, options.run, options.minutes, options.timing, *chosen):
            raise SystemExit("stopped; the same command goes on")
    except MvcError as error:
        raise SystemExit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")) from error


if __name__ == "__main__":
    main()
