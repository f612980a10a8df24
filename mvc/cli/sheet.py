"""A contact sheet: a page with a small picture of every input, and what became of it. Written as pictures come."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mvc.cli.outcome import Outcome
from mvc.cli.terminal import printable
from mvc.evaluate.html import embedded, page_end, page_start

if TYPE_CHECKING:
    from mvc.picture import Picture

SIDE_PX = 160
"""The longer side of a picture on the sheet, at most: some 4 kB."""
QUALITY = 70

_STYLE = """
.sheet { display: grid; gap: 1rem; margin: 1.5rem 0; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
.sheet li { content-visibility: auto; contain-intrinsic-size: 10rem 16rem; background: var(--panel);
  border-radius: 6px; padding: .6rem; overflow-wrap: anywhere; font-size: .85rem; line-height: 1.4; }
.sheet .shown { display: flex; align-items: center; justify-content: center; height: 10rem; margin-bottom: .5rem;
  color: var(--faint); }
.sheet img { max-width: 100%; max-height: 10rem; border-radius: 3px; }
.sheet p { margin: 0; } .sheet b { font-weight: 600; }
.sheet .failed { outline: 2px solid #d55e00; } .sheet .failed .why { color: #d55e00; }
"""


class Sheet:
    """The text of a contact sheet, piece by piece."""

    def __init__(self) -> None:
        self._counts = {"done": 0, "skipped": 0, "failed": 0}
        self._before = self._after = 0

    def start(self, title: str) -> str:
        """The beginning of the page."""
        return page_start(title, style=_STYLE) + f'<h1>{escape(title)}</h1>\n<ul class="sheet">\n'

    def add(self, outcome: Outcome) -> str:
        """The entry of an input."""
        self._counts[outcome.state] += 1
        self._before, self._after = self._before + outcome.read_bytes, self._after + outcome.written_bytes
        name = escape(printable(outcome.source))
        image, head = f"<span>{outcome.state}</span>", outcome.head
        if outcome.thumbnail:
            image = f'<img alt="" decoding="async" src="{embedded(outcome.thumbnail, "jpeg")}">'
        lines = [f"<b>{name}</b>"]
        if head:
            lines.append(f"{head.width}x{head.height}")
        if outcome.written_bytes:
            before = f"{outcome.read_bytes:,} → " if outcome.read_bytes else ""
            lines.append(f"{before}{outcome.written_bytes:,} bytes")
        numbers = outcome.row()
        shown = [(numbers["bpp"], "{} bpp"), (numbers["quality"], "quality {}"), (numbers["psnr_db"], "{} dB")]
        shown += [(numbers["seconds"], "{} s")]
        lines.append(", ".join(form.format(value) for value, form in shown if value is not None))
        text = "".join(f"<p>{line}</p>" for line in lines if line)
        if outcome.failure:
            text += f'<p class="why">{escape(printable(outcome.failure.message))}</p>'
        elif outcome.state == "skipped":
            text += "<p>skipped: there and whole</p>"
        return f'<li class="{outcome.state}"><div class="shown">{image}</div>{text}</li>\n'

    def end(self) -> str:
        """The sums, and the end of the page."""
        counts = ", ".join(f"{count} {state}" for state, count in self._counts.items())
        sizes = f": {self._before:,} bytes became {self._after:,}" if self._before and self._after else ""
        return f"</ul>\n<p>{counts}{sizes}</p>" + page_end()


def contact(picture: Picture) -> bytes:
    """A JPEG of a picture for the sheet."""
    import io

    from mvc.media.thumbnails import small

    buffer = io.BytesIO()
    small(picture, SIDE_PX).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
