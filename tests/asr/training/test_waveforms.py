"""Which draws are in a room, over noise, by telephone or through a codec, and in what order."""

import numpy as np
import pytest
import soundfile
from asr import acoustics
from asr.settings import Training
from asr.training import waveforms
from asr.training.waveforms import WaveformAugmentation

RATE = 16_000


@pytest.fixture(autouse=True)
def few_rooms(monkeypatch):
    monkeypatch.setattr(waveforms, "SIMULATED_ROOMS", 3)


def ratios(training, sound, draws=60):
    """Decibels of the sound over what was laid on it."""
    placed, found = WaveformAugmentation(training), []
    for number in range(draws):
        random = np.random.default_rng([0, 1, number])
        heard = waveforms.apply_changes(sound, placed.sample(random), random)
        found.append(10 * np.log10(np.mean(sound**2) / np.mean((heard - sound) ** 2)))
    return found


def test_noise_stands_0_to_30_decibels_below_the_speech(tone, tmp_path):
    for at in range(5):
        soundfile.write(tmp_path / f"{at}.wav", tone(0.7, hertz=2_000 + at), RATE)
    for folder in (None, str(tmp_path)):
        found = ratios(Training(noise_share=1.0, noise=folder), tone(2.0))
        assert -0.2 < min(found) < 4
        assert 26 < max(found) < 30.2


def test_recordings_that_are_held_out_are_never_trained_with(tone, tmp_path):
    """They are an octave higher."""
    for at in range(10):
        soundfile.write(tmp_path / f"{at}.wav", tone(0.7, hertz=2_000 if at % 5 == 0 else 1_000), RATE)
    placed, sound = WaveformAugmentation(Training(noise_share=1.0, noise=str(tmp_path))), tone(1.0, hertz=300)
    for number in range(40):
        random = np.random.default_rng(number)
        power = np.abs(np.fft.rfft(waveforms.apply_changes(sound, placed.sample(random), random)))
        assert power[990:1_011].max() > 100 * power[1_990:2_011].max()


def test_about_so_many_draws_as_asked_and_in_the_order_of_the_world():
    training = Training(room_share=0.5, noise_share=0.3, telephone_share=0.2, codec_share=0.7)
    placed = WaveformAugmentation(training)
    drawn = [placed.sample(np.random.default_rng(number)) for number in range(600)]
    order = [placed._add_reverberation, placed._add_noise, acoustics.apply_telephone, acoustics.apply_codec]
    for change, share in zip(order, (0.5, 0.3, 0.2, 0.7), strict=True):
        assert sum(change in changes for changes in drawn) / 600 == pytest.approx(share, abs=0.07)
    assert all([order.index(change) for change in changes] == sorted(map(order.index, changes)) for changes in drawn)


def test_who_asks_for_nothing_gets_the_draws_of_before():
    """One number is taken from the draw, as it ever was."""
    random, other = np.random.default_rng(0), np.random.default_rng(0)
    assert WaveformAugmentation(Training()).sample(random) == []
    other.random()
    assert random.random() == other.random()


def test_measured_rooms_are_heard_where_they_are_given(tone, tmp_path):
    for at in range(3):
        response = np.zeros(RATE // 2, np.float32)
        response[[200, 4_200]] = 1.0, 0.5
        soundfile.write(tmp_path / f"{at}.wav", response, RATE)
    sound = np.zeros(RATE, np.float32)
    sound[1_000] = 0.5
    placed, random = WaveformAugmentation(Training(room_share=1.0, rooms=str(tmp_path))), np.random.default_rng(0)
    heard = waveforms.apply_changes(sound, placed.sample(random), random)
    assert np.flatnonzero(np.abs(heard) > 0.01).tolist() == [1_000, 5_000]
