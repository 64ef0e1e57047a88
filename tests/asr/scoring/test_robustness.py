"""WER under noise and reverberation: the same clips and the same noise for every model."""

import numpy as np
import pytest
import soundfile
from asr.scoring import robustness
from asr.settings import Settings

RATE = 16_000
REFERENCES = ["klockan är åtta", "åsa köper ägg", "hej då"]


@pytest.fixture(autouse=True)
def few_rooms(monkeypatch):
    monkeypatch.setattr(robustness, "ROOMS", 2)


@pytest.fixture
def sounds(tone):
    return [tone(seconds, hertz=300) for seconds in (0.5, 1.0, 1.5)]


class FakeModel:
    """Recognizes only the clean sounds; records the sounds of each call."""

    def __init__(self, sounds):
        self.sounds, self.calls = sounds, []

    def __call__(self, sounds):
        self.calls.append(sounds)
        errors = [np.mean((received - sound) ** 2) for received, sound in zip(sounds, self.sounds, strict=True)]
        return [text if error < 0.01 else "" for text, error in zip(REFERENCES, errors, strict=True)]


def measure(sounds, settings=None, model=None):
    return robustness.measure_robustness(
        model or FakeModel(sounds), sounds, REFERENCES, REFERENCES, [None] * 3, settings or Settings()
    )


def test_each_wer_has_an_interval_and_a_clean_wer_to_compare_with(sounds):
    figures = measure(sounds)
    assert (figures["noisy_clips"], figures["noisy_clean_wer"]) == (3, 0)
    assert figures["noisy_wer"] == {"20": 0, "10": 0, "5": 100, "0": 100}  # 0.045 is the tone's mean power
    assert figures["room_wer"] == 100
    for wer, (low, high) in (
        *((figures["noisy_wer"][name], figures["noisy_wer_ci"][name]) for name in figures["noisy_wer"]),
        (figures["room_wer"], figures["room_wer_ci"]),
        (figures["noisy_clean_wer"], figures["noisy_clean_wer_ci"]),
    ):
        assert low <= wer <= high
    assert (figures["noise_heard"], figures["room_heard"]) == ("made", "simulated")


def test_a_clip_gets_the_same_noise_at_each_level_and_each_time(sounds):
    first, second = FakeModel(sounds), FakeModel(sounds)
    measure(sounds, model=first), measure(sounds, model=second)
    for sounds_now, sounds_again in zip(first.calls, second.calls, strict=True):
        assert all(map(np.array_equal, sounds_now, sounds_again))
    *noisy, _ = first.calls
    for number, sound in enumerate(sounds):
        added = [changed[number] - sound for changed in noisy]
        levels = [10 * np.log10(np.mean(sound**2) / np.mean(noise**2)) for noise in added]
        assert levels == pytest.approx([20, 10, 5, 0], abs=0.2)
        assert all(np.corrcoef(noise, added[-1])[0, 1] > 0.999 for noise in added)


def test_noise_and_rooms_come_from_the_held_out_recordings(sounds, tone, tmp_path):
    for number in range(6):
        response = np.zeros(4_000, np.float32)
        response[[0, 1_000 if number % 5 == 0 else 2_000]] = 1.0, 0.9
        for kind, sound in (("noise", tone(1.0, hertz=2_000 if number % 5 == 0 else 1_000)), ("rooms", response)):
            (tmp_path / kind).mkdir(exist_ok=True)
            soundfile.write(tmp_path / kind / f"{number}.wav", sound, RATE)
    training = {
        "noise": str(tmp_path / "noise"), "noise_share": 0.5, "rooms": str(tmp_path / "rooms"), "room_share": 0.5,
    }  # fmt: skip
    model = FakeModel(sounds)
    figures = measure(sounds, Settings.model_validate({"training": training}), model)
    assert (figures["noise_heard"], figures["room_heard"]) == ("recordings", "recordings")
    *noisy, in_rooms = model.calls
    for changed in noisy:
        power = np.abs(np.fft.rfft(changed[1]))
        assert power[1_990:2_011].max() > 100 * power[990:1_011].max()
    for changed, sound in zip(in_rooms, sounds, strict=True):
        expected = sound + 0.9 * np.pad(sound, (1_000, 0))[: len(sound)]
        assert np.corrcoef(changed, expected)[0, 1] > 0.999
