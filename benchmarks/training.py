"""Training throughput of a recipe in megapixels a second, and where the time goes.

    python -m benchmarks.training [--seconds 20] [--recipe recipes/mambavc-lite.toml] [--store STORE]
    python -m benchmarks.training --device cuda [--batch 64]

Crops come from samples/ unless a crop store is given; clips are parts of those pictures that move. Every figure is from
this machine as it was: the load average before the start is printed, and on a machine that does other work the wall
times mean little (the processor time per step still does).

TFLOP/s are those of all matrix products and convolutions of a step, forward, backward and optimiser, as torch's counter
sees them: twice the multiply-accumulates. Scans, norms and gates are in the time alone.
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
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.distributed as dist
from PIL import Image
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from mvc.train.captured import WARM_UP
from mvc.train.loop import Trainer
from mvc.train.recipe import Recipe

ROOT = Path(__file__).parent.parent
SKETCH_MPX_PER_S = 1.1  # the sketch of this model, two processes on two cores (shared/sketch/README.md)
WARM_UP_STEPS = WARM_UP + 2  # until steps are captured, where they are
PROFILED_STEPS = 4
GEMM = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm"}
KERNELS = {
    "_Mix": "mixer kernels",
    "_Norm": "mixer kernels",
    "_GatedNorm": "mixer kernels",
    "_Depthwise": "depthwise kernels",
    "_Latent": "rate kernel (numba)",
    "_Scan": "scan kernels (Triton)",
    "_Warp": "warp",
}
LABELS = {"optimiser", "average", "data", "gradient norm"}


class Result(NamedTuple):
    """Of rank 0: speed, a step's cost, and shares of the time by category where there is one process only."""

    mpx_per_s: float
    wall_s: float  # per step
    processor_s: float
    flops: float  # of a step
    busy_s: float  # of the GPU, per step
    peak_mib: float  # of the GPU's memory
    shares: dict[str, float]


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
    if "conv" in event.name:
        return "convolutions"
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


def shares(trainer: Trainer) -> tuple[dict[str, float], float]:
    """Share of the time of a few steps by category, on a GPU of its time; and that time per step in seconds."""
    cuda = trainer.device == "cuda"
    norm = torch.nn.utils.get_total_norm
    trainer.optimizer.step = labelled("optimiser", trainer.optimizer.step)  # type: ignore[method-assign]
    trainer._update_average = labelled("average", trainer._update_average)  # type: ignore[method-assign]
    trainer.batch = labelled("data", trainer.batch)  # type: ignore[method-assign]
    torch.nn.utils.get_total_norm = labelled("gradient norm", norm)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    try:
        with profile(activities=activities) as recorded:
            for _ in range(PROFILED_STEPS):
                trainer.train_step(1e-5)
    finally:
        torch.nn.utils.get_total_norm = norm
    times: dict[str, float] = defaultdict(float)
    for event in recorded.events():
        if event.device_type == torch.autograd.DeviceType.CPU:  # a kernel's time is also that of what started it
            times[category(event)] += event.self_device_time_total if cuda else event.self_cpu_time_total
    whole = sum(times.values()) or 1.0
    ordered = {name: spent / whole for name, spent in sorted(times.items(), key=lambda item: -item[1]) if spent}
    return ordered, whole / 1e6 / PROFILED_STEPS


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
        trainer.taken_step(1e-5)
        steps += 1
    if trainer.device == "cuda":
        torch.cuda.synchronize()
    wall, processor = time.perf_counter() - start, time.process_time() - worked
    if rank == 0:
        peak = torch.cuda.max_memory_allocated() / 2**20 if trainer.device == "cuda" else 0.0
        flops, busy, by_part = 0.0, 0.0, {}
        if world == 1:
            trainer.captured = None  # a graph has no parts
            with FlopCounterMode(display=False) as counter:
                trainer.train_step(1e-5)
            flops = float(counter.get_total_flops())
            by_part, busy = shares(trainer)
        speed = steps * recipe.batch * recipe.crop_px**2 / 1e6 / wall
        results.put(Result(speed, wall / steps, processor / steps, flops, busy, peak, by_part))
    if world > 1:
        dist.destroy_process_group()


def run(recipe: Recipe, seconds: float, world: int) -> Result:
    """What training by so many processes takes."""
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
        found: Result = results.get()
        return found


def moving_samples(folder: Path, side: int = 256, frames: int = 14) -> Path:
    """A folder of clips, each of numbered pictures: windows that move over the pictures of samples/."""
    for path in sorted((ROOT / "samples").glob("*.png")):
        clip = folder / path.stem
        clip.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for t in range(frames):
            picture.crop((3 * t, 2 * t, 3 * t + side, 2 * t + side)).save(clip / f"{t:03}.png", compress_level=1)
    return folder


def prepared(path: Path, store: Path, device: str, **changes: Any) -> Recipe:
    """A recipe on the sample pictures, or clips made of them, and on nothing else but random weights."""
    recipe = Recipe.read(path)
    clips = moving_samples(store.parent / "clips") if recipe.frames else None
    settings: dict[str, Any] = {
        "pictures": str(clips or ROOT / "samples"),
        "store": str(store.with_name(store.name + ("-clips" if clips else ""))),
        "stills": str(ROOT / "samples") if recipe.stills else "",
    }
    nothing: dict[str, Any] = {"holdout": 0, "start": "", "graphics": "", "drawn": 0, "graphics_share": 0.0}
    return replace(recipe, **settings, **nothing, device=device, **changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time per setting")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "mambavc-lite.toml")
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "benchmark" / "store")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, help="crops per process; half the recipe's on a CPU, all on a GPU")
    options = parser.parse_args()
    recipe = prepared(options.recipe, options.store, options.device)
    cuda = options.device == "cuda"
    # half, so that a process has as much to do in both settings
    per_process = options.batch or (recipe.batch if cuda else recipe.batch // 2)
    print("# Training throughput\n")
    print(f"{options.recipe.name}, {per_process} crops of {recipe.crop_px} px per process and step")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average before the start {load} (above 0.5 means: not a quiet machine)\n")
    print("| processes | Mpx/s | against the sketch | wall s per step | processor s per step |\n|---|---|---|---|---|")
    alone: Result | None = None
    for world in (1,) if cuda else (1, 2):
        found = run(replace(recipe, batch=per_process * world), options.seconds, world)
        alone = alone or found
        speed = found.mpx_per_s
        print(f"| {world} | {speed:.2f} | {speed / SKETCH_MPX_PER_S:.2f} ", end="")
        print(f"| {found.wall_s:.3f} | {found.processor_s:.3f} |", flush=True)
    assert alone is not None
    print(f"\n{alone.flops / alone.wall_s / 1e12:.3g} TFLOP/s in products and convolutions, one process")
    if cuda:
        busy = alone.busy_s / alone.wall_s
        print(f"GPU busy for {busy:.0%} of a step, at most {alone.peak_mib:.0f} MiB of its memory")
    print("\n| part of a step, one process | share |\n|---|---|")
    for name, share in alone.shares.items():
        print(f"| {name} | {share:.1%} |")


if __name__ == "__main__":
    main()
