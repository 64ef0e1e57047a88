"""What a WER does not tell."""

import numpy as np
import pytest
from asr.scoring import behaviour

RATE = 16_000


def test_probes_are_three_minutes_of_different_sounds_the_same_each_time():
    probes = behaviour.probes()
    assert sum(map(len, probes)) / RATE == pytest.approx(192)
    assert all(one.dtype == np.float32 and np.abs(one).max() <= 1 for one in probes)
    assert all(np.array_equal(one, again) for one, again in zip(probes, behaviour.probes(), strict=True))
    assert len({one[:100].tobytes() for one in probes}) == len(probes)


def test_words_that_nobody_said_are_counted_by_the_minute():
    assert behaviour.invented(["tack för att ni tittade", "", "hej"], 120) == 3
    assert behaviour.invented([""] * 9, 120) == 0


@pytest.mark.parametrize(
    ("said", "heard", "loop"),
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
def test_a_loop_is_a_phrase_three_times_in_a_row_that_was_not_said_so(said, heard, loop):
    assert behaviour.loops(said, heard, "sv") == loop


def test_without_spaces_between_words_loops_inventions_and_strange_texts_are_found_too():
    said = ["今天天气很好，我们一起出去玩吧。", "她买了鸡蛋和牛奶。"]
    assert behaviour.loops(said[0], "谢谢观看谢谢观看谢谢观看", "zh")
    assert not behaviour.loops(said[0], said[0], "zh")
    assert behaviour.invented(["谢谢观看"], 60) == 2  # two characters make a word
    assert behaviour.strangers(said, said, "zh") == 0
    assert behaviour.strangers(said, ENGLISH, "zh") == 100


SWEDISH = ["Klockan är halv åtta och jag vill gå hem.", "Hon köpte ägg och mjölk på lördag morgon."]
ENGLISH = ["The clock is half past seven and I want to go home.", "She bought eggs and milk on Saturday morning."]


def test_a_text_in_another_language_is_told_from_one_with_errors():
    wrong = ["Klockan är hal åta och jag vil gå hem.", ENGLISH[1]]
    assert behaviour.strangers(SWEDISH, SWEDISH, "sv") == 0
    assert behaviour.strangers(SWEDISH, wrong, "sv") == 50
    assert behaviour.strangers(SWEDISH, ENGLISH, "sv") == 100
    assert behaviour.strangers(SWEDISH, ["", "va"], "sv") == 0


def test_where_the_language_cannot_be_told_nothing_is_said_of_it():
    assert behaviour.strangers(["Hej", "Oslo"], ENGLISH, "sv") is None
    assert behaviour.strangers(SWEDISH, SWEDISH, "xx") is None
    assert behaviour.strangers([], [], "sv") is None


def test_times_are_compared_with_the_nearest_of_their_own_side():
    assert behaviour.timing([(0.5, 2.0)], [(0.4, 2.2)]) == [0.1, 0.2]
    assert behaviour.timing([(0, 1), (3, 4)], [(0.1, 4.0)]) == [0.1, 3.0, 2.9, 0.0]
    assert behaviour.timing([(0, 1)], []) == []


@pytest.mark.parametrize("decibels", [10, 30, 50])
def test_noise_beneath_speech_is_told_in_decibels(decibels):
    random = np.random.default_rng(0)
    speech = np.where(np.arange(4 * RATE) // RATE % 2, random.standard_normal(4 * RATE), 0)
    noise = 10 ** (-decibels / 20) * random.standard_normal(4 * RATE)
    assert behaviour.speech_over_noise((0.1 * (speech + noise)).astype(np.float32)) == pytest.approx(decibels, abs=1)


def test_silence_and_next_to_nothing_have_no_noise():
    assert behaviour.speech_over_noise(np.zeros(RATE, np.float32)) == 0
    assert behaviour.speech_over_noise(np.zeros(3, np.float32)) == 0
