"""What `mvc train` and `mvc export` do: start the processes of a run, look after them, and stop them resumably."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from mvc.errors import BackendError, MvcError, SourceError
from mvc.train import export as exporting
from mvc.train.log import Report
from mvc.train.loop import Trainer
from mvc.train.recipe import Recipe

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def train(recipe: Path, *, resume: bool | Path = False, minutes: float | None = None) -> None:
    """Train as the recipe file says; `resume` is a checkpoint to go on from, or True for the run's own.

    Starts the recipe's processes, or is one of many if torchrun started it (WORLD_SIZE is set). Ctrl-C or
    SIGTERM writes the checkpoint and returns.
    """
    plan = Recipe.read(recipe)
    checkpoint = plan.checkpoint if resume is True else resume or None
    if checkpoint and not checkpoint.is_file():
        raise SourceError(f"there is no checkpoint {checkpoint}", hint="without --resume a run starts anew")
    if not checkpoint and plan.checkpoint.exists():
        raise SourceError(
            f"{plan.checkpoint} is there already", hint="--resume goes on from it; a new run needs another folder"
        )
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that follow
    command = f"mvc train {recipe} --resume"
    started = int(os.environ.get("WORLD_SIZE", 0))
    processes = started or plan.chosen_processes()
    for batch in plan.batches:
        if batch % processes:
            raise SourceError(f"batch = {batch} does not divide among {processes} processes")
    if started:
        _run(plan, checkpoint, minutes, command, "env://", int(os.environ["RANK"]), started)
        return
    if processes == 1:
        _run(plan, checkpoint, minutes, command, "", 0, 1)
        return
    with tempfile.TemporaryDirectory(prefix="mvc-train-") as folder:
        arguments = (plan, checkpoint, minutes, command, f"file://{folder}/meeting")
        _start(arguments, processes)


def export(checkpoint: Path, output: Path, store: Path | None = None) -> None:
    """Lower a checkpoint's averaged weights to integers and write the weights folder; `store` calibrates its tables."""
    exporting.export(checkpoint, output, store)


def _start(arguments: tuple[Any, ...], processes: int) -> None:
    """Run the processes to their end; the first error of any of them ends all and is raised here."""
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(errors, *arguments, rank, processes), name=f"mvc-train-{rank}")
        for rank in range(processes)
    ]

    stop: list[int] = []
    # The processes start with the signals ignored and take them when they are ready, so they are sent until then.
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        for worker in workers:
            worker.start()
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: stop.append(number))
        running = list(workers)
        while running:
            ended = multiprocessing.connection.wait([worker.sentinel for worker in running], timeout=0.5)
            for worker in [w for w in running if w.sentinel in ended]:
                running.remove(worker)
                worker.join()
                if worker.exitcode:
                    raise _error(errors, worker)
            if stop:
                for worker in running:
                    os.kill(worker.pid or 0, stop[0])
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _error(errors: Any, worker: Any) -> BaseException:
    """What a process that failed said, or how it ended."""
    if not errors.empty():
        error: BaseException = errors.get()
        return error
    return BackendError(
        f"the training process {worker.name} ended with exit code {worker.exitcode}",
        hint="it may have run out of memory; its own messages stand above",
    )


def _work(errors: Any, *arguments: Any) -> None:
    """Body of a started process."""
    try:
        _run(*arguments)
    except MvcError as error:
        errors.put(error)
        raise SystemExit(1) from error


class _Stopper:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop after this step."""

    def __init__(self) -> None:
        self.wanted = False
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True


def _run(
    recipe: Recipe, checkpoint: Path | None, minutes: float | None, command: str, meeting: str, rank: int, world: int
) -> None:
    """Train as one rank of `world`, which meet at an address of torch.distributed ("" if there is one only)."""
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    stopper = _Stopper()
    torch.set_num_threads(1)
    cuda = recipe.chosen_device() == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)))
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo", init_method=meeting, rank=rank, world_size=world)
    try:
        _train(recipe, checkpoint, minutes, command, stopper, rank, world)
    finally:
        if dist.is_initialized():
            # If what reduces gradients were the last to hold the group, it would wait for threads that wait for Python.
            gc.collect()
            dist.destroy_process_group()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _train(
    recipe: Recipe,
    checkpoint: Path | None,
    minutes: float | None,
    command: str,
    stopper: _Stopper,
    rank: int,
    world: int,
) -> None:
    """What a rank does once all have met."""
    trainer = Trainer(recipe)
    if checkpoint:
        trainer.load(checkpoint)
        if trainer.minutes_before >= recipe.minutes or 0 < recipe.steps <= trainer.step:
            raise SourceError(
                f"{checkpoint} has had all its training", hint="more `minutes` or `steps` in the recipe go on"
            )
    if rank:
        trainer.train(minutes=minutes, stopped=lambda: stopper.wanted)
    else:
        with Report(trainer.folder) as report:
            report.say(f"{world} process(es) on {trainer.device}, from step {trainer.step}")
            if trainer.grown:
                report.say(f"grown: {trainer.grown}")
            done = trainer.train(report, minutes=minutes, stopped=lambda: stopper.wanted)
        end = "done" if done else f"stopped; `{command}` goes on"
        report.say(f"{end} ({recipe.checkpoint}, step {trainer.step})")
