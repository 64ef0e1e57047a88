"""How the page looks, and the little that runs in the browser."""

from __future__ import annotations

import gradio as gr

CSS = """
:root { --chip: #e8ecf2; --quiet: #556275; --line: #dde2ea; --warn: #b42318; --good: #1c6b43; --blue: #2259c9;
  --mark: #ffe9a8; }
.dark { --chip: #222b39; --quiet: #9fadc0; --line: #2a3342; --warn: #ff9b8e; --good: #7dd3a5; --blue: #8ab4ff;
  --mark: #5b4a12; }
.gradio-container .main.app { max-width: 50rem; margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 2rem) 1rem; }
.gradio-container .column { gap: 1rem; }
.gradio-container :focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
.gradio-container .html-container { padding: 0; }
.masthead { display: flex; gap: 1.2rem; align-items: center; margin-bottom: .8rem; }
#masthead svg { width: 3.4rem; height: 2.1rem; flex: none; stroke: var(--blue); }
#masthead h1 { font-size: clamp(1.5rem, 6vw, 2.1rem); line-height: 1.15; letter-spacing: -.03em; margin: 0;
  font-weight: 700;
  text-wrap: balance; }
#masthead p { color: var(--quiet); margin: .2rem 0 0; font-size: 1.02rem; }

.tab-container button[role=tab] { font-size: 1rem; padding: .7rem .1rem; margin-right: 1.5rem; color: var(--quiet);
  white-space: nowrap; }
.tab-container button[role=tab].selected { color: var(--body-text-color); font-weight: 600; }
.tab-container button[role=tab].selected::after { background: var(--blue); height: 3px; border-radius: 3px; }
.gradio-container .tabitem { padding: 1.1rem 0 0; border: 0; }
.gradio-container .lead { color: var(--quiet); max-width: 62ch; line-height: 1.55; margin: 0; text-wrap: pretty; }
.gradio-container .small { font-size: .87rem; color: var(--quiet); line-height: 1.5; margin: 0; }

.sound .component-wrapper { padding: 1.1rem 1.1rem .6rem; }
.sound .controls { padding: .2rem 0 .5rem; gap: .6rem; }
.sound .controls .wrapper button { min-height: 2.9rem; font-size: 1rem; border-radius: 2rem; padding: 0 1.3rem;
  margin: 0; }
.sound .record-button { background: #2563eb; border-color: transparent; color: white; font-weight: 600; }
.sound .record-button:hover { background: #1d4fd0; }
.sound .record-button::before { background: white; }
.sound .controls .wrapper button::before { margin: 0 .6rem 0 0; flex: none; }
.sound .controls .stop-button, .sound .controls .stop-button-paused { width: auto; min-width: 0; height: auto;
  min-height: 2.9rem;
  padding: 0 1.3rem; border-radius: 2rem; background: none; white-space: nowrap; font-size: 1rem; }
.sound:has(.record-button) .icon-button-wrapper { display: none; }
.drop .icon-button-wrapper { border: 0; box-shadow: none; background: none; top: .4rem; right: .5rem; }
.gradio-container a.api, .gradio-container footer button { color: var(--quiet); }
.gradio-container .block > label[data-testid=block-label] { box-shadow: none; border: 0; background: none;
  padding: .7rem 1.1rem 0; font-size: .87rem; }
.gradio-container .block > label[data-testid=block-label] span { display: none; }
.sound .component-wrapper { padding-top: 2.6rem; }
.sound .controls .wrapper .pause-button { width: 2.9rem; padding: 0; margin-left: .5rem; }
.sound .controls .wrapper .pause-button svg { width: .9rem; height: 1.1rem; display: block; margin: auto; }
.sound .mic-select { min-height: 2.9rem; border-radius: 2rem; margin: 0; max-width: 13rem; min-width: 0;
  flex: 1; text-overflow: ellipsis; }
.sound .icon-button-wrapper { border: 0; box-shadow: none; background: none; top: .4rem; right: .5rem; }
.gradio-container .block.sound, .gradio-container .block.drop { border: 1px solid var(--line); }
.drop button { border: 0; color: var(--quiet); }
.drop .file-preview-holder { padding: .4rem .8rem; }

#result .empty { padding: 2.6rem 1.5rem; text-align: center; border: 1.5px dashed var(--line);
  border-radius: 1rem; color: var(--quiet); }
.empty b { display: block; font-size: 1.15rem; font-weight: 500; color: var(--body-text-color);
  margin-bottom: .35rem; }
.empty p { margin: 0 auto; max-width: 46ch; font-size: .95rem; line-height: 1.5; text-wrap: balance; }
#status:has(> .wrap:not(.hide, .generating)) { min-height: 2.6rem; }
#status > .generating { display: none; }
#status > .wrap { background: none; color: var(--quiet); }
#status > .wrap svg { display: none; }
#status .progress-text { position: static; transform: none; font: inherit; font-size: .9rem; color: var(--quiet); }
.status { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .1rem 1rem; font-size: .9rem;
  color: var(--quiet); font-variant-numeric: tabular-nums; }
.status progress { flex-basis: 100%; width: 100%; height: .4rem; appearance: none; border: 0; border-radius: 1rem;
  overflow: hidden; background: var(--chip); margin-top: .3rem; }
.status progress::-webkit-progress-bar { background: var(--chip); }
.status progress::-webkit-progress-value { background: var(--blue); border-radius: 1rem; transition: width .3s; }
.status progress::-moz-progress-bar { background: var(--blue); }

.paper, #model, #program { border: 1px solid var(--line); border-radius: 1rem;
  background: var(--block-background-fill); padding: 1.3rem clamp(1rem, 4vw, 1.6rem);
  box-shadow: var(--block-shadow); }
.paper + .paper { margin-top: 1rem; }
.paper h2 { font-size: .95rem; font-weight: 600; margin: 0 0 .7rem; overflow-wrap: anywhere; }
.paper .note { margin: -.2rem 0 .8rem; color: var(--warn); font-size: .95rem; line-height: 1.5; }
.paper h2 span { color: var(--quiet); font-weight: 400; }
.paper audio { width: 100%; height: 2.6rem; margin: 0 0 .9rem; display: block; color-scheme: light; }
.dark .paper audio { color-scheme: dark; }
.paper ol { list-style: none; margin: 0; padding: 0; }
.paper li { display: flex; gap: 1rem; align-items: baseline; padding: .28rem .5rem; margin: 0 -.5rem;
  border-radius: .6rem; }
.paper li.now { background: var(--chip); }
.paper li button { flex: none; min-width: 3.1rem; text-align: left; color: var(--blue); font-size: .87rem;
  padding: .25rem .1rem;
  font-variant-numeric: tabular-nums; border-radius: .4rem; cursor: pointer; }
.paper button, .paper a { border: 0; background: none; }
.paper li button:hover { text-decoration: underline; text-underline-offset: .2em; }
.paper li p { margin: 0; font-size: 1.2rem; line-height: 1.6; overflow-wrap: anywhere; }
.paper li [data-at] { cursor: pointer; } .paper li p [data-at]:hover { background: var(--chip); border-radius: .25rem; }
.paper li p .said { background: var(--mark); border-radius: .25rem; }
.paper .u1, .paper .u2, .paper .u3 { text-decoration: underline dotted; text-decoration-color: var(--warn);
  text-underline-offset: .24em; text-decoration-thickness: 1px; }
.paper .u2 { text-decoration-thickness: 2.5px; } .paper .u3 { text-decoration-thickness: 4.5px; }
.paper .foot { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin-top: 1.1rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
.paper .foot a, .paper .foot button { font-size: .9rem; font-weight: 500; padding: .42rem .95rem; border-radius: 2rem;
  background: var(--chip); color: var(--body-text-color); text-decoration: none; cursor: pointer; }
.paper .foot :is(a, button):hover { color: var(--blue); }
.paper .foot p { flex-basis: 100%; margin: .35rem 0 0; }
.paper.editing li p { outline: 1px dashed var(--line); outline-offset: .15rem; border-radius: .3rem; flex: 1;
  cursor: text; }
.paper.editing li p [data-at] { cursor: text; }
.paper .foot [aria-pressed=true], .paper .foot [aria-pressed=true]:hover { background: var(--blue);
  color: var(--block-background-fill); }
#halt { align-self: flex-start; width: auto; min-width: 0; border-radius: 2rem; }
.gradio-container:not(:has(#status progress:not([value="1.000"]))) #halt { display: none; }
#result .foot.all { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin-top: 1rem; }
#result .foot.all b { font-weight: 500; font-size: .95rem; }
#result .foot.all button { font-size: .9rem; font-weight: 500; padding: .42rem .95rem; border-radius: 2rem;
  background: var(--chip); color: var(--body-text-color); cursor: pointer; border: 0; }
.paper.wrong { border-color: var(--warn); } .paper.wrong > p { margin: 0; color: var(--warn); font-size: 1.05rem; }
.paper.wrong h2 { margin-bottom: .25rem; }
.paper.good > p { margin: 0; color: var(--good); font-size: 1.05rem; overflow-wrap: anywhere; }

.recorder .desk { display: flex; flex-wrap: wrap; gap: .7rem 1rem; align-items: center; }
.recorder .desk button { min-height: 2.9rem; padding: 0 1.4rem; border-radius: 2rem; font-weight: 600; font-size: 1rem;
  border: 1px solid var(--line); background: var(--block-background-fill); color: var(--body-text-color);
  cursor: pointer; display: none; }
.recorder .desk button.record { background: #2563eb; border-color: transparent; color: white; }
.recorder .desk button.record:hover { background: #1d4fd0; }
.recorder .desk button.halt { background: #b42318; border-color: transparent; color: white; }
.recorder .desk button.halt::before { content: ''; display: inline-block; width: .7rem; height: .7rem;
  background: white; border-radius: .15rem; margin-right: .6rem; }
.recorder:is([data-state=listening], [data-state=reconnecting]) [data-do=stop],
.recorder[data-state=stopped] :is([data-do=resume], [data-do=anew]),
.recorder:not([data-state=listening], [data-state=reconnecting], [data-state=stopped], [data-state=finishing])
  [data-do=start] { display: inline-flex; align-items: center; }
.recorder[data-state=asking] [data-do=start], .recorder[data-state=finishing] .meter { opacity: .5; }
.recorder .meter { flex: 1 1 6rem; max-width: 16rem; height: .6rem; border-radius: 1rem; background: var(--chip);
  overflow: hidden; }
.recorder .meter i { display: block; height: 100%; background: var(--good); transform: scaleX(0);
  transform-origin: left; transition: transform .1s linear; }
.recorder time { font-variant-numeric: tabular-nums; color: var(--quiet); }
.recorder .state { min-height: 1.5em; margin: .7rem 0 .9rem; font-size: .95rem; color: var(--quiet); }
.recorder .late { display: none; margin-left: .5rem; color: var(--warn); }
.recorder.lagging[data-state=listening] .late { display: inline; }
.recorder:not([data-state=idle], [data-state=asking], [data-state=listening], [data-state=finishing],
  [data-state=stopped]) .state { color: var(--warn); }
.recorder .words { font-size: 1.5rem; line-height: 1.5; margin: 0; min-height: 6.5rem; overflow-wrap: anywhere; }
.recorder .words i { font-style: normal; color: var(--quiet); }
.recorder .foot { visibility: hidden; } .recorder[data-state=stopped] .foot { visibility: visible; }
.recorder .foot .done::after { content: ' ✓'; }

.gradio-container .block.field { border: 1px solid var(--line); padding: .9rem 1.1rem; }
.field textarea { font-size: 1.15rem; line-height: 1.5; border: 0; box-shadow: none; padding: .2rem 0; }
.gradio-container .block.tick { background: none; border: 0; padding: 0; box-shadow: none; }
.tick label { align-items: flex-start; font-size: .98rem; line-height: 1.45; }
.tick input { margin-top: .2rem; width: 1.15rem; height: 1.15rem; }
button.act { border-radius: 2rem; min-height: 2.9rem; font-weight: 600; align-self: flex-start; max-width: 16rem; }

#model .rate { display: flex; align-items: baseline; gap: .7rem; }
#model .rate strong { font-size: 2.8rem; line-height: 1.1; letter-spacing: -.04em;
  font-variant-numeric: tabular-nums; }
#model .rate > span { color: var(--quiet); }
#model .bars { display: grid; grid-template-columns: auto 1fr auto; gap: .5rem .9rem; align-items: center;
  margin: 1.1rem 0 .2rem; font-size: .87rem; font-variant-numeric: tabular-nums; }
#model .bar { position: relative; height: .6rem; border-radius: 1rem; background: var(--chip); }
#model .bar i, #model .bar u { position: absolute; background: var(--blue); border-radius: 1rem; height: 100%; }
#model .bar i { opacity: .4; } #model .bar.base :is(i, u) { background: var(--quiet); }
#model .bar u { top: -.2rem; width: 1rem; height: 1rem; margin-left: -.5rem; border-radius: 50%;
  border: 3px solid var(--block-background-fill); }
#model .ends { display: flex; justify-content: space-between; color: var(--quiet); font-size: .8rem; }
#model p { margin: .8rem 0 0; line-height: 1.55; color: var(--quiet); max-width: 62ch; text-wrap: pretty; }
#model dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem 1.5rem;
  margin: 1.4rem 0 0;
  padding-top: 1.3rem; border-top: 1px solid var(--line); }
#model dt { color: var(--quiet); font-size: .85rem; } #model dd { margin: 0; overflow-wrap: anywhere; }
#model a, #program a { color: var(--blue); text-underline-offset: .2em; }
#program h2, h2.head { font-size: 1.15rem; letter-spacing: -.02em; margin: 0 0 .4rem; font-weight: 600; }
#program p { color: var(--quiet); margin: 0 0 .8rem; line-height: 1.5; }
#program pre { background: var(--chip); border-radius: .7rem; padding: .9rem 1rem; font-size: .84rem;
  line-height: 1.55;
  overflow-x: auto; margin: 0 0 .8rem; }
#program code { font-family: ui-monospace, Consolas, monospace; }
#program p:last-child { margin: 0; }
.examples { gap: .6rem; } .examples button { border-radius: 2rem; flex: none; width: auto; }
footer .divider { display: none; }
:root:lang(sv) .gradio-container span:lang(en), :root:lang(en) .gradio-container span:lang(sv) { display: none; }
@media (max-width: 30rem) {
  .gradio-container .main.app { padding-top: 1.2rem; }
  .tab-container button[role=tab] { margin-right: 1rem; font-size: .95rem; }
  #masthead svg { display: none; }
  .paper li { gap: .75rem; } .paper li button { min-width: 2.6rem; }
  .paper li p { font-size: 1.12rem; }
}
@media (prefers-reduced-motion: reduce) { .gradio-container * { transition: none !important;
  animation: none !important; } }
"""

