"""The Live tab in the browser: it records, keeps each piece of sound until the server has it, and shows the words."""

from __future__ import annotations

import html
import json

import streaming
from components import TAKE
from translations import both

STATES = ("idle", "asking", "listening", "reconnecting", "finishing", "stopped")
TROUBLES = ("denied", "missing", "insecure", "unplugged", "busy", "full", "wrong")


def recorder(joint: str) -> str:
    """The tab's HTML; `SCRIPT` brings it to life. `joint` stands between words."""
    buttons = "".join(
        f'<button type="button" data-do="{do}" class="{kind}">{both(f"live_{do}")}</button>'
        for do, kind in (("start", "record"), ("stop", "halt"), ("resume", "record"), ("anew", ""))
    )
    minutes = f"{streaming.LONGEST / 60:g}"
    states = "".join(
        f'<span data-when="{state}"{" hidden" * (state != STATES[0])}>{both(f"live_{state}", minutes=minutes)}</span>'
        for state in (*STATES, *TROUBLES)
    )
    takes = "".join(
        f'<button type="button" data-do="{do}">{both(word)}</button>'
        for do, word in (("copy", "copy"), ("take", "take"))
    )
    return f"""<div class="recorder" data-state="idle" data-joint={json.dumps(html.escape(joint))}>
<div class="desk">{buttons}<span class="meter" aria-hidden="true"><i></i></span><time>0:00</time></div>
<p class="state" role="status">{states}<span class="late">{both("live_late")}</span></p>
<div class="paper"><p class="words"><span aria-live="polite"></span> <i></i></p><div class="foot">{takes}</div></div>
</div>"""


