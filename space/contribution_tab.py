"""The contribution tab: a visitor corrects a clip's text and, by an explicit tick, gives both to training."""

from __future__ import annotations

import logging
import os
from typing import Any

import audio_files
import gradio as gr
from components import describe_file_error, html
from contributions import MAX_CHARACTERS, MAX_SECONDS, ContributionStore, clean_transcript
from transcriber import Transcriber
from transcript_html import render_error, render_success
from translations import bilingual, request_language, translate

logger = logging.getLogger(__name__)


def build_contribution_tab(
    transcriber: Transcriber, store: ContributionStore, i18n: gr.I18n, engine: dict[str, Any]
) -> tuple[gr.Audio, gr.Textbox]:
    """Build the tab's components and events; returns the clip and the text, which other tabs fill in."""
    location_key = "where_hub" if store.repo else "where_folder"
    location = store.repo or store.folder.name
    html(f'<p class="lead">{bilingual("teach_lead")}</p>')
    clip = gr.Audio(
        sources=["microphone", "upload"], type="filepath", label=i18n("clip"), editable=False, buttons=[],
        elem_id="clip", elem_classes="sound",
        waveform_options=gr.WaveformOptions(waveform_color="#9db4d6", waveform_progress_color="#2563eb"),
    )  # fmt: skip
    text = gr.Textbox(
        label=i18n("correction"), placeholder=i18n("correction_hint"), lines=3, max_length=MAX_CHARACTERS,
        elem_id="correction", elem_classes="field", interactive=True,
    )  # fmt: skip
    consent = gr.Checkbox(label=i18n("consent"), elem_id="consent", elem_classes="tick", container=False)
    html(f'<p class="small">{bilingual(location_key, where=location)}</p>')
    submit = gr.Button(i18n("give"), variant="primary", elem_id="give", elem_classes="act")
    submit_result = html(elem_id="answer")
    with gr.Accordion(i18n("take_back"), open=False, elem_id="take_back"):
        code = gr.Textbox(label=i18n("code"), placeholder="3f2a9c81d04e.wav", max_length=80, elem_id="code",
                          elem_classes="field")  # fmt: skip
        delete = gr.Button(i18n("take_back_now"), elem_classes="act")
        delete_result = html(elem_id="taken")
    private: dict[str, Any] = {"api_visibility": "private"}

    def transcribe_clip(path: str | None, request: gr.Request) -> tuple[str, str]:
        language = request_language(request)
        try:
            sound = audio_files.read_upload(path).samples
            if (seconds := len(sound) / audio_files.RATE) > MAX_SECONDS:  # before anybody corrects it in vain
                return "", render_error(translate("long_clip", language, seconds=seconds))
            return transcriber.transcribe(sound).text, ""
        except ValueError as error:
            return "", render_error(describe_file_error(error, language))

    def submit_clip(path: str | None, text: str, agreed: bool, request: gr.Request) -> tuple[Any, Any, Any, str]:
        language = request_language(request)

        def refuse(message: str) -> tuple[Any, Any, Any, str]:
            return gr.skip(), gr.skip(), gr.skip(), render_error(message)

        if agreed is not True:
            return refuse(translate("no_consent", language))
        if not path:
            return refuse(translate("no_clip", language))
        if not clean_transcript(text):
            return refuse(translate("no_text", language))
        if len(text) > MAX_CHARACTERS:
            return refuse(translate("long_text", language))
        try:
            sound, fault, _ = audio_files.read_upload(path)
            if fault:
                return refuse(translate(fault, language))
            if (seconds := len(sound) / audio_files.RATE) > MAX_SECONDS:
                return refuse(translate("long_clip", language, seconds=seconds))
            name = store.add(sound, text, translate("consent", language), _visitor_address(request))
        except ValueError as error:
            return refuse(describe_file_error(error, language))
        except OSError:
            return refuse(translate("full", language))
        return None, "", False, render_success(translate("thanks", language, name=name))

    def delete_clip(code: str, request: gr.Request) -> tuple[Any, str]:
        language = request_language(request)
        try:
            is_deleted = store.delete(code)
        except Exception:  # of the disk or the Hub
            logger.exception("a contributed clip could not be deleted")
            return gr.skip(), render_error(translate("broken", language))
        if not is_deleted:
            return gr.skip(), render_error(translate("no_code", language))
        return "", render_success(translate("taken_back", language))

    gr.on([clip.stop_recording, clip.upload], transcribe_clip, clip, [text, submit_result], **private, **engine)
    gr.on([clip.start_recording, clip.clear], lambda: ("", ""), None, [text, submit_result], **private)
    gr.on([delete.click, code.submit], delete_clip, code, [code, delete_result], **private)
    submit.click(
        submit_clip, [clip, text, consent], [clip, text, consent, submit_result], concurrency_limit=1, **private
    )
    return clip, text


def _visitor_address(request: gr.Request) -> str:
    """The visitor's address: on a Space, the address that the last proxy saw."""
    forwarded = request.headers.get("x-forwarded-for", "") if os.environ.get("SPACE_ID") else ""
    return forwarded.split(",")[-1].strip() or (request.client.host if request.client else "")
