"""What a room, noise, a telephone and a codec do to a sound, and what they leave as it was."""

import numpy as np
import pytest
from asr import acoustics

RATE = 16_000


def generators(count):
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.fixture(scope="module")
def speech():
    """Two seconds of bursts with pauses: as broad as speech, and never like itself a little later."""
    random = np.random.default_rng(0)
    sound = 0.1 * random.standard_normal(2 * RATE)
    sound[np.arange(len(sound)) // 4_000 % 2 == 1] = 0
    return sound.astype(np.float32)


def later(heard, sound):
    """Seconds by which what is heard comes after the sound, where the two are most alike."""
    spectrum = np.fft.rfft(heard, 2 * len(sound)) * np.conj(np.fft.rfft(sound, 2 * len(sound)))
    at = int(np.argmax(np.fft.irfft(spectrum)))
    return (at if at < len(sound) else at - 2 * len(sound)) / RATE


def share_above(sound, hertz):
    power = np.abs(np.fft.rfft(sound)) ** 2
    return power[np.fft.rfftfreq(len(sound), 1 / RATE) > hertz].sum() / power.sum()


@pytest.mark.parametrize("decibels", [0.0, 7.5, 30.0])
def test_noise_lies_as_far_below_the_speech_as_asked_and_pauses_do_not_count(speech, decibels):
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


def test_the_power_of_a_sound_of_any_length_is_its_own(tone):
    assert [acoustics.speech_power(tone(seconds)) for seconds in (0.01, 0.11, 1.0)] == pytest.approx(
        [0.045] * 3, rel=0.05
    )


def test_made_noise_is_of_many_colours():
    slopes = []
    for random in generators(20):
        power = np.abs(np.fft.rfft(acoustics.coloured_noise(16_000, random)))[1:] ** 2
        slopes.append(np.log10(power[10:100].mean() / power[1_000:].mean()))
    assert max(slopes) > 2
    assert min(slopes) < 0.5


def test_rooms_are_the_same_each_time_and_none_like_another():
    rooms = acoustics.simulate_rooms(4, 3)
    acoustics.simulate_rooms.cache_clear()
    assert all(np.array_equal(one, again) for one, again in zip(rooms, acoustics.simulate_rooms(4, 3), strict=True))
    assert len({one.tobytes() for one in (*rooms, *acoustics.simulate_rooms(4, 4))}) == 8


def test_a_room_rings_on_as_loud_as_it_was_and_moves_no_word(speech):
    for room in acoustics.simulate_rooms(8, 0):
        heard = acoustics.add_reverberation(speech, room)
        assert heard.shape == speech.shape and heard.dtype == np.float32
        assert np.mean(heard**2) == pytest.approx(np.mean(speech**2), rel=0.01)
        assert np.mean(heard[speech == 0] ** 2) > 0.001 * np.mean(heard**2)
        assert abs(later(heard, speech)) <= 0.01


def test_the_direct_sound_is_what_comes_first_though_a_reflection_be_louder(speech):
    response = np.zeros(3_000, np.float32)
    response[[500, 2_000]] = 0.4, -1.0
    heard = acoustics.add_reverberation(speech, response)
    alone = acoustics.add_reverberation(speech, response[500:])
    assert np.array_equal(heard, alone)
    assert not np.allclose(heard, speech)


def test_a_telephone_cuts_its_band_and_keeps_the_time(speech):
    assert share_above(speech, 3_600) > 0.5
    for random in generators(8):
        heard = acoustics.apply_telephone(speech, random)
        assert heard.shape == speech.shape and heard.dtype == np.float32
        assert share_above(heard, 3_600) < 1e-3
        assert 1 - share_above(heard, 200) < 1e-3
        assert share_above(heard, 300) > 0.98
        assert abs(later(heard, speech)) <= 0.01


def test_codecs_keep_the_time_and_lose_something(speech):
    heard = [acoustics.apply_codec(speech, random) for random in generators(12)]
    assert {one.shape for one in heard} == {speech.shape}
    assert all(abs(later(one, speech)) <= 0.01 for one in heard)
    assert all(np.abs(one - speech).max() > 0.01 for one in heard)
    assert len({one.tobytes() for one in heard}) > 6


def test_what_is_louder_than_full_scale_stays_so_on_the_line(tone):
    loud = 5 * tone(1.0, hertz=1_000)
    for change in (acoustics.apply_telephone, acoustics.apply_codec):
        assert np.abs(change(loud, np.random.default_rng(2))).max() == pytest.approx(1.5, rel=0.15)


@pytest.mark.parametrize("samples", [1, 100, 4_801])
def test_a_sound_of_any_length_stays_as_long(samples):
    sound = np.full(samples, 0.1, np.float32)
    changes = (
        lambda sound, random: acoustics.add_reverberation(sound, acoustics.simulate_rooms(1, 0)[0]),
        acoustics.apply_telephone,
        acoustics.apply_codec,
    )
    for change in changes:
        assert [len(change(sound, random)) for random in generators(4)] == [samples] * 4
