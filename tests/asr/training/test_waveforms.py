"""Which draws get a room, noise, a telephone or a codec, and in which order."""

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
    """Decibels of the sound relative to what was added to it."""
    augmentation, decibels = WaveformAugmentation(training), []
    for number in range(draws):
        random = np.random.default_rng([0, 1, number])
        output = waveforms.apply_changes(sound, augmentation.sample(random), random)
        decibels.append(10 * np.log10(np.mean(sound**2) / np.mean((output - sound) ** 2)))
    return decibels


def test_noise_is_0_to_30_decibels_below_the_speech(tone, tmp_path):
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", tone(0.7, hertz=2_000 + number), RATE)
    for folder in (None, str(tmp_path)):
        decibels = ratios(Training(noise_share=1.0, noise=folder), tone(2.0))
        assert -0.2 < min(decibels) < 4
        assert 26 < max(decibels) < 30.2


def test_held_out_recordings_are_never_used_in_training(tone, tmp_path):
    """The held-out recordings are an octave higher."""
    for number in range(10):
        soundfile.write(tmp_path / f"{number}.wav", tone(0.7, hertz=2_000 if number % 5 == 0 else 1_000), RATE)
    augmentation, sound = WaveformAugmentation(Training(noise_share=1.0, noise=str(tmp_path))), tone(1.0, hertz=300)
    for number in range(40):
        random = np.random.default_rng(number)
        power = np.abs(np.fft.rfft(waveforms.apply_changes(sound, augmentation.sample(random), random)))
        assert power[990:1_011].max() > 100 * power[1_990:2_011].max()


def test_effects_have_their_requested_shares_and_their_physical_order():
    training = Training(room_share=0.5, noise_share=0.3, telephone_share=0.2, codec_share=0.7)
    augmentation = WaveformAugmentation(training)
    drawn = [augmentation.sample(np.random.default_rng(number)) for number in range(600)]
    order = [augmentation._add_reverberation, augmentation._add_noise, acoustics.apply_telephone, acoustics.apply_codec]
    for change, share in zip(order, (0.5, 0.3, 0.2, 0.7), strict=True):
        assert sum(change in changes for changes in drawn) / 600 == pytest.approx(share, abs=0.07)
    assert all([order.index(change) for change in changes] == sorted(map(order.index, changes)) for changes in drawn)


def test_without_effects_one_random_number_is_taken():
    """So what is drawn after it does not depend on these settings."""
    random, other = np.random.default_rng(0), np.random.default_rng(0)
    assert WaveformAugmentation(Training()).sample(random) == []
    other.random()
    assert random.random() == other.random()


def test_measured_rooms_are_used_if_given(tone, tmp_path):
    for number in range(3):
        response = np.zeros(RATE // 2, np.float32)
        response[[200, 4_200]] = 1.0, 0.5
        soundfile.write(tmp_path / f"{number}.wav", response, RATE)
    sound = np.zeros(RATE, np.float32)
    sound[1_000] = 0.5
    augmentation, random = WaveformAugmentation(Training(room_share=1.0, rooms=str(tmp_path))), np.random.default_rng(0)
    output = waveforms.apply_changes(sound, augmentation.sample(random), random)
    assert np.flatnonzero(np.abs(output) > 0.01).tolist() == [1_000, 5_000]
