"""What a batch contains: clips of similar lengths, none lost, whatever the order of access."""

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
    """A sampler of the batches of all steps."""
    settings = Training(
        **{"batch_size": size, "steps": steps, "seed": seed, "long_share": 0.0, "quiet_seconds": 0.0, **training}
    )
    return BucketBatchSampler(ClipPool(lengths, weights, speakers), settings, start)


def drawn_clips(batches):
    return [clip for batch in batches for draw in batch for clip in draw.unit.clips]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 63, 64, 65, 200])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_each_epoch_has_every_clip_once(count, size):
    lengths = LENGTHS[:count]
    steps = math.ceil(count / size)
    batches = list(buckets(lengths, size, 3 * steps))
    for epoch in range(3):
        clips = drawn_clips(batches[epoch * steps : (epoch + 1) * steps])
        assert sorted(clips) == list(range(len(lengths)))


@pytest.mark.parametrize("steps", [1, 4, 5, 13, 200])
def test_there_are_as_many_batches_as_steps(steps):
    batches = buckets(LENGTHS[:37], 8, steps)
    assert len(list(batches)) == len(batches) == steps


def test_no_batch_is_larger_than_requested_and_none_is_empty():
    sizes = Counter(len(batch) for batch in buckets(LENGTHS[:37], 8, 15))
    assert sizes == {8: 12, 5: 3}


def test_the_seed_decides_the_batches():
    runs = [list(buckets(LENGTHS, 8, 100, seed)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_every_epoch_has_its_own_order():
    batches = list(buckets(LENGTHS, 8, 126))
    assert [drawn_clips([batch]) for batch in batches[:63]] != [drawn_clips([batch]) for batch in batches[63:]]


def test_a_longer_run_begins_with_the_batches_of_a_shorter_one():
    assert list(buckets(LENGTHS, 8, 100))[:40] == list(buckets(LENGTHS, 8, 40))


def test_clips_of_a_batch_have_similar_lengths():
    batches = list(buckets(LENGTHS, 8, 62))
    padded = sum(len(batch) * max(draw.unit.length for draw in batch) for batch in batches)
    spoken = sum(draw.unit.length for batch in batches for draw in batch)
    assert padded / spoken < 1.2


@pytest.mark.parametrize("lengths", [[], [1.0, 2.0]])
@pytest.mark.parametrize("options", [{}, {"batch_seconds": 30.0}])
def test_drawing_without_any_positive_weight_is_refused(lengths, options):
    with pytest.raises(ValueError, match="no clip has a weight"):
        buckets(lengths, weights=[0.0] * len(lengths), **options)


@pytest.mark.parametrize("options", [{}, {"batch_seconds": 30.0}])
def test_tiny_weights_keep_their_ratio(options):
    clips = drawn_clips(buckets([1.0, 2.0, 3.0], 2, 100, weights=[1e-12, 3e-12, 0.0], **options))
    assert set(clips) == {0, 1}
    assert clips.count(1) > 2 * clips.count(0)


def test_half_of_the_draws_get_quiet_and_batches_still_have_similar_lengths():
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
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"batch_seconds": 90.0, "silence_share": 0.1}])
def test_starting_at_a_step_gives_the_same_remaining_batches(start, options):
    all_batches, remaining = (list(buckets(LENGTHS, 8, 100, start=step, **options)) for step in (0, start))
    assert remaining == [batch for batch in all_batches if batch[0].step >= start]
    assert remaining[0][0].step == start


def test_a_step_of_several_batches_counts_as_one():
    steps = [batch[0].step for batch in buckets(LENGTHS, 8, 5, accumulate=3)]
    assert steps == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(("context", "clip_seconds"), [("trimmed", None), ("padded", 30.0)])
def test_batch_seconds_limits_every_batch_and_loses_no_clip(context, clip_seconds):
    batches = buckets(LENGTHS, steps=1, batch_seconds=120.0, context=context)._epoch(0)
    durations = [len(batch) * (clip_seconds or max(unit.length for unit in batch)) for batch in batches]
    assert max(durations) <= 120
    assert np.mean(durations) > 80
    assert sorted(unit.clips[0] for batch in batches for unit in batch) == list(range(500))


def test_a_clip_longer_than_batch_seconds_is_a_batch_of_its_own():
    assert sorted(len(batch) for batch in buckets([29.0, 1.0, 1.0], batch_seconds=4.0)._epoch(0)) == [1, 2]


SPEAKERS = [f"speaker {at % 7}" for at in range(500)]


def packed(**options):
    return pack_clips(list(range(500)), ClipPool(LENGTHS, None, SPEAKERS, **options), np.random.default_rng(0))


def test_a_pack_has_one_speaker_and_fits_into_a_window_and_no_clip_is_lost_or_repeated():
    packs = packed()
    assert sorted(clip for unit in packs for clip in unit.clips) == list(range(500))
    for clips, gaps, seconds, _ in packs:
        assert len({SPEAKERS[clip] for clip in clips}) == 1
        assert len(gaps) == len(clips) - 1
        assert seconds == pytest.approx(sum(LENGTHS[clip] for clip in clips) + sum(gaps))
        assert seconds <= 30
    assert max(len(unit.clips) for unit in packs) > 3


def test_packs_have_all_lengths():
    """A model trained on full windows alone is bad at short ones."""
    lengths = [1.5] * 500
    seconds = [
        pack.seconds
        for pack in pack_clips(list(range(500)), ClipPool(lengths, None, SPEAKERS), np.random.default_rng(0))
    ]
    assert min(seconds) < 3
    assert max(seconds) > 25
    assert 8 < np.mean(seconds) < 20


