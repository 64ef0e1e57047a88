"""A long recording's transcript, cut into clips that keep the times of their sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from asr.corpus.transcripts import Segment

SMALL = 0.2  # seconds, about a syllable: captions that overlap by less were set in haste, not said at once
REPEATED = 3  # words: fewer, two captions share by chance ("ja, ja")
_ASIDE = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|<[^<>]*>|\*[^*]*\*")


@dataclass(frozen=True)
class Cut:
    """The part of a recording that becomes a clip, in seconds."""

    start: float
    end: float
    text: str
    speaker: str | None
    segments: tuple[Segment, ...]  # with times from the cut's start
    problem: str | None = None  # why it is not fit to be one


def cut(segments: Iterable[Segment], longest: float, gap: float = 2.0) -> list[Cut]:
    """What becomes of a transcript: every segment in exactly one cut, in the order of their starts.

    Neighbours are joined while the whole is at most `longest` seconds, the speaker is the same and at most `gap`
    seconds lie between them: in a longer silence somebody may have spoken whom nobody wrote down. These stand alone,
    and neither side of them is joined:

    - a segment longer than `longest`, which has no `problem` but its length;
    - "no words": nothing is said but what stands in brackets ("[musik]", "♪");
    - "impossible times": negative, infinite, or ending before they begin; where they are no numbers, they come last;
    - "speakers at once": one channel cannot tell them apart;
    - "captions that overlap": of one speaker, so that nobody knows whose time is right;
    - "words that come twice": captions that roll, as YouTube's do, begin with the words of the one before.

    An overlap under 0.2 s is no overlap: the earlier segment ends where the later begins, since captions linger.
    Otherwise times stay exactly as written. Captions often begin a few hundredths late, but how late is each hand's
    habit, and a pad would take in the neighbours' words; Whisper's grid of 0.02 s is the training's to round to.

    >>> said = [Segment(3.0, 4.5, "Hej på dig!"), Segment(5.0, 6.0, "Hej!"), Segment(9.0, 9.5, "[skratt]")]
    >>> [(one.start, one.end, one.text, one.problem) for one in cut(said, longest=30.0)]
    [(3.0, 6.0, 'Hej på dig! Hej!', None), (9.0, 9.5, '[skratt]', 'no words')]
    >>> cut(said, longest=30.0)[0].segments[1]
    Segment(start=2.0, end=3.0, text='Hej!', speaker=None)
    """
    ordered, problems = _untangled(segments, gap)
    runs: list[list[int]] = []
    for at, one in enumerate(ordered):
        if at and not {at - 1, at} & problems.keys():
            first, before = ordered[runs[-1][0]], ordered[at - 1]
            if one.speaker == before.speaker and one.start - before.end <= gap and one.end - first.start <= longest:
                runs[-1].append(at)
                continue
        runs.append([at])
    return [_joined([ordered[at] for at in run], problems.get(run[0])) for run in runs]


def _joined(run: list[Segment], problem: str | None) -> Cut:
    start = run[0].start
    timed = tuple(replace(one, start=one.start - start, end=one.end - start) for one in run)
    return Cut(start, run[-1].end, " ".join(one.text for one in run), run[0].speaker, timed, problem)


def _untangled(segments: Iterable[Segment], gap: float) -> tuple[list[Segment], dict[int, str]]:
    """The segments by their starts, small overlaps trimmed, and what is wrong with which."""
    ordered = sorted(segments, key=lambda one: one.start if math.isfinite(one.start) else math.inf)
    problems: dict[int, str] = {}
    last = None  # of those with words, the one that ends last: nothing before it reaches further
    for at, one in enumerate(ordered):
        if not 0 <= one.start < one.end < math.inf:
            problems[at] = "impossible times"
            continue
        if not any(letter.isalnum() for letter in _ASIDE.sub("", one.text)):
            problems[at] = "no words"
            continue
        if last is not None:
            before = ordered[last]
            overlap = before.end - one.start
            if 0 < overlap < SMALL and before.start < one.start:
                ordered[last] = replace(before, end=one.start)
                overlap = 0.0
            problem = None
            if overlap > 0:
                problem = "captions that overlap" if one.speaker == before.speaker else "speakers at once"
            elif overlap >= -gap and one.speaker == before.speaker and _rolls(before.text, one.text):
                problem = "words that come twice"
            if problem:
                problems[at] = problem
                problems.setdefault(last, problem)
        if last is None or one.end >= ordered[last].end:
            last = at
    return ordered, problems


def _rolls(before: str, after: str) -> bool:
    """Whether one text begins with the last words of the other.

    >>> _rolls("Nu är vi i Örebro", "vi i Örebro igen"), _rolls("Nej, nej", "Nej, nej")
    (True, False)
    """
    old, new = before.split(), after.split()
    ends = range(max(0, len(old) - len(new)), len(old) - REPEATED + 1)
    return any(old[at] == new[0] and old[at:] == new[: len(old) - at] for at in ends)
