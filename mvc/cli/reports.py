"""What --report writes: a row for every picture as CSV or JSON, or a page of them all; row by row, as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import ExitStack
from os.path import splitext
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from mvc import files
from mvc.cli.jobs import protect
from mvc.cli.outcome import COLUMNS, Outcome
from mvc.cli.sheet import Sheet
from mvc.cli.terminal import UsageError


class Writer(Protocol):
    """Makes the text of a report, piece by piece."""

    def start(self, title: str) -> str:
        """What stands before the first row."""

    def add(self, outcome: Outcome) -> str:
        """A row."""

    def end(self) -> str:
        """What stands behind the last."""


class Table:
    """CSV: a line of names, then one for every input."""

    def start(self, title: str) -> str:
        return self._line(COLUMNS)

    def add(self, outcome: Outcome) -> str:
        return self._line(["" if value is None else value for value in outcome.row().values()])

    def end(self) -> str:
        return ""

    @staticmethod
    def _line(cells: Sequence[object]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue()


class Objects:
    """JSON: a list of objects, one a line."""

    def __init__(self) -> None:
        self._before = "[\n"

    def start(self, title: str) -> str:
        return ""

    def add(self, outcome: Outcome) -> str:
        text = self._before + json.dumps(outcome.row())
        self._before = ",\n"
        return text

    def end(self) -> str:
        return "[]\n" if self._before == "[\n" else "\n]\n"


KINDS: dict[str, type[Writer]] = {".csv": Table, ".json": Objects, ".html": Sheet}


class Reports:
    """The reports of a run: files of these names, which are there, whole, when the block ends. A context manager.

    Raises `UsageError` for a name of another kind and for that of an input, and `MvcError` for a file that exists,
    unless `force`.
    """

    def __init__(self, names: Sequence[str], inputs: Sequence[str], title: str, *, force: bool) -> None:
        for name in names:
            if splitext(name)[1].lower() not in KINDS:
                raise UsageError(f"--report {name}: it is named .csv, .json or .html")
            files.refuse_existing(name, force=force)
        if len(set(map(files.identity, names))) < len(names):
            raise UsageError("two reports have one name")
        protect(list(inputs), list(names))
        self._names, self._title, self._force = names, title, force
        self._open: list[tuple[Writer, BinaryIO]] = []
        self._stack = ExitStack()

    @property
    def pictures(self) -> bool:
        """Whether a report shows pictures."""
        return any(KINDS[splitext(name)[1].lower()] is Sheet for name in self._names)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name in self._names:
                file = stack.enter_context(files.atomic(name, force=self._force))
                writer = KINDS[splitext(name)[1].lower()]()
                file.write(_encoded(writer.start(self._title)))
                self._open.append((writer, file))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for writer, file in self._open:
                file.write(_encoded(writer.end()))
        self._stack.__exit__(kind, error, trace)

    def add(self, outcome: Outcome) -> None:
        """A row in every report."""
        for writer, file in self._open:
            file.write(_encoded(writer.add(outcome)))


def _encoded(text: str) -> bytes:
    """Names may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace")
