// The page: which file is shown, what is open beside it, and the keys.

import { BitMap } from './bits.js';
import { Clip } from './clip.js';
import { Files } from './files.js';
import { badges, panel } from './info.js';
import { json } from './net.js';
import { Stage } from './stage.js';

const $ = selector => document.querySelector(selector);
const body = document.body, warning = $('#warning'), message = $('#message');
const NARROW = matchMedia('(max-width: 46rem)');
const { files: names, blocks } = await json('files');

let current = -1, facts = null, asking = null, showBits = false, showNatural = false;

const stage = new Stage($('#stage > canvas'), blocks, {
  moved: () => { zoomed(); status(); },
  failed: error => tell(error),
  damaged: text => warn(`The file is damaged, and what can be decoded is shown: ${text}`),
  busy: wanted => $('#busy').classList.toggle('on', wanted || mapping),
  drawn: complete => complete && clip.shown(),
});
const clip = new Clip($('#clip'), frame => stage.showFrame(frame));
const list = new Files($('#list'), names, number => { choose(number); if (NARROW.matches) toggle('list', false); });
let mapping = false;

function tell(error) {
  message.children[0].textContent = error.message;
  message.children[1].textContent = error.hint || '';
  message.hidden = false;
}

function warn(text) {
  warning.textContent = text;
  warning.hidden = !text;
}

function zoomed() {
  if (stage.picture) $('#zoom-fit').textContent = `${Number((100 * stage.zoom / stage.ratio).toPrecision(3))} %`;
}

function status() {
  const at = stage.pointer && stage.picture && stage.at(stage.pointer.x, stage.pointer.y);
  const rate = at && stage.overlay ? stage.overlay.rate(at) : undefined;
  $('#status').textContent = at ? `${at.x}, ${at.y}` + (rate === undefined ? '' : `: ${rate.toPrecision(3)} bits per pixel`) : '';
}

async function choose(number) {
  if (number < 0 || number >= names.length) return;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  current = number;
  history.replaceState(null, '', `#${number + 1}`);
  list.choose(number);
  document.title = `${names[number]} - mvc view`;
  $('h1').textContent = names[number];
  $('#stage > canvas').setAttribute('aria-label', names[number]);
  message.hidden = true;
  warn('');
  clip.show(null);
  stage.clear();
  legend(null);
  try {
    facts = await json(`files/${number}`, signal);
  } catch (error) {
    if (error.name === 'AbortError') return;
    facts = null;
    badges($('#badges'), []);
    panel($('#info'), { damaged: error.message, groups: [], lines: [] });
    $('#toggle-bits').disabled = $('#toggle-look').disabled = true;
    tell(error);
    return;
  }
  panel($('#info'), facts);
  if (facts.damaged) warn(`The file is damaged: ${facts.damaged}`);
  $('#toggle-bits').disabled = facts.kind === 'clip';
  $('#toggle-look').disabled = !hasNatural();
  showLook();
  const picture = { file: number, width: facts.width, height: facts.height, alpha: facts.alpha, small: null };
  stage.show(picture);
  clip.show(facts.clip?.count ? facts.clip : null);
  if (showBits) bits(true);
  picture.small = await list.small(number);
  if (stage.picture === picture) stage.redraw();
}

const hasNatural = () => !!facts?.looks.includes('natural');

function showLook() {
  const natural = showNatural && hasNatural();
  $('#toggle-look').setAttribute('aria-pressed', natural);
  if (facts) badges($('#badges'), natural ? [...facts.badges, 'natural look'] : facts.badges);
  stage.showLook(natural ? 'natural' : 'faithful');
}

// What is chosen holds for the pictures that follow, too.
function natural(wanted) {
  showNatural = wanted;
  showLook();
}

function legend(map) {
  $('#legend').hidden = !map;
  if (map) map.legend($('#legend'));
}

async function bits(wanted) {
  showBits = wanted;
  $('#toggle-bits').setAttribute('aria-pressed', wanted);
  stage.overlay = null;
  legend(null);
  stage.redraw();
  const picture = stage.picture;
  if (!wanted || !picture || facts?.kind !== 'still') return;
  try {
    mapping = true;
    stage.redraw();
    picture.map ??= await BitMap.of(picture.file, picture, asking.signal);
    if (stage.picture === picture && showBits) {
      stage.overlay = picture.map;
      legend(picture.map);
      if (picture.map.flat) stage.overlay = null;
    }
  } catch (error) {
    if (error.name !== 'AbortError') warn(`There is no map of bits: ${error.message}`);
  } finally {
    mapping = false;
    stage.redraw();
    status();
  }
}

function toggle(part, wanted = body.classList.contains(`no-${part}`)) {
  if (wanted && NARROW.matches) body.classList.add('no-list', 'no-info');
  body.classList.toggle(`no-${part}`, !wanted);
  for (const each of ['list', 'info'])
    $(`#toggle-${each}`).setAttribute('aria-pressed', !body.classList.contains(`no-${each}`));
}

function help(wanted = $('#help').hidden) {
  $('#help').hidden = !wanted;
  $('#toggle-help').setAttribute('aria-pressed', wanted);
}

function arrow(across, down) {
  const { larger } = stage.picture ? stage : { larger: {} }, part = 0.2;
  if (across && !larger.across) return choose(current + across);
  if (down && !larger.down) return choose(current + down);
  return stage.move(-across * part * stage.canvas.width, -down * part * stage.canvas.height);
}

const KEYS = {
  '+': () => stage.by(1.25), '=': () => stage.by(1.25), '-': () => stage.by(0.8), _: () => stage.by(0.8),
  0: () => stage.fit(), 1: () => stage.to(stage.ratio),
  ArrowLeft: () => arrow(-1, 0), ArrowRight: () => arrow(1, 0), ArrowUp: () => arrow(0, -1), ArrowDown: () => arrow(0, 1),
  PageUp: () => choose(current - 1), PageDown: () => choose(current + 1),
  Home: () => choose(0), End: () => choose(names.length - 1),
  b: () => bits(!showBits), n: () => natural(!showNatural), i: () => toggle('info'), l: () => toggle('list'), '?': () => help(), Escape: () => help(false),
  ',': () => clip.step(-1), '.': () => clip.step(1), ' ': () => clip.play(!clip.playing),
};
document.addEventListener('keydown', event => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS)) return;
  if (key === ' ' && target.closest?.('button, summary')) return;
  if (target.id === 'bars' && (key === 'ArrowLeft' || key === 'ArrowRight')) clip.step(key === 'ArrowLeft' ? -1 : 1);
  else KEYS[key]();
  event.preventDefault();
});
$('#zoom-in').addEventListener('click', () => stage.by(1.25));
$('#zoom-out').addEventListener('click', () => stage.by(0.8));
$('#zoom-fit').addEventListener('click', () => (stage.fitted ? stage.to(stage.ratio) : stage.fit()));
$('#toggle-bits').addEventListener('click', () => bits(!showBits));
$('#toggle-look').addEventListener('click', () => natural(!showNatural));
$('#toggle-info').addEventListener('click', () => toggle('info'));
$('#toggle-list').addEventListener('click', () => toggle('list'));
$('#toggle-help').addEventListener('click', () => help());

if (!NARROW.matches) {
  toggle('list', names.length > 1);
  toggle('info', innerWidth > 1000);
}
const wanted = Number(location.hash.slice(1)) - 1;
choose(Number.isInteger(wanted) && wanted >= 0 && wanted < names.length ? wanted : 0);
