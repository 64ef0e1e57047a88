"""What a batch holds: like lengths, no clip lost, and nothing that depends on the order of asking."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from asr.settings import Training
from asr.training.batches import (
    IGNORED_LABEL,
    BucketBatchSampler,
    ClipPool,
    Draw,
    Unit,
    batches_by_length,
    collate,
    evenly_spaced,
    long_phase_start,
    pack_clips,
    pad_features,
)
from asr.training.dataset import Example, FeatureDataset

LENGTHS = np.random.default_rng(0).uniform(1, 30, 500).tolist()


def buckets(lengths, size=8, steps=1, seed=0, weights=None, start=0, speakers=None, **training):
    """The batches of so many steps."""
    asked = Training(
        **{"batch_size": size, "steps": steps, "seed": seed, "long_share": 0.0, "quiet_seconds": 0.0, **training}
    )
    return BucketBatchSampler(ClipPool(lengths, weights, speakers), asked, start)


def drawn_clips(batches):
    return [clip for batch in batches for draw in batch for clip in draw.unit.clips]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 63, 64, 65, 200])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_each_epoch_has_every_clip_once(count, size):
    lengths = LENGTHS[:count]
    an_epoch = math.ceil(count / size)
    batches = list(buckets(lengths, size, 3 * an_epoch))
    for epoch in range(3):
        drawn = drawn_clips(batches[epoch * an_epoch : (epoch + 1) * an_epoch])
        assert sorted(drawn) == list(range(len(lengths)))


@pytest.mark.parametrize("steps", [1, 4, 5, 13, 200])
def test_there_are_as_many_batches_as_steps(steps):
    batches = buckets(LENGTHS[:37], 8, steps)
    assert len(list(batches)) == len(batches) == steps


def test_no_batch_is_larger_than_asked_and_none_is_empty():
    sizes = Counter(len(batch) for batch in buckets(LENGTHS[:37], 8, 15))
    assert sizes == {8: 12, 5: 3}


def test_the_same_seed_draws_the_same_and_another_seed_another():
    drawn = [list(buckets(LENGTHS, 8, 100, seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_every_epoch_has_its_own_order():
    batches = list(buckets(LENGTHS, 8, 126))
    assert [drawn_clips([batch]) for batch in batches[:63]] != [drawn_clips([batch]) for batch in batches[63:]]


def test_more_steps_begin_as_fewer_do():
    assert list(buckets(LENGTHS, 8, 100))[:40] == list(buckets(LENGTHS, 8, 40))


def test_clips_of_a_batch_are_of_like_length():
    batches = list(buckets(LENGTHS, 8, 62))
    padded = sum(len(batch) * max(draw.unit.length for draw in batch) for batch in batches)
    spoken = sum(draw.unit.length for batch in batches for draw in batch)
    assert padded / spoken < 1.2


@pytest.mark.parametrize("lengths", [[], [1.0, 2.0]])
@pytest.mark.parametrize("more", [{}, {"batch_seconds": 30.0}])
def test_to_draw_from_nothing_is_refused_and_not_tried_for_ever(lengths, more):
    with pytest.raises(ValueError, match="no clip has a weight"):
        buckets(lengths, weights=[0.0] * len(lengths), **more)


@pytest.mark.parametrize("more", [{}, {"batch_seconds": 30.0}])
def test_weights_of_next_to_nothing_are_weights_among_themselves(more):
    drawn = drawn_clips(buckets([1.0, 2.0, 3.0], 2, 100, weights=[1e-12, 3e-12, 0.0], **more))
    assert set(drawn) == {0, 1}
    assert drawn.count(1) > 2 * drawn.count(0)


def test_half_of_the_draws_have_quiet_around_them_and_batches_are_of_like_length_with_it():
    batches = list(buckets([2.0] * 500, 8, 62, quiet_seconds=0.5))
    quiet = [draw.unit.quiet for batch in batches for draw in batch]
    assert 0.4 < np.mean([before + after > 0 for before, after in quiet]) < 0.6
    assert 0.4 < max(max(pair) for pair in quiet) <= 0.5
    padded = sum(len(batch) * max(draw.unit.length for draw in batch) for batch in batches)
    assert padded / sum(draw.unit.length for batch in batches for draw in batch) < 1.05


def test_a_clip_with_quiet_around_it_still_fits_into_a_window():
    lengths = [draw.unit.length for batch in buckets([29.5] * 100, quiet_seconds=5.0, steps=12) for draw in batch]
    assert 29.9 < max(lengths) <= 30


def test_batches_do_not_come_sorted_by_length():
    longest = [max(draw.unit.length for draw in batch) for batch in buckets(LENGTHS, 8, 62)]
    assert abs(np.corrcoef(longest, range(62))[0, 1]) < 0.4
    assert 0.3 < np.mean(np.diff(longest) > 0) < 0.7


def test_no_two_draws_share_a_number():
    numbers = [draw.number for batch in buckets(LENGTHS[:37], 8, 50) for draw in batch]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("start", [1, 7, 63, 64, 99])
@pytest.mark.parametrize("more", [{}, {"accumulate": 3}, {"batch_seconds": 90.0, "silence_share": 0.1}])
def test_beginning_at_a_step_gives_what_would_have_come_there(start, more):
    whole, rest = (list(buckets(LENGTHS, 8, 100, start=at, **more)) for at in (0, start))
    assert rest == [batch for batch in whole if batch[0].step >= start]
    assert rest[0][0].step == start


def test_a_step_of_several_batches_counts_as_one():
    steps = [batch[0].step for batch in buckets(LENGTHS, 8, 5, accumulate=3)]
    assert steps == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(("context", "lasting"), [("trimmed", None), ("padded", 30.0)])
def test_a_batch_of_seconds_holds_no_more_of_them_and_loses_no_clip(context, lasting):
    batches = buckets(LENGTHS, steps=1, batch_seconds=120.0, context=context)._epoch(0)
    held = [len(batch) * (lasting or max(unit.length for unit in batch)) for batch in batches]
    assert max(held) <= 120
    assert np.mean(held) > 80
    assert sorted(unit.clips[0] for batch in batches for unit in batch) == list(range(500))


def test_a_clip_that_is_longer_than_a_batch_is_one_of_its_own():
    assert sorted(len(batch) for batch in buckets([29.0, 1.0, 1.0], batch_seconds=4.0)._epoch(0)) == [1, 2]


SPEAKERS = [f"speaker {at % 7}" for at in range(500)]


def packed(**more):
    return pack_clips(list(range(500)), ClipPool(LENGTHS, None, SPEAKERS, **more), np.random.default_rng(0))


def test_a_pack_has_one_speaker_and_fits_into_a_window_and_no_clip_is_lost_or_twice():
    made = packed()
    assert sorted(clip for unit in made for clip in unit.clips) == list(range(500))
    for clips, gaps, seconds, _ in made:
        assert len({SPEAKERS[clip] for clip in clips}) == 1
        assert len(gaps) == len(clips) - 1
        assert seconds == pytest.approx(sum(LENGTHS[clip] for clip in clips) + sum(gaps))
        assert seconds <= 30
    assert max(len(unit.clips) for unit in made) > 3


def test_packs_are_of_all_lengths():
    """Shown only full windows a model reads short ones badly."""
    lengths = [1.5] * 500
    seconds = [
        one.seconds for one in pack_clips(list(range(500)), ClipPool(lengths, None, SPEAKERS), np.random.default_rng(0))
    ]
    assert min(seconds) < 3
    assert max(seconds) > 25
    assert 8 < np.mean(seconds) < 20


def test_a_pack_says_no_more_than_a_whisper_can_write():
    tokens = [60 + at % 50 for at in range(500)]
    made = packed(tokens=tokens, max_tokens=150)
    assert max(sum(tokens[clip] + 2 for clip in unit.clips) for unit in made if len(unit.clips) > 1) <= 150
    assert sorted(clip for unit in made for clip in unit.clips) == list(range(500))


def test_packed_epochs_have_every_clip_once_too():
    epoch = buckets(LENGTHS, speakers=SPEAKERS, context="packed")._epoch(3)
    assert sorted(clip for batch in epoch for unit in batch for clip in unit.clips) == list(range(500))


@pytest.mark.parametrize(("context", "longest"), [("trimmed", 10), ("padded", 30)])
def test_a_share_of_the_draws_is_silence_and_no_clip_is_lost_for_it(context, longest):
    epoch = buckets(LENGTHS, silence_share=0.2, context=context)._epoch(0)
    units = [unit for batch in epoch for unit in batch]
    silent = [unit.seconds for unit in units if not unit.clips]
    assert len(silent) / len(units) == pytest.approx(0.2, abs=0.01)
    assert 1 <= min(silent) < max(silent) <= longest
    assert sorted(clip for unit in units for clip in unit.clips) == list(range(500))


@pytest.mark.parametrize("loud", [0.5, 0.02, 0.002])
def test_padding_is_the_silence_that_the_feature_extractor_makes(loud, whisper):
    noise = np.random.default_rng(0).normal(size=32_000)
    sound = (loud * noise / np.abs(noise).max()).astype(np.float32)
    extractor = whisper[1].feature_extractor
    own = extractor(sound, sampling_rate=16_000, padding=False, truncation=False, return_tensors="np").input_features[0]
    stock = extractor(sound, sampling_rate=16_000, return_tensors="np").input_features[0]
    ours = pad_features([own], 3_000)[0].numpy()
    assert ours.shape == stock.shape == (80, 3_000)
    away = np.r_[0:195, 205:3_000]  # the window sees both sides of the clip's end
    assert np.abs(ours - stock)[:, away].max() < 0.02


def test_a_batch_is_as_long_as_its_longest_clip_and_even():
    assert pad_features([np.zeros((80, 120)), np.zeros((80, 151))]).shape == (2, 80, 152)
    assert pad_features([np.zeros((80, 120))], 3_000).shape == (1, 80, 3_000)


def long_steps(**training):
    """Of the steps' batches those that are padded to 30 s, and their sizes."""
    batches = list(buckets(LENGTHS, **training))
    assert all(len({draw.long for draw in batch}) == 1 for batch in batches)
    return {at: len(batch) for at, batch in enumerate(batches) if batch[0].long}


