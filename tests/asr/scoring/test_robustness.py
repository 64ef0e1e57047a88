"""WER under noise and reverberation: the same clips and the same noise for every model."""

import numpy as np
import pytest
import soundfile
from asr.scoring import robustness
from asr.settings import Settings

RATE = 16_000
SAID = ["klockan är åtta", "åsa köper ägg", "hej då"]


@pytest.fixture(autouse=True)
def few_rooms(monkeypatch):
    monkeypatch.setattr(robustness, "ROOMS", 2)


@pytest.fixture
def sounds(tone):
    return [tone(seconds, hertz=300) for seconds in (0.5, 1.0, 1.5)]


class Deaf:
    """Hears what is said, but nothing in what is not the sound itself; keeps what it was given."""

    def __init__(self, sounds):
        self.sounds, self.given = sounds, []

    def __call__(self, sounds):
        self.given.append(sounds)
        off = [np.mean((heard - sound) ** 2) for heard, sound in zip(sounds, self.sounds, strict=True)]
        return [text if error < 0.01 else "" for text, error in zip(SAID, off, strict=True)]


def report(sounds, settings=None, deaf=None):
    return robustness.measure_robustness(deaf or Deaf(sounds), sounds, SAID, SAID, [None] * 3, settings or Settings())


def test_each_wer_has_an_interval_and_a_clean_wer_to_compare_with(sounds):
    told = report(sounds)
    assert (told["noisy_clips"], told["noisy_clean_wer"]) == (3, 0)
    assert told["noisy_wer"] == {"20": 0, "10": 0, "5": 100, "0": 100}  # 0.045 is the tone's mean power
    assert told["room_wer"] == 100
    for wer, (low, high) in (
        *((told["noisy_wer"][name], told["noisy_wer_ci"][name]) for name in told["noisy_wer"]),
        (told["room_wer"], told["room_wer_ci"]),
        (told["noisy_clean_wer"], told["noisy_clean_wer_ci"]),
    ):
        assert low <= wer <= high
    assert (told["noise_heard"], told["room_heard"]) == ("made", "simulated")


def test_a_clip_gets_the_same_noise_at_each_level_and_each_time(sounds):
    first, second = Deaf(sounds), Deaf(sounds)
    report(sounds, deaf=first), report(sounds, deaf=second)
    for one, again in zip(first.given, second.given, strict=True):
        assert all(map(np.array_equal, one, again))
    *noisy, _ = first.given
    for at, sound in enumerate(sounds):
        added = [heard[at] - sound for heard in noisy]
        levels = [10 * np.log10(np.mean(sound**2) / np.mean(one**2)) for one in added]
        assert levels == pytest.approx([20, 10, 5, 0], abs=0.2)
        assert all(np.corrcoef(one, added[-1])[0, 1] > 0.999 for one in added)


def test_noise_and_rooms_come_from_the_held_out_recordings(sounds, tone, tmp_path):
    for at in range(6):
        response = np.zeros(4_000, np.float32)
        response[[0, 1_000 if at % 5 == 0 else 2_000]] = 1.0, 0.9
        for kind, sound in (("noise", tone(1.0, hertz=2_000 if at % 5 == 0 else 1_000)), ("rooms", response)):
            (tmp_path / kind).mkdir(exist_ok=True)
            soundfile.write(tmp_path / kind / f"{at}.wav", sound, RATE)
    training = {
        "noise": str(tmp_path / "noise"), "noise_share": 0.5, "rooms": str(tmp_path / "rooms"), "room_share": 0.5,
    }  # fmt: skip
    deaf = Deaf(sounds)
    told = report(sounds, Settings.model_validate({"training": training}), deaf)
    assert (told["noise_heard"], told["room_heard"]) == ("recordings", "recordings")
    *noisy, in_rooms = deaf.given
    for heard in noisy:
        power = np.abs(np.fft.rfft(heard[1]))
        assert power[1_990:2_011].max() > 100 * power[990:1_011].max()
    for heard, sound in zip(in_rooms, sounds, strict=True):
        wanted = sound + 0.9 * np.pad(sound, (1_000, 0))[: len(sound)]
        assert np.corrcoef(heard, wanted)[0, 1] > 0.999
