"""An autoencoder ready to code: what stands between latents and streams, in integers, beside its float transforms."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvc.entropy.tables import Tables
from mvc.exact.lower import lower
from mvc.models.base import Autoencoder
from mvc.models.prior import CodingPrior
from mvc.models.streams import StreamDecoder, StreamEncoder, Streams

FLOAT_PARTS = ("g_a.", "g_s.", "h_a.")


@dataclass(frozen=True)
class Network:
    """An autoencoder ready to code: float transforms, a prior of integers, and both tables.

    `model.prior` is the lowered one, so that the model's own flow writes and reads the streams; there is no density.
    `curvature` is what the search for better symbols goes by (mvc/effort), where the model was exported with one.
    """

    model: Autoencoder
    hyper_tables: Tables
    latent_tables: Tables
    curvature: list[list[float]] | None = None

    @property
    def prior(self) -> CodingPrior:
        """The exact prior."""
        return self.model.prior

    def to(self, device: torch.device) -> Network:
        """The same, on a device."""
        self.model.to(device).requires_grad_(False)
        return self

    def encoder(self, index: int, dtype: torch.dtype = torch.float64) -> StreamEncoder:
        """A coder for one signal at a quality index; `dtype` carries the integers, float64 or int64."""
        return StreamEncoder(self.hyper_tables, self.latent_tables, index, dtype, self.prior.grid)

    @property
    def streams(self) -> int:
        """How many streams a signal has."""
        return 1 + len(self.prior.widths)

    def write(self, y: Tensor, z: Tensor, index: int, dtype: torch.dtype = torch.float64) -> Streams:
        """The streams of latents y [1, H/16, W/16, M] in quantisation steps and z."""
        return self._write(y, z, index, dtype)[0]

    def code(self, y: Tensor, z: Tensor, index: int, dtype: torch.dtype = torch.float64) -> tuple[Streams, Tensor]:
        """As `write`, and what `read` will make of the streams."""
        streams, y_fixed = self._write(y, z, index, dtype)
        return streams, y_fixed.float() / self.prior.grid.one

    def _write(self, y: Tensor, z: Tensor, index: int, dtype: torch.dtype) -> tuple[Streams, Tensor]:
        coder = self.encoder(index, dtype)
        y_fixed = self.prior.code(coder, torch.tensor([index], device=y.device), z, y)
        return coder.streams, y_fixed

    def read(
        self,
        streams: Streams,
        index: int,
        size: tuple[int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """y_hat [1, H/16, W/16, M] of a signal of `size` (rows and columns of z), in quantisation steps.

        The same on every machine. FormatError where the streams are damaged.
        """
        coder = StreamDecoder(
            self.hyper_tables,
            self.latent_tables,
            index,
            streams,
            (*size, self.model.hyper),
            dtype=dtype,
            grid=self.prior.grid,
            device=device,
        )
        y_fixed = self.prior.code(coder, torch.tensor([index], device=device))
        return y_fixed.float().div_(self.prior.grid.one)  # by a power of two, so nothing is rounded here

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What is stored of it, by name."""
        for name, value in self.model.state_dict().items():
            if name.startswith(FLOAT_PARTS):
                yield name, value.to(torch.float16).contiguous()
        yield from self.exact_tensors()

    def exact_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What decides a symbol, by name."""
        for name, value in self.prior.state_dict().items():
            yield f"exact.{name}", value.contiguous()
        for kind, tables in (("hyper", self.hyper_tables), ("latent", self.latent_tables)):
            for name, values in tables.to_arrays().items():
                yield f"tables.{kind}.{name}", torch.from_numpy(np.array(values))


def make_network(
    trained: Autoencoder, hyper: Tables, latent: Tables, curvature: list[list[float]] | None = None
) -> Network:
    """Lower a trained autoencoder, which stays as it is."""
    model = copy.deepcopy(trained)
    model.prior = lower(trained.prior, trained.prior.grid)
    del model.density
    return Network(model.eval(), hyper, latent, curvature)
