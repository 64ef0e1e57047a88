"""The end of a command: it prints a command line that resumes the run."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from asr import InputError, cli, errors

RUN = ["whisper_flow.py", "run"]


@pytest.fixture
def command(monkeypatch):
    """A function that sets the running command, how many steps of each run are finished, and the run's id."""

    def set_up(arguments, finished, run_id="18", latest="17"):
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr(cli, "current", SimpleNamespace(get=lambda name: run_id))
        monkeypatch.setattr(cli, "get_latest_run_id", lambda echo, flow: latest)
        monkeypatch.setattr(cli.metaflow_internals, "count_finished", lambda flow, run: Counter(start=finished[run]))

    return set_up


def stderr_of(error, capsys):
    with pytest.raises(type(error)), cli.resumable("Flow"):
        raise error
    return capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), SystemExit(143), RuntimeError("full disk")])
def test_an_interrupted_or_failed_run_says_how_to_resume(command, capsys, error):
    command(RUN, {"18": 4}, latest="18")
    assert stderr_of(error, capsys).endswith("whisper_flow.py resume --origin-run-id 18\n")


@pytest.mark.parametrize(
    ("arguments", "run_id", "finished", "error"),
    [
        (RUN, "18", 4, SystemExit(0)),
        (RUN, None, 0, SystemExit("profile: name: ...")),
        (RUN, None, 0, SystemExit(2)),
        (RUN, "18", 0, SystemExit(1)),
        (["whisper_flow.py", "show"], None, 0, SystemExit(1)),
    ],
)
def test_no_resume_line_where_nothing_can_be_resumed(command, capsys, arguments, run_id, finished, error):
    command(arguments, {"18": finished}, run_id, latest="18")
    assert stderr_of(error, capsys) == ""


@pytest.mark.parametrize(("finished", "run_id"), [(7, "18"), (2, "17")])
def test_after_a_resume_the_run_that_got_further_is_resumed(command, capsys, finished, run_id):
    command(["whisper_flow.py", "resume"], {"17": 5, "18": finished})
    assert stderr_of(SystemExit(1), capsys).endswith(f"resume --origin-run-id {run_id}\n")


@pytest.mark.parametrize(
    ("step", "finished", "resumed"),
    [
        ("train", {"start": 1, "train": 2}, "resume --origin-run-id 18"),
        ("train", {"start": 1, "train": 1}, "resume --origin-run-id 18"),
        ("train", {"start": 1}, "resume train --origin-run-id 17"),
        ("select", {"start": 1, "train": 2}, "resume select --origin-run-id 17"),
        ("select", {}, "resume select --origin-run-id 17"),
    ],
)
def test_a_step_that_a_resumed_run_has_done_again_is_not_done_a_third_time(
    command, capsys, monkeypatch, step, finished, resumed
):
    tasks = {"17": Counter(start=1, search=1, train=2, select=1, evaluate=1, push=1, end=1), "18": Counter(finished)}
    command(["whisper_flow.py", "resume", step, "--origin-run-id", "17"], {})
    monkeypatch.setattr(cli.metaflow_internals, "count_finished", lambda flow, run: tasks[run])
    assert stderr_of(SystemExit(130), capsys).endswith(f"whisper_flow.py {resumed}\n")


def test_if_every_trial_failed_the_trials_are_resumed(command, capsys, monkeypatch):
    command(RUN, {})
    monkeypatch.setattr(
        cli.metaflow_internals, "count_finished", lambda flow, run: Counter(start=1, preprocess=6, collect=1, search=1)
    )
    assert stderr_of(SystemExit(1), capsys).endswith("whisper_flow.py resume train --origin-run-id 17\n")


@pytest.mark.parametrize(
    ("arguments", "resumed"),
    [
        ("--branch b run --max-workers 2 --tag 'a b'", "--branch b resume --max-workers 2 --tag 'a b'"),
        ("--config profile 'my profile.toml' --datastore gs run", "--datastore gs resume"),
        ("--config=profile x.toml --metadata=service run", "--metadata=service resume"),
        ("--config-value profile 'name=1' run --namespace= --with retry", "resume --with retry"),
        ("run --namespace me --tag run", "resume --tag run"),
        ("resume --origin-run-id 5 train", "resume train"),
        ("resume --origin-run-id=5", "resume"),
    ],
)
def test_options_are_kept_except_those_that_resume_refuses(arguments, resumed):
    assert shlex.join(cli.resume_arguments(shlex.split(arguments), "17")) == f"{resumed} --origin-run-id 17"


def test_an_unreadable_datastore_does_not_hide_the_resume_line(command, capsys):
    command(RUN, {})
    assert "--origin-run-id 18" in stderr_of(SystemExit(1), capsys)


def test_an_error_that_the_user_cannot_fix_is_no_user_error():
    assert errors.as_user_error(KeyError("x")) is None
    assert errors.as_user_error(FileNotFoundError(2, "No such file", "/x")) is None
    assert errors.as_user_error(InputError("[text] a")).message == "[text] a"


@pytest.mark.parametrize("kind", ["MemoryError", "failed import", "consequence", "allocation"])
def test_running_out_of_memory_is_reported_in_one_line(kind):
    load_error = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    allocation = ValueError("release cannot be loaded: mkl_malloc: failed to allocate memory")
    consequence = ValueError("saving charts requires another package")
    consequence.__cause__ = load_error
    errors_by_kind = {"MemoryError": MemoryError(), "failed import": load_error, "consequence": consequence}
    error = (errors_by_kind | {"allocation": allocation})[kind]
    assert "memory ran out" in errors.as_user_error(error).message


def test_json_that_metaflow_cannot_read_is_a_user_error_and_other_json_is_not():
    def error_in(module):
        frame = {"__name__": module, "json": json}
        try:
            exec("json.loads('{\"a')", frame)
        except ValueError as error:
            return errors.as_user_error(error)

    assert "cannot be read" in error_in("metaflow.datastore").message
    assert error_in("asr.corpus") is None
