"""Timed transcripts of long recordings: subtitles, TextGrid or tables.

The parsers are our own, because no words may be lost or joined to others: pysubs2 1.8 takes a broken time line and
WebVTT's comments for speech, praatio 6.2 drops what follows a TextGrid's broken end, and pandas 3.1 what follows an
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

from asr.corpus import speaker_labels
from asr.corpus.text import count_words

CAPTIONS = (".vtt", ".srt")
SUFFIXES = (*CAPTIONS, ".textgrid", ".tsv", ".csv", ".jsonl")  # in lower case; Praat writes .TextGrid

MAX_WORD_SECONDS, MIN_WORD_MILLISECONDS = 30.0, 125.0  # tell the unit of a table with integer times

_TIME = r"(-?)(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)"
_TIMES = re.compile(rf"{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_TRUNCATED_TIME = re.compile(r"-?(?:\d+:)?\d+:\d+[.,]\d{3}")
_WEBVTT_BLOCK = re.compile(r"(?:\A(?=WEBVTT)|(?<=\n\n)(?=(?:NOTE|STYLE|REGION)\b)).+(?:\n(?!.*-->).+)*")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]*)>")
_BREAK = re.compile(r"<br\s*/?>|\\[Nh]", re.IGNORECASE)
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\ufeff"))  # direction marks and zero-width spaces
# Only the tags of subtitle formats: "<ohörbart>" is a note, not markup.
_TAG = re.compile(r"</?(?:b|c|font|i|lang|rt|ruby|s|u|v)(?:[.\s][^<>]*)?>|<\d+:[\d:.]+>|\{\\[^{}]*\}", re.IGNORECASE)
# Praat reads free-standing numbers and quoted texts, in the long and the short format; ! begins a comment.
_NUMBER = r"(?P<number>-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)"
# Tiers of the Montreal Forced Aligner: the original words, the words as looked up, and the phones.
_ALIGNED = re.compile(r"(?:(.+?)\s*-\s*)?(utterances|words|phones)")
_TOKEN = re.compile(rf'(?<!\S)(?:"(?P<text>[^"]*(?:""[^"]*)*)"(?!\S)|{_NUMBER}|!.*|\S*")')


@dataclass(frozen=True)
class Segment:
    """Text with its start and end, in seconds."""

    start: float
    end: float
    text: str
    speaker: str | None = None


def parse_transcript(name: str, content: bytes) -> list[Segment]:
    """The segments of a transcript, in file order; the name's suffix selects the format.

    - Captions (`.srt`, `.vtt`): without markup; the speaker is a voice tag (`<v Anna>`) or a label ("Anna: hej", see
      `speaker_labels`), and several in a caption are "Anna & Bo".
    - `.TextGrid`: every interval tier, whose name is the speaker if there are several; of a forced aligner's tiers
      ("Anna - words", "Anna - phones") only the words. Blank intervals and point tiers are skipped.
    - Tables (`.tsv`, `.csv`, `.jsonl`, a row per line): start and end in seconds, text, and optionally speaker; also
      with semicolons and decimal commas, and Whisper's own tables in milliseconds.

    Text is UTF-8, UTF-16 with a byte order mark, or else Windows-1252, which includes the Latin-1 of old subtitles.

    Raises:
        ValueError: the content cannot be parsed or has no segment; one line says what is wrong and where.

    >>> parse_transcript("möte.vtt", "WEBVTT\\n\\n00:01.500 --> 00:03.000\\n<v Åsa>Är <i>alla</i> här?".encode())
    [Segment(start=1.5, end=3.0, text='Är alla här?', speaker='Åsa')]
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"a transcript is one of {', '.join(SUFFIXES)}, not {suffix!r}")
    text = _decode_text(content)
    if suffix == ".textgrid":
        segments = list(_parse_textgrid(text))
    else:
        segments = list(_parse_captions(text, suffix == ".vtt") if suffix in CAPTIONS else _parse_table(text, suffix))
    if not segments:
        raise ValueError("it has no segments")
    return segments


def _decode_text(content: bytes) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        # Decoded as Windows-1252, every å of a UTF-8 file with one broken letter would become Ã¥.
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


def _parse_captions(text: str, webvtt: bool) -> Iterator[Segment]:
    """The captions as segments: all text between a time line and the next, empty lines included, except identifiers."""
    captions = list(_read_captions(text, webvtt))
    labelled = speaker_labels.split_labels((text, voice) for *_, text, voice in captions)
    return (
        Segment(start, end, text, speaker) for (start, end, *_), (speaker, text) in zip(captions, labelled, strict=True)
    )