def test_a_pack_has_no_more_tokens_than_whisper_can_write():
    tokens = [60 + at % 50 for at in range(500)]
    packs = packed(tokens=tokens, max_tokens=150)
    assert max(sum(tokens[clip] + 2 for clip in unit.clips) for unit in packs if len(unit.clips) > 1) <= 150
    assert sorted(clip for unit in packs for clip in unit.clips) == list(range(500))


def test_packed_epochs_have_every_clip_once_too():
    epoch = buckets(LENGTHS, speakers=SPEAKERS, context="packed")._epoch(3)
    assert sorted(clip for batch in epoch for unit in batch for clip in unit.clips) == list(range(500))


@pytest.mark.parametrize(("context", "longest"), [("trimmed", 10), ("padded", 30)])
def test_a_share_of_the_draws_is_silence_and_no_clip_is_lost(context, longest):
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
    features = extractor(
        sound, sampling_rate=16_000, padding=False, truncation=False, return_tensors="np"
    ).input_features[0]
    stock = extractor(sound, sampling_rate=16_000, return_tensors="np").input_features[0]
    ours = pad_features([features], 3_000)[0].numpy()
    assert ours.shape == stock.shape == (80, 3_000)
    far = np.r_[0:195, 205:3_000]  # a window at the clip's end covers both sides of it
    assert np.abs(ours - stock)[:, far].max() < 0.02


def test_a_batch_is_padded_to_its_longest_clip_and_an_even_length():
    assert pad_features([np.zeros((80, 120)), np.zeros((80, 151))]).shape == (2, 80, 152)
    assert pad_features([np.zeros((80, 120))], 3_000).shape == (1, 80, 3_000)


def long_steps(**training):
    """The sizes of the batches that are padded to 30 s, by step."""
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
def test_the_step_where_long_batches_begin_is_known_in_advance(steps, share):
    begins = long_phase_start(Training(steps=steps, long_share=share))
    assert begins <= min(long_steps(steps=steps, long_share=share)) < begins + 20


@pytest.mark.parametrize("seconds", [31.0, 60.0, 240.0])
def test_long_batches_keep_within_a_batchs_seconds(seconds):
    long = long_steps(steps=300, long_share=1.0, batch_seconds=seconds)
    assert len(long) > 10
    assert max(long.values()) * 30 <= seconds


def test_the_long_phase_loses_and_repeats_no_clip():
    batches = list(buckets(LENGTHS, 8, 2_000, long_share=1.0))
    counts = np.bincount(drawn_clips(batches), minlength=500)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("options", "share"),
    [({"long_share": 0.0}, 0), ({"context": "packed"}, 0), ({"context": "padded"}, 1)],
    ids=["no long phase", "packed", "padded"],
)
def test_other_contexts_are_long_never_or_always(options, share):
    assert len(long_steps(steps=40, size=2, **options)) == 40 * share


def examples(frames=120, long=False):
    """Three examples."""
    features = np.zeros((80, frames), np.float32)
    return [Example(Draw(0, long, at, Unit((at,), (), 1.2)), features, [1, 2, *range(3, 4 + at)]) for at in range(3)]


@pytest.mark.parametrize(("long", "frames"), [(False, 120), (True, 3_000)])
def test_a_long_batch_is_padded_to_30_seconds(long, frames):
    assert collate(examples(long=long))["input_features"].shape == (3, 80, frames)


def test_labels_are_padded_with_the_ignored_label():
    labels = collate(examples())["labels"]
    assert labels.tolist() == [[1, 2, 3, IGNORED_LABEL, IGNORED_LABEL], [1, 2, 3, 4, IGNORED_LABEL], [1, 2, 3, 4, 5]]
    assert labels.dtype == torch.int64


def draw_counts(weights, epochs):
    """How often each clip was drawn."""
    batches = buckets([1.0] * len(weights), 1, round(sum(weights) * epochs), weights=weights)
    return np.bincount(drawn_clips(batches), minlength=len(weights))


def test_clips_are_drawn_in_proportion_to_their_weights():
    assert draw_counts([0, 1, 2], 5).tolist() == [0, 5, 10]


def test_a_fractional_weight_is_a_probability():
    counts = draw_counts([0.5] * 50 + [1] * 50, 40)
    assert counts[50:].mean() == pytest.approx(40, rel=0.1)
    assert counts[:50].mean() == pytest.approx(20, rel=0.1)
    assert counts[:50].min() > 5


def test_weights_of_one_change_no_batch():
    lengths = list(range(37))
    plain, weighed = (buckets(lengths, 4, 30, 3, weights) for weights in (None, [1.0] * 37))
    assert list(plain) == list(weighed)


@pytest.fixture
def clips(speech, whisper):
    return FeatureDataset(speech.split("train"), whisper[1])


def test_clips_are_batched_longest_first_and_each_once(clips):
    batches = list(batches_by_length(clips, range(len(clips)), size=5))
    seconds = [clips.seconds[clip] for batch in batches for clip in batch]
    assert seconds == sorted(seconds, reverse=True)
    assert sorted(clip for batch in batches for clip in batch) == list(range(len(clips)))


@pytest.mark.parametrize(("count", "limit"), [(10, 3), (3, 10), (5, 5), (1, 1), (1_000, 200)])
def test_evenly_spaced_clips_are_distinct(count, limit):
    chosen = evenly_spaced(count, limit)
    assert len(set(chosen)) == len(chosen) == min(count, limit)
    assert set(chosen) <= set(range(count))
