"""A profile that needs a missing optional package is refused before any work, with the command that installs it."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from asr import extras
from asr.settings import load

ROOT = Path(__file__).parents[2]
OPTIONAL = {
    "[training]\nlora_rank = 4": ("peft", "lora"),
    '[text]\nwriting = ["numbers"]': ("num2words", "numbers"),
    '[text]\nscoring = "lenient"': ("num2words", "numbers"),
    '[corpus]\nsource = "common_voice"\nid = "sv"': ("datacollective", "common-voice"),
    '[corpus]\n[[corpus.sources]]\nsource = "common_voice"\nid = "sv"': ("datacollective", "common-voice"),
    '[training]\ntrackers = ["tensorboard"]': ("tensorboard", "trackers"),
    '[release]\nformats = ["ct2-int8", "ggml"]': ("gguf", "ggml"),
}


def setup_list(section: str, key: str) -> set[str]:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config[section][key].split())


@pytest.mark.parametrize("profile", OPTIONAL)
def test_a_missing_package_is_named_with_its_key_and_its_extra(profile, refusal, monkeypatch):
    package, extra = OPTIONAL[profile]
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else name)
    line = refusal(extras.check, load(profile))
    assert re.fullmatch(rf"\[\w+\] [\w: ]+ needs {package}: pip install 'whisper-flow\[{extra}\]'", line)
    assert package in setup_list("options.extras_require", extra)


def test_a_tracker_without_an_extra_is_named_alone(refusal, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    line = refusal(extras.check, load('[training]\ntrackers = ["wandb"]'))
    assert line == "[training] trackers needs wandb: pip install wandb"


def test_the_sample_needs_no_extra(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    extras.check(load(""))


def test_the_test_extra_includes_every_other_extra():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    (own,) = [name for name in setup_list("options.extras_require", "test") if name.startswith("whisper-flow")]
    assert set(re.findall(r"[\w-]+", own.partition("[")[2])) == set(config["options.extras_require"]) - {"test"}


HIDE_PACKAGES = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {names} else find(name, *rest)
"""


def run_flow(folder: Path, hidden: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The flow's command in a process that finds none of the `hidden` packages."""
    (folder / "sitecustomize.py").write_text(HIDE_PACKAGES.format(names=hidden))
    variables = {"PATH": "", "HOME": str(folder), "PYTHONPATH": str(folder), "USERNAME": "me"}
    command = [sys.executable, str(ROOT / "flows/whisper_flow.py"), *arguments]
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_flow_starts_without_any_optional_package(tmp_path):
    process = run_flow(tmp_path, {package for package, _ in OPTIONAL.values()} | {"pywhispercpp", "kubernetes"}, "show")
    assert process.returncode == 0, process.stderr


def test_pods_without_the_kubernetes_client_are_refused_in_one_line(tmp_path):
    (tmp_path / "gke.toml").write_text('[compute]\nwhere = "gke"\nimage = "registry/train:1"\n')
    process = run_flow(tmp_path, {"kubernetes"}, "--config", "profile", "gke.toml", "run")
    assert process.returncode != 0
    assert "[compute] where needs kubernetes: pip install 'whisper-flow[cloud]'" in process.stdout + process.stderr
    assert "Traceback" not in process.stdout + process.stderr
