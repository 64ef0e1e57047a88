"""Text before a clip's own, so that a model goes on to heed prompts: what the speaker said elsewhere, or rare words.

Whisper was trained with the text before a window as its prompt in half of the examples (arXiv:2212.04356, 2.3).
Fine-tuned without any it unlearns to use one. Lists of words, some of which are said, teach it to spell those that it
is told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

OWN = 3  # of a text's words, its rarest, that a list may hold
OTHERS = (2, 15)  # words of other texts in a list, at least and at most
MARKS = " .,;:!?…\"'()[]«»„“”–—-"


class Prompts:
    """The texts of a split, as they may stand before one another."""

    def __init__(self, texts: Sequence[str], speakers: Sequence[str | None]) -> None:
        self._texts, self._speakers = texts, speakers
        words = [_words(text) for text in texts]
        times = Counter(word.casefold() for said in words for word in set(said))
        self._rarest = [sorted(set(said), key=lambda word: (times[word.casefold()], word))[:OWN] for said in words]
        self._of_speaker = defaultdict[str, list[int]](list)
        for clip, speaker in enumerate(speakers):
            self._of_speaker[speaker or ""].append(clip)

    def sample(self, clip: int, random: np.random.Generator) -> str:
        """Another text of the clip's speaker, or in half of the draws words with commas between.

        Up to three of them are the clip's own: none in a quarter of the lists, so that a list is no promise.
        """
        theirs = self._of_speaker[self._speakers[clip] or ""]
        if random.random() < 0.5 and len(theirs) > 1:
            other = theirs[random.integers(len(theirs) - 1)]
            return self._texts[theirs[-1] if other == clip else other]
        said = {word.casefold() for word in _words(self._texts[clip])}
        own = random.permutation(self._rarest[clip]).tolist()[: random.integers(OWN + 1)]
        others = list[str]()
        for _ in range(random.integers(OTHERS[0], OTHERS[1] + 1)):
            if rare := self._rarest[random.integers(len(self._texts))]:
                others.append(rare[random.integers(len(rare))])
        unsaid = [word for word in dict.fromkeys(others) if word.casefold() not in said]
        return ", ".join(random.permutation([*own, *unsaid]).tolist())


def _words(text: str) -> list[str]:
    """Its words without the marks around them."""
    return [word for one in text.split() if (word := one.strip(MARKS))]
