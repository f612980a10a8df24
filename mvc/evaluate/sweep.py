"""Measure codecs on pictures: real files, written to disk, read back and compared with the original."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mvc import media
from mvc.errors import BackendError, MvcError
from mvc.evaluate.adapter import Adapter, Samples
from mvc.evaluate.cache import Cache
from mvc.evaluate.metrics import Measure
from mvc.evaluate.results import Made, Original, Results, Row
from mvc.metrics import ms_ssim, psnr

_KEY_LENGTH = 16


def picture_key(samples: Samples) -> str:
    """What a picture is known by: the start of the SHA-256 of its shape and samples."""
    shape = ",".join(map(str, samples.shape)).encode()
    return hashlib.sha256(shape + b":" + np.ascontiguousarray(samples).tobytes()).hexdigest()[:_KEY_LENGTH]


def measure(
    codec: Adapter, samples: Samples, setting: float, folder: Path, measures: Mapping[str, Measure] | None = None
) -> Row:
    """Encode into a file in `folder`, read that file and decode it, and compare with `samples`.

    The size is the file's on disk and the reconstruction comes from its bytes alone. `measures` are what
    `mvc.evaluate.metrics.load` gives. Raises `BackendError` when what comes back has another size, else what the
    codec raises.
    """
    codec.check(setting)
    original = samples.view()
    original.flags.writeable = False  # a codec that works in place would change what it is compared with
    path = folder / f"{codec.name}.bin"
    start = time.perf_counter()
    coded = codec.encode(original, setting)
    encode_s = time.perf_counter() - start
    path.write_bytes(coded)
    del coded
    data = path.read_bytes()
    path.unlink()
    start = time.perf_counter()
    decoded = codec.decode(data)
    decode_s = time.perf_counter() - start
    decoded = comparable(decoded, samples, codec.name)
    quality, similarity = psnr(samples, decoded), ms_ssim(samples, decoded)
    return Row(
        codec.name,
        setting,
        picture_key(samples),
        len(data),
        None if quality == float("inf") else round(quality, 4),
        None if similarity is None else round(similarity, 6),
        round(encode_s, 4),
        round(decode_s, 4),
        {key: compute(samples, decoded) for key, compute in (measures or {}).items()},
    )


def comparable(decoded: Samples, original: Samples, name: str) -> Samples:
    """What came back from a codec of this name, gray if the original is; `BackendError` where it has another size."""
    if original.ndim == 2 and decoded.ndim == 3:  # formats without grayscale
        decoded = np.asarray(Image.fromarray(decoded).convert("L"))
    if decoded.shape != original.shape:
        raise BackendError(f"{name} turns {list(original.shape)} samples into {list(decoded.shape)}")
    return decoded


def sweep(
    pictures: Sequence[Path],
    codecs: Sequence[Adapter],
    settings: Mapping[str, Sequence[float]] | None = None,
    *,
    measures: Mapping[str, Measure] | None = None,
    cache: Cache | None = None,
    on_step: Callable[[str], None] = lambda what: None,
    on_loss: Callable[[str], None] = lambda what: None,
) -> Results:
    """All pictures through all codecs at all settings (a codec's own grid unless `settings` names it).

    `measures` are metrics beside PSNR and MS-SSIM (`mvc.evaluate.metrics.load`). `on_step` hears of every picture and
    codec before its turn, `on_loss` of what reading a picture drops. The cache is saved after each picture, so that an
    interrupted sweep goes on where it stopped.
    """
    cache = cache or Cache(None)
    grid = {codec.name: tuple((settings or {}).get(codec.name, codec.settings)) for codec in codecs}
    for codec in codecs:
        for setting in grid[codec.name]:
            codec.check(setting)
    results = Results({codec.name: Made(codec.title, codec.version) for codec in codecs})
    with tempfile.TemporaryDirectory(prefix="mvc-bench-") as folder:
        for path in pictures:
            source = media.read_picture(path, keep_alpha=False)
            source.tell(on_loss)
            samples = source.picture.samples
            key, original = picture_key(samples), Original(path.stem, samples.shape[1], samples.shape[0])
            if key in results.pictures:
                raise MvcError(f"{path} is the same picture as {results.pictures[key].name}")
            results.pictures[key] = original
            for codec in codecs:
                on_step(f"{path.name} with {codec.name}")
                for setting in grid[codec.name]:
                    row = cache.find(codec, setting, key, measures or ())
                    if row is None:
                        row = measure(codec, samples, setting, Path(folder), measures)
                        cache.add(codec, key, original, row)
                    results.rows.append(row)
            cache.save()
    return results
