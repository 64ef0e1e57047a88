"""Word and character error rates, against what a hand counts."""

import math

import pytest
from asr.scoring import rates

KNOWN = [
    # said, heard, words, wrong words, characters, wrong characters
    ("hej på dig", "hej på dig", 3, 0, 10, 0),
    ("hej på dig", "hej på mig", 3, 1, 10, 1),
    ("hej på dig", "hej dig", 3, 1, 10, 3),
    ("hej på dig", "hej på på dig", 3, 1, 10, 3),
    ("hej på dig", "", 3, 3, 10, 10),
    ("", "hej på", 0, 2, 0, 6),
    ("", "", 0, 0, 0, 0),
    ("åtta", "atta", 1, 1, 4, 1),
    ("a b", "c d", 2, 2, 3, 2),
]


@pytest.mark.parametrize(("said", "heard", "words", "wrong", "characters", "wrong_characters"), KNOWN)
def test_errors_are_what_a_hand_counts(said, heard, words, wrong, characters, wrong_characters):
    assert rates.errors([said], [heard]) == [rates.Errors(words, wrong, characters, wrong_characters)]


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Klockan är HALV åtta.", "klockan är halv åtta"),
        ("Åsa, Örjan och Ängla!", "åsa örjan och ängla"),
        ("Kan du  ringa?", " kan du ringa "),
        ("A\u030asa a\u0308r ha\u0308r", "Åsa är här"),
        ("Hon sade: ”hej” – då.", "hon sade hej då"),
    ],
)
def test_case_punctuation_and_spaces_do_not_count(said, heard):
    assert rates.wer(rates.errors([said], [heard])) == 0


@pytest.mark.parametrize(("said", "heard"), [("å", "a"), ("ä", "a"), ("ö", "o"), ("är", "ar"), ("sju", "7")])
def test_swedish_letters_and_figures_do_count(said, heard):
    assert rates.wer(rates.errors([said], [heard])) == 100


def test_a_rate_weighs_words_not_clips():
    clips = rates.errors(["ja", "vi ses klockan åtta på fredag kväll hos mig"], ["nej"] + ["vi ses klockan åtta"] * 1)
    assert rates.wer(clips) == pytest.approx(60.0)


def test_all_wrong_is_100_percent_and_much_invented_is_more():
    assert rates.wer(rates.errors(["ett två"], ["tre fyra"])) == 100
    assert rates.cer(rates.errors(["ab"], ["cd"])) == 100
    assert rates.wer(rates.errors(["ett"], ["tre fyra fem"])) == 300


def test_what_is_heard_in_silence_counts_beside_real_words():
    assert rates.wer(rates.errors(["", "ett två"], ["tack tack", "ett två"])) == 100


@pytest.mark.parametrize("rate", [rates.wer, rates.cer])
def test_where_nothing_was_said_there_is_no_rate(rate):
    assert math.isnan(rate(rates.errors([""], ["hej"])))
    assert math.isnan(rate([]))


def test_clips_and_transcripts_must_match_in_number():
    with pytest.raises(ValueError):
        rates.errors(["ett", "två"], ["ett"])


def test_the_evaluate_metric_is_the_same_figure():
    said, heard = ["Hej på dig.", "Åtta ägg"], ["hej på mig", "atta ägg nu"]
    clips = rates.errors(said, heard)
    computed = rates.metric().compute(references=said, predictions=heard)
    assert computed == {"wer": rates.wer(clips), "cer": rates.cer(clips)}
