"""Acoustic effects on speech: reverberation, noise, telephone and codecs.

Sounds are (samples,) float32 at 16 kHz. Effects keep the length and move no word by more than 10 ms, so that timestamps
stay valid.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np

from asr.corpus.audio import RATE, Recording

FRAME_SAMPLES = RATE // 40  # samples: 25 ms
SILENCE_RATIO = 1e-3  # of the loudest frame's power: quieter frames are pauses
# Of simulated rooms, in metres and seconds: from a bathroom to a lecture room.
WIDTHS, HEIGHTS, REVERBERATIONS = (2.5, 10.0), (2.4, 4.0), (0.2, 0.8)
DISTANCES, FROM_A_WALL = (0.5, 4.0), 0.3
# The order of reflections. Unlimited, a small hard room takes seconds; limited, any room takes about 40 ms. Most rooms
# keep their reverberation time; the smallest and hardest, 2.5 m and 0.8 s, has 0.46 s.
MAX_REFLECTIONS = 40
MAX_RESPONSE_SECONDS = 2.0  # seconds after the direct sound
DIRECT_RATIO = 0.25  # of a response's peak: it comes first, but far from the talker a reflection may be louder
TELEPHONE_RATE = 8_000  # Hz, of a telephone
TELEPHONE_BAND = (200, 300, 3_400, 3_550)  # Hz: all between the middle two passes, nothing outside the outer two
TELEPHONE_CODECS = ("GSM610", "ULAW", "ALAW")  # mobile; fixed in America and Japan, and elsewhere: libsndfile's names
OPUS, MP3 = (6, 24), (16, 24, 32)  # kbit/s: any between these two, or one of these


def speech_power(sound: np.ndarray) -> float:
    """The mean square of the frames that are not pauses; 0 for digital silence."""
    frames = np.pad(sound, (0, -len(sound) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    if not len(powers) or not powers.max():
        return 0.0
    # The last frame may be padded, so the sum is of samples.
    loud = powers > SILENCE_RATIO * powers.max()
    samples = FRAME_SAMPLES * np.count_nonzero(loud) - (-len(sound) % FRAME_SAMPLES if loud[-1] else 0)
    return float(FRAME_SAMPLES * powers[loud].sum() / samples)


def add_noise(sound: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """The sound with noise (samples,) at a signal-to-noise ratio of `decibels`, by mean power.

    Unchanged where either is silent.
    """
    loud = float(np.mean(np.square(noise, dtype=np.float64)))
    if not loud:
        return sound
    return (sound + noise * np.sqrt(speech_power(sound) / loud * 10 ** (-decibels / 10))).astype(np.float32)


def coloured_noise(samples: int, random: np.random.Generator) -> np.ndarray:
    """(samples,) noise of a mean square of 1, anywhere between white and brown."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** random.uniform(0, 1)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, samples)
    return noise / (np.sqrt(np.mean(np.square(noise))) or 1)


def add_reverberation(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve the sound with an impulse response (taps,), and keep its level.

    The response starts at the direct sound, so that no word is delayed.
    """
    from scipy.signal import fftconvolve

    if not response.any():
        return sound
    direct = int(np.argmax(np.abs(response) >= DIRECT_RATIO * np.abs(response).max()))
    echoed = fftconvolve(sound, response[direct : direct + int(MAX_RESPONSE_SECONDS * RATE)])[: len(sound)]
    level = np.mean(np.square(sound, dtype=np.float64)) / (np.mean(np.square(echoed, dtype=np.float64)) or 1)
    return (echoed * np.sqrt(level)).astype(np.float32)


@cache
def simulate_rooms(count: int, seed: int) -> tuple[np.ndarray, ...]:
    """`count` impulse responses (taps,) float32 of shoebox rooms, by the image source method (pyroomacoustics)."""
    import pyroomacoustics

    pyroomacoustics.constants.set("num_threads", 1)  # the same order of summation on any machine
    return tuple(_simulate_room(np.random.default_rng([seed, at])) for at in range(count))


def _simulate_room(random: np.random.Generator) -> np.ndarray:
    from pyroomacoustics import Material, ShoeBox, inverse_sabine

    walls = np.array([*random.uniform(*WIDTHS, 2), random.uniform(*HEIGHTS)])
    absorption, order = inverse_sabine(random.uniform(*REVERBERATIONS), walls)
    while True:
        talker, microphone = random.uniform(FROM_A_WALL, walls - FROM_A_WALL, (2, 3))
        if DISTANCES[0] <= np.linalg.norm(talker - microphone) <= DISTANCES[1]:
            break
    room = ShoeBox(walls, fs=RATE, materials=Material(absorption), max_order=min(order, MAX_REFLECTIONS))
    room.add_source(talker)
    room.add_microphone(microphone)
    room.compute_rir()
    return np.asarray(room.rir[0][0], np.float32)


def apply_telephone(sound: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The sound through a telephone: its band, one of its codecs, and its band again."""
    import soundfile
    import soxr

    level, file = _peak(sound), io.BytesIO()
    sent = _band_limit(soxr.resample(sound / level, RATE, TELEPHONE_RATE)).clip(-1, 1)
    soundfile.write(
        file, sent, TELEPHONE_RATE, format="WAV", subtype=TELEPHONE_CODECS[int(random.integers(len(TELEPHONE_CODECS)))]
    )
    file.seek(0)
    received = _band_limit(soundfile.read(file, dtype="float32")[0])
    return _fit_length(level * soxr.resample(received, TELEPHONE_RATE, RATE), sound)


def _band_limit(sound: np.ndarray) -> np.ndarray:
    """(samples,) at TELEPHONE_RATE, limited to the band of a telephone, without delay."""
    spectrum = np.fft.rfft(sound)
    return np.fft.irfft(
        spectrum * np.interp(np.fft.rfftfreq(len(sound), 1 / TELEPHONE_RATE), TELEPHONE_BAND, (0, 1, 1, 0)), len(sound)
    )


def apply_codec(sound: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The sound after Opus or MP3 at a low bit rate."""
    level = _peak(sound)
    if random.random() < 0.5:
        coded = _encode(sound / level, "libopus", "ogg", random.uniform(*OPUS), {"application": "voip"})
    else:
        coded = _encode(sound / level, "libmp3lame", "mp3", MP3[int(random.integers(len(MP3)))], {})
    return _fit_length(level * Recording(coded).sound().samples, sound)


def _encode(sound: np.ndarray, codec: str, container: str, kilobits: float, options: dict[str, str]) -> bytes:
    """The sound as an encoded file. The container has the codec's delay, which the decoder removes."""
    import av

    stream: Any
    file = io.BytesIO()
    fastest = {"libopus": "0", "libmp3lame": "9"}[codec]  # half the time of the default's
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono", options={"compression_level": fastest, **options})
        stream.bit_rate = round(1000 * kilobits)
        context = stream.codec_context
        context.open()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None], np.float32), format="fltp", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(context.format, "mono", RATE, frame_size=context.frame_size)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            out.mux(stream.encode(piece))
    return file.getvalue()


def _peak(sound: np.ndarray) -> float:
    """The divisor that keeps a codec from clipping."""
    return max(1.0, float(np.abs(sound).max(initial=0.0)))


def _fit_length(sound: np.ndarray, as_: np.ndarray) -> np.ndarray:
    """Cut or pad to the length of `as_`: codecs work in whole frames."""
    sound = sound[: len(as_)]
    return np.pad(sound, (0, len(as_) - len(sound))).astype(np.float32, copy=False)
