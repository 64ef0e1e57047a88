"""Timed transcripts: a long recording's subtitles, TextGrid or table.

The readers are our own, because no words may vanish or run into others'. pysubs2 1.8 takes a broken time line and
WebVTT's comments for speech, praatio 6.2 drops what follows a TextGrid's torn end, and pandas 3.1 what follows an
unquoted comma.
"""

from __future__ import annotations

import codecs
import csv
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath
from statistics import median_low

from asr.corpus import labels
from asr.corpus.text import words

CAPTIONS = (".vtt", ".srt")
SUFFIXES = (*CAPTIONS, ".textgrid", ".tsv", ".csv", ".jsonl")  # in lower case; Praat itself writes .TextGrid

SLOWEST, FASTEST = 30.0, 125.0  # a word of a table whose times are whole: seconds at most, milliseconds at least

_TIME = r"(-?)(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)"
_TIMES = re.compile(rf"{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_TORN = re.compile(r"-?(?:\d+:)?\d+:\d+[.,]\d{3}")
_UNSAID = re.compile(r"(?:\A(?=WEBVTT)|(?<=\n\n)(?=(?:NOTE|STYLE|REGION)\b)).+(?:\n(?!.*-->).+)*")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]*)>")
_BREAK = re.compile(r"<br\s*/?>|\\[Nh]", re.IGNORECASE)
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\ufeff"))  # which way to write, and where a line may break
# Only the tags that subtitles know: "<ohörbart>" is somebody's note, not markup.
_TAG = re.compile(r"</?(?:b|c|font|i|lang|rt|ruby|s|u|v)(?:[.\s][^<>]*)?>|<\d+:[\d:.]+>|\{\\[^{}]*\}", re.IGNORECASE)
# Praat reads what stands free, be the TextGrid long or short: numbers and quoted texts; ! begins a comment.
_NUMBER = r"(?P<number>-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)"
# The Montreal Forced Aligner's tiers: the words as they were given, as it looked them up, and their speech sounds.
_ALIGNED = re.compile(r"(?:(.+?)\s*-\s*)?(utterances|words|phones)")
_FREE = re.compile(rf'(?<!\S)(?:"(?P<text>[^"]*(?:""[^"]*)*)"(?!\S)|{_NUMBER}|!.*|\S*")')


@dataclass(frozen=True)
class Segment:
    """Words, and when they are said, in seconds."""

    start: float
    end: float
    text: str
    speaker: str | None = None


def parse(name: str, content: bytes) -> list[Segment]:
    """A transcript's segments as they are written, in their order; the name's suffix tells the format.

    Captions (`.srt`, `.vtt`) lose their markup; a voice tag (`<v Anna>`) or else a label ("Anna: hej", see `labels`)
    is the speaker, and several in a caption are "Anna & Bo". Of a `.TextGrid` every interval tier is read, and is the
    speaker where there are several; but of what a forced aligner makes of the same speech ("Anna - words", "Anna -
    phones") only the words. Blank intervals, Praat's silence, are left out, and so are point tiers, which have no
    duration. A table (`.tsv`, `.csv`, `.jsonl`, one row a line) has start and end in seconds, text, and perhaps
    speaker; semicolons and decimal commas are understood, and Whisper's own tables in milliseconds.

    Text is UTF-8, or UTF-16 with a byte order mark, else Windows-1252: old Swedish subtitles are Latin-1, which no
    sign tells from other eight-bit codes. Raises ValueError with one line, which says what is wrong and where, for
    whatever cannot be read, and where there is not one segment.

    >>> parse("möte.vtt", "WEBVTT\\n\\n00:01.500 --> 00:03.000\\n<v Åsa>Är <i>alla</i> här?".encode())
    [Segment(start=1.5, end=3.0, text='Är alla här?', speaker='Åsa')]
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"a transcript is one of {', '.join(SUFFIXES)}, not {suffix!r}")
    text = _decoded(content)
    if suffix == ".textgrid":
        found = list(_intervals(text))
    else:
        found = list(_captions(text, suffix == ".vtt") if suffix in CAPTIONS else _rows(text, suffix))
    if not found:
        raise ValueError("it holds not one segment")
    return found


def _decoded(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        # As Windows-1252, the å of a UTF-8 file with one broken letter would all be Ã¥.
        if wide or not content[: error.start].isascii() or content.startswith(codecs.BOM_UTF8):
            line = content[: error.start].count(b"\n") + 1
            raise ValueError(f"line {line} is broken {'UTF-16' if wide else 'UTF-8'}") from None
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            raise ValueError("it is no text in UTF-8, UTF-16 or Windows-1252") from None
    if "\0" in text:
        raise ValueError("it is no text, or UTF-16 without a byte order mark")
    return text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")


def _captions(text: str, webvtt: bool) -> Iterator[Segment]:
    """A caption is all that stands between its times and the next ones', empty lines or not, but for their name."""
    found = list(_timed(text, webvtt))
    told = labels.apart((said, voice) for *_, said, voice in found)
    return (Segment(start, end, said, who) for (start, end, *_), (who, said) in zip(found, told, strict=True))


