"""The parts of benchmarks/gpu.py, each run as a process of its own: lines of JSON [what, figure] on standard output."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

import mvc
from benchmarks import gpu_kernels, models, training
from benchmarks.speed import shortest_seconds
from mvc.codec import load
from mvc.container import read_file
from mvc.entropy import coders, parts
from mvc.frames import Frame

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "samples" / "kodim23.png"
QUALITY_INDEX = 27
CLIP = "mambavc-ssf-lite"


def say(what: str, figure: str) -> None:
    print(json.dumps([what, figure]), flush=True)


@contextmanager
def symbols_read() -> Iterator[Any]:
    """A hash of all symbols that are decoded meanwhile, in coding order."""
    digest = hashlib.sha256()

    class Decoder(parts.Decoder):
        def take(self, rows: Any) -> Any:
            taken = super().take(rows)
            digest.update(taken.tobytes())
            return taken

    with mock.patch.object(parts, "Decoder", Decoder):
        yield digest


@contextmanager
def seconds_of_entropy() -> Iterator[list[float]]:
    """How long each call of the range decoder took meanwhile, whichever thread made it."""
    spent: list[float] = []
    take = coders.Decoder.take

    def timed(self: coders.Decoder, rows: Any) -> Any:
        start = time.perf_counter()
        try:
            return take(self, rows)
        finally:
            spent.append(time.perf_counter() - start)

    with mock.patch.object(coders.Decoder, "take", timed):
        yield spent


def launches(action: Callable[[], object]) -> int:
    """How many kernels a GPU is told to run."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        action()
    return sum(event.count for event in recorded.key_averages() if "LaunchKernel" in event.key)


def peak(device: str) -> str:
    return f"{torch.cuda.max_memory_allocated() / 2**20:.0f}" if device == "cuda" else "-"


