"""The clips of a split as a model meets them: log-mels at their own length, and the tokens of what is said in them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.corpus.audio import RATE
from asr.settings import Training
from asr.training import augmentation, surroundings
from asr.training.batches import PROMPT, WINDOW_SECONDS, Draw, Unit
from asr.training.models import MOST_PROMPT, POSITIONS, PREVIOUS, WINDOW_FRAMES
from asr.training.prompts import Prompts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperProcessor

CACHE_BYTES = 1 << 30  # of log-mels kept in memory; the rest is computed again each time it is drawn
TICK = 0.02  # seconds between two of Whisper's timestamps
LAST_TICK = 1_500


@dataclass(frozen=True)
class Words:
    """A stretch of text, and when it is said: seconds from the start of what a model hears."""

    start: float
    end: float
    text: str

    def moved(self, later: float, faster: float = 1.0) -> Words:
        """The same, said so many times as fast and then so many seconds later."""
        return Words(self.start / faster + later, self.end / faster + later, self.text)


@dataclass(frozen=True)
class Example:
    """What one draw came to."""

    draw: Draw
    features: np.ndarray  # (mel, frames) float32 log-mels
    tokens: list[int]  # prompt, text and end
    previous: Sequence[int] = ()  # text before them, which is read and not learnt

    @property
    def labels(self) -> list[int]:
        """Both, with the tokens that are not learnt below zero."""
        if not self.previous:
            return self.tokens
        return [*(PROMPT - token for token in (*self.previous, self.tokens[0])), *self.tokens[1:]]


class Sounds:
    """The clips of one split: what is said in them, by whom, and how they sound, read when it is asked for."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.texts: list[str] = list(dataset["text"])
        self.seconds: list[float] = list(dataset["seconds"])
        self.speakers: list[str | None] = list(dataset["speaker"])
        self._segments = list(dataset["segments"])

    def __len__(self) -> int:
        return len(self.texts)

    def sound(self, clip: int) -> np.ndarray:
        """(samples,) float32 at 16 kHz."""
        import soundfile

        return soundfile.read(io.BytesIO(self.dataset[clip]["audio"]["bytes"]), dtype="float32")[0]

    def segments(self, clip: int) -> list[Words]:
        """What its transcript told of when things are said in the clip; most corpora tell nothing."""
        return [Words(one["start"], one["end"], one["text"]) for one in self._segments[clip] or ()]

    def words(self, clip: int) -> list[Words]:
        """What is said in the clip and when: its segments, else all of it."""
        return self.segments(clip) or [Words(0.0, self.seconds[clip], self.texts[clip])]