# Pieces of a tenth of a second; a number and 16-bit PCM each. The server says how many it has taken, and those are
# forgotten; the others are sent again once a lost connection is back.
SCRIPT = (
    TAKE
    + """
const root = element.querySelector('.recorder'), find = (what) => root.querySelector(what);
const firm = find('.words span'), tail = find('.words i'), level = find('.meter i'), clock = find('time');
const joint = root.dataset.joint, SILENT = 8000;
const WORKLET = `registerProcessor('pieces', class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.begin();
    this.port.onmessage = () => { if (this.at) this.give(); this.port.postMessage(null); };
  }
  begin() { this.piece = new Int16Array(Math.round(sampleRate / 10)); this.at = 0; this.peak = 0; }
  give() {
    const piece = this.piece.slice(0, this.at);
    this.port.postMessage({ piece, peak: this.peak }, [piece.buffer]);
    this.begin();
  }
  process([[sound]]) {
    for (const value of sound || []) {
      const one = Math.max(-1, Math.min(1, value));
      this.piece[this.at++] = one * 32767;
      this.peak = Math.max(this.peak, Math.abs(one));
      if (this.at === this.piece.length) this.give();
    }
    return true;
  }
});`;
let audio, stream, node, socket, speaker, ready, pulse, stopAsked;
let pieces = [], first = 0, sent = 0, samples = 0, seconds = 0, rate = 0, words = [], before = [];
let retry = 500, heardOf = 0;

const state = (name) => {
  root.dataset.state = name;
  for (const line of root.querySelectorAll('[data-when]')) line.hidden = line.dataset.when !== name;
};
const recording = () => ['listening', 'reconnecting'].includes(root.dataset.state);
const text = () => [...before, ...words].join(joint);

function flush() {
  while (ready && sent < first + pieces.length && socket.bufferedAmount < 1e6) {
    const piece = pieces[sent - first], frame = new Uint8Array(4 + piece.byteLength);
    new DataView(frame.buffer).setUint32(0, sent, true);
    frame.set(new Uint8Array(piece.buffer), 4);
    socket.send(frame);
    sent += 1;
  }
  if (ready && stopAsked && sent === first + pieces.length) {
    stopAsked = false;
    socket.send(JSON.stringify({ stop: true }));
  }
}

function connect() {
  const url = new URL('live', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = url.hash = '';
  const mine = socket = new WebSocket(url);
  ready = false;
  heardOf = Date.now();
  mine.onopen = () => mine.send(JSON.stringify({ rate, speaker }));
  mine.onmessage = ({ data }) => { if (mine === socket) { heardOf = Date.now(); answer(JSON.parse(data)); } };
  mine.onclose = () => { if (mine === socket) lost(); };
}

function lost() {
  ready = false;
  if (root.dataset.state === 'listening') state('reconnecting');
  if (root.dataset.state === 'finishing') stopAsked = true;
  if (!recording() && root.dataset.state !== 'finishing') return;
  setTimeout(connect, retry);
  retry = Math.min(5000, 2 * retry);
}

function answer(told) {
  if (told.error) {
    hangUp();
    halt();
    return state(told.error);
  }
  if (told.speaker) {
    if (speaker && speaker !== told.speaker) another();  // away for too long
    speaker = told.speaker;
    [ready, retry] = [true, 500];
    if (root.dataset.state === 'reconnecting') state('listening');
  }
  if (told.taken !== undefined) {
    pieces.splice(0, Math.max(0, told.taken - first));
    first = Math.max(first, told.taken);
    sent = told.speaker ? first : Math.max(sent, first);
  }
  if (told.firm) {
    words.splice(told.from, Infinity, ...told.firm);
    firm.textContent = text();
    tail.textContent = told.tail.join(joint);
    root.classList.toggle('lagging', told.behind > 8);
  }
  if (told.stopped) {
    root.dataset.taken = told.samples;
    state('stopped');
  }
  flush();
}

// What was said stays, and somebody new goes on for the server.
function another() {
  before = [...before, ...words];
  [words, first, sent, speaker] = [[], 0, 0, undefined];
}

function hangUp() {
  const old = socket;
  socket = undefined;
  ready = false;
  old?.close();
}

function halt() {
  clearInterval(pulse);
  stream?.getTracks().forEach((track) => track.stop());
  audio?.close();
  [audio, stream, node] = [];
  level.style.transform = 'scaleX(0)';
}

async function start() {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) return state('insecure');
  state('asking');
  try {
    const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    audio = new AudioContext();
    const code = URL.createObjectURL(new Blob([WORKLET], { type: 'text/javascript' }));
    await audio.audioWorklet.addModule(code);
    URL.revokeObjectURL(code);
  } catch (error) {
    halt();
    return state({ NotAllowedError: 'denied', NotFoundError: 'missing' }[error.name] || 'unplugged');
  }
  if (rate && rate !== audio.sampleRate) {  // another microphone
    hangUp();
    another();
  }
  rate = audio.sampleRate;
  node = new AudioWorkletNode(audio, 'pieces', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
  node.port.onmessage = ({ data }) => {
    if (!data) return finish();
    pieces.push(data.piece);
    samples += data.piece.length;
    root.dataset.samples = samples;
    level.style.transform = `scaleX(${Math.min(1, Math.sqrt(data.peak)).toFixed(3)})`;
    seconds += data.piece.length / rate;
    clock.textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
    flush();
  };
  stream.getAudioTracks()[0].onended = () => stop();
  audio.createMediaStreamSource(stream).connect(node);
  state('listening');
  if (socket?.readyState !== WebSocket.OPEN) connect();
  pulse = setInterval(() => { if (ready && Date.now() - heardOf > SILENT) { hangUp(); lost(); } }, 1000);
}

function stop() {
  if (recording()) node.port.postMessage(null);  // it gives what it still holds, and then null
}

function finish() {
  halt();
  state('finishing');
  stopAsked = true;
  flush();
}

function anew() {
  hangUp();
  [pieces, first, sent, samples, seconds, rate, words, before, speaker] = [[], 0, 0, 0, 0, 0, [], [], undefined];
  firm.textContent = tail.textContent = '';
  clock.textContent = '0:00';
  state('idle');
}

element.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-do]'), act = button?.dataset.do;
  if (act === 'start') { anew(); start(); }
  if (act === 'resume') start();
  if (act === 'stop') stop();
  if (act === 'anew') anew();
  if (act === 'copy') toClipboard(text(), button);
  if (act === 'take') toFile(new Blob([`${text()}\\n`], { type: 'text/plain' }), 'live.txt');
  if (['start', 'resume'].includes(act)) setTimeout(() => find('[data-do=stop]').focus(), 50);
  if (act === 'stop') setTimeout(() => find('[data-do=resume]').focus(), 50);
});
window.addEventListener('beforeunload', (event) => { if (recording()) event.preventDefault(); });
"""
)
