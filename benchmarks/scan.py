"""The selective scan on CPU: nanoseconds per token and channel, against references and against memory.

    python -m benchmarks.scan [--seconds 1] [--write]

prints Markdown; --write puts it into benchmarks/results/scan.md. The picture has 1536 tokens (48 x 32) of 1024
channels, a quarter of them along each order. Times are the least of several runs: other work on the machine can only
add to them.

- "mamba_ssm": what mamba-ssm documents for its `selective_scan_ref`, a loop over the tokens in torch (channels first, B
  and C per group), in float32 on one thread, its inputs already in scan order and its step sizes made beforehand.
- "torch": mvc.ops.scan.selective_scan_reference, in float32 on one thread.
- "of memory" and "of cache": the time against that of moving the bytes that a scan must move (forward: read v and the
  parameters, write y; backward: read v, the gradient and the parameters, write two gradients) at the speed at which
  this machine, on as many threads, copies tensors of 256 MiB, or of the size of v, again and again.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.ops.scan import ORDERS, selective_scan, selective_scan_reference

BATCH, HEIGHT, WIDTH, CHANNELS, RANK = 1, 48, 32, 1024, 4
TOKENS = HEIGHT * WIDTH
ELEMENTS = BATCH * TOKENS * CHANNELS
RESULTS = Path(__file__).parent / "results" / "scan.md"


class Case(NamedTuple):
    states: int
    dtype: torch.dtype
    threads: int


def least(run: Callable[[], object], seconds: float) -> float:
    """The shortest of the runs that fit into `seconds` (two at least), in seconds."""
    run()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    v = torch.randn(BATCH, HEIGHT, WIDTH, CHANNELS).to(case.dtype)
    parameters = torch.randn(BATCH, TOKENS, ORDERS, RANK + 2 * case.states)
    a = -torch.arange(1.0, case.states + 1)[:, None].repeat(1, CHANNELS)
    rows = [torch.randn(RANK, CHANNELS) * 0.3, torch.randn(1, CHANNELS) - 2, a, torch.ones(1, CHANNELS)]
    return v, parameters, torch.cat(rows)


def documented_scan(u, delta, A, B, C, D, delta_bias):
    """mamba-ssm's reference as documented, with softplus: u, delta [b, dim, L]; A [dim, N]; B, C [b, G, N, L]."""
    delta = F.softplus(delta + delta_bias[:, None])
    B, C = (t.repeat_interleave(u.shape[1] // t.shape[1], 1) for t in (B, C))
    decays = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    drives = torch.einsum("bdl,bdnl->bdln", delta * u, B)
    state, outputs = u.new_zeros(*u.shape[:2], A.shape[1]), []
    for t in range(u.shape[2]):
        state = decays[:, :, t] * state + drives[:, :, t]
        outputs.append(torch.einsum("bdn,bdn->bd", state, C[..., t]))
    return torch.stack(outputs, 2) + u * D[:, None]


def documented_inputs(case: Case) -> list[Tensor]:
    groups = BATCH, ORDERS, case.states, TOKENS
    u, delta = torch.randn(BATCH, CHANNELS, TOKENS), torch.randn(BATCH, CHANNELS, TOKENS)
    vectors = torch.ones(CHANNELS), torch.full((CHANNELS,), -2.0)
    return [u, delta, -torch.rand(CHANNELS, case.states), torch.randn(groups), torch.randn(groups), *vectors]


def copy_speed(values: int, dtype: torch.dtype, seconds: float) -> float:
    """Bytes read and written per second when a tensor is copied."""
    source = torch.zeros(values, dtype=dtype)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / least(lambda: target.copy_(source), seconds)


def forward_and_backward(tensors: tuple[Tensor, ...]) -> Callable[[], object]:
    v, parameters, weights = (t.clone().requires_grad_() for t in tensors)
    grad = torch.randn_like(v)
    return lambda: torch.autograd.grad(selective_scan(v, parameters, weights, RANK), (v, parameters, weights), grad)


def measure(case: Case, references: tuple[float, float], seconds: float) -> str:
    """One row of the table."""
    torch.set_num_threads(case.threads)
    tensors = inputs(case)
    v, parameters, _ = tensors
    with torch.no_grad():
        forward = least(lambda: selective_scan(*tensors, RANK), seconds)
    both = least(forward_and_backward(tensors), seconds)
    speeds = copy_speed(1 << 26, torch.float32, seconds), copy_speed(v.numel(), case.dtype, seconds)
    forward_bytes, both_bytes = 2 * v.nbytes + parameters.nbytes, 5 * v.nbytes + 3 * parameters.nbytes
    cells = [case.states, str(case.dtype).removeprefix("torch."), case.threads, f"{forward / ELEMENTS * 1e9:.2f}"]
    cells += [f"{reference / forward:.0f}" for reference in references]
    cells += [f"{forward * speed / forward_bytes:.1f}" for speed in speeds]
    cells += [f"{both / ELEMENTS * 1e9:.2f}", *(f"{both * speed / both_bytes:.1f}" for speed in speeds)]
    cells += [f"{speed / 1e9:.0f}" for speed in speeds]
    return "| " + " | ".join(map(str, cells)) + " |"


def report(seconds: float) -> str:
    columns = ["N", "type", "threads", "forward, ns", "x mamba_ssm", "x torch", "of memory", "of cache"]
    columns += ["forward + backward, ns", "of memory", "of cache", "memory, GB/s", "cache, GB/s"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    notes = []
    for states in (1, 4):
        torch.set_num_threads(1)
        slow = Case(states, torch.float32, 1)
        documented, tensors = documented_inputs(slow), inputs(slow)
        with torch.no_grad():
            first = least(lambda given=documented: documented_scan(*given), 0)
            second = least(lambda given=tensors: selective_scan_reference(*given, RANK), 0)
        notes.append(
            f"N = {states}: mamba_ssm {first / ELEMENTS * 1e9:.0f} ns, torch {second / ELEMENTS * 1e9:.0f} ns."
        )
        for threads in (1, 2):
            for dtype in (torch.float32, torch.bfloat16):
                lines.append(measure(Case(states, dtype, threads), (first, second), seconds))
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for every measurement")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS}")
    arguments = parser.parse_args()
    table = report(arguments.seconds)
    print(table)
    if arguments.write:
        head = "# Selective scan on CPU\n\nPer token and channel; what the columns mean: benchmarks/scan.py. Written by"
        about = f"`python -m benchmarks.scan --write` with torch {torch.__version__} on {platform.machine()}"
        RESULTS.write_text(f"{head}\n{about}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}.\n\n{table}\n")


if __name__ == "__main__":
    main()