class Clips(Sounds):
    """The same as a model meets them: log-mels, kept while there is room, and tokens.

    `retained` are the languages of those sources that do not speak the processor's, as `Corpus.retained` has them.
    """

    def __init__(
        self, dataset: Dataset, processor: WhisperProcessor, room: int = CACHE_BYTES,
        retained: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(dataset)
        self.processor = processor
        self._retained = [(retained or {}).get(source) for source in dataset["source"]]
        self._cache: dict[int, np.ndarray] = {}
        self._room = room

    def features(self, clip: int) -> np.ndarray:
        """(mel, frames) float32 log-mels at the clip's own length."""
        if clip not in self._cache:
            made = self.log_mels(self.sound(clip))
            if made.nbytes > self._room:
                return made
            self._cache[clip], self._room = made, self._room - made.nbytes
        return self._cache[clip]

    def log_mels(self, sound: np.ndarray) -> np.ndarray:
        """(mel, frames) float32 log-mels of (samples,)."""
        return log_mels(self.processor, sound)

    def tokens(self, clip: int) -> list[int]:
        """Prompt, text and end. Whisper's words carry the space before them."""
        return self.prompted(self.processor.tokenizer(" " + self.texts[clip]).input_ids, clip)

    def prompted(self, tokens: list[int], clip: int) -> list[int]:
        """The tokens with the clip's own language in their prompt, after its start."""
        if not (language := self._retained[clip]):
            return tokens
        return [tokens[0], self.processor.tokenizer.convert_tokens_to_ids(f"<|{language}|>"), *tokens[2:]]


def log_mels(processor: WhisperProcessor, sound: np.ndarray) -> np.ndarray:
    """(mel, frames) float32 log-mels of (samples,), at most 30 s of them."""
    made: np.ndarray = processor.feature_extractor(
        sound, sampling_rate=RATE, padding=False, truncation=False, return_tensors="np"
    ).input_features[0]
    return made[:, :WINDOW_FRAMES]


class Examples:
    """The training view of clips: a draw gives augmented log-mels and tokens. (A torch map-style data set.)"""

    def __init__(self, clips: Clips, training: Training) -> None:
        self.clips, self.training, self._surroundings = clips, training, surroundings.Surroundings(training)
        tokenizer = clips.processor.tokenizer
        *self._prompt, self._no_times, self._end = tokenizer("").input_ids
        self._prompts = Prompts(clips.texts, clips.speakers) if training.prompt_share else None
        self._previous = tokenizer.convert_tokens_to_ids(PREVIOUS)
        self._respelling = augmentation.Respelling(tokenizer, training.bpe_dropout) if training.bpe_dropout else None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> Example:
        training, clips, unit = self.training, self.clips, draw.unit
        random = np.random.default_rng([training.seed, 1, draw.number])
        if not unit.clips:
            sound = augmentation.silence(unit.seconds, random)
            return Example(draw, clips.log_mels(sound), self._tokens([], False, random))
        joined = len(unit.clips) > 1
        changes = self._surroundings.drawn(random)
        if joined or training.speed or changes:
            sound, words = self._said(unit, random)
            features = clips.log_mels(surroundings.heard(sound, changes, random))
        else:
            features, words = clips.features(unit.clips[0]), self._words(unit)
        features, before = augmentation.quiet_edges(features, unit.quiet, random)
        features = augmentation.mask(features, training.frequency_masks, training.time_masks, random)
        with_times = random.random() < training.timestamps_share
        tokens = self._tokens([one.moved(before) for one in words], with_times, random)
        if len(tokens) > POSITIONS:  # spelt in single bytes, or between many times, a text may not fit any more
            tokens = clips.processor.tokenizer(" " + " ".join(one.text for one in words)).input_ids
        tokens = clips.prompted(tokens, unit.clips[0])
        return Example(draw, features, tokens, self._text_before(unit.clips[0], POSITIONS - len(tokens), random))

    def _text_before(self, clip: int, room: int, random: np.random.Generator) -> list[int]:
        """The tokens of a text before a clip's own, its start cut where there is no room for more; often none."""
        if not self._prompts or random.random() >= self.training.prompt_share:
            return []
        text = self._prompts.drawn(clip, random)
        spelt = self.clips.processor.tokenizer(" " + text, add_special_tokens=False).input_ids[-MOST_PROMPT:]
        return [self._previous, *spelt] if len(spelt) < room else []

    def _said(self, unit: Unit, random: np.random.Generator) -> tuple[np.ndarray, list[Words]]:
        """The unit's clips one after another, at one speed, and their words."""
        pieces = [self.clips.sound(unit.clips[0])]
        for gap, clip in zip(unit.gaps, unit.clips[1:], strict=True):
            pieces += [np.zeros(round(gap * RATE), np.float32), self.clips.sound(clip)]
        sound, words = np.concatenate(pieces), self._words(unit)
        if not self.training.speed:
            return sound, words
        # Not slower than fits into a window.
        most = min(self.training.speed, max(0.0, 1 - len(sound) / RATE / WINDOW_SECONDS))
        sound, faster = augmentation.at_speed(sound, most, random)
        return sound, [one.moved(0, faster) for one in words]

    def _words(self, unit: Unit) -> list[Words]:
        words, start = list[Words](), 0.0
        for gap, clip in zip((0.0, *unit.gaps), unit.clips, strict=True):
            words += [one.moved(start + gap) for one in self.clips.words(clip)]
            start += gap + self.clips.seconds[clip]
        return words

    def _tokens(self, words: Sequence[Words], with_times: bool, random: np.random.Generator) -> list[int]:
        """Prompt, text and end; with times, each stretch of words stands between its two timestamps."""
        if not with_times:
            return [*self._prompt, self._no_times, *self._spelt(" ".join(one.text for one in words), random), self._end]
        tokens = list(self._prompt)
        for one in words:
            start, end = (self._no_times + 1 + min(LAST_TICK, round(at / TICK)) for at in (one.start, one.end))
            tokens += [start, *self._spelt(one.text, random), end]
        return [*tokens, self._end]

    def _spelt(self, text: str, random: np.random.Generator) -> list[int]:
        if not text:
            return []
        if self._respelling:
            return self._respelling.tokens(" " + text, random)
        return self.clips.processor.tokenizer(" " + text, add_special_tokens=False).input_ids
