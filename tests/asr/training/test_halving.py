"""Worse trials stop, none waits for others, and at least one finishes."""

import random

import pytest
from asr.training.halving import SuccessiveHalving, is_promising, rung_steps


@pytest.fixture
def siblings(store):
    return [SuccessiveHalving(store, "7", number, 9) for number in range(9)]


def test_the_first_trial_at_a_rung_continues(siblings):
    siblings[4].report(0, 9.0)
    assert not siblings[4].is_outpaced(0, 9.0)


def test_the_best_third_of_the_reported_trials_continues(siblings):
    for number, sibling in enumerate(siblings):
        sibling.report(0, 1.0 + number)
    assert [sibling.is_outpaced(0, 1.0 + number) for number, sibling in enumerate(siblings)] == [False] * 3 + [True] * 6


def test_a_trial_is_stopped_once_better_ones_report(siblings):
    siblings[0].report(0, 2.0)
    assert not siblings[0].is_outpaced(0, 2.0)
    siblings[1].report(0, 1.0)
    assert siblings[0].is_outpaced(0, 2.0)


def test_rungs_and_searches_are_kept_apart(siblings, store):
    siblings[0].report(0, 1.0)
    assert not siblings[1].is_outpaced(1, 2.0)
    assert not SuccessiveHalving(store, "8", 1, 9).is_outpaced(0, 2.0)
    assert siblings[1].is_outpaced(0, 2.0)


def test_a_half_written_report_is_ignored(siblings, tmp_path):
    siblings[0].report(0, 1.0)
    file = next(path for path in (tmp_path / "store").rglob("0") if path.is_file())
    file.write_bytes(file.read_bytes()[:3])
    assert not siblings[1].is_outpaced(0, 2.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_trial_without_a_finite_loss_stops_and_stops_no_other(loss):
    assert not is_promising(loss, [])
    assert is_promising(5.0, [loss, loss])


def test_equal_trials_all_continue():
    assert is_promising(1.0, [1.0, 1.0, 1.0])


def test_in_any_order_of_arrival_at_least_one_trial_finishes():
    """Losses are drawn independently for each rung: the best at one may be the worst at the next."""
    for seed in range(300):
        rng = random.Random(seed)
        count = rng.randint(1, 12)
        losses = [[rng.random() for _ in range(2)] for _ in range(count)]
        reported: list[dict[int, float]] = [{}, {}]
        last_rung, alive = dict.fromkeys(range(count), -1), set(range(count))
        running = list(alive)
        while running:
            trial = rng.choice(running)
            if last_rung[trial] < 1 and rng.random() < 0.5:
                last_rung[trial] += 1
                reported[last_rung[trial]][trial] = losses[trial][last_rung[trial]]
            rung = last_rung[trial]
            if rung >= 0:
                others = [loss for other, loss in reported[rung].items() if other != trial]
                if not is_promising(losses[trial][rung], others):
                    alive.discard(trial)
                    running.remove(trial)
                    continue
            if rung == 1 and rng.random() < 0.3:
                running.remove(trial)  # it has finished
        assert alive


@pytest.mark.parametrize(("steps", "at"), [(900, [135, 360]), (10, [2, 4]), (2, [1]), (1, [])])
def test_rungs_are_shares_of_the_steps_before_the_last(steps, at):
    assert rung_steps(steps) == at
