"""Text that stands before a clip's own while a model learns."""

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
def drawn():
    prompts = Prompts(TEXTS, SPEAKERS)
    return lambda clip: [prompts.sample(clip, np.random.default_rng([0, number])) for number in range(300)]


def test_half_are_other_sentences_of_the_same_speaker_and_never_the_clips_own(drawn):
    sentences = [text for text in drawn(0) if text in TEXTS]
    assert set(sentences) == {TEXTS[1], TEXTS[4]}
    assert 110 <= len(sentences) <= 190
    assert not set(TEXTS) & set(drawn(2))  # bo says nothing else


def test_lists_hold_the_rarest_words_of_the_text_among_others_that_are_not_said(drawn):
    lists = [text.split(", ") for text in drawn(0) if text not in TEXTS]
    said = {"tåget", "till", "kiruna", "går", "i", "natt"}
    own = [{word for word in words if word.casefold() in said} for words in lists]
    assert {len(words) for words in own} == {0, 1, 2, 3}
    assert any("Kiruna" in words for words in own)
    assert all(len(words) == len(set(words)) and len(words) <= 18 for words in lists)
    first = [words[0] == "Kiruna" for words in lists if "Kiruna" in words]
    assert any(first) and not all(first)  # where it stands tells nothing


def test_texts_without_a_word_give_no_list():
    prompts = Prompts(["…", "!"], [None, None])
    assert {prompts.sample(0, np.random.default_rng(seed)) for seed in range(50)} == {"", "!"}
