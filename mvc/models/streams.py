"""Coders for the prior's loop that write and read real streams; the tensors hold whole numbers (fixed.py)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mvc.entropy.parts import Reader, Writer
from mvc.entropy.tables import ROWS_PER_OCTAVE, SCALE_ROWS, Tables
from mvc.errors import Corrupt, at
from mvc.exact.fixed import COARSE, MAGNITUDE, Grid, shift_round, to_fixed
from mvc.models.rounding import NEAREST, Rounding
from mvc.ops.memory import Fetched
from mvc.quality import INDICES

Streams = tuple[bytes, ...]
"""Of one signal: the hyperlatent's stream, then one for each slice in coding order."""

_ROW_BITS = ROWS_PER_OCTAVE.bit_length() - 1
HYPER_LIMIT = MAGNITUDE - 1
GPU_STRIP_POSITIONS = 8192  # two or more strips of a large picture, so that a GPU predicts one while another is read


def scale_rows(log_scale: Tensor, grid: Grid = COARSE) -> Tensor:
    """Row of the latent tables from a fixed-point log2(scale / 0.11) (spec, section 5)."""
    return shift_round(log_scale, grid.fraction_bits - _ROW_BITS).clamp(0, SCALE_ROWS - 1)


def hyper_rows(tables: Tables, index: int, height: int, width: int, channels: int) -> np.ndarray:
    """Row of the hyperlatent tables for every symbol of z [height, width, channels].

    There is a row for every channel, once for each of as many equal parts of the qualities as the tables have room for.
    """
    bucket = index * (tables.rows // channels) // INDICES
    own = bucket * channels + np.arange(channels, dtype=np.int32)
    return np.tile(own, height * width)


def _positions(mask: Tensor | None) -> Tensor | slice:
    """Which of the H*W positions a pass codes, in raster order."""
    return slice(None) if mask is None else mask.reshape(-1).nonzero().squeeze(1)


def _flat(x: Tensor, positions: Tensor | slice) -> np.ndarray:
    """[1, H, W, m] at the positions, channels fastest, as int32."""
    return x.reshape(-1, x.shape[-1])[positions].to(torch.int32).cpu().numpy().reshape(-1)


class _Streams:
    in_strips = True

    def __init__(self, hyper: Tables, latent: Tables, index: int, dtype: torch.dtype, grid: Grid) -> None:
        self.hyper_tables, self.latent_tables, self.index = hyper, latent, index
        self.dtype, self.grid = dtype, grid

    def symbols(self, y: Tensor, mean: Tensor, rows: Tensor, rounding: Rounding) -> Tensor:
        """What an encoder would code of y. Both ends have the rows, and the mean in units of 1 / grid.one."""
        return rounding.symbols(to_fixed(y, self.grid).to(self.dtype) - mean, rows, self.grid)

    def y_hat(self, symbols: Tensor, mean: Tensor) -> Tensor:
        """What both ends make of symbols, in units of 1 / grid.one."""
        return (symbols * self.grid.one + mean).clamp(-self.grid.limit, self.grid.limit)


class StreamEncoder(_Streams):
    """Codes one signal (batch 1) into a writer."""

    def __init__(
        self,
        writer: Writer,
        hyper: Tables,
        latent: Tables,
        index: int,
        dtype: torch.dtype = torch.float64,
        grid: Grid = COARSE,
        rounding: Rounding = NEAREST,
    ) -> None:
        super().__init__(hyper, latent, index, dtype, grid)
        self._writer, self._rounding = writer, rounding

    def hyper(self, z: Tensor) -> Tensor:
        symbols = torch.floor(z.double() + 0.5).clamp(-HYPER_LIMIT, HYPER_LIMIT)
        rows = hyper_rows(self.hyper_tables, self.index, *symbols.shape[1:])
        self._writer.put(_flat(symbols, slice(None)), rows, self.hyper_tables)
        self._writer.end()
        return (symbols * self.grid.one).to(self.dtype)

    def latent(self, y: Tensor, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        rows = scale_rows(log_scale, self.grid)
        symbols = self.symbols(y, mean, rows, self._rounding)
        positions = _positions(mask)
        self._put(_flat(symbols, positions), _flat(rows, positions))
        return self.y_hat(symbols, mean)

    def _put(self, symbols: np.ndarray, rows: np.ndarray) -> None:
        self._writer.put(symbols, rows, self.latent_tables)

    def end_slice(self) -> None:
        self._writer.end()


class StreamDecoder(_Streams):
    """Reads one signal; raises Corrupt or Truncated, with the stream's number, where the streams are damaged."""

    def __init__(
        self,
        reader: Reader,
        hyper: Tables,
        latent: Tables,
        index: int,
        size: tuple[int, int],
        hyper_shape: tuple[int, int, int],
        *,
        dtype: torch.dtype = torch.float64,
        grid: Grid = COARSE,
        device: torch.device | str = "cpu",
    ) -> None:
        """`size` are rows and columns of y, `hyper_shape` that of z without the batch, which is the reader's."""
        super().__init__(hyper, latent, index, dtype, grid)
        self.reader, self.size, self.hyper_shape, self.device = reader, size, hyper_shape, torch.device(device)
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor | slice]] = {}  # of masks, which are kept with them
        self._expected: dict[int, Fetched] = {}
        if self.device.type != "cpu":
            self.look_ahead()

    def look_ahead(self) -> None:
        """Be told of what comes next, and of longer strips; coding.py says how."""
        self.strip_positions, self.expect = GPU_STRIP_POSITIONS, self._expect

    def hyper(self, z: None) -> Tensor:
        rows = np.tile(hyper_rows(self.hyper_tables, self.index, *self.hyper_shape), self.reader.batch)
        read = self.reader.take(rows, self.hyper_tables)
        self.reader.end()
        if np.abs(read).max() > HYPER_LIMIT:
            with at("hyperlatent"):
                raise Corrupt("a hyperlatent symbol is out of range")
        z_hat = torch.from_numpy(read).to(self.device, self.dtype)
        return z_hat.view(self.reader.batch, *self.hyper_shape) * self.grid.one

    def latent(self, y: None, mean: Tensor, log_scale: Tensor, mask: Tensor | None) -> Tensor:
        positions = self._at(mask)
        rows = self._expected.pop(id(log_scale), None) or self._asked(log_scale, positions)
        values = self._sent(self.reader.take(rows.wait(), self.latent_tables))
        symbols = torch.zeros_like(mean).view(self.reader.batch, -1, mean.shape[-1])
        symbols[:, positions] = values.view(self.reader.batch, -1, mean.shape[-1])
        return self.y_hat(symbols.view_as(mean), mean)

    def _expect(self, log_scale: Tensor, mask: Tensor | None) -> None:
        self._expected[id(log_scale)] = self._asked(log_scale, self._at(mask))

    def _asked(self, log_scale: Tensor, positions: Tensor | slice) -> Fetched:
        rows = scale_rows(log_scale, self.grid)
        return Fetched(rows.reshape(self.reader.batch, -1, rows.shape[-1])[:, positions].to(torch.int32).reshape(-1))

    def _at(self, mask: Tensor | None) -> Tensor | slice:
        """`_positions`, for which a GPU has to be waited, once for each mask."""
        if mask is None:
            return _positions(mask)
        key = mask.data_ptr(), mask.numel()
        if key not in self._places:
            self._places[key] = mask, _positions(mask)
        return self._places[key][1]

    def _sent(self, symbols: np.ndarray) -> Tensor:
        """Symbols on the device; nothing waits for what that has to do before."""
        values = torch.from_numpy(symbols)
        if self.device.type == "cuda":
            values = values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device, self.dtype)

    def end_slice(self) -> None:
        self.reader.end()
