"""Model faults that a WER does not show."""

import numpy as np
import pytest
from asr.scoring import diagnostics

RATE = 16_000


def test_probes_are_three_minutes_of_different_noises_and_deterministic():
    probes = diagnostics.non_speech_probes()
    assert sum(map(len, probes)) / RATE == pytest.approx(192)
    assert all(probe.dtype == np.float32 and np.abs(probe).max() <= 1 for probe in probes)
    assert all(
        np.array_equal(probe, again) for probe, again in zip(probes, diagnostics.non_speech_probes(), strict=True)
    )
    assert len({probe[:100].tobytes() for probe in probes}) == len(probes)


def test_hallucinated_words_are_counted_per_minute():
    assert diagnostics.hallucinated_words_per_minute(["tack för att ni tittade", "", "hej"], 120) == 3
    assert diagnostics.hallucinated_words_per_minute([""] * 9, 120) == 0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "loop"),
    [
        ("det var en gång", "det var det var det var det var", True),
        ("det var en gång", "Tack. tack. TACK.", True),
        ("det var en gång", "tack tack", False),
        ("nej nej nej", "nej nej nej", False),
        ("nej nej nej", "nej nej nej nej", True),
        ("a b", " ".join(["en två tre fyra fem sex sju åtta"] * 3), True),
        ("", "", False),
        ("hej", "", False),
    ],
)
def test_a_loop_is_a_phrase_three_times_in_a_row_that_the_reference_lacks(reference, hypothesis, loop):
    assert diagnostics.has_repetition_loop(reference, hypothesis, "sv") == loop


def test_languages_without_spaces_have_loops_hallucinations_and_wrong_language_too():
    references = ["今天天气很好，我们一起出去玩吧。", "她买了鸡蛋和牛奶。"]
    assert diagnostics.has_repetition_loop(references[0], "谢谢观看谢谢观看谢谢观看", "zh")
    assert not diagnostics.has_repetition_loop(references[0], references[0], "zh")
    assert diagnostics.hallucinated_words_per_minute(["谢谢观看"], 60) == 2  # two characters make a word
    assert diagnostics.wrong_language_share(references, references, "zh") == 0
    assert diagnostics.wrong_language_share(references, ENGLISH, "zh") == 100


SWEDISH = ["Klockan är halv åtta och jag vill gå hem.", "Hon köpte ägg och mjölk på lördag morgon."]
ENGLISH = ["The clock is half past seven and I want to go home.", "She bought eggs and milk on Saturday morning."]


def test_text_in_another_language_is_reported_from_text_with_errors():
    wrong = ["Klockan är hal åta och jag vil gå hem.", ENGLISH[1]]
    assert diagnostics.wrong_language_share(SWEDISH, SWEDISH, "sv") == 0
    assert diagnostics.wrong_language_share(SWEDISH, wrong, "sv") == 50
    assert diagnostics.wrong_language_share(SWEDISH, ENGLISH, "sv") == 100
    assert diagnostics.wrong_language_share(SWEDISH, ["", "va"], "sv") == 0


def test_an_unrecognised_language_gives_no_share():
    assert diagnostics.wrong_language_share(["Hej", "Oslo"], ENGLISH, "sv") is None
    assert diagnostics.wrong_language_share(SWEDISH, SWEDISH, "xx") is None
    assert diagnostics.wrong_language_share([], [], "sv") is None


def test_starts_are_compared_with_starts_and_ends_with_ends():
    assert diagnostics.timestamp_errors([(0.5, 2.0)], [(0.4, 2.2)]) == [0.1, 0.2]
    assert diagnostics.timestamp_errors([(0, 1), (3, 4)], [(0.1, 4.0)]) == [0.1, 3.0, 2.9, 0.0]
    assert diagnostics.timestamp_errors([(0, 1)], []) == []


@pytest.mark.parametrize("decibels", [10, 30, 50])
def test_the_signal_to_noise_ratio_is_estimated_in_decibels(decibels):
    random = np.random.default_rng(0)
    speech = np.where(np.arange(4 * RATE) // RATE % 2, random.standard_normal(4 * RATE), 0)
    noise = 10 ** (-decibels / 20) * random.standard_normal(4 * RATE)
    assert diagnostics.estimate_snr((0.1 * (speech + noise)).astype(np.float32)) == pytest.approx(decibels, abs=1)


def test_silence_and_very_short_audio_have_a_ratio_of_zero():
    assert diagnostics.estimate_snr(np.zeros(RATE, np.float32)) == 0
    assert diagnostics.estimate_snr(np.zeros(3, np.float32)) == 0
