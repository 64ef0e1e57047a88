"""The Space: speak or upload, read the text.

    python space/app.py

serves the newest release here. MODEL_ID names another one, a folder or a Hub id (at MODEL_REVISION).
"""

from __future__ import annotations

import html
import os
import sys
import time
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at import: no request leaves the machine

import gradio as gr
from transcriber import Transcriber, locate

WAITING = 32  # requests in the queue; the next is told that it is full
KEPT = 3600  # seconds before an uploaded sound is deleted, and between looks for them
LANGUAGES = {"en": "English", "sv": "Swedish"}

CSS = """
.gradio-container .main.app { max-width: 46rem; margin: 0 auto; padding: 1.25rem clamp(1rem, 4vw, 2rem); }
.gradio-container .column { gap: 1.1rem; }
#masthead .html-container, #model .html-container { padding: 0; }
#masthead svg { width: 3.25rem; height: 2rem; margin-bottom: .8rem; }
#masthead svg path { stroke: var(--color-accent); }
#masthead h1 { font-size: clamp(1.75rem, 7vw, 2.5rem); line-height: 1.12; letter-spacing: -.03em; margin: 0;
  text-wrap: balance; }
#masthead p { font-size: 1.08rem; color: var(--body-text-color-subdued); margin: .5rem 0 .4rem; }
#sound .component-wrapper { padding: 1.9rem 1.25rem .75rem; }
#sound .controls { padding: 0 0 .5rem; gap: .75rem; }
#sound .controls .wrapper button { min-height: 2.9rem; font-size: 1.02rem; border-radius: 2rem; padding: 0 1.3rem;
  margin: 0; }
#sound .record-button { background: var(--color-accent); border-color: transparent; color: white; font-weight: 600; }
#sound .record-button::before { background: white; }
#sound .controls .wrapper button::before { margin: 0 .6rem 0 0; flex: none; }
#sound .stop-button, #sound .stop-button-paused { width: auto; background: none; }
#sound .controls .wrapper .pause-button { width: 2.9rem; padding: 0; margin-left: .5rem; }
#sound .controls .wrapper .pause-button svg { width: .9rem; height: 1.1rem; display: block; margin: auto; }
#sound .mic-select { min-height: 2.9rem; border-radius: 2rem; margin: 0; max-width: 13rem; min-width: 0;
  flex: 1; text-overflow: ellipsis; }
#sound .source-selection { gap: .5rem; padding: .2rem; height: auto; }
#sound .source-selection button { width: auto; height: 2.5rem; padding: 0 .9rem; gap: .5rem; display: flex;
  align-items: center; border-radius: 2rem; color: var(--body-text-color-subdued); font-size: .95rem; }
#sound .source-selection button.selected { color: var(--body-text-color); background: var(--neutral-chip); }
#sound .source-selection button svg { width: 1.1rem; height: 1.1rem; }
#sound .source-selection button[aria-label="Upload file"]::after { content: "Upload"; }
#sound .source-selection button[aria-label="Record audio"]::after { content: "Microphone"; }
#sound .icon-button-wrapper, #text .icon-button-wrapper { border: 0; box-shadow: none; background: none; top: .4rem;
  right: .5rem; }
#text { padding: 1.1rem 1.25rem; }
#text textarea { font-size: 1.35rem; line-height: 1.5; padding: .2rem 0; border: 0; box-shadow: none; opacity: 1; }
#text textarea::placeholder { color: var(--body-text-color-subdued); opacity: .8; }
#text .wrap:has(.error) { display: none; }
#model { border: 1px solid var(--border-color-primary); border-radius: var(--block-radius);
  background: var(--block-background-fill); padding: 1.1rem 1.25rem 1.25rem; }
#model .name { display: flex; justify-content: space-between; gap: .15rem 1rem; flex-wrap: wrap; font-size: .9rem; }
#model .name span, #model .rate span, #model .ends span, #model p { color: var(--body-text-color-subdued); }
#model .rate { display: flex; align-items: baseline; gap: .6rem; margin-top: .55rem; }
#model .rate strong { font-size: 2.3rem; letter-spacing: -.03em; font-variant-numeric: tabular-nums; }
#model .bar { position: relative; height: .55rem; border-radius: 1rem; margin: .8rem 0 .35rem;
  background: var(--neutral-chip); }
#model .bar i, #model .bar u { position: absolute; background: var(--color-accent); border-radius: 1rem; }
#model .bar i { height: 100%; opacity: .4; }
#model .bar u { top: -.2rem; width: .95rem; height: .95rem; margin-left: -.475rem; border-radius: 50%;
  border: 3px solid var(--block-background-fill); }
#model .ends { display: flex; justify-content: space-between; font-size: .8rem; }
#model p { margin: .7rem 0 0; font-size: .95rem; line-height: 1.5; text-wrap: pretty; }
footer .divider { display: none; }
:root { --neutral-chip: #e6eaf1; }
.dark { --neutral-chip: #263042; }
"""

