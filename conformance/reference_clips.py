"""The second decoder's part for clips: symbols, latents and motion of every frame, and predictions of given planes.

    python conformance/reference_clips.py FILE.mvc --weights FOLDER [--sha256]

It follows sections 5.10, 6.6 and 6.7 of bitstream_spec.md and stands on reference_decoder.py beside it, which has all
that stills have too; nothing of the package is imported. For every unit it prints SHA-256 sums: of the symbols (int32,
little-endian, in decoding order), of y_hat (what is known afterwards: key, last, motion, each int32 [H, W, channels])
and of the motion fields (int32 [2H, 2W, 3]: of an inter its own, of a between the total ones to its past and its future
reference, of a keyframe none). Frames come in the order of their times. None of this depends on a sample, so none
depends on the synthesis in floating point, which is not its business; `predict` and `predict_between` make predictions
of given planes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import reference_decoder as base
from reference_decoder import Array, Head, Model, Refused, StreamDecoder, Unit, require, round_shift

# Section 5.10: the model, and the streams of a unit

PARTS_ROW = base.Row(0, 1, [0, 32768, 49152, 65535, 65536])
BETWEEN_ROW = base.Row(0, 3, [0, 9362, 18724, 28086, 37448, 46810, 56172, 65535, 65536])
MOST_BETWEEN = 7
NETWORKS = ("picture", "motion", "residual")


class ClipModel:
    """The three networks, by name, and the hash over all."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Array]) -> None:
        self.exact_hash = base.exact_hash(config, tensors)
        motion = {"hyper": config["motion"], "channels": config["motion"]}
        configs = {"picture": config["picture"], "motion": motion, "residual": config["picture"]}
        self.networks = {name: Model(own, network_of(tensors, name)) for name, own in configs.items()}


