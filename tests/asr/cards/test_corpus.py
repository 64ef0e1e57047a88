"""The corpus cards: their text, and the numbers behind it."""

import sys

import numpy as np
import pandas as pd
import pytest
from asr import cards
from asr.cards import charts
from asr.cards import corpus as corpus_card


@pytest.fixture
def content_of(run_info, make_corpus):
    """A function that returns the card's HTML."""

    def show(**options):
        return cards.collect(run_info, *make_corpus(**options)).content

    return show


def table(*rows):
    return pd.DataFrame(rows, columns=["name", "split", "value"])


def test_the_largest_names_come_first_and_the_smallest_are_grouped():
    rows = table(*((f"n{at}", "train", at) for at in range(charts.MAX_BARS + 5)), ("n3", "test", 100))
    ranked = charts.keep_largest(rows)
    assert list(ranked["name"].unique()) == ["n3", *(f"n{at}" for at in range(14, 6, -1)), "6 others"]
    assert ranked["value"].sum() == rows["value"].sum()


def test_few_names_all_stay():
    ranked = charts.keep_largest(table(("a", "train", 1), ("b", "train", 2), ("b", "test", 1)))
    assert [tuple(row) for row in ranked.to_numpy()] == [("b", "train", 2), ("b", "test", 1), ("a", "train", 1)]


def test_speakers_are_counted_by_their_amount_of_speech_without_gaps():
    counted = corpus_card.bracket_speakers(
        table(("a", "train", 5), ("b", "train", 10), ("c", "test", 90), ("d", "train", 4e6))
    )
    filled = counted[counted["value"] > 0]
    assert [tuple(row) for row in filled.to_numpy()] == [
        ("0 s to 10 s", "train", 1),
        ("10 s to 30 s", "train", 1),
        ("1 min to 2 min", "test", 1),
        ("over 10 h", "train", 1),
    ]
    assert "30 s to 1 min" in set(counted["name"])


@pytest.mark.parametrize("longest", [0.4, 6, 30, 5000])
def test_a_histogram_holds_every_clip_and_its_bins_are_few(longest):
    random = np.random.default_rng(1)
    seconds = pd.Series(random.uniform(0, longest, 1000))
    seconds[0] = 10 * longest
    splits = pd.Series(random.choice(["test", "train"], 1000))
    bins = corpus_card.histogram_table(seconds, splits, " s")
    assert bins["clips"].sum() == 1000
    assert list(bins["split"].unique()) == ["train", "test"]
    assert (bins.groupby("split").size() <= corpus_card.MAX_BINS).all()
    assert bins["high"].max() < 2 * longest


def test_a_histogram_of_one_clip():
    assert corpus_card.histogram_table(pd.Series([3.0]), pd.Series(["train"]))["clips"].sum() == 1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59.4, "59 s"), (59.7, "1 min"), (3580, "1 h"), (5400, "1.5 h"), (4_464_000, "1,240 h")],
)
def test_an_amount_of_speech_has_a_suitable_unit(seconds, expected):
    assert charts.format_duration(seconds) == expected


def test_a_card_of_100_000_clips_is_hardly_larger_than_one_of_1000(content_of):
    assert len(content_of(clips=100_000, speakers=5000, rejected=3000)) < 1.2 * len(content_of(clips=1000, speakers=60))


def test_the_figures_are_those_of_the_summary(content_of):
    text = content_of(clips=1740, rejected=60)
    for figure in ("1,740", "of 1,800 found", "3.3\u00a0%", "3f2a9c81d04be756", "3 shards reused"):
        assert figure in text


@pytest.mark.parametrize(
    ("crossing", "expected"), [(None, ""), (0, "each in one split only"), (4, "<em>4 in more than one split</em>")]
)
def test_speakers_in_two_splits_are_reported(crossing, expected, run_info, make_corpus):
    clips, rejected, summary, _, examples = make_corpus()
    text = cards.collect(run_info, clips, rejected, summary | {"speakers_crossing": crossing}, 0, examples).content
    assert expected in text
    assert (" split" in text.partition("class=stack")[0]) == bool(expected)


def test_missing_speakers_rejections_and_clips_are_reported(run_info, content_of, make_corpus):
    assert "names no speakers" in content_of(speakers=0)
    assert "No clip was rejected" in content_of(rejected=0)
    clips, rejected, summary, *_ = make_corpus()
    text = cards.collect(run_info, clips.head(0), rejected, summary | {"kept": 0}, 0, []).content
    assert "There is no usable clip" in text
    assert "Listen" not in text


