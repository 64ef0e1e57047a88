"""Log-mel spectrograms, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from audio import RATE
from faster_whisper.feature_extractor import FeatureExtractor

HOP = 160  # samples a frame
WINDOW = 30 * RATE  # samples that Whisper's encoder takes at once
SHORTEST = RATE // 10  # samples; anything shorter is padded: the spectrogram's window needs some
BATCH = 16  # clips at once
PADDING = 0.1  # of the longest clip in a batch, at most: padding costs time, and context that a model may not know
# Frames of silence after the longest clip: cut right at its end, digits lost 3 points of WER more.
TAIL = 30


class LogMels:
    """Log-mel spectrograms of a model's number of bands.

    `peak` is the peak to which each recording is scaled, for a model that was trained on a single loudness.
    """

    def __init__(self, bands: int, peak: float | None = None) -> None:
        self._extract, self._peak = FeatureExtractor(feature_size=bands), peak

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """(bands, frames) float32, one frame a hop as in training: faster-whisper's own padding would add a frame."""
        if self._peak and (loudest := np.abs(sound).max()):
            sound = sound * np.float32(self._peak / loudest)
        sound = np.pad(sound, (0, max(0, SHORTEST - len(sound))))
        return self._extract(sound, padding=0)[:, : WINDOW // HOP]


def batch_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions in batches of similar lengths, longest first.

    >>> list(batch_by_length([100, 10, 95, 20]))
    [[0, 2], [3], [1]]
    """
    batch: list[int] = []
    for clip in sorted(range(len(lengths)), key=lambda clip: -lengths[clip]):
        if batch and (len(batch) == BATCH or lengths[clip] < (1 - PADDING) * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


def stack(features: Sequence[np.ndarray], fewest: int = 0) -> np.ndarray:
    """(batch, bands, frames) float32 of (bands, frames), with digital silence after the shorter ones.

    Silence lies 8 powers of ten below a clip's loudest bin, which Whisper's scale halves twice. The number of frames is
    even, since the encoder halves it.
    """
    bands = features[0].shape[0]
    frames = min(WINDOW // HOP, max(fewest, TAIL + max(clip.shape[1] for clip in features)))
    frames += frames % 2
    if frames == 2 * bands:  # CTranslate2 takes an encoder's output of this shape for log-mels, and encodes it again
        frames += 2
    batch = np.empty((len(features), bands, frames), np.float32)
    for row, clip in enumerate(features):
        batch[row, :, : clip.shape[1]] = clip
        batch[row, :, clip.shape[1] :] = clip.max() - 2.0
    return batch
