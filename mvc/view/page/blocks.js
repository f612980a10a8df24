// Blocks of pictures as bitmaps: those that are wanted are asked for, a few at a time, and the latest are kept.

import { bitmap } from './net.js';

const AT_ONCE = 3;
const MOST_PIXELS = 48e6;

// Of a place: {file, frame, look, scale, column, row}.
export const keyOf = p => [p.file, p.frame, p.look, p.scale, p.column, p.row].join('/');

export class Blocks {
  // `changed` is called when a block has come, `failed` with the error of one that has not, `damaged` with words.
  constructor({ changed, failed, damaged }) {
    Object.assign(this, { changed, failed, damaged });
    this.kept = new Map();
    this.pixels = 0;
    this.under = new Map();
    this.wanted = [];
    this.refused = new Set();
  }

  get(key) {
    const found = this.kept.get(key);
    if (found) {
      this.kept.delete(key);
      this.kept.set(key, found);
    }
    return found;
  }

  get busy() {
    return this.under.size > 0 || this.wanted.length > 0;
  }

  // From now on these are wanted, in this order, and no others.
  want(places) {
    const keys = new Map(places.map(place => [keyOf(place), place]));
    for (const [key, abort] of this.under) if (!keys.has(key)) abort.abort();
    this.wanted = [...keys].filter(([key]) => !this.kept.has(key) && !this.under.has(key) && !this.refused.has(key));
    this.start();
  }

  start() {
    while (this.under.size < AT_ONCE && this.wanted.length) {
      const [key, place] = this.wanted.shift();
      const abort = new AbortController();
      this.under.set(key, abort);
      const path = `files/${place.file}/blocks/${place.scale}/${place.column}/${place.row}/${place.frame}/${place.look}`;
      bitmap(path, abort.signal)
        .then(got => {
          this.keep(key, got.bitmap);
          if (got.damaged) this.damaged(place, got.damaged);
        })
        .catch(error => {
          if (error.name === 'AbortError' || error.status === 503) return;
          this.refused.add(key);
          this.failed(place, error);
        })
        .finally(() => {
          this.under.delete(key);
          this.start();
          this.changed();
        });
    }
  }

  keep(key, image) {
    this.kept.set(key, image);
    this.pixels += image.width * image.height;
    for (const [old, own] of this.kept) {
      if (this.pixels <= MOST_PIXELS || this.kept.size <= 1) break;
      this.kept.delete(old);
      this.pixels -= own.width * own.height;
      own.close();
    }
  }

  // Ask once more for what was refused.
  forgive() {
    this.refused.clear();
  }
}
