"""The container of .mvc files (bitstream_spec.md, sections 2 and 3): bytes on one side, coded units on the other.

It knows nothing of models and pixels, and imports neither torch nor numba.
"""

from __future__ import annotations

from mvc.container.about import describe
from mvc.container.stream import (
    Colour,
    Head,
    Reader,
    Role,
    Unit,
    UnitHead,
    Writer,
    read_file,
    read_head,
    write_file,
)

__all__ = [
    "Colour",
    "Head",
    "Reader",
    "Role",
    "Unit",
    "UnitHead",
    "Writer",
    "describe",
    "read_file",
    "read_head",
    "write_file",
]
