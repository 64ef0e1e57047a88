"""Datasets of clips: audio and text, log-mels and tokens, and augmented training examples."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asr.corpus.audio import RATE
from asr.settings import Training
from asr.training import augmentation, waveforms
from asr.training.batches import PROMPT_OFFSET, WINDOW_SECONDS, Draw, Unit
from asr.training.models import MAX_PROMPT_TOKENS, POSITIONS, PREVIOUS_TOKEN, WINDOW_FRAMES
from asr.training.prompts import Prompts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperProcessor

CACHE_BYTES = 1 << 30  # of cached log-mels; others are computed again at each draw
TICK = 0.02  # seconds between Whisper's timestamps
LAST_TICK = 1_500


@dataclass(frozen=True)
class TimedText:
    """A text with its times, in seconds from the start of the example."""

    start: float
    end: float
    text: str

    def shifted(self, later: float, faster: float = 1.0) -> TimedText:
        """The text with its times divided by `faster`, then moved by `later` seconds."""
        return TimedText(self.start / faster + later, self.end / faster + later, self.text)


@dataclass(frozen=True)
class Example:
    """A training example."""

    draw: Draw
    features: np.ndarray  # (mel, frames) float32 log-mels
    tokens: list[int]  # prompt, text and end
    previous: Sequence[int] = ()  # the prompt before them, without a loss

    @property
    def labels(self) -> list[int]:
        """The labels; tokens without a loss are negative, see `PROMPT_OFFSET`."""
        if not self.previous:
            return self.tokens
        return [*(PROMPT_OFFSET - token for token in (*self.previous, self.tokens[0])), *self.tokens[1:]]


class ClipDataset:
    """The clips of a split: texts, speakers, times, and audio that is read on demand."""

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

    def segments(self, clip: int) -> list[TimedText]:
        """The timed segments of the clip; most corpora have none."""
        return [TimedText(segment["start"], segment["end"], segment["text"]) for segment in self._segments[clip] or ()]

    def timed_texts(self, clip: int) -> list[TimedText]:
        """The segments of the clip, or its whole text."""
        return self.segments(clip) or [TimedText(0.0, self.seconds[clip], self.texts[clip])]


class FeatureDataset(ClipDataset):
    """Clips as log-mels, cached up to a limit, and tokens.

    `retained` are the languages of the sources in other languages, as in `Corpus.retained`.
    """

    def __init__(
        self, dataset: Dataset, processor: WhisperProcessor, room: int = CACHE_BYTES,
        retained: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(dataset)
        self.processor = processor
        self._retained = [(retained or {}).get(source) for source in dataset["source"]]
        self._cache: dict[int, np.ndarray] = {}
        self._cache_room = room

    def features(self, clip: int) -> np.ndarray:
        """(mel, frames) float32 log-mels at the clip's own length."""
        if clip not in self._cache:
            features = self.log_mels(self.sound(clip))
            if features.nbytes > self._cache_room:
                return features
            self._cache[clip], self._cache_room = features, self._cache_room - features.nbytes
        return self._cache[clip]

    def log_mels(self, sound: np.ndarray) -> np.ndarray:
        """(mel, frames) float32 log-mels of (samples,)."""
        return log_mels(self.processor, sound)

    def tokens(self, clip: int) -> list[int]:
        """Prompt, text and end. The text starts with a space, as in Whisper."""
        return self.with_language(self.processor.tokenizer(" " + self.texts[clip]).input_ids, clip)

    def with_language(self, tokens: list[int], clip: int) -> list[int]:
        """The tokens with the clip's language in the prompt."""
        if not (language := self._retained[clip]):
            return tokens
        return [tokens[0], self.processor.tokenizer.convert_tokens_to_ids(f"<|{language}|>"), *tokens[2:]]


def log_mels(processor: WhisperProcessor, sound: np.ndarray) -> np.ndarray:
    """(mel, frames) float32 log-mels of (samples,), at most 30 s of them."""
    log_mel: np.ndarray = processor.feature_extractor(
        sound, sampling_rate=RATE, padding=False, truncation=False, return_tensors="np"
    ).input_features[0]
    return log_mel[:, :WINDOW_FRAMES]


