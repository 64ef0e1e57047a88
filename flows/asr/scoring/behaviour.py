"""How a model behaves where a WER does not look: on noise, in loops, in another language, in time.

Sounds are (samples,) float32 at 16 kHz.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from asr.corpus import text
from asr.corpus.audio import RATE

PROBE_SECONDS = (4.0, 12.0)
PROBE_LEVELS = (-55.0, -30.0)  # decibels of full scale: a quiet room, and a loud one
LOOP_TIMES, LOOP_WORDS = 3, 8  # a phrase of up to 8 words, or characters without spaces, three times in a row
SURE = 5.0  # nats by which a text is rather another language's; siblings as Swedish and Danish lie close
FEWEST_WORDS = 3  # of a text whose language is asked for
FRAME = RATE // 40  # samples: 25 ms

Times = tuple[float, float]  # start and end, in seconds


def probes(seed: int = 0) -> list[np.ndarray]:
    """Sounds in which nobody speaks, 3.2 minutes of them: hiss, rumble, hum, taps, chords and a fan, soft and loud."""
    random = np.random.default_rng(seed)
    return [
        (10 ** (level / 20) * sound / np.sqrt(np.mean(np.square(sound)))).clip(-1, 1).astype(np.float32)
        for seconds in PROBE_SECONDS
        for sound in _noises(round(seconds * RATE), random)
        for level in PROBE_LEVELS
    ]


def _noises(samples: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    time = np.arange(samples) / RATE
    hiss = random.standard_normal(samples)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    rumble = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))), samples)
    taps = np.zeros(samples)
    for at in random.integers(0, samples - 400, int(3 * samples / RATE)):
        taps[at : at + 400] += random.standard_normal(400) * np.exp(-np.arange(400) / 60)
    chords = sum(
        np.sin(2 * np.pi * note * time) * np.exp(-2 * (time % 0.8))
        for note in 220 * 2 ** (random.choice([0, 3, 5, 7, 10, 12, 15], 3, replace=False) / 12)
    )
    yield hiss
    yield rumble
    yield sum(np.sin(2 * np.pi * 50 * part * time) / part for part in (1, 2, 3, 5)) + 0.02 * hiss
    yield taps + 0.01 * hiss
    yield chords + 0.01 * hiss
    yield rumble / rumble.std() * (1 + 0.5 * np.sin(2 * np.pi * 11 * time)) + 0.3 * hiss


def invented(heard: Sequence[str], seconds: float) -> float:
    """Words a minute that were heard in so many seconds without speech."""
    return 60 * sum(map(text.words, heard)) / seconds


def loops(said: str, heard: str, language: str) -> bool:
    """Whether a phrase comes three times in a row in what was heard, and more often than it was said.

    >>> loops("tack för maten", "tack tack tack tack", "sv"), loops("nej nej nej", "nej nej nej", "sv")
    (True, False)
    """
    return _repeats(heard, language) >= max(LOOP_TIMES, _repeats(said, language) + 1)


def _repeats(told: str, language: str) -> int:
    """How many times in a row any phrase comes, at most."""
    words, most = text.units(told.lower(), "verbatim", language), 1
    for length in range(1, LOOP_WORDS + 1):
        same = (one == other for one, other in zip(words, words[length:], strict=False))
        runs = (sum(1 for _ in run) for equal, run in itertools.groupby(same) if equal)
        most = max([most, *(run // length + 1 for run in runs)])
    return most


def strangers(said: Sequence[str], heard: Sequence[str], language: str) -> float | None:
    """Percent of clips that are written in another language than they were said in.

    Only clips count whose own text is known for the language, so that names and single words do not. None where
    there are none, or the language is not known to py3langid.
    """
    from py3langid import rank

    def leading(told: str) -> tuple[str, float]:
        """The likeliest language, and by how many nats it is likelier than `language`."""
        scores = rank(told)
        return scores[0][0], scores[0][1] - dict(scores).get(language, -np.inf)

    if language not in dict(rank("")):
        return None
    pairs = ((one, other) for one, other in zip(said, heard, strict=True) if text.words(one) >= FEWEST_WORDS)
    known = [other for one, other in pairs if leading(one)[0] == language]
    strange = [text.words(told) >= FEWEST_WORDS and leading(told)[1] > SURE for told in known]
    return 100 * sum(strange) / len(strange) if strange else None


def timing(known: Sequence[Times], told: Sequence[Times]) -> list[float]:
    """Seconds by which each known start and end lies from the nearest that was told; none where nothing was.

    >>> timing([(0.5, 2.0)], [(0.4, 1.0), (1.2, 2.3)])
    [0.1, 0.3]
    """
    if not told:
        return []
    edges = np.array(told)
    return [round(float(np.abs(edges[:, side] - at).min()), 3) for one in known for side, at in enumerate(one)]


def speech_over_noise(sound: np.ndarray) -> float:
    """Decibels between a sound's loud and its quiet frames (their 90th and 10th percentile), at most 80.

    An estimate that needs no clean copy: speech has pauses, and what is heard in them is the noise.
    """
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    if not len(frames):
        return 0.0
    power = np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-10
    quiet, loud = np.quantile(power, [0.1, 0.9])
    return min(80.0, float(10 * np.log10(loud / quiet)))
