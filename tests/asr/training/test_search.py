"""From a search space to trials, and from outcomes to a winner."""

import pytest
from asr.settings import Settings
from asr.training import search
from asr.training.search import Outcome, Trial


def drawn(**space):
    return [
        (trial.learning_rate, trial.weight_decay)
        for trial in search.trials(Settings.model_validate({"search": {"learning_rate": [3e-3, 1e-3], **space}}))
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
    assert [trial.number for trial in search.trials(Settings())] == [0, 1, 2]


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
        "trial", "learning_rate", "weight_decay", "validation_wer", "steps", "seconds", "stopped",
    ]  # fmt: skip
