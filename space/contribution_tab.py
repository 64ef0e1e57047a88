"""The tab where a visitor mends a text and, by an explicit tick, gives it away with its clip."""

from __future__ import annotations

import logging
import os
from typing import Any

import audio_files
import contributions
import gradio as gr
import transcript_html
from components import html, why
from contributions import LETTERS, LONGEST, Lessons
from transcriber import Transcriber
from translations import both, language_of, tell

logger = logging.getLogger(__name__)


def classroom(
    transcriber: Transcriber, lessons: Lessons, t: gr.I18n, engine: dict[str, Any]
) -> tuple[gr.Audio, gr.Textbox]:
    where = "where_hub" if lessons.repo else "where_folder"
    place = lessons.repo or lessons.folder.name
    html(f'<p class="lead">{both("teach_lead")}</p>')
    clip = gr.Audio(
        sources=["microphone", "upload"], type="filepath", label=t("clip"), editable=False, buttons=[],
        elem_id="clip", elem_classes="sound",
        waveform_options=gr.WaveformOptions(waveform_color="#9db4d6", waveform_progress_color="#2563eb"),
    )  # fmt: skip
    said = gr.Textbox(
        label=t("correction"), placeholder=t("correction_hint"), lines=3, max_length=LETTERS, elem_id="said",
        elem_classes="field", interactive=True,
    )  # fmt: skip
    consent = gr.Checkbox(label=t("consent"), elem_id="consent", elem_classes="tick", container=False)
    html(f'<p class="small">{both(where, where=place)}</p>')
    give = gr.Button(t("give"), variant="primary", elem_id="give", elem_classes="act")
    answer = html(elem_id="answer")
    with gr.Accordion(t("take_back"), open=False, elem_id="take_back"):
        code = gr.Textbox(label=t("code"), placeholder="3f2a9c81d04e.wav", max_length=80, elem_id="code",
                          elem_classes="field")  # fmt: skip
        back = gr.Button(t("take_back_now"), elem_classes="act")
        taken = html(elem_id="taken")
    quiet: dict[str, Any] = {"api_visibility": "private"}

    def hear(path: str | None, request: gr.Request) -> tuple[str, str]:
        language = language_of(request)
        try:
            sound = audio_files.hear(path).samples
            if (seconds := len(sound) / audio_files.RATE) > LONGEST:  # before anybody corrects it in vain
                return "", transcript_html.wrong(tell("long_clip", language, seconds=seconds))
            return transcriber.transcribe(sound).text, ""
        except ValueError as error:
            return "", transcript_html.wrong(why(error, language))

    def keep(path: str | None, text: str, agreed: bool, request: gr.Request) -> tuple[Any, Any, Any, str]:
        language = language_of(request)
        unchanged = (gr.skip(), gr.skip(), gr.skip())
        if agreed is not True:
            return *unchanged, transcript_html.wrong(tell("no_consent", language))
        if not path:
            return *unchanged, transcript_html.wrong(tell("no_clip", language))
        if not contributions.said(text):
            return *unchanged, transcript_html.wrong(tell("no_text", language))
        if len(text) > LETTERS:
            return *unchanged, transcript_html.wrong(tell("long_text", language))
        try:
            sound, fault, _ = audio_files.hear(path)
            if fault:
                return *unchanged, transcript_html.wrong(tell(fault, language))
            if (seconds := len(sound) / audio_files.RATE) > LONGEST:
                return *unchanged, transcript_html.wrong(tell("long_clip", language, seconds=seconds))
            name = lessons.keep(sound, text, tell("consent", language), _visitor(request))
        except ValueError as error:
            return *unchanged, transcript_html.wrong(why(error, language))
        except OSError:
            return *unchanged, transcript_html.wrong(tell("full", language))
        return None, "", False, transcript_html.good(tell("thanks", language, name=name))

    def take_back(code: str, request: gr.Request) -> tuple[Any, str]:
        language = language_of(request)
        try:
            found = lessons.take_back(code)
        except Exception:  # of the disk or the Hub; the log tells which
            logger.exception("a clip could not be taken back")
            return gr.skip(), transcript_html.wrong(tell("broken", language))
        return (
            ("", transcript_html.good(tell("taken_back", language)))
            if found
            else (gr.skip(), transcript_html.wrong(tell("no_code", language)))
        )

    gr.on([clip.stop_recording, clip.upload], hear, clip, [said, answer], **quiet, **engine)
    gr.on([clip.start_recording, clip.clear], lambda: ("", ""), None, [said, answer], **quiet)
    gr.on([back.click, code.submit], take_back, code, [code, taken], **quiet)
    give.click(keep, [clip, said, consent], [clip, said, consent, answer], concurrency_limit=1, **quiet)
    return clip, said


def _visitor(request: gr.Request) -> str:
    """The address that a visitor comes from: on a Space the one that its proxy saw."""
    seen = request.headers.get("x-forwarded-for", "") if os.environ.get("SPACE_ID") else ""
    return seen.split(",")[-1].strip() or (request.client.host if request.client else "")
