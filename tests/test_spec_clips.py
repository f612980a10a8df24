"""What bitstream_spec.md says of clips, against the package: its programs decode clips of a small random model."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_clips import Maker, made_clip, read_clip
from test_clip_lite import codec, coded, moving
from test_spec import SPEC, section, table
from tiny_model import CLIP_CONFIG, tiny_clip_weights

from mvc.clip_model import BETWEEN_PARTS, PARTS
from mvc.clip_runs import MOST
from mvc.entropy.tables import Tables
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
    monkeypatch.setattr("mvc.clip_encoding.cheapest", lambda attempts, samples, index: attempts[0])


@pytest.mark.parametrize(("height", "width", "index"), [(1, 1, 20), (40, 60, 0), (70, 30, 45)])
def test_the_documents_decoder(height: int, width: int, index: int) -> None:
    """Symbols, what is known and motion fields of a clip with a repeated frame in it."""
    frames = moving(4, height, width)
    known_frames = coded(frames[:2], index=index)[1]
    again = replace(known_frames[1], time=14)
    data = coded([*frames[:2], again, *frames[2:]], index=index, gop=4)[2]
    _, read_units = SPEC["read_file"](data)
    assert [unit["role"] for unit in read_units] == ["picture", "inter", "inter", "inter", "picture"]
    is_what_the_package_reads(data)


def is_what_the_package_reads(data: bytes) -> None:
    """The document's program decodes a clip as the package does: symbols, what is known, and fields."""
    frames = SPEC["decode_clip"](*SPEC["read_file"](data), CONFIG, MODEL)
    for known, ours in zip(frames, read_clip(codec(), data), strict=True):
        assert known["symbols"] == ours.symbols
        for name, own in zip(("key", "last", "motion"), ours.latents, strict=True):
            assert np.array_equal(known[name], own), name
        fields = [own for own in (known["past"], known["future"]) if own is not None]
        assert all(np.array_equal(*both) for both in zip(fields, ours.fields, strict=True))


@pytest.mark.usefixtures("long_runs")
@pytest.mark.parametrize(("height", "width", "gop"), [(1, 1, 12), (40, 60, 5)])
def test_frames_between_by_the_encoder(height: int, width: int, gop: int) -> None:
    """Whole runs and one that is cut short, ended by frames of both kinds."""
    units, _, data = coded(moving(8, height, width), bframes=3, gop=gop)
    between = ["between"] * 3
    ends = [*between, "inter", *between[:2], "inter"] if gop > 8 else [*between, "inter", "picture", "between", "inter"]
    assert [unit.role for unit in units] == ["picture", *ends]
    is_what_the_package_reads(data)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 40)])
def test_frames_between(height: int, width: int) -> None:
    """Of all parts and of none."""
    data, made = made_clip(height, width)
    is_what_the_package_reads(data)
    frames = SPEC["decode_clip"](*SPEC["read_file"](data), CONFIG, MODEL)
    for frame, expected in zip(frames, made, strict=True):
        for name, own in zip(("key", "last", "motion"), expected.whole(), strict=True):
            assert np.array_equal(frame[name], own), name
        for field, own in ((frame["past"], expected.past), (frame["future"], expected.future)):
            assert (field is None) == (own is None) and (own is None or np.array_equal(field, own))
    assert sum(own.unit.role == "between" for own in made) == 13


def test_the_order_of_frames_between() -> None:
    order_of = SPEC["order_of"]
    assert [frame[:3] for frame in order_of(0, 4)] == [(2, 0, 4), (1, 0, 2), (3, 2, 4)]
    assert [frame[:3] for frame in order_of(0, 5)] == [(2, 0, 5), (1, 0, 2), (3, 2, 5), (4, 3, 5)]
    for count in range(SPEC["MOST_BETWEEN"] + 1):
        place = {0: 0, count + 1: 1}
        for number, low, high, later in order_of(0, count + 1):
            assert low < number < high
            assert later == ("future" if place[high] > place[low] else "past")
            place[number] = len(place)
        assert sorted(place) == list(range(count + 2))


