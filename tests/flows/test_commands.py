"""Every command of `--help`, run once after a finished run; and every decorator that `--with` accepts."""

from __future__ import annotations

import re

import pytest
from metaflow.plugins import STEP_DECORATORS

# Command and arguments: the exit code, and a part of the output. {run} is the finished run.
COMMANDS = {
    "check": (0, "runs the flow locally"),
    "help": (0, "Show all available commands"),
    "version": (0, "2."),
    "show": (0, "Choose the trial with the lowest validation WER"),
    "output-dot": (0, "train -> select"),
    "output-raw": (0, "select"),
    "dump {run}/end": (0, "leaderboard"),
    "logs show {run}/end": (0, "test WER"),
    "tag add --run-id {run} reviewed": (0, "reviewed"),
    "card list {run}/evaluate": (0, "whisper_page"),
    "card get {run}/evaluate {there}/evaluate.html": (0, "Resolving card"),
    "package list": (0, "space/app.py"),
    "spot-metadata --help": (0, "record"),
    "resume end --origin-run-id {run}": (0, "Done!"),
    "run --help": (0, "--max-workers"),  # the tests of the whole run run it
    "spin WhisperFlow/{run}/end": (0, "Task finished successfully"),
    "spin nosuch": (1, "Step 'nosuch' not found"),
    "resume nosuch --origin-run-id {run}": (1, "invalid step name nosuch"),
    "kubernetes list --run-id 1": (1, "no cluster"),
    "argo-workflows create --only-json": (1, "requires --datastore"),
    "batch list --run-id 1": (1, "You must specify a region"),
    "step-functions list-runs": (1, "You must specify a region"),
    "airflow create dag.py": (1, "not supported with `airflow create`"),
}
# Decorators that the command line may add to every step: the exit code of `check`, and a part of its output.
WITH = {
    "card": (0, ""),
    "retry": (0, ""),
    "timeout:minutes=5": (0, ""),
    'environment:vars={"A":"1"}': (0, ""),
    "resources:cpu=2,memory=4000": (0, ""),
    'secrets:sources=["a"]': (0, ""),
    "catch": (1, "not supported in foreach split steps"),
    "kubernetes": (1, "[compute] image: name the image"),
    "kubernetes:image=a": (1, "requires --datastore="),
    "batch": (1, "requires --datastore=s3"),
    "conda": (1, "requires --environment="),
    "pypi": (1, "requires --environment="),
    "parallel": (1, "should be followed by a join step"),
}
OTHERS = {"pytorch_parallel"}  # for steps of several processes


def test_every_command_is_tested(flow, tmp_path):
    process = flow("--help", cwd=tmp_path)
    assert process.returncode == 0
    listed = re.findall(r"^  ([a-z-]+)  ", process.stdout.split("Commands:")[1], re.M)
    assert set(listed) == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_with_its_exit_code_and_message(flow, run_folder, tiny_run, tmp_path, command):
    code, expected = COMMANDS[command]
    words = [word.format(run=tiny_run.id, there=tmp_path) for word in command.split()]
    process = flow(*words, cwd=run_folder, HOME=str(tmp_path), KUBECONFIG="")
    output = process.stdout + process.stderr
    assert process.returncode == code, output
    assert expected in output
    assert "Traceback" not in output


def test_with_card_keeps_the_contents_of_our_cards(flow, run_folder, tiny_run):
    process = flow("--with", "card", "spin", f"{tiny_run.pathspec}/push", cwd=run_folder)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "cannot disambiguate" not in process.stdout
    newest = max((run_folder / ".metaflow_spin").rglob("whisper_page-*.html"), key=lambda file: file.stat().st_mtime)
    assert "Release checks" in newest.read_text(encoding="utf-8")


@pytest.mark.parametrize("decorator", WITH)
def test_a_with_decorator_works_or_is_refused_in_one_line(flow, tmp_path, decorator):
    code, expected = WITH[decorator]
    process = flow("--with", decorator, "check", cwd=tmp_path)
    assert process.returncode == code, process.stderr
    assert expected in process.stderr
    assert "Traceback" not in process.stderr


def test_every_with_decorator_is_tested():
    known = {decorator.name for decorator in STEP_DECORATORS if not decorator.name.endswith("_internal")}
    assert known == {option.split(":")[0] for option in WITH} | OTHERS


def test_with_kubernetes_requires_an_image_and_packages_the_sample(flow, tmp_path):
    datastore = {"METAFLOW_DATASTORE_SYSROOT_GS": "gs://speech/metaflow"}
    with_image = flow(
        "--datastore", "gs", "--with", "kubernetes:image=here/whisper:1", "package", "list", cwd=tmp_path, **datastore
    )
    assert with_image.returncode == 0, with_image.stderr
    assert "sample/train/metadata.csv" in with_image.stderr
    without_image = flow("--datastore", "gs", "--with", "kubernetes", "check", cwd=tmp_path, **datastore)
    assert without_image.returncode == 1
    assert "[compute] image: name the image of flows/Dockerfile" in without_image.stderr
