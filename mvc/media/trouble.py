"""What Pillow and the libraries below it do with bad input, turned into one line of ours."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from PIL import Image, UnidentifiedImageError

from mvc.errors import Limit, MvcError, SourceError

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints what Pillow logs of bad files
_STDERR = 2
_ONE_AT_A_TIME = threading.Lock()
_OF_LIBTIFF = re.compile(rb"[\w.]+: .*\.")


class _Unwarned:
    """No warnings while anyone is in here: filters belong to the process, so of several threads the last restores them.

    Our own size limit is stricter than the one that Pillow warns of; other warnings are about file damage that it could
    repair or about metadata, which is not kept anyway.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


_unwarned = _Unwarned()


@contextmanager
def pillow_errors(label: str, kind: str | None = None) -> Iterator[None]:
    """Turn whatever Pillow raises on bad input (its plugins leak nearly every built-in error) into ours.

    `kind` is the format that the signature promises, if any.
    """
    try:
        with _unwarned:
            yield
    except MvcError:
        raise
    except Image.DecompressionBombError as error:
        raise Limit(f"{label} is too large to decode safely", hint="scale it down first") from error
    except UnidentifiedImageError as error:
        if kind is not None:
            raise SourceError(f"{label} is broken, or a kind of {kind} that is not supported") from error
        known = "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, PPM"
        raise SourceError(
            f"{label} is not a picture in a known format", hint=f"known are {known} and others"
        ) from error
    except MemoryError as error:
        raise Limit(f"{label} does not fit into memory") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = re.sub(r"^decoder error -?\d+( when reading image file)?$", "its samples are damaged", reason)
        raise SourceError(f"{label} is broken or unsupported: {reason}") from error


@contextmanager
def libtiff_silenced(wanted: bool) -> Iterator[None]:
    """Keep what libtiff writes to the process's standard error out of sight; lines of others are passed on afterwards.

    Pillow cannot set libtiff's error handler, so for the time of one decode the descriptor itself points elsewhere.
    """
    with ExitStack() as stack:
        if wanted:
            with suppress(OSError):  # it is closed, or there is no place for temporary files: then it stays as it is
                stack.enter_context(_stderr_aside())
        yield


@contextmanager
def _stderr_aside() -> Iterator[None]:
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as elsewhere:
        kept = os.dup(_STDERR)
        try:
            os.dup2(elsewhere.fileno(), _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            elsewhere.seek(0)
            others = [line for line in elsewhere if not _OF_LIBTIFF.fullmatch(line.rstrip(b"\n"))]
            os.write(_STDERR, b"".join(others))
