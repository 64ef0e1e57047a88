"""The Gradio page: four tabs, and the events of the Transcribe tab."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import about_tab
import audio_files
import editor
import exports
import gradio as gr
import header
import live_tab
import transcript_html
import upload_limits
from batching import Cancelled
from components import describe_file_error, html, microphone_input
from contribution_tab import build_contribution_tab
from contributions import MAX_SECONDS, ContributionStore
from decoding import DecodingOptions, parse_hotwords
from examples import Example
from gradio_api import add_transcribe_endpoint
from sessions import watch_caller
from text import clean_text
from transcriber import DEFAULT_OPTIONS, Transcriber
from transcript import Segment, Transcript
from transcript_html import format_clock, render_error, render_status
from translations import (
    LANGUAGES,
    SPEECH_LANGUAGES,
    bilingual,
    format_number,
    gradio_translations,
    request_language,
    translate,
)

MAX_QUEUED = 32  # requests in the queue; the next is refused
UPLOAD_SECONDS = 3600  # after which Gradio deletes an upload, and between two checks
MAX_HOTWORDS_CHARACTERS = 2_000
MAX_LABEL_CHARACTERS = 48  # of an example's button
UPDATE_SECONDS = 0.3  # between two updates of a growing transcript

KnownFiles = dict[str, tuple[str, float | None]]  # by path: the result's HTML, and its seconds unless it failed
Update = tuple[str, str, Any, Any, Any]  # status, result, clip and text of the contribution tab, known files


def build_page(
    transcriber: Transcriber,
    store: ContributionStore | None = None,
    repo_id: str = "",
    revision: str | None = None,
    examples: Sequence[Example] = (),
) -> gr.Blocks:
    """The whole page. `repo_id` is the model's repository on the Hub, if it came from there."""
    engine: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 1}  # a request uses every core
    private: dict[str, Any] = {"api_visibility": "private", "queue": True}
    i18n = gradio_translations()
    speech_language = SPEECH_LANGUAGES.get(transcriber.language, (transcriber.language,) * 2)
    title = f"{SPEECH_LANGUAGES.get(transcriber.language, ['Any'])[0]} speech to text"

    with gr.Blocks(title=title, delete_cache=(UPLOAD_SECONDS, UPLOAD_SECONDS)) as blocks:
        html(header.render_header(speech_language), elem_id="page-header", js_on_load=header.SCRIPT)
        with gr.Tabs():
            with gr.Tab(i18n("transcribe"), id="transcribe"):
                with gr.Row(equal_height=True):
                    microphone = microphone_input(i18n("microphone"), elem_id="sound")
                    files = gr.File(
                        label=i18n("files"), file_count="multiple", height=170,
                        elem_id="files", elem_classes="drop", buttons=[], min_width=280,
                    )  # fmt: skip
                # Gradio's own button is nested in a button, which neither keyboard nor screen reader reaches.
                add_files = gr.UploadButton(i18n("more"), file_count="multiple", size="sm", elem_id="more")
                html(f'<p class="small">{bilingual("limits", **upload_limits.texts())}</p>')
                hotwords = gr.Textbox(
                    label=i18n("hints"), placeholder=i18n("hints_example"), max_length=MAX_HOTWORDS_CHARACTERS,
                    elem_id="hints", elem_classes="field",
                )  # fmt: skip
                example_buttons = _build_example_buttons(examples)
                status = html(elem_id="status")
                stop = gr.Button(i18n("stop"), size="md", elem_id="halt")
                placeholder = transcript_html.render_placeholder(bilingual("empty"), bilingual("empty_more"))
                result = html(placeholder, elem_id="result")
                html(transcript_html.render_saved_transcripts(), elem_id="kept", js_on_load=editor.SCRIPT)
            with gr.Tab(i18n("live"), id="live"):
                html(f'<p class="lead">{bilingual("live_lead")}</p>')
                html(live_tab.render_recorder(transcriber.joint), elem_id="words", js_on_load=live_tab.SCRIPT)
            with gr.Tab(i18n("teach"), id="teach"):
                if store is None:
                    html(f'<p class="lead">{bilingual("teach_off")}</p>')
                    clip, text = gr.State(), gr.State()
                else:
                    clip, text = build_contribution_tab(transcriber, store, i18n, engine)
            with gr.Tab(i18n("about"), id="about"):
                html(about_tab.render_model(transcriber.release, repo_id, revision), elem_id="model")
                html(about_tab.render_api_examples(), elem_id="program", js_on_load=about_tab.SCRIPT)

        # Not named transcribe: Gradio names an endpoint after its function, and that name is the API's.
        def show_transcripts(
            paths: str | list[str] | None, hotwords: str, known: KnownFiles, request: gr.Request
        ) -> Iterator[Update]:
            options = DecodingOptions(hotwords=parse_hotwords(hotwords[:MAX_HOTWORDS_CHARACTERS]))
            yield from transcribe_files(
                transcriber, paths, request_language(request), options, store is not None, known
            )

        known = gr.State({})
        outputs = [status, result, clip, text, known]
        progress: dict[str, Any] = {"show_progress": "full", "show_progress_on": status, **engine, **private}
        recorded = microphone.stop_recording(
            show_transcripts, [microphone, hotwords, gr.State({})], outputs, **progress
        )
        recorded.then(lambda: None, None, microphone, show_progress="hidden", **private)  # ready for the next recording
        uploaded = files.upload(show_transcripts, [files, hotwords, known], outputs, **progress)
        added = add_files.upload(
            lambda old, new: [*(old or []), *new], [files, add_files], files, show_progress="hidden", **private
        )
        added = added.then(show_transcripts, [files, hotwords, known], outputs, **progress)
        removed = files.delete(show_transcripts, [files, hotwords, known], outputs, **progress)
        running = [recorded, uploaded, added, removed]
        for button, example in zip(example_buttons, examples, strict=True):
            running.append(button.click(_transcribe_example(transcriber, example), None, outputs, **progress))
        gr.on(
            [microphone.start_recording, microphone.clear, files.clear], lambda: ("", placeholder, {}), None,
            [status, result, known], cancels=running, **private,
        )  # fmt: skip
        stop.click(_stopped_status, None, status, cancels=running, **private)

        add_transcribe_endpoint(transcriber, engine)
    blocks.i18n_words = i18n
    return blocks.queue(max_size=MAX_QUEUED, default_concurrency_limit=4)


