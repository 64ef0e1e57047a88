"""The page's style sheet and Gradio theme."""

from __future__ import annotations

import gradio as gr
from translations import LANGUAGES, translate

CSS = """
:root { --chip: #e8ecf2; --quiet: #556275; --line: #dde2ea; --warn: #b42318; --good: #1c6b43; --blue: #2259c9;
  --mark: #ffe9a8; --record: #b42318; }
.dark { --chip: #222b39; --quiet: #9fadc0; --line: #2a3342; --warn: #ff9b8e; --good: #7dd3a5; --blue: #8ab4ff;
  --mark: #5b4a12; --record: #ff7a6b; }
.gradio-container .main.app { max-width: 50rem; margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 2rem) 1rem; }
.gradio-container .column { gap: 1rem; }
.gradio-container :focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
.gradio-container .html-container { padding: 0; }
.page-header { display: flex; gap: 1.2rem; align-items: center; margin-bottom: .8rem; }
#page-header svg { width: 3.4rem; height: 2.1rem; flex: none; stroke: var(--blue); }
#page-header h1 { font-size: clamp(1.5rem, 6vw, 2.1rem); line-height: 1.15; letter-spacing: -.03em; margin: 0;
  font-weight: 700;
  text-wrap: balance; }
#page-header nav { margin-left: auto; align-self: flex-start; }
#page-header nav button { color: var(--blue); font-size: .9rem; padding: .4rem .3rem; cursor: pointer; }
:root:lang(sv) [data-language=sv], :root:lang(en) [data-language=en] { display: none; }
#page-header p { color: var(--quiet); margin: .2rem 0 0; font-size: 1.02rem; }

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
.gradio-container :is(.icon-button, .icon, .action, .playback, .label-clear-button, .download-link, .label-wrap) {
  min-width: 1.6rem; min-height: 1.6rem; }
.gradio-container .download-link { display: inline-flex; align-items: center; justify-content: flex-end; }
.sound:has(.record-button) .icon-button-wrapper { display: none; }
.drop .icon-button-wrapper { border: 0; box-shadow: none; background: none; top: .4rem; right: .5rem; }
.gradio-container .block > label[data-testid=block-label] { box-shadow: none; border: 0; background: none;
  padding: .7rem 1.1rem 0; font-size: .87rem; }
.gradio-container .block > label[data-testid=block-label] span { display: none; }
.sound .component-wrapper { padding-top: 2.6rem; }
.sound .controls .wrapper .resume-button { width: auto; min-width: 0; padding: 0 1.1rem; margin-left: .5rem; }
.sound .controls .wrapper :is(.stop-button, .stop-button-paused)::before { background: var(--record); }
.sound:has(.stop-button[style*=flex]) { outline: 2px solid var(--record); outline-offset: -2px; }
.sound:has(.stop-button[style*=flex]) > label::after { content: var(--recording); color: var(--record);
  font-weight: 600; margin-left: .4rem; }
.gradio-container .sound :is(time, .playback, .rewind, .skip, .play-pause-button, .action) {
  color: var(--quiet) !important; }
.sound:has(:is(.stop-button, .stop-button-paused)[style*=flex]) .mic-select { display: none; }
#sound { min-height: 14.9rem; }
#sound .component-wrapper { height: 100%; display: flex; flex-direction: column; justify-content: flex-end; }
.sound .controls .wrapper .pause-button { width: 2.9rem; padding: 0; margin-left: .5rem; }
.sound .controls .wrapper .pause-button svg { width: .9rem; height: 1.1rem; display: block; margin: auto; }
.sound .mic-select { min-height: 2.9rem; border-radius: 2rem; margin: 0; max-width: 13rem; min-width: 0;
  flex: 1; text-overflow: ellipsis; }
.sound .icon-button-wrapper { border: 0; box-shadow: none; background: none; top: .4rem; right: .5rem; }
.gradio-container .block.sound, .gradio-container .block.drop { border: 1px solid var(--line); }
.drop .icon-button:has(button), .gradio-container:not(:has(.drop .file-preview)) #more { display: none; }
#more { align-self: flex-end; width: auto; min-width: 0; }
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
#status > .wrap > * { display: none; }
#status > .wrap:not(.hide)::after { content: var(--waiting); font-size: .9rem; }
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
.paper button { border: 0; background: none; }
.paper li button:hover { text-decoration: underline; text-underline-offset: .2em; }
.paper li p { margin: 0; font-size: 1.2rem; line-height: 1.6; overflow-wrap: anywhere; }
.paper li [data-at] { cursor: pointer; }
.paper li p [data-at]:hover, .paper li p .unsure { background: var(--chip); border-radius: .25rem; }
.paper li p [data-at].spoken { background: var(--mark); border-radius: .25rem; }
.paper .u1, .paper .u2, .paper .u3 { text-decoration: underline wavy; text-decoration-color: var(--warn);
  text-underline-offset: .24em; text-decoration-thickness: 1px; }
.paper .u2 { text-decoration-thickness: 1.7px; } .paper .u3 { text-decoration-thickness: 2.6px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.paper .sound { position: sticky; top: .5rem; z-index: 1; }
.paper video.sound { max-height: 16rem; background: black; border-radius: .7rem; height: auto; width: 100%; }
.paper .tools, .foot { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.paper .tools { margin: 0 0 .7rem; }
.paper:not(:has(.foot)) .tools, .paper:not(:has([data-sure][class^=u])) [data-unsure] { display: none; }
.paper .tools label { display: flex; gap: .5rem; align-items: center; font-size: .9rem; color: var(--quiet); }
.paper .tools input { border: 1px solid var(--line); border-radius: 2rem; background: none; padding: .3rem .8rem;
  font-size: .9rem; width: 11rem; max-width: 40vw; color: var(--body-text-color); }
.paper .tools output:empty { display: none; } .paper .tools output { font-variant-numeric: tabular-nums; }
.paper .tools .sure { flex-basis: 100%; margin: .2rem 0 0; font-size: .95rem; }
.paper .sure q { font-weight: 600; quotes: none; } .paper .sure b { font-weight: 600; }
.paper.flowing li { display: inline; padding: 0; margin: 0; background: none; }
.paper.flowing li > button { display: none; } .paper.flowing li p { display: inline; }
.paper.flowing li p::after { content: ' '; }
.paper.flowing li[data-new]::before { content: ''; display: block; height: .9rem; }
.paper.editing li p { outline: 1px dashed var(--line); outline-offset: .15rem; border-radius: .3rem; flex: 1;
  cursor: text; }
.paper.editing li p [data-at] { cursor: text; }
::highlight(found) { background-color: var(--mark); }
::highlight(found-now) { background-color: #2563eb; color: white; }
.foot { margin-top: 1.1rem; } .paper .foot { padding-top: 1rem; border-top: 1px solid var(--line); }
.foot b { font-weight: 500; font-size: .95rem; } .foot p { flex-basis: 100%; margin: .35rem 0 0; }
.paper .tools button, .foot button { font-size: .9rem; font-weight: 500; padding: .42rem .95rem; border-radius: 2rem;
  background: var(--chip); color: var(--body-text-color); cursor: pointer; border: 0; min-height: 2rem; }
.paper .tools button:hover, .foot button:hover { color: var(--blue); }
.paper :is(.tools, .foot) [aria-pressed=true] { background: var(--blue);
  color: var(--block-background-fill); }
:is(.foot, .sample) .done::after { content: ' ✓'; }
#halt { align-self: flex-start; width: auto; min-width: 0; border-radius: 2rem; }
.gradio-container:not(:has(#status progress:not([value="1.000"]))) #halt { display: none; }
.kept h2.head { margin-top: 1.5rem; }
.kept > p button { color: var(--blue); text-decoration: underline; text-underline-offset: .2em; cursor: pointer;
  padding: .2rem; }
.kept .paper h2 { display: none; } .kept details { margin-top: .4rem; } .kept .paper { margin-top: .4rem; }
.kept summary { cursor: pointer; padding: .45rem .2rem; overflow-wrap: anywhere; font-weight: 500; }
.kept summary time { color: var(--quiet); font-weight: 400; font-size: .87rem; margin-left: .5rem; }
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

.gradio-container .block.field { border: 1px solid var(--line); padding: .9rem 1.1rem; }
.field textarea { font-size: 1.15rem; line-height: 1.5; border: 0; box-shadow: none; padding: .2rem 0; }
.gradio-container .block.tick { background: none; border: 0; padding: 0; box-shadow: none; }
.tick label { align-items: flex-start; font-size: .98rem; line-height: 1.45; }
.tick input { margin-top: .2rem; width: 1.5rem; height: 1.5rem; }
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
#program h3 { font-size: .87rem; font-weight: 600; color: var(--quiet); margin: 1rem 0 .3rem; }
#program .sample { position: relative; }
#program .sample button { position: absolute; top: .45rem; right: .5rem; font-size: .82rem; padding: .25rem .7rem;
  border-radius: 2rem; background: var(--block-background-fill); color: var(--body-text-color); cursor: pointer; }
#program pre { background: var(--chip); border-radius: .7rem; padding: .9rem 1rem; font-size: .84rem;
  line-height: 1.55;
  margin: 0 0 .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
#program code { font-family: ui-monospace, Consolas, monospace; }
#program p:last-child { margin: 0; }
.examples { gap: .5rem; align-items: center; } .examples > * { flex: none; width: auto; min-width: 0; }
:is(#more, .examples button) { border-radius: 2rem; background: var(--chip); padding: .42rem .95rem; font-size: .9rem;
  font-weight: 500; max-width: 100%; }
footer { display: none; }
:root:lang(sv) .gradio-container span:lang(en), :root:lang(en) .gradio-container span:lang(sv) { display: none; }
@media (max-width: 30rem) {
  .gradio-container .main.app { padding-top: 1.2rem; }
  .tab-container button[role=tab] { margin-right: 1rem; font-size: .95rem; }
  #page-header svg { display: none; }
  .paper li { gap: .75rem; } .paper li button { min-width: 2.6rem; }
  .paper li p { font-size: 1.12rem; }
}
@media (prefers-reduced-motion: reduce) { .gradio-container * { transition: none !important;
  animation: none !important; } }
"""


# Replaces Gradio's own queue message, which guesses at seconds and is in English.
CSS += "".join(
    f':root:lang({code}) {{ --waiting: "{translate("waiting", code)}"; '
    f'--recording: "{translate("recording_now", code)}"; }}\n'
    for code in LANGUAGES
)


def build_theme() -> gr.themes.Base:
    """Gradio's base theme with an accent colour, and system fonts: a web font would be fetched from another host."""
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
