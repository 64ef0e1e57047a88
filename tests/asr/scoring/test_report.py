"""The table of an evaluation, its report and its breakdown."""

import math

import pandas as pd
import pytest
from asr.scoring import rates, report
from asr.settings import Settings

REFERENCES, HYPOTHESES = ["hej på dig", "åtta ägg"], ["hej på mig", "åtta ägg"]


def table(hypotheses, served, baseline=None, references=REFERENCES, speakers=("Åsa", None), **text):
    clips = len(references)
    columns = {
        "clip": [f"test/{at}" for at in range(clips)], "source": ["one", *["two"] * (clips - 1)],
        "speaker": list(speakers), "seconds": [1.0 + 3 * at for at in range(clips)], "decibels": 30.0,
        "reference": references,
    }  # fmt: skip
    models = {"hypothesis": hypotheses, "served": served} | ({"baseline": baseline} if baseline else {})
    return report.score_clips(pd.DataFrame(columns), models, Settings.model_validate({"text": text}))


def build_report(*texts, references=REFERENCES, speakers=("Åsa", None), **text):
    scores = table(*texts, references=references, speakers=speakers, **text)
    return report.build_report(scores, Settings.model_validate({"text": text}))


def test_a_report_gives_percentages_of_all_reference_words():
    figures = build_report(HYPOTHESES, REFERENCES, ["", ""])
    assert figures["test_wer"] == pytest.approx(20)
    assert figures["test_cer"] == pytest.approx(100 / 18)
    assert (figures["substitutions"], figures["deletions"], figures["insertions"]) == pytest.approx((20, 0, 0))
    assert figures["served_wer"] == 0
    assert figures["baseline_wer"] == 100
    assert (figures["clips"], figures["speakers"], figures["test_wer_ci_unit"]) == (2, 1, "clip")


def test_every_wer_has_its_interval():
    figures = build_report(HYPOTHESES, REFERENCES, ["", ""])
    for name in ("test_wer", "test_cer", "orthographic_wer", "served_wer", "baseline_wer"):
        low, high = figures[f"{name}_ci"]
        assert low <= figures[name] <= high, name


def test_served_and_base_are_compared_with_the_float_model_clip_by_clip():
    references = ["en två tre"] * 40
    speakers = [f"p{number}" for number in range(40)]
    figures = build_report(references, references, ["en två tjugo"] * 40, references=references, speakers=speakers)
    assert figures["against_baseline"]["difference"] == pytest.approx(-100 / 3)
    assert figures["against_baseline"]["p"] < 0.001
    assert figures["against_served"] == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_retained_languages_are_compared_with_the_base():
    references = ["one two three"] * 40
    ours, theirs = (
        rates.count_errors(references, [hypothesis] * 40, language="en") for hypothesis in ("one two", "one two three")
    )
    figures = report.build_retained_report({"en": ours}, {"en": theirs}, {"en": [f"p{number}" for number in range(40)]})
    assert figures["retained_wer"] == {"en": pytest.approx(100 / 3)}
    assert figures["retained_baseline_wer"] == {"en": 0}
    assert figures["retained_clips"] == {"en": 40}
    assert figures["against_retained_baseline"]["en"]["difference"] == pytest.approx(100 / 3)
    assert figures["against_retained_baseline"]["en"]["p"] < 0.001
    for name in ("retained_wer", "retained_baseline_wer"):
        low, high = figures[f"{name}_ci"]["en"]
        assert low <= figures[name]["en"] <= high


def test_without_a_base_there_is_no_baseline():
    assert [column for column in table(HYPOTHESES, HYPOTHESES) if "baseline" in column] == []
    figures = build_report(HYPOTHESES, HYPOTHESES)
    assert (figures["baseline_wer"], figures["baseline_wer_ci"], figures["against_baseline"]) == (None, None, None)


def test_the_table_shows_each_clip_with_its_hypothesis():
    scores = table(HYPOTHESES, HYPOTHESES)
    assert scores["clip"].tolist() == ["test/0", "test/1"]
    assert scores["hypothesis"].tolist() == HYPOTHESES
    assert scores["word_errors"].tolist() == [1, 0]


