"""What was said in a recording: words, segments, and the files that hold them."""

from __future__ import annotations

import html
import json
import textwrap
from dataclasses import asdict, dataclass

FORMATS = ("txt", "srt", "vtt", "json")
LONGEST_CUE, WIDEST_CUE = 7.0, 84  # seconds and letters, two lines of 42, that a subtitle holds


@dataclass(frozen=True)
class Word:
    """A word with its punctuation; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    confidence: float  # 0 to 1: the mean probability of its tokens


@dataclass(frozen=True)
class Segment:
    """The text between two pauses, or a readable part of it; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    log_probability: float = 0.0  # mean over the tokens of the window that was decoded
    no_speech: float = 0.0  # probability of no speech in that window

    @property
    def confidence(self) -> float:
        """The words' mean, weighted by their length; 1 without words."""
        letters = [len(word.text) for word in self.words]
        if not letters:
            return 1.0
        return sum(count * word.confidence for count, word in zip(letters, self.words, strict=True)) / sum(letters)


@dataclass(frozen=True)
class Transcript:
    text: str
    segments: tuple[Segment, ...]  # empty if there is no speech
    seconds: float  # length of the recording
    language: str  # Whisper's code


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
        lines = "\n".join(textwrap.wrap(segment.text.replace("-->", "->"), WIDEST_CUE // 2))
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
