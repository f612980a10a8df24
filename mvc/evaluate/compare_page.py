"""The page of `mvc compare`: two pictures under a slider, crops where codecs differ most, and the numbers.

What is shown is what was measured: samples as the codecs decoded them, embedded without loss. The slider is an input of
the browser's own kind, so that keys, wheels and screen readers work as everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from mvc.evaluate.adapter import Samples
from mvc.evaluate.equal_size import Shown
from mvc.evaluate.html import embedded, page, table
from mvc.evaluate.metrics import METRICS
from mvc.quality import bits_per_pixel
from mvc.tiling import Region

ORIGINAL = "original"

_STYLE = """
.controls { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: center; margin: 1.25rem 0 .75rem; }
fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; align-items: center; gap: .25rem; }
legend { float: left; color: var(--faint); margin-right: .75rem; min-width: 2.6rem; }
fieldset label, .controls button { position: relative; display: inline-block; padding: .3rem .8rem; cursor: pointer;
  border: 1px solid var(--line); border-radius: 999px; background: var(--panel); color: var(--ink); font: inherit;
  font-size: .9rem; }
fieldset input { position: absolute; opacity: 0; inset: 0; margin: 0; cursor: pointer; }
fieldset label:has(:checked) { background: var(--ink); color: var(--ground); border-color: var(--ink); }
fieldset label:has(:focus-visible) { outline: 3px solid #0072b2; outline-offset: 2px; }
.scroll { overflow: auto; border-radius: 6px; background: var(--panel); }
.stage { position: relative; --split: 50%; width: 100%; line-height: 0; touch-action: pan-y; }
.stage img { width: 100%; height: auto; user-select: none; }
.stage img[hidden] { display: none; }
.stage .right { position: absolute; inset: 0; height: 100%; clip-path: inset(0 0 0 var(--split)); }
.stage.pixels { width: calc(var(--width) * var(--zoom)); } .stage.pixels img { image-rendering: pixelated; }
.stage input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.line { position: absolute; top: 0; bottom: 0; left: var(--split); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 0 1px rgb(0 0 0 / .45); pointer-events: none; }
.line::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; width: 2.2rem; height: 2.2rem;
  margin: -1.1rem 0 0 -1.1rem; border-radius: 50%; background: #fff; color: #222; text-align: center;
  font: 1.3rem/2.1rem system-ui, sans-serif; box-shadow: 0 0 0 1px rgb(0 0 0 / .45), 0 1px 6px rgb(0 0 0 / .4); }
