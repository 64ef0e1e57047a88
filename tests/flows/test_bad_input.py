"""A user's mistake is answered by one clear line, without a traceback, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "flows" / "sample"
CLOSED = Path("/sys")  # on Linux, where root cannot make a file either


def output_of_refused_run(flow, folder: Path, profile: str, begun: bool = False) -> str:
    """All that the command prints for a profile that cannot work, found out before any step is finished or later."""
    (folder / "bad.toml").write_text(profile, encoding="utf-8")
    process = flow("--config", "profile", "bad.toml", "run", cwd=folder)
    output = process.stdout + process.stderr
    assert process.returncode != 0
    assert "Traceback" not in output, output
    assert begun == ("To resume" in output)
    return output


def test_a_typo_in_a_profile_is_refused_before_any_work(flow, tmp_path):
    output = output_of_refused_run(flow, tmp_path, "[training]\nstep = 5\n")
    assert "[training] step: unknown key; did you mean steps?" in output
    assert not (tmp_path / ".metaflow" / "WhisperFlow").exists()


def test_a_missing_folder_is_named(flow, tmp_path):
    output = output_of_refused_run(flow, tmp_path, '[corpus]\nsource = "folder"\npath = "nowhere"\n')
    assert f"[corpus] path: there is no folder {tmp_path / 'nowhere'}" in output


def test_an_empty_corpus_is_named(flow, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metadata.csv").write_text("file_name,transcription\n")
    output = output_of_refused_run(flow, tmp_path, '[corpus]\nsource = "folder"\npath = "mine"\n')
    assert "[corpus] path:" in output
    assert "no clip" in output


def test_one_noise_recording_is_refused_before_any_work(flow, tmp_path):
    (tmp_path / "noise").mkdir()
    shutil.copy(next(SAMPLE.glob("train/*.ogg")), tmp_path / "noise")
    output = output_of_refused_run(flow, tmp_path, '[training]\nnoise = "noise"\nnoise_share = 0.5\n')
    assert f"[training] noise: {tmp_path / 'noise'} holds one recording; it needs two or more" in output
    assert "preprocess" not in output


def test_a_missing_base_is_named(flow, tmp_path):
    output = output_of_refused_run(flow, tmp_path, '[model]\nbase = "released/never"\n')
    assert "[model] base: released/never" in output
    assert "preprocess" not in output


def test_an_unreachable_dataset_is_named(flow, tmp_path):
    output = output_of_refused_run(flow, tmp_path, '[corpus]\nsource = "hub"\nid = "some/data"\n')
    assert "[corpus] id: some/data is no folder here, and the Hub cannot be reached" in output


@pytest.mark.skipif(not CLOSED.is_dir(), reason="no /sys here")
def test_a_release_folder_that_cannot_be_written_is_refused_before_any_work(flow, tmp_path):
    output = output_of_refused_run(flow, tmp_path, f'[release]\nfolder = "{CLOSED}/released"\n')
    assert f"[release] folder: {CLOSED}/released cannot be written" in output
    assert "preprocess" not in output


def test_a_learning_rate_for_training_from_scratch_is_refused_on_a_pretrained_base(flow, tmp_path):
    (tmp_path / "pretrained").mkdir()  # the geometry of whisper-tiny
    (tmp_path / "pretrained" / "config.json").write_text('{"model_type": "whisper", "d_model": 384}')
    output = output_of_refused_run(flow, tmp_path, '[model]\nbase = "pretrained"\n[search]\nlearning_rate = [1e-3]\n')
    assert "[search] learning_rate: 0.001 is suitable only for training from scratch" in output
    assert "preprocess" not in output


WRONG = {
    '[[corpus.sources]]\n[[corpus.sources]]\nsource = "folder"\n': '[corpus] sources.1: source = "folder" needs path',
    '[corpus]\nexclude = "withdrew.txt"\n': "withdrew.txt cannot be read",
    '[text]\nwriting = ["lowercase"]\n': "[text] writing.0: Input should be 'unicode', 'quotes'",
}


@pytest.mark.parametrize("profile", WRONG)
def test_a_wrong_corpus_setting_is_refused_before_any_work(flow, tmp_path, profile):
    output = output_of_refused_run(flow, tmp_path, profile)
    assert WRONG[profile] in output
    assert not (tmp_path / ".metaflow" / "WhisperFlow").exists()


def test_speakers_in_several_splits_are_refused_with_the_key_that_allows_them(flow, tmp_path):
    for at, split in enumerate(("train", "validation", "test")):
        (tmp_path / "mine" / split).mkdir(parents=True)
        shutil.copy(sorted((SAMPLE / split).glob("*.ogg"))[at], tmp_path / "mine" / split / "a.ogg")
        (tmp_path / "mine" / split / "metadata.csv").write_text("file_name,text,speaker_id\na.ogg,Hej,Anna\n")
    output = output_of_refused_run(flow, tmp_path, '[corpus]\nsource = "folder"\npath = "mine"\n', begun=True)
    [line] = [line for line in output.splitlines() if "speakers_may_cross" in line]
    assert "[corpus] no usable clip of train; rejected: 1 speaker in another split" in line


def test_a_corpus_without_a_usable_clip_is_refused_with_the_reasons(flow, tmp_path):
    corpus = tmp_path / "mine"
    for split in ("train", "validation", "test"):
        (corpus / split).mkdir(parents=True)
        (corpus / split / "clip.wav").write_text("this is no audio")
        (corpus / split / "metadata.csv").write_text("file_name,text\nclip.wav,Hej\n")
    output = output_of_refused_run(flow, tmp_path, '[corpus]\nsource = "folder"\npath = "mine"\n', begun=True)
    assert "[corpus] no usable clip of train; rejected: 1 unreadable audio" in output


COMMANDS = {
    "--config profile bad.toml run": "profile: not a text in UTF-8",
    "--config profile gone.toml run": "'gone.toml' could not be read",
    "--config profile /dev/zero run": "profile: /dev/zero is not a text file",
    "resume": "Specify --origin-run-id",
    "resume --origin-run-id 5": "there is no run 5 to resume",
    "run --max-workers many": "many is not a valid integer",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_invalid_command_is_explained_without_a_resume_command(flow, tmp_path, command):
    (tmp_path / "bad.toml").write_bytes(b"name = '\xc1'")
    process = flow(*command.split(), cwd=tmp_path)
    output = process.stdout + process.stderr
    assert process.returncode != 0
    assert COMMANDS[command] in output
    assert "Traceback" not in output
    assert "To resume" not in output


def test_an_invalid_number_of_workers_is_refused(flow, tmp_path):
    process = flow("run", cwd=tmp_path, METAFLOW_RUN_MAX_WORKERS="many")
    assert "many is not a valid integer" in process.stderr
    assert "Traceback" not in process.stderr


NOBODY = {"METAFLOW_USER": "", "SUDO_USER": "", "USERNAME": "", "USER": "root"}


@pytest.mark.skipif(os.getuid() != 0, reason="this account has a name")
def test_root_alone_gets_a_user_name_and_one_message(flow, tmp_path):
    (tmp_path / "bad.toml").write_text('[corpus]\nsource = "folder"\npath = "nowhere"\n')
    process = flow("--config", "profile", "bad.toml", "run", cwd=tmp_path, **NOBODY)
    output = process.stdout + process.stderr
    assert "[start" not in output and "/start/" in output  # a task ran, which says it no second time
    assert output.count("the only user here is root: runs are whisper's") == 1
    assert "executing WhisperFlow for user:whisper" in output


def test_a_user_name_from_metaflows_configuration_is_kept(flow, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"METAFLOW_USER": "anna"}')
    monkeypatch.delenv("METAFLOW_USER")
    process = flow("version", cwd=tmp_path, METAFLOW_HOME=str(tmp_path))
    assert "executing WhisperFlow for user:anna" in process.stderr
    assert "the only user here" not in process.stderr


def test_help_and_show_work_from_any_folder(flow, tmp_path):
    for command in ("--help", "show"):
        process = flow(command, cwd=tmp_path)
        assert process.returncode == 0, process.stderr
