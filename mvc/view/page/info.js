// What a file says of itself, as text: nothing of it is ever taken for HTML.

function made(tag, text, more = {}) {
  const own = Object.assign(document.createElement(tag), more);
  if (text !== undefined) own.textContent = text;
  return own;
}

export function badges(box, list) {
  box.replaceChildren(...list.map(text => made('span', text)));
}

export function panel(box, facts) {
  box.replaceChildren();
  if (facts.damaged) box.append(made('h2', 'Damaged'), made('p', facts.damaged, { className: 'bad' }));
  for (const [title, rows] of facts.groups) {
    const list = made('dl');
    for (const [name, value] of rows)
      list.append(made('dt', name), made('dd', value, value === 'WRONG' ? { className: 'bad' } : {}));
    box.append(made('h2', title), list);
  }
  if (facts.lines.length) {
    const all = made('details');
    all.append(made('summary', 'All that mvc info says'), made('pre', facts.lines.join('\n')));
    box.append(all);
  }
}
