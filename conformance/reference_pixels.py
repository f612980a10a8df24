"""From an mvc file to samples without the package: the second decoder's latents, and an ONNX graph for the rest.

    python conformance/reference_pixels.py FILE.mvc --decoder DIR [-o OUT.ppm|OUT.pgm|OUT.pam | --sha256]

DIR is what `mvc export-decoder` writes. It follows sections 6.2 and 6.3 of bitstream_spec.md and needs numpy and
onnxruntime. Stills that name a model are decoded, in one tile or many, with tiles and alpha by the exact coder.
--sha256 prints the sum of the samples (u8, rows from the top, channels side by side, alpha the last), which may differ
by rounding between machines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from reference_decoder import (
    Array,
    Head,
    Model,
    Refused,
    Tile,
    decode,
    read_file,
    read_safetensors,
    require,
    tile_units,
)
from reference_exact import planes_of

CELL_PX, WINDOW, MARGIN = 16, 48, 1
Place = tuple[int, int]


def read_decoder(folder: Path) -> tuple[Model, Any]:
    """The exact prior, and the synthesis as onnxruntime runs it."""
    import onnxruntime

    try:
        facts = json.loads((folder / "decoder.json").read_text())
        model = Model(facts["config"], read_safetensors((folder / "prior.safetensors").read_bytes()))
        require(model.exact_hash.hex() == facts["exact_sha256"], "Weights", "the prior is not that of decoder.json")
        providers = ["CPUExecutionProvider"]
        return model, onnxruntime.InferenceSession(str(folder / "synthesis.onnx"), providers=providers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("Weights", f"{folder} holds no decoder: {error!r}") from error


def parts(side: int) -> list[Place]:
    """Section 6.2: where the windows of a side begin and end."""
    count = -(-side // WINDOW)
    edges = [i * side // count // 2 * 2 for i in range(count)] + [side]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def amid(latents: dict[Place, Array]) -> tuple[Array, Place]:
    """Section 6.2: the latent of the tile at (0, 0) with a row and a column of those around, and where its own begins.

    A corner whose own tile has none is the position beside it in the row.
    """
    ends = {-1: slice(-MARGIN, None), 0: slice(None), 1: slice(0, MARGIN)}
    bands = []
    for down in (d for d in (-1, 0, 1) if (d, 0) in latents):
        middle = latents[down, 0][ends[down]]
        band = [middle]
        for across in (a for a in (-1, 1) if (0, a) in latents):
            other = latents.get((down, across))
            beside = middle[:, :1] if across < 0 else middle[:, -1:]
            side = beside if other is None else other[ends[down], ends[across]]
            band.insert(0 if across < 0 else len(band), side)
        bands.append(np.concatenate(band, 1))
    return np.concatenate(bands), (int((-1, 0) in latents), int((0, -1) in latents))


def samples_of(session: Any, latents: dict[Place, Array], quality: int, gray: bool) -> Array:
    """u8 [16 H, 16 W, channels] of the tile at (0, 0)."""
    wide, (top, left) = amid(latents)
    height, width, _ = latents[0, 0].shape
    out = np.zeros((CELL_PX * height, CELL_PX * width, 1 if gray else 3), np.uint8)
    for (first, last), (begin, end) in product(parts(height), parts(width)):
        above, before = max(0, top + first - MARGIN), max(0, left + begin - MARGIN)
        window = wide[above : top + last + MARGIN, before : left + end + MARGIN]
        given = {"y_hat": window.astype(np.int32), "quality_index": np.array([quality], np.int64)}
        x = session.run(["picture"], given)[0]
        y0, x0 = CELL_PX * (top + first - above), CELL_PX * (left + begin - before)
        x = x[y0 : y0 + CELL_PX * (last - first), x0 : x0 + CELL_PX * (end - begin)]
        x = x.mean(2, keepdims=True) if gray else x
        own = out[CELL_PX * first : CELL_PX * last, CELL_PX * begin : CELL_PX * end]
        own[...] = np.clip(np.rint(255 * x), 0, 255)
    return out


def around(tile: Tile, places: dict[Place, Tile], latents: dict[int, Array]) -> dict[Place, Array]:
    """The latents of a tile and of those that touch it, by place: (0, 0) is its own, (-1, 0) that above."""
    rows, columns = (sorted({place[axis] for place in places}) for axis in (0, 1))
    row, column = rows.index(tile.top), columns.index(tile.left)
    found = {}
    for down, across in product((-1, 0, 1), repeat=2):
        if 0 <= row + down < len(rows) and 0 <= column + across < len(columns):
            other = places[rows[row + down], columns[column + across]]
            if other.number in latents:
                found[down, across] = latents[other.number]
    return found


def decode_pixels(data: bytes, model: Model, session: Any) -> tuple[Head, Array]:
    """The header and all samples, u8 [H, W, channels], alpha the last."""
    head, _, decoded = decode(data, model)
    tiles = list(tile_units(*read_file(data)))
    coded = [tile.number for tile in tiles if tile.unit.role == "picture"]
    latents = dict(zip(coded, decoded, strict=True))
    places = {(tile.top, tile.left): tile for tile in tiles}
    colours = 1 if head.colour == "gray" else 3
    out = np.zeros((head.height, head.width, colours + head.alpha), np.uint8)
    for tile in tiles:
        own = out[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        if tile.unit.role == "picture":
            quality = head.quality_index if tile.unit.quality_index is None else tile.unit.quality_index
            assert quality is not None
            samples = samples_of(session, around(tile, places, latents), quality, colours == 1)
            own[..., :colours] = samples[: tile.height, : tile.width]
        else:
            planes = planes_of(head, tile, tile.unit, colours + (head.alpha and tile.alpha is None))
            own[..., : len(planes)] = np.moveaxis(np.array(planes), 0, -1)
        if tile.alpha is not None:
            own[..., colours] = planes_of(head, tile, tile.alpha, 1)[0]
    return head, out


def write(path: Path, samples: Array) -> None:
    """PGM, PPM, or PAM with alpha, by the number of channels."""
    height, width, channels = samples.shape
    if channels in (1, 3):
        header = f"P{5 if channels == 1 else 6}\n{width} {height}\n255\n"
    else:
        kind = "GRAYSCALE_ALPHA" if channels == 2 else "RGB_ALPHA"
        header = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL 255\nTUPLTYPE {kind}\nENDHDR\n"
    path.write_bytes(header.encode() + samples.tobytes())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Decode an .mvc picture with an exported decoder.")
    parser.add_argument("file", type=Path, metavar="FILE.mvc")
    parser.add_argument("--decoder", type=Path, required=True, help="folder of `mvc export-decoder`")
    parser.add_argument("-o", "--output", type=Path, help="PPM, PGM for gray, PAM with alpha")
    parser.add_argument("--sha256", action="store_true", help="print the sum of the samples")
    options = parser.parse_args(arguments)
    try:
        head, samples = decode_pixels(options.file.read_bytes(), *read_decoder(options.decoder))
        if options.output:
            write(options.output, samples)
    except (OSError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.sha256:
        print(hashlib.sha256(samples.tobytes()).hexdigest())
    else:
        print(f"picture  {head.width}x{head.height}, {head.colour}{' with alpha' * head.alpha}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
