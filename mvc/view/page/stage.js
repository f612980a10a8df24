// The picture: where it is seen, on which scale, and what is drawn of it. Its state is one zoom and one centre.

import { Blocks, keyOf } from './blocks.js';
import { gestures } from './gestures.js';

const SCALES = [1, 2, 4, 8, 16];
const LARGEST = 64;
const CALM_MS = 90;

export class Stage {
  // `sides` are the blocks' by scale; `told` has moved(), failed(error), damaged(text) and busy(whether).
  constructor(canvas, sides, told) {
    Object.assign(this, { canvas, sides, told });
    this.context = canvas.getContext('2d');
    this.picture = null;
    this.look = 'faithful';
    this.overlay = null;
    this.pointer = null;
    this.blocks = new Blocks({
      changed: () => this.redraw(),
      failed: (place, error) => place.file === this.picture?.file && told.failed(error),
      damaged: (place, text) => place.file === this.picture?.file && told.damaged(text),
    });
    new ResizeObserver(() => this.resize()).observe(canvas);
    gestures(canvas, this);
  }

  // A picture: {file, width, height, alpha, small}, the last an image to show meanwhile, or null.
  show(picture) {
    this.picture = picture;
    this.frame = 0;
    this.seen = { frame: 0, look: this.look };
    this.overlay = null;
    this.blocks.forgive();
    this.fit();
  }

  showLook(look) {
    this.look = look;
    this.redraw();
  }

  showFrame(frame) {
    this.frame = frame;
    this.redraw();
  }

  clear() {
    this.picture = null;
    this.blocks.want([]);
    this.redraw();
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  get fitting() {
    const { width, height } = this.picture, own = this.canvas;
    return Math.min(this.ratio, own.width / width, own.height / height);
  }

  get larger() {
    const { width, height } = this.picture, own = this.canvas;
    return { across: width * this.zoom > own.width + 1, down: height * this.zoom > own.height + 1 };
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(box.width * this.ratio));
    this.canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    if (!this.picture) return;
    if (this.fitted) this.fit();
    else this.place();
  }

  fit() {
    if (!this.picture) return;
    this.fitted = true;
    this.zoom = this.fitting;
    this.x = this.picture.width / 2;
    this.y = this.picture.height / 2;
    this.place();
  }

  // Zoom by a factor, where the point of the picture at (x, y) of the canvas stays; the middle if it is not said.
  by(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    this.to(this.zoom * factor, x, y);
  }

