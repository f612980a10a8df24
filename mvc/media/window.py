"""Parts of a large file, where functions expect the bytes of a small one."""

from __future__ import annotations

from typing import BinaryIO

from mvc import files
from mvc.errors import SourceError

PART_BYTES = 1 << 17
"""What is read of a file at a time."""


class Window:
    """An open file from the place where it stands on, which gives slices as bytes do, and reads no more than those."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self.file, self.label, self.start = file, label, file.tell()
        self.size = max(0, file.seek(0, 2) - self.start)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, where: slice) -> bytes:
        first, last, _ = where.indices(self.size)
        if last <= first:
            return b""
        try:
            self.file.seek(self.start + first)
            return self.file.read(last - first)
        except OSError as error:
            raise SourceError(f"cannot read {self.label}: {files.reason(error)}") from error

    def fill(self, target: memoryview, place: int) -> None:
        """Bytes from `place` on; `SourceError` where the file ends before `target` is full."""
        for done in range(0, len(target), PART_BYTES):
            part = self[place + done : place + min(done + PART_BYTES, len(target))]
            if done + len(part) < min(done + PART_BYTES, len(target)):
                raise cut_off(self.label)
            target[done : done + len(part)] = part


def cut_off(label: str) -> SourceError:
    """The error about a file that ends before its samples do."""
    return SourceError(f"{label} is broken: it is cut off", hint="get the file again")
