"""The corpus cards: what they say, and the sums they say it from."""

import numpy as np
import pandas as pd
import pytest
from asr import cards
from asr.cards import corpus as made
from asr.cards import drawing


@pytest.fixture
def shown(corpus):
    """A function to the card's HTML."""

    def show(**of):
        return cards.collect(*corpus(**of)).content

    return show


def table(*rows):
    return pd.DataFrame(rows, columns=["name", "split", "value"])


def test_the_largest_stand_first_and_the_smallest_of_many_are_one():
    many = table(*((f"n{at}", "train", at) for at in range(drawing.NAMED + 5)), ("n3", "test", 100))
    ranked = drawing.top(many)
    assert list(ranked["name"].unique()) == ["n3", *(f"n{at}" for at in range(14, 6, -1)), "6 others"]
    assert ranked["value"].sum() == many["value"].sum()


def test_few_names_all_stay():
    ranked = drawing.top(table(("a", "train", 1), ("b", "train", 2), ("b", "test", 1)))
    assert [tuple(row) for row in ranked.to_numpy()] == [("b", "train", 2), ("b", "test", 1), ("a", "train", 1)]


def test_speakers_are_counted_by_how_much_they_say_without_gaps():
    counted = made.brackets(table(("a", "train", 5), ("b", "train", 10), ("c", "test", 90), ("d", "train", 4e6)))
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
    bins = made.spread(seconds, splits, " s")
    assert bins["clips"].sum() == 1000
    assert list(bins["split"].unique()) == ["train", "test"]
    assert (bins.groupby("split").size() <= made.BINS).all()
    assert bins["high"].max() < 2 * longest


def test_a_histogram_of_one_clip():
    assert made.spread(pd.Series([3.0]), pd.Series(["train"]))["clips"].sum() == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.7, "1 min"), (3580, "1 h"), (5400, "1.5 h"), (4_464_000, "1,240 h")],
)
def test_an_amount_of_speech_is_in_the_unit_one_would_say(seconds, said):
    assert drawing.amount(seconds) == said


def test_a_hundred_thousand_clips_take_no_more_room_than_a_thousand(shown):
    assert len(shown(clips=100_000, speakers=5000, rejected=3000)) < 1.2 * len(shown(clips=1000, speakers=60))


def test_the_figures_are_the_summary_s(shown):
    text = shown(clips=1740, rejected=60)
    for figure in ("1,740", "of 1,800 found", "3.3\u00a0%", "3f2a9c81d04be756", "3 shards taken over"):
        assert figure in text


@pytest.mark.parametrize(("crossing", "said"), [(None, ""), (0, "none in two splits"), (4, "<em>4 in two splits</em>")])
def test_voices_that_stand_in_two_splits_are_told(crossing, said, corpus):
    clips, rejected, summary, _, examples = corpus()
    text = cards.collect(clips, rejected, summary | {"speakers_crossing": crossing}, 0, examples).content
    assert said in text
    assert ("in two splits" in text) == bool(said)


def test_what_there_is_nothing_of_is_said(shown, corpus):
    assert "does not say who speaks" in shown(speakers=0)
    assert "Nothing was set aside" in shown(rejected=0)
    clips, rejected, summary, *_ = corpus()
    text = cards.collect(clips.head(0), rejected, summary | {"kept": 0}, 0, []).content
    assert "No clip is fit to use" in text
    assert "Listen" not in text


def test_speakers_are_named_where_they_are_few_and_clips_without_one_counted(corpus):
    clips, rejected, summary, _, examples = corpus(speakers=4)
    clips.loc[:9, "speaker"] = None
    text = cards.collect(clips, rejected, summary, 0, examples).content
    assert "voice 1" in text
    assert "10 clips name no speaker" in text


def test_what_is_not_to_be_forgotten_stands_apart(corpus, shown):
    clips, rejected, summary, _, examples = corpus(clips=300)
    clips.loc[:49, "retained"], clips.loc[:49, "speaker"] = "en", "somebody else"
    text = cards.collect(clips, rejected, summary, 0, examples).content
    assert "Not to be forgotten" in text
    assert "somebody else" not in text
    assert "Not to be forgotten" not in shown()


def test_asides_are_counted_with_what_leaves_them_out_and_only_where_there_are_any(corpus, shown):
    clips, rejected, summary, _, examples = corpus(clips=1500)
    clips.loc[:1199, "text"] = ["Hej. [skratt]", "(viskar) Hej", "♪", "*suckar* Ja"] * 300
    text = cards.collect(clips, rejected, summary, 0, examples).content
    assert "1,200 of 1,500 clips have an aside" in text
    assert "[text] writing" in text
    assert "aside in" not in shown(clips=1500)


def test_of_the_clips_set_aside_every_reason_shows_before_any_shows_twice():
    aside = pd.DataFrame({"clip": [f"clip {at}" for at in range(20)], "reason": ["silent"] * 19 + ["too long"]})
    text = made.set_aside(aside)[1]
    assert text.index("clip 19") < text.index("clip 1<")
    assert text.count("<li>") == made.LISTED


def test_a_reason_with_particulars_is_one_bar_and_its_particulars_are_listed():
    lines = [f"unreadable transcript: line {at} is no time of a caption" for at in range(40)]
    aside = pd.DataFrame({"clip": [f"clip {at}" for at in range(41)], "reason": [*lines, "silent"]})
    chart, some = made.set_aside(aside)
    assert "40" in chart
    assert "line" not in chart.replace("polyline", "")
    assert "line 3 is no time" in some
    assert "silent" in some


def test_a_card_that_cannot_be_drawn_does_not_end_the_step(capsys):
    part = cards.collect(pd.DataFrame(), pd.DataFrame(), {}, 0, [])
    assert "could not be drawn" in part.content
    assert "KeyError" in capsys.readouterr().err
