"""What a configuration may ask for, checked before a network is built of it: it may come from a stranger's file."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

MAX_WEIGHTS = 1 << 28
"""Half of what a weights file may hold, and some twice what the largest model here has."""

_WIDTH = 1, 1024  # of everything not named here
_BLOCKS = 0, 64
_RANGES = {
    "analysis": _BLOCKS,
    "synthesis": _BLOCKS,
    "blocks": _BLOCKS,
    "states": (1, 64),
    "packing": (1, 2),
    "rrm": (0, 1),
    "kernel": (1, 15),
    "outer_kernel": (1, 15),
    "windows": (1, 32),
    "context_window": (1, 32),
    "head_width": (1, 256),  # the exact attention adds up so many products within 2^53
    "context_head": (1, 256),
    "drop": (0, 1),
}
_NOT_WIDTHS = (*_RANGES, "slices")


def check_sizes(config: Any, kinds: tuple[str, ...], networks: int = 1) -> None:
    """ValueError for a configuration (a dataclass) with a field of another type than its default or out of range.

    Also for one whose fields together ask for some MAX_WEIGHTS weights or more. `kinds` are the values of its one text,
    `networks` how many autoencoders it is of.
    """
    for own in fields(config):
        value = getattr(config, own.name)
        if isinstance(own.default, str):
            if value not in kinds:
                raise ValueError(f"{own.name} = {value!r:.60} should be one of {', '.join(kinds)}")
            continue
        low, high = _RANGES.get(own.name, _WIDTH)
        if not _alike(value, own.default, own.name == "slices"):
            raise ValueError(f"{own.name} = {value!r:.60} should be of the kind of {own.default!r}")
        if not all(low <= number <= high for number in _numbers(value)):
            raise ValueError(f"{own.name} = {value!r:.60} has a number outside {low}..{high}")
    if _weights(config, networks) > MAX_WEIGHTS:
        raise ValueError(f"the configuration asks for a network of more than {MAX_WEIGHTS >> 20} million weights")


def _alike(value: Any, default: Any, any_length: bool = False) -> bool:
    """Whether a value has the type of the default; tuples also its length, unless it may be any from 1 to 64."""
    if not isinstance(default, tuple):
        return type(value) is type(default) or (type(default) is float and type(value) is int)
    if not isinstance(value, tuple) or not (1 <= len(value) <= 64 if any_length else len(value) == len(default)):
        return False
    return all(_alike(item, default[0]) for item in value)


def _numbers(value: Any) -> list[float]:
    return [number for item in value for number in _numbers(item)] if isinstance(value, tuple) else [value]


def _weights(config: Any, networks: int) -> int:
    """About how many weights the configuration asks for, rather too many than too few."""
    values = {own.name: getattr(config, own.name) for own in fields(config)}
    sized = {name: value for name, value in values.items() if name not in _NOT_WIDTHS and not isinstance(value, str)}
    widths = [number for value in sized.values() for number in _numbers(value)]
    slices = values.get("slices", 1)
    if isinstance(slices, tuple):
        widths.append(sum(channels for channels, _ in slices))
        slices = len(slices)
    blocks = sum(sum(values[name]) for name in ("analysis", "synthesis", "blocks") if name in values)
    kernel = max(5, values.get("kernel", 0), values.get("outer_kernel", 0))
    return int(networks * max(widths) ** 2 * (12 * blocks + 8 * kernel**2 + 100 * slices))
