"""The networks of mambavc-lite for clips: what they start from, what is lowered, and what their priors code."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import CLIP_CONFIG, CONFIG, tiny_clip_network, tiny_network
from torch import Tensor

from mvc.colour import Colour
from mvc.entropy.parts import SeparateReader, SeparateWriter
from mvc.entropy.tables import gaussian_tables
from mvc.exact.fixed import COARSE
from mvc.exact.lower import lower
from mvc.frames import Frame
from mvc.media import read_picture
from mvc.metrics import psnr
from mvc.models.coding import Watched
from mvc.models.estimate import RateEstimator
from mvc.models.lite import Config, MambaVCLite
from mvc.models.lite_video import LiteVideo, from_still, haar, motion_input
from mvc.models.streams import StreamDecoder, StreamEncoder
from mvc.models.video_prior import MotionPrior, TemporalPrior, passes
from mvc.picture import Picture
from mvc.planes import pack, unpack
from mvc.train.export import hyper_tables
from mvc.train.trained import load_checkpoint

ROOT = Path(__file__).parent.parent
SAMPLES, CHECKPOINT = ROOT / "samples", ROOT / "checkpoints" / "mambavc-lite.pt"
INDEX = torch.tensor([40])
HEIGHT, WIDTH = 8, 12  # in latents


@cache
def model() -> LiteVideo:
    return tiny_clip_network()


def latents(channels: int, *, seed: int = 0, spread: float = 4.0) -> Tensor:
    """[1, HEIGHT, WIDTH, C]"""
    return spread * torch.randn(1, HEIGHT, WIDTH, channels, generator=torch.Generator().manual_seed(seed))


def smooth_flow(size: tuple[int, int], shift: tuple[float, float] = (3.25, -1.5)) -> Tensor:
    """[1, *size, 2], a shift and a slow turn."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    return torch.stack([shift[0] + 0.1 * rows, shift[1] - 0.1 * columns], -1)[None]


# What they start from


@pytest.mark.parametrize("index", [10, 45])
def test_a_keyframe_is_coded_nearly_as_the_still_was(index: int) -> None:
    """Of a real frame in 4:2:0 the luma is as near the source as what the still model makes of its RGB."""
    still = load_checkpoint(CHECKPOINT)[0]
    made = from_still(still).keyframe.eval()
    samples = read_picture(SAMPLES / "kodim23.png").picture.samples[64:320, 128:384]
    frame = Frame.of_picture(Picture(np.ascontiguousarray(samples)), 0).converted("yuv420p", Colour(matrix=6))
    quality = torch.tensor([index])

    def coded(model: MambaVCLite, x: np.ndarray) -> tuple[np.ndarray, float]:
        coder = RateEstimator(model.density, quality, False)
        with torch.no_grad():
            x_hat = model(coder, torch.from_numpy(x).float()[None] / 255, quality)[0]
        return (255 * x_hat).round().clamp(0, 255).byte().numpy(), float(coder.bits)

    own, bits = coded(made, pack(frame.planes, 256, 256))
    rgb, still_bits = coded(still, frame.to_picture().samples)
    again = Frame.of_picture(Picture(rgb), 0).converted("yuv420p", Colour(matrix=6))
    found = [psnr(frame.planes[0], luma) for luma in (unpack(own, 256, 256)[0], again.planes[0])]
    assert abs(found[0] - found[1]) < 0.1 and abs(bits / still_bits - 1) < 0.02


