"""From a timed transcript to clips: parsing, joining, and segments with a problem, which are not joined."""

import itertools
import json
import math
from dataclasses import replace

import pytest
from asr.corpus import transcripts
from asr.corpus.segmentation import cut_transcript
from asr.corpus.transcripts import Segment, parse_transcript
from hypothesis import example, given
from hypothesis import strategies as st

SRT = """1
00:00:01,200 --> 00:00:03,400
Åsa köper ägg
på lördag.

2
00:00:03,900 --> 00:01:05,000
I Örebro är det <i>sju</i> grader.
"""
EXPECTED = [Segment(1.2, 3.4, "Åsa köper ägg på lördag."), Segment(3.9, 65.0, "I Örebro är det sju grader.")]
VTT = "WEBVTT\n\n" + SRT.replace(",", ".")
TEXT_GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 65
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "Åsa"
        xmin = 0
        xmax = 65
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 1.2
            text = ""
        intervals [2]:
            xmin = 1.2
            xmax = 3.4
            text = "Åsa köper ägg
på lördag."
        intervals [3]:
            xmin = 3.4
            xmax = 3.9
            text = " "
        intervals [4]:
            xmin = 3.9
            xmax = 65
            text = "I Örebro är det sju grader."
"""
HEADER = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n65\n<exists>\n'
TIER = '"IntervalTier"\n"{}"\n0\n65\n2\n1.2\n3.4\n"Åsa köper ägg på lördag."\n3.9\n65\n"I Örebro är det sju grader."\n'
SHORT_TEXT_GRID = HEADER + "1\n" + TIER.format("Åsa")
CSV = 'start,end,text\n1.2,3.4,Åsa köper ägg på lördag.\n3.9,65,"I Örebro är det sju grader."\n'
TSV = CSV.replace(",", "\t")
JSONL = "\n".join(
    json.dumps({"start": segment.start, "end": segment.end, "text": segment.text}) for segment in EXPECTED
)
FILES = {
    "möte.srt": SRT,
    "möte.vtt": VTT,
    "möte.TextGrid": TEXT_GRID,
    "kort.TextGrid": SHORT_TEXT_GRID,
    "möte.csv": CSV,
    "möte.tsv": TSV,
    "möte.jsonl": JSONL,
}


def texts(name, content):
    return [segment.text for segment in parse_transcript(name, content.encode())]


def refusal_line(name, content):
    """The error with which a transcript is refused, which must be one line."""
    with pytest.raises(ValueError) as error:
        parse_transcript(name, content if isinstance(content, bytes) else content.encode())
    line = str(error.value)
    assert line.strip()
    assert "\n" not in line
    assert len(line) < 200
    return line


# Parsing


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_format_gives_the_same_segments_in_every_encoding(name, ends, encoding):
    assert parse_transcript(name, FILES[name].replace("\n", ends).encode(encoding)) == EXPECTED


@pytest.mark.parametrize("name", FILES)
def test_the_suffix_may_be_in_upper_case(name):
    assert parse_transcript(name.upper(), FILES[name].encode()) == EXPECTED


def test_other_suffixes_are_refused():
    assert {"." + name.lower().rpartition(".")[2] for name in FILES} == set(transcripts.SUFFIXES)
    assert ".srt" in refusal_line("möte.docx", SRT)


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("<b>Hej</b> <font color='#fff'>på</font> {\\an8}dig", "Hej på dig"),
        ("Hej<br>på<BR/>dig\\Noch du", "Hej på dig och du"),
        ("Smör &amp; br&ouml;d&nbsp;&lrm;nu", "Smör & bröd nu"),
        ("hej<00:00:01.500><c> på</c><00:00:02.000><c.gul> dig</c>", "hej på dig"),
        ("Är x < y och y > z?", "Är x < y och y > z?"),
        ("Det var <ohörbart> igår {sic}", "Det var <ohörbart> igår {sic}"),
        ("Hej\n\npå dig", "Hej på dig"),
        ("Hur många?\n112", "Hur många? 112"),
        ("", ""),
    ],
)
def test_captions_lose_their_markup_but_no_words(caption, text):
    """YouTube's times between words look like the times of a caption."""
    times = "00:00:01.000 --> 00:00:05.000"
    assert texts("a.srt", f"1\n{times}\n{caption}\n\n2\n{times}\nslut\n") == [text, "slut"]
    assert texts("a.vtt", f"WEBVTT\n\n{times} align:start position:0%\n{caption}\n\n{times}\nslut\n") == [text, "slut"]


