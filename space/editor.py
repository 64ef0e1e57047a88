"""The script of the transcripts: play from a word, search, correct, download, and save for the next visit."""

from __future__ import annotations

from components import SAVE_SCRIPT

# Runs in the element of `render_saved_transcripts`, and serves the transcripts above it as well.
SCRIPT = (
    SAVE_SCRIPT
    + """
const panel = element.closest('[role=tabpanel]'), section = element.querySelector('.kept');
const STORAGE_KEY = 'transcripts', MAX_SAVED = 20;
const edits = new Map();  // corrected texts by source and time, to restore them when the result is updated
let playing;  // the player that was used last, which the keys control

const playerOf = (paper) => paper.querySelector('.sound');
const linesOf = (paper) => [...paper.querySelectorAll('li')];
const titleOf = (paper) => paper.querySelector('h2').textContent;
const textOf = (line) => line.querySelector('p').textContent.trim();
const lineKey = (line) => `${line.closest('.paper').dataset.source}#${line.dataset.from}`;
const closestButton = (target, name) => target.closest(`[data-${name}]`);

// Play

function play(player, seconds) {
  player.currentTime = Number(seconds);
  player.play().catch(() => {});  // the file may be deleted
}

let frame;
function scheduleHighlight() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(highlightCurrent);
}

function highlightCurrent() {
  if (!playing?.isConnected) return;
  const now = playing.currentTime, hasEnded = playing.ended;
  for (const line of linesOf(playing.closest('.paper'))) {
    const isCurrent = !hasEnded && now >= line.dataset.from && now < line.dataset.to;
    if (!isCurrent && !line.classList.contains('now')) continue;
    line.classList.toggle('now', isCurrent);
    const words = [...line.querySelectorAll('p [data-at]')];
    const spoken = words.filter((word) => isCurrent && now >= word.dataset.at - 0.01);
    line.querySelector('.spoken')?.classList.remove('spoken');
    spoken.at(-1)?.classList.add('spoken');
  }
  if (!playing.paused) scheduleHighlight();
}

function updateSubtitles(paper) {
  const video = paper.querySelector('video');
  if (!video) return;
  const track = video.textTracks[0] || video.addTextTrack('subtitles', titleOf(paper));
  track.mode = 'showing';
  for (const cue of [...track.cues || []]) track.removeCue(cue);
  for (const line of linesOf(paper)) track.addCue(new VTTCue(line.dataset.from, line.dataset.to, textOf(line)));
}

// Read

function showConfidence(paper, word) {
  const line = paper.querySelector('.sure');
  line.hidden = !word?.className.match(/u[123]/);
  if (line.hidden) return;
  for (const quote of line.querySelectorAll('q')) quote.textContent = word.textContent;
  for (const percent of line.querySelectorAll('b')) percent.textContent = Math.round(100 * word.dataset.sure);
}

function goToNextUnsure(paper) {
  const words = [...paper.querySelectorAll('.u1, .u2, .u3')];
  const word = words[(words.findIndex((other) => other.matches('.unsure')) + 1) % words.length];
  for (const other of words) other.classList.toggle('unsure', other === word);
  word.scrollIntoView({ block: 'nearest' });
  playerOf(paper).currentTime = Number(word.dataset.at);
  showConfidence(paper, word);
}

function findRanges(line, query) {
  const nodes = [], walker = document.createTreeWalker(line.querySelector('p'), NodeFilter.SHOW_TEXT);
  let text = '';
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    nodes.push([text.length, node]);
    text += node.data;
  }
  const ranges = [], lower = text.toLowerCase();
  const setEdge = (range, side, offset) => {
    const [start, node] = nodes.findLast(([start]) => start <= offset - (side === 'End'));
    range[`set${side}`](node, offset - start);
  };
  for (let at = lower.indexOf(query); at >= 0; at = lower.indexOf(query, at + query.length)) {
    const range = document.createRange();
    setEdge(range, 'Start', at);
    setEdge(range, 'End', at + query.length);
    ranges.push(range);
  }
  return ranges;
}

function search(paper, step) {
  const field = paper.querySelector('[data-search]'), query = field.value.trim().toLowerCase();
  const found = query ? linesOf(paper).flatMap((line) => findRanges(line, query)) : [];
  const index = found.length ? ((step ? Number(field.dataset.at) + step : 0) + found.length) % found.length : 0;
  field.dataset.at = index;
  paper.querySelector('output').textContent = query ? `${found.length && index + 1}/${found.length}` : '';
  if (window.Highlight) {
    CSS.highlights.set('found', new Highlight(...found));
    CSS.highlights.set('found-now', new Highlight(...found.slice(index, index + 1)));
  }
  found[index]?.startContainer.parentElement.scrollIntoView({ block: 'nearest' });
}

function setFlowing(paper, on) {
  paper.classList.toggle('flowing', on);
  paper.querySelector('[data-flow]').setAttribute('aria-pressed', on);
}

// Correct, copy and download

function setEditing(paper, on) {
  paper.classList.toggle('editing', on);
  paper.querySelector('[data-edit]').setAttribute('aria-pressed', on);
  for (const line of paper.querySelectorAll('li p')) {
    line.contentEditable = on ? 'plaintext-only' : 'inherit';
    line.spellcheck = on;
  }
  if (on) paper.querySelector('li p').focus();
}

function wordsOf(line) {
  if ('edited' in line.dataset) return [];
  return [...line.querySelectorAll('p [data-at]')].map((word) => ({ start: +word.dataset.at, end: +word.dataset.to,
    text: word.textContent, confidence: +word.dataset.sure }));
}

function exportText(paper) {
  const segments = linesOf(paper).map((line) => ({ start: +line.dataset.from, end: +line.dataset.to,
    text: textOf(line), words: wordsOf(line) }));
  return { title: titleOf(paper), seconds: +paper.querySelector('.foot').dataset.seconds, segments };
}

async function download(papers, form) {
  const request = { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ form, texts: papers.map(exportText) }) };
  const response = await fetch(new URL('export', location.href), request);
  if (!response.ok) throw new Error(`${response.status}`);
  const stem = titleOf(papers[0]).replace(/\\.[^.]*$/, '') || 'text';
  toFile(await response.blob(), papers.length > 1 ? 'transcripts.zip' : `${stem}.${form}`);
}

function copy(paper, button) {
  let text = '';
  for (const line of linesOf(paper)) {
    const paragraph = 'new' in line.dataset ? '\\n\\n' : ' ';
    text += (text && (paper.classList.contains('flowing') ? paragraph : '\\n')) + textOf(line);
  }
  toClipboard(text, button);
}

function contribute(paper) {
  const text = linesOf(paper).map(textOf).join(' ');
  [...document.querySelectorAll('[data-tab-id=teach]')].at(-1).click();
  const fill = (tries) => {  // Gradio builds the tab when it is first opened
    const field = document.querySelector('#correction textarea');
    if (!field) return tries && setTimeout(fill, 50, tries - 1);
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(field, text);
    field.dispatchEvent(new Event('input', { bubbles: true }));
  };
  fill(60);
}

// Save the newest transcripts in this browser, as many as it has room for

function loadRecords() {
  try { return JSON.parse(localStorage.getItem(STORAGE_KEY)) || []; } catch { return []; }
}

function saveRecords(records) {
  for (let left = records.slice(0, MAX_SAVED); ; left = left.slice(0, -1)) {
    try { return localStorage.setItem(STORAGE_KEY, JSON.stringify(left)); } catch { if (!left.length) return; }
  }
}

function save(paper) {
  const copied = paper.cloneNode(true), id = paper.dataset.source;
  copied.classList.remove('editing');
  copied.querySelector('[data-edit]').ariaPressed = 'false';
  copied.querySelector('[data-teach]')?.remove();  // its recording is deleted by then
  for (const node of copied.querySelectorAll('.now, .spoken, .unsure')) {
    node.classList.remove('now', 'spoken', 'unsure');
  }
  for (const node of copied.querySelectorAll('[contenteditable]')) node.removeAttribute('contenteditable');
  const records = loadRecords(), known = records.find((other) => other.id === id);
  const record = { id, at: known?.at || Date.now(), title: titleOf(paper), html: copied.outerHTML };
  saveRecords(known ? records.map((other) => (other === known ? record : other)) : [record, ...records]);
}

function forget(id) {
  saveRecords(id ? loadRecords().filter((record) => record.id !== id) : []);
  showSaved();
}

function buildEntry(record, open) {
  const details = document.createElement('details'), summary = document.createElement('summary');
  const time = document.createElement('time');
  time.textContent = new Date(record.at).toLocaleString(document.documentElement.lang,
    { dateStyle: 'medium', timeStyle: 'short' });
  summary.append(record.title, ' ', time);
  details.append(summary);
  details.dataset.id = record.id;
  details.addEventListener('toggle', () => {
    if (!details.open || details.querySelector('.paper')) return;
    details.insertAdjacentHTML('beforeend', record.html);
    details.querySelector('.foot').append(section.querySelector('template').content.cloneNode(true));
    details.querySelector('.foot [data-forget]').dataset.forget = record.id;
    updateSubtitles(details.querySelector('.paper'));
  });
  details.open = open;
  return details;
}

function showSaved(open = false) {
  const shown = new Set([...panel.querySelectorAll('#result .paper')].map((paper) => paper.dataset.source));
  const records = loadRecords().filter((record) => !shown.has(record.id)), list = section.querySelector(':scope > div');
  const entries = [...list.children];
  if (records.map((record) => record.id).join() === entries.map((entry) => entry.dataset.id).join()) return;
  const old = new Map(entries.map((entry) => [entry.dataset.id, entry]));
  list.replaceChildren(...records.map((record, index) => old.get(record.id) || buildEntry(record, open && !index)));
  section.hidden = !records.length;
}

// Events

let saveTimer;
panel.addEventListener('input', ({ target }) => {
  const line = target.closest('li'), paper = target.closest('.paper');
  if (target.matches('[data-search]')) return search(paper, 0);
  if (!line) return;
  line.dataset.edited = '';
  edits.set(lineKey(line), textOf(line));
  updateSubtitles(paper);
  clearTimeout(saveTimer);
  saveTimer = setTimeout(save, 500, paper);
});

new MutationObserver(() => {
  for (const line of edits.size ? panel.querySelectorAll('#result li:not([data-edited])') : []) {
    const text = edits.get(lineKey(line));
    if (text === undefined) continue;
    line.dataset.edited = '';
    line.querySelector('p').textContent = text;
  }
  for (const paper of panel.querySelectorAll('#result .paper:not([data-kept])')) {
    if (paper.querySelector('video')) updateSubtitles(paper);
    if (!paper.querySelector('.foot')) continue;
    paper.dataset.kept = '';
    save(paper);
  }
  showSaved();
}).observe(panel.querySelector('#result'), { childList: true, subtree: true });

panel.addEventListener('click', (event) => {
  const { target } = event, paper = target.closest('.paper'), word = closestButton(target, 'at');
  if (closestButton(target, 'forget')) return forget(closestButton(target, 'forget').dataset.forget);
  if (closestButton(target, 'form')) {
    const papers = paper ? [paper] : [...panel.querySelectorAll('#result .paper:has(.foot)')];
    download(papers, closestButton(target, 'form').dataset.form);
  }
  if (!paper) return;
  if (closestButton(target, 'edit')) setEditing(paper, !paper.classList.contains('editing'));
  if (closestButton(target, 'flow')) setFlowing(paper, !paper.classList.contains('flowing'));
  if (closestButton(target, 'unsure')) goToNextUnsure(paper);
  if (closestButton(target, 'teach')) contribute(paper);
  if (closestButton(target, 'copy')) copy(paper, closestButton(target, 'copy'));
  if (word && getSelection().isCollapsed && !(paper.classList.contains('editing') && target.closest('p'))) {
    showConfidence(paper, word);
    play(playerOf(paper), word.dataset.at);
  }
});

for (const type of ['play', 'seeked', 'ended']) {
  panel.addEventListener(type, ({ target }) => {
    if (type === 'play') {
      for (const player of document.querySelectorAll('audio, video')) if (player !== target) player.pause();
      playing = target;
    }
    scheduleHighlight();
  }, true);
}
panel.addEventListener('error', ({ target }) => {  // deleted from the server, or a format that the browser cannot play
  if (!target.matches('.sound')) return;
  target.hidden = true;
  target.closest('.paper').querySelector('.gone').hidden = !target.closest('.kept');
}, true);

document.addEventListener('keydown', (event) => {
  if (event.target.matches('[data-search]') && event.key === 'Enter') {
    return search(event.target.closest('.paper'), event.shiftKey ? -1 : 1);
  }
  const player = playing?.isConnected ? playing : panel.querySelector('.sound');
  if (!event.altKey || event.ctrlKey || event.metaKey || !player) return;
  const action = {
    KeyK: () => (player.paused ? player.play() : player.pause()),
    KeyJ: () => { player.currentTime = Math.max(0, player.currentTime - 3); },
    Comma: () => { player.playbackRate = Math.max(0.5, player.playbackRate - 0.1); },
    Period: () => { player.playbackRate = Math.min(2, player.playbackRate + 0.1); },
  }[event.code];
  if (!action) return;
  event.preventDefault();
  action();
});

showSaved(true);
"""
)
