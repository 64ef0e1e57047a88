"""From a search space to trials, and from outcomes to a winner."""

import itertools
import math

import pytest
from asr import InputError
from asr.settings import Settings
from asr.training import search
from asr.training.search import ClipErrors, CurvePoint, Outcome, Trial


def drawn(**space):
    return [
        (trial.learning_rate, trial.weight_decay)
        for trial in search.plan_trials(Settings.model_validate({"search": {"learning_rate": [3e-3, 1e-3], **space}}))
    ]


GRID = [(1e-3, 0.0), (1e-3, 0.1), (3e-3, 0.0), (3e-3, 0.1)]


@pytest.mark.parametrize("trials", [4, 5, 99])
def test_with_trials_enough_the_whole_grid_is_tried_in_order(trials):
    assert drawn(trials=trials, weight_decay=[0.1, 0.0]) == GRID


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_with_fewer_some_points_are_drawn_by_the_seed_alone(trials):
    some = drawn(trials=trials, weight_decay=[0.0, 0.1], seed=7)
    assert some == drawn(trials=trials, weight_decay=[0.1, 0.0], seed=7)
    assert len(set(some)) == trials
    assert some == [point for point in GRID if point in some]


def test_another_seed_draws_other_points():
    assert len({tuple(drawn(trials=2, weight_decay=[0.0, 0.1], seed=seed)) for seed in range(20)}) > 1


def test_a_point_that_is_given_twice_is_tried_once():
    assert drawn(trials=9, learning_rate=[1e-3, 1e-3], weight_decay=[0.1, 0.1]) == [(1e-3, 0.1)]


def test_trials_are_numbered_from_nought():
    assert [trial.number for trial in search.plan_trials(Settings())] == [0, 1, 2]


RATES = {"low": 1e-5, "high": 1e-2, "log": True}


def sampled(sampler, trials=16, seed=0, **space):
    asked = {"sampler": sampler, "trials": trials, "seed": seed, "learning_rate": RATES, **space}
    return search.plan_trials(Settings.model_validate({"search": asked}))


@pytest.mark.parametrize("sampler", ["random", "quasi"])
def test_a_range_is_drawn_within_its_bounds_by_the_seed_alone(sampler):
    once, again, other = (sampled(sampler, seed=seed) for seed in (3, 3, 4))
    assert once == again != other
    assert all(1e-5 <= one.learning_rate <= 1e-2 for one in once)
    assert {one.weight_decay for one in once} == {0.01, 0.1}
    assert [one.number for one in once] == list(range(16))


def test_a_log_range_is_drawn_evenly_over_its_powers_of_ten():
    powers = [math.floor(math.log10(one.learning_rate)) for one in sampled("quasi", 32)]
    assert all(8 <= powers.count(power) <= 13 for power in (-5, -4, -3))


def test_quasi_random_points_spread_more_evenly_than_random_ones():
    """The widest gap between learning rates, in powers of ten, over some seeds."""

    def gap(sampler, seed):
        powers = sorted(math.log10(one.learning_rate) for one in sampled(sampler, 16, seed))
        return max(high - low for low, high in itertools.pairwise(powers))

    random, quasi = ([gap(sampler, seed) for seed in range(9)] for sampler in ("random", "quasi"))
    assert sorted(quasi)[4] < 0.8 * sorted(random)[4]


@pytest.mark.parametrize("sampler", ["random", "quasi"])
def test_no_point_is_tried_twice_and_lists_that_are_used_up_end_the_search(sampler):
    made = sampled(sampler, 12, learning_rate=[1e-3, 2e-3], weight_decay=[0.0, 0.1])
    assert sorted((one.learning_rate, one.weight_decay) for one in made) == [
        (1e-3, 0.0), (1e-3, 0.1), (2e-3, 0.0), (2e-3, 0.1),
    ]  # fmt: skip


