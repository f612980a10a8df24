"""What is answered to which path: the page, the list of files, what they say, and their pixels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from mvc.arguments import LOOKS
from mvc.errors import BackendError, FormatError, MvcError, SourceError, WeightsError
from mvc.version import __version__
from mvc.view.facts import facts
from mvc.view.library import Library
from mvc.view.pictures import BLOCK_PX, Pictures
from mvc.view.worker import NotWanted, Worker

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
DAMAGED = "X-Mvc-Damaged"
"""What is wrong with the file of a block, percent-encoded."""
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_CODES: tuple[tuple[type[MvcError], int], ...] = (
    (FormatError, 422),
    (SourceError, 404),
    (BackendError, 501),
    (WeightsError, 501),
    (MvcError, 422),
)


@dataclass(frozen=True)
class Answer:
    """The status of HTTP, and what comes behind it."""

    status: int
    type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: Any, status: int = 200) -> Answer:
    """A value as JSON."""
    return Answer(status, "application/json", json.dumps(value, allow_nan=False).encode())


def failure(status: int, error: str, hint: str | None = None) -> Answer:
    """An error, in the form that all have."""
    return as_json({"error": error, "hint": hint}, status)


class Routes:
    """Answers paths. `lines` says what `mvc info` prints: see `mvc.view.facts`."""

    def __init__(
        self,
        library: Library,
        pictures: Pictures,
        lines: Callable[[str, dict[str, Any]], list[str]],
        *,
        told: Callable[[BaseException], None],
    ) -> None:
        """`told` hears of errors that are nobody's fault but this program's."""
        self._library, self._pictures, self._lines, self._told = library, pictures, lines, told
        self._worker = Worker()
        page = files("mvc.view") / "page"
        self._page = {own.name: own.read_bytes() for own in page.iterdir() if own.is_file()}

    def answer(self, path: Sequence[str], wanted: Callable[[], bool] = lambda: True) -> Answer:
        """To the parts of a path; whatever goes wrong is an answer, too. `NotWanted` where nobody waits any more."""
        try:
            return self._found(path, wanted) or failure(404, "there is nothing here")
        except MvcError as error:
            return failure(next(code for kind, code in _CODES if isinstance(error, kind)), str(error), error.hint)
        except NotWanted:
            raise
        except MemoryError:
            return failure(503, "out of memory", "a smaller picture needs less")
        except Exception as error:
            self._told(error)
            return failure(500, f"internal error: {type(error).__name__}", "the terminal of mvc view says more")

    def _found(self, path: Sequence[str], wanted: Callable[[], bool]) -> Answer | None:
        match path:
            case [""]:
                return self._file("page.html")
            case ["page", name]:
                return self._file(name)
            case ["files"]:
                about = {"files": self._library.names, "blocks": BLOCK_PX, "version": __version__}
                return as_json(about)
            case ["files", number, *rest] if _NUMBER.fullmatch(number) and int(number) < len(self._library):
                return self._of_file(int(number), rest, wanted)
        return None

    def _file(self, name: str) -> Answer | None:
        body = self._page.get(name)
        kind = TYPES.get(name[name.rfind(".") :])
        return None if body is None or kind is None else Answer(200, kind, body)

    def _of_file(self, number: int, rest: Sequence[str], wanted: Callable[[], bool]) -> Answer | None:
        worker, pictures = self._worker, self._pictures
        match rest:
            case []:
                stamp = self._library.stamp(number)
                return as_json(facts(self._library.open(number), stamp, self._lines))
            case ["thumbnail"]:
                held = pictures.thumbnail_in_file(number)
                small = held or worker.do(lambda: pictures.thumbnail(number), wanted, rank=1)
                return Answer(200, "image/png", small)
            case ["bits"]:
                return as_json(worker.do(lambda: pictures.bits(number), wanted))
            case ["blocks", *place, look] if len(place) == 4 and all(map(_NUMBER.fullmatch, place)) and look in LOOKS:
                divisor, column, row, frame = map(int, place)
                png, wrong = worker.do(lambda: pictures.block(number, divisor, column, row, frame, look), wanted)
                return Answer(200, "image/png", png, {} if wrong is None else {DAMAGED: quote(wrong)})
        return None
