"""The files that are shown: by number, so that nothing else can ever be asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from mvc.errors import SourceError
from mvc.files import reason
from mvc.picture_file import PictureFile
from mvc.video.reader import ClipFile

File = PictureFile | ClipFile
Stamp = tuple[int, int]


class Library:
    """Files by path and the name under which they are shown. `opener` is `mvc.open` of a path."""

    def __init__(self, files: Sequence[tuple[str, str]], opener: Callable[[str], File]) -> None:
        self._files, self._opener = files, opener
        self.names = [name for _, name in files]

    def __len__(self) -> int:
        return len(self._files)

    def open(self, number: int) -> File:
        """A file anew: no more than its head is read. Raises as `mvc.open`."""
        return self._opener(self._files[number][0])

    def stamp(self, number: int) -> Stamp:
        """What changes with a file: its time in ns, and its bytes. `SourceError` where it is gone."""
        path = self._files[number][0]
        try:
            found = os.stat(path)
        except OSError as error:
            raise SourceError(f"cannot read {path}: {reason(error)}") from error
        return found.st_mtime_ns, found.st_size