def test_a_spoken_number_is_not_a_caption_number():
    times = "00:00:01,000 --> 00:00:02,000"
    assert texts("a.srt", f"1\n{times}\n1984\n\n2\n{times}\n7\n") == ["1984", "7"]
    assert texts("a.srt", f"{times}\n1984\n{times}\n7\n") == ["1984", "7"]
    assert texts("a.srt", f"1\n{times}\n1984\n2\n{times}\n7\n") == ["1984", "7"]


def test_webvtt_comments_and_headers_are_not_text():
    content = """WEBVTT - Möte
Kind: captions

STYLE
::cue { color: red }

NOTE
rättad av Bo

inledning
00:01.000 --> 00:02.000
Hej!

NOTE klar så långt

svar
100:00:03.000 --> 100:00:04.000
Hej hej!
"""
    assert parse_transcript("a.vtt", content.encode()) == [
        Segment(1.0, 2.0, "Hej!"),
        Segment(360003.0, 360004.0, "Hej hej!"),
    ]


def test_a_voice_tag_is_the_speaker():
    captions = ["<v.högt Åsa Öst>Hej</v>", "<v Åsa &amp; Co>Hej", "<v Åsa>Hej</v> <v Bo>Hej</v> <v Åsa>då", "Hej"]
    content = "WEBVTT\n\n" + "\n\n".join(f"00:01.000 --> 00:02.000\n{caption}" for caption in captions)
    assert [segment.speaker for segment in parse_transcript("a.vtt", content.encode())] == [
        "Åsa Öst",
        "Åsa & Co",
        "Åsa & Bo",
        None,
    ]


def speakers_and_texts(*captions):
    """(speaker, text) of each caption in a file of these captions."""
    content = "\n\n".join(
        f"00:0{at // 10}:0{at % 10}.000 --> 00:59:00.000\n{caption}" for at, caption in enumerate(captions)
    )
    return [(segment.speaker, segment.text) for segment in parse_transcript("a.vtt", f"WEBVTT\n\n{content}".encode())]