def _timed(text: str, webvtt: bool) -> Iterator[tuple[float, float, str, str]]:
    """Each caption's start, end, text without markup, and the speaker that its voice tags name or ""."""
    text = "\n".join(line.strip() for line in text.split("\n"))
    if webvtt:
        text = _UNSAID.sub(lambda unsaid: "\n" * unsaid[0].count("\n"), text)
    lines = text.split("\n")
    times = [at for at, line in enumerate(lines) if "-->" in line]
    if not times:
        return
    numbered = times[0] > 0 and lines[times[0] - 1].isdecimal()
    for at in [at - 1 for at in times if at]:  # the name: a number, or in WebVTT whatever follows an empty line
        named = webvtt and "-->" not in lines[at] and not (at and lines[at - 1])
        if named or (numbered and lines[at].isdecimal()):
            lines[at] = ""
    if stray := next(filter(None, lines[: times[0]]), None):
        raise ValueError(f"line {lines.index(stray) + 1} stands before the first time: {stray!r:.60}")
    for at, line in enumerate(lines):  # else a caption whose times are damaged would run into the one before
        bare = re.fullmatch(r"[\d:.,]+", line) and (numbered or ":" in line) and not lines[at - 1]
        if "-->" not in line and (bare or _TORN.match(line)):
            raise ValueError(f"line {at + 1} begins a caption without its times: {line!r:.60}")
    for at, after in zip(times, [*times[1:], None], strict=True):
        found = _TIMES.fullmatch(lines[at])
        if not found:
            raise ValueError(f"line {at + 1} is no time of a caption: {lines[at]!r:.60}")
        said = "\n".join(lines[at + 1 : after])
        voices = dict.fromkeys(_plain(html.unescape(who)) for who in _VOICE.findall(said))
        unmarked = html.unescape(_TAG.sub("", _BREAK.sub("\n", said)))
        start, end = _clock(*found.groups("0")[:4]), _clock(*found.groups("0")[4:])
        yield start, end, "\n".join(map(_plain, unmarked.splitlines())), " & ".join(filter(None, voices))


def _plain(text: str) -> str:
    return " ".join(text.translate(_INVISIBLE).split())


def _clock(sign: str, hours: str, minutes: str, seconds: str) -> float:
    time = 3600 * float(hours) + 60 * float(minutes) + float(seconds.replace(",", "."))
    return round(-time if sign == "-" else time, 6)


def _intervals(text: str) -> Iterator[Segment]:
    free = (found for found in _FREE.finditer(text) if not found[0].startswith("!"))
    if not _next(free, "text").startswith("ooTextFile") or _next(free, "text") != "TextGrid":
        raise ValueError("it is no TextGrid in Praat's full or short text format")
    _span(free)
    tiers = list[tuple[str, list[Segment]]]()
    for _ in range(_count(free)):
        kind, name = _next(free, "text"), _plain(_next(free, "text"))
        if kind not in ("IntervalTier", "TextTier"):
            raise ValueError(f"the tier {name!r:.40} is neither an IntervalTier nor a TextTier, but {kind!r:.40}")
        _span(free)
        intervals = list[Segment]()
        for _ in range(_count(free)):
            if kind == "TextTier":
                _next(free, "number"), _next(free, "text")
            else:
                intervals.append(Segment(*_span(free), _plain(_next(free, "text").replace('""', '"'))))
        if kind == "IntervalTier":
            tiers.append((name, intervals))
    if next(free, None):
        raise ValueError("the TextGrid holds more than it promises")
    return (replace(one, speaker=who or None) for who, said in _spoken(tiers) for one in said if one.text)


