// Where the bits of a picture are: a map over it, and what its colours mean.

import { json } from './net.js';

// From black over violet and orange to yellow, as matplotlib's inferno.
const STOPS = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

function colour(share) {
  const at = Math.min(1, Math.max(0, share)) * (STOPS.length - 1), low = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[low].map((from, k) => Math.round(from + (STOPS[low + 1][k] - from) * (at - low)));
}

export class BitMap {
  static async of(file, picture, signal) {
    return new BitMap(await json(`files/${file}/bits`, signal), picture);
  }

  constructor(found, picture) {
    this.found = found;
    this.pixels = picture.width * picture.height;
    const { columns, cell_px: cell, bits, tiles } = found;
    // Bits per pixel: the cells at the edges speak for less.
    const area = (k) => columns
      ? (Math.min(picture.width, (k % columns + 1) * cell) - k % columns * cell)
        * (Math.min(picture.height, (Math.floor(k / columns) + 1) * cell) - Math.floor(k / columns) * cell)
      : tiles[k][2] * tiles[k][3];
    this.rates = bits.map((own, k) => own / area(k));
    const sorted = [...this.rates].sort((a, b) => a - b);
    this.most = sorted[Math.min(sorted.length - 1, Math.floor(0.995 * sorted.length))] || 1e-9;
    if (columns) {
      const rows = bits.length / columns;
      this.image = new OffscreenCanvas(columns, rows);
      const context = this.image.getContext('2d'), data = context.createImageData(columns, rows);
      this.rates.forEach((rate, k) => data.data.set([...colour(Math.sqrt(rate / this.most)), 255], 4 * k));
      context.putImageData(data, 0, 0);
    }
  }

  // Whether there is more to see than one number.
  get flat() {
    return this.rates.length < 2;
  }

  draw(stage) {
    const c = stage.context;
    c.globalAlpha = 0.82;
    c.imageSmoothingEnabled = false;
    const { columns, cell_px: cell, tiles } = this.found;
    if (columns) {
      stage.put(this.image, 0, 0, columns, this.image.height, 0, 0, columns * cell, this.image.height * cell);
    } else {
      tiles.forEach(([x, y, width, height], k) => {
        c.fillStyle = `rgb(${colour(Math.sqrt(this.rates[k] / this.most)).join(' ')})`;
        const left = Math.round(stage.across(x)), top = Math.round(stage.down(y));
        c.fillRect(left, top, Math.round(stage.across(x + width)) - left, Math.round(stage.down(y + height)) - top);
      });
    }
    c.globalAlpha = 1;
  }

  // Bits per pixel at a place of the picture.
  rate({ x, y }) {
    const { columns, cell_px: cell, tiles } = this.found;
    if (columns) return this.rates[Math.floor(y / cell) * columns + Math.floor(x / cell)];
    return this.rates[tiles.findIndex(([left, top, w, h]) => x >= left && y >= top && x < left + w && y < top + h)];
  }

  legend(box) {
    const { file_bits: all, columns, cell_px: cell, bits } = this.found;
    const mean = (all / this.pixels).toPrecision(3), [text] = box.getElementsByTagName('p');
    const [low, high] = box.getElementsByTagName('span');
    const scale = box.querySelector('canvas'), c = scale.getContext('2d');
    box.querySelector('.scale').hidden = this.flat;
    text.textContent = this.flat
      ? `One exact tile: ${mean} bits per pixel in all of it; there is no finer map.`
      : `Bits per pixel, by ${columns ? `squares of ${cell} pixels` : `${bits.length} tiles`}; ${mean} on average`;
    for (let x = 0; x < scale.width; x++) {
      c.fillStyle = `rgb(${colour(x / (scale.width - 1)).join(' ')})`;
      c.fillRect(x, 0, 1, scale.height);
    }
    low.textContent = '0';
    high.textContent = this.most.toPrecision(2);
  }
}
