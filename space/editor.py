"""Transcripts in the browser: play from a word, search, correct, download, and keep them for the next visit."""

from __future__ import annotations

from components import TAKE

# Runs in the element of `results.kept`, and serves the transcripts above it as well.
SCRIPT = (
    TAKE
    + """
const desk = element.closest('[role=tabpanel]'), section = element.querySelector('.kept');
const STORE = 'transcripts', MOST = 20;
const edits = new Map();  // by source and time: a new picture of the result keeps what was corrected
let playing;  // the sound that was played last; the keys are for it

const soundOf = (paper) => paper.querySelector('.sound');
const linesOf = (paper) => [...paper.querySelectorAll('li')];
const titleOf = (paper) => paper.querySelector('h2').textContent;
const textOf = (line) => line.querySelector('p').textContent.trim();
const place = (line) => `${line.closest('.paper').dataset.source}#${line.dataset.from}`;
const button = (target, what) => target.closest(`[data-${what}]`);

// Play

function play(sound, at) {
  sound.currentTime = Number(at);
  sound.play().catch(() => {});  // it may be gone
}

let frame;
function watch() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(mark);
}

function mark() {
  if (!playing?.isConnected) return;
  const now = playing.currentTime, over = playing.ended;
  for (const line of linesOf(playing.closest('.paper'))) {
    const here = !over && now >= line.dataset.from && now < line.dataset.to;
    if (!here && !line.classList.contains('now')) continue;
    line.classList.toggle('now', here);
    const begun = [...line.querySelectorAll('p [data-at]')].filter((word) => here && now >= word.dataset.at - 0.01);
    line.querySelector('.said')?.classList.remove('said');
    begun.at(-1)?.classList.add('said');
  }
  if (!playing.paused) watch();
}

function subtitle(paper) {
  const video = paper.querySelector('video');
  if (!video) return;
  const track = video.textTracks[0] || video.addTextTrack('subtitles', titleOf(paper));
  track.mode = 'showing';
  for (const cue of [...track.cues || []]) track.removeCue(cue);
  for (const line of linesOf(paper)) track.addCue(new VTTCue(line.dataset.from, line.dataset.to, textOf(line)));
}

// Read

function shade(paper, word) {
  const told = paper.querySelector('.sure');
  told.hidden = !word?.className.match(/u[123]/);
  if (told.hidden) return;
  for (const one of told.querySelectorAll('q')) one.textContent = word.textContent;
  for (const one of told.querySelectorAll('b')) one.textContent = Math.round(100 * word.dataset.sure);
}

function nextUnsure(paper) {
  const words = [...paper.querySelectorAll('.u1, .u2, .u3')];
  const word = words[(words.findIndex((one) => one.matches('.unsure')) + 1) % words.length];
  for (const one of words) one.classList.toggle('unsure', one === word);
  word.scrollIntoView({ block: 'nearest' });
  soundOf(paper).currentTime = Number(word.dataset.at);
  shade(paper, word);
}

function ranges(line, wanted) {
  const nodes = [], walker = document.createTreeWalker(line.querySelector('p'), NodeFilter.SHOW_TEXT);
  let text = '';
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push([text.length, node]);
    text += node.data;
  }
  const found = [], low = text.toLowerCase();
  const edge = (range, side, at) => {
    const [from, node] = nodes.findLast(([begin]) => begin <= at - (side === 'End'));
    range[`set${side}`](node, at - from);
  };
  for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, at + wanted.length)) {
    const range = document.createRange();
    edge(range, 'Start', at);
    edge(range, 'End', at + wanted.length);
    found.push(range);
  }
  return found;
}

function search(paper, step) {
  const field = paper.querySelector('[data-search]'), wanted = field.value.trim().toLowerCase();
  const found = wanted ? linesOf(paper).flatMap((line) => ranges(line, wanted)) : [];
  const at = found.length ? ((step ? Number(field.dataset.at) + step : 0) + found.length) % found.length : 0;
  field.dataset.at = at;
  paper.querySelector('output').textContent = wanted ? `${found.length && at + 1}/${found.length}` : '';
  if (window.Highlight) {
    CSS.highlights.set('found', new Highlight(...found));
    CSS.highlights.set('found-now', new Highlight(...found.slice(at, at + 1)));
  }
  found[at]?.startContainer.parentElement.scrollIntoView({ block: 'nearest' });
}

function flow(paper, on) {
  paper.classList.toggle('flowing', on);
  paper.querySelector('[data-flow]').setAttribute('aria-pressed', on);
}

// Correct, and take away

function edit(paper, on) {
  paper.classList.toggle('editing', on);
  paper.querySelector('[data-edit]').setAttribute('aria-pressed', on);
  for (const line of paper.querySelectorAll('li p')) {
    line.contentEditable = on ? 'plaintext-only' : 'inherit';
    line.spellcheck = on;
  }
  if (on) paper.querySelector('li p').focus();
}

function words(line) {
  if ('edited' in line.dataset) return [];
  return [...line.querySelectorAll('p [data-at]')].map((one) => ({ start: +one.dataset.at, end: +one.dataset.to,
    text: one.textContent, confidence: +one.dataset.sure }));
}

function asked(paper) {
  const segments = linesOf(paper).map((line) => ({ start: +line.dataset.from, end: +line.dataset.to,
    text: textOf(line), words: words(line) }));
  return { title: titleOf(paper), seconds: +paper.querySelector('.foot').dataset.seconds, segments };
}

async function download(papers, form) {
  const request = { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ form, texts: papers.map(asked) }) };
  const answer = await fetch(new URL('export', location.href), request);
  if (!answer.ok) throw new Error(`${answer.status}`);
  const stem = titleOf(papers[0]).replace(/\\.[^.]*$/, '') || 'text';
  toFile(await answer.blob(), papers.length > 1 ? 'transcripts.zip' : `${stem}.${form}`);
}

function copy(paper, pressed) {
  let text = '';
  for (const line of linesOf(paper)) {
    const paragraph = 'new' in line.dataset ? '\\n\\n' : ' ';
    text += (text && (paper.classList.contains('flowing') ? paragraph : '\\n')) + textOf(line);
  }
  toClipboard(text, pressed);
}

function teach(paper) {
  const text = linesOf(paper).map(textOf).join(' ');
  [...document.querySelectorAll('[data-tab-id=teach]')].at(-1).click();
  const fill = (tries) => {  // the tab is made when it is first opened
    const field = document.querySelector('#said textarea');
    if (!field) return tries && setTimeout(fill, 50, tries - 1);
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(field, text);
    field.dispatchEvent(new Event('input', { bubbles: true }));
  };
  fill(60);
}

// Keep: the newest transcripts in this browser, as many as it has room for

function records() {
  try { return JSON.parse(localStorage.getItem(STORE)) || []; } catch { return []; }
}

function store(all) {
  for (let left = all.slice(0, MOST); ; left = left.slice(0, -1)) {
    try { return localStorage.setItem(STORE, JSON.stringify(left)); } catch { if (!left.length) return; }
  }
}

function keep(paper) {
  const copied = paper.cloneNode(true), id = paper.dataset.source;
  copied.classList.remove('editing');
  copied.querySelector('[data-edit]').ariaPressed = 'false';
  copied.querySelector('[data-teach]')?.remove();  // whose clip is gone by then
  for (const one of copied.querySelectorAll('.now, .said, .unsure')) one.classList.remove('now', 'said', 'unsure');
  for (const one of copied.querySelectorAll('[contenteditable]')) one.removeAttribute('contenteditable');
  const all = records(), known = all.find((one) => one.id === id);
  const record = { id, at: known?.at || Date.now(), title: titleOf(paper), html: copied.outerHTML };
  store(known ? all.map((one) => (one === known ? record : one)) : [record, ...all]);
}

function forget(id) {
  store(id ? records().filter((one) => one.id !== id) : []);
  show();
}

function fold(record, open) {
  const details = document.createElement('details'), summary = document.createElement('summary');
  const when = document.createElement('time');
  when.textContent = new Date(record.at).toLocaleString(document.documentElement.lang,
    { dateStyle: 'medium', timeStyle: 'short' });
  summary.append(record.title, ' ', when);
  details.append(summary);
  details.dataset.id = record.id;
  details.addEventListener('toggle', () => {
    if (!details.open || details.querySelector('.paper')) return;
    details.insertAdjacentHTML('beforeend', record.html);
    details.querySelector('.foot').append(section.querySelector('template').content.cloneNode(true));
    details.querySelector('.foot [data-forget]').dataset.forget = record.id;
    subtitle(details.querySelector('.paper'));
  });
  details.open = open;
  return details;
}

function show(open = false) {
  const above = new Set([...desk.querySelectorAll('#result .paper')].map((paper) => paper.dataset.source));
  const rows = records().filter((record) => !above.has(record.id)), list = section.querySelector(':scope > div');
  const shown = [...list.children];
  if (rows.map((row) => row.id).join() === shown.map((one) => one.dataset.id).join()) return;
  const old = new Map(shown.map((one) => [one.dataset.id, one]));
  list.replaceChildren(...rows.map((row, place) => old.get(row.id) || fold(row, open && !place)));
  section.hidden = !rows.length;
}

// Events

let later;
desk.addEventListener('input', ({ target }) => {
  const line = target.closest('li'), paper = target.closest('.paper');
  if (target.matches('[data-search]')) return search(paper, 0);
  if (!line) return;
  line.dataset.edited = '';
  edits.set(place(line), textOf(line));
  subtitle(paper);
  clearTimeout(later);
  later = setTimeout(keep, 500, paper);
});

new MutationObserver(() => {
  for (const line of edits.size ? desk.querySelectorAll('#result li:not([data-edited])') : []) {
    const text = edits.get(place(line));
    if (text === undefined) continue;
    line.dataset.edited = '';
    line.querySelector('p').textContent = text;
  }
  for (const paper of desk.querySelectorAll('#result .paper:not([data-kept])')) {
    if (paper.querySelector('video')) subtitle(paper);
    if (!paper.querySelector('.foot')) continue;
    paper.dataset.kept = '';
    keep(paper);
  }
  show();
}).observe(desk.querySelector('#result'), { childList: true, subtree: true });

desk.addEventListener('click', (event) => {
  const { target } = event, paper = target.closest('.paper'), word = button(target, 'at');
  if (button(target, 'forget')) return forget(button(target, 'forget').dataset.forget);
  if (button(target, 'form')) {
    const papers = paper ? [paper] : [...desk.querySelectorAll('#result .paper:has(.foot)')];
    download(papers, button(target, 'form').dataset.form);
  }
  if (!paper) return;
  if (button(target, 'edit')) edit(paper, !paper.classList.contains('editing'));
  if (button(target, 'flow')) flow(paper, !paper.classList.contains('flowing'));
  if (button(target, 'unsure')) nextUnsure(paper);
  if (button(target, 'teach')) teach(paper);
  if (button(target, 'copy')) copy(paper, button(target, 'copy'));
  if (word && getSelection().isCollapsed && !(paper.classList.contains('editing') && target.closest('p'))) {
    shade(paper, word);
    play(soundOf(paper), word.dataset.at);
  }
});

for (const moment of ['play', 'seeked', 'ended']) {
  desk.addEventListener(moment, ({ target }) => {
    if (moment === 'play') {
      for (const sound of document.querySelectorAll('audio, video')) if (sound !== target) sound.pause();
      playing = target;
    }
    watch();
  }, true);
}
desk.addEventListener('error', ({ target }) => {  // deleted from the server, or nothing that the browser can play
  if (!target.matches('.sound')) return;
  target.hidden = true;
  target.closest('.paper').querySelector('.gone').hidden = !target.closest('.kept');
}, true);

document.addEventListener('keydown', (event) => {
  if (event.target.matches('[data-search]') && event.key === 'Enter') {
    return search(event.target.closest('.paper'), event.shiftKey ? -1 : 1);
  }
  const sound = playing?.isConnected ? playing : desk.querySelector('.sound');
  if (!event.altKey || event.ctrlKey || event.metaKey || !sound) return;
  const act = {
    KeyK: () => (sound.paused ? sound.play() : sound.pause()),
    KeyJ: () => { sound.currentTime = Math.max(0, sound.currentTime - 3); },
    Comma: () => { sound.playbackRate = Math.max(0.5, sound.playbackRate - 0.1); },
    Period: () => { sound.playbackRate = Math.min(2, sound.playbackRate + 0.1); },
  }[event.code];
  if (!act) return;
  event.preventDefault();
  act();
});

show(true);
"""
)
