"""What was said in a recording: words, segments and the whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word with its punctuation; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    confidence: float  # 0 to 1: the mean probability of its tokens


@dataclass(frozen=True)
class Segment:
    """The text between two pauses, or a readable part of it; times in seconds from the start of the recording."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    log_probability: float = 0.0  # mean over the tokens of the window that was decoded
    no_speech: float = 0.0  # probability of no speech in that window

    @property
    def confidence(self) -> float:
        """The words' mean, weighted by their length; 1 without words."""
        letters = [len(word.text) for word in self.words]
        if not letters:
            return 1.0
        return sum(count * word.confidence for count, word in zip(letters, self.words, strict=True)) / sum(letters)


@dataclass(frozen=True)
class Transcript:
    text: str
    segments: tuple[Segment, ...]  # empty if there is no speech
    seconds: float  # length of the recording
    language: str  # Whisper's code
