"""The table of an evaluation, its report and its breakdown."""

import math

import pandas as pd
import pytest
from asr.scoring import rates, report
from asr.settings import Settings

SAID, HEARD = ["hej på dig", "åtta ägg"], ["hej på mig", "åtta ägg"]


def table(heard, served, baseline=None, said=SAID, speakers=("Åsa", None), **text):
    clips = len(said)
    columns = {
        "clip": [f"test/{at}" for at in range(clips)], "source": ["one", *["two"] * (clips - 1)],
        "speaker": list(speakers), "seconds": [1.0 + 3 * at for at in range(clips)], "decibels": 30.0,
        "reference": said,
    }  # fmt: skip
    models = {"heard": heard, "served": served} | ({"baseline": baseline} if baseline else {})
    return report.score_clips(pd.DataFrame(columns), models, Settings.model_validate({"text": text}))


def told(*texts, said=SAID, speakers=("Åsa", None), **text):
    scores = table(*texts, said=said, speakers=speakers, **text)
    return report.build_report(scores, Settings.model_validate({"text": text}))


def test_a_report_gives_percentages_of_all_words_said():
    found = told(HEARD, SAID, ["", ""])
    assert found["test_wer"] == pytest.approx(20)
    assert found["test_cer"] == pytest.approx(100 / 18)
    assert (found["substitutions"], found["deletions"], found["insertions"]) == pytest.approx((20, 0, 0))
    assert found["served_wer"] == 0
    assert found["baseline_wer"] == 100
    assert (found["clips"], found["speakers"], found["test_wer_ci_unit"]) == (2, 1, "clip")


def test_every_wer_has_its_interval():
    found = told(HEARD, SAID, ["", ""])
    for name in ("test_wer", "test_cer", "orthographic_wer", "served_wer", "baseline_wer"):
        low, high = found[f"{name}_ci"]
        assert low <= found[name] <= high, name


def test_served_and_base_are_compared_with_the_float_model_clip_by_clip():
    said = ["en två tre"] * 40
    found = told(said, said, ["en två tjugo"] * 40, said=said, speakers=[f"p{at}" for at in range(40)])
    assert found["against_baseline"]["difference"] == pytest.approx(-100 / 3)
    assert found["against_baseline"]["p"] < 0.001
    assert found["against_served"] == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_retained_languages_are_compared_with_the_base():
    said = ["one two three"] * 40
    ours, theirs = (rates.count_errors(said, [heard] * 40, language="en") for heard in ("one two", "one two three"))
    found = report.build_retained_report({"en": ours}, {"en": theirs}, {"en": [f"p{at}" for at in range(40)]})
    assert found["retained_wer"] == {"en": pytest.approx(100 / 3)}
    assert found["retained_baseline_wer"] == {"en": 0}
    assert found["retained_clips"] == {"en": 40}
    assert found["against_retained_baseline"]["en"]["difference"] == pytest.approx(100 / 3)
    assert found["against_retained_baseline"]["en"]["p"] < 0.001
    for name in ("retained_wer", "retained_baseline_wer"):
        low, high = found[f"{name}_ci"]["en"]
        assert low <= found[name]["en"] <= high


def test_without_a_base_there_is_no_baseline():
    assert [column for column in table(HEARD, HEARD) if "baseline" in column] == []
    found = told(HEARD, HEARD)
    assert (found["baseline_wer"], found["baseline_wer_ci"], found["against_baseline"]) == (None, None, None)


def test_the_table_shows_each_clip_with_its_hypothesis():
    scores = table(HEARD, HEARD)
    assert scores["clip"].tolist() == ["test/0", "test/1"]
    assert scores["heard"].tolist() == HEARD
    assert scores["word_errors"].tolist() == [1, 0]


def test_each_source_has_a_wer_of_its_own():
    assert told(HEARD, HEARD)["wer_by_source"] == pytest.approx({"one": 100 / 3, "two": 0})


def test_capitals_and_punctuation_count_in_the_orthographic_wer_alone():
    found = told(["hej på dig", "åtta ägg"], SAID, said=["Hej på dig.", "åtta ägg"])
    assert found["test_wer"] == 0
    assert found["orthographic_wer"] == pytest.approx(40)


def test_the_profile_says_what_counts_as_the_same_word():
    said, heard = ["Hej på dig.", "8 ägg"], ["hej på dig", "åtta ägg"]
    rules = [told(heard, heard, said=said, scoring=rule) for rule in ("basic", "lenient", "verbatim")]
    assert [found["test_wer"] for found in rules] == pytest.approx([20, 0, 60])
    assert [found["served_wer"] for found in rules] == pytest.approx([20, 0, 60])


def test_a_report_names_the_unit_of_its_rates():
    assert told(HEARD, HEARD)["unit"] == "word"
    profile = Settings.model_validate({"corpus": {"language": "zh"}})
    said = pd.DataFrame({"reference": ["今天天气很好，我们出门。"], "speaker": None, "source": "one"})
    heard = ["今天天气很号我们出门"]
    found = report.build_report(report.score_clips(said, {"heard": heard, "served": heard}, profile), profile)
    assert (found["unit"], found["test_wer"], found["test_cer"], found["served_wer"]) == ("character", 10, 10, 10)
    assert found["orthographic_wer"] == pytest.approx(100 * 3 / 12)


def test_loops_and_wrong_languages_are_those_of_the_served_model():
    said = ["Klockan är halv åtta och jag vill gå hem nu.", "Hon köpte ägg och mjölk på lördag morgon."]
    found = told(said, ["The clock is half past seven and I want to go home.", "ägg ägg ägg ägg"], said=said)
    assert (found["loops"], found["wrong_language"]) == (50, 50)


@pytest.mark.parametrize(
    ("said", "heard", "wer"),
    [(["...", "!"], ["", ""], 0), (["...", "!"], ["hej", ""], 100), (SAID, ["", ""], 100), (["ja"], ["nej"], 100)],
    ids=["nothing said or heard", "nothing said", "nothing heard", "one clip"],
)
def test_edge_cases_give_finite_metrics(said, heard, wer):
    found = told(heard, heard, heard, said=said, speakers=[None] * len(said))
    assert found["test_wer"] == wer
    flat = pd.json_normalize(found).iloc[0].explode()
    assert all(math.isfinite(value) for value in flat if isinstance(value, int | float))
    scores = table(heard, heard, said=said, speakers=[None] * len(said))
    assert report.build_breakdown(scores)[["wer", "low", "high"]].notna().all(axis=None)


def test_a_breakdown_groups_the_errors():
    found = report.build_breakdown(table(HEARD, HEARD)).set_index(["by", "name"])
    assert found["wer"].to_dict() == pytest.approx({
        ("source", "one"): 100 / 3, ("source", "two"): 0, ("length", "0 to 2 s"): 100 / 3, ("length", "2 to 5 s"): 0,
        ("noise", "20 to 40 dB"): 20, ("speaker", "Åsa"): 100 / 3,
    })  # fmt: skip
    assert (found["low"] <= found["wer"]).all() and (found["wer"] <= found["high"]).all()


def test_the_worst_speaker_comes_first():
    found = report.build_breakdown(table(HEARD, HEARD, speakers=("b", "a")))
    assert found[found["by"] == "speaker"]["name"].tolist() == ["b", "a"]
    assert (
        report.build_breakdown(table(SAID, HEARD, speakers=(None, None)))["by"]
        .isin(["source", "length", "noise"])
        .all()
    )
