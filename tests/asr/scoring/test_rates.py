"""Word and character error rates, against counts made by hand."""

import pytest
from asr.scoring import intervals, rates

KNOWN = [
    # reference, hypothesis, words, substituted, deleted, inserted, characters, wrong characters
    ("hej på dig", "hej på dig", 3, 0, 0, 0, 10, 0),
    ("hej på dig", "hej på mig", 3, 1, 0, 0, 10, 1),
    ("hej på dig", "hej dig", 3, 0, 1, 0, 10, 3),
    ("hej på dig", "hej på på dig", 3, 0, 0, 1, 10, 3),
    ("hej på dig", "", 3, 0, 3, 0, 10, 10),
    ("", "hej på", 0, 0, 0, 2, 0, 6),
    ("", "", 0, 0, 0, 0, 0, 0),
    ("åtta", "atta", 1, 1, 0, 0, 4, 1),
    ("a b", "c d", 2, 2, 0, 0, 3, 2),
]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"), [(reference, hypothesis, counts) for reference, hypothesis, *counts in KNOWN]
)
def test_errors_equal_counts_made_by_hand(reference, hypothesis, counts):
    assert rates.count_errors([reference], [hypothesis]) == [rates.ErrorCounts(*counts)]
    assert rates.count_errors([reference], [hypothesis])[0].word_errors == sum(counts[1:4])


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("Klockan är HALV åtta.", "klockan är halv åtta"),
        ("Åsa, Örjan och Ängla!", "åsa örjan och ängla"),
        ("Kan du  ringa?", " kan du ringa "),
        ("A\u030asa a\u0308r ha\u0308r", "Åsa är här"),
        ("Hon sade: ”hej” – då.", "hon sade hej då"),
    ],
)
def test_case_punctuation_and_spaces_do_not_count(reference, hypothesis):
    assert rates.wer(rates.count_errors([reference], [hypothesis])) == 0


@pytest.mark.parametrize(("reference", "hypothesis"), [("å", "a"), ("ä", "a"), ("ö", "o"), ("är", "ar"), ("sju", "7")])
def test_swedish_letters_and_figures_do_count(reference, hypothesis):
    assert rates.wer(rates.count_errors([reference], [hypothesis])) == 100


@pytest.mark.parametrize(
    ("language", "reference", "hypothesis", "percent"),
    [
        ("hi", "मेरी बहन कितनी अच्छी थी।", "मेरा बहन कितने अच्छे था", 80),
        ("ml", "ഒരു കിളി", "ഒരു കുളി", 50),
        ("zh", "今天天气很好，我们出门。", "今天天气很号我们出门", 10),
        ("yue", "今日天氣好好，我哋出街", "今日天氣好好我哋出该", 10),
        ("ja", "明日は雪が降りますね。", "明日は雨が降りますね", 10),
        ("th", "สวัสดีครับ", "สวัสดีครุบ", 100 / 7),
        ("ko", "오늘은 날씨가 좋아요", "오늘은 날씨가 좋네요", 100 / 3),
    ],
)
def test_errors_are_counted_in_the_units_of_the_language(language, reference, hypothesis, percent):
    assert rates.wer(rates.count_errors([reference], [hypothesis], "basic", language)) == pytest.approx(percent)


def test_without_spaces_between_words_both_rates_count_characters():
    clips = rates.count_errors(["我们 出门。", "好"], ["我们出们", ""], "basic", "zh")
    assert clips == [rates.ErrorCounts(4, 1, 0, 0, 4, 1), rates.ErrorCounts(1, 0, 1, 0, 1, 1)]
    assert rates.wer(clips) == rates.cer(clips) == 40
    assert rates.align_words("出门", "出们", "basic", "zh") == [("出", "出"), ("门", "们")]


def test_a_rate_weighs_words_not_clips():
    clips = rates.count_errors(["ja", "vi ses klockan åtta på fredag kväll hos mig"], ["nej", "vi ses klockan åtta"])
    assert rates.wer(clips) == pytest.approx(60.0)


def test_insertions_can_exceed_100_percent():
    assert rates.wer(rates.count_errors(["ett två"], ["tre fyra"])) == 100
    assert rates.cer(rates.count_errors(["ab"], ["cd"])) == 100
    assert rates.wer(rates.count_errors(["ett"], ["tre fyra fem"])) == 300


def test_insertions_in_empty_clips_count():
    assert rates.wer(rates.count_errors(["", "ett två"], ["tack tack", "ett två"])) == 100


@pytest.mark.parametrize("rate", [rates.wer, rates.cer])
def test_an_empty_reference_gives_0_or_100_percent(rate):
    assert rate(rates.count_errors([""], ["hej"])) == 100
    assert rate(rates.count_errors(["..."], ["!"])) == 0
    assert rate([]) == 0


def test_references_and_hypotheses_must_match_in_number():
    with pytest.raises(ValueError):
        rates.count_errors(["ett", "två"], ["ett"])
    with pytest.raises(ValueError):
        rates.count_confusions(["ett", "två"], ["ett"])


@pytest.mark.parametrize(("reference", "hypothesis"), [(reference, hypothesis) for reference, hypothesis, *_ in KNOWN])
def test_aligned_words_are_those_of_reference_and_hypothesis(reference, hypothesis):
    pairs = rates.align_words(reference, hypothesis)
    assert " ".join(word for word, _ in pairs if word) == reference
    assert " ".join(word for _, word in pairs if word) == hypothesis
    errors = rates.count_errors([reference], [hypothesis])[0].word_errors
    assert sum(word != aligned for word, aligned in pairs) == errors


def test_the_most_frequent_confusion_comes_first():
    references, hypotheses = ["Jag är här.", "Du är där.", "Vi är här, ja."], ["jag e här", "du e där då", "vi är här"]
    table = rates.count_confusions(references, hypotheses)
    assert [tuple(row) for row in table.itertuples(index=False)] == [("är", "e", 2), ("", "då", 1), ("ja", "", 1)]
    assert rates.count_confusions(["ja"], ["ja"]).empty


def test_the_evaluate_metric_gives_the_same_figures():
    references, hypotheses = ["Hej på dig.", "Åtta ägg"], ["hej på mig", "atta ägg nu"]
    clips = rates.count_errors(references, hypotheses)
    computed = rates.build_metric().compute(references=references, predictions=hypotheses)
    bounds = intervals.confidence_interval([1, 2], [3, 2], [None, None])
    assert computed == {
        "wer": rates.wer(clips), "wer_low": bounds.low, "wer_high": bounds.high, "wer_unit": "clip",
        "cer": rates.cer(clips), "words": 5, "substitutions": 2, "deletions": 0, "insertions": 1,
    }  # fmt: skip


def test_the_evaluate_metric_takes_a_rule_a_language_and_speakers():
    references, hypotheses, speakers = ["8 ägg"] * 20, ["åtta ägg"] * 20, [f"p{number}" for number in range(20)]
    computed = rates.build_metric().compute(
        references=references, predictions=hypotheses, rule="lenient", language="sv", speakers=speakers
    )
    assert (computed["wer"], computed["wer_unit"]) == (0, "speaker")
