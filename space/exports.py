"""Transcripts as files to download, as they were decoded or as a visitor corrected them; several in an archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Annotated, Literal

import upload_limits
from fastapi import Response
from pydantic import BaseModel, Field, StringConstraints
from subtitles import format_transcript
from text import clean_text
from transcriber import Transcriber
from transcript import Segment, Transcript, Word

MAX_BYTES = 20_000_000  # of a request: an hour of speech with all its words takes about a million
PARAGRAPH_PAUSE = 1.5  # seconds without speech that start a new paragraph
MAX_TITLE_CHARACTERS = 200
MEDIA_TYPES = {
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "zip": "application/zip",
}

Seconds = Annotated[float, Field(ge=0, le=1e6)]
Line = Annotated[str, StringConstraints(max_length=10_000)]


class ExportSegment(BaseModel):
    """A word, or a segment with its words; a corrected segment has none, since their times are unknown."""

    start: Seconds
    end: Seconds
    text: Line
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0
    words: list[ExportSegment] = []


class ExportText(BaseModel):
    """One transcript."""

    title: Line
    seconds: Seconds | None = None  # of the recording; by default the end of the last segment
    segments: Annotated[list[ExportSegment], Field(max_length=50_000)]


class ExportRequest(BaseModel):
    """Transcripts, and the file format to write them in."""

    form: Literal["txt", "srt", "vtt", "json", "docx"]
    texts: Annotated[list[ExportText], Field(min_length=1, max_length=upload_limits.MAX_FILES)]


class ExportEndpoint:
    """The endpoint `/export`."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.language, self.joint = transcriber.language, transcriber.joint

    async def handle(self, request: ExportRequest) -> Response:
        """A file, or an archive if the request has several transcripts."""
        files = list(self._files(request))
        if len(files) == 1:
            return Response(files[0][1], media_type=MEDIA_TYPES[request.form])
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
            for name, content in files:
                writer.writestr(name, content)
        return Response(archive.getvalue(), media_type=MEDIA_TYPES["zip"])

    def _files(self, request: ExportRequest) -> Iterator[tuple[str, bytes]]:
        """Each file's unique name and content."""
        names = set[str]()
        for text in request.texts:
            title = clean_text(text.title)[:MAX_TITLE_CHARACTERS] or "text"
            stem = name = PurePath(title.replace("\\", "/")).stem or "text"
            while name in names:
                name = f"{stem} {len(names) + 1}"
            names.add(name)
            transcript = self._to_transcript(text)
            if request.form == "docx":
                content = write_docx(title, transcript)
            else:
                content = format_transcript(transcript, request.form).encode()
            yield f"{name}.{request.form}", content

    def _to_transcript(self, text: ExportText) -> Transcript:
        segments = tuple(
            Segment(
                segment.start,
                segment.end,
                cleaned,
                tuple(Word(word.start, word.end, word.text, word.confidence) for word in segment.words),
            )
            for segment in text.segments
            if (cleaned := clean_text(segment.text))
        )
        end = segments[-1].end if segments else 0.0
        full_text = self.joint.join(segment.text for segment in segments)
        return Transcript(full_text, segments, end if text.seconds is None else text.seconds, self.language)


def write_docx(title: str, transcript: Transcript) -> bytes:
    """A Word document: a heading, and the transcript in paragraphs."""
    from docx import Document

    document = Document()
    document.add_heading(title, level=1)
    for paragraph in split_paragraphs(transcript.segments):
        document.add_paragraph(paragraph)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def split_paragraphs(segments: Sequence[Segment]) -> list[str]:
    """The text between long pauses, as paragraphs.

    >>> split_paragraphs([Segment(0, 1, "Hej."), Segment(1.2, 2, "Du?"), Segment(4, 5, "Ja.")])
    ['Hej. Du?', 'Ja.']
    """
    paragraphs, last_end = list[str](), float("-inf")
    for segment in segments:
        if paragraphs and segment.start - last_end < PARAGRAPH_PAUSE:
            paragraphs[-1] += f" {segment.text}"
        else:
            paragraphs.append(segment.text)
        last_end = segment.end
    return paragraphs
