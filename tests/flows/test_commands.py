"""Every verb of `--help`, run once on what a finished run left; and every decorator that `--with` knows."""

from __future__ import annotations

import re

import pytest
from metaflow.plugins import STEP_DECORATORS

# Verb and its words: the exit code, and what is said. {run} is the finished run.
VERBS = {
    "check": (0, "runs the flow locally"),
    "help": (0, "Show all available commands"),
    "version": (0, "2."),
    "show": (0, "Choose the trial with the lowest validation WER"),
    "output-dot": (0, "train -> select"),
    "output-raw": (0, "select"),
    "dump {run}/end": (0, "leaderboard"),
    "logs show {run}/end": (0, "test WER"),
    "tag add --run-id {run} looked-at": (0, "looked-at"),
    "card list {run}/evaluate": (0, "whisper_page"),
    "card get {run}/evaluate {there}/evaluate.html": (0, "Resolving card"),
    "package list": (0, "space/app.py"),
    "spot-metadata --help": (0, "record"),
    "resume end --origin-run-id {run}": (0, "Done!"),
    "run --help": (0, "--max-workers"),  # the run itself is what all this looks at
    "spin WhisperFlow/{run}/end": (0, "Task finished successfully"),
    "spin nosuch": (1, "Step 'nosuch' not found"),
    "resume nosuch --origin-run-id {run}": (1, "invalid step name nosuch"),
    "kubernetes list --run-id 1": (1, "no cluster"),
    "argo-workflows create --only-json": (1, "requires --datastore"),
    "batch list --run-id 1": (1, "You must specify a region"),
    "step-functions list-runs": (1, "You must specify a region"),
    "airflow create dag.py": (1, "not supported with `airflow create`"),
}
# Of those that the command line may add to every step: what `check` says of it.
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
NOT_FOR_US = {"pytorch_parallel"}  # what one step in several processes takes, beside what Metaflow adds by itself


def test_no_verb_is_forgotten(flow, tmp_path):
    ended = flow("--help", cwd=tmp_path)
    assert ended.returncode == 0
    listed = re.findall(r"^  ([a-z-]+)  ", ended.stdout.split("Commands:")[1], re.M)
    assert set(listed) == {verb.split()[0] for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_ends_as_it_should(flow, place, tiny_run, tmp_path, verb):
    code, says = VERBS[verb]
    words = [word.format(run=tiny_run.run.id, there=tmp_path) for word in verb.split()]
    ended = flow(*words, cwd=place, HOME=str(tmp_path), KUBECONFIG="")
    said = ended.stdout + ended.stderr
    assert ended.returncode == code, said
    assert says in said
    assert "Traceback" not in said


def test_what_a_step_showed_is_still_there_beside_a_card_of_with(flow, place, tiny_run):
    ended = flow("--with", "card", "spin", f"{tiny_run.run.pathspec}/push", cwd=place)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "cannot disambiguate" not in ended.stdout
    newest = max((place / ".metaflow_spin").rglob("whisper_page-*.html"), key=lambda file: file.stat().st_mtime)
    assert "Release checks" in newest.read_text(encoding="utf-8")


@pytest.mark.parametrize("asked", WITH)
def test_a_decorator_of_with_works_or_is_refused_in_one_line(flow, tmp_path, asked):
    code, says = WITH[asked]
    ended = flow("--with", asked, "check", cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_decorator_of_with_is_forgotten():
    known = {one.name for one in STEP_DECORATORS if not one.name.endswith("_internal")}
    assert known == {asked.split(":")[0] for asked in WITH} | NOT_FOR_US


def test_runs_in_pods_by_with_alone_are_told_of_the_image_they_need_and_bring_the_sample(flow, tmp_path):
    there = {"METAFLOW_DATASTORE_SYSROOT_GS": "gs://speech/metaflow"}
    named = flow(
        "--datastore", "gs", "--with", "kubernetes:image=here/whisper:1", "package", "list", cwd=tmp_path, **there
    )
    assert named.returncode == 0, named.stderr
    assert "sample/train/metadata.csv" in named.stderr
    unnamed = flow("--datastore", "gs", "--with", "kubernetes", "check", cwd=tmp_path, **there)
    assert unnamed.returncode == 1
    assert "[compute] image: name the image of flows/Dockerfile" in unnamed.stderr
