"""Who speaks, where captions say so in their text: nobody says "Anna Berg:", and a model would learn to write it.

Zoom has "Anna Berg: Hej alla.", whisperX "[SPEAKER_00]: Hej", broadcasters "ANNA: Hej" and ">> ANNA: Hej".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

NUMBERED = re.compile(r"(?i:speaker|spk|talare)[ _-]?\d+\b")  # whom a machine told apart; no name
SHARE = 0.05  # of the captions with a label: "Observera:" a few times in a lecture makes no speaker

_TURN = re.compile(r"\s+(?=>>)")
_LINE = re.compile(
    r"(?P<mark>(?:[-–—]\s*)?(?P<turn>>{2,}\s*)?)"
    r"(?:(?P<who>\[[^][:：]{1,40}\]|\([^():：]{1,40}\)|[^]\s:：?!<>[()][^:：?!<>]{0,39}?)\s*(?::(?=\s|$)|：)"
    rf"|(?P<machine>\[{NUMBERED.pattern}\])(?=\s|$))?"
    r"\s*(?P<said>.*)"
)
_PARTICLES = frozenset("af av da de del den der di du el la le och of ten van von".split())
_PHRASE, _NAME, _MARKED, _MACHINE = range(4)  # what a label looks like, whether or not it comes again


@dataclass(frozen=True)
class _Line:
    label: str  # what may be one; "" where there is nothing like it
    looks: int
    said: str  # without the label
    whole: str  # with it, and without >>
    turns: bool  # a dash or >> tells that somebody else begins to speak


def apart(captions: Iterable[tuple[str, str]]) -> list[tuple[str | None, str]]:
    """Each caption's speaker, or None, and its text in one line without labels.

    Given are its text, a line a line, and the speaker of its voice tags or "", who goes before any label.

    A label is what stands before a colon where a line begins, and no word is lost for looking like one once
    ("Observera: det regnar"). Only "[SPEAKER_00]" is one at once; any other has to come twice. That is enough in
    brackets, after >> and in capitals before small letters; a name, with a capital to each word, needs a file with
    so many of them that they could open a twentieth of its captions. Beside those, others of their kind may come
    once: also in capitals, or of a first and a last name. Where most captions have a name or what comes again, every
    name is a label, and so is whatever comes again ("anna: hej"). Times, web addresses and "EU:s" have no space after
    their colon.

    Whose a caption without a label is, the file tells. Where labels mark a change of speaker, as broadcasters' do,
    many captions have none and hardly one repeats the label of the caption before: there the speaker goes on, until a
    dash or >> tells of somebody else. Where each caption has its own, as in Zoom, the same is repeated again and
    again, and a caption without is of nobody known. Nor does a speaker go on where a machine told them apart, which
    labels all that it knows; where there is but one label, which marks no change; and where few captions have any:
    subtitles for the deaf name who is out of sight.

    >>> apart([("ANNA: Hej!", ""), ("Är alla här?", ""), ("- Ja.\\n- BO: Jag också.", ""), (">> ANNA: Bra.", "")])
    [('ANNA', 'Hej!'), ('ANNA', 'Är alla här?'), ('BO', '- Ja. Jag också.'), ('ANNA', 'Bra.')]
    """
    given = [([_line(line) for line in _TURN.sub("\n", text).splitlines() if line], voice) for text, voice in captions]
    first = [lines[0] for lines, _ in given if lines]
    labels = _labels([line for lines, _ in given for line in lines], len(first))
    goes_on, speaker = _goes_on(first, labels), ""
    found = list[tuple[str | None, str]]()
    for lines, voice in given:
        who, said = list[str](), list[str]()
        for at, line in enumerate(lines):
            if line.label in labels:
                speaker = line.label
            elif line.turns or (at == 0 and not goes_on):
                speaker = ""
            who.append(speaker)
            said.append(line.said if line.label in labels else line.whole)
        speaker = "" if voice else speaker
        found.append((voice or " & ".join(dict.fromkeys(filter(None, who))) or None, " ".join(filter(None, said))))
    return found


def _line(text: str) -> _Line:
    found = _LINE.match(text)
    assert found  # there is nothing that the pattern needs
    written, said = found["machine"] or found["who"] or "", found["said"]
    label = written.strip("[]()").strip() if written[:1] in "[(" else written
    if written.startswith("[") and NUMBERED.fullmatch(label):
        looks = _MACHINE
    elif found["turn"] or written[:1] in ("[", "(") or (len(label) > 1 and label.isupper() and not said.isupper()):
        looks = _MARKED
    else:
        looks = _NAME if _is_name(label) else _PHRASE
    whole = text[found.end("turn") :] if found["turn"] else text
    return _Line(label, looks, said.strip(), whole.strip(), bool(found["mark"]))


def _is_name(label: str) -> bool:
    """Whether each word has a capital, where its script has any.

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


def _labels(lines: Sequence[_Line], captions: int) -> frozenset[str]:
    """Which of what looks like a label is one, in so many captions."""
    times, looks = Counter(line.label for line in lines if line.label), dict[str, int]()
    for line in lines:
        looks[line.label] = max(looks.get(line.label, _PHRASE), line.looks)

    def many(labels: Iterable[str], share: float) -> bool:
        return sum(times[label] for label in labels) > max(1, share * captions)

    again = {label for label in times if times[label] > 1}
    names = {label for label in times if looks[label] >= _NAME}
    marked = {label for label in times if looks[label] >= _MARKED}
    if many(again | names, 0.5):
        return frozenset(again | names)
    found = {label for label in times if looks[label] == _MACHINE} | (marked if marked & again else set())
    if many(again & names, SHARE):
        found |= {label for label in names if label in again or " " in label}
    return frozenset(found)


def _goes_on(first: Sequence[_Line], labels: frozenset[str]) -> bool:
    """Whether a caption without a label is still its predecessor's speaker's."""
    who = [line.label if line.label in labels else "" for line in first]
    if any(line.looks == _MACHINE for line in first) or len(labels) < 2:
        return False
    repeated, labelled = sum(one == other != "" for one, other in pairwise(who)), sum(map(bool, who))
    return labelled >= SHARE * len(who) and len(who) - labelled > repeated
