// The list of files, with small images of those that are seen in it.

import { blob, Lane } from './net.js';

const AT_ONCE = 2;

export class Files {
  constructor(nav, names, chosen) {
    this.nav = nav;
    this.lane = new Lane(AT_ONCE);
    this.items = names.map((name, number) => {
      const item = document.createElement('li'), button = document.createElement('button');
      const small = document.createElement('span'), text = document.createElement('span');
      button.type = 'button';
      small.className = 'small';
      text.className = 'name';
      text.textContent = name;
      button.title = name;
      button.append(small, text);
      button.addEventListener('click', () => chosen(number));
      item.append(button);
      return { item, button, small, image: null, abort: null };
    });
    nav.querySelector('ol').append(...this.items.map(own => own.item));
    const seen = new IntersectionObserver(entries => {
      for (const entry of entries) this.seen(this.items.findIndex(own => own.item === entry.target), entry.isIntersecting);
    }, { root: nav, rootMargin: '200px' });
    this.items.forEach(own => seen.observe(own.item));
  }

  seen(number, inside) {
    const own = this.items[number];
    if (!inside) {
      own.abort?.abort();
      own.abort = null;
    } else if (!own.image && !own.abort && !own.refused) {
      this.small(number);
    }
  }

  // The small image of a file, or null; asked for if it is not there.
  async small(number) {
    const own = this.items[number];
    if (own.image || own.refused) return own.image;
    if (own.coming) return own.coming;
    own.abort = new AbortController();
    own.coming = this.load(number, own.abort.signal).finally(() => { own.coming = own.abort = null; });
    return own.coming;
  }

  async load(number, signal) {
    const own = this.items[number];
    try {
      const image = new Image();
      image.alt = '';
      image.src = URL.createObjectURL(await this.lane.run(signal => blob(`files/${number}/thumbnail`, signal), signal));
      await image.decode();
      URL.revokeObjectURL(image.src);
      own.small.replaceChildren(image);
      return own.image = image;
    } catch (error) {
      if (error.name !== 'AbortError') {
        own.refused = true;
        own.small.textContent = error.status === 422 ? '⚠' : '';
      }
      return null;
    }
  }

  choose(number) {
    for (const own of this.items) own.button.removeAttribute('aria-current');
    const { button } = this.items[number];
    button.setAttribute('aria-current', 'true');
    button.scrollIntoView({ block: 'nearest' });
  }
}
