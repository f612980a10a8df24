"""Many pictures on many machines, as a Ray Data job: actors that hold the model, pictures that come to them.

    import mvc.ray

    mvc.ray.encode("s3://photos", "s3://coded", actors=16, quality=4).write_csv("s3://coded/report")
    mvc.ray.encode(ray.data.read_images("photos", include_paths=True), actors=4)     # rows with the bytes of the files

Needs the extra `ray`; URLs need the extra `fsspec`. What is named by a path must be there under it on every machine.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import mvc
from mvc import files, urls
from mvc.container import read_head
from mvc.errors import BackendError, MvcError
from mvc.quality import bits_per_pixel, check_tune, model_for

if TYPE_CHECKING:
    from ray.data import Dataset

ROWS_A_BLOCK = 16
"""Pictures that are given to an actor together."""
Row = Mapping[str, Any]
Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def encode(
    source: Sources | Dataset,
    output: str | None = None,
    *,
    actors: int = 2,
    cpus: int = 1,
    gpus: float = 0,
    force: bool = False,
    resume: bool = False,
    **options: Any,
) -> Dataset:
    """Encode pictures: a folder, paths or URLs of files and folders, or a dataset; `options` are those of `mvc.encode`.

    A dataset has a column `path`, or `bytes` of picture files (`ray.data.read_binary_files`), or `image`, arrays
    (`ray.data.read_images`); `output` asks for `path` in any case. `output` is a folder or the URL of one, into which
    .mvc files go, each whole or not at all, in the tree of a folder that was given; those of a dataset by their names
    alone, or by the column `kept`. Without it the rows have the files as `data`.
    `actors` processes each load the model once, and compute on so many `cpus`, as threads, and `gpus`. Without `force`
    an output that exists is a failure of its picture; with `resume` it is left out if it is whole.
    Returns a dataset, as yet to be computed: whoever takes or writes its rows starts the work. They have `path`,
    `output`, `state` (done, skipped or failed), `width`, `height`, `mvc_bytes`, `bpp`, `seconds`, `warnings` and
    `error`. Raises `SourceError` for a folder without pictures, `ValueError` for two inputs that become one output, and
    `BackendError` without Ray; options that are wrong, and weights that cannot be loaded, end the job.
    """
    pictures = files.PICTURE_SUFFIXES
    made = {"output": output, "options": {"threads": cpus, **options}, "force": force, "resume": resume}
    return _mapped(_Encoder, made, _rows(source, pictures, output, files.MVC_SUFFIX, actors), actors, cpus, gpus)


def decode(
    source: Sources | Dataset,
    output: str | None = None,
    *,
    suffix: str = ".png",
    actors: int = 2,
    cpus: int = 1,
    gpus: float = 0,
    force: bool = False,
    **options: Any,
) -> Dataset:
    """Decode .mvc files, as `encode` encodes pictures; with the options of `mvc.decode`.

    A dataset has a column `path`, or `data` or `bytes` of .mvc files. Files in the format of `suffix` go to `output`;
    without it the rows have the pictures as `image`, uint8 or uint16 [H, W] or [H, W, C] with alpha last.
    """
    made = {"output": output, "options": {"threads": cpus, **options}, "force": force, "suffix": suffix}
    rows = _rows(source, (files.MVC_SUFFIX,), output, suffix, actors)
    return _mapped(_Decoder, made, rows, actors, cpus, gpus)


# The job ---------------------------------------------------------------------------------------------------------


def _rows(source: Any, suffixes: tuple[str, ...], output: str | None, suffix: str, actors: int) -> Any:
    """A dataset of what is to be done."""
    data = _ray()
    if hasattr(source, "map_batches"):
        return source
    names = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    found = [
        (path if urls.is_url(path) else os.path.abspath(path), kept)
        for name in map(str, names)
        for path, kept in files.below(name, suffixes)
    ]
    if output is not None:
        targets: dict[str, str] = {}
        for path, kept in found:
            target = _target(output, kept, suffix)
            other = targets.setdefault(target, path)
            if other != path:
                raise ValueError(f"{other} and {path} would both become {target}")
    blocks = max(min(len(found), actors), math.ceil(len(found) / ROWS_A_BLOCK))
    return data.from_items([{"path": path, "kept": kept} for path, kept in found], override_num_blocks=blocks)


def _mapped(kind: type[_Actor], made: dict[str, Any], rows: Any, actors: int, cpus: int, gpus: float) -> Any:
    own = {"concurrency": (1, actors) if actors > 1 else 1, "num_cpus": cpus, "num_gpus": gpus}
    return rows.map(kind, fn_constructor_kwargs=made, **own)


def _ray() -> Any:
    try:
        import ray.data
    except ImportError as error:
        raise BackendError("Ray is not installed", hint="pip install 'mvc-codec[ray]'") from error
    return ray.data


def _target(output: str, kept: str, suffix: str) -> str:
    name = PurePath(kept).with_suffix(suffix)
    return urls.child(output, name.as_posix()) if urls.is_url(output) else str(PurePath(output, name))


# In the actors ---------------------------------------------------------------------------------------------------


class _Actor:
    """Does a row, with a model that is there from the beginning on."""

    suffix = files.MVC_SUFFIX

    def __init__(self, output: str | None, options: Mapping[str, Any], force: bool, resume: bool = False) -> None:
        self.output, self.options, self.force, self.resume = output, options, force, resume

    def __call__(self, row: Row) -> dict[str, Any]:
        """What became of a row; an error is a part of it."""
        start = time.perf_counter()
        path = row.get("path")
        kept = row.get("kept") or (urls.name_of(str(path)) if urls.is_url(path) else PurePath(path or "").name)
        told: dict[str, Any] = {"path": path, "output": None, "state": "failed", "width": None, "height": None}
        told |= {"mvc_bytes": None, "bpp": None, "seconds": None, "warnings": "", "error": None}
        self.fill(told, None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if self.output is not None:
                    if path is None:
                        raise ValueError("rows without a path have no name for an output")
                    told["output"] = _target(self.output, kept, self.suffix)
                    if self.resume and self.there(told):
                        return told
                    files.refuse_existing(told["output"], force=self.force)
                self.do(row, told)
                told["state"] = "done"
            except MvcError as error:
                told["error"] = str(error)
            except Exception as error:
                told["error"] = f"internal error: {type(error).__name__}: {error}"
        own = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
        told |= {"warnings": "; ".join(own), "seconds": round(time.perf_counter() - start, 4)}
        return told

    def fill(self, told: dict[str, Any], value: Any) -> None:
        """Put what was made into a row that is not written anywhere."""
        raise NotImplementedError

    def do(self, row: Row, told: dict[str, Any]) -> None:
        """Do it, and tell."""
        raise NotImplementedError

    def there(self, told: dict[str, Any]) -> bool:
        """Whether the output is there and whole, which is told then; `MvcError` where it is not whole."""
        raise NotImplementedError

    def put(self, told: dict[str, Any], data: bytes) -> None:
        """Write a file whole, with its folder."""
        if not urls.is_url(told["output"]):
            files.make_folder(PurePath(told["output"]).parent)
        files.write_atomic(told["output"], data, force=self.force)

    @staticmethod
    def sizes(told: dict[str, Any], size: tuple[int, int], coded: int) -> None:
        """Tell the size of a picture in pixels, and of its .mvc file in bytes."""
        told |= {"width": size[0], "height": size[1], "mvc_bytes": coded}
        told["bpp"] = round(bits_per_pixel(coded, *size), 4)


class _Encoder(_Actor):
    """Encodes."""

    def __init__(self, output: str | None, options: Mapping[str, Any], force: bool, resume: bool) -> None:
        super().__init__(output, options, force, resume)
        exact = options.get("lossless") or options.get("near_lossless") is not None or options.get("coder") == "exact"
        _checked(partial(mvc.encode, **options), exact, options)

    def fill(self, told: dict[str, Any], value: Any) -> None:
        if self.output is None:
            told["data"] = value

    def do(self, row: Row, told: dict[str, Any]) -> None:
        source = next((row[name] for name in ("bytes", "image", "path") if row.get(name) is not None), None)
        if source is None:
            raise ValueError("a row has a path, bytes or an image")
        data = mvc.encode(source, **self.options)
        head = read_head(data)
        self.sizes(told, (head.width, head.height), len(data))
        self.fill(told, data)
        if self.output is not None:
            self.put(told, data)

    def there(self, told: dict[str, Any]) -> bool:
        from mvc.stored import whole_already, whole_head

        output = told["output"]
        found = whole_already(output, lambda: whole_head(output), force=self.force)
        if found is None:
            return False
        head, size = found
        self.sizes(told, (head.width, head.height), size)
        told["state"] = "skipped"
        return True


class _Decoder(_Actor):
    """Decodes."""

    def __init__(self, output: str | None, options: Mapping[str, Any], force: bool, suffix: str) -> None:
        super().__init__(output, options, force)
        self.suffix = suffix
        if output is not None:
            from mvc.media import check_extension

            check_extension("a" + suffix)

    def fill(self, told: dict[str, Any], value: Any) -> None:
        if self.output is None:
            told["image"] = value

    def do(self, row: Row, told: dict[str, Any]) -> None:
        import numpy as np

        from mvc import media
        from mvc.container import whole

        source = next((row[name] for name in ("data", "bytes", "path") if row.get(name) is not None), None)
        if source is None:
            raise ValueError("a row has a path, or the data of an .mvc file")
        data = source if isinstance(source, bytes) else files.read_up_to(source, whole.MAX_BYTES + 1)
        picture = mvc.decode(data, **self.options)
        self.sizes(told, (picture.width, picture.height), len(data))
        self.fill(told, np.asarray(picture))
        if self.output is not None:
            fitted, losses = media.fitted(picture, self.suffix)
            for loss in losses:
                warnings.warn(loss, media.LossWarning, stacklevel=2)
            self.put(told, media.to_bytes(fitted, self.suffix))


def _checked(encode_one: Callable[[Any], bytes], exact: bool, options: Mapping[str, Any]) -> None:
    """Raise, in the actor's beginning, what every picture would fail by; and have the model loaded by then."""
    import numpy as np

    encode_one(np.zeros((16, 16, 3), np.uint8))
    if not exact:
        from mvc import codec

        model = model_for(check_tune(options.get("tune", "error")), options.get("model"))
        wanted = model, options.get("device", "auto"), options.get("threads")
        codec.load(*wanted)