WAVE = """<svg viewBox="0 0 52 32" fill="none" stroke="currentColor" stroke-width="4" stroke-linecap="round"
 aria-hidden="true"><path d="M3 13v6M12 7v18M21 3v26M30 11v10M40 12h9M40 20h6"/></svg>"""


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
        block_shadow="0 1px 2px rgb(15 30 60 / .06), 0 8px 24px rgb(15 30 60 / .05)",
        block_shadow_dark="none",
    )


def about(release: dict[str, Any]) -> str:
    """HTML that says which model this is and how far to trust it; whatever the release does not tell is left out."""
    name = f"<span>Model <b>{html.escape(str(release.get('name', 'unnamed')))}</b></span>"
    origin = [f"run {release['run_id']}"] if release.get("run_id") else []
    origin += [str(release["created"])[:10]] if release.get("created") else []
    parts = [f'<div class="name">{name}<span>{html.escape(" · ".join(origin))}</span></div>']
    rate, interval = release.get("test_wer"), release.get("test_wer_ci")
    if rate is None:
        return parts[0] + "<p>Nobody has measured how many words it gets wrong.</p>"
    wrong = f"about {rate:.0f}" if rate >= 1 else "fewer than 1"
    clips = f", measured on {release['clips']} clips that it was not trained on" if release.get("clips") else ""
    parts.append(f'<div class="rate"><strong>{rate:.1f}\u00a0%</strong><span>word error rate</span></div>')
    meaning = f"Of 100 words it gets {wrong} wrong{clips}."
    if interval:
        low, high = interval
        full = next(end for end in (10, 20, 50, 100, 1e9) if high < end)  # the scale's end, in percent
        scale = 100 / full
        parts.append(
            f'<div class="bar" aria-hidden="true"><i style="left:{low * scale:.1f}%;width:{(high - low) * scale:.1f}%">'
            f'</i><u style="left:{rate * scale:.1f}%"></u></div>'
            f'<div class="ends" aria-hidden="true"><span>0</span><span>{full:.0f} %</span></div>'
        )
        others = "speakers" if release.get("test_wer_ci_unit") == "speaker" else "clips of the same voices"
        meaning += f" With other {others} it would most likely be {low:.1f} to {high:.1f}\u00a0% (95\u00a0% interval)."
    if release.get("baseline_wer") is not None:
        meaning += f" Before training it was {release['baseline_wer']:.1f}\u00a0%."
    return "".join(parts) + f"<p>{meaning}</p>"


def page(transcriber: Transcriber) -> gr.Blocks:
    """The page and its API: one sound in, its text out."""

    def transcribe(sound: str | None) -> str:
        """The text of an audio file."""
        try:
            if sound is None:
                raise ValueError("there is no recording yet: speak or upload one")
            text = transcriber.transcribe_file(sound).text
            if not text:
                raise ValueError("no words were heard in this recording")
        except ValueError as error:
            message = str(error)
            raise gr.Error(f"{message[0].upper()}{message[1:]}.", print_exception=False) from None
        return text

    language = LANGUAGES.get(transcriber.language, transcriber.language)
    with gr.Blocks(title=f"{language} speech to text", delete_cache=(KEPT, KEPT)) as blocks:
        gr.HTML(
            f"{WAVE}<h1>{html.escape(language)} speech to text</h1><p>Speak or upload. Read what was said.</p>",
            elem_id="masthead",
            padding=False,
        )
        sound = gr.Audio(
            sources=["microphone", "upload"],
            type="filepath",
            show_label=False,
            buttons=["download"],  # the other one, share, sends the sound away
            editable=False,
            elem_id="sound",
            waveform_options=gr.WaveformOptions(waveform_color="#9db4d6", waveform_progress_color="#2563eb"),
        )
        text = gr.Textbox(label="Text", placeholder="The text appears here.", lines=3, buttons=["copy"], elem_id="text")
        gr.HTML(about(transcriber.release), elem_id="model", padding=False)
        gr.on([sound.stop_recording, sound.upload], transcribe, sound, text, api_name="transcribe")
        gr.on([sound.start_recording, sound.clear], None, None, text, js="() => ''")
    return blocks.queue(max_size=WAITING, default_concurrency_limit=1)  # the engine uses every core for one


def main() -> None:
    started = time.monotonic()
    try:
        transcriber = Transcriber(locate())
    except ValueError as error:
        sys.exit(str(error))
    release = transcriber.release

    def health() -> dict[str, Any]:
        uptime = round(time.monotonic() - started, 1)
        return {"model": release.get("name"), "run": release.get("run_id"), "uptime": uptime}

    blocks = page(transcriber)
    public = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    server, url, _ = blocks.launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", public),
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        run_history=False,  # Gradio would keep what was said in the browser
        footer_links=["api"],
        theme=theme(),
        css=CSS,
    )
    server.add_api_route("/health", health)
    server.router.routes.insert(0, server.router.routes.pop())  # before Gradio's own catch-all
    print(f"{release.get('name', 'The model')} is listening on {url}", flush=True)
    blocks.block_thread()


if __name__ == "__main__":
    main()
