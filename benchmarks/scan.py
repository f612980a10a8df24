"""The selective scan on CPU: nanoseconds per token and channel, against references and against memory.

    python -m benchmarks.scan [--seconds 1] [--write]

prints a Markdown table; --write puts it into benchmarks/results/scan.md. The picture is 1536 tokens (48 x 32)
of 256 channels, a quarter of them along each order, in batches of two. Times are the least of several runs:
other work on the machine can only add to them.

- "mamba_ssm, reference": what mamba-ssm documents for its `selective_scan_ref`, a loop over the tokens in torch
  (channels first, B and C per group), given inputs that are already in scan order.
- "torch": mvc.ops.scan.selective_scan_reference.
- "bound": the time to move the bytes that a scan must move (read v and the parameters, write y; forward and
  backward: also read v, the gradient and the parameters again, write two gradients) at the speed at which
  this machine copies tensors of that size.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mvc.ops.scan import ORDERS, selective_scan, selective_scan_reference

BATCH, HEIGHT, WIDTH, CHANNELS, RANK = 2, 48, 32, 256, 4
TOKENS = HEIGHT * WIDTH
RESULTS = Path(__file__).parent / "results" / "scan.md"


class Case(NamedTuple):
    states: int
    dtype: torch.dtype
    threads: int


def least(run: Callable[[], object], seconds: float) -> float:
    """The shortest of the runs that fit into `seconds` (two at least), in nanoseconds per token and channel."""
    run()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e9 / (BATCH * TOKENS * CHANNELS)


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    v = torch.randn(BATCH, HEIGHT, WIDTH, CHANNELS).to(case.dtype)
    parameters = torch.randn(BATCH, TOKENS, ORDERS, RANK + 2 * case.states)
    a = -torch.arange(1.0, case.states + 1)[:, None].repeat(1, CHANNELS)
    rows = [torch.randn(RANK, CHANNELS) * 0.3, torch.randn(1, CHANNELS) - 2, a, torch.ones(1, CHANNELS)]
    return v, parameters, torch.cat(rows)


def documented_scan(u, delta, A, B, C, D, delta_bias):
    """mamba-ssm's reference from its documentation, softplus on: u, delta [b, dim, L]; A [dim, N]; B, C [b, G, N, L]."""
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


def copying(case: Case, floats_per_token: int, tensors: int, seconds: float) -> float:
    """Nanoseconds per token and channel to move so many tensors like v and so many float32 numbers per token."""
    v, _, _ = inputs(case)
    target = torch.empty_like(v)
    copied = least(lambda: target.copy_(v), seconds)  # two tensors: one read, one written
    per_tensor = copied / 2
    return per_tensor * (tensors + floats_per_token * 4 / (CHANNELS * v.element_size()))


def forward_and_backward(tensors: tuple[Tensor, ...]) -> Callable[[], object]:
    v, parameters, weights = (t.clone().requires_grad_() for t in tensors)
    grad = torch.randn_like(v)
    return lambda: torch.autograd.grad(selective_scan(v, parameters, weights, RANK), (v, parameters, weights), grad)


def rows(seconds: float) -> list[str]:
    lines = [
        "| states | type | threads | mamba_ssm, reference | torch | numba | x reference | bound | of bound "
        "| numba, forward + backward | bound | of bound |",
        "|" + "---|" * 12,
    ]
    for states in (1, 4):
        for threads in (1, 2):
            for dtype in (torch.float32, torch.bfloat16):
                case = Case(states, dtype, threads)
                torch.set_num_threads(threads)
                tensors, numbers = inputs(case), ORDERS * (RANK + 2 * states)
                with torch.no_grad():
                    documented = documented_inputs(case)
                    slow = least(lambda given=documented: documented_scan(*given), 0)
                    plain = least(lambda given=tensors: selective_scan_reference(*given, RANK), 0)
                    fast = least(lambda given=tensors: selective_scan(*given, RANK), seconds)
                both = least(forward_and_backward(tensors), seconds)
                bound, both_bound = copying(case, numbers, 2, seconds), copying(case, 3 * numbers, 5, seconds)
                name = str(dtype).removeprefix("torch.")
                lines.append(
                    f"| {states} | {name} | {threads} | {slow:.1f} | {plain:.1f} | {fast:.2f} | {slow / fast:.0f} "
                    f"| {bound:.2f} | {fast / bound:.1f} | {both:.2f} | {both_bound:.2f} | {both / both_bound:.1f} |"
                )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement of a fast kernel")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS}")
    arguments = parser.parse_args()
    table = "\n".join(rows(arguments.seconds))
    print(table)
    if arguments.write:
        about = f"{platform.machine()}, {torch.get_num_threads()} threads at most, torch {torch.__version__}"
        head = (
            "# Selective scan on CPU\n\nNanoseconds per token and channel; what the columns mean: benchmarks/scan.py."
        )
        RESULTS.write_text(f"{head}\nWritten by `python -m benchmarks.scan --write` on {about}.\n\n{table}\n")


if __name__ == "__main__":
    main()
