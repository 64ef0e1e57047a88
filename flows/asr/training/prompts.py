"""Prompts for training: another text of the speaker, or a list of words of which some occur in the clip.

Whisper was trained with the text before a window as its prompt in half of the examples (arXiv:2212.04356, 2.3), and
fine-tuning without prompts makes it ignore them. Word lists teach it to spell the words in its prompt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

OWN = 3  # rarest words of the clip's text in a list, at most
OTHERS = (2, 15)  # words of other texts in a list
MARKS = " .,;:!?…\"'()[]«»„“”–—-"


class Prompts:
    """Draws prompts for the clips of a split."""

    def __init__(self, texts: Sequence[str], speakers: Sequence[str | None]) -> None:
        self._texts, self._speakers = texts, speakers
        words = [_words(text) for text in texts]
        times = Counter(word.casefold() for spoken in words for word in set(spoken))
        self._rarest = [sorted(set(spoken), key=lambda word: (times[word.casefold()], word))[:OWN] for spoken in words]
        self._of_speaker = defaultdict[str, list[int]](list)
        for clip, speaker in enumerate(speakers):
            self._of_speaker[speaker or ""].append(clip)

    def sample(self, clip: int, random: np.random.Generator) -> str:
        """Another text of the clip's speaker, or in half of the draws a list of words.

        Up to three of the words are the clip's own, and none in a quarter of the lists.
        """
        texts = self._of_speaker[self._speakers[clip] or ""]
        if random.random() < 0.5 and len(texts) > 1:
            other = texts[random.integers(len(texts) - 1)]
            return self._texts[texts[-1] if other == clip else other]
        spoken = {word.casefold() for word in _words(self._texts[clip])}
        own = random.permutation(self._rarest[clip]).tolist()[: random.integers(OWN + 1)]
        others = list[str]()
        for _ in range(random.integers(OTHERS[0], OTHERS[1] + 1)):
            if rare := self._rarest[random.integers(len(self._texts))]:
                others.append(rare[random.integers(len(rare))])
        unspoken = [word for word in dict.fromkeys(others) if word.casefold() not in spoken]
        return ", ".join(random.permutation([*own, *unspoken]).tolist())


def _words(text: str) -> list[str]:
    """The words without punctuation around them."""
    return [word for part in text.split() if (word := part.strip(MARKS))]
