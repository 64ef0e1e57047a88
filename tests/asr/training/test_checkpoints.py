"""A checkpoint is restored completely or not at all, and only by its own trial."""

import errno

import pytest
from asr import TakenOver
from asr.settings import Settings
from asr.training.checkpoints import Checkpoints, checkpoint_path
from asr.training.search import Trial

TRIAL = Trial(1, 1e-3, 0.1)
EVERY_STEP = Settings.model_validate({"training": {"checkpoint_minutes": 0.0}}).training


@pytest.fixture
def open_checkpoints(store):
    return lambda path="trials/7/1-x": Checkpoints(store, path, EVERY_STEP, messages.append)


messages: list[str] = []


@pytest.fixture(autouse=True)
def _no_messages():
    messages.clear()


def state(folder, step):
    """A folder as a trainer writes it at the step."""
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(bytes([step]) * 100_000)
    (folder / "progress.json").write_text(str(step))
    return folder


def restored(checkpoints, folder):
    """The step that is restored, and the step that the files contain."""
    step = checkpoints.restore(folder)
    return step, int((folder / "progress.json").read_text()) if step else 0


def test_without_a_checkpoint_a_trial_starts_at_step_0(open_checkpoints, tmp_path):
    assert open_checkpoints().restore(tmp_path / "new") == 0


def test_the_newest_checkpoint_is_restored(open_checkpoints, tmp_path):
    for step in range(1, 6):
        assert save_in_new_process(open_checkpoints, tmp_path, step)
    assert restored(open_checkpoints(), tmp_path / "new") == (5, 5)


def save_in_new_process(open_checkpoints, tmp_path, step, checkpoints=None):
    """Save as a trial that was killed and started again."""
    checkpoints = checkpoints or open_checkpoints()
    checkpoints.restore(tmp_path / "old")
    return checkpoints.save(state(tmp_path / "state", step), step)


def test_no_more_than_two_checkpoints_are_stored(open_checkpoints, store, tmp_path):
    checkpoints = open_checkpoints()
    for step in range(1, 9):
        checkpoints.save(state(tmp_path / "state", step), step)
    assert len(list((tmp_path / "store").rglob("weights"))) == 2


def damage(tmp_path, step):
    """Flip a byte in the checkpoint of the step."""
    for path in (tmp_path / "store").rglob("weights"):
        if path.read_bytes()[:1] == bytes([step]):
            path.write_bytes(b"\xff" + path.read_bytes()[1:])


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_restored(open_checkpoints, tmp_path):
    checkpoints = open_checkpoints()
    for step in (1, 2, 3):
        checkpoints.save(state(tmp_path / "state", step), step)
    damage(tmp_path, 3)
    assert restored(open_checkpoints(), tmp_path / "new") == (2, 2)
    assert messages == ["the checkpoint at step 3 is damaged"]
    # The next checkpoint replaces the damaged one, not the intact one.
    assert save_in_new_process(open_checkpoints, tmp_path, 4)
    damage(tmp_path, 4)
    assert restored(open_checkpoints(), tmp_path / "again") == (2, 2)


@pytest.mark.parametrize("file", ["weights", "progress.json", "record"])
def test_a_save_that_fails_or_is_killed_midway_leaves_the_last_checkpoint_intact(
    open_checkpoints, store, tmp_path, monkeypatch, file
):
    checkpoints = open_checkpoints()
    for step in (1, 2):
        checkpoints.save(state(tmp_path / "state", step), step)
    real_files, real_record = store.save_files, store.remember

    def fail(name):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    def files(paths):
        for name, path in paths.items():
            fail(name) if name.endswith(file) else real_files({name: path})

    def record(name, value):
        fail(name) if file == "record" and value else real_record(name, value)

    monkeypatch.setattr(store, "save_files", files)
    monkeypatch.setattr(store, "remember", record)
    assert not checkpoints.save(state(tmp_path / "state", 3), 3)
    [line] = messages
    assert line.startswith("the checkpoint at step 3 could not be saved (No space left on device")
    monkeypatch.undo()
    later = open_checkpoints()
    assert restored(later, tmp_path / "new") == (2, 2)
    assert later.save(state(tmp_path / "state", 4), 4)
    assert restored(open_checkpoints(), tmp_path / "newer") == (4, 4)