def _spoken(tiers: list[tuple[str, list[Segment]]]) -> list[tuple[str | None, list[Segment]]]:
    """The tiers of words, each with its speaker: of those that a forced aligner makes of the same speech, one."""
    aligned = {name: found.groups("") for name, _ in tiers if (found := _ALIGNED.fullmatch(name))}
    given = {who for who, level in aligned.values() if level == "utterances"}
    worse = {name for name, (who, level) in aligned.items() if level == "phones" or (level == "words" and who in given)}
    kept = [(name, said) for name, said in tiers if name not in worse]
    if tiers and not kept:
        raise ValueError(f"the tier {tiers[0][0]!r:.40} holds speech sounds, and there is none of words")
    return [(aligned[name][0] if name in aligned else name if len(kept) > 1 else None, said) for name, said in kept]


def _count(free: Iterator[re.Match[str]]) -> int:
    number = _next(free, "number")
    if not re.fullmatch(r"\d{1,9}", number):
        raise ValueError(f"{number!r:.60} is no count of tiers, intervals or points")
    return int(number)


def _span(free: Iterator[re.Match[str]]) -> tuple[float, float]:
    return float(_next(free, "number")), float(_next(free, "number"))


def _next(free: Iterator[re.Match[str]], kind: str) -> str:
    found = next(free, None)
    if found is None:
        raise ValueError(f"the TextGrid ends where a {kind} belongs")
    if found[kind] is None:
        line = found.string.count("\n", 0, found.start()) + 1
        raise ValueError(f"line {line}: a {kind} belongs here, not {found[0]!r:.60}")
    return found[kind]


def _rows(text: str, suffix: str) -> list[Segment]:
    columns: list[str] = []
    mark = ","
    found, whole = dict[int, Segment](), True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            if suffix == ".jsonl":
                row = json.loads(line)
            elif columns:
                values = next(csv.reader([line], delimiter=mark))
                if len(values) != len(columns):
                    raise ValueError(f"{len(values)} values for {len(columns)} columns")
                row = dict(zip(columns, values, strict=True))
            else:
                mark = next((mark for mark in "\t;," if mark in line), mark)
                columns = [column.strip().lower() for column in next(csv.reader([line], delimiter=mark))]
                continue
            found[number] = _row(row)
            whole &= all(re.fullmatch(r"\s*-?\d+\s*", str(row[column])) for column in ("start", "end"))
        except (ValueError, RecursionError, csv.Error) as error:
            raise ValueError(f"line {number}: {getattr(error, 'msg', error)}") from None
    return _in_seconds(found) if whole else list(found.values())


def _in_seconds(rows: dict[int, Segment]) -> list[Segment]:
    """Rows, by their lines, whose times are whole numbers: Whisper's and whisper.cpp's tables count milliseconds.

    How long a word takes in most rows tells. It is no more than 30 seconds, for all that Whisper hears at once is no
    longer, and no less than 125 milliseconds: nobody says more than 8 words a second. What fits neither is refused
    with ValueError.
    """
    spoken = {at: one for at, one in rows.items() if one.start < one.end and words(one.text)}
    taken = median_low([(one.end - one.start) / words(one.text) for one in spoken.values()] or [0.0])
    if taken <= SLOWEST:
        return list(rows.values())
    if taken < FASTEST:
        at, one = next(iter(spoken.items()))
        raise ValueError(
            f"line {at}: {one.start:.0f} to {one.end:.0f} may be seconds or milliseconds; 1.0 is always a second"
        )
    return [replace(one, start=one.start / 1000, end=one.end / 1000) for one in rows.values()]


def _row(row: object) -> Segment:
    if not isinstance(row, dict) or not {"start", "end", "text"} <= row.keys():
        has = ", ".join(map(str, row)) if isinstance(row, dict) else f"{row!r:.60}"
        raise ValueError(f"a row needs start, end and text; this one has {has!r:.60}")
    text, speaker = (_plain("" if row.get(column) is None else str(row[column])) for column in ("text", "speaker"))
    f"{text}{speaker}".encode()  # JSON can hold half a letter, which nothing can write
    return Segment(_seconds(row["start"]), _seconds(row["end"]), text, speaker or None)


def _seconds(value: object) -> float:
    try:
        return float(str(value).replace(",", "."))
    except ValueError:
        raise ValueError(f"{value!r:.40} is no time in seconds") from None
