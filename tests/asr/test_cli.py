"""How a command ends: the line that goes on from a run works as it stands."""

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
def done(monkeypatch):
    """A function that sets what command is running, how much of each run is done, and which run it makes."""

    def set_up(arguments, finished, run_id="18", latest="17"):
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr(cli, "current", SimpleNamespace(get=lambda name: run_id))
        monkeypatch.setattr(cli, "get_latest_run_id", lambda echo, flow: latest)
        monkeypatch.setattr(cli.datastore, "count_finished", lambda flow, run: Counter(start=finished[run]))

    return set_up


def said(end, capsys):
    with pytest.raises(type(end)), cli.resumable("Flow"):
        raise end
    return capsys.readouterr().err


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(1), SystemExit(143), RuntimeError("full disk")])
def test_an_interrupted_or_failed_run_says_how_to_go_on(done, capsys, end):
    done(RUN, {"18": 4}, latest="18")
    assert said(end, capsys).endswith("whisper_flow.py resume --origin-run-id 18\n")


@pytest.mark.parametrize(
    ("arguments", "run_id", "finished", "end"),
    [
        (RUN, "18", 4, SystemExit(0)),
        (RUN, None, 0, SystemExit("profile: name: ...")),
        (RUN, None, 0, SystemExit(2)),
        (RUN, "18", 0, SystemExit(1)),
        (["whisper_flow.py", "show"], None, 0, SystemExit(1)),
    ],
)
def test_where_nothing_can_be_resumed_nothing_is_said_of_it(done, capsys, arguments, run_id, finished, end):
    done(arguments, {"18": finished}, run_id, latest="18")
    assert said(end, capsys) == ""


@pytest.mark.parametrize(("new", "named"), [(7, "18"), (2, "17")])
def test_a_resumed_run_is_gone_on_from_where_it_got_further_and_not_where_it_was_half_copied(done, capsys, new, named):
    done(["whisper_flow.py", "resume"], {"17": 5, "18": new})
    assert said(SystemExit(1), capsys).endswith(f"resume --origin-run-id {named}\n")


def test_where_every_trial_failed_they_are_what_is_gone_on_from(done, capsys, monkeypatch):
    done(RUN, {})
    monkeypatch.setattr(
        cli.datastore, "count_finished", lambda flow, run: Counter(start=1, preprocess=6, collect=1, search=1)
    )
    assert said(SystemExit(1), capsys).endswith("whisper_flow.py resume train --origin-run-id 17\n")


@pytest.mark.parametrize(
    ("given", "kept"),
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
def test_the_options_that_were_given_are_kept_but_for_those_that_resume_refuses(given, kept):
    assert shlex.join(cli.resume_arguments(shlex.split(given), "17")) == f"{kept} --origin-run-id 17"


def test_a_datastore_that_cannot_be_asked_hides_nothing(done, capsys):
    done(RUN, {})
    assert "--origin-run-id 18" in said(SystemExit(1), capsys)


def test_an_error_that_nobody_can_mend_stays_one():
    assert errors.as_user_error(KeyError("x")) is None
    assert errors.as_user_error(FileNotFoundError(2, "No such file", "/x")) is None
    assert errors.as_user_error(InputError("[text] a")).message == "[text] a"


@pytest.mark.parametrize("kind", ["its own", "a library that is loaded late", "what came of it"])
def test_memory_that_ran_out_is_told_in_one_line(kind):
    late = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    of_it = ValueError("saving charts requires another package")
    of_it.__cause__ = late
    error = {"its own": MemoryError(), "a library that is loaded late": late, "what came of it": of_it}[kind]
    assert "memory ran out" in errors.as_user_error(error).message


def test_a_record_that_metaflow_cannot_read_is_told_and_another_s_json_is_not():
    def asked_by(module):
        frame = {"__name__": module, "json": json}
        try:
            exec("json.loads('{\"a')", frame)
        except ValueError as error:
            return errors.as_user_error(error)

    assert "cannot be read" in asked_by("metaflow.datastore").message
    assert asked_by("asr.corpus") is None