def _read_captions(text: str, webvtt: bool) -> Iterator[tuple[float, float, str, str]]:
    """Each caption's start, end, text without markup, and the speaker in its voice tags or ""."""
    text = "\n".join(line.strip() for line in text.split("\n"))
    if webvtt:
        text = _WEBVTT_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    lines = text.split("\n")
    times = [number for number, line in enumerate(lines) if "-->" in line]
    if not times:
        return
    numbered = times[0] > 0 and lines[times[0] - 1].isdecimal()
    for number in [time - 1 for time in times if time]:  # an identifier: a number, or in WebVTT any text after a blank
        is_identifier = webvtt and "-->" not in lines[number] and not (number and lines[number - 1])
        if is_identifier or (numbered and lines[number].isdecimal()):
            lines[number] = ""
    if stray := next(filter(None, lines[: times[0]]), None):
        raise ValueError(f"line {lines.index(stray) + 1} stands before the first time: {stray!r:.60}")
    for number, line in enumerate(lines):  # else a caption with damaged times would be joined to the caption before
        is_bare_time = re.fullmatch(r"[\d:.,]+", line) and (numbered or ":" in line) and not lines[number - 1]
        if "-->" not in line and (is_bare_time or _TRUNCATED_TIME.match(line)):
            raise ValueError(f"line {number + 1} begins a caption without its times: {line!r:.60}")
    for number, next_number in zip(times, [*times[1:], None], strict=True):
        match = _TIMES.fullmatch(lines[number])
        if not match:
            raise ValueError(f"line {number + 1} is no time of a caption: {lines[number]!r:.60}")
        caption = "\n".join(lines[number + 1 : next_number])
        voices = dict.fromkeys(_clean_text(html.unescape(voice)) for voice in _VOICE.findall(caption))
        unmarked = html.unescape(_TAG.sub("", _BREAK.sub("\n", caption)))
        start, end = _to_seconds(*match.groups("0")[:4]), _to_seconds(*match.groups("0")[4:])
        yield start, end, "\n".join(map(_clean_text, unmarked.splitlines())), " & ".join(filter(None, voices))


def _clean_text(text: str) -> str:
    return " ".join(text.translate(_INVISIBLE).split())


def _to_seconds(sign: str, hours: str, minutes: str, seconds: str) -> float:
    time = 3600 * float(hours) + 60 * float(minutes) + float(seconds.replace(",", "."))
    return round(-time if sign == "-" else time, 6)


def _parse_textgrid(text: str) -> Iterator[Segment]:
    tokens = (match for match in _TOKEN.finditer(text) if not match[0].startswith("!"))
    if not _next_token(tokens, "text").startswith("ooTextFile") or _next_token(tokens, "text") != "TextGrid":
        raise ValueError("it is no TextGrid in Praat's full or short text format")
    _next_span(tokens)
    tiers = list[tuple[str, list[Segment]]]()
    for _ in range(_next_count(tokens)):
        kind, name = _next_token(tokens, "text"), _clean_text(_next_token(tokens, "text"))
        if kind not in ("IntervalTier", "TextTier"):
            raise ValueError(f"the tier {name!r:.40} is neither an IntervalTier nor a TextTier, but {kind!r:.40}")
        _next_span(tokens)
        intervals = list[Segment]()
        for _ in range(_next_count(tokens)):
            if kind == "TextTier":
                _next_token(tokens, "number"), _next_token(tokens, "text")
            else:
                intervals.append(
                    Segment(*_next_span(tokens), _clean_text(_next_token(tokens, "text").replace('""', '"')))
                )
        if kind == "IntervalTier":
            tiers.append((name, intervals))
    if next(tokens, None):
        raise ValueError("the TextGrid holds more than it declares")
    return (
        replace(segment, speaker=speaker or None)
        for speaker, segments in _speech_tiers(tiers)
        for segment in segments
        if segment.text
    )


