"""From a search space to trials, and from outcomes to a winner."""

import itertools
import math

import pytest
from asr import InputError
from asr.settings import Settings
from asr.training import search
from asr.training.search import ClipErrors, CurvePoint, Outcome, Trial


def planned(**space):
    return [
        (trial.learning_rate, trial.weight_decay)
        for trial in search.plan_trials(Settings.model_validate({"search": {"learning_rate": [3e-3, 1e-3], **space}}))
    ]


GRID = [(1e-3, 0.0), (1e-3, 0.1), (3e-3, 0.0), (3e-3, 0.1)]


@pytest.mark.parametrize("trials", [4, 5, 99])
def test_with_enough_trials_the_whole_grid_is_tried_in_order(trials):
    assert planned(trials=trials, weight_decay=[0.1, 0.0]) == GRID


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_with_fewer_trials_points_are_drawn_by_the_seed_alone(trials):
    points = planned(trials=trials, weight_decay=[0.0, 0.1], seed=7)
    assert points == planned(trials=trials, weight_decay=[0.1, 0.0], seed=7)
    assert len(set(points)) == trials
    assert points == [point for point in GRID if point in points]


def test_another_seed_draws_other_points():
    assert len({tuple(planned(trials=2, weight_decay=[0.0, 0.1], seed=seed)) for seed in range(20)}) > 1


def test_a_point_that_is_given_twice_is_tried_once():
    assert planned(trials=9, learning_rate=[1e-3, 1e-3], weight_decay=[0.1, 0.1]) == [(1e-3, 0.1)]


def test_trials_are_numbered_from_0():
    assert [trial.number for trial in search.plan_trials(Settings())] == [0, 1, 2]


RATES = {"low": 1e-5, "high": 1e-2, "log": True}


def sample_trials(sampler, trials=16, seed=0, **space):
    keys = {"sampler": sampler, "trials": trials, "seed": seed, "learning_rate": RATES, **space}
    return search.plan_trials(Settings.model_validate({"search": keys}))


