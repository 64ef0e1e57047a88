"""Transcripts as HTML: only ever added to, so that a growing text costs the browser its new words alone."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from translations import both

UNSURE = ((0.9, ""), (0.75, "u1"), (0.5, "u2"), (0.0, "u3"))  # at least so sure, and the class that underlines it
FORMS = ("txt", "srt", "vtt", "json", "docx")


def opening(path: str | Path, title: str, note: str = "", video: bool = False) -> str:
    """The head of a file's transcript, with a note on its sound; `closing` ends it, after its segments."""
    source = html.escape("gradio_api/file=" + quote(str(path)))
    media = "video playsinline" if video else "audio"
    player = f'<{media} class="sound" controls preload="metadata" src="{source}"></{media.split()[0]}>'
    noted = f'<p class="note" role="note">{both(note)}</p>' if note else ""
    sure = both("sure", word=Markup("<q></q>"), percent=Markup("<b></b>"))
    return (
        f'<article class="paper" data-source="{source}"><h2>{html.escape(title)}</h2>{noted}{player}'
        f'<p class="gone small" hidden>{both("gone")}</p>'
        f'<div class="tools"><label>{both("search")}<input type="search" data-search><output></output></label>'
        f'<button type="button" data-flow aria-pressed="false">{both("no_times")}</button>'
        f'<button type="button" data-unsure>{both("next_unsure")}</button>'
        f'<p class="sure" role="status" hidden>{sure}</p></div><ol>'
    )


def segment(part: Any, joint: str = " ", paragraph: bool = False) -> str:
    """A sentence with its time; its words hold when they are said, and are underlined by how unsure they are.

    `paragraph` begins a new one.
    """
    text = joint.join(map(word, part.words)) if part.words else html.escape(part.text)
    return (
        f'<li data-from="{part.start:.2f}" data-to="{part.end:.2f}"{" data-new" * paragraph}>'
        f'<button type="button" data-at="{part.start:.2f}"><span class="unseen">{both("play")} </span>'
        f"{clock(part.start)}</button><p>{text}</p></li>"
    )


def word(one: Any) -> str:
    kind = next(kind for least, kind in UNSURE if one.confidence >= least)
    times = f'data-at="{one.start:.2f}" data-to="{one.end:.2f}"'
    return f'<span class="{kind}" {times} data-sure="{one.confidence:.3f}">{html.escape(one.text.strip())}</span>'


def closing(transcript: Any, lesson: bool = False) -> str:
    """What can be done with the text. A `lesson` can be given to Teach as well."""
    doubtful = any(one.confidence < UNSURE[0][0] for part in transcript.segments for one in part.words)
    legends = "".join(f'<p class="small">{both(key)}</p>' for key in ["keys", *["legend"] * doubtful])
    teach = f'<button type="button" data-teach>{both("to_teach")}</button>' if lesson else ""
    return (
        f'</ol><div class="foot" role="group" data-seconds="{transcript.seconds:.2f}">'
        f'<button type="button" data-edit aria-pressed="false">{both("edit")}</button>'
        f'<button type="button" data-copy>{both("copy")}</button>{_forms()}{teach}{legends}</div></article>'
    )


def together() -> str:
    """All texts in one archive."""
    return f'<div class="foot all" role="group"><b>{both("all")}</b>{_forms()}</div>'


def kept() -> str:
    """Where the page shows the transcripts that the browser has kept from earlier."""
    return (
        f'<section class="kept" hidden><h2 class="head">{both("kept")}</h2>'
        f'<p class="small">{both("kept_where")} <button type="button" data-forget="">{both("forget_all")}</button></p>'
        f'<div></div><template><button type="button" data-forget>{both("forget")}</button></template></section>'
    )


def wrong(message: str, title: str = "") -> str:
    head = f"<h2>{html.escape(title)}</h2>" if title else ""
    return f'<article class="paper wrong">{head}<p role="alert">{html.escape(message)}</p></article>'


def good(message: str) -> str:
    return f'<article class="paper good"><p role="status">{html.escape(message)}</p></article>'


def status(left: str, right: str = "", part: float | None = None) -> str:
    """A line on the progress; `part` of 1 is done."""
    bar = "" if part is None else f'<progress value="{part:.3f}" aria-label="{html.escape(left)}"></progress>'
    told = f'<span role="status">{html.escape(left)}</span><span>{html.escape(right)}</span>'
    return f'<div class="status">{told}{bar}</div>'


def empty(title: str, more: str = "") -> str:
    return f'<div class="empty"><b>{title}</b><p>{more}</p></div>'


def clock(seconds: float) -> str:
    """
    >>> clock(7.6), clock(754), clock(3661)
    ('0:07', '12:34', '1:01:01')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _forms() -> str:
    return "".join(f'<button type="button" data-form="{form}">{form.upper()}</button>' for form in FORMS)
