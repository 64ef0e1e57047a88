"""What was heard, as HTML: only ever added to, so that a growing text costs the browser its new words alone."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wording import tell

UNSURE = ((0.9, ""), (0.75, "u1"), (0.5, "u2"), (0.0, "u3"))  # at least so sure, and how it is underlined
FORMS = {"txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json"}
DOCUMENT = '<button type="button" data-form="docx">DOCX</button>'


def opening(path: str | Path, title: str, language: str, note: str = "") -> str:
    """The head of a file's result, with a note on its sound; `closing` ends it, after its segments."""
    label = html.escape(tell("recording", language))
    source = "gradio_api/file=" + quote(str(path))
    told = f'<p class="note" role="note">{html.escape(note)}</p>' if note else ""
    return (
        f'<article class="paper"><h2>{html.escape(title)}</h2>{told}'
        f'<audio controls preload="metadata" aria-label="{label}" src="{html.escape(source)}"></audio>'
        f'<ol aria-label="{html.escape(tell("segments", language))}">'
    )


def segment(part: Any, language: str, joint: str = " ") -> str:
    """A sentence with its time; its words tell when they are said, and are underlined by how unsure they are."""
    spoken = joint.join(word(one, language) for one in part.words) if part.words else html.escape(part.text)
    time = clock(part.start)
    return (
        f'<li data-from="{part.start:.2f}" data-to="{part.end:.2f}"><button type="button" data-at="{part.start:.2f}"'
        f' aria-label="{html.escape(tell("play", language, time=time))}">{time}</button><p>{spoken}</p></li>'
    )


def word(one: Any, language: str) -> str:
    kind = next(kind for least, kind in UNSURE if one.confidence >= least)
    sure = tell("sure", language, percent=round(100 * one.confidence))
    times = f'data-at="{one.start:.2f}" data-to="{one.end:.2f}"'
    return f'<span class="{kind}" {times} title="{sure}">{html.escape(one.text.strip())}</span>'


def closing(
    transcript: Any, title: str, render: Callable[[Any, str], str], language: str, lesson: bool = False
) -> str:  # fmt: skip
    """The text to take along, in every form; the page holds it, so the server keeps no file of it.

    A `lesson` can be given to Teach as well.
    """
    stem = Path(title).stem or "text"
    takes = "".join(
        f'<a download="{html.escape(stem)}.{form}" data-form="{form}" href="data:{kind};charset=utf-8;base64,'
        f'{b64encode(render(transcript, form).encode()).decode()}">{form.upper()}</a>'
        for form, kind in FORMS.items()
    )
    doubtful = any(one.confidence < UNSURE[0][0] for part in transcript.segments for one in part.words)
    legends = ["keys", *["legend"] * doubtful]
    legend = "".join(f'<p class="small">{html.escape(tell(key, language))}</p>' for key in legends)
    edit = f'<button type="button" data-edit aria-pressed="false">{html.escape(tell("edit", language))}</button>'
    copy = f'<button type="button" data-copy>{html.escape(tell("copy", language))}</button>'
    teach = f'<button type="button" data-teach>{html.escape(tell("to_teach", language))}</button>' if lesson else ""
    return (
        f'</ol><div class="foot" role="group" aria-label="{html.escape(tell("take", language))}">{edit}{copy}'
        f"{takes}{DOCUMENT}{teach}{legend}</div></article>"
    )


def together(language: str) -> str:
    """All texts to take along in one archive."""
    forms = "".join(f'<button type="button" data-form="{form}">{form.upper()}</button>' for form in FORMS)
    label = html.escape(tell("all", language))
    return f'<div class="foot all" role="group" aria-label="{label}"><b>{label}</b>{forms}{DOCUMENT}</div>'


def wrong(message: str, title: str = "") -> str:
    head = f"<h2>{html.escape(title)}</h2>" if title else ""
    return f'<article class="paper wrong" role="alert">{head}<p>{html.escape(message)}</p></article>'


def good(message: str) -> str:
    return f'<article class="paper good" role="status"><p>{html.escape(message)}</p></article>'


def status(left: str, right: str = "", part: float | None = None) -> str:
    """A line on how it goes; `part` of 1 is done."""
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