def test_long_batches_come_only_in_the_last_share_of_the_steps_and_are_small():
    """A whole batch at 30 s takes more memory than one at the clips' length."""
    long = long_steps(steps=1_000, long_share=0.2, size=8)
    assert min(long) >= 800
    assert 0.25 < len(long) / 200 < 0.6
    assert max(long.values()) == 2


@pytest.mark.parametrize(("steps", "share"), [(850, 0.08), (1_000, 0.2), (333, 0.5)])
def test_the_step_where_long_batches_begin_is_known_beforehand(steps, share):
    begins = long_phase_start(Training(steps=steps, long_share=share))
    assert begins <= min(long_steps(steps=steps, long_share=share)) < begins + 20


@pytest.mark.parametrize("seconds", [31.0, 60.0, 240.0])
def test_long_batches_keep_within_a_batchs_seconds(seconds):
    long = long_steps(steps=300, long_share=1.0, batch_seconds=seconds)
    assert len(long) > 10
    assert max(long.values()) * 30 <= seconds


def test_the_long_phase_loses_and_repeats_no_clip():
    batches = list(buckets(LENGTHS, 8, 2_000, long_share=1.0))
    times = np.bincount(drawn_clips(batches), minlength=500)
    assert times.max() - times.min() <= 1


@pytest.mark.parametrize(
    ("asked", "share"),
    [({"long_share": 0.0}, 0), ({"context": "packed"}, 0), ({"context": "padded"}, 1)],
    ids=["no long phase", "packed", "padded"],
)
def test_other_contexts_are_long_never_or_always(asked, share):
    assert len(long_steps(steps=40, size=2, **asked)) == 40 * share


