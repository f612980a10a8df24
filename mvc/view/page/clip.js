// The frames of a clip: a bar for each, as high as its bytes, and the way through them.

const SHORTEST_MS = 15;

export class Clip {
  // `go` is told of the frame that is to be shown.
  constructor(footer, go) {
    this.footer = footer;
    this.bars = footer.querySelector('#bars');
    this.button = footer.querySelector('#play');
    this.label = footer.querySelector('#frame');
    this.go = go;
    this.clip = null;
    this.button.addEventListener('click', () => this.play(!this.playing));
    const seek = event => {
      const box = this.bars.getBoundingClientRect();
      this.play(false);
      this.to(Math.floor((event.clientX - box.left) / box.width * this.clip.count));
    };
    this.bars.addEventListener('pointerdown', event => {
      this.bars.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.bars.addEventListener('pointermove', event => event.buttons && seek(event));
    new ResizeObserver(() => this.draw()).observe(this.bars);
  }

  show(clip) {
    this.play(false);
    this.clip = clip;
    this.frame = 0;
    this.footer.hidden = !clip;
    if (clip) {
      this.keys = new Set(clip.keys);
      this.bars.setAttribute('aria-valuemax', Math.max(0, clip.count - 1));
      this.to(0);
    }
  }

  to(frame) {
    this.frame = Math.max(0, Math.min(this.clip.count - 1, frame));
    const { count, times } = this.clip, at = times[this.frame];
    const second = at === undefined ? '' : `${((at - times[0]) / 1000).toFixed(2)} s, `;
    const bytes = this.clip.bytes[this.frame];
    this.label.textContent = `${second}${this.frame + 1} of ${count}` + (bytes === undefined ? '' : `, ${bytes} bytes`);
    this.bars.setAttribute('aria-valuenow', this.frame);
    this.bars.setAttribute('aria-valuetext', this.label.textContent);
    this.draw();
    this.go(this.frame);
  }

  step(by) {
    if (!this.clip) return;
    this.play(false);
    this.to(this.frame + by);
  }

  play(wanted) {
    const last = this.clip && this.frame >= this.clip.count - 1;
    if (wanted && last) this.to(0);
    this.playing = Boolean(wanted && this.clip && this.clip.count > 1);
    this.since = performance.now();
    this.button.querySelector('path').setAttribute('d', this.playing ? 'M5 3h3.5v14H5zM11.5 3H15v14h-3.5z' : 'M5 3l12 7-12 7z');
    this.button.setAttribute('aria-label', this.playing ? 'Stop' : 'Play');
  }

  // All of the frame is on the screen: the next one comes when it is time.
  shown() {
    if (!this.playing || this.timer) return;
    const { times, count } = this.clip;
    const step = Math.max(SHORTEST_MS, (times[this.frame + 1] ?? 0) - (times[this.frame] ?? 0) || 40);
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (!this.playing) return;
      this.since = performance.now();
      if (this.frame + 1 < count) this.to(this.frame + 1);
      else this.play(false);
    }, Math.max(0, step - (performance.now() - this.since)));
  }

  draw() {
    const box = this.bars.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    if (!this.clip || !box.width) return;
    const width = this.bars.width = Math.round(box.width * ratio), height = this.bars.height = Math.round(box.height * ratio);
    const c = this.bars.getContext('2d'), { bytes, count } = this.clip, most = Math.max(1, ...bytes.slice(0, 1e5));
    const style = getComputedStyle(document.documentElement), own = name => style.getPropertyValue(name);
    const step = width / Math.max(1, count), gap = step > 4 * ratio ? ratio : 0;
    bytes.forEach((size, k) => {
      const high = Math.max(ratio, Math.sqrt(size / most) * (height - 2 * ratio));
      c.fillStyle = k === this.frame ? '#fff' : this.keys.has(k) ? own('--accent') : '#4a545d';
      c.fillRect(k * step, height - high, Math.max(ratio, step - gap), high);
    });
    c.fillStyle = '#fff';
    c.fillRect(Math.round((this.frame + 0.5) * step - ratio / 2), 0, ratio, height);
  }
}