def test_what_else_a_search_tries_changes_the_trials_training_and_stands_in_the_leaderboard():
    asked = {"trials": 99, "learning_rate": [1e-3], "weight_decay": [0.1], "warmup": [0.0, 0.2], "batch_size": [8, 16]}
    made = search.plan_trials(Settings.model_validate({"search": asked}))
    applied = [one.apply_to(Settings()).training for one in made]
    assert [(one.warmup, one.batch_size) for one in applied] == [(0, 8), (0, 16), (0.2, 8), (0.2, 16)]
    assert applied[0].label_smoothing == Settings().training.label_smoothing
    board = search.leaderboard([Outcome(one, 9.0, 900, 1.0, "finished", ()) for one in made])
    assert board[["warmup", "batch_size"]].values.tolist() == [[0, 8], [0, 16], [0.2, 8], [0.2, 16]]


def test_the_highest_of_a_range_of_learning_rates_is_held_to_the_limit(refusal):
    asked = {"sampler": "quasi", "learning_rate": {"low": 0.01, "high": 0.5}}
    assert "0.5" in refusal(search.plan_trials, Settings.model_validate({"search": asked}))


def test_where_every_trial_diverged_the_table_is_told():
    nowhere = [Outcome(Trial(at, 0.09, 0.1), float("nan"), 20, 5.0, "diverged", ()) for at in range(2)]
    with pytest.raises(InputError, match="no trial has an error rate") as caught:
        search.leaderboard(nowhere)
    assert str(caught.value).count("diverged") == 2


def outcome(number, wer, steps=900):
    return Outcome(Trial(number, 2e-3, 0.01), wer, steps, seconds=100.0 - number, stopped="finished", curve=())


@pytest.mark.parametrize(
    ("outcomes", "order"),
    [
        ([outcome(0, 12.0), outcome(1, 9.0), outcome(2, 10.0)], [1, 2, 0]),
        ([outcome(0, 9.0, 900), outcome(1, 9.0, 600)], [1, 0]),
        ([outcome(2, 9.0), outcome(1, 9.0), outcome(0, 9.0)], [0, 1, 2]),
        ([outcome(0, float("nan")), outcome(1, 140.0)], [1, 0]),
    ],
    ids=["lowest WER", "then fewest steps", "then lowest number", "diverged last"],
)
def test_the_leaderboard_begins_with_the_winner(outcomes, order):
    for given in (outcomes, outcomes[::-1]):
        assert search.leaderboard(given)["trial"].tolist() == order


def test_the_leaderboard_has_the_columns_that_other_tools_read():
    assert list(search.leaderboard([outcome(0, 9.0)])) == [
        "trial", "learning_rate", "weight_decay", "validation_wer", "steps", "seconds", "stopped", "low", "high", "p",
    ]  # fmt: skip


def test_the_leaderboard_says_how_well_the_clips_tell_a_trial_from_the_winner():
    def heard(number, wrong, stopped="finished"):
        wer = 100 * sum(wrong) / 300 if wrong else float("nan")
        curve = (CurvePoint(9, 1.0, 1.0, wer, wer - 1, wer + 1),) if wrong else ()
        words = (10,) * len(wrong)
        speakers = (None,) * len(wrong)
        return Outcome(
            Trial(number, 2e-3, 0.01), wer, 9, 1.0, stopped, curve, ClipErrors(tuple(wrong), words, speakers)
        )

    alike = [at % 2 for at in range(30)]
    board = search.leaderboard([
        heard(0, [1] * 30), heard(1, alike), heard(2, [*alike[1:], 2]), heard(3, [9] * 30), heard(4, [], "diverged"),
    ])  # fmt: skip
    assert board["trial"].tolist() == [1, 2, 0, 3, 4]
    assert board["p"][0] == 1
    assert board["p"][1] > 0.5
    assert board["p"][2] < board["p"][1]
    assert board["p"][3] < 0.001
    assert board[["validation_wer", "low", "high", "p"]].iloc[4].isna().all()
    assert (board["high"] - board["low"])[:4].tolist() == pytest.approx([2] * 4)