def test_a_residual_starts_as_the_still_with_a_coarser_hyperlatent() -> None:
    torch.manual_seed(0)
    still, made = tiny_network(), from_still(tiny_network(), CLIP_CONFIG)
    x = 0.2 * torch.rand(1, 32, 64, 6) + 0.4
    with torch.no_grad():
        same = made.residual.g_a(x - 0.5, INDEX)  # of differences, which have no middle
        coarse = made.residual.h_a(same, INDEX)
        given = latents(2 * CONFIG.latents + CLIP_CONFIG.motion)
        coders = [RateEstimator(made.residual.density, INDEX, False) for _ in range(2)]
        y = latents(CONFIG.latents)
        z = torch.zeros(1, HEIGHT // 4, WIDTH // 4, CONFIG.hyper)
        prior = made.residual.prior
        known = [prior.code(coder, INDEX, z, y, g) for coder, g in zip(coders, (None, given), strict=True)]
    assert torch.equal(same, made.keyframe.g_a(x, INDEX))
    torch.testing.assert_close(4.4817 * coarse, still.h_a(same, INDEX), rtol=1e-4, atol=1e-5)
    assert torch.equal(*known)  # the branch that sees earlier frames starts at zero


def test_other_sizes_are_refused() -> None:
    with pytest.raises(RuntimeError):
        from_still(MambaVCLite(Config(width8=128, width16=128, analysis=(1, 1), synthesis=(1, 1))), CLIP_CONFIG)


@pytest.mark.parametrize("index", [0, 63])
def test_motion_starts_as_the_searched_flow(index: int) -> None:
    """What is decoded is the flow that was put in, to a step of its latents."""
    torch.manual_seed(1)
    network = LiteVideo(CLIP_CONFIG).motion
    flow = smooth_flow((16, 24))
    x = torch.rand(1, 64, 96, 6)
    quality = torch.tensor([index])
    with torch.no_grad():
        y, z = network.analyse(motion_input(x, x, flow), quality)
        motion = network.synthesise(y.round(), quality)
    assert y.shape == (1, 8, 12, 16) and z.shape == (1, 2, 3, 16) and motion.shape == (1, 16, 24, 3)
    error = (motion[..., :2] - flow).abs()
    assert error.mean() < (0.5 if index == 0 else 0.2)
    assert torch.equal(motion * 8, (motion * 8).round()) and motion[..., 2].abs().max() < 0.5


def test_the_first_latents_are_a_rotation_of_the_flow() -> None:
    rows = haar(16)
    torch.testing.assert_close(rows[:8] @ rows[:8].T, torch.eye(8))
    assert not rows[8:].any()
    constant = torch.tensor([3.0, -2.0]).repeat(4)
    assert (rows @ constant).tolist() == [6, 0, 0, 0, -4, 0, 0, 0, *[0] * 8]


def test_gradients_reach_everything_but_what_waits_for_a_zero() -> None:
    torch.manual_seed(2)
    made = from_still(tiny_network(), CLIP_CONFIG)
    x, flow = torch.rand(1, 32, 32, 6), smooth_flow((8, 8))
    given = torch.randn(1, 4, 4, 16 + CONFIG.latents)
    coder = RateEstimator(made.motion.density, INDEX, True)
    y, z = made.motion.analyse(motion_input(x, x.roll(1, 2), flow), INDEX)
    motion = made.motion.synthesise(made.motion.prior.code(coder, INDEX, z, y, given), INDEX)
    (motion.square().mean() + coder.bits.mean()).backward()
    for name, parameter in made.motion.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


# What is coded


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (5, 7)])
def test_five_passes_are_every_place_once(size: tuple[int, int]) -> None:
    masks = passes(torch.zeros(*size, 1))
    assert len(masks) == 5 and torch.equal(sum(masks), torch.ones(*size, 1))
    if size == (8, 12):
        assert [int(mask.sum()) for mask in masks] == [6, 6, 12, 24, 48]


def test_even_motion_is_predicted() -> None:
    """Behind the first pass the neighbours' mean is the vector itself, wherever there are any."""
    prior = model().motion.prior
    masks = passes(torch.zeros(HEIGHT, WIDTH, 1))
    y = torch.full((1, HEIGHT, WIDTH, 16), 5.0)
    known = torch.zeros(HEIGHT, WIDTH, 1)
    for number, mask in enumerate(masks):
        if number:
            near = prior._neighbours(y * known, known, number)
            assert torch.equal(near[0][mask[..., 0] == 1].unique(), torch.tensor([5.0]))
        known = known + mask


