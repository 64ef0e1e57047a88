"""The Live tab: it records in the browser, keeps each chunk until the server has it, and shows the words."""

from __future__ import annotations

import html
import json

import live_transcription
from components import SAVE_SCRIPT
from translations import bilingual

STATES = ("idle", "asking", "listening", "reconnecting", "finishing", "stopped")
ERRORS = ("denied", "missing", "insecure", "unplugged", "busy", "full", "wrong")


def render_recorder(joint: str) -> str:
    """The tab's HTML, for `SCRIPT`. `joint` is the text between words."""
    buttons = "".join(
        f'<button type="button" data-do="{action}" class="{name}">{bilingual(f"live_{action}")}</button>'
        for action, name in (("start", "record"), ("stop", "halt"), ("resume", "record"), ("anew", ""))
    )
    minutes = f"{live_transcription.MAX_SECONDS / 60:g}"
    states = "".join(
        f'<span data-when="{state}"{" hidden" * (state != STATES[0])}>'
        f"{bilingual(f'live_{state}', minutes=minutes)}</span>"
        for state in (*STATES, *ERRORS)
    )
    save_buttons = "".join(
        f'<button type="button" data-do="{action}">{bilingual(action)}</button>' for action in ("copy", "take")
    )
    return f"""<div class="recorder" data-state="idle" data-joint={json.dumps(html.escape(joint))}>
<div class="desk">{buttons}<span class="meter" aria-hidden="true"><i></i></span><time>0:00</time></div>
<p class="state" role="status">{states}<span class="late">{bilingual("live_late")}</span></p>
<div class="paper"><p class="words"><span aria-live="polite"></span> <i></i></p>
<div class="foot">{save_buttons}</div></div>
</div>"""


