"""An autoencoder ready to code: what stands between latents and streams, in integers, beside its float transforms."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvc.entropy.parts import Reader, SeparateReader, SeparateWriter, Writer
from mvc.entropy.tables import Tables
from mvc.exact.lower import lower
from mvc.models.base import Autoencoder, Coded
from mvc.models.coding import Coder, Watched
from mvc.models.prior import CodingPrior
from mvc.models.streams import StreamDecoder, StreamEncoder, Streams

FLOAT_PARTS = ("g_a.", "g_s.", "h_a.")
EXACT_SYNTHESIS = "exact_g_s."


@dataclass(frozen=True)
class Network:
    """An autoencoder ready to code: float transforms, a prior of integers, and both tables.

    `model.prior` is the lowered one, so that the model's own flow writes and reads the streams; there is no density.
    So is `model.g_s` where the model says that its synthesis is exact.
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

    @property
    def streams(self) -> int:
        """How many streams a signal has where each part has its own."""
        return 1 + len(self.prior.widths)

    def write(self, y: Tensor, z: Tensor, index: int, dtype: torch.dtype = torch.float64) -> Streams:
        """The streams of latents y [1, H/16, W/16, M] in quantisation steps and z."""
        writer = SeparateWriter()
        self.put(writer, y, z, index, dtype)
        return tuple(writer.streams)

    def read(
        self,
        streams: Streams,
        index: int,
        size: tuple[int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """y_hat [1, H/16, W/16, M] of a signal of `size` (height and width in pixels), in quantisation steps.

        The same on every machine. FormatError where the streams are damaged.
        """
        return self.take(SeparateReader(streams), index, size, device, dtype).y_hat

    def encoder(self, writer: Writer, index: int, dtype: torch.dtype = torch.float64) -> StreamEncoder:
        """A coder for one signal at a quality index; `dtype` carries the integers, float64 or int64."""
        tables = self.hyper_tables, self.latent_tables
        return StreamEncoder(writer, *tables, index, dtype, self.prior.grid, self.model.rounding)

    def put(
        self,
        writer: Writer,
        y: Tensor,
        z: Tensor,
        index: int,
        dtype: torch.dtype = torch.float64,
        given: Tensor | None = None,
    ) -> Coded:
        """Code latents as `write` does; what `take` will make of them. `given` [1, H/16, W/16, G] is as y_hat is."""
        return self._code(self.encoder(writer, index, dtype), index, z, y, given, y.device, dtype)

    def take(
        self,
        reader: Reader,
        index: int,
        size: tuple[int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        given: Tensor | None = None,
    ) -> Coded:
        """The inverse of `put`, raising as `read` does."""
        return self._code(self.decoder(reader, index, size, device, dtype), index, None, None, given, device, dtype)

    def decoder(
        self,
        reader: Reader,
        index: int,
        size: tuple[int, int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> StreamDecoder:
        """The coder that reads what that of `encoder` wrote, of a signal of `size`: height and width in pixels."""
        y_size, z_size = self.model.sizes(*size)
        return StreamDecoder(
            reader,
            self.hyper_tables,
            self.latent_tables,
            index,
            y_size,
            (*z_size, self.model.hyper),
            dtype=dtype,
            grid=self.prior.grid,
            device=device,
        )

    def _code(
        self,
        coder: Coder,
        index: int,
        z: Tensor | None,
        y: Tensor | None,
        given: Tensor | None,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> Coded:
        one = self.prior.grid.one
        watched = Watched(coder, one) if self.model.watched else None
        known = None if given is None else (given.double() * one).to(dtype)  # a power of two: nothing is rounded
        y_fixed = self.prior.code(watched or coder, torch.tensor([index], device=device), z, y, known)
        return Coded(y_fixed.float().div_(one), watched.sent if watched else None)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What is stored of it, by name."""
        for name, value in self.model.state_dict().items():
            if name.startswith(FLOAT_PARTS) and not (self.model.exact_synthesis and name.startswith("g_s.")):
                yield name, value.to(torch.float16).contiguous()
        yield from self.exact_tensors()

    def exact_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What decides a symbol, by name."""
        for name, value in self.prior.state_dict().items():
            yield f"exact.{name}", value.contiguous()
        if self.model.exact_synthesis:
            for name, value in self.model.g_s.state_dict().items():
                yield EXACT_SYNTHESIS + name, value.contiguous()
        for kind, tables in (("hyper", self.hyper_tables), ("latent", self.latent_tables)):
            for name, values in tables.to_arrays().items():
                yield f"tables.{kind}.{name}", torch.from_numpy(np.array(values))


def make_network(
    trained: Autoencoder, hyper: Tables, latent: Tables, curvature: list[list[float]] | None = None
) -> Network:
    """Lower a trained autoencoder, which stays as it is."""
    model = copy.deepcopy(trained)
    model.prior = lower(trained.prior, trained.prior.grid)
    if model.exact_synthesis:
        model.g_s = lower(trained.g_s, trained.prior.grid)
    del model.density
    return Network(model.eval(), hyper, latent, curvature)
