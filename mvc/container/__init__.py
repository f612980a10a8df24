"""The container of .mvc files (bitstream_spec.md, sections 2 and 3): bytes on one side, records on the other.

It knows nothing of models and pixels, and imports neither torch nor numba.
"""

from __future__ import annotations

from mvc.container.chunks import Chunk, assemble, crc32c, walk
from mvc.container.still import (
    Colour,
    Header,
    Still,
    describe,
    read_header,
    read_still,
    still_size,
    write_still,
)

__all__ = [
    "Chunk",
    "Colour",
    "Header",
    "Still",
    "assemble",
    "crc32c",
    "describe",
    "read_header",
    "read_still",
    "still_size",
    "walk",
    "write_still",
]
