"""Publishing a release: always locally, and on the Hub if it is better than the published model."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from asr.release import engine, evaluation, folder, gate, hub, publishing, record
from asr.training import search
from asr.training.search import ClipErrors, CurvePoint, Outcome, Trial
from huggingface_hub import HfApi, constants
from servers.writable_hub import User, WritableHub

SPACE = engine.capture_space()
POINTS = (CurvePoint(24, 2.0, 2.1, 60.0, 50.0, 70.0),)
WINNER = Outcome(Trial(0, 0.003, 0.01), 60.0, 24, 5.0, "finished", POINTS, ClipErrors((1,), (5,), (None,)))


@pytest.fixture(scope="module")
def built(tiny, base, joined, speech, tmp_path_factory):
    """A release of an untrained model without a base, and its evaluation."""
    release_folder = tmp_path_factory.mktemp("made") / "release"
    run_facts = record.run_record(
        tiny, "17", "2026-11-25T08:00:00+00:00", "0.1.0+abc", joined.summary, search.leaderboard([WINNER]), WINNER,
        ("2 CPU cores", 20),
    )  # fmt: skip
    release_folder.mkdir()
    return release_folder, evaluation.build_and_evaluate(
        release_folder, tiny, base, speech, SPACE, run_facts, lambda line: None
    )


@pytest.fixture
def server(tmp_path, monkeypatch):
    with WritableHub(tmp_path / "hub", {"hf_x": User("me")}) as server:
        monkeypatch.setattr(hub, "api", lambda: HfApi(endpoint=server.url, token="hf_x"))
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server


@pytest.fixture
def publish(built, tiny, speech, tmp_path):
    """A function that publishes the release with these settings; `errors` are its errors in each test clip."""
    lines = []

    def publish_with(run="17", errors=None, ready=None, faults=(), **release):
        evaluated = built[1]
        settings = tiny.model_copy(
            update={"release": tiny.release.model_copy(update={"folder": tmp_path / "released", **release})}
        )
        scores = evaluated.scores.assign(served_word_errors=errors) if errors is not None else evaluated.scores
        report = {**evaluated.report, "served_wer": evaluated.report["test_wer"], "loads": list(faults)}
        checks = gate.run_checks(report, settings.release)
        return publishing.publish_release(ready or built[0], run, settings, checks, scores, speech, SPACE, lines.append)

    publish_with.lines = lines
    return publish_with


def test_without_a_hub_repo_a_release_is_local_and_becomes_latest(publish, tmp_path):
    publication = publish()
    assert publication.release == {
        "path": str(tmp_path / "released" / "sample-17"), "here": True,
        "repo_id": None, "revision": None, "pushed": False,
        "why": "no Hub repo is configured",
    }  # fmt: skip
    assert publication.latest and (tmp_path / "released" / "latest").resolve().name == "sample-17"
    assert {"model.safetensors", "ct2-int8/model.bin", "README.md", "training.png", "test-counts.json"} <= set(
        publication.sizes
    )


def test_a_release_that_fails_the_gate_is_kept_locally_and_not_pushed(publish, server, tmp_path):
    publication = publish(repo_id="me/svenska", faults=["it does not load"])
    assert (publication.latest, publication.release["pushed"], publication.release["why"]) == (
        False,
        False,
        "it does not load",
    )
    assert (tmp_path / "released" / "sample-17" / "model.safetensors").is_file()
    assert not (tmp_path / "released" / "latest").exists()
    assert server.repos == {}


def test_a_first_release_is_pushed(publish, server):
    publication = publish(repo_id="svenska")
    assert (publication.release["repo_id"], publication.release["pushed"], publication.release["why"]) == (
        "me/svenska",
        True,
        "",
    )
    assert server.repo("me/svenska").tags["run-17"] == publication.release["revision"]


def copy_of_run(built, tmp_path, run):
    """A copy of the release, as of another run."""
    release_folder = Path(shutil.copytree(built[0], tmp_path / f"ready-{run}"))
    folder.write_json(release_folder / "release.json", {**folder.read_record(release_folder), "run_id": run})
    return release_folder


def test_a_later_release_must_beat_the_counts_of_the_last_one(publish, built, server, tmp_path):
    word_counts = built[1].scores["words"].to_numpy()
    first = publish(repo_id="me/svenska")
    same = publish("18", ready=copy_of_run(built, tmp_path, "18"), repo_id="me/svenska")
    assert not same.release["pushed"]
    assert "published" in same.release["why"]
    assert same.latest  # it passed the local checks
    assert [check.name for check in same.checks][-1] == "Better than the published model"
    better = publish("19", errors=word_counts // 9, ready=copy_of_run(built, tmp_path, "19"), repo_id="me/svenska")
    assert better.release["pushed"]
    assert better.release["revision"] != first.release["revision"]
    assert not any("transcribes them now" in line for line in publish.lines)


def test_a_published_model_without_counts_is_downloaded_and_scored(publish, built, base, server):
    server.create("me/svenska").commit({file.name: file.read_bytes() for file in base.iterdir()})
    publication = publish(repo_id="me/svenska")
    assert any("transcribes them now" in line for line in publish.lines)
    assert not publication.release["pushed"]  # it is the same model
    assert "0.0 points" in publication.release["why"]


def test_old_releases_are_deleted_if_the_profile_says_so(publish, tmp_path):
    for run in ("1", "2", "3"):
        publish(run, keep=2)
    assert sorted(path.name for path in (tmp_path / "released").iterdir()) == ["latest", "sample-2", "sample-3"]
    assert "deleted sample-1: [release] keep is 2" in publish.lines
