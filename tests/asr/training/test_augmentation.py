"""Augmentation keeps a clip's words, and is the same each time for the same seed."""

import numpy as np
import pytest
from asr.training.augmentation import BpeDropout, add_quiet, change_speed, make_silence, mask_features

CLIP = np.random.default_rng(0).normal(size=(80, 200)).clip(-0.9, 1).astype(np.float32)


def generators(count=20):
    return [np.random.default_rng(seed) for seed in range(count)]


def test_added_quiet_surrounds_the_whole_clip_at_the_returned_offset():
    for random in generators():
        features, before = add_quiet(CLIP, (0.31, 0.2), random)
        assert features.shape == (80, 31 + 200 + 20)
        assert before == 0.31
        assert np.array_equal(features[:, 31:231], CLIP)
        assert np.delete(features, np.s_[31:231], axis=1).max() < CLIP.max() - 0.2


def test_no_quiet_leaves_the_clip_unchanged():
    assert add_quiet(CLIP, (0.0, 0.0), np.random.default_rng(0)) == (CLIP, 0.0)


def test_a_clip_with_quiet_around_it_still_fits_into_whispers_30_seconds():
    """A clip that was slowed down is longer than the length in its draw."""
    long = np.zeros((80, 2_990), np.float32)
    assert add_quiet(long, (0.4, 3.0), np.random.default_rng(0))[0].shape[1] == 3_000


@pytest.mark.parametrize("frames", [10, 30, 3_000])
def test_masks_fit_into_clips_of_any_length_and_leave_the_original_unchanged(frames):
    original = np.random.default_rng(0).normal(size=(80, frames)).astype(np.float32)
    before = original.copy()
    for random in generators(50):
        masked = mask_features(original, 2, 2, random)
        assert masked.shape == original.shape
        assert (masked != original).mean() < 0.8
    assert np.array_equal(original, before)


def test_faster_is_shorter_and_higher(tone):
    for random in generators():
        sound, factor = change_speed(tone(2.0, hertz=400), 0.2, random)
        assert 0.8 <= factor <= 1.2
        assert len(sound) == pytest.approx(32_000 / factor, abs=2)
        pitch = np.argmax(np.abs(np.fft.rfft(sound))) * 16_000 / len(sound)
        assert pitch == pytest.approx(400 * factor, rel=0.01)
        assert sound.dtype == np.float32


def test_silence_is_sometimes_all_zeros_and_never_loud():
    loudest = [np.abs(make_silence(2.0, random)).max() for random in generators(60)]
    assert min(loudest) == 0
    assert 0.01 < max(loudest) <= 0.11
    assert {make_silence(1.5, random).shape for random in generators(9)} == {(24_000,)}


TEXT = " Åsa köper sju ägg på lördag, och klockan är halv åtta."


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 1.0])
def test_bpe_dropout_gives_other_tokens_of_the_same_text(whisper, dropout):
    tokenizer = whisper[1].tokenizer
    bpe_dropout = BpeDropout(tokenizer, dropout)
    default_tokens = tokenizer(TEXT, add_special_tokens=False).input_ids
    encodings = [bpe_dropout.tokens(TEXT, random) for random in generators()]
    assert {tokenizer.decode(tokens) for tokens in encodings} == {TEXT}
    if dropout == 0:
        assert all(tokens == default_tokens for tokens in encodings)
    else:
        assert np.mean([len(tokens) for tokens in encodings]) > len(default_tokens)
    if dropout == 1:
        assert {len(tokens) for tokens in encodings} == {len(TEXT.encode())}


def test_the_seed_decides_the_tokens_of_a_text(whisper):
    bpe_dropout = BpeDropout(whisper[1].tokenizer, 0.3)
    encodings = [bpe_dropout.tokens(TEXT, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert encodings[0] == encodings[1] != encodings[2]