def test_half_of_a_flow() -> None:
    field = np.array([[[5, -5, 9], [-1, 4, -3]]])
    assert SPEC["half"](field).tolist() == [[[3, -2, 0], [0, 2, 0]]]
    ahead, behind = {"past": field}, {"future": field}
    for bases, past in (
        (SPEC["base_fields"](None, ahead, "future", (1, 1)), [[[3, -2, 0], [0, 2, 0]]]),
        (SPEC["base_fields"](behind, None, "past", (1, 1)), [[[-3, 2, 0], [0, -2, 0]]]),
    ):
        assert bases[0].tolist() == past and np.array_equal(bases[1], -bases[0])
    both = SPEC["base_fields"]({"future": None}, {"past": None}, "future", (1, 2))
    assert [(base.shape, base.any()) for base in both] == [((2, 4, 3), False)] * 2


def test_what_runs_must_be() -> None:
    data, _ = made_clip(1, 1)
    head, units = SPEC["read_file"](data)
    for wrong in (units[1:], units[:3], [units[0], *units[1:4] * 3, units[4]]):
        with pytest.raises(SPEC["Invalid"]):
            list(SPEC["decode_clip"](head, wrong, CONFIG, MODEL))
    between = next(unit for unit in units if unit["role"] == "between" and unit["streams"][0])
    for value in (-1, 7):
        stream = SPEC["encode_stream"]([value], [SPEC["BETWEEN_ROW"]])
        with pytest.raises(SPEC["Invalid"], match="unknown parts"):
            list(SPEC["decode_clip"](head, [units[0], between | {"streams": [stream]}, units[0]], CONFIG, MODEL))


def test_a_residual_that_says_nothing_is_not_remembered() -> None:
    """No encoder of ours writes one, but a file may have it."""
    maker = Maker(20, 40)
    with torch.no_grad():
        first = maker.picture()
        quiet = maker.inter(first, 1, quiet=True)
        made = [first, quiet, maker.inter(quiet, 0)]
    data = maker.file(made)
    is_what_the_package_reads(data)
    for frame, one in zip(SPEC["decode_clip"](*SPEC["read_file"](data), CONFIG, MODEL), made, strict=True):
        for name, expected in zip(("key", "last", "motion"), one.whole(), strict=True):
            assert np.array_equal(frame[name], expected)


@pytest.mark.parametrize(("name", "own"), [("PARTS_ROW", PARTS), ("BETWEEN_ROW", BETWEEN_PARTS)])
def test_rows_of_first_symbols(name: str, own: Tables) -> None:
    assert (own.lowest.tolist()[0], own.half_width.tolist()[0], own.cdf.tolist()) == SPEC[name]


def test_most_between() -> None:
    assert SPEC["MOST_BETWEEN"] == MOST and f"in runs of at most {MOST}," in section("3.2")


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


def test_the_mean_of_two_predictions() -> None:
    rng = np.random.default_rng(3)
    planes = [[rng.integers(0, 256, (side, side)) for side in (16, 8, 8)] for _ in range(2)]
    fields = [rng.integers(-90, 91, (2, 2, 3)) for _ in range(2)]
    one, other = (SPEC["predict"](*both) for both in zip(planes, fields, strict=True))
    for mean, p, q in zip(SPEC["predict_between"](*planes, *fields), one, other, strict=True):
        assert np.array_equal(mean, np.ceil((p + q) / 2)) and (p != q).any()


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
    _, frame = SPEC["decode_clip"](head, [first, second], CONFIG, MODEL)
    assert np.array_equal(frame["sent"], seen[0][0, ..., 0].numpy() > 0) and frame["sent"].sum() > 0


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
    known = SPEC["decode_anchor"](head, first, CONFIG, MODEL, None)
    stream = second["streams"][0]
    for wrong in (stream[:-2], stream + b"\1\1", first["streams"][0]):
        with pytest.raises(SPEC["Invalid"]):
            SPEC["decode_anchor"](head, second | {"streams": [wrong]}, CONFIG, MODEL, known)
    with pytest.raises(SPEC["Invalid"]):
        SPEC["decode_anchor"](head, second, CONFIG, MODEL, None)
    with pytest.raises(SPEC["Invalid"]):
        SPEC["decode_anchor"](head, second | {"streams": [stream, b""]}, CONFIG, MODEL, known)