  to(zoom, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.picture) return;
    const least = Math.min(this.fitting, this.ratio), from = this.zoom;
    this.zoom = Math.min(LARGEST * this.ratio, Math.max(least, zoom));
    this.x += (x - this.canvas.width / 2) * (1 / from - 1 / this.zoom);
    this.y += (y - this.canvas.height / 2) * (1 / from - 1 / this.zoom);
    this.fitted = this.zoom <= least * 1.001;
    this.place();
  }

  move(dx, dy) {
    if (!this.picture) return;
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.place();
  }

  // No edge of the picture comes inside; a side that is smaller than the canvas stays in the middle.
  place() {
    const held = (at, size, seen) => {
      const half = seen / this.zoom / 2;
      return size <= 2 * half ? size / 2 : Math.min(size - half, Math.max(half, at));
    };
    this.x = held(this.x, this.picture.width, this.canvas.width);
    this.y = held(this.y, this.picture.height, this.canvas.height);
    this.told.moved();
    this.redraw();
  }

  // From the picture to the canvas, and back.
  across(x) { return (x - this.x) * this.zoom + this.canvas.width / 2; }
  down(y) { return (y - this.y) * this.zoom + this.canvas.height / 2; }
  at(px, py) {
    const x = Math.floor((px - this.canvas.width / 2) / this.zoom + this.x);
    const y = Math.floor((py - this.canvas.height / 2) / this.zoom + this.y);
    const inside = x >= 0 && y >= 0 && x < this.picture.width && y < this.picture.height;
    return inside ? { x, y } : null;
  }

  redraw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.draw();
    });
  }

  // The scale whose samples are no larger than the screen's.
  get scale() {
    return SCALES.findLast(scale => scale === 1 || scale * this.zoom <= 1.001);
  }

  // The blocks of a scale that are seen, those in the middle first.
  visible(scale) {
    const side = this.sides[scale], { width, height } = this.picture, own = this.canvas, found = [];
    const from = (middle, seen) => Math.max(0, Math.floor((middle - seen / this.zoom / 2) / side));
    const to = (middle, seen, size) => Math.min(Math.ceil(size / side), Math.ceil((middle + seen / this.zoom / 2) / side));
    for (let row = from(this.y, own.height); row < to(this.y, own.height, height); row++)
      for (let column = from(this.x, own.width); column < to(this.x, own.width, width); column++)
        found.push({ file: this.picture.file, frame: this.frame, look: this.look, scale, column, row });
    const away = p => Math.hypot((p.column + 0.5) * side - this.x, (p.row + 0.5) * side - this.y);
    return found.sort((a, b) => away(a) - away(b));
  }

  draw() {
    const { context: c, canvas, picture } = this;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, canvas.width, canvas.height);
    if (!picture) return this.told.busy(false);
    const scale = this.scale, places = this.visible(scale);
    const left = Math.round(this.across(0)), top = Math.round(this.down(0));
    const right = Math.round(this.across(picture.width)), bottom = Math.round(this.down(picture.height));
    c.save();
    c.beginPath();
    c.rect(left, top, right - left, bottom - top);
    c.clip();
    if (picture.alpha) this.checker(left, top, right, bottom);
    else this.paper(left, top, right, bottom);
    c.imageSmoothingEnabled = this.zoom < 2 * this.ratio;
    c.imageSmoothingQuality = 'high';
    let missing = 0;
    for (const place of places) missing += !this.drawBlock(place);
    if (!missing) this.seen = { frame: this.frame, look: this.look };
    if (this.overlay) this.overlay.draw(this);
    c.restore();
    clearTimeout(this.calm);
    this.calm = setTimeout(() => {
      this.blocks.want(places);
      this.told.busy(this.blocks.busy);
    }, missing && this.blocks.busy ? CALM_MS : 0);
    this.told.drawn(missing === 0);
  }

  // A block, or what there is in its place.
  drawBlock(place) {
    const { scale, column, row } = place, side = this.sides[scale];
    const own = this.blocks.get(keyOf(place));
    if (own) {
      this.put(own, 0, 0, own.width, own.height, column * side, row * side, own.width * scale, own.height * scale);
      return true;
    }
    const before = this.blocks.get(keyOf({ ...place, ...this.seen }));
    if (before) {
      this.put(before, 0, 0, before.width, before.height, column * side, row * side, before.width * scale, before.height * scale);
      return false;
    }
    this.drawCoarse(place, side);
    if (!this.picture.alpha) this.drawFine(place, side);
    return false;
  }

  drawCoarse(place, side) {
    const { scale, column, row } = place;
    const x = column * side, y = row * side;
    const width = Math.min(side, this.picture.width - x), height = Math.min(side, this.picture.height - y);
    for (const other of SCALES.filter(other => other > scale)) {
      const large = this.sides[other], c = Math.floor(x / large), r = Math.floor(y / large);
      const found = this.blocks.get(keyOf({ ...place, scale: other, column: c, row: r }));
      if (found) {
        this.put(found, (x - c * large) / other, (y - r * large) / other, width / other, height / other, x, y, width, height);
        return;
      }
    }
    const small = this.picture.small;
    if (!small || this.picture.alpha) return;
    const across = small.naturalWidth / this.picture.width, down = small.naturalHeight / this.picture.height;
    this.put(small, x * across, y * down, width * across, height * down, x, y, width, height);
  }

  drawFine(place, side) {
    const { scale, column, row } = place;
    const x = column * side, y = row * side;
    for (const other of SCALES.filter(other => other < scale)) {
      const own = this.sides[other];
      for (let r = Math.floor(y / own); r * own < Math.min(y + side, this.picture.height); r++)
        for (let c = Math.floor(x / own); c * own < Math.min(x + side, this.picture.width); c++) {
          const found = this.blocks.kept.get(keyOf({ ...place, scale: other, column: c, row: r }));
          if (found) this.put(found, 0, 0, found.width, found.height, c * own, r * own, found.width * other, found.height * other);
        }
    }
  }

  // A part of an image on a part of the picture, on whole pixels of the canvas, so that there are no seams.
  put(image, sx, sy, sw, sh, x, y, width, height) {
    const left = Math.round(this.across(x)), top = Math.round(this.down(y));
    const right = Math.round(this.across(x + width)), bottom = Math.round(this.down(y + height));
    if (right > left && bottom > top) this.context.drawImage(image, sx, sy, sw, sh, left, top, right - left, bottom - top);
  }

  paper(left, top, right, bottom) {
    this.context.fillStyle = '#191d20';
    this.context.fillRect(left, top, right - left, bottom - top);
  }

  checker(left, top, right, bottom) {
    const c = this.context;
    if (!this.pattern) {
      const tile = new OffscreenCanvas(16, 16), own = tile.getContext('2d');
      own.fillStyle = '#2b3035';
      own.fillRect(0, 0, 16, 16);
      own.fillStyle = '#383e44';
      own.fillRect(0, 0, 8, 8);
      own.fillRect(8, 8, 8, 8);
      this.pattern = c.createPattern(tile, 'repeat');
    }
    c.fillStyle = this.pattern;
    c.fillRect(left, top, right - left, bottom - top);
  }
}