LABELLED = {
    "Zoom": (
        ["Anna Berg: Hej alla.", "Anna Berg: Är alla här?", "Bo Ek: Ja."],
        [("Anna Berg", "Hej alla."), ("Anna Berg", "Är alla här?"), ("Bo Ek", "Ja.")],
    ),
    "names of any kind": (
        ["anna i köket: Hej.", "Iris von Ek (S): Hej.", "anna i köket: Kl 12:30.", "Iris von Ek (S): Ja: nej."],
        [("anna i köket", "Hej."), ("Iris von Ek (S)", "Hej."), ("anna i köket", "Kl 12:30."),
         ("Iris von Ek (S)", "Ja: nej.")],
    ),
    "whisperX": (
        ["[SPEAKER_00]: Hej.", "Vem sa det?", "[SPEAKER_01]: <i>Jag.</i>"],
        [("SPEAKER_00", "Hej."), (None, "Vem sa det?"), ("SPEAKER_01", "Jag.")],
    ),
    "a broadcaster": (
        ["<i>ANNA: Hej.</i>", "Hur är det?", "[skratt]", "BO:\nBra.", "Och du?", "- ANNA: Jo.\n- BO: Bra.",
         "- Ja.\n- Nej."],
        [("ANNA", "Hej."), ("ANNA", "Hur är det?"), ("ANNA", "[skratt]"), ("BO", "Bra."), ("BO", "Och du?"),
         ("ANNA & BO", "Jo. Bra."), (None, "- Ja. - Nej.")],
    ),
    "live captions": (
        ["&gt;&gt; ANNA: Hej. &gt;&gt; Hej.", ">> BO: Jaha.", "Ja.", ">> Vem där?", ">> ANNA: Jag."],
        [("ANNA", "Hej. Hej."), ("BO", "Jaha."), ("BO", "Ja."), (None, "Vem där?"), ("ANNA", "Jag.")],
    ),
    "other colons": (["安娜：你好", "安娜：再见", "Bo : hej"], [("安娜", "你好"), ("安娜", "再见"), ("Bo", "hej")]),
    "a voice tag beside a label": (
        ["Anna: Hej.", "<v Bo>Anna: Hej.", "Jaha."], [("Anna", "Hej."), ("Bo", "Hej."), (None, "Jaha.")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("captions", "expected"), LABELLED.values(), ids=LABELLED)
def test_a_label_is_the_speaker_and_not_text(captions, expected):
    assert speakers_and_texts(*captions) == expected


@pytest.mark.parametrize(
    "captions",
    [
        ["Klockan är: tre.", "Observera: det regnar.", "Kl 12:30 vid 12: lunch.", "Se https://ek.se, EU:s 3:e sida."],
        ["[skratt] Hej.", "[skratt] Hej.", "(viskar) Hej.", "(viskar) Hej."],
        ["Är x >y och y> z?", "OBS: det regnar.", "S:t Erik", "S:t Erik"],
        ["Hej."] * 50 + ["Observera: det regnar.", "Observera: det snöar."],
    ],
)  # fmt: skip
def test_words_that_look_like_a_label_are_kept(captions):
    assert speakers_and_texts(*captions) == [(None, caption) for caption in captions]


def test_a_caption_without_a_label_has_no_speaker_if_all_others_have_one():
    captions = speakers_and_texts("Anna: Hej.", "Anna: Hej.", "Bo: Hej.", "Bo: Hej.", "Vem där?", "Anna: Jag.")
    assert [speaker for speaker, _ in captions] == ["Anna", "Anna", "Bo", "Bo", None, "Anna"]


def test_one_label_marks_no_change_of_speaker():
    assert [speaker for speaker, _ in speakers_and_texts("Anna: Hej.", "Hej du.", "Hej hej.", "Anna: Bra.")] == [
        "Anna",
        None,
        None,
        "Anna",
    ]


def test_a_speaker_does_not_continue_after_a_voice_tag():
    captions = speakers_and_texts("ANNA: Hej.", "Hej.", "<v Åsa>Hej.", "Hej.", "BO: Hej.", "Hej.", "ANNA: Hej.")
    assert [speaker for speaker, _ in captions] == ["ANNA", "ANNA", "Åsa", None, "BO", "BO", "ANNA"]


def test_beside_labels_a_full_name_is_a_label_and_a_single_word_is_not():
    captions = speakers_and_texts("Anna: Hej.", *["Hej."] * 5, "Anna: Hej.", "Observera: det regnar.", "Lisa Ek: Hej.")
    assert captions[-2:] == [("Anna", "Observera: det regnar."), ("Lisa Ek", "Hej.")]


def test_with_few_labels_a_speaker_does_not_continue():
    captions = ["Hej."] * 60
    captions[7], captions[40] = "MANNEN: Hej.", "MANNEN: Hej."
    assert [speaker for speaker, text in speakers_and_texts(*captions) if text == "Hej."] == [
        "MANNEN" if at in (7, 40) else None for at in range(60)
    ]


def test_a_tier_is_the_speaker_where_there_are_several():
    points = '"TextTier"\n"klockan"\n0\n65\n1\n7.5\n"pling"\n'
    segments = parse_transcript(
        "a.TextGrid", (HEADER + "3\n" + TIER.format("Åsa") + points + TIER.format("Bo")).encode()
    )
    assert segments == [replace(segment, speaker=speaker) for speaker in ("Åsa", "Bo") for segment in EXPECTED]
    single = parse_transcript("a.TextGrid", (HEADER + "2\n" + points + TIER.format("Åsa")).encode())
    assert single == EXPECTED


@pytest.mark.parametrize(
    ("tiers", "speakers"),
    [
        (["words", "phones"], [None]),
        (["Åsa - words", "Åsa - phones"], ["Åsa"]),
        (["Åsa - words", "Bo - words", "Åsa - phones", "Bo - phones"], ["Åsa", "Bo"]),
        (["words", "phones", "utterances"], [None]),
        (["phones", "Åsa"], [None]),
    ],
)
def test_only_the_words_of_a_forced_aligner_are_read(tiers, speakers):
    phones = TIER.replace("Åsa köper ägg på lördag.", "oː").replace("I Örebro är det sju grader.", "iː")
    word_tiers = ["utterances"] if "utterances" in tiers else [name for name in tiers if "phones" not in name]
    content = (
        HEADER + f"{len(tiers)}\n" + "".join((TIER if name in word_tiers else phones).format(name) for name in tiers)
    )
    assert parse_transcript("a.TextGrid", content.encode()) == [
        replace(segment, speaker=name) for name in speakers for segment in EXPECTED
    ]


def test_a_text_grid_is_read_as_praat_reads_it():
    """What is not free-standing is a comment, and a quotation mark within a text is doubled."""
    text = '"Hon sa ""hej"", intervals [2] ! = 7 <exists> item [1]:"'
    content = HEADER + f'1 tier(s)\n"IntervalTier" "Åsa" 0 65 ! hela mötet, 2 timmar\n1 -0.5 1e1 {text}'
    assert parse_transcript("a.TextGrid", content.encode()) == [
        Segment(-0.5, 10.0, 'Hon sa "hej", intervals [2] ! = 7 <exists> item [1]:')
    ]


def test_a_table_may_have_speakers_and_other_columns_and_swedish_commas():
    content = "Talare;Start;End;Text;Speaker\n1;1,25;2;Hej, du!;Åsa\n2;3;4;;\n"
    assert parse_transcript("a.csv", content.encode()) == [Segment(1.25, 2.0, "Hej, du!", "Åsa"), Segment(3.0, 4.0, "")]
    content = '{"start": 1, "end": "2", "text": null, "speaker": 17}\n\n{"start": 3, "end": 4, "text": "a\\nb"}\n'
    assert parse_transcript("a.jsonl", content.encode()) == [Segment(1.0, 2.0, "", "17"), Segment(3.0, 4.0, "a b")]


MILLISECONDS = "start\tend\ttext\n0\t3440\tÅsa köper ägg på lördag.\n3440\t33440\t♪\n60000\t62500\tHej.\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("whisper.tsv", MILLISECONDS),
        ("cpp.csv", 'start,end,text\n0,3440," Åsa köper ägg på lördag."\n3440,33440," ♪"\n60000,62500," Hej."\n'),
    ],
)  # fmt: skip
def test_tables_in_milliseconds_are_recognised_by_the_duration_of_words(name, content):
    assert parse_transcript(name, content.encode()) == [
        Segment(0.0, 3.44, "Åsa köper ägg på lördag."),
        Segment(3.44, 33.44, "♪"),
        Segment(60.0, 62.5, "Hej."),
    ]


