"""`mvc models --complexity`: what each model costs, counted and not measured."""

from __future__ import annotations

from collections.abc import Mapping

COLUMNS = ("g_a", "h_a", "h_s + contexts", "g_s", "total")


def _row(label: str, macs: Mapping[str, int]) -> str:
    prior = macs.get("h_s", 0) + macs.get("contexts", 0)
    values = (macs.get("g_a", 0), macs.get("h_a", 0), prior, macs.get("g_s", 0), sum(macs.values()))
    return f"  {label:<6}" + "".join(f"{value / 1e9:>16.3f}" for value in values)


def print_complexity(width: int, height: int) -> None:
    """Parameters, MACs in both conventions and the memory estimate of all models for one picture size."""
    from mvc.models.build import ENTRIES, complexity

    print(f"{width}x{height}, billions of multiply-accumulates to encode and decode (video: keyframe and inter frame)")
    print("paper: convolutions and linear layers; full: also 2DSS projections, attention and the scan")
    print("memory: weights and tensors at their peak, float32, nothing fused or in strips")
    print(f"\n{'':<8}" + "".join(f"{column:>16}" for column in COLUMNS))
    for name in ENTRIES:
        c = complexity(name, width, height)
        padded = "" if (c.width, c.height) == (width, height) else f", padded to {c.width}x{c.height}"
        million = sum(c.parameters.values()) / 1e6
        print(f"{name}: {million:.3f} M parameters, {c.memory_bytes / 2**20:.0f} MiB{padded}", flush=True)
        print(_row("paper", c.paper_macs))
        print(_row("full", c.full_macs), flush=True)