@pytest.mark.parametrize("sampler", ["random", "quasi"])
def test_a_range_is_drawn_within_its_bounds_by_the_seed_alone(sampler):
    first, again, other = (sample_trials(sampler, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert all(1e-5 <= trial.learning_rate <= 1e-2 for trial in first)
    assert {trial.weight_decay for trial in first} == {0.01, 0.1}
    assert [trial.number for trial in first] == list(range(16))


def test_a_log_range_is_drawn_evenly_over_its_powers_of_ten():
    powers = [math.floor(math.log10(trial.learning_rate)) for trial in sample_trials("quasi", 32)]
    assert all(8 <= powers.count(power) <= 13 for power in (-5, -4, -3))


def test_quasi_random_points_spread_more_evenly_than_random_ones():
    """The widest gap between learning rates, in powers of ten, over some seeds."""

    def gap(sampler, seed):
        powers = sorted(math.log10(trial.learning_rate) for trial in sample_trials(sampler, 16, seed))
        return max(high - low for low, high in itertools.pairwise(powers))

    random, quasi = ([gap(sampler, seed) for seed in range(9)] for sampler in ("random", "quasi"))
    assert sorted(quasi)[4] < 0.8 * sorted(random)[4]


@pytest.mark.parametrize("sampler", ["random", "quasi"])
def test_no_point_is_tried_twice_and_exhausted_lists_end_the_search(sampler):
    trials = sample_trials(sampler, 12, learning_rate=[1e-3, 2e-3], weight_decay=[0.0, 0.1])
    assert sorted((trial.learning_rate, trial.weight_decay) for trial in trials) == [
        (1e-3, 0.0), (1e-3, 0.1), (2e-3, 0.0), (2e-3, 0.1),
    ]  # fmt: skip


def test_other_searched_keys_change_the_training_and_are_in_the_leaderboard():
    keys = {"trials": 99, "learning_rate": [1e-3], "weight_decay": [0.1], "warmup": [0.0, 0.2], "batch_size": [8, 16]}
    trials = search.plan_trials(Settings.model_validate({"search": keys}))
    applied = [trial.apply_to(Settings()).training for trial in trials]
    assert [(trial.warmup, trial.batch_size) for trial in applied] == [(0, 8), (0, 16), (0.2, 8), (0.2, 16)]
    assert applied[0].label_smoothing == Settings().training.label_smoothing
    leaderboard = search.leaderboard([Outcome(trial, 9.0, 900, 1.0, "finished", ()) for trial in trials])
    assert leaderboard[["warmup", "batch_size"]].values.tolist() == [[0, 8], [0, 16], [0.2, 8], [0.2, 16]]


def test_the_upper_bound_of_a_range_of_learning_rates_is_limited(refusal):
    keys = {"sampler": "quasi", "learning_rate": {"low": 0.01, "high": 0.5}}
    assert "0.5" in refusal(search.plan_trials, Settings.model_validate({"search": keys}))


def test_if_every_trial_diverged_the_error_shows_the_leaderboard():
    diverged = [Outcome(Trial(number, 0.09, 0.1), float("nan"), 20, 5.0, "diverged", ()) for number in range(2)]
    with pytest.raises(InputError, match="no trial has an error rate") as error:
        search.leaderboard(diverged)
    assert str(error.value).count("diverged") == 2


def make_outcome(number, wer, steps=900):
    return Outcome(Trial(number, 2e-3, 0.01), wer, steps, seconds=100.0 - number, stopped="finished", curve=())


@pytest.mark.parametrize(
    ("outcomes", "order"),
    [
        ([make_outcome(0, 12.0), make_outcome(1, 9.0), make_outcome(2, 10.0)], [1, 2, 0]),
        ([make_outcome(0, 9.0, 900), make_outcome(1, 9.0, 600)], [1, 0]),
        ([make_outcome(2, 9.0), make_outcome(1, 9.0), make_outcome(0, 9.0)], [0, 1, 2]),
        ([make_outcome(0, float("nan")), make_outcome(1, 140.0)], [1, 0]),
    ],
    ids=["lowest WER", "then fewest steps", "then lowest number", "diverged last"],
)
def test_the_leaderboard_begins_with_the_winner(outcomes, order):
    for arranged in (outcomes, outcomes[::-1]):
        assert search.leaderboard(arranged)["trial"].tolist() == order


def test_the_leaderboard_has_the_columns_that_other_tools_read():
    assert list(search.leaderboard([make_outcome(0, 9.0)])) == [
        "trial", "learning_rate", "weight_decay", "validation_wer", "steps", "seconds", "stopped", "low", "high", "p",
    ]  # fmt: skip


def test_the_leaderboard_shows_how_clearly_the_clips_separate_a_trial_from_the_winner():
    def evaluated(number, errors, stopped="finished"):
        wer = 100 * sum(errors) / 300 if errors else float("nan")
        curve = (CurvePoint(9, 1.0, 1.0, wer, wer - 1, wer + 1),) if errors else ()
        words = (10,) * len(errors)
        speakers = (None,) * len(errors)
        return Outcome(
            Trial(number, 2e-3, 0.01), wer, 9, 1.0, stopped, curve, ClipErrors(tuple(errors), words, speakers)
        )

    alike = [number % 2 for number in range(30)]
    leaderboard = search.leaderboard([
        evaluated(0, [1] * 30), evaluated(1, alike), evaluated(2, [*alike[1:], 2]), evaluated(3, [9] * 30),
        evaluated(4, [], "diverged"),
    ])  # fmt: skip
    assert leaderboard["trial"].tolist() == [1, 2, 0, 3, 4]
    assert leaderboard["p"][0] == 1
    assert leaderboard["p"][1] > 0.5
    assert leaderboard["p"][2] < leaderboard["p"][1]
    assert leaderboard["p"][3] < 0.001
    assert leaderboard[["validation_wer", "low", "high", "p"]].iloc[4].isna().all()
    assert (leaderboard["high"] - leaderboard["low"])[:4].tolist() == pytest.approx([2] * 4)