def _speech_tiers(tiers: list[tuple[str, list[Segment]]]) -> list[tuple[str | None, list[Segment]]]:
    """The tiers of words, each with its speaker; one of the tiers that a forced aligner makes of the same speech."""
    aligned = {name: match.groups("") for name, _ in tiers if (match := _ALIGNED.fullmatch(name))}
    with_utterances = {speaker for speaker, level in aligned.values() if level == "utterances"}
    redundant = {
        name
        for name, (speaker, level) in aligned.items()
        if level == "phones" or (level == "words" and speaker in with_utterances)
    }
    word_tiers = [(name, segments) for name, segments in tiers if name not in redundant]
    if tiers and not word_tiers:
        raise ValueError(f"the tier {tiers[0][0]!r:.40} holds phones, and there is no tier of words")

    def speaker_of(name: str) -> str | None:
        return aligned[name][0] if name in aligned else name if len(word_tiers) > 1 else None

    return [(speaker_of(name), segments) for name, segments in word_tiers]


def _next_count(tokens: Iterator[re.Match[str]]) -> int:
    number = _next_token(tokens, "number")
    if not re.fullmatch(r"\d{1,9}", number):
        raise ValueError(f"{number!r:.60} is no count of tiers, intervals or points")
    return int(number)


def _next_span(tokens: Iterator[re.Match[str]]) -> tuple[float, float]:
    return float(_next_token(tokens, "number")), float(_next_token(tokens, "number"))


def _next_token(tokens: Iterator[re.Match[str]], kind: str) -> str:
    token = next(tokens, None)
    if token is None:
        raise ValueError(f"the TextGrid ends where a {kind} belongs")
    if token[kind] is None:
        line = token.string.count("\n", 0, token.start()) + 1
        raise ValueError(f"line {line}: a {kind} belongs here, not {token[0]!r:.60}")
    return token[kind]


def _parse_table(text: str, suffix: str) -> list[Segment]:
    columns: list[str] = []
    separator = ","
    segments, has_integer_times = dict[int, Segment](), True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            if suffix == ".jsonl":
                row = json.loads(line)
            elif columns:
                values = next(csv.reader([line], delimiter=separator))
                if len(values) != len(columns):
                    raise ValueError(f"{len(values)} values for {len(columns)} columns")
                row = dict(zip(columns, values, strict=True))
            else:
                separator = next((mark for mark in "\t;," if mark in line), separator)
                columns = [column.strip().lower() for column in next(csv.reader([line], delimiter=separator))]
                continue
            segments[number] = _parse_row(row)
            has_integer_times &= all(re.fullmatch(r"\s*-?\d+\s*", str(row[column])) for column in ("start", "end"))
        except (ValueError, RecursionError, csv.Error) as error:
            raise ValueError(f"line {number}: {getattr(error, 'msg', error)}") from None
    return _convert_milliseconds(segments) if has_integer_times else list(segments.values())


def _convert_milliseconds(rows: dict[int, Segment]) -> list[Segment]:
    """Rows with integer times, by line number: Whisper's and whisper.cpp's tables are in milliseconds.

    The median duration of a word decides: at most 30 if in seconds, the length of Whisper's window, and at least 125 if
    in milliseconds, since speech has at most 8 words a second. Raises ValueError if it is neither.
    """
    spoken = {line: row for line, row in rows.items() if row.start < row.end and count_words(row.text)}
    duration = median_low([(row.end - row.start) / count_words(row.text) for row in spoken.values()] or [0.0])
    if duration <= MAX_WORD_SECONDS:
        return list(rows.values())
    if duration < MIN_WORD_MILLISECONDS:
        line, row = next(iter(spoken.items()))
        raise ValueError(
            f"line {line}: {row.start:.0f} to {row.end:.0f} may be seconds or milliseconds; 1.0 is always a second"
        )
    return [replace(row, start=row.start / 1000, end=row.end / 1000) for row in rows.values()]


def _parse_row(row: object) -> Segment:
    if not isinstance(row, dict) or not {"start", "end", "text"} <= row.keys():
        has = ", ".join(map(str, row)) if isinstance(row, dict) else f"{row!r:.60}"
        raise ValueError(f"a row needs start, end and text; this one has {has!r:.60}")
    text, speaker = (_clean_text("" if row.get(column) is None else str(row[column])) for column in ("text", "speaker"))
    f"{text}{speaker}".encode()  # JSON can hold a lone surrogate, which cannot be written
    return Segment(_parse_seconds(row["start"]), _parse_seconds(row["end"]), text, speaker or None)


def _parse_seconds(value: object) -> float:
    try:
        return float(str(value).replace(",", "."))
    except ValueError:
        raise ValueError(f"{value!r:.40} is no time in seconds") from None
