"""Texts as files: as they were heard or as a visitor has corrected them, one by one or several in an archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Annotated, Literal

import audio_files
from contributions import plain
from fastapi import Response
from pydantic import BaseModel, Field, StringConstraints
from transcriber import Transcriber
from transcript import Segment, Transcript, Word, format_transcript

MOST_BYTES = 20_000_000  # of a request: an hour of speech with all its words is one
PAUSE = 1.5  # seconds without speech that begin a paragraph
LETTERS = 200  # of a title
KINDS = {
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "zip": "application/zip",
}

Seconds = Annotated[float, Field(ge=0, le=1e6)]
Line = Annotated[str, StringConstraints(max_length=10_000)]


class Spoken(BaseModel):
    """A word, or a stretch of speech with its words; none where it was corrected, since their times are not known."""

    start: Seconds
    end: Seconds
    text: Line
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0
    words: list[Spoken] = []


class Text(BaseModel):
    title: Line
    seconds: Seconds | None = None  # of the recording; those of the last segment's end without
    segments: Annotated[list[Spoken], Field(max_length=50_000)]


class Asked(BaseModel):
    """The files that are asked for."""

    form: Literal["txt", "srt", "vtt", "json", "docx"]
    texts: Annotated[list[Text], Field(min_length=1, max_length=audio_files.FILES)]


class Exports:
    """The end point."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.language, self.joint = transcriber.language, transcriber.joint

    async def answer(self, asked: Asked) -> Response:
        """One file, or where several texts are given, an archive of them."""
        made = list(self._named(asked))
        if len(made) == 1:
            return Response(made[0][1], media_type=KINDS[asked.form])
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in made:
                file.writestr(name, content)
        return Response(archive.getvalue(), media_type=KINDS["zip"])

    def _named(self, asked: Asked) -> Iterator[tuple[str, bytes]]:
        taken = set[str]()
        for text in asked.texts:
            title = plain(text.title)[:LETTERS] or "text"
            stem = name = PurePath(title.replace("\\", "/")).stem or "text"
            while name in taken:
                name = f"{stem} {len(taken) + 1}"
            taken.add(name)
            transcript = self._transcript(text)
            content = (
                docx(title, transcript) if asked.form == "docx" else format_transcript(transcript, asked.form).encode()
            )
            yield f"{name}.{asked.form}", content

    def _transcript(self, told: Text) -> Transcript:
        segments = tuple(
            Segment(one.start, one.end, said, tuple(Word(w.start, w.end, w.text, w.confidence) for w in one.words))
            for one in told.segments
            if (said := plain(one.text))
        )
        text = self.joint.join(one.text for one in segments)
        ends = segments[-1].end if segments else 0.0
        return Transcript(text, segments, ends if told.seconds is None else told.seconds, self.language)


def docx(title: str, transcript: Transcript) -> bytes:
    """A document of Word: a heading, and a paragraph from pause to pause."""
    from docx import Document

    document = Document()
    document.add_heading(title, level=1)
    for paragraph in paragraphs(transcript.segments):
        document.add_paragraph(paragraph)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def paragraphs(segments: Sequence[Segment]) -> list[str]:
    """The text from one longer pause to the next.

    >>> paragraphs([Segment(0, 1, "Hej."), Segment(1.2, 2, "Du?"), Segment(4, 5, "Ja.")])
    ['Hej. Du?', 'Ja.']
    """
    told, ended = list[str](), float("-inf")
    for one in segments:
        if told and one.start - ended < PAUSE:
            told[-1] += f" {one.text}"
        else:
            told.append(one.text)
        ended = one.end
    return told
