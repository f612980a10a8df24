"""Where the bits of a file go: to its chunks, which is measured, and over the picture, which is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvc.analysis.record import Recorded
from mvc.container import read_file
from mvc.entropy.tables import ROWS_PER_OCTAVE, SCALE_ROWS, Tables
from mvc.models.base import CELL_PX
from mvc.models.streams import hyper_rows

Bits = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Allocation:
    """Real bits are eight times the bytes of a file and its chunks' payloads, estimates the ideal code lengths.

    The file's other bits are its framing: header, lengths and checksum. `map_bits` [h, w] has the estimate of each
    latent position, the hyperlatent spread evenly over the positions it speaks for; the padding's are in it.
    """

    file_bits: int
    hyper_bits: int
    slice_bits: tuple[int, ...]
    estimated_hyper_bits: float
    estimated_slice_bits: tuple[float, ...]
    map_bits: Bits
    cell_px: int

    @property
    def estimated_bits(self) -> float:
        return self.estimated_hyper_bits + sum(self.estimated_slice_bits)

    def numbers(self) -> dict[str, Any]:
        return {
            "real": {
                "file_bits": self.file_bits,
                "framing_bits": self.file_bits - self.hyper_bits - sum(self.slice_bits),
                "hyperlatent_bits": self.hyper_bits,
                "slice_bits": list(self.slice_bits),
            },
            "estimated": {
                "total_bits": round(self.estimated_bits, 1),
                "hyperlatent_bits": round(self.estimated_hyper_bits, 1),
                "slice_bits": [round(bits, 1) for bits in self.estimated_slice_bits],
                "map_cell_px": self.cell_px,
                "map_bits": [[round(float(bits), 2) for bits in row] for row in self.map_bits],
            },
        }


def latent_bits(recorded: Recorded, tables: Tables) -> Bits:
    """[h, w, M]: of every latent, with the row of the tables that its scale chooses (spec, section 5)."""
    symbols = np.rint(recorded.rounded - recorded.mean).astype(np.int64)
    rows = np.floor(recorded.log_scale * ROWS_PER_OCTAVE + 0.5).clip(0, SCALE_ROWS - 1).astype(np.int64)
    return tables.bits(symbols, rows)


def hyper_bits(recorded: Recorded, tables: Tables, index: int) -> Bits:
    """[h/4, w/4, Z]: of every hyperlatent."""
    rows = hyper_rows(tables, index, *recorded.z_hat.shape).reshape(recorded.z_hat.shape)
    return tables.bits(np.rint(recorded.z_hat), rows)


def _owners(count: int, owners: int) -> tuple[NDArray[np.intp], Bits]:
    """Along an axis: which hyperlatent each of `count` latents lies under, and its share of it.

    Each has a power of two of them, the last one perhaps fewer.
    """
    own = np.arange(count) >> (-(-count // owners) - 1).bit_length()
    return own, 1 / np.bincount(own)[own]


def map_of(latent: Bits, hyper: Bits) -> Bits:
    """[h, w]: the bits of each latent position, and its share of the hyperlatent's."""
    rows, row_share = _owners(latent.shape[0], hyper.shape[0])
    columns, column_share = _owners(latent.shape[1], hyper.shape[1])
    spread: Bits = hyper.sum(-1)[rows][:, columns] * np.outer(row_share, column_share)
    return latent.sum(-1) + spread


def allocation(file: bytes, latent: Bits, hyper: Bits, widths: tuple[int, ...], cell_px: int = CELL_PX) -> Allocation:
    """Of an .mvc file and the estimates for its latents [h, w, M], in slices of `widths`, and z [h/4, w/4, Z]."""
    _, (unit,) = read_file(file)
    return Allocation(
        file_bits=8 * len(file),
        hyper_bits=8 * len(unit.streams[0]),
        slice_bits=tuple(8 * len(stream) for stream in unit.streams[1:]),
        estimated_hyper_bits=float(hyper.sum()),
        estimated_slice_bits=tuple(float(part.sum()) for part in np.split(latent, np.cumsum(widths)[:-1], -1)),
        map_bits=map_of(latent, hyper),
        cell_px=cell_px,
    )
