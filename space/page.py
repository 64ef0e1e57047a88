"""The page: four tabs, and the API beside them."""

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
from batching import Stopped
from components import html, microphone, why
from contribution_tab import classroom
from contributions import LONGEST, Lessons, plain
from decoding import DecodingOptions, parse_hotwords
from examples import Example
from gradio_api import api
from sessions import wanted
from transcriber import DEFAULT_OPTIONS, Transcriber
from transcript import Segment, Transcript
from translations import LANGUAGES, SPOKEN, both, language_of, number, tell, translations

WAITING = 32  # requests in the queue; the next is told that it is full
KEPT = 3600  # seconds before a sound is deleted, and between looks for them
HINTS = 2_000  # letters of words that may be said
LABEL = 48  # letters of an example's button
PACE = 0.3  # seconds between two pictures of a growing text

Known = dict[str, tuple[str, float | None]]  # by path: what a file's text looks like, and its seconds if it had any
Picture = tuple[str, str, Any, Any, Any]  # status, result, and for Teach: clip, text; the files that are known


def page(
    transcriber: Transcriber,
    lessons: Lessons | None = None,
    where: str = "",
    revision: str | None = None,
    examples: Sequence[Example] = (),
) -> gr.Blocks:
    """The whole page. `where` is the model's id on the Hub, if it came from there."""
    engine: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 1}  # it uses every core for one
    quiet: dict[str, Any] = {"api_visibility": "private", "queue": True}
    t = translations()

    with gr.Blocks(
        title=f"{SPOKEN.get(transcriber.language, ['Any'])[0]} speech to text", delete_cache=(KEPT, KEPT)
    ) as blocks:
        spoken_here = SPOKEN.get(transcriber.language, (transcriber.language,) * 2)
        html(header.masthead(spoken_here), elem_id="masthead", js_on_load=header.SCRIPT)
        with gr.Tabs():
            with gr.Tab(t("transcribe"), id="transcribe"):
                with gr.Row(equal_height=True):
                    spoken = microphone(t("microphone"), elem_id="sound")
                    files = gr.File(
                        label=t("files"), file_count="multiple", height=170,
                        elem_id="files", elem_classes="drop", buttons=[], min_width=280,
                    )  # fmt: skip
                # Gradio's own, a button in a button, is nothing for a keyboard or a screen reader.
                more = gr.UploadButton(t("more"), file_count="multiple", size="sm", elem_id="more")
                html(f'<p class="small">{both("limits", **audio_files.limits())}</p>')
                hints = gr.Textbox(
                    label=t("hints"), placeholder=t("hints_example"), max_length=HINTS, elem_id="hints",
                    elem_classes="field",
                )  # fmt: skip
                tries = _buttons(examples)
                status = html(elem_id="status")
                halt = gr.Button(t("stop"), size="md", elem_id="halt")
                nothing = transcript_html.empty(both("empty"), both("empty_more"))
                result = html(nothing, elem_id="result")
                html(transcript_html.kept(), elem_id="kept", js_on_load=editor.SCRIPT)
            with gr.Tab(t("live"), id="live"):
                html(f'<p class="lead">{both("live_lead")}</p>')
                html(live_tab.recorder(transcriber.joint), elem_id="words", js_on_load=live_tab.SCRIPT)
            with gr.Tab(t("teach"), id="teach"):
                if lessons is None:
                    html(f'<p class="lead">{both("teach_off")}</p>')
                clip, said = classroom(transcriber, lessons, t, engine) if lessons else (gr.State(), gr.State())
            with gr.Tab(t("about"), id="about"):
                html(about_tab.model(transcriber.release, where, revision), elem_id="model")
                html(about_tab.program(), elem_id="program", js_on_load=about_tab.SCRIPT)

        def show(given: str | list[str] | None, hints: str, known: Known, request: gr.Request) -> Iterator[Picture]:
            hotwords = DecodingOptions(hotwords=parse_hotwords(hints[:HINTS]))
            yield from _show(transcriber, given, language_of(request), hotwords, lessons is not None, known)

        known = gr.State({})
        seen = [status, result, clip, said, known]
        listening: dict[str, Any] = {"show_progress": "full", "show_progress_on": status, **engine, **quiet}
        heard = spoken.stop_recording(show, [spoken, hints, gr.State({})], seen, **listening)
        heard.then(lambda: None, None, spoken, show_progress="hidden", **quiet)  # ready for the next
        given = files.upload(show, [files, hints, known], seen, **listening)
        added = more.upload(
            lambda old, new: [*(old or []), *new], [files, more], files, show_progress="hidden", **quiet
        )
        added = added.then(show, [files, hints, known], seen, **listening)
        fewer = files.delete(show, [files, hints, known], seen, **listening)
        running = [heard, given, added, fewer]
        for button, example in zip(tries, examples, strict=True):
            running.append(button.click(_example(transcriber, example), None, seen, **listening))
        gr.on(
            [spoken.start_recording, spoken.clear, files.clear], lambda: ("", nothing, {}), None,
            [status, result, known], cancels=running, **quiet,
        )  # fmt: skip
        halt.click(_halted, None, status, cancels=running, **quiet)

        api(transcriber, engine)
    blocks.i18n_words = t
    return blocks.queue(max_size=WAITING, default_concurrency_limit=4)


