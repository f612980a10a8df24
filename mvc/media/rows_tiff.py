"""The rows of a TIFF in strips, one after the other, as they stand in the file without compression and differences."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvc.media import tiff
from mvc.media.deflate import Inflater
from mvc.media.facts import SIZES, Entry, Facts, header_of_tiff, whole_value
from mvc.media.trouble import libtiff_silenced, pillow_errors
from mvc.media.window import PART_BYTES, Window, cut_off

_NONE, _DEFLATE, _LZW, _PACKBITS = 1, (8, 32946), 5, 32773
_BLACK, _RGB, _ALPHA = 1, 2, 2
_PREDICTOR = 317
_SINGLE = {256, 257, 259, 262, 266, 277, 278, 284, _PREDICTOR}
_LISTS = {258, 273, 279, 338, 339}
_COLOURS = (0, 1, 2, 3, 5)  # white is 0, black is 0, RGB, palette, inks
_MOST_STRIP_BYTES = 64 << 20
"""Largest strip that is decoded at once, by libtiff, where the compression is none of ours."""


class Layout(NamedTuple):
    """How the samples of a TIFF lie: counts, what the tags of these names say, and where its strips are."""

    order: str
    width: int
    height: int
    bits: int
    channels: int
    compression: int
    predictor: int
    strip_rows: int
    places: list[int]
    sizes: list[int]


class TiffRows:
    """Rows of a TIFF in strips; see `mvc.media.rows.RawRows`."""

    kind = "TIFF"

    def __init__(
        self, window: Window, label: str, facts: Facts, layout: Layout, kept: list[tuple[Entry, bytes]]
    ) -> None:
        self.window, self.label, self.facts, self.layout, self.kept = window, label, facts, layout, kept
        self.width, self.height, self.channels = layout.width, layout.height, layout.channels
        self.bits = layout.bits * layout.channels
        self.row_bytes = -(-self.width * self.bits // 8)
        tags = {entry.tag: entry.whole for entry, _ in kept}
        self.may_have_alpha = 338 in tags
        one = layout.channels == 1 and tags.get(262) == _BLACK
        colour = layout.channels == 3 and tags.get(262) == _RGB
        clear = tags.get(338) == _ALPHA and (tags.get(262), layout.channels) in ((_BLACK, 2), (_RGB, 4))
        simple = clear if self.may_have_alpha else one or colour
        wide = np.dtype(np.uint8 if layout.bits == 8 else layout.order + "u2")
        self.plain = wide if simple and layout.bits in (8, 16) else None
        self.restart()

    @classmethod
    def opened(cls, window: Window, label: str) -> TiffRows | None:
        """None for what only the ordinary reader reads, or knows what to say about."""
        data = cast(bytes, window)
        header = header_of_tiff(data)
        facts, needed = tiff.look_at_tags(data, label)
        if header is None or needed is None:
            return None
        kept = [(entry, whole_value(data, entry)) for entry in needed]
        layout = _layout("<" if header[0] == "little" else ">", kept)
        if layout is None or not _is_known(layout, kept):
            return None
        return cls(window, label, facts, layout, kept)

    def restart(self) -> None:
        """Go back to the first row."""
        self.done = 0
        self.fill: Callable[[memoryview], None] = lambda target: None
        self.inflater: Inflater | None = None

    def next(self, count: int) -> NDArray[np.uint8]:
        """The next rows [count, bytes]; `SourceError` where they are damaged or missing."""
        rows = np.empty((count, self.row_bytes), np.uint8)
        at = 0
        while at < count:
            strip, inside = divmod(self.done, self.layout.strip_rows)
            if not inside:
                self._open(strip)
            some = min(count - at, self.layout.strip_rows - inside, self.height - self.done)
            self.fill(rows[at : at + some].data.cast("B"))
            at, self.done = at + some, self.done + some
            if self.inflater is not None and (self.done == self.height or not self.done % self.layout.strip_rows):
                self.inflater.finish()
        return self._summed(rows) if self.layout.predictor == 2 else rows

    def small(self, rows: NDArray[np.uint8], width: int) -> bytes:
        """A TIFF of these rows [n, bytes] alone, in one strip that is not compressed."""
        order = self.layout.order
        head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
        values = {256: width, 257: len(rows), 259: _NONE, 273: 0, 278: len(rows), 279: rows.size}
        own: list[tuple[int, int, int, bytes]] = [
            (entry.tag, entry.kind, entry.many, value)
            for entry, value in self.kept
            if entry.tag not in values and entry.tag != _PREDICTOR
        ]
        behind = 8 + 2 + 12 * (len(own) + len(values)) + 4
        values[273] = behind + sum(len(value) for *_, value in own if len(value) > 4)
        own += [(tag, 4, 1, struct.pack(order + "I", value)) for tag, value in values.items()]
        entries, more = b"", b""
        for tag, kind, many, value in sorted(own):
            place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", behind + len(more))
            more += value if len(value) > 4 else b""
            entries += struct.pack(order + "HHI", tag, kind, many) + place
        return head + struct.pack(order + "H", len(own)) + entries + bytes(4) + more + rows.tobytes()

    def _open(self, strip: int) -> None:
        """Be ready to read a strip from its first row on."""
        layout, self.inflater = self.layout, None
        place = layout.places[strip]
        if layout.compression == _NONE:
            read = 0

            def as_it_is(target: memoryview) -> None:
                nonlocal read
                self.window.fill(target, place + read)
                read += len(target)

            self.fill = as_it_is
            return
        left = layout.sizes[strip]
        if place + left > len(self.window):
            raise cut_off(self.label)
        if layout.compression in _DEFLATE:

            def part() -> bytes:
                nonlocal place, left
                found = self.window[place : place + min(left, PART_BYTES)]
                place, left = place + len(found), left - len(found)
                return found

            self.inflater = Inflater(part, self.label)
            self.fill = self.inflater.fill
            return
        count = min(layout.strip_rows, self.height - strip * layout.strip_rows)
        samples, at = self._decoded(self.window[place : place + left], count).data.cast("B"), 0

        def decoded(target: memoryview) -> None:
            nonlocal at
            target[:] = samples[at : at + len(target)]
            at += len(target)

        self.fill = decoded

    def _decoded(self, data: bytes, count: int) -> NDArray[np.uint8]:
        """The bytes [count, bytes] of a strip, which libtiff gets as one of gray pixels."""
        tags = {256: self.row_bytes, 257: count, 258: 8, 259: self.layout.compression, 262: _BLACK}
        tags |= {273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: count, 279: len(data)}
        order = self.layout.order
        entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
        head = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
        whole = io.BytesIO(head + entries + bytes(4) + data)
        with pillow_errors(self.label, "TIFF"), libtiff_silenced(True), Image.open(whole, formats=("TIFF",)) as image:
            return np.asarray(image)

    def _summed(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from mvc.media.png_filters import sum_up

        if self.layout.bits == 8:
            sum_up(rows, self.channels)
            return rows
        samples = rows.view(self.layout.order + "u2").astype(np.uint16)
        sum_up(samples, self.channels)
        return samples.astype(self.layout.order + "u2").view(np.uint8)


def _layout(order: str, kept: list[tuple[Entry, bytes]]) -> Layout | None:
    """What the tags say; None where they say nothing or contradict each other, or are not as anybody writes them."""
    tags = {entry.tag: _numbers(order, entry, value) for entry, value in kept}
    if any(not tags.get(tag) for tag in (256, 257, 262, 273)) or len(tags) < len(kept):
        return None
    if any(not tags[tag] for tag in _LISTS & set(tags)) or any(len(tags[tag]) != 1 for tag in _SINGLE & set(tags)):
        return None

    def one(tag: int, usual: int) -> int:
        return (tags.get(tag) or [usual])[0]

    bits, channels, height = tags.get(258, [1]), one(277, 1), one(257, 0)
    strip_rows = min(one(278, height), height)
    if not one(256, 0) or not strip_rows or len(set(bits)) != 1 or len(bits) not in (1, channels):
        return None
    strips, sizes = -(-height // strip_rows), tags.get(279) or []
    compression = one(259, _NONE)
    if len(tags[273]) != strips or (len(sizes) != strips and compression != _NONE):
        return None
    predictor = one(_PREDICTOR, 1) if compression in (_LZW, *_DEFLATE) else 1
    return Layout(order, one(256, 0), height, bits[0], channels, compression, predictor, strip_rows, tags[273], sizes)


def _is_known(layout: Layout, kept: list[tuple[Entry, bytes]]) -> bool:
    """Whether samples that lie so are read here."""
    tags = {entry.tag: entry.whole for entry, _ in kept}
    if tags[262] not in _COLOURS or not 1 <= layout.channels <= 5 or layout.bits not in (1, 2, 4, 8, 12, 16):
        return False
    if {322, 323, 324, 325, 347} & set(tags) or tags.get(284, 1) != 1 or tags.get(266, 1) != 1:
        return False  # tiles, JPEG, planes apart, bits the other way round
    if tags.get(339, 1) != 1 or layout.predictor not in ((1, 2) if layout.bits in (8, 16) else (1,)):
        return False
    if layout.compression in (_LZW, _PACKBITS):
        strip = layout.strip_rows * layout.width * layout.channels * layout.bits // 8
        return strip <= _MOST_STRIP_BYTES and max(layout.sizes) <= _MOST_STRIP_BYTES
    return layout.compression == _NONE or layout.compression in _DEFLATE


def _numbers(order: str, entry: Entry, value: bytes) -> list[int]:
    """All numbers of a tag; none of another kind than counts have."""
    size = SIZES.get(entry.kind, 0)
    if entry.kind not in (3, 4, 16) or len(value) != size * entry.many:
        return []
    return [int(number) for number in np.frombuffer(value, f"{order}u{size}")]
