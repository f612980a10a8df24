"""What people see: messages on stderr, data on stdout, errors as two lines and an exit code."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from mvc.errors import MvcError, missing_library

_debug = _quiet = False
_command = "mvc"
_elsewhere: Callable[[str], None] | None = None


class UsageError(Exception):
    """The command line itself is wrong: exit code 2. `hint` says what to type instead."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class StdoutError(Exception):
    """Results cannot be told; whatever file comes next would not change that."""


def set_up(command: str = "mvc", *, debug: bool = False) -> None:
    """What a run of `command` ("mvc encode") is to show: tracebacks with `debug`; everything, until `set_quiet`."""
    global _command, _debug, _quiet
    _command, _debug, _quiet = command, debug, False


def set_quiet(wanted: bool) -> None:
    """Whether only errors are shown: no notes, warnings or progress."""
    global _quiet
    _quiet = wanted


def is_debug() -> bool:
    """Whether errors come with tracebacks."""
    return _debug


def tell_elsewhere(way: Callable[[str], None]) -> None:
    """Give every line that would go to stderr to `way`: a worker has its parent say it."""
    global _elsewhere
    _elsewhere = way


def is_quiet() -> bool:
    """Whether only errors are shown."""
    return _quiet


def hold_streams() -> None:
    """Open what was closed before us (`>&-`), so that no file gets the number of a standard stream.

    Reading such a stdin and writing such a stdout remain errors; what goes to such a stderr is lost.
    """
    for number, name, mode in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


# Cc are control characters and Cs surrogates, which stand for bytes that are no text; the others end or turn lines.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: str) -> str:
    """`text` as one line that does nothing to a terminal: the names of files may hold anything."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(char) if unicodedata.category(char) in _UNPRINTABLE or char in _TURNING else char for char in text
    )


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a name in another encoding
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def print_line(text: str, stream: str) -> None:
    """One line, with what the stream's encoding does not have as escapes."""
    file = getattr(sys, stream)
    encoding = getattr(file, "encoding", None) or "utf-8"
    line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    file.write(f"{line}\n")  # at once, as several threads may have something to say
    file.flush()


def tell(text: str) -> None:
    """One line on stderr, also if only errors are shown."""
    if _elsewhere is not None:
        _elsewhere(text)
        return
    try:
        print_line(text, "stderr")
    except BrokenPipeError:
        raise
    except OSError:
        pass  # what cannot be told (a full disk) must not stop the work


def show_log() -> None:
    """From now on tell what the package says about itself: that it compiles kernels."""
    import logging  # takes 10 ms, which `mvc info` does not have

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    log = logging.getLogger("mvc")
    log.setLevel(logging.INFO)
    log.handlers = [Notes()]


def note(text: str) -> None:
    """One line for people, on stderr."""
    if not _quiet:
        tell(text)


def warn(text: str) -> None:
    """One `warning:` line on stderr."""
    note(f"warning: {text}")


@dataclass(frozen=True)
class Failure:
    """What is said of an error: a line, what to do about it, and where it happened if that is wanted."""

    message: str
    hint: str | None = None
    trace: tuple[str, ...] = ()


def failure_of(error: BaseException) -> Failure:
    """What is to be said of an error."""
    trace: tuple[str, ...] = ()
    if _debug:
        import traceback

        trace = tuple(line for part in traceback.format_exception(error) for line in part.splitlines())
    return Failure(*_explain(error), trace)


def report(error: BaseException | Failure, name: str = "", *, known_hints: set[str] | None = None) -> None:
    """Print an error as `error:` and `hint:` lines, after its traceback if that is wanted.

    `name` is the file it is about; the message starts with it unless it has it already. A hint that is among
    `known_hints` is left out, one that is not joins them.
    """
    failure = error if isinstance(error, Failure) else failure_of(error)
    for line in failure.trace:
        tell(line)
    tell(f"error: {failure.message}" if name in failure.message else f"error: {name}: {failure.message}")
    if failure.hint and (known_hints is None or failure.hint not in known_hints):
        tell(f"hint: {failure.hint}")
        if known_hints is not None:
            known_hints.add(failure.hint)


def _explain(error: BaseException) -> tuple[str, str | None]:
    if isinstance(error, MvcError):
        return str(error), error.hint
    if isinstance(error, ImportError) and (known := missing_library(error)) is not None:
        return str(known), known.hint
    if isinstance(error, UsageError):
        return str(error), error.hint or f"`{_command} --help` shows the usage"
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return "out of memory", "a smaller picture needs less"
    if isinstance(error, (OSError, StdoutError)):
        return str(error), None
    text = " ".join(str(error).split())
    return f"internal error: {type(error).__name__}: {text}", "--debug shows where; please report it"


def _is_torch_out_of_memory(error: BaseException) -> bool:
    """torch has a class for a device without memory, and none for a machine without."""
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError"
        or any(sign in str(error) for sign in ("DefaultCPUAllocator", "std::bad_alloc"))
    )


def exit_after(action: Callable[[], int | None]) -> NoReturn:
    """Run `action` and exit with its result, or with the exit code of the exception that it raised."""
    try:
        code = action() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone; nothing more can be told
        code = 1
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        report(error)
        code = 2 if isinstance(error, UsageError) else 1
    _drop_stdout()
    sys.exit(code)


def _drop_stdout() -> None:
    """Make the interpreter's own flush at its end succeed, if ours does not: everything has been told by now."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
