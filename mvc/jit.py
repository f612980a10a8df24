"""How kernels are compiled, and where their code is kept: every numba function of the package comes from here.

numba compiles a kernel when it is first called with arguments of some types. The code is kept in NUMBA_CACHE_DIR if
that is set, else beside the source, else in the user's cache folder, else in a folder of this user alone below the
temporary one. Where nothing can be kept, kernels are compiled at every start. No fault of a folder or of a file in it
stops a kernel.

Kept code is a pickle, and a pickle that is read can run anything. So a file is read only if it is whole (it starts with
a checksum), was made from these sources, belongs to this user or to root, and cannot be written by everyone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
from numba.core import caching

from mvc.environment import no_collections

__all__ = ["inner", "kernel"]

_LOG = logging.getLogger("mvc")  # silent unless the program asks for INFO, as the command-line tool does
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_FAST = {"contract", "nsz", "arcp", "nnan", "ninf"}
_DIGEST_BYTES = 32
_said: set[str] = set()
Function = Callable[..., Any]


def kernel(*, fast: bool = False, bare: bool = False) -> Callable[[Function], Any]:
    """Decorate a function that Python calls, usually by mvc.ops.parallel: it runs without the GIL, its code is kept.

    `fast` lets the compiler fuse, reciprocate and forget infinities, NaNs and signed zeros: not for exact arithmetic.
    `bare` functions, and those they call, make no arrays but views and do not count who holds one, which otherwise
    costs more than the work of a small inner function with many arrays.
    """

    def decorate(function: Function) -> Any:
        dispatcher = numba.njit(**_OPTIONS, fastmath=_FAST if fast else False, _nrt=not bare)(function)
        dispatcher._cache = _cache_of(function)
        dispatcher.compile = no_collections()(dispatcher.compile)
        return dispatcher

    return decorate


def inner(*, fast: bool = False, bare: bool = False) -> Callable[[Function], Any]:
    """Decorate a function that only kernels call: it becomes part of each of them. `bare` as that kernel is."""
    options = {**_OPTIONS, "fastmath": _FAST if fast else False, "_nrt": not bare}
    return numba.njit(**options, forceinline=True, no_cpython_wrapper=True)


def _say(kind: str, text: str) -> None:
    """Log a text unless one of its kind was."""
    if kind not in _said:
        _said.add(kind)
        _LOG.info(text)


def _cache_of(function: Function) -> Any:
    """Where the code of a kernel is kept."""
    try:
        return _Cache(function)
    except Exception:  # RuntimeError where numba finds no folder; whatever else is wrong is no reason to stop either
        return _NoCache()


@cache
def _sources() -> str:
    """Hash of what any kernel may be made of: code and constants of other files are compiled into it."""
    digest, package = hashlib.sha256(), Path(__file__).parent
    for folder in (".", "entropy", "exact", "lossless", "ops"):
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_safe(status: os.stat_result) -> bool:
    """Whether only this user and root could have written the file."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & stat.S_IWOTH


class _Temporary(caching.UserWideCacheLocator):
    """For a user without a home."""

    def __init__(self, py_func: Function, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._own = os.path.join(tempfile.gettempdir(), f"mvc-kernels-{os.geteuid()}")
        self._cache_path = os.path.join(self._own, self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self) -> None:
        os.makedirs(self._own, 0o700, exist_ok=True)
        status = os.lstat(self._own)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError(f"{self._own} is not this user's alone")
        super().ensure_cache_path()


class _Place(caching.CompileResultCacheImpl):
    _locator_classes: ClassVar[list[type]] = [
        caching.UserProvidedCacheLocator,
        caching.InTreeCacheLocator,
        caching.UserWideCacheLocator,
        *([_Temporary] if hasattr(os, "geteuid") else []),
    ]


class _Files(caching.IndexDataCacheFile):
    """numba's files of one kernel, each behind the SHA-256 of its contents."""

    def _write(self, path: str, value: Any) -> None:
        data = self._dump(value)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(data).digest() + data)

    def _read(self, path: str) -> Any:
        """What `_write` wrote; None if it is not there, not whole, or of somebody else."""
        try:
            with open(path, "rb") as file:
                if not _is_safe(os.fstat(file.fileno())):
                    return None
                digest, data = file.read(_DIGEST_BYTES), file.read()
            return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None
        except Exception:
            return None

    def _load_index(self) -> dict[Any, str]:
        stamp, overloads = self._read(self._index_path) or ("", b"")
        return pickle.loads(overloads) if stamp == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._source_stamp, self._dump(overloads)))

    def _load_data(self, name: str) -> Any:
        return self._read(self._data_path(name))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)


class _Cache(caching.FunctionCache):
    """numba's cache of a function, which here never fails."""

    _impl_class = _Place

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        stamp = f"{self._impl.locator.get_source_stamp()} {_sources()} {numba.__version__} {llvmlite.__version__}"
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:
            found = None
        if found is None:
            _say("compiling", "compiling kernels for this processor, once; it takes some seconds")
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _say("full", f"compiled kernels cannot be kept in {self.cache_path}, so every start compiles them: {error}")


class _NoCache(caching.NullCache):
    def load_overload(self, sig: Any, target_context: Any) -> None:
        text = "compiling kernels, as at every start: there is no folder to keep them in (NUMBA_CACHE_DIR names one)"
        _say("compiling", text)