class TrainingDataset:
    """A map-style dataset: a draw gives augmented log-mels and tokens."""

    def __init__(self, clips: FeatureDataset, training: Training) -> None:
        self.clips, self.training, self._waveform_augmentation = (
            clips,
            training,
            waveforms.WaveformAugmentation(training),
        )
        tokenizer = clips.processor.tokenizer
        *self._prompt, self._no_timestamps, self._end = tokenizer("").input_ids
        self._prompts = Prompts(clips.texts, clips.speakers) if training.prompt_share else None
        self._previous_token = tokenizer.convert_tokens_to_ids(PREVIOUS_TOKEN)
        self._bpe_dropout = augmentation.BpeDropout(tokenizer, training.bpe_dropout) if training.bpe_dropout else None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> Example:
        training, clips, unit = self.training, self.clips, draw.unit
        random = np.random.default_rng([training.seed, 1, draw.number])
        if not unit.clips:
            sound = augmentation.make_silence(unit.seconds, random)
            return Example(draw, clips.log_mels(sound), self._tokens([], False, random))
        joined = len(unit.clips) > 1
        changes = self._waveform_augmentation.sample(random)
        if joined or training.speed or changes:
            sound, texts = self._joined_audio(unit, random)
            features = clips.log_mels(waveforms.apply_changes(sound, changes, random))
        else:
            features, texts = clips.features(unit.clips[0]), self._timed_texts(unit)
        features, before = augmentation.add_quiet(features, unit.quiet, random)
        features = augmentation.mask_features(features, training.frequency_masks, training.time_masks, random)
        with_times = random.random() < training.timestamps_share
        tokens = self._tokens([text.shifted(before) for text in texts], with_times, random)
        if len(tokens) > POSITIONS:  # BPE dropout or timestamps can make a text too long
            tokens = clips.processor.tokenizer(" " + " ".join(text.text for text in texts)).input_ids
        tokens = clips.with_language(tokens, unit.clips[0])
        return Example(draw, features, tokens, self._previous_tokens(unit.clips[0], POSITIONS - len(tokens), random))

    def _previous_tokens(self, clip: int, room: int, random: np.random.Generator) -> list[int]:
        """The tokens of a prompt before the clip's text, cut at its start; often none."""
        if not self._prompts or random.random() >= self.training.prompt_share:
            return []
        text = self._prompts.sample(clip, random)
        ids = self.clips.processor.tokenizer(" " + text, add_special_tokens=False).input_ids[-MAX_PROMPT_TOKENS:]
        return [self._previous_token, *ids] if len(ids) < room else []

    def _joined_audio(self, unit: Unit, random: np.random.Generator) -> tuple[np.ndarray, list[TimedText]]:
        """The unit's clips joined, at one speed, and their timed texts."""
        pieces = [self.clips.sound(unit.clips[0])]
        for gap, clip in zip(unit.gaps, unit.clips[1:], strict=True):
            pieces += [np.zeros(round(gap * RATE), np.float32), self.clips.sound(clip)]
        sound, texts = np.concatenate(pieces), self._timed_texts(unit)
        if not self.training.speed:
            return sound, texts
        # Not slower than fits into the window.
        most = min(self.training.speed, max(0.0, 1 - len(sound) / RATE / WINDOW_SECONDS))
        sound, faster = augmentation.change_speed(sound, most, random)
        return sound, [text.shifted(0, faster) for text in texts]

    def _timed_texts(self, unit: Unit) -> list[TimedText]:
        texts, start = list[TimedText](), 0.0
        for gap, clip in zip((0.0, *unit.gaps), unit.clips, strict=True):
            texts += [text.shifted(start + gap) for text in self.clips.timed_texts(clip)]
            start += gap + self.clips.seconds[clip]
        return texts

    def _tokens(self, texts: Sequence[TimedText], with_times: bool, random: np.random.Generator) -> list[int]:
        """Prompt, text and end; with times, each text is between its two timestamps."""
        if not with_times:
            return [
                *self._prompt,
                self._no_timestamps,
                *self._encode_text(" ".join(text.text for text in texts), random),
                self._end,
            ]
        tokens = list(self._prompt)
        for text in texts:
            start, end = (self._no_timestamps + 1 + min(LAST_TICK, round(at / TICK)) for at in (text.start, text.end))
            tokens += [start, *self._encode_text(text.text, random), end]
        return [*tokens, self._end]

    def _encode_text(self, text: str, random: np.random.Generator) -> list[int]:
        if not text:
            return []
        if self._bpe_dropout:
            return self._bpe_dropout.tokens(" " + text, random)
        return self.clips.processor.tokenizer(" " + text, add_special_tokens=False).input_ids
