"""Training throughput of the default recipe in megapixels a second, and where the time goes.

    python -m benchmarks.training [--seconds 20] [--recipe recipes/mambavc-lite.toml] [--store STORE]

Crops come from samples/ unless a crop store is given. Every figure is from this machine as it was: the load average
before the start is printed, and on a machine that does other work the wall times mean little (the processor time per
step still does).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile, record_function

from mvc.train.loop import Trainer
from mvc.train.recipe import Recipe

ROOT = Path(__file__).parent.parent
SKETCH_MPX_PER_S = 1.1  # the sketch of this model, two processes on two cores (shared/sketch/README.md)
WARM_UP_STEPS = 3
PROFILED_STEPS = 4
GEMM = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm"}
KERNELS = {
    "_Mix": "mixer kernels (numba)",
    "_Norm": "mixer kernels (numba)",
    "_Depthwise": "depthwise kernels (numba)",
    "_Latent": "rate kernel (numba)",
}
LABELS = {"optimiser", "average", "data", "gradient norm"}


def category(event: Any) -> str:
    """Which line of the profile an operation's own time belongs to."""
    parent = event
    while parent is not None:
        if parent.name in LABELS:
            return str(parent.name)
        parent = parent.cpu_parent
    if event.name in GEMM:
        return "matrix products (bf16)"
    if event.name.startswith("_"):
        return KERNELS.get(event.name.removesuffix("Backward"), "other")
    if event.name.startswith(("gloo", "c10d", "nccl", "record_param_comms", "DistributedDataParallel")):
        return "all-reduce"
    if event.name in ("aten::copy_", "aten::cat", "aten::_to_copy", "aten::fill_", "aten::zero_"):
        return "copies and casts"
    return "element-wise and sums" if event.name.startswith("aten::") else "autograd and the rest"


def labelled(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, visible in a profile."""

    def call(*arguments: Any, **options: Any) -> Any:
        with record_function(label):
            return function(*arguments, **options)

    return call


def shares(trainer: Trainer) -> dict[str, float]:
    """Share of the time of a few steps by category."""
    norm = torch.nn.utils.get_total_norm
    trainer.optimizer.step = labelled("optimiser", trainer.optimizer.step)  # type: ignore[method-assign]
    trainer._update_average = labelled("average", trainer._update_average)  # type: ignore[method-assign]
    trainer.batch = labelled("data", trainer.batch)  # type: ignore[method-assign]
    torch.nn.utils.get_total_norm = labelled("gradient norm", norm)
    try:
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            for _ in range(PROFILED_STEPS):
                trainer.train_step(1e-5)
    finally:
        torch.nn.utils.get_total_norm = norm
    times: dict[str, float] = defaultdict(float)
    for event in recorded.events():
        times[category(event)] += event.self_cpu_time_total
    whole = sum(times.values())
    return {name: spent / whole for name, spent in sorted(times.items(), key=lambda item: -item[1])}


def measure(recipe: Recipe, seconds: float, rank: int, world: int, meeting: str, results: Any) -> None:
    """One process of a run: rank 0 reports speed and, if it is alone, its profile."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    trainer = Trainer(recipe)
    for _ in range(WARM_UP_STEPS):
        trainer.train_step(1e-5)
    steps, start, worked = 0, time.perf_counter(), time.process_time()
    while steps == 0 or trainer._agree(0.0, time.perf_counter() - start > seconds, False)[1] is False:
        trainer.train_step(1e-5)
        steps += 1
    wall, processor = time.perf_counter() - start, time.process_time() - worked
    if rank == 0:
        speed = steps * recipe.batch * recipe.crop_px**2 / 1e6 / wall
        results.put((speed, wall / steps, processor / steps, shares(trainer) if world == 1 else {}))
    if world > 1:
        dist.destroy_process_group()


def run(recipe: Recipe, seconds: float, world: int) -> tuple[float, float, float, dict[str, float]]:
    """Throughput, wall and processor seconds per step of rank 0, and the profile (one process only)."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        plan = replace(recipe, run=folder)
        meeting = f"file://{folder}/meeting"
        workers = [
            context.Process(target=measure, args=(plan, seconds, rank, world, meeting, results))
            for rank in range(world)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a process failed")
        found: tuple[float, float, float, dict[str, float]] = results.get()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time per setting")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "mambavc-lite.toml")
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "benchmark" / "store")
    options = parser.parse_args()
    settings = {"pictures": str(ROOT / "samples"), "store": str(options.store), "holdout": 0, "device": "cpu"}
    recipe = replace(Recipe.read(options.recipe), **settings)
    per_process = recipe.batch // 2  # so that a process has as much to do in both settings
    print("# Training throughput\n")
    print(f"{options.recipe.name}, {per_process} crops of {recipe.crop_px} px per process and step")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average before the start {load} (above 0.5 means: not a quiet machine)\n")
    print("| processes | Mpx/s | against the sketch | wall s per step | processor s per step |\n|---|---|---|---|---|")
    table: dict[str, float] = {}
    for world in (1, 2):
        plan = replace(recipe, batch=per_process * world)
        speed, wall, processor, profiled = run(plan, options.seconds, world)
        table = profiled or table
        print(f"| {world} | {speed:.2f} | {speed / SKETCH_MPX_PER_S:.2f} | {wall:.3f} | {processor:.3f} |", flush=True)
    print("\n| part of a step, one process | share |\n|---|---|")
    for name, share in table.items():
        print(f"| {name} | {share:.1%} |")


if __name__ == "__main__":
    main()
