"""The container of .mvc files (bitstream_spec.md, sections 2 and 3): bytes on one side, coded units on the other.

It knows nothing of models and pixels, and imports neither torch nor numba.
"""

from __future__ import annotations

from mvc.container.about import describe
from mvc.container.meta import read_kind, read_metadata
from mvc.container.partial import Arrived
from mvc.container.stream import Reader, Writer, read_file, read_head, write_file
from mvc.container.units import ClipHead, Colour, Head, Role, Unit, UnitHead

__all__ = [
    "Arrived",
    "ClipHead",
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
    "read_kind",
    "read_metadata",
    "write_file",
]
