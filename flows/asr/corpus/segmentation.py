"""The transcript of a long recording, cut into clips that keep the times of their sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from asr.corpus.transcripts import Segment

MIN_OVERLAP = 0.2  # seconds, about a syllable: a smaller overlap is sloppy timing, not simultaneous speech
MIN_REPEATED_WORDS = 3  # two captions share fewer by chance ("ja, ja")
_ASIDE = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|<[^<>]*>|\*[^*]*\*")


@dataclass(frozen=True)
class Cut:
    """The part of a recording that becomes a clip, in seconds."""

    start: float
    end: float
    text: str
    speaker: str | None
    segments: tuple[Segment, ...]  # with times from the cut's start
    problem: str | None = None  # why it is rejected


def cut_transcript(segments: Iterable[Segment], max_seconds: float, max_gap: float = 2.0) -> list[Cut]:
    """Join the segments of a transcript into cuts; every segment is in exactly one, in the order of their starts.

    Neighbours are joined while the cut is at most `max_seconds` long, the speaker is the same, and the gap is at most
    `max_gap` seconds: in a longer pause there may be speech that was not transcribed. These stay alone:

    - a segment longer than `max_seconds`, which has no `problem` (its length is checked later);
    - "no words": only text in brackets ("[musik]", "♪");
    - "impossible times": negative, infinite, or ending before they begin; those that are no numbers come last;
    - "speakers at once": overlapping speech of two speakers, which one channel cannot separate;
    - "captions that overlap": of one speaker, so that the right times are unknown;
    - "words that come twice": rolling captions, as YouTube's, which repeat the words of the one before.

    After an overlap under 0.2 s the earlier segment ends where the later begins, since captions linger. Other times are
    kept as they are: captions often begin slightly late, but padding would include the neighbours' words.

    >>> segments = [Segment(3.0, 4.5, "Hej på dig!"), Segment(5.0, 6.0, "Hej!"), Segment(9.0, 9.5, "[skratt]")]
    >>> [(cut.start, cut.end, cut.text, cut.problem) for cut in cut_transcript(segments, max_seconds=30.0)]
    [(3.0, 6.0, 'Hej på dig! Hej!', None), (9.0, 9.5, '[skratt]', 'no words')]
    >>> cut_transcript(segments, max_seconds=30.0)[0].segments[1]
    Segment(start=2.0, end=3.0, text='Hej!', speaker=None)
    """
    ordered, problems = _resolve_overlaps(segments, max_gap)
    groups: list[list[int]] = []
    for index, segment in enumerate(ordered):
        if index and not {index - 1, index} & problems.keys():
            first, previous = ordered[groups[-1][0]], ordered[index - 1]
            fits = segment.start - previous.end <= max_gap and segment.end - first.start <= max_seconds
            if segment.speaker == previous.speaker and fits:
                groups[-1].append(index)
                continue
        groups.append([index])
    return [_join_segments([ordered[index] for index in group], problems.get(group[0])) for group in groups]


def _join_segments(segments: list[Segment], problem: str | None) -> Cut:
    start = segments[0].start
    shifted = tuple(replace(segment, start=segment.start - start, end=segment.end - start) for segment in segments)
    text = " ".join(segment.text for segment in segments)
    return Cut(start, segments[-1].end, text, segments[0].speaker, shifted, problem)


def _resolve_overlaps(segments: Iterable[Segment], max_gap: float) -> tuple[list[Segment], dict[int, str]]:
    """The segments by their starts with small overlaps trimmed, and the problems by index."""
    ordered = sorted(segments, key=lambda segment: segment.start if math.isfinite(segment.start) else math.inf)
    problems: dict[int, str] = {}
    latest = None  # the index of the segment with words that ends last so far
    for index, segment in enumerate(ordered):
        if not 0 <= segment.start < segment.end < math.inf:
            problems[index] = "impossible times"
            continue
        if not any(letter.isalnum() for letter in _ASIDE.sub("", segment.text)):
            problems[index] = "no words"
            continue
        if latest is not None:
            previous = ordered[latest]
            overlap = previous.end - segment.start
            if 0 < overlap < MIN_OVERLAP and previous.start < segment.start:
                ordered[latest] = replace(previous, end=segment.start)
                overlap = 0.0
            same_speaker, problem = segment.speaker == previous.speaker, None
            if overlap > 0:
                problem = "captions that overlap" if same_speaker else "speakers at once"
            elif overlap >= -max_gap and same_speaker and _repeats_words(previous.text, segment.text):
                problem = "words that come twice"
            if problem:
                problems[index] = problem
                problems.setdefault(latest, problem)
        if latest is None or segment.end >= ordered[latest].end:
            latest = index
    return ordered, problems


def _repeats_words(previous: str, text: str) -> bool:
    """Whether a text begins with the last words of the previous one.

    >>> _repeats_words("Nu är vi i Örebro", "vi i Örebro igen"), _repeats_words("Nej, nej", "Nej, nej")
    (True, False)
    """
    old, new = previous.split(), text.split()
    starts = range(max(0, len(old) - len(new)), len(old) - MIN_REPEATED_WORDS + 1)
    return any(old[start] == new[0] and old[start:] == new[: len(old) - start] for start in starts)