def test_each_source_has_a_wer_of_its_own():
    assert build_report(HYPOTHESES, HYPOTHESES)["wer_by_source"] == pytest.approx({"one": 100 / 3, "two": 0})


def test_capitals_and_punctuation_count_in_the_orthographic_wer_alone():
    figures = build_report(["hej på dig", "åtta ägg"], REFERENCES, references=["Hej på dig.", "åtta ägg"])
    assert figures["test_wer"] == 0
    assert figures["orthographic_wer"] == pytest.approx(40)


def test_the_profiles_scoring_rule_is_applied():
    references, hypotheses = ["Hej på dig.", "8 ägg"], ["hej på dig", "åtta ägg"]
    rules = [
        build_report(hypotheses, hypotheses, references=references, scoring=rule)
        for rule in ("basic", "lenient", "verbatim")
    ]
    assert [figures["test_wer"] for figures in rules] == pytest.approx([20, 0, 60])
    assert [figures["served_wer"] for figures in rules] == pytest.approx([20, 0, 60])


def test_a_report_names_the_unit_of_its_rates():
    assert build_report(HYPOTHESES, HYPOTHESES)["unit"] == "word"
    profile = Settings.model_validate({"corpus": {"language": "zh"}})
    clips = pd.DataFrame({"reference": ["今天天气很好，我们出门。"], "speaker": None, "source": "one"})
    hypotheses = ["今天天气很号我们出门"]
    figures = report.build_report(
        report.score_clips(clips, {"hypothesis": hypotheses, "served": hypotheses}, profile), profile
    )
    assert figures["unit"] == "character"
    assert (figures["test_wer"], figures["test_cer"], figures["served_wer"]) == (10, 10, 10)
    assert figures["orthographic_wer"] == pytest.approx(100 * 3 / 12)


def test_loops_and_wrong_languages_are_those_of_the_served_model():
    references = ["Klockan är halv åtta och jag vill gå hem nu.", "Hon köpte ägg och mjölk på lördag morgon."]
    figures = build_report(
        references, ["The clock is half past seven and I want to go home.", "ägg ägg ägg ägg"], references=references
    )
    assert (figures["loops"], figures["wrong_language"]) == (50, 50)


@pytest.mark.parametrize(
    ("references", "hypotheses", "wer"),
    [
        (["...", "!"], ["", ""], 0),
        (["...", "!"], ["hej", ""], 100),
        (REFERENCES, ["", ""], 100),
        (["ja"], ["nej"], 100),
    ],
    ids=["both empty", "empty references", "empty hypotheses", "one clip"],
)
def test_edge_cases_give_finite_metrics(references, hypotheses, wer):
    figures = build_report(hypotheses, hypotheses, hypotheses, references=references, speakers=[None] * len(references))
    assert figures["test_wer"] == wer
    flat = pd.json_normalize(figures).iloc[0].explode()
    assert all(math.isfinite(value) for value in flat if isinstance(value, int | float))
    scores = table(hypotheses, hypotheses, references=references, speakers=[None] * len(references))
    assert report.build_breakdown(scores)[["wer", "low", "high"]].notna().all(axis=None)


def test_a_breakdown_groups_the_errors():
    breakdown = report.build_breakdown(table(HYPOTHESES, HYPOTHESES)).set_index(["by", "name"])
    assert breakdown["wer"].to_dict() == pytest.approx({
        ("source", "one"): 100 / 3, ("source", "two"): 0, ("length", "0 to 2 s"): 100 / 3, ("length", "2 to 5 s"): 0,
        ("noise", "20 to 40 dB"): 20, ("speaker", "Åsa"): 100 / 3,
    })  # fmt: skip
    assert (breakdown["low"] <= breakdown["wer"]).all() and (breakdown["wer"] <= breakdown["high"]).all()


def test_the_worst_speaker_comes_first():
    breakdown = report.build_breakdown(table(HYPOTHESES, HYPOTHESES, speakers=("b", "a")))
    assert breakdown[breakdown["by"] == "speaker"]["name"].tolist() == ["b", "a"]
    assert (
        report.build_breakdown(table(REFERENCES, HYPOTHESES, speakers=(None, None)))["by"]
        .isin(["source", "length", "noise"])
        .all()
    )
