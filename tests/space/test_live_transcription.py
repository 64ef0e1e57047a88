"""Live transcription: when words become final, and how much audio is decoded."""

import time
from dataclasses import dataclass

import live_transcription
import numpy as np

RATE = 16_000


@dataclass
class Word:
    text: str
    start: float
    end: float


@dataclass
class Segment:
    words: list


class Engine:
    """Writes a word for each half second of audio, and takes `seconds_per_decode`.

    A word's number is its position in `audio`. A word that is cut off at the end is transcribed wrong, and the times
    differ a little between decodes.
    """

    longest = 30.0

    def __init__(self, audio=None, seconds_per_decode=0.0):
        self.audio, self.seconds_per_decode, self.lengths = audio, seconds_per_decode, []

    def segments(self, sound, **_):
        self.lengths.append(len(sound) / RATE)
        time.sleep(self.seconds_per_decode)
        offset, shift, words = self.offset(sound), 0.1 * (-1) ** len(self.lengths), []
        for number in range(int(offset * 2), int((offset + len(sound) / RATE) * 2 + 0.99)):
            start, end = number / 2 - offset, number / 2 + 0.5 - offset
            if start > -0.25:  # at least half of the word
                text = f"ord{number}" if end < len(sound) / RATE + 0.01 else f"half{len(self.lengths)}"
                words.append(Word(text, max(0, start + shift), max(0, end + shift)))
        return [Segment(words)]

    def offset(self, sound):
        if self.audio is None:
            return 0.0
        beginning = sound[:400].tobytes()
        return (self.audio.tobytes().find(beginning) // 4) / RATE


def speak(session, speech, seconds):
    for start in range(0, int(seconds * RATE), RATE // 2):
        session.add(speech[start % len(speech) :][: RATE // 2])
        if session._decoding:
            session._decoding.join()


def test_silence_is_not_decoded():
    engine = Engine()
    session = live_transcription.LiveSession(engine)
    speak(session, np.zeros(RATE, np.float32), 60)
    noise = np.random.default_rng(0).normal(0, 0.01, RATE).astype(np.float32)
    speak(session, noise, 20)
    session.finish()
    assert (engine.lengths, session.final_words) == ([], [])
    assert len(session._window) < 2 * RATE


def test_speech_without_pauses_is_decoded_in_bounded_windows_and_no_word_repeats(speech):
    sound = np.concatenate(speech * 20)[: 60 * RATE]
    sound += np.random.default_rng(0).normal(0, 1e-4, len(sound)).astype(np.float32)  # no two chunks are equal
    engine, final_words = Engine(sound), []
    session = live_transcription.LiveSession(engine)
    for start in range(0, len(sound), RATE // 2):
        speak(session, sound[start : start + RATE // 2], 0.5)
        assert session.final_words[: len(final_words)] == final_words
        final_words = list(session.final_words)
    session.finish()
    assert session.tentative_words == []
    assert session.final_words == [f"ord{number}" for number in range(120)]
    assert max(engine.lengths) <= live_transcription.MAX_WINDOW + 2
    assert sum(engine.lengths) < 60 * live_transcription.MAX_WINDOW


def test_a_slow_engine_decodes_less_often_and_loses_no_audio(speech):
    engine = Engine(seconds_per_decode=0.5)
    session = live_transcription.LiveSession(engine)
    start_time = time.monotonic()
    for start in range(0, 8 * RATE, RATE // 2):
        session.add(np.concatenate(speech)[start : start + RATE // 2])
    assert time.monotonic() - start_time < 0.4  # no chunk waits for the engine
    assert len(engine.lengths) <= 1
    session.finish()
    assert session.seconds == 8
