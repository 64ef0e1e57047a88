"""Detection of speech and pauses in a recording. The reasons: flows/docs/decisions.md, Pauses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from audio import RATE
from faster_whisper.vad import VadOptions, get_speech_timestamps

Cut = tuple[int, int]  # start and end, in samples
SILENCE = 1e-3  # peak, of 1.0: -60 dB
PAUSES = VadOptions(
    threshold=0.3,
    neg_threshold=0.05,
    max_speech_duration_s=30,
    min_silence_duration_ms=500,
    min_speech_duration_ms=0,
    speech_pad_ms=400,
)
LEAD, LOUD = RATE // 4, 0.3  # samples of silence before a span, and the peak to which a faint recording is amplified
SPAN = 10 * RATE  # samples after which the detector is reset: in noise it misses more and more speech
CREDULOUS_SPAN = 60 * RATE  # for a model that takes any noise for speech


def find_speech(sound: np.ndarray, longest: float, span: int = SPAN) -> Iterator[Cut]:
    """(start, end) in samples of each stretch of speech between two pauses, `longest` seconds at most.

    None where nobody speaks. Raises ValueError for an empty array or one that is not mono.
    """
    if sound.ndim != 1 or not len(sound):
        raise ValueError(f"a sound is (samples,), mono and not empty; this one is {sound.shape}")
    if (peak := np.abs(sound).max()) < SILENCE:
        return
    at, width, pauses = 0, span, replace(PAUSES, max_speech_duration_s=longest)
    while at < len(sound):
        padded = np.pad(sound[at : at + width] * max(1.0, LOUD / peak), (LEAD, 0))
        spans = [(part["start"], part["end"]) for part in get_speech_timestamps(padded, pauses) if part["end"] > LEAD]
        cuts = [(at + max(0, start - LEAD), at + end - LEAD) for start, end in spans]
        end = at + width
        if end < len(sound) and cuts and cuts[-1][1] >= end - RATE:  # it may go on after the span
            if len(cuts) > 1 or cuts[0][0] >= at + RATE:
                end = cuts.pop()[0]
            elif width < span + longest * RATE:
                width *= 2
                continue
        yield from cuts
        at, width = end, span
