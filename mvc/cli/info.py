"""`mvc info`, without Typer: the one command whose start-up time counts."""

from __future__ import annotations

import json
from typing import Any

import mvc
from mvc.cli.jobs import STREAM, Job
from mvc.cli.terminal import Progress, run_all

_LINES = ("kind", "colour", "depth", "quality", "model_id", "version")


def show_info(file: str, *, as_json: bool) -> None:
    """Print what the file `file` (`-` is stdin) says about itself; exit with 1 if it cannot be parsed."""

    def action(job: Job, progress: Progress) -> None:
        facts = mvc.info(job.read_coded())
        progress.data(json.dumps(facts, indent=2) if as_json else _text(job.name, facts))

    run_all("reading", [Job(file, STREAM)], lambda job: job.name, action)


def _text(name: str, facts: dict[str, Any]) -> str:
    size, bpp = facts["size_bytes"], facts["bits_per_pixel"]
    lines = [f"{name}: {facts['width']}x{facts['height']}, {size} bytes, {bpp:.3f} bits per pixel"]
    lines += [f"{key.replace('_', ' '):>10}  {facts[key]}" for key in _LINES]
    lines.append(f"  checksum  {'right' if facts['intact'] else 'WRONG: the file is damaged'}")
    for chunk in facts["chunks"]:
        unknown = "" if chunk["known"] else ", unknown"
        lines.append(f"{chunk['name']:>10}  {chunk['length']} bytes at {chunk['offset']}{unknown}")
    return "\n".join(lines)