def network_of(tensors: dict[str, Array], name: str) -> dict[str, Array]:
    """The tensors of a network under the names of section 5.8."""
    if name == "picture":
        return {key: value for key, value in tensors.items() if not key.startswith(("motion.", "residual."))}
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def read_clip_model(folder: Path) -> ClipModel:
    try:
        config = json.loads((folder / "manifest.json").read_text())["config"]
        return ClipModel(config, base.read_safetensors((folder / "weights.safetensors").read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("Weights", f"{folder} holds no usable model of clips: {error!r}") from error


@dataclass
class Frame:
    """What a unit says, and what is known of it then: latents, whole numbers [H, W, channels], and motion fields."""

    role: str
    index: int
    key: Array
    last: Array
    motion: Array
    symbols: list[int] = field(default_factory=list)
    past: Array | None = None  # [2H, 2W, 3], in eighths: to the reference, or that of the two which is shown before
    future: Array | None = None  # to the other one
    sent: Array | None = None  # bool [H, W]: where the residual has a symbol that says something


def temporal(model: Model, given: Sequence[Array]) -> Array:
    layers = model.layers
    x = base.leaky(base.linear(np.concatenate(given, 2), layers["temporal.inp"]))
    x = x + base.depthwise(x, layers["temporal.mix.layer"])
    x = x + base.leaky(base.linear(x, layers["temporal.mid"]))
    return base.linear(x, layers["temporal.out"])


class UnitDecoder:
    """Decodes the parts of one unit, all from its one stream."""

    def __init__(self, head: Head, unit: Unit) -> None:
        require(unit.role in ("picture", "inter", "between"), "Corrupt", f"a clip has no unit {unit.role}")
        require(len(unit.streams) == 1, "Corrupt", f"{unit.role} {unit.index} has {len(unit.streams)} streams, not 1")
        self.quality = head.quality_index if unit.quality_index is None else unit.quality_index
        self.size, self.z_size = base.sizes_of(head.height, head.width)
        self.decoder = StreamDecoder(unit.streams[0], f"{unit.role} {unit.index}")
        self.symbols: list[int] = []

    def missing(self, row: base.Row, most: int) -> int:
        """The first symbol: which parts are not there."""
        (missing,) = self.decoder.take([row])
        self.symbols.append(missing)
        self.decoder.require(0 <= missing <= most, "Corrupt", f"a frame has the parts {missing}")
        return missing

    def features(self, model: Model, given: Sequence[Array]) -> Array:
        z = base.decode_hyper(self.decoder, model, self.quality, *self.z_size)
        self.symbols += z.ravel().tolist()
        features = base.hyper_synthesis(model, z, self.quality, *self.size)
        return features + temporal(model, given) if given else features

    def picture(self, model: Model, given: Sequence[Array] = ()) -> tuple[Array, Array]:
        """y_hat of a network that codes as stills are, and where something was sent."""
        support = self.features(model, given)
        first, places = support.shape[2], np.zeros(self.size, bool)
        for k in range(len(model.config["slices"])):
            y_hat, order, sent = base.decode_slice(self.decoder, model, k, support)
            support = np.concatenate([support, y_hat], 2)
            self.symbols += order
            places |= sent
        return support[..., first:], places

    def residual(self, model: Model, given: Sequence[Array]) -> tuple[Array, Array]:
        """What is `last` then, and where something was sent."""
        y_hat, sent = self.picture(model, given)
        return y_hat * sent.any(), sent

    def motion(self, model: Model, given: Sequence[Array]) -> Array:
        """y_hat of the motion: five passes."""
        features = self.features(model, given)
        y_hat = np.zeros((*self.size, model.config["channels"]), np.int64)
        known = np.zeros(self.size, bool)
        for number, mask in enumerate(motion_masks(*self.size)):
            name, around = f"contexts.{number}", near(y_hat, known, number)
            hidden, mean, rows = base.context(model, name, np.concatenate([features, y_hat, around], 2))
            values = base.decode_pass(self.decoder, model, mask, mean + around, rows, self.symbols)
            values = values + base.correction(model, name, hidden, values)
            y_hat[mask] = values[mask]
            known |= mask
        return y_hat


def motion_masks(height: int, width: int) -> list[Array]:
    """Which positions each of the five passes codes."""
    i, j = np.mgrid[0:height, 0:width]
    even = (i % 2 == 0) & (j % 2 == 0)
    return [
        (i % 4 == 0) & (j % 4 == 0),
        (i % 4 == 2) & (j % 4 == 2),
        even & ((i + j) % 4 == 2),
        (i % 2 == 1) & (j % 2 == 1),
        (i + j) % 2 == 1,
    ]


def near(y_hat: Array, known: Array, number: int) -> Array:
    """The mean of the known neighbours, halves upward; zeros where there are none, and in the first pass."""
    height, width, _ = y_hat.shape
    distance = 2 if number < 3 else 1
    total, count = np.zeros_like(y_hat), np.zeros((height, width, 1), np.int64)
    if number == 0:
        return total
    seen = np.pad(known[..., None].astype(np.int64), [(distance, distance)] * 2 + [(0, 0)])
    padded = np.pad(y_hat, [(distance, distance)] * 2 + [(0, 0)]) * seen
    for a, b in np.ndindex(3, 3):
        if (a != 1 and b != 1) if number in (1, 3) else ((a == 1) != (b == 1)):
            part = slice(a * distance, a * distance + height), slice(b * distance, b * distance + width)
            total += padded[part]
            count += seen[part]
    count = np.maximum(count, 1)
    return (2 * total + count) // (2 * count)


def decode_anchor(head: Head, unit: Unit, model: ClipModel, before: Frame | None) -> Frame:
    """A picture or an inter, given the last one before it."""
    coded = UnitDecoder(head, unit)
    networks = model.networks
    if unit.role == "picture":
        key, _ = coded.picture(networks["picture"])
        coded.decoder.finish()
        motion = np.zeros((*coded.size, networks["motion"].config["channels"]), np.int64)
        return Frame(unit.role, unit.index, key, np.zeros_like(key), motion, coded.symbols)
    if before is None:
        raise Refused("Corrupt", f"there is no frame before inter {unit.index}")
    frame = Frame(unit.role, unit.index, before.key, before.last, before.motion, coded.symbols)
    frame.past = no_motion(coded.size)
    if not unit.streams[0]:
        return frame
    missing = coded.missing(PARTS_ROW, 2)
    frame.motion, frame.last = np.zeros_like(before.motion), np.zeros_like(before.last)
    if missing != 1:
        frame.motion = coded.motion(networks["motion"], [before.motion, before.last])
        frame.past = motion_field(networks["motion"], frame.motion, coded.quality)
    if missing != 2:
        given = [before.key, before.last, frame.motion]
        frame.last, frame.sent = coded.residual(networks["residual"], given)
    coded.decoder.finish()
    return frame


def decode_between(head: Head, unit: Unit, model: ClipModel, past: Frame, base_future: Array) -> Frame:
    """A between, given what is known of its past reference, and the base of its future field."""
    coded = UnitDecoder(head, unit)
    motion, residual = model.networks["motion"], model.networks["residual"]
    frame = Frame(unit.role, unit.index, past.key, np.zeros_like(past.last), np.zeros_like(past.motion), coded.symbols)
    frame.past, frame.future = -base_future, base_future
    if not unit.streams[0]:
        return frame
    missing = coded.missing(BETWEEN_ROW, 6)
    given = [np.zeros_like(past.motion), past.last]
    if missing & 1 == 0:
        frame.motion = coded.motion(motion, given)
        frame.past = frame.past + motion_field(motion, frame.motion, coded.quality)
    if missing & 2 == 0:
        frame.future = frame.future + motion_field(motion, coded.motion(motion, given), coded.quality)
    if missing & 4 == 0:
        frame.last, frame.sent = coded.residual(residual, [past.key, past.last, frame.motion])
    coded.decoder.finish()
    return frame


def base_of_future(past: Frame, future: Frame, later: Frame) -> Array:
    """Section 6.6: the base of a between's future field; that of the past one is the same, negated."""
    if later is past:
        assert past.future is not None
        return half(past.future)
    return no_motion(future.key.shape[:2]) if future.past is None else -half(future.past)


def decode_run(head: Head, run: Sequence[Unit], model: ClipModel, first: Frame, last: Frame) -> list[Frame]:
    """All units between two anchors, in the order of their times."""
    frames: list[Frame | None] = [first, *[None] * len(run), last]

    def fill(low: int, high: int, later: Frame) -> None:
        past, future = frames[low], frames[high]
        assert past is not None and future is not None
        if high - low > 1:
            middle = (low + high) // 2
            made = decode_between(head, run[middle - 1], model, past, base_of_future(past, future, later))
            frames[middle] = made
            fill(low, middle, made)
            fill(middle, high, made)

    fill(0, len(run) + 1, last)
    return [frame for frame in frames[1:-1] if frame]


def decode_clip(data: bytes, model: ClipModel) -> tuple[Head, Iterator[Frame]]:
    """The header, and the frames one by one."""
    head, units = base.read_file(data)
    require(head.kind == "clip", "Unsupported", "the file is a still")
    base.require(max(head.width, head.height) <= 8192, "Limit", "a side has more than 8192 pixels")
    base.check_head(head, model.exact_hash)
    return head, decode_units(head, units, model)


def decode_units(head: Head, units: Sequence[Unit], model: ClipModel) -> Iterator[Frame]:
    """The frames in the order of their times: those of a run when the anchor behind it is there."""
    before: Frame | None = None
    run: list[Unit] = []
    for unit in units:
        if unit.role == "between":
            require(before, "Corrupt", f"there is no frame before between {unit.index}")
            require(len(run) < MOST_BETWEEN, "Corrupt", f"between {unit.index} is the eighth in a row")
            run.append(unit)
            continue
        anchor = decode_anchor(head, unit, model, before)
        if before:
            yield from decode_run(head, run, model, before, anchor)
        yield anchor
        before, run = anchor, []
    require(not run, "Corrupt", f"no frame ends the {len(run)} units between at the end")


# Section 6.6: the motion field


def motion_field(model: Model, y_hat: Array, quality: int) -> Array:
    """[2H, 2W, 3]: flow right and down in eighths of a pixel, scale in eighths of a level."""
    layers = {name.removeprefix("exact_g_s."): layer for name, layer in model.layers.items()}
    y = base.gain(y_hat, model.gains["exact_g_s.gain"][quality])
    x = base.leaky(base.linear(y, layers["up"]))
    x = x + base.depthwise(x, layers["mix16.layer"])
    x = x + base.leaky(base.linear(x, layers["mid16"]))
    x = base.shuffle(base.linear(x, layers["split"]), 2)
    x = x + base.depthwise(x, layers["mix8.layer"])
    motion = base.linear(x + base.leaky(base.linear(x, layers["mid8"])), layers["out"])
    motion[..., :2] += base.shuffle(base.linear(y, layers["skip"]), 2)
    return round_shift(motion, 5)


def no_motion(size: Sequence[int]) -> Array:
    """The field of a frame with y_hat of this size in which nothing moves."""
    return np.zeros((2 * size[0], 2 * size[1], 3), np.int64)


def half(motion: Array) -> Array:
    """Half of a flow, halves upward; the scale is not taken over."""
    return (motion + 1) // 2 * np.array([1, 1, 0])


# Section 6.7: the prediction

TAPS = np.array(
    [
        [0, 64, 0, 0], [-2, 63, 3, 0], [-4, 62, 6, 0], [-5, 59, 11, -1],
        [-5, 56, 15, -2], [-6, 52, 21, -3], [-6, 47, 26, -3], [-5, 42, 31, -4],
        [-5, 37, 37, -5], [-4, 31, 42, -5], [-3, 26, 47, -6], [-3, 21, 52, -6],
        [-2, 15, 56, -5], [-1, 11, 59, -5], [0, 6, 62, -4], [0, 3, 63, -2],
    ]
)  # fmt: skip
KERNEL = (1, 4, 6, 4, 1)


def blurred(plane: Array, step: int) -> Array:
    for axis in (0, 1):
        margin = [(2 * step, 2 * step) if own == axis else (0, 0) for own in (0, 1)]
        padded, size = np.pad(plane, margin, mode="edge"), plane.shape[axis]
        plane = sum((w * padded.take(range(k * step, k * step + size), axis) for k, w in enumerate(KERNEL)), 0 * plane)
    return round_shift(plane, 8)


def interpolated(motion: Array, n: int, shift: int) -> Array:
    """One component of the field, [rows, columns], at every sample of a plane with blocks of n x n."""
    weights = [
        [(max(b - 1, 0), 2 * n - w), (min(b, count - 1), w)]
        for count in motion.shape
        for b, w in ((place // n, 2 * (place % n) + 1) for place in range(n // 2, n * count + n // 2))
    ]
    rows, columns = weights[: n * motion.shape[0]], weights[n * motion.shape[0] :]
    down = np.stack([sum(w * motion[b] for b, w in pair) for pair in rows])
    return round_shift(np.stack([sum(w * down[:, b] for b, w in pair) for pair in columns], 1), shift)


def predict_plane(plane: Array, motion: Array, n: int) -> Array:
    """[n * rows, n * columns] of 0..255; motion [rows, columns, 3]."""
    held = np.clip(motion.astype(np.int64), -(2**20), 2**20)
    shifts = (7, 7, 7) if n == 8 else (6, 6, 5)
    right, down, scale = (interpolated(held[..., c], n, shift) for c, shift in enumerate(shifts))
    levels = [plane.astype(np.int64)]
    for step in (1, 2, 4):
        levels.append(blurred(levels[-1], step))
    i, j = np.indices(plane.shape)
    i, j, right, down = i + (down >> 4), j + (right >> 4), right & 15, down & 15

    def at(level: Array, a: int, b: int) -> Array:
        return level[np.clip(i + a, 0, plane.shape[0] - 1), np.clip(j + b, 0, plane.shape[1] - 1)]

    total = np.zeros(plane.shape, np.int64)
    for a, b in np.ndindex(4, 4):
        total += TAPS[down, a] * TAPS[right, b] * at(levels[0], a - 1, b - 1)
    samples = [np.clip(round_shift(total, 12), 0, 255)]
    for level in levels[1:]:
        above = (16 - right) * at(level, 0, 0) + right * at(level, 0, 1)
        below = (16 - right) * at(level, 1, 0) + right * at(level, 1, 1)
        samples.append(round_shift((16 - down) * above + down * below, 8))
    scale = np.clip(scale, 0, 48)
    result = np.zeros(plane.shape, np.int64)
    for k, sample in enumerate(samples):
        share = np.clip(16 - abs(scale - 16 * k), 0, 16)
        result += share * sample
    return round_shift(result, 4)


def predict(planes: Sequence[Array], motion: Array) -> list[Array]:
    """The prediction of planes Y [16H, 16W], U and V [8H, 8W] by a field [2H, 2W, 3]."""
    return [predict_plane(plane, motion, n) for plane, n in zip(planes, (8, 4, 4), strict=True)]


def predict_between(past: Sequence[Array], future: Sequence[Array], fields: Sequence[Array]) -> list[Array]:
    """The prediction of a between by the planes of its references and its total fields."""
    both = (predict(planes, motion) for planes, motion in zip((past, future), fields, strict=True))
    return [(p + q + 1) // 2 for p, q in zip(*both, strict=True)]


def digests(frame: Frame) -> dict[str, str]:
    parts = {
        "symbols": [np.array(frame.symbols)],
        "y_hat": [frame.key, frame.last, frame.motion],
        "motion": [own for own in (frame.past, frame.future) if own is not None],
    }
    return {
        name: hashlib.sha256(b"".join(array.astype("<i4").tobytes() for array in arrays)).hexdigest()
        for name, arrays in parts.items()
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Decode a clip to the symbols, latents and motion of its frames.")
    parser.add_argument("file", type=Path, metavar="FILE.mvc")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the model")
    parser.add_argument("--sha256", action="store_true", help="print nothing but the sums")
    options = parser.parse_args(arguments)
    try:
        head, frames = decode_clip(options.file.read_bytes(), read_clip_model(options.weights))
        if not options.sha256:
            print(f"clip     {head.width}x{head.height}, {head.colour}, quality index {head.quality_index}")
            print(f"model    {head.model_id.hex()}")
        for frame in frames:
            if not options.sha256:
                print(f"{frame.role:8} {frame.index}, {len(frame.symbols)} symbols")
            for name, digest in digests(frame).items():
                print(f"{name:8} {digest}")
    except (OSError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