def transcribe_files(
    transcriber: Transcriber, paths: str | list[str] | None, language: str,
    options: DecodingOptions = DEFAULT_OPTIONS, can_contribute: bool = False, known: KnownFiles | None = None,
    title: str = "",
) -> Iterator[Update]:  # fmt: skip
    """Transcribe files in order, and yield an update whenever the page should change.

    Files in `known` are not transcribed again. The last update has the files transcribed so far and, for a single
    short file that may be contributed, its clip and text.
    """
    paths = [paths] if isinstance(paths, str) else paths or []
    unchanged = (gr.skip(), gr.skip(), gr.skip())
    if not paths:
        yield "", render_error(translate("missing", language)), *unchanged
        return
    if len(paths) > upload_limits.MAX_FILES:
        error = render_error(translate("too_many", language, files=upload_limits.MAX_FILES))
        yield translate("failed", language), error, *unchanged
        return
    began, html_so_far, results, text = time.monotonic(), "", KnownFiles(), ""
    for path in paths:
        file_title = title or _file_title(path, language)
        if known and path in known:
            results[path] = known[path]
            html_so_far += known[path][0]
            continue
        yield render_status(translate("opening", language, name=file_title)), html_so_far, *unchanged
        try:
            for line, file_html, transcript in _transcribe_file(
                transcriber, path, file_title, language, options, can_contribute and len(paths) == 1
            ):
                yield line, html_so_far + file_html, *unchanged
                if transcript:
                    results[path], text = (file_html, transcript.seconds), transcript.text
        except Cancelled:
            return
        except ValueError as error:
            results[path] = render_error(describe_file_error(error, language), file_title), None
        html_so_far += results[path][0]
    lengths = [seconds for _, seconds in results.values() if seconds is not None]
    if len(lengths) > 1:
        html_so_far += transcript_html.render_download_all()
    is_contribution = can_contribute and len(paths) == 1 and bool(text) and sum(lengths) <= MAX_SECONDS
    contribution = (paths[0], text) if is_contribution else (gr.skip(), gr.skip())
    line = _final_status(lengths, len(results), time.monotonic() - began, language)
    yield render_status(line), html_so_far, *contribution, results


