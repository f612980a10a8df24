"""Fit the latent tables to what a trained model really codes.

Training assumes a Gaussian per latent. The symbols of real pictures have heavier tails and, at the model's own idea
of the scale, a slightly different width. So each table row becomes a mixture of two Gaussians whose widths and shares
are fitted to the symbols that training pictures put into that row and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from mvc.codec import Codec
from mvc.entropy.tables import LATENT_SIGMAS, Tables, mixture_tables
from mvc.models.weights import Weights
from mvc.picture import Picture
from mvc.quality import DEFAULT_EFFORT
from mvc.train.data import CropStore

REACH = 64  # symbols of larger magnitude are counted as this one
NEIGHBOURS = 2
FITTED = (4, 16, 28, 40, 52, 62)
PRIOR_COUNT = 2000.0  # weight of the plain Gaussian in the pooled histogram of a row


class _Counter:
    """A writer that counts |symbol| per row of the latent tables, and writes nothing."""

    def __init__(self, latent: Tables) -> None:
        self.latent = latent
        self.counts = np.zeros((latent.rows, REACH + 1))

    def put(self, symbols: np.ndarray, rows: np.ndarray, tables: Tables) -> None:
        if tables is self.latent:
            cell = rows * (REACH + 1) + np.minimum(np.abs(symbols), REACH)
            self.counts += np.bincount(cell, minlength=self.counts.size).reshape(self.counts.shape)

    def end(self) -> None:
        pass


def count_symbols(weights: Weights, pictures: Iterable[Picture], indices: Sequence[int]) -> np.ndarray:
    """How often each magnitude occurs in each latent row, [rows, REACH + 1], over pictures and quality indices.

    At the encoder's default effort, whose symbols are what most files hold.
    """
    codec = Codec(weights)
    network = codec.network
    counter = _Counter(network.latent_tables)
    for picture in pictures:
        size = picture.height, picture.width
        for index in indices:
            y, z = codec.latents(codec.to_tensor(picture), size, index, DEFAULT_EFFORT)
            network.put(counter, y, z, index)
    return counter.counts


def _magnitude_pmf(sigma: np.ndarray) -> np.ndarray:
    """Mass of |symbol| = 0 ... REACH, the last with the tail, under N(0, sigma): [..., REACH + 1]."""
    edges = (np.arange(REACH + 1) + 0.5) / np.sqrt(2) / sigma[..., None]
    above = torch.special.erfc(torch.from_numpy(edges)).numpy()  # mass beyond +-(k + 1/2)
    pmf = np.empty(above.shape)
    pmf[..., 0] = 1 - above[..., 0]
    pmf[..., 1:] = above[..., :-1] - above[..., 1:]
    pmf[..., -1] = above[..., -2]
    return pmf


def fit_tables(counts: np.ndarray) -> Tables:
    """Latent tables whose rows are the best mixtures for the counts."""
    narrow, wide = np.geomspace(0.5, 1.25, 16), np.geomspace(1.0, 4.0, 15)
    shares = np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 0.985, 1.0])
    weights, ratios = np.ones((len(counts), 2)), np.ones((len(counts), 2))
    for row in range(len(LATENT_SIGMAS)):
        near = slice(max(0, row - NEIGHBOURS), row + NEIGHBOURS + 1)
        cost = np.zeros((len(shares), len(narrow), len(wide)))
        for count, own in zip(counts[near], LATENT_SIGMAS[near], strict=True):
            total = count + PRIOR_COUNT * _magnitude_pmf(np.array(own)) / (2 * NEIGHBOURS + 1)
            first, second = _magnitude_pmf(own * narrow), _magnitude_pmf(own * wide)
            for i, share in enumerate(shares):
                mixed = share * first[:, None] + (1 - share) * second[None]
                cost[i] -= np.log2(np.maximum(mixed, 2.0**-18)) @ total
        i, j, k = (int(n) for n in np.unravel_index(int(cost.argmin()), cost.shape))
        weights[row], ratios[row] = (shares[i], 1 - shares[i]), (narrow[j], wide[k])
    return mixture_tables(LATENT_SIGMAS, weights, ratios)


def calibrated_tables(weights: Weights, store: CropStore, crops: int = 48, crop_px: int = 256) -> Tables:
    """Latent tables fitted on random crops of a training store at a spread of qualities."""
    pictures = [Picture(crop) for crop in store.batch(np.random.default_rng(0), crops, crop_px)]
    return fit_tables(count_symbols(weights, pictures, FITTED))
