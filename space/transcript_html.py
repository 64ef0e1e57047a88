"""Transcripts as HTML. A growing transcript is only appended to, so the browser gets just the new words."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from translations import bilingual

# The lowest confidence of each class; all but the first underline the word.
CONFIDENCE_CLASSES = ((0.9, ""), (0.75, "u1"), (0.5, "u2"), (0.0, "u3"))
FORMATS = ("txt", "srt", "vtt", "json", "docx")


def open_transcript(path: str | Path, title: str, warning: str = "", is_video: bool = False) -> str:
    """The start of a file's transcript: title, player and tools. Segments follow, then `close_transcript`.

    `warning` is the key of a text about the audio.
    """
    source = html.escape("gradio_api/file=" + quote(str(path)))
    media = "video playsinline" if is_video else "audio"
    player = f'<{media} class="sound" controls preload="metadata" src="{source}"></{media.split()[0]}>'
    note = f'<p class="note" role="note">{bilingual(warning)}</p>' if warning else ""
    confidence = bilingual("sure", word=Markup("<q></q>"), percent=Markup("<b></b>"))
    return (
        f'<article class="paper" data-source="{source}"><h2>{html.escape(title)}</h2>{note}{player}'
        f'<p class="gone small" hidden>{bilingual("gone")}</p>'
        f'<div class="tools"><label>{bilingual("search")}<input type="search" data-search><output></output></label>'
        f'<button type="button" data-flow aria-pressed="false">{bilingual("no_times")}</button>'
        f'<button type="button" data-unsure>{bilingual("next_unsure")}</button>'
        f'<p class="sure" role="status" hidden>{confidence}</p></div><ol>'
    )


def render_segment(segment: Any, joint: str = " ", starts_paragraph: bool = False) -> str:
    """A segment with its time, and its words with theirs; words of low confidence are underlined.

    `joint` stands between words.
    """
    text = joint.join(map(_render_word, segment.words)) if segment.words else html.escape(segment.text)
    return (
        f'<li data-from="{segment.start:.2f}" data-to="{segment.end:.2f}"{" data-new" * starts_paragraph}>'
        f'<button type="button" data-at="{segment.start:.2f}"><span class="unseen">{bilingual("play")} </span>'
        f"{format_clock(segment.start)}</button><p>{text}</p></li>"
    )


def _render_word(word: Any) -> str:
    name = next(name for lowest, name in CONFIDENCE_CLASSES if word.confidence >= lowest)
    times = f'data-at="{word.start:.2f}" data-to="{word.end:.2f}"'
    return f'<span class="{name}" {times} data-sure="{word.confidence:.3f}">{html.escape(word.text.strip())}</span>'


def close_transcript(transcript: Any, can_contribute: bool = False) -> str:
    """The end of a transcript: buttons to correct, copy, download and, if it can be contributed, contribute it."""
    has_unsure = any(
        word.confidence < CONFIDENCE_CLASSES[0][0] for segment in transcript.segments for word in segment.words
    )
    legends = "".join(f'<p class="small">{bilingual(key)}</p>' for key in ["keys", *["legend"] * has_unsure])
    contribute = f'<button type="button" data-teach>{bilingual("to_teach")}</button>' if can_contribute else ""
    return (
        f'</ol><div class="foot" role="group" data-seconds="{transcript.seconds:.2f}">'
        f'<button type="button" data-edit aria-pressed="false">{bilingual("edit")}</button>'
        f'<button type="button" data-copy>{bilingual("copy")}</button>{_download_buttons()}{contribute}{legends}'
        "</div></article>"
    )


def render_download_all() -> str:
    """Buttons that download all transcripts as an archive."""
    return f'<div class="foot all" role="group"><b>{bilingual("all")}</b>{_download_buttons()}</div>'


def render_saved_transcripts() -> str:
    """The section that lists the transcripts saved in the browser; a script fills it."""
    return (
        f'<section class="kept" hidden><h2 class="head">{bilingual("kept")}</h2>'
        f'<p class="small">{bilingual("kept_where")} '
        f'<button type="button" data-forget="">{bilingual("forget_all")}</button></p>'
        f'<div></div><template><button type="button" data-forget>{bilingual("forget")}</button></template></section>'
    )


def render_error(message: str, title: str = "") -> str:
    """A message in place of a result."""
    heading = f"<h2>{html.escape(title)}</h2>" if title else ""
    return f'<article class="paper wrong">{heading}<p role="alert">{html.escape(message)}</p></article>'


def render_success(message: str) -> str:
    """A message that something was done."""
    return f'<article class="paper good"><p role="status">{html.escape(message)}</p></article>'


def render_status(text: str, time_left: str = "", progress: float | None = None) -> str:
    """A line on the progress, with a bar where `progress`, 0 to 1, is known."""
    bar = "" if progress is None else f'<progress value="{progress:.3f}" aria-label="{html.escape(text)}"></progress>'
    line = f'<span role="status">{html.escape(text)}</span><span>{html.escape(time_left)}</span>'
    return f'<div class="status">{line}{bar}</div>'


def render_placeholder(title: str, hint: str = "") -> str:
    """The placeholder of a result."""
    return f'<div class="empty"><b>{title}</b><p>{hint}</p></div>'


def format_clock(seconds: float) -> str:
    """Minutes and seconds, with hours from 1:00:00 on.

    >>> format_clock(7.6), format_clock(754), format_clock(3661)
    ('0:07', '12:34', '1:01:01')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _download_buttons() -> str:
    return "".join(f'<button type="button" data-form="{name}">{name.upper()}</button>' for name in FORMATS)
