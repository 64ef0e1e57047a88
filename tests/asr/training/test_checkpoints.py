"""A checkpoint is found again whole or not at all, and by its own trial alone."""

import errno

import pytest
from asr import TakenOver
from asr.settings import Settings
from asr.training.checkpoints import Checkpoints, checkpoint_path
from asr.training.search import Trial

TRIAL = Trial(1, 1e-3, 0.1)
OFTEN = Settings.model_validate({"training": {"checkpoint_minutes": 0.0}}).training


@pytest.fixture
def keeper(store):
    return lambda place="trials/7/1-x": Checkpoints(store, place, OFTEN, said.append)


said: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_said():
    said.clear()


def state(folder, step):
    """A folder as a trainer leaves it at the step."""
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(bytes([step]) * 100_000)
    (folder / "progress.json").write_text(str(step))
    return folder


def taken_up(keeper, folder):
    """The step that a new life of the trial goes on from, and what the files say it is."""
    step = keeper.restore(folder)
    return step, int((folder / "progress.json").read_text()) if step else 0


def test_without_a_checkpoint_a_trial_begins_at_the_beginning(keeper, tmp_path):
    assert keeper().restore(tmp_path / "new") == 0


def test_the_newest_of_many_is_taken_up(keeper, tmp_path):
    for step in range(1, 6):
        assert keeper_of(keeper, tmp_path, step)
    assert taken_up(keeper(), tmp_path / "new") == (5, 5)


def keeper_of(keeper, tmp_path, step, life=None):
    """Save as a trial that was killed and came again each time."""
    life = life or keeper()
    life.restore(tmp_path / "old")
    return life.save(state(tmp_path / "state", step), step)


def test_there_are_never_more_than_two(keeper, store, tmp_path):
    one = keeper()
    for step in range(1, 9):
        one.save(state(tmp_path / "state", step), step)
    assert len(list((tmp_path / "store").rglob("weights"))) == 2


def damage(tmp_path, step):
    """Flip a byte in what was saved at the step."""
    for path in (tmp_path / "store").rglob("weights"):
        if path.read_bytes()[:1] == bytes([step]):
            path.write_bytes(b"\xff" + path.read_bytes()[1:])


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken_up(keeper, tmp_path):
    one = keeper()
    for step in (1, 2, 3):
        one.save(state(tmp_path / "state", step), step)
    damage(tmp_path, 3)
    assert taken_up(keeper(), tmp_path / "new") == (2, 2)
    assert said == ["the checkpoint at step 3 is damaged"]
    # The next one takes the place of the damaged one, not of the good one.
    assert keeper_of(keeper, tmp_path, 4)
    damage(tmp_path, 4)
    assert taken_up(keeper(), tmp_path / "again") == (2, 2)


@pytest.mark.parametrize("file", ["weights", "progress.json", "record"])
def test_a_save_that_fails_or_is_killed_midway_leaves_the_last_one_good(keeper, store, tmp_path, monkeypatch, file):
    one = keeper()
    for step in (1, 2):
        one.save(state(tmp_path / "state", step), step)
    real_files, real_record = store.save_files, store.remember

    def full(name):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    def files(named):
        for name, path in named.items():
            full(name) if name.endswith(file) else real_files({name: path})

    def record(name, value):
        full(name) if file == "record" and value else real_record(name, value)

    monkeypatch.setattr(store, "save_files", files)
    monkeypatch.setattr(store, "remember", record)
    assert not one.save(state(tmp_path / "state", 3), 3)
    [line] = said
    assert line.startswith("the checkpoint at step 3 could not be saved (No space left on device")
    monkeypatch.undo()
    later = keeper()
    assert taken_up(later, tmp_path / "new") == (2, 2)
    assert later.save(state(tmp_path / "state", 4), 4)
    assert taken_up(keeper(), tmp_path / "newer") == (4, 4)


def test_a_missing_file_is_a_damaged_checkpoint(keeper, tmp_path):
    one = keeper()
    one.save(state(tmp_path / "state", 1), 1)
    next((tmp_path / "store").rglob("weights")).unlink()
    assert keeper().restore(tmp_path / "new") == 0
    assert said == ["the checkpoint at step 1 is damaged"]


def test_cleared_checkpoints_are_gone_and_take_no_room(keeper, tmp_path):
    one = keeper()
    for step in (1, 2):
        one.save(state(tmp_path / "state", step), step)
    one.clear()
    assert sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()) == 0
    assert keeper().restore(tmp_path / "new") == 0


def test_two_lives_of_a_trial_at_once_leave_a_whole_checkpoint(keeper, tmp_path):
    """Before the earlier one knows of the later one."""
    for steps in range(1, 7):
        place = f"trials/7/{steps}-x"
        lives = [keeper(place), keeper(place)]
        for step in range(1, steps + 1):
            lives[step % 2].save(state(tmp_path / "state", step), step)
        step, told = taken_up(keeper(place), tmp_path / f"new{steps}")
        assert step == told > 0


def test_checkpoints_belong_to_the_process_that_restored_them_last(keeper, tmp_path):
    earlier, later = keeper(), keeper()
    earlier.restore(tmp_path / "new")
    assert earlier.save(state(tmp_path / "state", 1), 1)
    assert taken_up(later, tmp_path / "newer") == (1, 1)
    with pytest.raises(TakenOver, match=r"ended at step 2: process \d+ on .+ continues this trial"):
        earlier.save(state(tmp_path / "state", 2), 2)
    assert later.save(state(tmp_path / "state", 3), 3)
    assert taken_up(keeper(), tmp_path / "newest") == (3, 3)


def test_another_search_trial_setting_or_corpus_is_another_place(joined, tiny):
    def of(search="7", trial=TRIAL, settings=tiny, shards=joined.shards):
        return checkpoint_path(search, trial, settings, shards)

    longer = tiny.model_copy(update={"training": tiny.training.model_copy(update={"steps": 25})})
    places = [
        of(), of("8"), of(trial=Trial(0, 1e-3, 0.1)), of(trial=Trial(1, 2e-3, 0.1)),
        of(trial=Trial(1, 1e-3, 0.1, (("warmup", 0.2),))), of(settings=longer), of(shards=joined.shards[1:]),
    ]  # fmt: skip
    assert len(set(places)) == len(places)


def test_how_often_a_trial_saves_and_where_its_release_goes_are_no_other_trial(joined, tiny):
    often = tiny.training.model_copy(update={"checkpoint_minutes": 9.0})
    other = tiny.model_copy(update={"training": often, "name": "other", "search": Settings().search})
    assert checkpoint_path("7", TRIAL, tiny, joined.shards) == checkpoint_path("7", TRIAL, other, joined.shards[::-1])


def test_saving_is_due_by_the_clock_and_rarer_where_it_takes_long(store, monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    one = Checkpoints(store, "trials/7/1", Settings().training)
    now[0] = 59
    assert not one.is_due
    now[0] = 60
    assert one.is_due
    saved = store.save_files

    def slow(files):
        now[0] += 10
        saved(files)

    monkeypatch.setattr(store, "save_files", slow)
    one.save(state(tmp_path / "state", 1), 1)
    now[0] += 499
    assert not one.is_due
    now[0] += 1
    assert one.is_due
