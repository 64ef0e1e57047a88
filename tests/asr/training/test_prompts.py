"""Text prompts that precede a clip's own text in training."""

import numpy as np
import pytest
from asr.training.prompts import Prompts

TEXTS = [
    "Tåget till Kiruna går i natt.",
    "Tåget till Åre går i natt.",
    "I natt går bussen till Åmål.",
    "Bussen går till Ånge.",
    "I natt går tåget.",
]
SPEAKERS = ["anna", "anna", "bo", None, "anna"]


@pytest.fixture
def sampled():
    prompts = Prompts(TEXTS, SPEAKERS)
    return lambda clip: [prompts.sample(clip, np.random.default_rng([0, number])) for number in range(300)]


def test_half_of_the_prompts_are_other_sentences_of_the_same_speaker(sampled):
    sentences = [text for text in sampled(0) if text in TEXTS]
    assert set(sentences) == {TEXTS[1], TEXTS[4]}
    assert 110 <= len(sentences) <= 190
    assert not set(TEXTS) & set(sampled(2))  # bo has no other sentence


def test_lists_contain_the_rarest_words_of_the_text_among_other_words(sampled):
    lists = [text.split(", ") for text in sampled(0) if text not in TEXTS]
    spoken = {"tåget", "till", "kiruna", "går", "i", "natt"}
    own = [{word for word in words if word.casefold() in spoken} for words in lists]
    assert {len(words) for words in own} == {0, 1, 2, 3}
    assert any("Kiruna" in words for words in own)
    assert all(len(words) == len(set(words)) and len(words) <= 18 for words in lists)
    first = [words[0] == "Kiruna" for words in lists if "Kiruna" in words]
    assert any(first) and not all(first)  # its position does not reveal it


def test_texts_without_a_word_give_no_list():
    prompts = Prompts(["…", "!"], [None, None])
    assert {prompts.sample(0, np.random.default_rng(seed)) for seed in range(50)} == {"", "!"}
