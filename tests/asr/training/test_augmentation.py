"""What is done to a clip leaves its words in it, and is the same whenever it is asked for."""

import numpy as np
import pytest
from asr.training.augmentation import BpeDropout, add_quiet, change_speed, make_silence, mask_features

CLIP = np.random.default_rng(0).normal(size=(80, 200)).clip(-0.9, 1).astype(np.float32)


def generators(count=20):
    return [np.random.default_rng(seed) for seed in range(count)]


def test_the_quiet_is_quiet_and_the_whole_clip_stands_where_it_says():
    for random in generators():
        seen, before = add_quiet(CLIP, (0.31, 0.2), random)
        assert seen.shape == (80, 31 + 200 + 20)
        assert before == 0.31
        assert np.array_equal(seen[:, 31:231], CLIP)
        assert np.delete(seen, np.s_[31:231], axis=1).max() < CLIP.max() - 0.2


def test_no_quiet_leaves_the_clip_as_it_was():
    assert add_quiet(CLIP, (0.0, 0.0), np.random.default_rng(0)) == (CLIP, 0.0)


def test_a_clip_with_quiet_around_it_still_fits_into_whispers_30_seconds():
    """A clip that is spoken slower is longer than its draw said."""
    long = np.zeros((80, 2_990), np.float32)
    assert add_quiet(long, (0.4, 3.0), np.random.default_rng(0))[0].shape[1] == 3_000


@pytest.mark.parametrize("frames", [10, 30, 3_000])
def test_masks_fit_into_clips_of_any_length_and_leave_the_original_alone(frames):
    original = np.random.default_rng(0).normal(size=(80, frames)).astype(np.float32)
    before = original.copy()
    for random in generators(50):
        masked = mask_features(original, 2, 2, random)
        assert masked.shape == original.shape
        assert (masked != original).mean() < 0.8
    assert np.array_equal(original, before)


def test_faster_is_shorter_and_higher(tone):
    for random in generators():
        sound, faster = change_speed(tone(2.0, hertz=400), 0.2, random)
        assert 0.8 <= faster <= 1.2
        assert len(sound) == pytest.approx(32_000 / faster, abs=2)
        pitch = np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound)
        assert pitch == pytest.approx(400 * faster, rel=0.01)
        assert sound.dtype == np.float32


def test_silence_is_sometimes_a_dead_line_and_never_loud():
    loudest = [np.abs(make_silence(2.0, random)).max() for random in generators(60)]
    assert min(loudest) == 0
    assert 0.01 < max(loudest) <= 0.11
    assert {make_silence(1.5, random).shape for random in generators(9)} == {(24_000,)}


TEXT = " Åsa köper sju ägg på lördag, och klockan är halv åtta."


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 1.0])
def test_a_text_in_other_tokens_is_the_same_text(whisper, dropout):
    tokenizer = whisper[1].tokenizer
    respelling = BpeDropout(tokenizer, dropout)
    usual = tokenizer(TEXT, add_special_tokens=False).input_ids
    spelt = [respelling.tokens(TEXT, random) for random in generators()]
    assert {tokenizer.decode(one) for one in spelt} == {TEXT}
    if dropout == 0:
        assert all(one == usual for one in spelt)
    else:
        assert np.mean([len(one) for one in spelt]) > len(usual)
    if dropout == 1:
        assert {len(one) for one in spelt} == {len(TEXT.encode())}


def test_the_seed_decides_how_a_text_is_spelt(whisper):
    respelling = BpeDropout(whisper[1].tokenizer, 0.3)
    spelt = [respelling.tokens(TEXT, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert spelt[0] == spelt[1] != spelt[2]
