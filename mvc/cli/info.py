"""`mvc info`, without Typer: the one command whose start-up time counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import mvc
from mvc import files
from mvc.cli.jobs import STREAM, Job, expand, protect
from mvc.cli.progress import Progress, run_all
from mvc.cli.terminal import UsageError
from mvc.errors import MvcError
from mvc.files import MVC_SUFFIX
from mvc.models import registry

_KINDS = {"icc": "icc profile", "cicp": "colour codes", "gainmap": "gain map", "depth": "source depth"}
_LINES = ("kind", "colour", "alpha", "depth", "coder", "quality_index", "model_id", "version")


def show_info(inputs: list[str], *, as_json: bool, check: Callable[..., None] | None = None) -> None:
    """Print what .mvc files (`-` is stdin, a folder all in it) say about themselves.

    As JSON one file is an object over many lines, each of several is one line, with its name under "file". Exits with 1
    if one cannot be parsed, or `check` raises an `MvcError` about its width and height.
    """
    names = [name for name, _ in expand(inputs, (MVC_SUFFIX,))]

    def action(job: Job, progress: Progress) -> None:
        facts = _facts(job)
        if check:
            check(facts["width"], facts["height"], facts["coder"] == "exact" or facts["alpha"])
        if not as_json:
            progress.data(*lines_of(job.name, facts))
        elif len(names) == 1:
            progress.data(*json.dumps(facts, indent=2).splitlines())
        else:
            progress.data(json.dumps({"file": job.name, **facts}))

    run_all("reading", [Job(name) for name in names], lambda job: job.name, action)


def write_thumbnail(inputs: list[str], target: str, *, force: bool) -> None:
    """Write the thumbnail in one .mvc file (`-` is stdin) as a JPEG; `MvcError` where it holds none."""
    if len(inputs) != 1:
        raise UsageError("--thumbnail takes one file")
    job = Job(inputs[0], target)
    protect(inputs, [target])
    if target == STREAM and sys.stdout.isatty():
        raise UsageError("not writing binary data to a terminal; name a file, or redirect stdout")
    job.start(force=force)
    found = mvc.thumbnail(job.coded() if job.source == STREAM else job.source)
    if found is None:
        raise MvcError(f"{job.name} holds no thumbnail", hint="`mvc encode --thumbnail` makes files with one")
    job.write(found, force=force)


def _facts(job: Job) -> dict[str, Any]:
    """Of a file by its name, which is walked; what comes through a pipe is read. With model and looks that are here."""
    facts = mvc.info(job.coded() if job.source == STREAM or files.is_stream(job.source) else job.source)
    if facts["model_id"]:
        model_id = bytes.fromhex(facts["model_id"])
        made_by = registry.preset_of(model_id)
        facts["model"] = made_by.name if made_by else None
        if facts["kind"] == "still":
            facts["looks"] = list(registry.looks_of(model_id))
    return facts


def lines_of(name: str, facts: dict[str, Any]) -> list[str]:
    """What is printed of a file: what `mvc.info` says, for people."""
    size, bpp = facts["size_bytes"], facts["bits_per_pixel"]
    lines = [f"{name}: {facts['width']}x{facts['height']}, {size} bytes, {bpp:.3f} bits per pixel"]
    lines += [f"{key.replace('_', ' '):>13}  {facts[key]}" for key in _LINES if facts[key] not in (None, False)]
    lines.append(f"{'checksum':>13}  {'right' if facts['intact'] else 'WRONG: the file is damaged'}")
    if "model" in facts:
        lines.append(f"{'model':>13}  {facts['model'] or 'none that is installed'}")
    if "looks" in facts:
        lines.append(f"{'looks':>13}  {', '.join(facts['looks'])}, with the weights that are installed")
    if "frames" in facts:
        rates = f"{facts['frames_per_second']:.4g} frames/s, {facts['bits_per_second'] / 1000:.1f} kbit/s"
        lines.append(f"{'clip':>13}  {facts['frames']} frames, {facts['seconds']:.3f} s, {rates}")
        share = 100 * facts["keyframe_bytes"] / max(1, facts["size_bytes"])
        lines.append(f"{'keyframes':>13}  {facts['keyframes']}, which take {share:.0f} % of the file")
    for own in facts["metadata"]:
        name = _KINDS.get(own["kind"], own["kind"])
        lines.append(f"{name:>13}  {own['bytes']} bytes, {own['stored_bytes']} in the file")
    for track in facts.get("sound", {}).get("tracks", ()):
        name = f"{track['codec']}, {track['sample_rate']} Hz, {track['channels']} channels"
        name += f", {track['language']}" if track["language"] else ""
        lines.append(f"{'sound':>13}  {name}: {track['seconds']:.3f} s, {track['bytes']} bytes")
    if facts.get("sound", {}).get("damaged"):
        lines.append(f"{'sound':>13}  {facts['sound']['damaged']} pieces are damaged")
    for unit in facts["units"]:
        streams = ", ".join(map(str, unit["stream_bytes"]))
        name = f"{unit['role']} {unit['index']}"
        how = f"quality index {unit['quality_index']}, streams"
        if "near" in unit:
            how = f"no sample off by more than {unit['near']}" if unit["near"] else "exact"
            how = ("in fewer colours" if "changed" in unit else how) + ", a stream"
        lines.append(f"{name:>13}  {how} of {streams} bytes")
    for chunk in facts["chunks"]:
        unknown = "" if chunk["known"] else ", unknown"
        lines.append(f"{chunk['name']:>13}  {chunk['length']} bytes at {chunk['offset']}{unknown}")
    if facts["chunk_count"] > len(facts["chunks"]):
        lines.append(f"{'chunks':>13}  {facts['chunk_count']}, of which the first are listed, and END")
    return lines