def test_a_missing_file_is_a_damaged_checkpoint(open_checkpoints, tmp_path):
    checkpoints = open_checkpoints()
    checkpoints.save(state(tmp_path / "state", 1), 1)
    next((tmp_path / "store").rglob("weights")).unlink()
    assert open_checkpoints().restore(tmp_path / "new") == 0
    assert messages == ["the checkpoint at step 1 is damaged"]


def test_cleared_checkpoints_are_gone_and_take_no_space(open_checkpoints, tmp_path):
    checkpoints = open_checkpoints()
    for step in (1, 2):
        checkpoints.save(state(tmp_path / "state", step), step)
    checkpoints.clear()
    assert sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()) == 0
    assert open_checkpoints().restore(tmp_path / "new") == 0


def test_two_processes_of_one_trial_leave_an_intact_checkpoint(open_checkpoints, tmp_path):
    """Before the earlier process has noticed the later one."""
    for steps in range(1, 7):
        path = f"trials/7/{steps}-x"
        processes = [open_checkpoints(path), open_checkpoints(path)]
        for step in range(1, steps + 1):
            processes[step % 2].save(state(tmp_path / "state", step), step)
        step, content = restored(open_checkpoints(path), tmp_path / f"new{steps}")
        assert step == content > 0


def test_checkpoints_belong_to_the_process_that_restored_them_last(open_checkpoints, tmp_path):
    earlier, later = open_checkpoints(), open_checkpoints()
    earlier.restore(tmp_path / "new")
    assert earlier.save(state(tmp_path / "state", 1), 1)
    assert restored(later, tmp_path / "newer") == (1, 1)
    with pytest.raises(TakenOver, match=r"ended at step 2: process \d+ on .+ continues this trial"):
        earlier.save(state(tmp_path / "state", 2), 2)
    assert later.save(state(tmp_path / "state", 3), 3)
    assert restored(open_checkpoints(), tmp_path / "newest") == (3, 3)


def test_another_search_trial_setting_or_corpus_has_another_path(joined, tiny):
    def path_of(search="7", trial=TRIAL, settings=tiny, shards=joined.shards):
        return checkpoint_path(search, trial, settings, shards)

    longer = tiny.model_copy(update={"training": tiny.training.model_copy(update={"steps": 25})})
    paths = [
        path_of(), path_of("8"), path_of(trial=Trial(0, 1e-3, 0.1)), path_of(trial=Trial(1, 2e-3, 0.1)),
        path_of(trial=Trial(1, 1e-3, 0.1, (("warmup", 0.2),))), path_of(settings=longer),
        path_of(shards=joined.shards[1:]),
    ]  # fmt: skip
    assert len(set(paths)) == len(paths)


def test_checkpoint_minutes_and_the_profiles_name_do_not_change_the_path(joined, tiny):
    often = tiny.training.model_copy(update={"checkpoint_minutes": 9.0})
    other = tiny.model_copy(update={"training": often, "name": "other", "search": Settings().search})
    assert checkpoint_path("7", TRIAL, tiny, joined.shards) == checkpoint_path("7", TRIAL, other, joined.shards[::-1])


def test_saving_is_due_by_the_clock_and_less_often_where_it_is_slow(store, monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(store, "trials/7/1", Settings().training)
    now[0] = 59
    assert not checkpoints.is_due
    now[0] = 60
    assert checkpoints.is_due
    save_files = store.save_files

    def slow(files):
        now[0] += 10
        save_files(files)

    monkeypatch.setattr(store, "save_files", slow)
    checkpoints.save(state(tmp_path / "state", 1), 1)
    now[0] += 499
    assert not checkpoints.is_due
    now[0] += 1
    assert checkpoints.is_due
