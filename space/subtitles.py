"""A transcript as a file: subtitles (SRT, WebVTT), plain text or JSON."""

from __future__ import annotations

import html
import json
import textwrap
from dataclasses import asdict

from transcript import Transcript, Word

FORMATS = ("txt", "srt", "vtt", "json")
LINE_LETTERS, CUE_LINES = 42, 2
LONGEST_CUE, WIDEST_CUE = 7.0, CUE_LINES * LINE_LETTERS  # seconds and letters that a subtitle holds


def format_transcript(transcript: Transcript, file_format: str) -> str:
    """The transcript as the text of a file: txt, srt, vtt or json."""
    segments = transcript.segments
    if file_format == "txt":
        return "".join(f"{segment.text}\n" for segment in segments)
    if file_format == "json":
        return json.dumps(asdict(transcript), ensure_ascii=False, indent=2) + "\n"
    comma = {"srt": ",", "vtt": "."}[file_format]

    def timestamp(seconds: float) -> str:
        whole, thousandths = divmod(round(1000 * seconds), 1000)
        return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{thousandths:03}"

    cues = []
    for number, segment in enumerate(segments, 1):
        lines = "\n".join(textwrap.wrap(segment.text.replace("-->", "->"), LINE_LETTERS))
        times = f"{timestamp(segment.start)} --> {timestamp(segment.end)}"
        escaped = html.escape(lines, False)
        cues.append(f"{number}\n{times}\n{lines}\n" if file_format == "srt" else f"{times}\n{escaped}\n")
    return "\n".join(cues if file_format == "srt" else ["WEBVTT\n", *cues])


def split_into_cues(words: tuple[Word, ...]) -> list[tuple[Word, ...]]:
    """Split words into as few parts as fit a subtitle, at the end of a sentence, at a gap, or near the middle."""
    first, last = words[0].start, words[-1].end
    if len(words) < 2 or (last - first <= LONGEST_CUE and len(" ".join(word.text for word in words)) <= WIDEST_CUE):
        return [words]

    def score(at: int) -> float:
        before, after = words[at - 1], words[at]
        mark = 1.0 if before.text[-1] in ".?!…。？！" else 0.5 if before.text[-1] in ",;:–、，" else 0.0
        middle = abs((before.end + after.start) / 2 - (first + last) / 2) / max(last - first, 0.01)
        return mark + min(after.start - before.end, 1.0) - 2 * middle**2

    best = max(range(1, len(words)), key=score)
    return split_into_cues(words[:best]) + split_into_cues(words[best:])