WAVE = """<svg viewBox="0 0 52 32" fill="none" stroke-width="4" stroke-linecap="round"
 aria-hidden="true"><path d="M3 13v6M12 7v18M21 3v26M30 11v10M40 12h9M40 20h6"/></svg>"""

# A time or a word plays the sound from there, and what sounds is marked; one sound at a time. The keys are those of the
# sound that was played last.
SCRIPT = """
let playing;
const edits = new Map();  // by sound and time: a new picture of the result keeps what was corrected
const place = (line) => `${line.closest('.paper').querySelector('audio').src}#${line.dataset.from}`;
const said = (line) => line.querySelector('p').textContent.trim();

function words(line) {
  if ('edited' in line.dataset) return [];
  return [...line.querySelectorAll('p [data-at]')].map((one) => ({ start: +one.dataset.at, end: +one.dataset.to,
    text: one.textContent, confidence: one.title.match(/\\d+/) / 100 }));
}

function told(paper) {
  const segments = [...paper.querySelectorAll('li')].map((line) => ({ start: +line.dataset.from, end: +line.dataset.to,
    text: said(line), words: words(line) }));
  return { title: paper.querySelector('h2').textContent, segments };
}

async function take(papers, form) {
  const asked = { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ form, texts: papers.map(told) }) };
  const answer = await fetch(new URL('export', location.href), asked);
  if (!answer.ok) throw new Error(`${answer.status}`);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await answer.blob());
  const stem = told(papers[0]).title.replace(/\\.[^.]*$/, '') || 'text';
  link.download = papers.length > 1 ? 'transcripts.zip' : `${stem}.${form}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function teach(paper) {
  const text = [...paper.querySelectorAll('li')].map(said).join(' ');
  const shown = (tab) => tab.checkVisibility({ visibilityProperty: true });
  [...document.querySelectorAll('[role=tab]')].filter(shown)[2].click();
  const fill = (tries) => {  // the tab is made when it is first opened
    const field = document.querySelector('#said textarea');
    if (!field) return tries && setTimeout(fill, 50, tries - 1);
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(field, text);
    field.dispatchEvent(new Event('input', { bubbles: true }));
  };
  fill(60);
}

element.addEventListener('input', ({ target }) => {
  const line = target.closest('li');
  line.dataset.edited = '';
  edits.set(place(line), said(line));
});
new MutationObserver(() => {
  if (!edits.size) return;
  for (const line of element.querySelectorAll('li:not([data-edited])')) {
    const text = edits.get(place(line));
    if (text === undefined) continue;
    line.dataset.edited = '';
    line.querySelector('p').textContent = text;
  }
}).observe(element, { childList: true, subtree: true });

element.addEventListener('click', (event) => {
  const { target } = event, paper = target.closest('.paper'), at = target.closest('[data-at]');
  const form = target.closest('[data-form]'), edit = target.closest('[data-edit]');
  const papers = paper ? [paper] : [...element.querySelectorAll('.paper:has(li)')];
  if (form && (!form.href || papers.some((one) => one.querySelector('[data-edited]')))) {
    event.preventDefault();
    take(papers, form.dataset.form);
  }
  if (edit) {
    const on = paper.classList.toggle('editing');
    edit.setAttribute('aria-pressed', on);
    for (const line of paper.querySelectorAll('li p')) {
      line.contentEditable = on ? 'plaintext-only' : 'inherit';
      line.spellcheck = on;
    }
    if (on) paper.querySelector('li p').focus();
  }
  if (target.closest('[data-teach]')) teach(paper);
  if (at && getSelection().isCollapsed && !(paper.classList.contains('editing') && target.closest('p'))) {
    const sound = paper.querySelector('audio');
    sound.currentTime = Number(at.dataset.at);
    sound.play();
  }
  if (target.closest('[data-copy]')) {
    const lines = [...paper.querySelectorAll('li p')].map((line) => line.textContent);
    navigator.clipboard.writeText(lines.join('\\n')).then(() => {
      const button = target.closest('[data-copy]');
      button.textContent += ' ✓';
      setTimeout(() => { button.textContent = button.textContent.replace(' ✓', ''); }, 1500);
    });
  }
});
element.addEventListener('play', ({ target }) => {
  for (const sound of document.querySelectorAll('audio')) if (sound !== target) sound.pause();
  playing = target;
  requestAnimationFrame(mark);
}, true);
function mark() {
  if (!playing?.isConnected) return;
  const now = playing.currentTime, over = playing.ended;
  for (const line of playing.closest('.paper').querySelectorAll('li')) {
    const here = !over && now >= line.dataset.from && now < line.dataset.to;
    if (!here && !line.classList.contains('now')) continue;
    line.classList.toggle('now', here);
    const begun = [...line.querySelectorAll('p [data-at]')].filter((word) => here && now >= word.dataset.at - 0.01);
    line.querySelector('.said')?.classList.remove('said');
    begun.at(-1)?.classList.add('said');
  }
  if (!playing.paused) requestAnimationFrame(mark);
}
element.addEventListener('seeked', mark, true);
element.addEventListener('ended', mark, true);
document.addEventListener('keydown', (event) => {
  const sound = playing?.isConnected ? playing : element.querySelector('audio');
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
"""

