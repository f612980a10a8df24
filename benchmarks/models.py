"""Time and memory of every still-picture model at its full size, on a CPU or a GPU.

    python -m benchmarks.models PICTURE [--device cuda] [--model mambavc ...] [--runs 2] [--record]

Models without weights here get random ones, with latents a few steps wide: the work is the same. Each model runs in
a process of its own, which encodes and decodes the picture; a stream that does not end where it should is an error.
Prints a Markdown table; with --record it goes to benchmarks/results/models-DEVICE.md too.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mvc
from benchmarks.speed import shortest_seconds
from mvc.blocks.conv import Conv
from mvc.codec import Codec
from mvc.container import read_file
from mvc.exact.selfcheck import check_backend
from mvc.models import registry
from mvc.models.weights import Weights, load
from mvc.train.export import make_weights

RESULTS = Path(__file__).parent / "results"
STILL = tuple(preset.name for preset in registry.presets("still"))
SPREAD = 20.0  # of the last layers of random transforms, whose latents would all round to zero
COLUMNS = {"encode_s": "encode, s", "prior_s": "read y_hat, s", "decode_s": "decode, s", "mib": "peak, MiB"}


def weights_of(name: str) -> Weights:
    """The shipped weights of a model, or random ones."""
    preset = registry.preset(name)
    if preset is not None and preset.shipped:
        return load(preset.folder)
    torch.manual_seed(0)
    network: Any = registry.known(name).make().eval()
    with torch.no_grad():
        for transform in (network.g_a, network.h_a):
            [m for m in transform.modules() if isinstance(m, Conv)][-1].weight.mul_(SPREAD)
    return make_weights(network, {}, name=name)


def measure(name: str, picture: Path, device: str, runs: int) -> dict[str, float]:
    """Shortest times in seconds, and the peak of the process (of the GPU's memory, on one) in MiB."""
    check_backend(device)
    codec = Codec(weights_of(name), device)
    source = mvc.read_picture(picture).picture
    done = torch.cuda.synchronize if device == "cuda" else lambda: None

    def seconds(action: Callable[[], object]) -> float:
        return shortest_seconds(runs, lambda: (action(), done()))[0]

    data = codec.encode(source, 27, effort=0)
    head, units = read_file(data)
    with torch.inference_mode():
        figures = {
            "encode_s": seconds(lambda: codec.encode(source, 27, effort=0)),
            "prior_s": seconds(lambda: codec.decode_latent(head, units)),
            "decode_s": seconds(lambda: codec.decode(data)),
        }
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return figures | {"mib": torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else own}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", action="append", choices=STILL)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # a process that measures one model
    options = parser.parse_args()
    names = options.model or STILL
    if options.one:
        print(json.dumps(measure(names[0], options.picture, options.device, options.runs)))
        return
    lines = ["| model | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in names:
        command = [sys.executable, "-m", "benchmarks.models", str(options.picture), "--one", "--model", name]
        command += ["--device", options.device, "--runs", str(options.runs)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(run.stderr)
        figures = json.loads(run.stdout)
        lines.append(f"| {name} | " + " | ".join(f"{figures[key]:.4g}" for key in COLUMNS) + " |")
        print(lines[-1], file=sys.stderr)
    here = f"{platform.machine()}, {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name() if options.device == "cuda" else here
    text = f"{options.picture.name} on {where}:\n\n" + "\n".join(lines) + "\n"
    print(text, end="")
    if options.record:
        head = f"<!-- python -m benchmarks.models {options.picture.name} --device {options.device} --record -->\n\n"
        (RESULTS / f"models-{options.device}.md").write_text(head + text)


if __name__ == "__main__":
    main()