def test_few_speakers_are_named_and_clips_without_a_speaker_are_counted(run_info, make_corpus):
    clips, rejected, summary, _, examples = make_corpus(speakers=4)
    clips.loc[:9, "speaker"] = None
    text = cards.collect(run_info, clips, rejected, summary, 0, examples).content
    assert "voice 1" in text
    assert "10 clips name no speaker" in text


def test_retained_languages_have_a_section_of_their_own(run_info, make_corpus, content_of):
    clips, rejected, summary, _, examples = make_corpus(clips=300)
    clips.loc[:49, "retained"], clips.loc[:49, "speaker"] = "en", "somebody else"
    text = cards.collect(run_info, clips, rejected, summary, 0, examples).content
    assert "Retained languages" in text
    assert "somebody else" not in text
    assert "Retained languages" not in content_of()


def test_asides_are_counted_with_the_setting_that_removes_them_only_if_there_are_any(run_info, make_corpus, content_of):
    clips, rejected, summary, _, examples = make_corpus(clips=1500)
    clips.loc[:1199, "text"] = ["Hej. [skratt]", "(viskar) Hej", "♪", "*suckar* Ja"] * 300
    text = cards.collect(run_info, clips, rejected, summary, 0, examples).content
    assert "1,200 of 1,500 clips have an aside" in text
    assert "[text] writing" in text
    assert "aside in" not in content_of(clips=1500)


def test_every_reason_of_a_rejection_is_shown_before_one_is_repeated():
    rejected = pd.DataFrame({"clip": [f"clip {at}" for at in range(20)], "reason": ["silent"] * 19 + ["too long"]})
    text = corpus_card.rejected_panels(rejected)[1]
    assert text.index("clip 19") < text.index("clip 1<")
    assert text.count("<li>") == corpus_card.MAX_REJECTED


def test_a_reason_with_details_is_one_bar_and_its_details_are_listed():
    reasons = [f"unreadable transcript: line {at} is no time of a caption" for at in range(40)]
    rejected = pd.DataFrame({"clip": [f"clip {at}" for at in range(41)], "reason": [*reasons, "silent"]})
    chart, listed = corpus_card.rejected_panels(rejected)
    assert "40" in chart
    assert "is no time" not in chart
    assert "line 3 is no time" in listed
    assert "silent" in listed


def test_a_card_that_cannot_be_drawn_does_not_end_the_step(run_info, capsys):
    part = cards.collect(run_info, pd.DataFrame(), pd.DataFrame(), {}, 0, [])
    assert "could not be drawn" in part.content
    assert "KeyError" in capsys.readouterr().err


def test_a_card_without_memory_says_so_in_one_line(run_info, make_corpus, capsys, monkeypatch):
    class NoMemory:
        @staticmethod
        def find_spec(name, *_):
            if name == "vl_convert":
                raise ImportError("vl_convert.abi3.so: failed to map segment from shared object")

    monkeypatch.delitem(sys.modules, "vl_convert", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoMemory, *sys.meta_path])
    assert "memory ran out" in cards.collect(run_info, *make_corpus()).content
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("a card could not be drawn: this machine's memory ran out")


def test_bars_of_speech_share_one_scale_and_so_do_histograms(run_info, make_corpus, axes):
    charts = axes(cards.collect(run_info, *make_corpus(speakers=4)).content)
    by_source, by_speaker = ([axis] for [axis] in (chart for chart in charts if chart[-1][0] == "minutes"))
    assert by_source == by_speaker and {"0", "2"} <= set(by_source[0][1])
    shares = [labels for chart in charts for title, labels in chart if title is None]
    assert len(shares) == 4  # of train, validation and test, and of all
    assert all(labels == shares[0] for labels in shares) and "10 %" in shares[0]


def test_each_histogram_counts_shares_of_its_own_split():
    bins = corpus_card.histogram_table(pd.Series([1.0, 1.0, 3.0, 1.0]), pd.Series(["train", "train", "train", "test"]))
    assert bins.groupby("split")["share"].sum().round(6).to_dict() == {"train": 100, "test": 100}
    assert bins.groupby("split")["share"].max().round(1).to_dict() == {"train": 66.7, "test": 100}