.stage input:focus-visible ~ .line::after { outline: 3px solid #0072b2; outline-offset: 2px; }
.tag { position: absolute; top: .6rem; padding: .15rem .6rem; border-radius: 999px; background: rgb(0 0 0 / .65);
  color: #fff; font-size: .85rem; line-height: 1.5; pointer-events: none; }
.tag.a { left: .6rem; } .tag.b { right: .6rem; }
.crops { display: grid; gap: .75rem; margin: 0 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(13rem, 45%), 1fr)); }
.crops figure { margin: 0; } .crops img { width: 100%; height: auto; image-rendering: pixelated; border-radius: 4px; }
figcaption b { color: var(--ink); font-weight: 600; }
"""

_SCRIPT = """
const stage = document.querySelector('.stage'), slider = stage.querySelector('input');
const sides = {a: 'left', b: 'right'};
const chosen = side => document.querySelector('input[name=' + side + ']:checked');
function show() {
  for (const side in sides) {
    for (const image of stage.querySelectorAll('img.' + sides[side]))
      image.hidden = image.dataset.codec !== chosen(side).value;
    stage.querySelector('.tag.' + side).textContent = chosen(side).dataset.label;
  }
  split();
}
function split() {
  stage.style.setProperty('--split', slider.value + '%');
  const share = Math.round(slider.value);
  slider.setAttribute('aria-valuetext',
    share + ' % ' + chosen('a').dataset.label + ', ' + (100 - share) + ' % ' + chosen('b').dataset.label);
}
// One picture for each codec is in the page; the right side shows copies of these.
for (const image of stage.querySelectorAll('img.left')) {
  const copy = image.cloneNode();
  copy.className = 'right';
  stage.insertBefore(copy, slider);
}
slider.addEventListener('input', split);
for (const input of document.querySelectorAll('fieldset input')) input.addEventListener('change', show);
const zoom = document.querySelector('button'), steps = [0, 1, 2, 4];
zoom.addEventListener('click', () => {
  const next = steps[(steps.indexOf(Number(stage.dataset.zoom)) + 1) % steps.length];
  stage.dataset.zoom = next;
  stage.classList.toggle('pixels', next > 0);
  stage.style.setProperty('--zoom', next);
  zoom.textContent = next ? 'Zoom: ' + next * 100 + ' %' : 'Zoom: fit';
});
document.addEventListener('keydown', event => {
  const inputs = document.querySelectorAll('input[name=b]'), number = Number(event.key) - 1;
  if (event.ctrlKey || event.metaKey || event.altKey || !(number in inputs)) return;
  inputs[number].checked = true;
  show();
});
document.querySelector('.controls').hidden = false;
show();
"""


def compare_page(
    name: str, samples: Samples, shown: Sequence[Shown], crops: Sequence[Region], most_bytes: int
) -> str:
    """The page of a picture of this name, as `samples`, with what codecs make of it within `most_bytes`."""
    height, width = samples.shape[:2]
    bpp = bits_per_pixel(most_bytes, width, height)
    intro = (
        f"{width}x{height} pixels, at most {most_bytes:,} bytes ({bpp:.3f} bits per pixel): of each codec the largest "
        "file within that. What is shown was decoded from these files, and is embedded without loss."
    )
    parts = [f"<h1>{escape(name)}</h1>", f"<p class=faint>{escape(intro)}</p>"]
    parts += [f"<p><strong>{escape(text)}</strong></p>" for text in _too_large(shown, most_bytes)]
    parts += [_controls(shown), _stage(samples, shown), _help(len(shown) + 1), "<h2>Numbers</h2>"]
    heads, *rows = numbers(samples, shown)
    parts.append(table(heads, rows))
    if crops:
        parts += [
            "<h2>Where they differ most</h2>",
            f"<p class=faint>The {len(crops)} squares in which the squared errors of these codecs lie farthest apart, "
            "found by that rule alone.</p>",
            *(_crops(samples, shown, region) for region in crops),
        ]
    made = "; ".join(f"{one.name}: {one.title}" for one in shown)
    parts.append(f"<p class=faint>{escape(made)}.</p>")
    return page(f"{name}: {', '.join(one.name for one in shown)} at one size", "\n".join(parts),
                style=_STYLE, script=_SCRIPT)  # fmt: skip


def numbers(samples: Samples, shown: Sequence[Shown]) -> list[list[str]]:
    """The table of what codecs make of a picture: a row of heads, then one for each."""
    height, width = samples.shape[:2]
    more = list(shown[0].more) if shown else []
    titles = [METRICS[key].title + (" (less is better)" if METRICS[key].lower_is_better else "") for key in more]
    rows = [["codec", "setting", "bytes", "bpp", "PSNR, dB", "MS-SSIM", *titles]]
    for one in shown:
        size, rate = str(len(one.data)), f"{bits_per_pixel(len(one.data), width, height):.4f}"
        values = [(one.more[key], METRICS[key].digits - 1) for key in more]
        cells = [_number(one.psnr, 2), _number(one.ms_ssim, 5), *(_number(*value) for value in values)]
        rows.append([one.name, f"{one.setting:.4g}", size, rate, *cells])
    return rows


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return "equal" if value == float("inf") else f"{value:.{digits}f}"


def _too_large(shown: Sequence[Shown], most_bytes: int) -> list[str]:
    return [
        f"{one.name} has no file as small as that: its smallest, {len(one.data):,} bytes, is shown, "
        f"{len(one.data) / most_bytes:.1f} times the size."
        for one in shown
        if not one.fits
    ]


def _controls(shown: Sequence[Shown]) -> str:
    """Which codec is on which side, and the zoom: of use with a script alone, so hidden without one."""
    labels = {ORIGINAL: "original"} | {one.name: one.name for one in shown}
    parts = []
    for side, title, checked in (("a", "Left", ORIGINAL), ("b", "Right", shown[-1].name)):
        buttons = "".join(
            f'<label><input type="radio" name="{side}" value="{escape(value)}" data-label="{escape(label)}"'
            f"{' checked' if value == checked else ''}>{escape(label)}</label>"
            for value, label in labels.items()
        )
        parts.append(f"<fieldset><legend>{title}</legend>{buttons}</fieldset>")
    return f'<div class="controls" hidden>{"".join(parts)}<button type="button">Zoom: fit</button></div>'


def _stage(samples: Samples, shown: Sequence[Shown]) -> str:
    height, width = samples.shape[:2]
    pictures = [(ORIGINAL, samples), *((one.name, one.samples) for one in shown)]
    images = "".join(
        f'<img class="left" data-codec="{escape(name)}" alt="{escape(f"the picture, {name}")}" width="{width}" '
        f'height="{height}" draggable="false" src="{data_url(own)}"{"" if name == ORIGINAL else " hidden"}>\n'
        for name, own in pictures
    )
    return (
        f'<div class="scroll"><div class="stage" data-zoom="0" style="--width: {width}px">\n{images}'
        '<input type="range" min="0" max="100" step="0.5" value="50" aria-label="Where left ends and right begins">'
        '<div class="line"></div><span class="tag a"></span><span class="tag b"></span></div></div>'
    )


def _help(count: int) -> str:
    return (
        "<noscript><p>The slider needs JavaScript; numbers and crops do not.</p></noscript>"
        "<p class=faint>Drag, or focus the picture and use the arrow keys; "
        f"keys 1 to {min(count, 9)} choose what is on the right.</p>"
    )


def _crops(samples: Samples, shown: Sequence[Shown], region: Region) -> str:
    rows, columns = slice(region.top, region.top + region.height), slice(region.left, region.left + region.width)
    own = samples[rows, columns]
    figures = [_figure(ORIGINAL, "", own)]
    for one in shown:
        part = one.samples[rows, columns]
        mean_square = float(np.mean((own.astype(np.float64) - part) ** 2))
        near = "equal" if mean_square == 0 else f"{10 * np.log10(255**2 / mean_square):.1f} dB"
        figures.append(_figure(one.name, near, part))
    where = f"{region.width}x{region.height} pixels at {region.left}, {region.top}"
    return f'<p class=faint>{where}</p><div class="crops">{"".join(figures)}</div>'


def _figure(name: str, caption: str, part: Samples) -> str:
    height, width = part.shape[:2]
    size = f'width="{width}" height="{height}"'
    image = f'<img alt="{escape(f"the same detail, {name}")}" {size} src="{data_url(part)}">'
    return f"<figure>{image}<figcaption><b>{escape(name)}</b> {escape(caption)}</figcaption></figure>"


def data_url(samples: Samples) -> str:
    """The samples as lossless WebP, in a URL."""
    buffer = io.BytesIO()
    Image.fromarray(samples).convert("RGB").save(buffer, "WEBP", lossless=True, quality=50, method=3)
    return embedded(buffer.getvalue(), "webp")