def synchronised(device: str, action: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        action()
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def compare(what: str, here: np.ndarray, there: np.ndarray) -> None:
    """How far samples of the device lie from the CPU's."""
    away = np.abs(here.astype(int) - there.astype(int))
    say(what, f"at most {away.max()}, more than one in {(away > 1).mean():.1e} of the samples")


def picture_of(width: int, height: int) -> mvc.Picture:
    """The middle of a sample picture, enlarged."""
    with Image.open(PICTURE) as opened:
        image = opened.convert("RGB")
    tall = min(image.height, image.width * height // width)
    top = (image.height - tall) // 2
    resized = image.resize((width, height), Image.Resampling.LANCZOS, box=(0, top, image.width, top + tall))
    return mvc.Picture(np.array(resized))


def decode(options: argparse.Namespace) -> None:
    """One picture on the CPU and on the device: the same symbols, and how long either takes."""
    width, height = (128, 96) if options.quick else map(int, options.size.split("x"))
    picture = picture_of(width, height)
    data = load(device="cpu").encode(picture, QUALITY_INDEX, 0, options.tile)
    digests, pictures = [], []
    for name, device in (("cpu", "cpu"), ("device", options.device)):
        codec = load(device=device)
        with symbols_read() as digest:
            pictures.append(codec.decode(data).samples)
        digests.append(digest.hexdigest())
        head, units = read_file(data)
        runs = 1 if name == "cpu" else 5
        with torch.inference_mode():
            actions = (lambda: codec.decode(data)), (lambda: codec.decode_latent(head, units))  # noqa: B023
            whole, prior = (shortest_seconds(runs, synchronised(device, action))[0] for action in actions)
        say(f"{name}: decode, s (symbols of the first tile alone)", f"{whole:.3f} ({prior:.3f})")
    with seconds_of_entropy() as spent:
        codec.decode(data)
    say("device: range decoder, s, all its calls", f"{sum(spent):.3f}, {len(spent)}")
    if options.device == "cuda":
        say("device: kernels started", str(launches(partial(codec.decode, data))))
    say("same symbols", "yes" if digests[0] == digests[1] else "NO")
    compare("samples against the CPU's", *pictures)
    say("GPU memory, MiB", peak(options.device))
    with tempfile.TemporaryDirectory() as folder:
        coded, target = Path(folder, "a.mvc"), Path(folder, "a.png")
        coded.write_bytes(data)
        command = [sys.executable, "-m", "mvc", "decode", str(coded), "-o", str(target), "--device", options.device]
        seconds = shortest_seconds(1, lambda: subprocess.run(command, check=True, capture_output=True))[0]
    say(f"`mvc decode --device {options.device}`, to PNG, whole process, s", f"{seconds:.2f}")


def clip(options: argparse.Namespace) -> None:
    """A short clip of the shipped model, decoded on the CPU and on the device."""
    side, count = (64, 2) if options.quick else (256, 12)
    source = np.array(picture_of(768, 512).samples)
    y4m = io.BytesIO()
    y4m.write(f"YUV4MPEG2 W{side} H{side} F25:1 Ip A1:1 C420jpeg\n".encode())
    for t in range(count):
        part = source[2 * t : 2 * t + side, 3 * t : 3 * t + side].mean(-1).astype(np.uint8)
        y4m.write(b"FRAME\n" + part.tobytes() + bytes([128]) * (side * side // 2))
    coded = io.BytesIO()
    mvc.encode_video(y4m.getvalue(), coded, model=CLIP, device="cpu", effort=0, force=True)
    digests, clips = [], []
    for name, device in (("cpu", "cpu"), ("device", options.device)):
        found: list[Frame] = []

        def decode_all(device: str = device, found: list[Frame] = found) -> None:
            found[:] = mvc.open(coded.getvalue(), device=device)

        with symbols_read() as digest:
            decode_all()
        digests.append(digest.hexdigest())
        runs = 1 if name == "cpu" else 3
        seconds = shortest_seconds(runs, synchronised(device, decode_all))[0]
        clips.append(np.stack([frame.planes[0] for frame in found]))
        say(f"{name}: decode {len(found)} frames of {side}x{side}, s a frame", f"{seconds / len(found):.4f}")
    say("same symbols", "yes" if digests[0] == digests[1] else "NO")
    compare("luma against the CPU's", *clips)
    say("GPU memory, MiB", peak(options.device))


def train(options: argparse.Namespace) -> None:
    """Steps of a recipe: speed, and where the time of the device goes."""
    batch, seconds = (2, 0.1) if options.quick else (options.batch, 6.0)
    store = ROOT / "build" / "gpu" / Path(options.recipe).stem / "store"
    recipe = training.prepared(ROOT / options.recipe, store, options.device)
    if options.quick:
        training.WARM_UP_STEPS = training.PROFILED_STEPS = 1
    with tempfile.TemporaryDirectory() as folder:
        results = Results()
        training.measure(replace(recipe, batch=batch, run=folder), seconds, 0, 1, "", results)
    found = results.found
    say(f"megapixels/s, {batch} crops of {recipe.crop_px} px", f"{found.mpx_per_s:.2f}")
    say("wall (processor) seconds per step", f"{found.wall_s:.4f} ({found.processor_s:.4f})")
    say("TFLOP/s in products and convolutions", f"{found.flops / found.wall_s / 1e12:.3g}")
    say("GPU busy, share of a step", f"{found.busy_s / found.wall_s:.0%}" if options.device == "cuda" else "-")
    say("GPU memory, MiB", f"{found.peak_mib:.0f}" if options.device == "cuda" else "-")
    for name, share in list(found.shares.items())[:10]:
        say(f"share of the time: {name}", f"{share:.1%}")


class Results:
    """Stands in for the queue that a measuring process answers with."""

    found: training.Result

    def put(self, found: training.Result) -> None:
        self.found = found


def paper(options: argparse.Namespace) -> None:
    """The papers' MambaVC at full size, with random weights (benchmarks/models.py)."""
    for name, value in models.measure("mambavc", PICTURE, options.device, 2).items():
        say(models.COLUMNS[name], f"{value:.4g}")


def kernels(options: argparse.Namespace) -> None:
    """Each fused kernel of a block against torch's operators."""
    for what, figure in gpu_kernels.rows(options.device, options.quick):
        say(what, figure)


def prepare(options: argparse.Namespace) -> None:
    """Compile what the CPU needs in the parts that follow, and say what the machine is."""
    codec = load(device="cpu")
    codec.decode(codec.encode(picture_of(128, 96), QUALITY_INDEX, effort=1))
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        say("GPU memory free, of, GiB", f"{free / 2**30:.0f}, {total / 2**30:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = {function.__name__: function for function in (prepare, kernels, decode, train, clip, paper)}
    parser.add_argument("part", choices=commands)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--tile", type=int, help="side of the tiles of a picture that is decoded")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    commands[options.part](options)


if __name__ == "__main__":
    main()