# A chunk is a tenth of a second: its number and 16-bit PCM. Chunks that the server has acknowledged are dropped; the
# others are sent again after a lost connection. The messages are described in live_endpoint.py.
SCRIPT = (
    SAVE_SCRIPT
    + """
const root = element.querySelector('.recorder'), find = (what) => root.querySelector(what);
const finalWords = find('.words span'), tentativeWords = find('.words i');
const level = find('.meter i'), clock = find('time');
const joint = root.dataset.joint, MAX_SILENCE = 8000;  // ms without a message
const WORKLET = `registerProcessor('chunks', class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.reset();
    this.port.onmessage = () => { if (this.length) this.send(); this.port.postMessage(null); };
  }
  reset() { this.chunk = new Int16Array(Math.round(sampleRate / 10)); this.length = 0; this.peak = 0; }
  send() {
    const chunk = this.chunk.slice(0, this.length);
    this.port.postMessage({ chunk, peak: this.peak }, [chunk.buffer]);
    this.reset();
  }
  process([[sound]]) {
    for (const value of sound || []) {
      const sample = Math.max(-1, Math.min(1, value));
      this.chunk[this.length++] = sample * 32767;
      this.peak = Math.max(this.peak, Math.abs(sample));
      if (this.length === this.chunk.length) this.send();
    }
    return true;
  }
});`;
let audio, stream, node, socket, speaker, ready, watchdog, stopRequested;
let chunks = [], first = 0, sent = 0, samples = 0, seconds = 0, rate = 0, words = [], earlierWords = [];
let retryDelay = 500, lastMessageAt = 0;

const setState = (name) => {
  root.dataset.state = name;
  for (const line of root.querySelectorAll('[data-when]')) line.hidden = line.dataset.when !== name;
};
const recording = () => ['listening', 'reconnecting'].includes(root.dataset.state);
const text = () => [...earlierWords, ...words].join(joint);

function sendChunks() {
  while (ready && sent < first + chunks.length && socket.bufferedAmount < 1e6) {
    const chunk = chunks[sent - first], frame = new Uint8Array(4 + chunk.byteLength);
    new DataView(frame.buffer).setUint32(0, sent, true);
    frame.set(new Uint8Array(chunk.buffer), 4);
    socket.send(frame);
    sent += 1;
  }
  if (ready && stopRequested && sent === first + chunks.length) {
    stopRequested = false;
    socket.send(JSON.stringify({ stop: true }));
  }
}

function connect() {
  const url = new URL('live', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.search = url.hash = '';
  const opened = socket = new WebSocket(url);
  ready = false;
  lastMessageAt = Date.now();
  opened.onopen = () => opened.send(JSON.stringify({ rate, speaker }));
  opened.onmessage = ({ data }) => {
    if (opened !== socket) return;
    lastMessageAt = Date.now();
    handleMessage(JSON.parse(data));
  };
  opened.onclose = () => { if (opened === socket) handleLostConnection(); };
}

function handleLostConnection() {
  ready = false;
  if (root.dataset.state === 'listening') setState('reconnecting');
  if (root.dataset.state === 'finishing') stopRequested = true;
  if (!recording() && root.dataset.state !== 'finishing') return;
  setTimeout(connect, retryDelay);
  retryDelay = Math.min(5000, 2 * retryDelay);
}

function handleMessage(message) {
  if (message.error) {
    closeSocket();
    stopRecording();
    return setState(message.error);
  }
  if (message.speaker) {
    if (speaker && speaker !== message.speaker) startNewSpeaker();  // the server has dropped the old speaker
    speaker = message.speaker;
    [ready, retryDelay] = [true, 500];
    if (root.dataset.state === 'reconnecting') setState('listening');
  }
  if (message.taken !== undefined) {
    chunks.splice(0, Math.max(0, message.taken - first));
    first = Math.max(first, message.taken);
    sent = message.speaker ? first : Math.max(sent, first);
  }
  if (message.firm) {
    words.splice(message.from, Infinity, ...message.firm);
    finalWords.textContent = text();
    tentativeWords.textContent = message.tail.join(joint);
    root.classList.toggle('lagging', message.behind > 8);
  }
  if (message.stopped) {
    root.dataset.taken = message.samples;
    setState('stopped');
  }
  sendChunks();
}

// Keep the text so far, and continue as a new speaker.
function startNewSpeaker() {
  earlierWords = [...earlierWords, ...words];
  [words, first, sent, speaker] = [[], 0, 0, undefined];
}

function closeSocket() {
  const old = socket;
  socket = undefined;
  ready = false;
  old?.close();
}

function stopRecording() {
  clearInterval(watchdog);
  stream?.getTracks().forEach((track) => track.stop());
  audio?.close();
  [audio, stream, node] = [];
  level.style.transform = 'scaleX(0)';
}

async function start() {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) return setState('insecure');
  setState('asking');
  try {
    const constraints = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    stream = await navigator.mediaDevices.getUserMedia({ audio: constraints });
    audio = new AudioContext();
    const code = URL.createObjectURL(new Blob([WORKLET], { type: 'text/javascript' }));
    await audio.audioWorklet.addModule(code);
    URL.revokeObjectURL(code);
  } catch (error) {
    stopRecording();
    return setState({ NotAllowedError: 'denied', NotFoundError: 'missing' }[error.name] || 'unplugged');
  }
  if (rate && rate !== audio.sampleRate) {  // another microphone
    closeSocket();
    startNewSpeaker();
  }
  rate = audio.sampleRate;
  node = new AudioWorkletNode(audio, 'chunks', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
  node.port.onmessage = ({ data }) => {
    if (!data) return finish();
    chunks.push(data.chunk);
    samples += data.chunk.length;
    root.dataset.samples = samples;
    level.style.transform = `scaleX(${Math.min(1, Math.sqrt(data.peak)).toFixed(3)})`;
    seconds += data.chunk.length / rate;
    clock.textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;
    sendChunks();
  };
  stream.getAudioTracks()[0].onended = () => stop();
  audio.createMediaStreamSource(stream).connect(node);
  setState('listening');
  if (socket?.readyState !== WebSocket.OPEN) connect();
  watchdog = setInterval(() => {
    if (!ready || Date.now() - lastMessageAt <= MAX_SILENCE) return;
    closeSocket();
    handleLostConnection();
  }, 1000);
}

function stop() {
  if (recording()) node.port.postMessage(null);  // it sends its last chunk, and then null
}

function finish() {
  stopRecording();
  setState('finishing');
  stopRequested = true;
  sendChunks();
}

function reset() {
  closeSocket();
  [chunks, first, sent, samples, seconds, rate, words, earlierWords, speaker] = [[], 0, 0, 0, 0, 0, [], [], undefined];
  finalWords.textContent = tentativeWords.textContent = '';
  clock.textContent = '0:00';
  setState('idle');
}

element.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-do]'), action = button?.dataset.do;
  if (action === 'start') { reset(); start(); }
  if (action === 'resume') start();
  if (action === 'stop') stop();
  if (action === 'anew') reset();
  if (action === 'copy') toClipboard(text(), button);
  if (action === 'take') toFile(new Blob([`${text()}\\n`], { type: 'text/plain' }), 'live.txt');
  if (['start', 'resume'].includes(action)) setTimeout(() => find('[data-do=stop]').focus(), 50);
  if (action === 'stop') setTimeout(() => find('[data-do=resume]').focus(), 50);
});
window.addEventListener('beforeunload', (event) => { if (recording()) event.preventDefault(); });
"""
)