def _transcribe_file(
    transcriber: Transcriber, path: str | None, title: str, language: str, options: DecodingOptions,
    can_contribute: bool,
) -> Iterator[tuple[str, str, Transcript | None]]:  # fmt: skip
    """Status and HTML of a file for each update; the last item has the transcript too."""
    sound, fault, has_video = audio_files.read_upload(path)
    total, began, next_update, segments = len(sound) / audio_files.RATE, time.monotonic(), 0.0, list[Segment]()
    file_html = transcript_html.open_transcript(path or "", title, fault or "", has_video)
    for segment in transcriber.segments(sound, options=options, is_wanted=watch_caller()):
        starts_paragraph = bool(segments) and segment.start - segments[-1].end >= exports.PARAGRAPH_PAUSE
        segments.append(segment)
        file_html += transcript_html.render_segment(segment, transcriber.joint, starts_paragraph)
        if time.monotonic() < next_update:
            continue
        next_update = time.monotonic() + UPDATE_SECONDS
        seconds_left = (time.monotonic() - began) * (total / segment.end - 1) if segment.end else 0.0
        line = translate("hearing", language, name=title, heard=format_clock(segment.end), total=format_clock(total))
        is_near_end = segment.end >= total - 1
        time_left = "" if is_near_end else translate("left", language, left=format_clock(seconds_left + 0.999))
        yield render_status(line, time_left, segment.end / total), file_html, None
    if not segments:
        raise audio_files.AudioFileError("wordless")
    transcript = transcriber.transcript(sound, segments)
    ending = transcript_html.close_transcript(transcript, can_contribute and total <= MAX_SECONDS)
    yield render_status(title, "", 1.0), file_html + ending, transcript


def _final_status(lengths: Sequence[float], files: int, seconds: float, language: str) -> str:
    """The status at the end: `lengths` are the seconds of each file with a text, out of `files` files."""
    if not lengths:
        return translate("failed", language)
    if len(lengths) < files:
        return translate("done_some", language, failed=files - len(lengths), files=files)
    duration = format_number(seconds)[LANGUAGES.index(language)]
    return translate("done", language, total=format_clock(sum(lengths)), took=duration)


def _stopped_status(request: gr.Request) -> str:
    return render_status(translate("halted", request_language(request)))


def _file_title(path: str | None, language: str) -> str:
    name = clean_text(Path(path).name) if path else ""
    return translate("recording", language) if not name or name == "audio.wav" else name


def _transcribe_example(transcriber: Transcriber, example: Example) -> Callable[[gr.Request], Iterator[Update]]:
    def show_example(request: gr.Request) -> Iterator[Update]:
        yield from transcribe_files(transcriber, str(example.path), request_language(request), title=example.text)

    return show_example


def _build_example_buttons(examples: Sequence[Example]) -> list[gr.Button]:
    if not examples:
        return []
    with gr.Row(elem_classes="examples"):
        html(f'<span class="small">{bilingual("examples")}</span>')
        return [
            gr.Button(shorten(example.text, MAX_LABEL_CHARACTERS, placeholder="…"), size="sm") for example in examples
        ]
