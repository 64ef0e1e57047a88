"""Model faults that a WER does not show: hallucinations on noise, repetition loops, wrong language, wrong timestamps.

Audio is (samples,) float32 at 16 kHz.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from asr.corpus import text
from asr.corpus.audio import RATE

PROBE_SECONDS = (4.0, 12.0)
PROBE_LEVELS = (-55.0, -30.0)  # decibels relative to full scale: a quiet room and a loud room
LOOP_REPEATS, LOOP_WORDS = 3, 8  # a phrase of up to 8 words (or characters without spaces), three times in a row
LANGUAGE_MARGIN = 5.0  # nats; close languages such as Swedish and Danish often differ by less
MIN_WORDS = 3  # a shorter text is not checked for its language
FRAME_SAMPLES = RATE // 40  # 25 ms

TimeSpan = tuple[float, float]  # start and end, in seconds


def non_speech_probes(seed: int = 0) -> list[np.ndarray]:
    """3.2 minutes of audio without speech: hiss, rumble, hum, taps, chords and a fan, each quiet and loud."""
    random = np.random.default_rng(seed)
    return [
        (10 ** (level / 20) * noise / np.sqrt(np.mean(np.square(noise)))).clip(-1, 1).astype(np.float32)
        for seconds in PROBE_SECONDS
        for noise in _synthetic_noises(round(seconds * RATE), random)
        for level in PROBE_LEVELS
    ]


def _synthetic_noises(samples: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    time = np.arange(samples) / RATE
    hiss = random.standard_normal(samples)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    rumble = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))), samples)
    taps = np.zeros(samples)
    for start in random.integers(0, samples - 400, int(3 * samples / RATE)):
        taps[start : start + 400] += random.standard_normal(400) * np.exp(-np.arange(400) / 60)
    chords = sum(
        np.sin(2 * np.pi * note * time) * np.exp(-2 * (time % 0.8))
        for note in 220 * 2 ** (random.choice([0, 3, 5, 7, 10, 12, 15], 3, replace=False) / 12)
    )
    yield hiss
    yield rumble
    yield sum(np.sin(2 * np.pi * 50 * harmonic * time) / harmonic for harmonic in (1, 2, 3, 5)) + 0.02 * hiss
    yield taps + 0.01 * hiss
    yield chords + 0.01 * hiss
    yield rumble / rumble.std() * (1 + 0.5 * np.sin(2 * np.pi * 11 * time)) + 0.3 * hiss


def hallucinated_words_per_minute(hypotheses: Sequence[str], seconds: float) -> float:
    """Words transcribed per minute of audio without speech."""
    return 60 * sum(map(text.count_words, hypotheses)) / seconds


def has_repetition_loop(reference: str, hypothesis: str, language: str) -> bool:
    """Whether the hypothesis repeats a phrase at least three times in a row, and more often than the reference does.

    >>> has_repetition_loop("tack för maten", "tack tack tack tack", "sv")
    True
    >>> has_repetition_loop("nej nej nej", "nej nej nej", "sv")
    False
    """
    return _longest_repetition(hypothesis, language) >= max(LOOP_REPEATS, _longest_repetition(reference, language) + 1)


def _longest_repetition(transcript: str, language: str) -> int:
    """The largest number of times that any phrase occurs in a row."""
    words, longest = text.split_units(transcript.lower(), "verbatim", language), 1
    for length in range(1, LOOP_WORDS + 1):
        equal = (word == later for word, later in zip(words, words[length:], strict=False))
        runs = (sum(1 for _ in run) for is_equal, run in itertools.groupby(equal) if is_equal)
        longest = max([longest, *(run // length + 1 for run in runs)])
    return longest


def wrong_language_share(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float | None:
    """Percent of clips whose hypothesis is in another language than `language`.

    Counts only clips whose reference is recognised as `language`: names and single words are not. Returns None if there
    are no such clips, or if py3langid does not know the language.
    """
    from py3langid import rank

    def identify(transcript: str) -> tuple[str, float]:
        """The most likely language, and its margin over `language` in nats."""
        scores = rank(transcript)
        return scores[0][0], scores[0][1] - dict(scores).get(language, -np.inf)

    if language not in dict(rank("")):
        return None
    pairs = zip(references, hypotheses, strict=True)
    long_enough = (pair for pair in pairs if text.count_words(pair[0]) >= MIN_WORDS)
    checked = [hypothesis for reference, hypothesis in long_enough if identify(reference)[0] == language]
    wrong = [
        text.count_words(hypothesis) >= MIN_WORDS and identify(hypothesis)[1] > LANGUAGE_MARGIN
        for hypothesis in checked
    ]
    return 100 * sum(wrong) / len(wrong) if wrong else None


def timestamp_errors(reference: Sequence[TimeSpan], hypothesis: Sequence[TimeSpan]) -> list[float]:
    """Seconds from each reference start and end to the nearest predicted one; empty if nothing was predicted.

    >>> timestamp_errors([(0.5, 2.0)], [(0.4, 1.0), (1.2, 2.3)])
    [0.1, 0.3]
    """
    if not hypothesis:
        return []
    predicted = np.array(hypothesis)
    return [
        round(float(np.abs(predicted[:, side] - time).min()), 3) for span in reference for side, time in enumerate(span)
    ]


def estimate_snr(audio: np.ndarray) -> float:
    """Decibels between the loud and the quiet frames (90th and 10th percentile of their power), at most 80.

    Needs no clean copy: speech has pauses, and what remains in them is the noise.
    """
    frames = audio[: len(audio) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    if not len(frames):
        return 0.0
    power = np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-10
    quiet, loud = np.quantile(power, [0.1, 0.9])
    return min(80.0, float(10 * np.log10(loud / quiet)))
