"""MambaVC, SwinVC and ConvVC at lite size: one frame with three kinds of blocks, trained alike, compared on real files.

    python -m benchmarks.blocks --minutes 20 --store STORE --run FOLDER
    python -m benchmarks.blocks_report --run FOLDER --pictures PICTURES... [--json] [--plot]

This gives each kind of block the same crops, seed, recipe and processor time. A few steps of each are timed first,
in turn; from that follow the steps that each takes in --minutes on each core, and with them its learning rates,
whatever else the machine does. Stopped at any time, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
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
RESULT = ROOT / "benchmarks" / "results" / "blocks.md"
NAMES = dict(zip(BLOCKS, ("MambaVC-lite", "SwinVC-lite", "ConvVC-lite"), strict=True))
SIZES_PX = (128, 256, 384, 512)
ROUNDS = 3  # of timing
ENDLESS_MINUTES = 1e6  # steps end a run, and no clock does
COOLDOWN = 0.3


@dataclass
class Plan:
    """How long each kind trains, and what it has taken so far; lies in the run's folder as plan.json."""

    minutes: float  # of processor time, on each of the processes
    processes: int
    batch_px: int  # pixels of a step
    step_s: dict[str, float]  # processor time of a step, on each process
    used_s: dict[str, float] = field(default_factory=dict)  # over all processes, start and validation included

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


def recipe_of(kind: str, base: Recipe, store: Path, run: Path) -> Recipe:
    """The recipe of one kind: `base`, but for its blocks, its folders and its end."""
    made_with: dict[str, Any] = CropStore(store).settings if store.with_suffix(".json").exists() else {}
    return replace(
        base,
        config={**base.config, "block": kind},
        store=str(store),
        run=str(run / kind),
        cooldown=COOLDOWN,
        steps=0,
        minutes=ENDLESS_MINUTES,
        validate_minutes=ENDLESS_MINUTES,
        **made_with,
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


def train(base: Recipe, store: Path, run: Path, minutes: float, timing_s: float) -> bool:
    """Train what has not had its steps yet; False if that was stopped before its end."""
    recipes = {kind: recipe_of(kind, base, store, run) for kind in BLOCKS}
    processes = recipes[BLOCKS[0]].chosen_processes()
    files.make_folder(run)
    if not (run / "plan.json").is_file():
        note(f"timing steps: {timing_s:g} s of each kind of block")
        step_s = time_steps(recipes, timing_s, processes)
        Plan(minutes, processes, base.batch * base.crop_px**2, step_s).write(run)
    plan = Plan.read(run)
    if (plan.minutes, plan.processes) != (minutes, processes):
        planned = f"{run} was planned for {plan.minutes:g} minutes on {plan.processes} processes"
        raise MvcError(planned, hint="go on with those, or name another folder")
    for kind, recipe in recipes.items():
        steps, done = plan.steps(kind), steps_done(recipe.checkpoint)
        note(f"{NAMES[kind]}: {done} of {steps} steps done, {plan.step_s[kind]:.3f} s each")
        if done >= steps:
            continue
        path = run / f"{kind}.toml"
        files.write_atomic(path, to_toml(replace(recipe, steps=steps)).encode(), force=True)
        before = processor_s()
        train_recipe(path, resume=done > 0)
        plan.used_s[kind] = plan.used_s.get(kind, 0.0) + processor_s() - before
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
    options = parser.parse_args()
    try:
        if not train(Recipe.read(options.recipe), options.store, options.run, options.minutes, options.timing):
            raise SystemExit("stopped; the same command goes on")
    except MvcError as error:
        raise SystemExit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else "")) from error


if __name__ == "__main__":
    main()
