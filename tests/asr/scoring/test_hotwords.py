"""Recall and false alarms of hotwords."""

import pytest
from asr.scoring import hotwords
from asr.settings import load

REFERENCES = ["Tåget går till Kiruna.", "Vi ses i Norra Kvarken!", "I dag regnar det.", "Kiruna, Kiruna."] * 6
HYPOTHESES = ["tåget går till Kiruna", "vi ses i norra kvaken", "i Kiruna regnar det", "Kiruna"] * 6
HINTED = ["tåget går till Kiruna", "vi ses i Norra Kvarken", "i Kiruna regnar det", "Kiruna Kiruna Åre"] * 6


@pytest.fixture
def report():
    settings = load('[text]\nhotwords = ["Kiruna", "Norra Kvarken", "Åre", "…"]')
    return hotwords.score_hotwords(REFERENCES, HYPOTHESES, HINTED, [None] * len(REFERENCES), settings)


def test_recall_counts_each_occurrence_and_false_alarms_count_words_that_were_not_said(report):
    assert (report["hotwords"], report["hotwords_said"]) == (3, 24)
    assert (report["hotword_recall"], report["hinted_recall"]) == (50.0, 100.0)
    assert (report["hotword_false_alarms"], report["hinted_false_alarms"]) == (25.0, 50.0)
    low, high = report["hotword_recall_ci"]
    assert 20 < low < 50 < high < 80
    assert report["hinted_recall_ci"][1] == 100
    assert report["hotword_p"] < 0.05
    assert report["hinted_wer"] == pytest.approx(100 * 2 / 15)


def test_hotwords_that_never_occur_have_full_recall():
    settings = load('[text]\nhotwords = ["Sundsvall"]')
    figures = hotwords.score_hotwords(REFERENCES, HYPOTHESES, HYPOTHESES, [None] * len(REFERENCES), settings)
    assert (figures["hotwords_said"], figures["hotword_recall"], figures["hotword_p"]) == (0, 100.0, 1.0)
