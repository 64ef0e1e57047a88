"""Speaker labels in the text of captions: nobody says "Anna Berg:", and a model would learn to write it.

Zoom writes "Anna Berg: Hej alla.", whisperX "[SPEAKER_00]: Hej", broadcasters "ANNA: Hej" and ">> ANNA: Hej".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

NUMBERED_SPEAKER = re.compile(r"(?i:speaker|spk|talare)[ _-]?\d+\b")  # written by a diarizer; not a name
MIN_LABEL_SHARE = 0.05  # of captions with a label: "Observera:" a few times in a lecture is not a speaker

_TURN = re.compile(r"\s+(?=>>)")
_LINE = re.compile(
    r"(?P<mark>(?:[-–—]\s*)?(?P<turn>>{2,}\s*)?)"
    r"(?:(?P<who>\[[^][:：]{1,40}\]|\([^():：]{1,40}\)|[^]\s:：?!<>[()][^:：?!<>]{0,39}?)\s*(?::(?=\s|$)|：)"
    rf"|(?P<machine>\[{NUMBERED_SPEAKER.pattern}\])(?=\s|$))?"
    r"\s*(?P<rest>.*)"
)
_PARTICLES = frozenset("af av da de del den der di du el la le och of ten van von".split())
_PHRASE, _NAME, _MARKED, _MACHINE = range(4)  # what a label looks like, in the order of certainty


@dataclass(frozen=True)
class _CaptionLine:
    label: str  # a possible label; "" if there is none
    kind: int
    text: str  # without the label
    text_with_label: str  # but without >>
    is_turn: bool  # a dash or >> marks that another speaker begins


def split_labels(captions: Iterable[tuple[str, str]]) -> list[tuple[str | None, str]]:
    """Separate the speaker labels from the text of captions.

    A label is text before a colon at the start of a line. What counts as one depends on the whole file, so that no word
    is lost for looking like a label once ("Observera: det regnar"):

    - "[SPEAKER_00]" always is; any other label has to occur twice.
    - Two occurrences are enough in brackets, after >>, and in capitals before lower case.
    - A name (each word capitalised) needs a file where names start at least a twentieth of the captions.
    - Beside such labels, others of the same kind may occur once: in capitals, or first and last name.
    - If most captions start with a name or a repeated label, every name and every repeated label counts ("anna: hej").
    - Times, web addresses and "EU:s" have no space after their colon.

    The speaker of a caption without a label depends on the file too. If labels mark a change of speaker, as
    broadcasters' do, many captions have none and hardly any repeats the one before: the speaker then continues until a
    dash or >>. If every caption has a label, as in Zoom, labels repeat, and a caption without one has no known speaker.
    A speaker does not continue either after a diarizer's labels, with a single label, or where few captions have any:
    subtitles for the deaf label only speakers out of sight.

    Args:
        captions: each caption's text, which may have several lines, and the speaker of its voice tags or "", who takes
            precedence over labels.

    Returns:
        Each caption's speaker, or None, and its text in one line without labels.

    >>> captions = ["ANNA: Hej!", "Är alla här?", "- Ja.\\n- BO: Jag också.", ">> ANNA: Bra."]
    >>> split_labels((text, "") for text in captions)
    [('ANNA', 'Hej!'), ('ANNA', 'Är alla här?'), ('BO', '- Ja. Jag också.'), ('ANNA', 'Bra.')]
    """
    parsed = [
        ([_parse_line(line) for line in _TURN.sub("\n", text).splitlines() if line], voice) for text, voice in captions
    ]
    first_lines = [lines[0] for lines, _ in parsed if lines]
    labels = _find_labels([line for lines, _ in parsed for line in lines], len(first_lines))
    continues, speaker = _speaker_continues(first_lines, labels), ""
    results = list[tuple[str | None, str]]()
    for lines, voice in parsed:
        speakers, texts = list[str](), list[str]()
        for number, line in enumerate(lines):
            if line.label in labels:
                speaker = line.label
            elif line.is_turn or (number == 0 and not continues):
                speaker = ""
            speakers.append(speaker)
            texts.append(line.text if line.label in labels else line.text_with_label)
        speaker = "" if voice else speaker
        names = " & ".join(dict.fromkeys(filter(None, speakers)))
        results.append((voice or names or None, " ".join(filter(None, texts))))
    return results


def _parse_line(text: str) -> _CaptionLine:
    match = _LINE.match(text)
    assert match  # every part of the pattern is optional
    written, rest = match["machine"] or match["who"] or "", match["rest"]
    label = written.strip("[]()").strip() if written[:1] in "[(" else written
    if written.startswith("[") and NUMBERED_SPEAKER.fullmatch(label):
        kind = _MACHINE
    elif match["turn"] or written[:1] in ("[", "(") or (len(label) > 1 and label.isupper() and not rest.isupper()):
        kind = _MARKED
    else:
        kind = _NAME if _is_name(label) else _PHRASE
    text_with_label = text[match.end("turn") :] if match["turn"] else text
    return _CaptionLine(label, kind, rest.strip(), text_with_label.strip(), bool(match["mark"]))


def _is_name(label: str) -> bool:
    """Whether each word is capitalised, in scripts with capitals.

    >>> _is_name("Anna von Essen (S)"), _is_name("Talare 2"), _is_name("Klockan är"), _is_name("7 Mars")
    (True, True, False, False)
    """
    words = label.split()
    return (
        0 < len(words) <= 5
        and words[0][0].isalpha()
        and not any(word[0].islower() and word not in _PARTICLES for word in words)
        and not words[0][0].islower()
    )


def _find_labels(lines: Sequence[_CaptionLine], captions: int) -> frozenset[str]:
    """The candidates that are labels, in a file of `captions` captions."""
    counts, kinds = Counter(line.label for line in lines if line.label), dict[str, int]()
    for line in lines:
        kinds[line.label] = max(kinds.get(line.label, _PHRASE), line.kind)

    def exceeds(labels: Iterable[str], share: float) -> bool:
        return sum(counts[label] for label in labels) > max(1, share * captions)

    repeated = {label for label in counts if counts[label] > 1}
    names = {label for label in counts if kinds[label] >= _NAME}
    marked = {label for label in counts if kinds[label] >= _MARKED}
    if exceeds(repeated | names, 0.5):
        return frozenset(repeated | names)
    labels = {label for label in counts if kinds[label] == _MACHINE} | (marked if marked & repeated else set())
    if exceeds(repeated & names, MIN_LABEL_SHARE):
        labels |= {label for label in names if label in repeated or " " in label}
    return frozenset(labels)


def _speaker_continues(first_lines: Sequence[_CaptionLine], labels: frozenset[str]) -> bool:
    """Whether a caption without a label has the speaker of the caption before it."""
    speakers = [line.label if line.label in labels else "" for line in first_lines]
    if any(line.kind == _MACHINE for line in first_lines) or len(labels) < 2:
        return False
    repeated = sum(previous == speaker != "" for previous, speaker in pairwise(speakers))
    labelled = sum(map(bool, speakers))
    return labelled >= MIN_LABEL_SHARE * len(speakers) and len(speakers) - labelled > repeated
