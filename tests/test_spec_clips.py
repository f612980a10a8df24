"""What bitstream_spec.md says of clips, against the package: its programs decode clips of a small random model."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_clip_lite import KEY, LAST, MOTION, codec, coded, moving, recorded_motion
from test_spec import SPEC, section, table
from tiny_model import CLIP_CONFIG, recorded, tiny_clip_weights

from mvc.clip import PARTS
from mvc.container import read_file
from mvc.models import lite_flow as flow
from mvc.models.lite_flow import spread
from mvc.models.network import Network
from mvc.models.video_prior import passes
from mvc.models.weights import _prefixed
from mvc.ops.warp import predict_reference

WEIGHTS = tiny_clip_weights()
STORED = dict(_prefixed(WEIGHTS.networks, Network.exact_tensors))
MODEL = {name: tensor.numpy().astype(np.int64) for name, tensor in STORED.items()}
CONFIG = CLIP_CONFIG.to_dict()


@pytest.fixture(autouse=True)
def all_parts_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks say little that is worth its bits."""
    monkeypatch.setattr("mvc.clip.cheapest", lambda attempts, samples, index: attempts[0])


@pytest.mark.parametrize(("height", "width", "index"), [(1, 1, 20), (40, 60, 0), (70, 30, 45)])
def test_the_documents_decoder(height: int, width: int, index: int) -> None:
    """Symbols, what is known, motion fields and places of the residual, of a clip with a repeated frame in it."""
    frames = moving(4, height, width)
    known_frames = coded(frames[:2], index=index)[1]
    again = replace(known_frames[1], time=14)
    data = coded([*frames[:2], again, *frames[2:]], index=index, gop=4)[2]
    own = codec()
    head, read_units = SPEC["read_file"](data)
    assert [unit["role"] for unit in read_units] == ["picture", "inter", "inter", "inter", "picture"]
    state: Any = None
    known: Any = None
    ours_head, ours_units = read_file(data)
    signal = own._signal(ours_head)
    for unit, ours in zip(read_units, ours_units, strict=True):
        with recorded() as symbols, recorded_motion(own) as fields:
            state = own._read(ours_head, signal, ours, state)
        known, new = SPEC["decode_frame"](head, unit, CONFIG, MODEL, known)
        assert new["symbols"] == [int(symbol) for part in symbols for symbol in part]
        for name, mine in ((KEY, "key"), (LAST, "last"), (MOTION, "motion")):
            assert np.array_equal(known[mine], (state.latents[name][0].double() * 256).numpy())
        assert (new["field"] is None) == (not fields)
        if fields:
            assert np.array_equal(new["field"], (8 * fields[0][0]).numpy())


def test_parts_row() -> None:
    assert (0, 1, PARTS.cdf.tolist()) == SPEC["PARTS_ROW"] and PARTS.lowest.tolist() == [0]


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 7), (8, 12)])
def test_passes_of_motion(size: tuple[int, int]) -> None:
    numbers = np.array([[SPEC["motion_pass_of"](i, j) for j in range(size[1])] for i in range(size[0])])
    for number, mask in enumerate(passes(torch.zeros(*size, 1))):
        assert np.array_equal(mask[..., 0].numpy() > 0, numbers == number)
    network = WEIGHTS.networks["motion"].prior
    values = np.random.default_rng(0).integers(-(2**20), 2**20, (*size, 16))
    for number in range(1, 5):
        known = numbers < number
        y_hat = torch.from_numpy(values * known[..., None]).double()[None]
        expected = network._neighbours(y_hat, torch.from_numpy(known).double()[..., None], number)[0]
        assert np.array_equal(SPEC["near"](values * known[..., None], known, number), expected.numpy())


@pytest.mark.parametrize("most", [3, 40, 900, 2**21])
@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_the_warp(most: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(most)
    height, width = (16 * side for side in size)
    planes = [rng.integers(0, 256, (height // n, width // n), np.uint8) for n in (1, 2, 2)]
    field = rng.integers(-most, most + 1, (height // 8, width // 8, 3))
    field[..., 2] = rng.integers(-10, 40, field.shape[:2])
    found = SPEC["predict"](planes, field)
    tensors = tuple(torch.from_numpy(plane) for plane in planes)
    expected = predict_reference(tensors, torch.from_numpy(field).int())  # type: ignore[arg-type]
    for own, plane in zip(found, expected, strict=True):
        assert np.array_equal(own, plane.numpy())


def test_shares() -> None:
    sent = np.random.default_rng(1).random((5, 7)) < 0.3
    expected = spread(torch.from_numpy(sent)[None, ..., None].float())[0, ..., 0].numpy()
    np.testing.assert_allclose(SPEC["shares"](sent), expected, atol=1e-6)


def test_where_something_is_sent_is_what_the_package_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = coded(moving(2, 60, 90))[2]
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(flow, "spread", lambda sent: seen.append(sent) or spread(sent))
    list(codec().decode(io.BytesIO(data)))
    head, (first, second) = SPEC["read_file"](data)
    known, _ = SPEC["decode_frame"](head, first, CONFIG, MODEL, None)
    _, new = SPEC["decode_frame"](head, second, CONFIG, MODEL, known)
    assert np.array_equal(new["sent"], seen[0][0, ..., 0].numpy() > 0) and new["sent"].sum() > 0


def test_exact_hash_of_three_networks() -> None:
    arrays = {name: tensor.numpy() for name, tensor in STORED.items()}
    assert SPEC["exact_hash"](CONFIG, arrays) == WEIGHTS.exact_hash


def test_tensor_tables_of_clips() -> None:
    """Names and shapes of section 5.10 are those that are stored, beside those of section 5.8."""
    text = section("5.10")
    m, w, t = CLIP_CONFIG.motion, CLIP_CONFIG.motion_width, CLIP_CONFIG.temporal_width
    latents = CLIP_CONFIG.picture.latents
    of = {
        "motion": {"P": CLIP_CONFIG.motion_features, "T": CLIP_CONFIG.motion_features, "G": m + latents},
        "residual": {"P": CLIP_CONFIG.picture.features, "T": t, "G": 2 * latents + m},
    }
    for layers, _, shapes in table(text, "Layer"):
        if layers.startswith("contexts"):
            assert MODEL["motion.exact.contexts.4.inp.weight"].shape == (64, of["motion"]["P"] + 2 * m)
            continue
        for layer in layers.removesuffix(" of `motion`").split(", "):
            for network in ("motion", "residual") if layer.startswith("temporal") else ("motion",):
                stored = layer if layer.startswith("exact_g_s") else f"exact.{layer}"
                part = "table" if layer.endswith("gain") else "weight"
                expected = eval(shapes.split(", of ")[0], {}, {"m": m, "w": w} | of[network])
                assert MODEL[f"{network}.{stored}.{part}"].shape == tuple(expected), layer


def test_damaged_clips_are_refused_by_both() -> None:
    data = coded(moving(2))[2]
    head, (first, second) = SPEC["read_file"](data)
    known, _ = SPEC["decode_frame"](head, first, CONFIG, MODEL, None)
    stream = second["streams"][0]
    for wrong in (stream[:-2], stream + b"\1\1", first["streams"][0]):
        with pytest.raises(SPEC["Invalid"]):
            SPEC["decode_frame"](head, second | {"streams": [wrong]}, CONFIG, MODEL, known)
    with pytest.raises(SPEC["Invalid"]):
        SPEC["decode_frame"](head, second, CONFIG, MODEL, None)
    with pytest.raises(SPEC["Invalid"]):
        SPEC["decode_frame"](head, second | {"streams": [stream, b""]}, CONFIG, MODEL, known)
