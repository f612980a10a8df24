"""Rows of earlier sweeps, kept in a file, so that a codec that has not changed is not measured twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mvc import files
from mvc.evaluate.adapter import Adapter
from mvc.evaluate.results import Made, Original, Results, Row


class Cache:
    """Rows of earlier sweeps, found by codec, version, setting and the picture's samples.

    `path` is a results file; one that does not exist is an empty cache, and None one that forgets everything.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        exists = path is not None and path.exists()
        self.known = Results.from_json(path.read_text(), name=str(path)) if path is not None and exists else Results()
        self._rows = {(row.codec, row.setting, row.picture): row for row in self.known.rows}
        self._changed = False

    def find(self, codec: Adapter, setting: float, key: str, metrics: Iterable[str] = ()) -> Row | None:
        """The row of this picture, if the same version of the codec made it and it has these metrics (their keys).

        The row has those alone, whatever else is known.
        """
        if not codec.anchor or self.known.codecs.get(codec.name) != Made(codec.title, codec.version):
            return None
        row, wanted = self._rows.get((codec.name, setting, key)), list(metrics)
        if row is None or not set(wanted) <= set(row.more):
            return None
        return replace(row, more={metric: row.more[metric] for metric in wanted})

    def add(self, codec: Adapter, key: str, original: Original, row: Row) -> None:
        """Remember a row; rows that another version of its codec made are dropped."""
        if not codec.anchor:
            return
        self._changed = True
        made = Made(codec.title, codec.version)
        if self.known.codecs.get(codec.name) != made:
            self._rows = {place: old for place, old in self._rows.items() if place[0] != codec.name}
            self.known.codecs[codec.name] = made
        self.known.pictures[key] = original
        known = self._rows.get((codec.name, row.setting, key))
        self._rows[codec.name, row.setting, key] = replace(row, more={**known.more, **row.more}) if known else row

    def save(self) -> None:
        """Write the file, whole or not at all, if a row is new; `MvcError` when that fails."""
        if self.path is not None and self._changed:
            self._changed = False
            self.known.rows = [self._rows[place] for place in sorted(self._rows)]
            files.make_folder(self.path.parent)
            files.write_atomic(self.path, self.known.to_json().encode(), force=True)