# Screen readers pronounce the page by its language, which Gradio leaves at English.
HEAD = """<meta name="color-scheme" content="light dark"><script>
document.documentElement.lang = (navigator.language || '').startsWith('sv') ? 'sv' : 'en';
</script>"""


def theme() -> gr.themes.Base:
    """Ink on paper with one blue; system fonts, since a named one would be asked for from somewhere."""
    system = [gr.themes.Font(name) for name in ("-apple-system", "Segoe UI", "Roboto", "sans-serif")]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")]
    base = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=system, font_mono=mono)
    return base.set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#0d1117",
        block_background_fill="#ffffff",
        block_background_fill_dark="#161c26",
        block_border_color_dark="#2a3342",
        border_color_primary_dark="#2a3342",
        input_background_fill="*block_background_fill",
        input_background_fill_dark="*block_background_fill",
        block_radius="1rem",
        color_accent="*primary_600",
        body_text_color="#16202e",
        body_text_color_subdued="#556275",
        body_text_color_subdued_dark="#9fadc0",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0",
        block_label_text_color="#556275",
        block_label_text_color_dark="#9fadc0",
        block_title_text_color="#556275",
        block_title_text_color_dark="#9fadc0",
        button_primary_background_fill="#2563eb",
        button_primary_background_fill_hover="#1d4fd0",
        button_primary_background_fill_dark="#2563eb",
        button_primary_background_fill_hover_dark="#1d4fd0",
        button_primary_text_color="white",
        block_shadow="0 1px 2px rgb(15 30 60 / .06), 0 8px 24px rgb(15 30 60 / .05)",
        block_shadow_dark="none",
    )