def _show(
    transcriber: Transcriber, given: str | list[str] | None, language: str, decoding: DecodingOptions = DEFAULT_OPTIONS,
    lessons: bool = False, known: Known | None = None, title: str = "",
) -> Iterator[Picture]:  # fmt: skip
    """Every file's text as it grows, those that are `known` at once; at last the clip for Teach, where there was one
    short file, and the files that are known now."""
    paths = [given] if isinstance(given, str) else given or []
    later = (gr.skip(), gr.skip(), gr.skip())
    if not paths:
        yield "", transcript_html.wrong(tell("missing", language)), *later
        return
    if len(paths) > audio_files.FILES:
        yield (
            tell("failed", language),
            transcript_html.wrong(tell("too_many", language, files=audio_files.FILES)),
            *later,
        )
        return
    began, shown, found, text = time.monotonic(), "", Known(), ""
    for path in paths:
        called = title or _title(path, language)
        if known and path in known:
            found[path] = known[path]
            shown += known[path][0]
            continue
        yield transcript_html.status(tell("opening", language, name=called)), shown, *later
        try:
            for line, added, transcript in _read(
                transcriber, path, called, language, decoding, lessons and len(paths) == 1
            ):
                yield line, shown + added, *later
                if transcript:
                    found[path], text = (added, transcript.seconds), transcript.text
        except Stopped:
            return
        except ValueError as error:
            found[path] = transcript_html.wrong(why(error, language), called), None
        shown += found[path][0]
    seconds = [lasting for _, lasting in found.values() if lasting is not None]
    failed, total = len(found) - len(seconds), sum(seconds)
    took = number(time.monotonic() - began)[LANGUAGES.index(language)]
    line = tell("done", language, total=transcript_html.clock(total), took=took)
    if failed:
        some = tell("done_some", language, failed=failed, files=len(found))
        line = some if seconds else tell("failed", language)
    if len(seconds) > 1:
        shown += transcript_html.together()
    lesson = (paths[0], text) if lessons and len(paths) == 1 and text and total <= LONGEST else (gr.skip(), gr.skip())
    yield transcript_html.status(line), shown, *lesson, found


def _read(
    transcriber: Transcriber,
    path: str | None,
    title: str,
    language: str,
    decoding: DecodingOptions = DEFAULT_OPTIONS,
    alone: bool = False,
) -> Iterator[tuple[str, str, Transcript | None]]:
    """The status and the result's HTML, as often as there is something to see; at last the transcript with them."""
    sound, fault, pictured = audio_files.hear(path)
    total, began, due, parts = len(sound) / audio_files.RATE, time.monotonic(), 0.0, list[Segment]()
    shown = transcript_html.opening(path or "", title, fault or "", pictured)
    for part in transcriber.segments(sound, options=decoding, is_wanted=wanted()):
        paragraph = bool(parts) and part.start - parts[-1].end >= exports.PAUSE
        parts.append(part)
        shown += transcript_html.segment(part, transcriber.joint, paragraph)
        if time.monotonic() < due:
            continue
        due = time.monotonic() + PACE
        left = (time.monotonic() - began) * (total / part.end - 1) if part.end else 0.0
        heard = tell(
            "hearing", language, name=title, heard=transcript_html.clock(part.end), total=transcript_html.clock(total)
        )
        more = tell("left", language, left=transcript_html.clock(left + 0.999)) if part.end < total - 1 else ""
        yield transcript_html.status(heard, more, part.end / total), shown, None
    if not parts:
        raise audio_files.Unheard("wordless")
    transcript = transcriber.transcript(sound, parts)
    ending = transcript_html.closing(transcript, alone and total <= LONGEST)
    yield transcript_html.status(title, "", 1.0), shown + ending, transcript


def _halted(request: gr.Request) -> str:
    return transcript_html.status(tell("halted", language_of(request)))


def _title(path: str | None, language: str) -> str:
    name = plain(Path(path).name) if path else ""
    return tell("recording", language) if not name or name == "audio.wav" else name


def _example(transcriber: Transcriber, example: Example) -> Callable[[gr.Request], Iterator[Picture]]:
    def show(request: gr.Request) -> Iterator[Picture]:
        yield from _show(transcriber, str(example.path), language_of(request), title=example.text)

    return show


def _buttons(examples: Sequence[Example]) -> list[gr.Button]:
    if not examples:
        return []
    with gr.Row(elem_classes="examples"):
        html(f'<span class="small">{both("examples")}</span>')
        return [gr.Button(shorten(example.text, LABEL, placeholder="…"), size="sm") for example in examples]
