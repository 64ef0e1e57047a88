"""Losers stop, nobody waits, and somebody is always left."""

import random

import pytest
from asr.training.halving import SuccessiveHalving, is_promising, rung_steps


@pytest.fixture
def siblings(store):
    return [SuccessiveHalving(store, "7", number, 9) for number in range(9)]


def test_the_first_to_come_goes_on_whoever_is_missing(siblings):
    siblings[4].report(0, 9.0)
    assert not siblings[4].is_outpaced(0, 9.0)


def test_the_best_third_of_those_who_came_goes_on(siblings):
    for number, one in enumerate(siblings):
        one.report(0, 1.0 + number)
    assert [one.is_outpaced(0, 1.0 + number) for number, one in enumerate(siblings)] == [False] * 3 + [True] * 6


def test_one_that_went_on_alone_is_stopped_once_better_ones_come(siblings):
    siblings[0].report(0, 2.0)
    assert not siblings[0].is_outpaced(0, 2.0)
    siblings[1].report(0, 1.0)
    assert siblings[0].is_outpaced(0, 2.0)


def test_rungs_and_searches_are_told_apart(siblings, store):
    siblings[0].report(0, 1.0)
    assert not siblings[1].is_outpaced(1, 2.0)
    assert not SuccessiveHalving(store, "8", 1, 9).is_outpaced(0, 2.0)
    assert siblings[1].is_outpaced(0, 2.0)


def test_what_a_sibling_left_half_written_is_not_there(siblings, tmp_path):
    siblings[0].report(0, 1.0)
    file = next(path for path in (tmp_path / "store").rglob("0") if path.is_file())
    file.write_bytes(file.read_bytes()[:3])
    assert not siblings[1].is_outpaced(0, 2.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_does_not_go_on_and_stands_in_nobodys_way(loss):
    assert not is_promising(loss, [])
    assert is_promising(5.0, [loss, loss])


def test_equals_go_on_together():
    assert is_promising(1.0, [1.0, 1.0, 1.0])


def test_in_any_order_of_arrival_one_trial_comes_to_its_end_and_the_best_of_all_is_never_stopped():
    """Losses at the rungs are drawn anew each: who leads at one may trail at the next."""
    for seed in range(300):
        luck = random.Random(seed)
        count = luck.randint(1, 12)
        losses = [[luck.random() for _ in range(2)] for _ in range(count)]
        known: list[dict[int, float]] = [{}, {}]
        passed, alive = dict.fromkeys(range(count), -1), set(range(count))
        running = list(alive)
        while running:
            one = luck.choice(running)
            if passed[one] < 1 and luck.random() < 0.5:
                passed[one] += 1
                known[passed[one]][one] = losses[one][passed[one]]
            rung = passed[one]
            if rung >= 0:
                others = [loss for other, loss in known[rung].items() if other != one]
                if not is_promising(losses[one][rung], others):
                    alive.discard(one)
                    running.remove(one)
                    continue
            if rung == 1 and luck.random() < 0.3:
                running.remove(one)  # at its end
        assert alive


@pytest.mark.parametrize(("steps", "at"), [(900, [135, 360]), (10, [2, 4]), (2, [1]), (1, [])])
def test_rungs_are_shares_of_the_steps_before_the_last(steps, at):
    assert rung_steps(steps) == at
