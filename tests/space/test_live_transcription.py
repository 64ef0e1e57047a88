"""Live transcription: when words become final, and what it costs."""

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
    """Writes a word for each half second of audio, and takes `cost` seconds for each decode.

    It knows the words by their place in the sound `said`. A word that is not whole at the end is heard wrong, and each
    hearing tells its times a little otherwise.
    """

    longest = 30.0

    def __init__(self, said=None, cost=0.0):
        self.said, self.cost, self.lengths = said, cost, []

    def segments(self, sound, **_):
        self.lengths.append(len(sound) / RATE)
        time.sleep(self.cost)
        at, off, words = self.where(sound), 0.1 * (-1) ** len(self.lengths), []
        for number in range(int(at * 2), int((at + len(sound) / RATE) * 2 + 0.99)):
            start, end = number / 2 - at, number / 2 + 0.5 - at
            if start > -0.25:  # half of it at least
                text = f"ord{number}" if end < len(sound) / RATE + 0.01 else f"half{len(self.lengths)}"
                words.append(Word(text, max(0, start + off), max(0, end + off)))
        return [Segment(words)]

    def where(self, sound):
        if self.said is None:
            return 0.0
        piece = sound[:400].tobytes()
        return (self.said.tobytes().find(piece) // 4) / RATE


def say(session, speech, seconds):
    for start in range(0, int(seconds * RATE), RATE // 2):
        session.add(speech[start % len(speech) :][: RATE // 2])
        if session._decoding:
            session._decoding.join()


def test_silence_is_not_decoded():
    engine = Engine()
    session = live_transcription.LiveSession(engine)
    say(session, np.zeros(RATE, np.float32), 60)
    noise = np.random.default_rng(0).normal(0, 0.01, RATE).astype(np.float32)
    say(session, noise, 20)
    session.finish()
    assert (engine.lengths, session.final_words) == ([], [])
    assert len(session._window) < 2 * RATE


def test_speech_without_pauses_is_decoded_in_bounded_windows_and_no_word_repeats(speech):
    sound = np.concatenate(speech * 20)[: 60 * RATE]
    sound += np.random.default_rng(0).normal(0, 1e-4, len(sound)).astype(np.float32)  # no two pieces alike
    engine, firm = Engine(sound), []
    session = live_transcription.LiveSession(engine)
    for start in range(0, len(sound), RATE // 2):
        say(session, sound[start : start + RATE // 2], 0.5)
        assert session.final_words[: len(firm)] == firm
        firm = list(session.final_words)
    session.finish()
    assert session.tentative_words == []
    assert session.final_words == [f"ord{number}" for number in range(120)]
    assert max(engine.lengths) <= live_transcription.MAX_WINDOW + 2
    assert sum(engine.lengths) < 60 * live_transcription.MAX_WINDOW


def test_a_slow_engine_decodes_less_often_and_loses_no_audio(speech):
    engine = Engine(cost=0.5)
    session = live_transcription.LiveSession(engine)
    began = time.monotonic()
    for start in range(0, 8 * RATE, RATE // 2):
        session.add(np.concatenate(speech)[start : start + RATE // 2])
    assert time.monotonic() - began < 0.4  # no piece waits for the engine
    assert len(engine.lengths) <= 1
    session.finish()
    assert session.seconds == 8