PRIORS = {"motion": 16 + CONFIG.latents, "residual": 2 * CONFIG.latents + 16}


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("known", [False, True])
def test_the_priors_code_losslessly_in_integers(name: str, known: bool, dtype: torch.dtype) -> None:
    """And see the earlier latents: with others the streams are others."""
    network = model().networks[name]
    prior, hyper, latent = lower(network.prior, COARSE), hyper_tables(network.density), gaussian_tables()
    assert isinstance(network.prior, (MotionPrior, TemporalPrior)) and not list(prior.parameters())
    y, z = latents(sum(prior.widths)), 3 * torch.randn(1, HEIGHT // 4, WIDTH // 4, network.hyper)
    earlier = (latents(PRIORS[name], seed=1) * COARSE.one).round().to(dtype)
    given, other = (earlier, None) if known else (None, earlier)
    writers = [SeparateWriter(), SeparateWriter()]
    coder = Watched(StreamEncoder(writers[0], hyper, latent, 40, dtype), COARSE.one)
    with torch.no_grad():
        y_hat = prior.code(coder, INDEX, z, y, given)
        streams = writers[0].streams
        shape = (HEIGHT // 4, WIDTH // 4, network.hyper)
        decoder = StreamDecoder(SeparateReader(streams), hyper, latent, 40, (HEIGHT, WIDTH), shape, dtype=dtype)
        reader = Watched(decoder, COARSE.one)
        again = prior.code(reader, INDEX, None, None, given)
        prior.code(StreamEncoder(writers[1], hyper, latent, 40, dtype), INDEX, z, y, other)
    assert len(streams) == 1 + len(prior.widths)
    assert torch.equal(again, y_hat) and (y_hat / COARSE.one - y).abs().max() < 1.01
    assert torch.equal(reader.sent, coder.sent) and float((coder.sent > 0).double().mean()) > 0
    assert writers[1].streams[1:] != streams[1:]


def test_both_carriers_write_the_same_streams() -> None:
    network = model().motion
    prior, hyper, latent = lower(network.prior, COARSE), hyper_tables(network.density), gaussian_tables()
    y, z = latents(16), torch.zeros(1, HEIGHT // 4, WIDTH // 4, 16)
    streams = []
    for dtype in (torch.float64, torch.int64):
        writer = SeparateWriter()
        with torch.no_grad():
            prior.code(StreamEncoder(writer, hyper, latent, 40, dtype), INDEX, z, y)
        streams.append(writer.streams)
    assert streams[0] == streams[1]


def test_where_nothing_was_sent_is_known() -> None:
    """Places whose symbols are all zero, and no others."""
    network = model().motion
    y = latents(16, spread=0.1)
    y[:, 2:4, 5:7] += 9
    coder = Watched(RateEstimator(network.density, INDEX, False))
    with torch.no_grad():
        means: list[Tensor] = []
        inner = coder.coder.latent
        coder.coder.latent = lambda *a: means.append(a[1] * a[3]) or inner(*a)  # type: ignore[func-returns-value]
        network.prior.code(coder, INDEX, torch.zeros(1, HEIGHT // 4, WIDTH // 4, 16), y)
    symbols = (y - sum(means)).round().abs().sum(-1, keepdim=True)
    assert torch.equal(coder.sent > 0, symbols > 0)
    assert 0 < int((coder.sent > 0).sum()) < HEIGHT * WIDTH


def test_the_flow_is_the_same_in_whole_numbers() -> None:
    """The lowered synthesis, both carriers; near the float one, in eighths of a pixel."""
    network = model().motion
    exact = lower(network.g_s, COARSE)
    y_hat = (latents(16) * COARSE.one).round()
    with torch.no_grad():
        float_flow = network.g_s(y_hat / COARSE.one, INDEX)
        flow = exact(y_hat.double(), INDEX)
        assert torch.equal(flow.long(), exact(y_hat.long(), INDEX))
    assert not (flow % (COARSE.one // 8)).any()
    error = (flow / COARSE.one - float_flow).abs()
    assert error.max() <= 0.25 and error.mean() < 0.03
    assert float(np.abs(float_flow.numpy()).max()) > 1