@pytest.mark.parametrize("end", [1, 3, 60])
def test_integer_seconds_stay_seconds_despite_an_outlier(end):
    content = f"start\tend\ttext\n0\t{end}\tÅsa köper ägg.\n{end}\t90\tHej på dig.\n90\t9999999\tHej då.\n"
    assert [segment.end for segment in parse_transcript("a.tsv", content.encode())] == [end, 90, 9999999]
    assert parse_transcript("a.tsv", content.replace("\t90\t", "\t90.0\t").encode())[1].end == 90


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('"Hej" sa hon', "Hej sa hon"),
        ('"Hej', "Hej"),
        ('"Hon sa ""hej"""', 'Hon sa "hej"'),
        ('Hon sa "hej"', 'Hon sa "hej"'),
    ],
)
def test_a_quotation_mark_swallows_no_other_line(line, text):
    assert texts("a.tsv", f'start\tend\ttext\n0\t1\t{line}\n1\t2\toch gick"\n') == [text, 'och gick"']


# Refusals


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.srt", SRT.replace("00:01:05", "00:0x:05"), "line 7"),
        ("a.vtt", VTT.replace("00:01:05", "00:0x:05"), "line 9"),
        ("a.srt", SRT.replace("900 -->", "900 ->"), "line 6"),
        ("a.srt", SRT.replace("\n\n2\n", "\n").replace("900 -->", "900 ->"), "line 5"),
        ("a.vtt", VTT.replace("2\n00:00:03.900 --> 00:01:05.000", "00:00:0"), "line 8"),
        ("a.srt", "Undertexter av Bo\n\n" + SRT, "Undertexter av Bo"),
        ("a.TextGrid", SHORT_TEXT_GRID.replace("3.9", '"3.9"'), "line 16: a number"),
        ("a.TextGrid", SHORT_TEXT_GRID.replace("ägg på", 'ägg" på'), "line 15: a number"),
        ("a.TextGrid", SHORT_TEXT_GRID + "1\n", "more than it declares"),
        ("a.TextGrid", SHORT_TEXT_GRID.replace("IntervalTier", "Tier"), "'Tier'"),
        ("a.TextGrid", SHORT_TEXT_GRID.replace('"TextGrid"', '"PitchTier"'), "no TextGrid"),
        ("a.TextGrid", HEADER + "1\n" + TIER.format("Åsa - phones"), "'Åsa - phones' holds phones"),
        ("a.tsv", "start\tend\ttext\n0\t9\t\n9\t69\tHej\n", "line 3: 9 to 69 may be seconds or milliseconds"),
        ("a.csv", CSV + "70,71,Hej, du!\n", "line 4: 4 values for 3 columns"),
        ("a.tsv", TSV + "70\t71\n", "line 4: 2 values for 3 columns"),
        ("a.csv", CSV + "1:10,71,Hej\n", "line 4: '1:10' is no time"),
        ("a.csv", CSV.replace("text", "words"), "start, end, words"),
        ("a.jsonl", JSONL + "\n{'start': 1}", "line 3"),
        ("a.jsonl", JSONL + '\n{"start": 1, "text": "a"}', "start, text"),
        ("a.jsonl", JSONL + '\n{"start": true, "end": 2, "text": "a"}', "line 3: True is no time"),
        ("a.jsonl", JSONL + '\n{"start": 1, "end": 2, "text": "\\ud800"}', "line 3"),
        ("a.jsonl", "[" * 100_000, "line 1"),
        ("a.srt", SRT.encode("utf-16-le"), "byte order mark"),
        ("a.srt", SRT.encode("utf-16")[:-1], "broken UTF-16"),
        ("a.srt", SRT.encode() + b"\xe5r", "line 9 is broken UTF-8"),
        ("a.srt", b"\x81", "Windows-1252"),
    ],
)
def test_an_unreadable_transcript_is_refused_with_its_problem_and_line(name, content, expected):
    assert expected in refusal_line(name, content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", ["", "\n\n", "hej hopp", "WEBVTT\n\nNOTE tomt\n", "start,end,text\n"])
def test_a_transcript_without_segments_is_refused(name, content):
    refusal_line(name, content)


@given(st.sampled_from(sorted(FILES)), st.binary() | st.text().map(str.encode))
def test_random_bytes_are_read_or_refused_in_one_line(name, content):
    try:
        assert parse_transcript(name, content)
    except ValueError as error:
        assert "\n" not in str(error)


@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(data):
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = FILES[name].encode(data.draw(st.sampled_from(["utf-8", "utf-16", "cp1252"])))
    at = data.draw(st.integers(0, len(content)))
    damage = data.draw(
        st.binary(max_size=3) | st.text(st.sampled_from('"\n,;\t-<>{}[]:0é'), max_size=3).map(str.encode)
    )
    rest = data.draw(st.integers(0, 9) | st.just(len(content)))
    try:
        assert parse_transcript(name, content[:at] + damage + content[at + rest :])
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_has_no_segments_that_the_whole_one_lacks(name):
    """Its last words may be cut off; those before are complete, or the file is refused."""
    content = FILES[name].encode("utf-8-sig")
    for length in range(len(content)):
        try:
            read = parse_transcript(name, content[:length])
        except ValueError:
            continue
        assert read[:-1] == EXPECTED[: len(read) - 1]
        assert EXPECTED[len(read) - 1].text.startswith(read[-1].text.rstrip("</i"))


# Cutting


def timed(*times, speaker=None):
    return [Segment(start, end, f"ord {at}", speaker) for at, (start, end) in enumerate(times)]


def spans(segments, longest=30.0, **options):
    return [(cut.start, cut.end, cut.problem) for cut in cut_transcript(segments, longest, **options)]


def test_neighbours_are_joined_and_keep_their_times():
    (cut,) = cut_transcript([Segment(3.0, 4.5, "Hej på dig!", "Åsa"), Segment(5.0, 6.0, "Hur är läget?", "Åsa")], 30.0)
    assert (cut.start, cut.end, cut.text, cut.speaker) == (3.0, 6.0, "Hej på dig! Hur är läget?", "Åsa")
    assert cut.segments == (Segment(0.0, 1.5, "Hej på dig!", "Åsa"), Segment(2.0, 3.0, "Hur är läget?", "Åsa"))
    assert cut.problem is None


def test_a_cut_is_as_long_as_the_limit_allows():
    assert spans(timed((0, 10), (10, 20), (20, 30), (30, 31))) == [(0, 30, None), (30, 31, None)]


def test_a_long_pause_and_a_change_of_speaker_separate_cuts():
    assert spans(timed((0, 1), (3, 4), (6.1, 7))) == [(0, 4, None), (6.1, 7, None)]
    assert spans(timed((0, 1), (3, 4)), max_gap=1.0) == [(0, 1, None), (3, 4, None)]
    assert spans(timed((0, 1), speaker="Åsa") + timed((1, 2), speaker="Bo")) == [(0, 1, None), (1, 2, None)]


def test_a_segment_that_is_too_long_stays_alone():
    assert spans(timed((0, 1), (1, 42), (42, 43))) == [(0, 1, None), (1, 42, None), (42, 43, None)]


def test_unsorted_segments_are_sorted():
    assert spans(timed((5, 6), (0, 1), (1, 2))) == [(0, 2, None), (5, 6, None)]


@pytest.mark.parametrize("text", ["[musik]", "(skrattar) …", "♪", "<ohörbart>", "*host*", "-", ""])
def test_a_segment_without_words_ends_a_cut(text):
    segments = [Segment(0, 1, "hej"), Segment(1, 2, text), Segment(2, 3, "då")]
    assert spans(segments) == [(0, 1, None), (1, 2, "no words"), (2, 3, None)]
    assert cut_transcript(segments, 30.0)[1].text == text


def test_words_beside_brackets_and_music_notes_count():
    assert spans([Segment(0, 9, "[musik]"), Segment(1, 2, "hej [skratt]"), Segment(2, 3, "då")]) == [
        (0, 9, "no words"),
        (1, 3, None),
    ]


@pytest.mark.parametrize("times", [(2, 2), (2, 1), (2, math.inf), (2, math.nan), (-1, 2)])
def test_impossible_times_end_a_cut_and_are_a_problem(times):
    cuts = spans(timed((0, 1), times, (3, 4)))
    assert sorted(cuts, key=str)[:2] if times[0] < 0 else cuts[0] == (0, 1, None)
    assert [problem for *_, problem in cuts].count("impossible times") == 1
    assert len(cuts) == (2 if times[0] < 0 else 3)


@pytest.mark.parametrize("start", [math.nan, math.inf, -math.inf])
def test_a_start_that_is_not_a_number_comes_last(start):
    assert [problem for *_, problem in spans([Segment(start, 2, "hej"), *timed((0, 1), (1, 2))])] == [
        None,
        "impossible times",
    ]


def test_a_small_overlap_is_trimmed():
    for speaker in ("Åsa", "Bo"):
        first, *_ = cut_transcript([Segment(0, 2.1, "hej", "Åsa"), Segment(2, 4, "då", speaker)], 30.0)
        assert first.segments[0].end == 2.0
        assert first.problem is None


@pytest.mark.parametrize(("speaker", "problem"), [("Bo", "speakers at once"), ("Åsa", "captions that overlap")])
def test_overlapping_speakers_are_a_problem(speaker, problem):
    segments = timed((0, 1), (5, 9), (9, 10), speaker="Åsa") + timed((7, 8), speaker=speaker)
    assert spans(segments) == [(0, 1, None), (5, 9, problem), (7, 8, problem), (9, 10, None)]


def test_every_segment_that_overlaps_a_long_one_has_a_problem():
    cuts = spans(timed((0, 20), speaker="Åsa") + timed((1, 2), (10, 11), (19.9, 22), speaker="Bo"))
    assert [problem for *_, problem in cuts] == ["speakers at once"] * 3 + [None]


def test_rolling_captions_are_rejected():
    """As on YouTube: each begins with the last line of the one before, which is also shown alone for 10 ms."""
    rolling = [
        (0, 2, "nu är vi framme"),
        (2, 2.01, "nu är vi framme"),
        (2.01, 4, "nu är vi framme i Örebro på kvällen"),
    ]
    last = (4, 5, "i Örebro på kvällen och det regnar")
    assert {problem for *_, problem in spans([Segment(*fields) for fields in [*rolling, last]])} == {
        "words that come twice"
    }
    assert spans([Segment(0, 1, "Ja, ja."), Segment(1, 2, "Ja, ja.")]) == [(0, 2, None)]
    assert spans([Segment(0, 1, "tack så mycket", "Åsa"), Segment(1, 2, "tack så mycket", "Bo")]) == [
        (0, 1, None),
        (1, 2, None),
    ]


TIMES = st.floats(0, 100).map(lambda time: round(time, 2))
WORDS = st.sampled_from(["hej på dig", "[musik]", "ja", "nu är vi i Örebro", "", "Åsa!"])
ANY_SEGMENT = st.builds(Segment, TIMES | st.floats(), TIMES | st.floats(), WORDS, st.sampled_from([None, "Åsa", "Bo"]))
TIMED_SEGMENT = st.builds(
    lambda segment, length: replace(segment, end=segment.start + length),
    ANY_SEGMENT,
    st.sampled_from([0.1, 1.0, 2.5, 40.0]),
)
SEGMENTS = st.lists(ANY_SEGMENT | TIMED_SEGMENT, max_size=30).map(
    lambda segments: [
        replace(segment, text=f"{segment.text} {at}" if segment.text.isalpha() else segment.text)
        for at, segment in enumerate(segments)
    ]
)


@given(SEGMENTS, st.sampled_from([1.0, 5.0, 30.0]), st.sampled_from([0.0, 0.5, 2.0]))
@example([Segment(0.0, 0.1, "a"), Segment(0.0, 3.0, "b")], 30.0, 2.0)
def test_every_segment_is_in_exactly_one_cut(segments, longest, gap):
    cuts = cut_transcript(segments, longest, gap)
    cut_segments = [(segment.text, segment.speaker) for cut in cuts for segment in cut.segments]
    assert sorted(cut_segments, key=str) == sorted(((segment.text, segment.speaker) for segment in segments), key=str)
    for cut in cuts:
        assert cut.text == " ".join(segment.text for segment in cut.segments)
        assert {segment.speaker for segment in cut.segments} == {cut.speaker}


@given(SEGMENTS, st.sampled_from([1.0, 5.0, 30.0]), st.sampled_from([0.0, 0.5, 2.0]))
def test_times_stay_in_order_within_the_cut_and_the_cut_within_the_limit(segments, longest, gap):
    cuts = cut_transcript(segments, longest, gap)
    possible = [cut.start for cut in cuts if cut.problem != "impossible times"]
    assert possible == sorted(possible)
    usable = [cut for cut in cuts if cut.problem is None]
    for before, after in itertools.pairwise(usable):
        assert before.end <= after.start
    for cut in cuts:
        length = cut.end - cut.start
        if len(cut.segments) > 1:
            assert cut.problem is None
            assert length <= longest
        if cut.problem is None:
            times = [time for segment in cut.segments for time in (segment.start, segment.end)]
            assert times == sorted(times)
            assert (times[0], times[-1]) == (0, length)
            assert all(after.start - before.end <= gap + 1e-9 for before, after in itertools.pairwise(cut.segments))
