"""What a batch holds: like lengths, no clip lost, and nothing that depends on the order of asking."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from asr.settings import Training
from asr.training.batches import (
    IGNORED,
    Clips,
    Collate,
    Draw,
    Examples,
    LengthBuckets,
    by_length,
    evenly,
    mask,
    pad,
    quiet_edges,
)

LENGTHS = np.random.default_rng(0).uniform(1, 30, 500).tolist()


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 63, 64, 65, 200])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_each_epoch_has_every_clip_once(count, size):
    lengths = LENGTHS[:count]
    an_epoch = math.ceil(count / size)
    batches = list(LengthBuckets(lengths, size, 3 * an_epoch, seed=0))
    for epoch in range(3):
        drawn = [draw.clip for batch in batches[epoch * an_epoch : (epoch + 1) * an_epoch] for draw in batch]
        assert sorted(drawn) == list(range(len(lengths)))


@pytest.mark.parametrize("steps", [1, 4, 5, 13, 200])
def test_there_are_as_many_batches_as_steps(steps):
    buckets = LengthBuckets(LENGTHS[:37], 8, steps, seed=0)
    assert len(list(buckets)) == len(buckets) == steps


def test_no_batch_is_larger_than_asked_and_none_is_empty():
    sizes = Counter(len(batch) for batch in LengthBuckets(LENGTHS[:37], 8, 15, seed=0))
    assert sizes == {8: 12, 5: 3}


def test_the_same_seed_draws_the_same_and_another_seed_another():
    drawn = [list(LengthBuckets(LENGTHS, 8, 100, seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_every_epoch_has_its_own_order():
    batches = list(LengthBuckets(LENGTHS, 8, 126, seed=0))
    assert [[draw.clip for draw in batch] for batch in batches[:63]] != [
        [draw.clip for draw in batch] for batch in batches[63:]
    ]


def test_more_steps_begin_as_fewer_do():
    assert list(LengthBuckets(LENGTHS, 8, 100, 0))[:40] == list(LengthBuckets(LENGTHS, 8, 40, 0))


def test_clips_of_a_batch_are_of_like_length():
    batches = list(LengthBuckets(LENGTHS, 8, 62, seed=0))
    padded = sum(len(batch) * max(LENGTHS[draw.clip] for draw in batch) for batch in batches)
    spoken = sum(LENGTHS[draw.clip] for batch in batches for draw in batch)
    assert padded / spoken < 1.2


def test_batches_do_not_come_sorted_by_length():
    longest = [max(LENGTHS[draw.clip] for draw in batch) for batch in LengthBuckets(LENGTHS, 8, 62, seed=0)]
    assert abs(np.corrcoef(longest, range(62))[0, 1]) < 0.4
    assert 0.3 < np.mean(np.diff(longest) > 0) < 0.7


def test_no_two_draws_share_a_number():
    numbers = [draw.number for batch in LengthBuckets(LENGTHS[:37], 8, 50, seed=0) for draw in batch]
    assert len(set(numbers)) == len(numbers)


class Mels:
    """Stands in for clips: random log-mels of 80 bins."""

    def __init__(self, frames=200):
        self.frames = frames

    def features(self, clip):
        return np.random.default_rng(clip).normal(size=(80, self.frames)).clip(-0.9, 1).astype(np.float32)

    def tokens(self, clip):
        return [1, 2, 3 + clip]


def test_augmentation_depends_on_the_draw_and_not_on_the_order_of_asking():
    examples = Examples(Mels(), Training(frequency_masks=1, time_masks=1))
    draws = [Draw(number, clip=number % 3) for number in range(6)]
    forwards = [examples[draw][1] for draw in draws]
    backwards = [examples[draw][1] for draw in reversed(draws)][::-1]
    assert all(np.array_equal(one, other) for one, other in zip(forwards, backwards, strict=True))


def test_a_clip_is_augmented_anew_each_time_it_is_drawn():
    examples = Examples(Mels(), Training(frequency_masks=1, time_masks=1))
    seen = {examples[Draw(number, clip=0)][1].tobytes() for number in range(8)}
    assert len(seen) > 6


def test_without_augmentation_a_clip_is_as_it_was():
    examples = Examples(Mels(), Training(frequency_masks=0, time_masks=0, quiet_seconds=0))
    assert all(np.array_equal(examples[Draw(number, clip=1)][1], Mels().features(1)) for number in range(20))


def test_about_half_of_the_draws_have_quiet_around_the_whole_clip():
    clip, kept = Mels().features(0), 0
    for number in range(100):
        seen = quiet_edges(clip, 0.5, np.random.default_rng(number))
        assert 200 <= seen.shape[1] <= 300
        starts = [at for at in range(seen.shape[1] - 199) if np.array_equal(seen[:, at : at + 200], clip)]
        assert len(starts) == 1
        assert np.delete(seen, np.s_[starts[0] : starts[0] + 200], axis=1).max(initial=-9) < clip.max() - 0.2
        kept += seen.shape[1] == 200
    assert 30 < kept < 70


def test_a_clip_with_quiet_around_it_still_fits_into_whispers_30_seconds():
    examples = Examples(Mels(frames=2_990), Training(frequency_masks=0, quiet_seconds=5))
    assert max(examples[Draw(number, clip=0)][1].shape[1] for number in range(20)) <= 3_000


@pytest.mark.parametrize("frames", [10, 30, 3_000])
def test_masks_fit_into_clips_of_any_length_and_leave_the_original_alone(frames):
    original = np.random.default_rng(0).normal(size=(80, frames)).astype(np.float32)
    before = original.copy()
    for seed in range(50):
        masked = mask(original, 2, 2, np.random.default_rng(seed))
        assert masked.shape == original.shape
        assert (masked != original).mean() < 0.8
    assert np.array_equal(original, before)


@pytest.mark.parametrize("loud", [0.5, 0.02, 0.002])
def test_padding_is_the_silence_that_the_feature_extractor_makes(loud, whisper):
    noise = np.random.default_rng(0).normal(size=32_000)
    sound = (loud * noise / np.abs(noise).max()).astype(np.float32)
    extractor = whisper[1].feature_extractor
    own = extractor(sound, sampling_rate=16_000, padding=False, truncation=False, return_tensors="np").input_features[0]
    stock = extractor(sound, sampling_rate=16_000, return_tensors="np").input_features[0]
    ours = pad([own], 3_000)[0].numpy()
    assert ours.shape == stock.shape == (80, 3_000)
    away = np.r_[0:195, 205:3_000]  # the window sees both sides of the clip's end
    assert np.abs(ours - stock)[:, away].max() < 0.02


def test_a_batch_is_as_long_as_its_longest_clip_and_even():
    assert pad([np.zeros((80, 120)), np.zeros((80, 151))]).shape == (2, 80, 152)
    assert pad([np.zeros((80, 120))], 3_000).shape == (1, 80, 3_000)


def examples_of(step, training, frames=120):
    draws = [Draw(step * training.batch_size + place, place) for place in range(training.batch_size)]
    return [(draw, np.zeros((80, frames), np.float32), [1, 2, *range(3, 4 + draw.clip)]) for draw in draws]


def test_long_batches_come_only_in_the_last_share_of_the_steps():
    training = Training(steps=1_000, long_share=0.2, batch_size=4)
    collate = Collate(training)
    long = [step for step in range(1_000) if collate.long(step)]
    assert min(long) >= 800
    assert 10 < len(long) < 60
    assert collate(examples_of(long[0], training))["input_features"].shape == (4, 80, 3_000)
    assert collate(examples_of(0, training))["input_features"].shape == (4, 80, 120)


@pytest.mark.parametrize(("share", "any_long"), [(0.0, False), (1.0, True)])
def test_the_long_phase_may_be_none_or_all(share, any_long):
    collate = Collate(Training(steps=200, long_share=share))
    assert any(collate.long(step) for step in range(200)) == any_long


def test_labels_are_padded_with_what_does_not_count():
    training = Training(steps=10, long_share=0, batch_size=3)
    labels = Collate(training)(examples_of(0, training))["labels"]
    assert labels.tolist() == [[1, 2, 3, IGNORED, IGNORED], [1, 2, 3, 4, IGNORED], [1, 2, 3, 4, 5]]
    assert labels.dtype == torch.int64


def drawn(weights, epochs):
    """How often each clip was drawn."""
    times = LengthBuckets([1.0] * len(weights), 1, round(sum(weights) * epochs), seed=0, weights=weights)
    return np.bincount([draw.clip for batch in times for draw in batch], minlength=len(weights))


def test_a_clip_is_drawn_as_often_as_its_source_weighs():
    assert drawn([0, 1, 2], 5).tolist() == [0, 5, 10]


def test_a_weight_between_whole_numbers_is_a_chance():
    times = drawn([0.5] * 50 + [1] * 50, 40)
    assert times[50:].mean() == pytest.approx(40, rel=0.1)
    assert times[:50].mean() == pytest.approx(20, rel=0.1)
    assert times[:50].min() > 5


def test_weights_of_one_change_no_batch():
    lengths = list(range(37))
    plain, weighed = (LengthBuckets(lengths, 4, 30, 3, weights) for weights in (None, [1.0] * 37))
    assert list(plain) == list(weighed)


@pytest.fixture
def clips(speech, whisper):
    return Clips(speech.split("train"), whisper[1])


def test_log_mels_are_as_long_as_the_clip(clips):
    assert clips.features(0).shape == (80, pytest.approx(100 * clips.seconds[0], abs=1))
    assert clips.sound(0).dtype == np.float32


def test_a_clip_is_the_same_whether_kept_or_computed_again(clips, speech, whisper):
    forgetful = Clips(speech.split("train"), whisper[1])
    forgetful._room = 0
    for _ in range(2):
        assert np.array_equal(clips.features(1), forgetful.features(1))
    assert forgetful._cache == {}
    assert list(clips._cache) == [1]


def test_tokens_are_whispers_prompt_the_text_and_the_end(clips, whisper):
    tokenizer = whisper[1].tokenizer
    words = tokenizer.convert_ids_to_tokens(clips.tokens(0))
    assert words[:4] == ["<|startoftranscript|>", "<|sv|>", "<|transcribe|>", "<|notimestamps|>"]
    assert words[-1] == "<|endoftext|>"
    assert tokenizer.decode(clips.tokens(0), skip_special_tokens=True) == " " + clips.texts[0]


def test_clips_are_heard_longest_first_and_each_once(clips):
    batches = list(by_length(clips, range(len(clips)), size=5))
    seconds = [clips.seconds[clip] for batch in batches for clip in batch]
    assert seconds == sorted(seconds, reverse=True)
    assert sorted(clip for batch in batches for clip in batch) == list(range(len(clips)))


@pytest.mark.parametrize(("count", "most"), [(10, 3), (3, 10), (5, 5), (1, 1), (1_000, 200)])
def test_an_even_choice_has_no_clip_twice(count, most):
    chosen = evenly(count, most)
    assert len(set(chosen)) == len(chosen) == min(count, most)
    assert set(chosen) <= set(range(count))
