"""The exceptions of mvc: whatever bytes or pictures come in, an error that goes out is one of these.

    MvcError
    +-- FormatError          the bytes are at fault
    |   +-- NotMvc           they are not an mvc file at all
    |   +-- Truncated        they stop before the file is complete
    |   +-- Checksum         they are complete, but not the bytes that were written
    |   +-- Corrupt          they break a rule of bitstream_spec.md
    +-- Unsupported          a valid file, or a request, that this version of mvc cannot serve
    +-- Limit                a number outside the limits of the format or of this build
    +-- WeightsError         a model's weights are missing, damaged or not the ones that the file names
    +-- SourceError          the picture or video to encode cannot be read
    +-- BackendError         a device or library does not deliver what is asked of it

A message is one line that says what is wrong; `hint` is one line that says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "BackendError",
    "Checksum",
    "Corrupt",
    "FormatError",
    "Limit",
    "MvcError",
    "NotMvc",
    "SourceError",
    "Truncated",
    "Unsupported",
    "WeightsError",
]


class MvcError(Exception):
    """Base of all errors that mvc raises on purpose; `str(error)` is the message, without the hint."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FormatError(MvcError):
    """The bytes are not a valid mvc file.

    `offset` counts bytes from the start of the file, `chunk` names the chunk and the place in it ("HEAD", "CODE 0
    stream 2"). `at` tells the place to errors raised inside by code that does not know it; the text follows.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, offset: int | None = None, chunk: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.chunk = chunk

    def __str__(self) -> str:
        chunk = None if self.chunk is None else f"chunk {self.chunk}"
        offset = None if self.offset is None else f"byte {self.offset}"
        place = ", ".join(part for part in (chunk, offset) if part)
        return f"{self.message} ({place})" if place else self.message


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put `place` in front of that of any FormatError raised inside: at("CODE 0") around at("stream 2")."""
    try:
        yield
    except FormatError as error:
        error.chunk = place if error.chunk is None else f"{place} {error.chunk}"
        raise


class NotMvc(FormatError):
    """The file does not start with the signature of mvc."""


class Truncated(FormatError):
    """The file ends before its END chunk is complete."""


class Checksum(FormatError):
    """The file's CRC-32C does not match its bytes."""


class Corrupt(FormatError):
    """The file breaks a rule of the format."""


class Unsupported(MvcError):
    """The file or the request needs something that this version of mvc does not have."""


class Limit(MvcError):
    """A number lies outside what the format, or this build, allows."""


class WeightsError(MvcError):
    """A model's weights cannot be found or used."""


class SourceError(MvcError):
    """The input to encode cannot be read."""


class BackendError(MvcError):
    """A device or library is missing, or fails the start-up self-check."""


_NEEDED = {
    "torch": "networks",
    "safetensors": "networks",
    "numba": "coding and decoding",
    "llvmlite": "coding and decoding",
    "numpy": "coding and decoding",
    "PIL": "picture files",
}
"""Packages that may be left out on purpose, and what needs them."""


def missing_library(error: ImportError) -> BackendError | None:
    """The error about a package that mvc needs and that is not installed; None for any other."""
    name = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in _NEEDED:
        return None
    hint = "`pip install mvc-codec` brings it; info, thumbnails in files and `verify --checksum` work without"
    return BackendError(f"{name} is not installed, and {_NEEDED[name]} need it", hint=hint)


@contextmanager
def libraries() -> Iterator[None]:
    """`BackendError` for an import inside of a package that was left out."""
    try:
        yield
    except ImportError as error:
        known = missing_library(error)
        if known is None:
            raise
        raise known from error


@contextmanager
def as_os_errors() -> Iterator[None]:
    """`OSError`, which other libraries expect of files, for every `MvcError` raised inside, with its hint."""
    try:
        yield
    except MvcError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise OSError(f"{error}{hint}") from error
