"""What rooms, noise, telephones and codecs change in a sound, and what they leave unchanged."""

import numpy as np
import pytest
from asr import acoustics

RATE = 16_000


def generators(count):
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.fixture(scope="module")
def speech():
    """Two seconds of noise bursts with pauses: broadband like speech, and without repetition."""
    random = np.random.default_rng(0)
    sound = 0.1 * random.standard_normal(2 * RATE)
    sound[np.arange(len(sound)) // 4_000 % 2 == 1] = 0
    return sound.astype(np.float32)


def delay(output, sound):
    """The delay of the output in seconds, by cross-correlation with the sound."""
    spectrum = np.fft.rfft(output, 2 * len(sound)) * np.conj(np.fft.rfft(sound, 2 * len(sound)))
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    return (shift if shift < len(sound) else shift - 2 * len(sound)) / RATE


def share_above(sound, hertz):
    power = np.abs(np.fft.rfft(sound)) ** 2
    return power[np.fft.rfftfreq(len(sound), 1 / RATE) > hertz].sum() / power.sum()


@pytest.mark.parametrize("decibels", [0.0, 7.5, 30.0])
def test_noise_has_the_requested_level_below_speech_and_pauses_do_not_count(speech, decibels):
    noise = 3 * np.random.default_rng(1).standard_normal(len(speech))
    added = acoustics.add_noise(speech, noise, decibels) - speech
    ratio = 10 * np.log10(np.mean(speech[speech != 0] ** 2) / np.mean(added**2))
    assert ratio == pytest.approx(decibels, abs=0.2)


def test_digital_silence_and_silent_noise_change_nothing(speech):
    silent = np.zeros(len(speech), np.float32)
    assert np.array_equal(acoustics.add_noise(speech, silent, 0), speech)
    assert np.array_equal(acoustics.add_noise(silent, speech, 0), silent)
    assert np.array_equal(acoustics.add_reverberation(silent, acoustics.simulate_rooms(1, 0)[0]), silent)
    assert np.array_equal(acoustics.add_reverberation(speech, silent), speech)
    assert acoustics.speech_power(np.zeros(0, np.float32)) == 0


def test_speech_power_does_not_depend_on_the_length(tone):
    assert [acoustics.speech_power(tone(seconds)) for seconds in (0.01, 0.11, 1.0)] == pytest.approx(
        [0.045] * 3, rel=0.05
    )


def test_generated_noise_has_many_colours():
    slopes = []
    for random in generators(20):
        power = np.abs(np.fft.rfft(acoustics.coloured_noise(16_000, random)))[1:] ** 2
        slopes.append(np.log10(power[10:100].mean() / power[1_000:].mean()))
    assert max(slopes) > 2
    assert min(slopes) < 0.5


def test_simulated_rooms_are_reproducible_and_all_different():
    rooms = acoustics.simulate_rooms(4, 3)
    acoustics.simulate_rooms.cache_clear()
    assert all(np.array_equal(room, again) for room, again in zip(rooms, acoustics.simulate_rooms(4, 3), strict=True))
    assert len({room.tobytes() for room in (*rooms, *acoustics.simulate_rooms(4, 4))}) == 8


def test_reverberation_fills_pauses_and_keeps_loudness_and_timing(speech):
    for room in acoustics.simulate_rooms(8, 0):
        output = acoustics.add_reverberation(speech, room)
        assert output.shape == speech.shape and output.dtype == np.float32
        assert np.mean(output**2) == pytest.approx(np.mean(speech**2), rel=0.01)
        assert np.mean(output[speech == 0] ** 2) > 0.001 * np.mean(output**2)
        assert abs(delay(output, speech)) <= 0.01


def test_the_direct_sound_is_the_first_even_if_a_reflection_is_louder(speech):
    response = np.zeros(3_000, np.float32)
    response[[500, 2_000]] = 0.4, -1.0
    output = acoustics.add_reverberation(speech, response)
    direct = acoustics.add_reverberation(speech, response[500:])
    assert np.array_equal(output, direct)
    assert not np.allclose(output, speech)


def test_a_telephone_limits_the_band_and_keeps_the_timing(speech):
    assert share_above(speech, 3_600) > 0.5
    for random in generators(8):
        output = acoustics.apply_telephone(speech, random)
        assert output.shape == speech.shape and output.dtype == np.float32
        assert share_above(output, 3_600) < 1e-3
        assert 1 - share_above(output, 200) < 1e-3
        assert share_above(output, 300) > 0.98
        assert abs(delay(output, speech)) <= 0.01


def test_codecs_keep_the_timing_and_change_the_sound(speech):
    outputs = [acoustics.apply_codec(speech, random) for random in generators(12)]
    assert {output.shape for output in outputs} == {speech.shape}
    assert all(abs(delay(output, speech)) <= 0.01 for output in outputs)
    assert all(np.abs(output - speech).max() > 0.01 for output in outputs)
    assert len({output.tobytes() for output in outputs}) > 6


def test_sounds_above_full_scale_are_not_clipped(tone):
    loud = 5 * tone(1.0, hertz=1_000)
    for effect in (acoustics.apply_telephone, acoustics.apply_codec):
        assert np.abs(effect(loud, np.random.default_rng(2))).max() == pytest.approx(1.5, rel=0.15)


@pytest.mark.parametrize("samples", [1, 100, 4_801])
def test_effects_keep_the_length_of_any_sound(samples):
    sound = np.full(samples, 0.1, np.float32)
    effects = (
        lambda sound, random: acoustics.add_reverberation(sound, acoustics.simulate_rooms(1, 0)[0]),
        acoustics.apply_telephone,
        acoustics.apply_codec,
    )
    for effect in effects:
        assert [len(effect(sound, random)) for random in generators(4)] == [samples] * 4
