"""Pieces of pages that hold all they need: one file, no network, light and dark, readable without a mouse."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from mvc.version import __version__

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b", "#9467bd", "#bcbd22")
"""Okabe and Ito's, which colour-blind people tell apart, and three more."""

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1a1a1a; --faint: #666; --line: #d8d8d8; --panel: #f6f6f6; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181a; --ink: #e8e8e8; --faint: #a0a0a0; --line: #3a3d40; --panel: #202326; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; line-height: 1.2; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.faint, figcaption { color: var(--faint); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .75rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { font-weight: 600; white-space: normal; max-width: 8rem; vertical-align: bottom; }
a { color: inherit; }
:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
"""


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole page. Its policy forbids whatever is not in it, so that nothing is ever asked of a network."""
    return page_start(title, style=style) + body + page_end(script=script)


def page_start(title: str, *, style: str = "") -> str:
    """What stands before the body of a page: one that is too long to be held as a whole is written in parts."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="mvc {escape(__version__)}">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
    )


def page_end(*, script: str = "") -> str:
    """What stands behind the body of a page."""
    return "\n" + (f"<script>{script}</script>\n" if script else "") + "</body>\n</html>\n"


def embedded(data: bytes, kind: str) -> str:
    """The bytes of a picture file, as what a page has instead of its name; `kind` is "webp" or "jpeg"."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of texts, whose first column names its rows; it scrolls by itself where it is too wide."""
    shown = f"<caption class=faint>{escape(caption)}</caption>" if caption else ""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    lines = []
    for first, *cells in rows:
        rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{rest}</tr>')
    whole = f"<table>{shown}<thead><tr>{top}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escape(caption or heads[0])}">{whole}</div>'


def markdown_table(text: str, caption: str = "") -> str:
    """A table in Markdown, as the command line prints it, as one of a page."""
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return table(heads, rows, caption)
