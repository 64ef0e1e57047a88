"""The Space that serves a release: made, brought up to date, and watched until it runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.redaction import redact_text
from asr.release import hub
from asr.settings import Release

if TYPE_CHECKING:
    from huggingface_hub import HfApi

POLL_SECONDS, PATIENCE = 5.0, 900.0  # a Space's first build takes some minutes
LOG_LINES = 12
FAILED = {"BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE"}
ASLEEP = {"STOPPED", "PAUSED", "SLEEPING"}
UNPAID = (
    "a free account may not create a Space on a CPU; it may have two with [release] space_hardware = "
    '"zero-a10g", or serve it yourself: MODEL_ID={model} python space/app.py'
)


@dataclass(frozen=True)
class Deployed:
    """What became of the Space."""

    space_id: str
    url: str
    running: bool
    told: str  # in a sentence


def deploy(files: Mapping[str, str], release: Release, revision: str, say: Callable[[str], None] = print) -> Deployed:
    """Make `[release] space_id` serve the model at `revision`, from the Space's files, name to text.

    Only what differs is changed, so that a Space that is up to date goes on without a restart. A Space that cannot be
    had or does not come up is told of and ends nothing: the release is on the Hub by then.
    """
    from asr import InputError

    assert release.space_id and release.repo_id
    space, api = release.space_id, hub.api()
    url = f"{api.endpoint}/spaces/{space}"
    try:
        with hub.told(f"[release] space_id: {space}"):
            _create(api, space, release)
            changed = _update(api, space, _pinned(files, release.repo_id))
            changed |= _variables(api, space, {"MODEL_ID": release.repo_id, "MODEL_REVISION": revision})
            running, told = _watch(api, space, changed, say)
    except InputError as refused:
        unpaid = "the Hub wants payment" in str(refused)
        return Deployed(space, url, False, UNPAID.format(model=release.repo_id) if unpaid else str(refused))
    if running and release.private:
        told += "; the model is private, so give the Space a token that may read it: its secret HF_TOKEN"
    return Deployed(space, url, running, told)


def _create(api: HfApi, space: str, release: Release) -> None:
    hub.retry(
        lambda: api.create_repo(
            space, repo_type="space", space_sdk="gradio", space_hardware=release.space_hardware,  # type: ignore[arg-type]
            private=release.private, exist_ok=True,
        )
    )  # fmt: skip


def _pinned(files: Mapping[str, str], model: str) -> dict[str, str]:
    """The Space's files, its front matter naming the model."""
    from huggingface_hub import RepoCard

    card = RepoCard(files["README.md"])
    card.data["models"] = [model]
    return {**files, "README.md": str(card)}


def _update(api: HfApi, space: str, files: Mapping[str, str]) -> bool:
    """Bring the Space's files up to date in one commit; whether there was anything to change."""
    head = str(hub.retry(lambda: api.space_info(space)).sha)
    there = set(hub.retry(lambda: api.list_repo_files(space, repo_type="space", revision=head))) - {hub.KEPT}

    def content(name: str) -> str:
        file = hub.retry(lambda: api.hf_hub_download(space, name, repo_type="space", revision=head))
        return Path(file).read_text(encoding="utf-8")

    if there == set(files) and all(content(name) == text for name, text in files.items()):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in files.items():
            Path(scratch, name).write_text(text, encoding="utf-8")
        made = hub.commit(api, space, "space", Path(scratch), "main", head, "Deploy whisper-flow's Space")
    return made is not None or _update(api, space, files)  # somebody else was faster: look again


def _variables(api: HfApi, space: str, wanted: Mapping[str, str]) -> bool:
    """Set the Space's variables; whether any was another. The Hub restarts a Space whose variables change."""
    known = hub.retry(lambda: api.get_space_variables(space))
    differ = [name for name, value in wanted.items() if name not in known or known[name].value != value]
    for name in differ:
        hub.retry(lambda name=name: api.add_space_variable(space, name, wanted[name]))  # type: ignore[misc]
    return bool(differ)


def _watch(api: HfApi, space: str, changed: bool, say: Callable[[str], None]) -> tuple[bool, str]:
    """Wait until the Space runs, and wake it where it sleeps; whether it does, and what there is to say."""
    until, before = time.monotonic() + PATIENCE, ""
    while True:
        stage = str(hub.retry(lambda: api.get_space_runtime(space)).stage)
        if stage == "RUNNING":
            return True, "it runs" if changed else "it runs, and nothing had to be changed"
        if stage in ASLEEP or (stage in FAILED and not changed):
            hub.retry(lambda: api.restart_space(space))
            changed = True
        elif stage in FAILED:
            return False, f"it does not come up ({stage}): {_log(api, space, 'BUILD' in stage)}"
        if stage != before:
            say(f"Space {space}: {stage.lower().replace('_', ' ')}")
        before = stage
        if time.monotonic() > until:
            return False, f"it did not come up within {PATIENCE / 60:.0f} minutes, and is {stage}"
        time.sleep(POLL_SECONDS)


def _log(api: HfApi, space: str, build: bool) -> str:
    """The last lines of its log."""
    lines = list(hub.retry(lambda: api.fetch_space_logs(space, build=build)))
    last = " | ".join(str(line).strip() for line in lines[-LOG_LINES:] if str(line).strip())
    return redact_text(last) or "its log is empty"
