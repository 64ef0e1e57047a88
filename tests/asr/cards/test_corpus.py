"""The corpus cards: their text, and the numbers behind it."""

import numpy as np
import pandas as pd
import pytest
from asr import cards
from asr.cards import charts
from asr.cards import corpus as made


@pytest.fixture
def shown(about, corpus):
    """A function to the card's HTML."""

    def show(**of):
        return cards.collect(about, *corpus(**of)).content

    return show


def table(*rows):
    return pd.DataFrame(rows, columns=["name", "split", "value"])


def test_the_largest_stand_first_and_the_smallest_of_many_are_one():
    many = table(*((f"n{at}", "train", at) for at in range(charts.MAX_BARS + 5)), ("n3", "test", 100))
    ranked = charts.keep_largest(many)
    assert list(ranked["name"].unique()) == ["n3", *(f"n{at}" for at in range(14, 6, -1)), "6 others"]
    assert ranked["value"].sum() == many["value"].sum()


def test_few_names_all_stay():
    ranked = charts.keep_largest(table(("a", "train", 1), ("b", "train", 2), ("b", "test", 1)))
    assert [tuple(row) for row in ranked.to_numpy()] == [("b", "train", 2), ("b", "test", 1), ("a", "train", 1)]


def test_speakers_are_counted_by_how_much_they_say_without_gaps():
    counted = made.bracket_speakers(
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
    bins = made.histogram_table(seconds, splits, " s")
    assert bins["clips"].sum() == 1000
    assert list(bins["split"].unique()) == ["train", "test"]
    assert (bins.groupby("split").size() <= made.MAX_BINS).all()
    assert bins["high"].max() < 2 * longest


def test_a_histogram_of_one_clip():
    assert made.histogram_table(pd.Series([3.0]), pd.Series(["train"]))["clips"].sum() == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.7, "1 min"), (3580, "1 h"), (5400, "1.5 h"), (4_464_000, "1,240 h")],
)
def test_an_amount_of_speech_is_in_the_unit_one_would_say(seconds, said):
    assert charts.format_duration(seconds) == said


def test_a_hundred_thousand_clips_take_no_more_room_than_a_thousand(shown):
    assert len(shown(clips=100_000, speakers=5000, rejected=3000)) < 1.2 * len(shown(clips=1000, speakers=60))


def test_the_figures_are_the_summary_s(shown):
    text = shown(clips=1740, rejected=60)
    for figure in ("1,740", "of 1,800 found", "3.3\u00a0%", "3f2a9c81d04be756", "3 shards reused"):
        assert figure in text


@pytest.mark.parametrize(
    ("crossing", "said"), [(None, ""), (0, "each in one split only"), (4, "<em>4 in more than one split</em>")]
)
def test_voices_that_stand_in_two_splits_are_reported(crossing, said, about, corpus):
    clips, rejected, summary, _, examples = corpus()
    text = cards.collect(about, clips, rejected, summary | {"speakers_crossing": crossing}, 0, examples).content
    assert said in text
    assert (" split" in text.partition("class=stack")[0]) == bool(said)


def test_what_there_is_nothing_of_is_said(about, shown, corpus):
    assert "names no speakers" in shown(speakers=0)
    assert "No clip was rejected" in shown(rejected=0)
    clips, rejected, summary, *_ = corpus()
    text = cards.collect(about, clips.head(0), rejected, summary | {"kept": 0}, 0, []).content
    assert "There is no usable clip" in text
    assert "Listen" not in text


def test_speakers_are_named_where_they_are_few_and_clips_without_one_counted(about, corpus):
    clips, rejected, summary, _, examples = corpus(speakers=4)
    clips.loc[:9, "speaker"] = None
    text = cards.collect(about, clips, rejected, summary, 0, examples).content
    assert "voice 1" in text
    assert "10 clips name no speaker" in text


def test_what_is_not_to_be_forgotten_stands_apart(about, corpus, shown):
    clips, rejected, summary, _, examples = corpus(clips=300)
    clips.loc[:49, "retained"], clips.loc[:49, "speaker"] = "en", "somebody else"
    text = cards.collect(about, clips, rejected, summary, 0, examples).content
    assert "Retained languages" in text
    assert "somebody else" not in text
    assert "Retained languages" not in shown()


def test_asides_are_counted_with_what_leaves_them_out_and_only_where_there_are_any(about, corpus, shown):
    clips, rejected, summary, _, examples = corpus(clips=1500)
    clips.loc[:1199, "text"] = ["Hej. [skratt]", "(viskar) Hej", "♪", "*suckar* Ja"] * 300
    text = cards.collect(about, clips, rejected, summary, 0, examples).content
    assert "1,200 of 1,500 clips have an aside" in text
    assert "[text] writing" in text
    assert "aside in" not in shown(clips=1500)


def test_of_the_rejected_clips_every_reason_shows_before_any_shows_twice():
    aside = pd.DataFrame({"clip": [f"clip {at}" for at in range(20)], "reason": ["silent"] * 19 + ["too long"]})
    text = made.rejected_panels(aside)[1]
    assert text.index("clip 19") < text.index("clip 1<")
    assert text.count("<li>") == made.MAX_REJECTED


def test_a_reason_with_particulars_is_one_bar_and_its_particulars_are_listed():
    lines = [f"unreadable transcript: line {at} is no time of a caption" for at in range(40)]
    aside = pd.DataFrame({"clip": [f"clip {at}" for at in range(41)], "reason": [*lines, "silent"]})
    chart, some = made.rejected_panels(aside)
    assert "40" in chart
    assert "is no time" not in chart
    assert "line 3 is no time" in some
    assert "silent" in some


def test_a_card_that_cannot_be_drawn_does_not_end_the_step(about, capsys):
    part = cards.collect(about, pd.DataFrame(), pd.DataFrame(), {}, 0, [])
    assert "could not be drawn" in part.content
    assert "KeyError" in capsys.readouterr().err


def test_bars_of_speech_share_one_scale_and_so_do_histograms(about, corpus, axes):
    charts = axes(cards.collect(about, *corpus(speakers=4)).content)
    by_source, by_speaker = ([axis] for [axis] in (chart for chart in charts if chart[-1][0] == "minutes"))
    assert by_source == by_speaker and {"0", "2"} <= set(by_source[0][1])
    shares = [labels for chart in charts for title, labels in chart if title is None]
    assert len(shares) == 4  # of train, validation and test, and of all
    assert all(labels == shares[0] for labels in shares) and "10 %" in shares[0]


def test_each_histogram_counts_shares_of_its_own_split():
    bins = made.histogram_table(pd.Series([1.0, 1.0, 3.0, 1.0]), pd.Series(["train", "train", "train", "test"]))
    assert bins.groupby("split")["share"].sum().round(6).to_dict() == {"train": 100, "test": 100}
    assert bins.groupby("split")["share"].max().round(1).to_dict() == {"train": 66.7, "test": 100}
