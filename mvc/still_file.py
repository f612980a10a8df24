"""An .mvc file of a still, open: its head, its metadata, and its samples, whole, in strips or of a region."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from mvc import stills
from mvc.container import Arrived, Head, Reader, Unit, read_metadata
from mvc.errors import Corrupt, FormatError
from mvc.grain import Grain
from mvc.metadata import Metadata
from mvc.picture import Picture, check_decoding
from mvc.scaling import averaged
from mvc.strips import Decoder, Strip
from mvc.tiling import Region, Tiling, cells


class StillFile:
    """Reads a file, its bytes or a file object that can seek, once: give a region here if no more is wanted.

    All of the file is checked first; for a region of one in tiles only those that it takes are read, each of which has
    a checksum. Raises as `mvc.container.Reader`.
    With a `divisor` of 2, 4, 8 or 16 sides are so many times shorter, rounded up: samples are means over squares.
    With `slices` no more than so many of a latent are decoded: a preview. With `partial` the file may be cut or
    damaged: what has arrived is shown, `lost` tells the numbers of the tiles that have not, and `cut` what is missing.
    With `grain` what a network made gets the noise that the file tells of, if it does (mvc/grain.py): `grain` has it.
    With a `look` it has that share of the natural look, 0 ... 1 (mvc/models/detail.py).
    """

    def __init__(
        self,
        data: bytes | BinaryIO,
        region: Region | None = None,
        *,
        divisor: int = 1,
        slices: int | None = None,
        partial: bool = False,
        grain: bool = False,
        look: float = 0.0,
    ) -> None:
        self._file = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
        self._start = self._file.tell()
        self.region, self._slices, self._partial = region, slices, partial
        self._divisor, self._look = divisor, look
        self.lost: set[int] = set()
        self.cut: FormatError | None = None
        if partial:
            self._arrived = Arrived(self._file)
            self.head: Head = self._arrived.head
        else:
            self._begin(region)
        told = self.metadata().grain if grain else None
        self.grain = None if told is None else Grain.from_bytes(told)

    def _begin(self, region: Region | None) -> None:
        self._reader = Reader(self._file, check=region is None)
        self.head = self._reader.head
        if region is not None and not self.head.linked:
            self._file.seek(self._start)
            self._reader = Reader(self._file)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is decoded, which is not the region alone where the picture is one tile."""
        part = self.region if self.region and self.head.tile_px else self.head
        return part.width, part.height

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height of what comes out."""
        part = self.region or self.head
        return cells(part.width, self._divisor), cells(part.height, self._divisor)

    @property
    def missing(self) -> list[str]:
        """What was not there of a picture that was decoded with `partial`, in plain words."""
        tiles = len(Tiling(self.head.width, self.head.height, self.head.tile_px))
        told = [] if self.cut is None else [f"not all of the file is there: {self.cut}"]
        return told + [f"{len(self.lost)} of {tiles} tiles are missing, and gray"] * bool(self.lost)

    def strips(self, load: Callable[[bytes], Decoder]) -> Iterator[Strip]:
        """The strips of the picture, or of the region, from top to bottom; the checksums of latents are compared last.

        Raises as `stills.decode`, and Corrupt where other latents come out than went in.
        """
        made = self._decoded(load)
        return made if self._divisor == 1 else averaged(made, self._divisor)

    def _decoded(self, load: Callable[[bytes], Decoder]) -> Iterator[Strip]:
        preview = self._partial or self._slices is not None

        def own(model_id: bytes) -> Decoder:
            codec = load(model_id)
            codec = codec.looking(self._look) if self._look else codec
            return codec.preview(self._slices) if preview else codec

        made = stills.strips(self.head, own, self.region, self._partial, self.grain and self.grain.add)
        if self._partial:
            yield from made.decode(self._arrived.units())
            self.lost, self.cut = made.lost, next(iter(self._arrived.faults), None)
            return
        needed = None if self.region is None or not self.head.tile_px else made.needed()
        yield from made.decode(self._reader.units(needed))
        if not preview:
            check_sums(made.sums, self._reader.sums)

    def decode(self, load: Callable[[bytes], Decoder]) -> Picture:
        """The picture, or the region, with its metadata. Raises as `strips`."""
        picture = stills.whole(self.strips(load))
        return Picture(picture.samples, picture.alpha, self.metadata())

    def decode_within(
        self, max_pixels: int | None, max_memory: int | None, load: Callable[[bytes], Decoder]
    ) -> Picture:
        """As `decode`, but Limit for a picture beyond these (None: no limit), and a LossWarning for what is missing.

        For public functions that are called by the code that is to be warned.
        """
        check_decoding(*self.size, max_pixels, max_memory, exact=self.head.has_exact)
        picture = self.decode(load)
        for missing in self.missing:
            from mvc.media import LossWarning

            warnings.warn(missing, LossWarning, stacklevel=3)
        return picture

    def units(self) -> list[Unit]:
        """All units of the file; what is wrong with it is raised."""
        self._file.seek(self._start)
        return list(Reader(self._file).units())

    def metadata(self) -> Metadata:
        """What the file says of the picture."""
        place = self._file.tell()
        try:
            self._file.seek(self._start)
            return read_metadata(self._file, partial=self._partial)
        finally:
            self._file.seek(place)


def check_sums(found: Mapping[int, int], stated: Sequence[int]) -> None:
    """Corrupt unless the latents of tiles have the checksums that the file states, if it does."""
    for number, own in found.items():
        if stated and stated[number] != own:
            raise Corrupt(
                f"the latent is not what was coded: its checksum is {own:08x}, it should be {stated[number]:08x}",
                hint="this machine, or a library on it, may not compute as the format says; try --device cpu",
                chunk=f"CODE {number}",
            )