def examples(frames=120, long=False):
    """Three of them."""
    features = np.zeros((80, frames), np.float32)
    return [Example(Draw(0, long, at, Unit((at,), (), 1.2)), features, [1, 2, *range(3, 4 + at)]) for at in range(3)]


@pytest.mark.parametrize(("long", "frames"), [(False, 120), (True, 3_000)])
def test_a_long_batch_is_padded_to_30_seconds(long, frames):
    assert collate(examples(long=long))["input_features"].shape == (3, 80, frames)


def test_labels_are_padded_with_what_does_not_count():
    labels = collate(examples())["labels"]
    assert labels.tolist() == [[1, 2, 3, IGNORED_LABEL, IGNORED_LABEL], [1, 2, 3, 4, IGNORED_LABEL], [1, 2, 3, 4, 5]]
    assert labels.dtype == torch.int64


def drawn(weights, epochs):
    """How often each clip was drawn."""
    times = buckets([1.0] * len(weights), 1, round(sum(weights) * epochs), weights=weights)
    return np.bincount(drawn_clips(times), minlength=len(weights))


def test_a_clip_is_drawn_as_often_as_its_source_weighs():
    assert drawn([0, 1, 2], 5).tolist() == [0, 5, 10]


def test_a_weight_between_whole_numbers_is_a_chance():
    times = drawn([0.5] * 50 + [1] * 50, 40)
    assert times[50:].mean() == pytest.approx(40, rel=0.1)
    assert times[:50].mean() == pytest.approx(20, rel=0.1)
    assert times[:50].min() > 5


def test_weights_of_one_change_no_batch():
    lengths = list(range(37))
    plain, weighed = (buckets(lengths, 4, 30, 3, weights) for weights in (None, [1.0] * 37))
    assert list(plain) == list(weighed)


@pytest.fixture
def clips(speech, whisper):
    return FeatureDataset(speech.split("train"), whisper[1])


def test_clips_are_heard_longest_first_and_each_once(clips):
    batches = list(batches_by_length(clips, range(len(clips)), size=5))
    seconds = [clips.seconds[clip] for batch in batches for clip in batch]
    assert seconds == sorted(seconds, reverse=True)
    assert sorted(clip for batch in batches for clip in batch) == list(range(len(clips)))


@pytest.mark.parametrize(("count", "most"), [(10, 3), (3, 10), (5, 5), (1, 1), (1_000, 200)])
def test_an_even_choice_has_no_clip_twice(count, most):
    chosen = evenly_spaced(count, most)
    assert len(set(chosen)) == len(chosen) == min(count, most)
    assert set(chosen) <= set(range(count))
