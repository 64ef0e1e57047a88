"""Deploys a release to a Hugging Face Space: creates it, updates its files, and waits until it runs."""

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

POLL_SECONDS, MAX_WAIT_SECONDS = 5.0, 900.0  # a Space's first build takes some minutes
LOG_LINES = 12
FAILED = {"BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE"}
ASLEEP = {"STOPPED", "PAUSED", "SLEEPING"}
PAYMENT_HINT = (
    "a free account may not create a Space on a CPU; it may have two with [release] space_hardware = "
    '"zero-a10g", or serve it yourself: MODEL_ID={model} python space/app.py'
)


@dataclass(frozen=True)
class Deployment:
    """The state of the Space after deploying."""

    space_id: str
    url: str
    running: bool
    status: str  # in a sentence


def deploy_space(
    files: Mapping[str, str], release: Release, revision: str, log: Callable[[str], None] = print
) -> Deployment:
    """Make `[release] space_id` serve the model at `revision`.

    Only differences are uploaded, so a Space that is up to date is not restarted. Errors are reported in the result and
    do not end the run, since the release is on the Hub by then.

    Args:
        files: the Space's files, name to text.
        release: the profile's table.
        revision: the model's commit.
        log: prints a line of progress.
    """
    from asr import InputError

    assert release.space_id and release.repo_id
    space, api = release.space_id, hub.api()
    url = f"{api.endpoint}/spaces/{space}"
    try:
        with hub.explain_errors(f"[release] space_id: {space}"):
            _create_space(api, space, release)
            changed = _update_files(api, space, _pin_model(files, release.repo_id))
            changed |= _set_variables(api, space, {"MODEL_ID": release.repo_id, "MODEL_REVISION": revision})
            running, status = _wait_until_running(api, space, changed, log)
    except InputError as refused:
        unpaid = "the Hub wants payment" in str(refused)
        return Deployment(space, url, False, PAYMENT_HINT.format(model=release.repo_id) if unpaid else str(refused))
    if running and release.private:
        status += "; the model is private, so give the Space a token that may read it: its secret HF_TOKEN"
    return Deployment(space, url, running, status)


def _create_space(api: HfApi, space: str, release: Release) -> None:
    hub.retry(
        lambda: api.create_repo(
            space, repo_type="space", space_sdk="gradio", space_hardware=release.space_hardware,  # type: ignore[arg-type]
            private=release.private, exist_ok=True,
        )
    )  # fmt: skip


def _pin_model(files: Mapping[str, str], model: str) -> dict[str, str]:
    """The Space's files, with the model in the front matter."""
    from huggingface_hub import RepoCard

    card = RepoCard(files["README.md"])
    card.data["models"] = [model]
    return {**files, "README.md": str(card)}


def _update_files(api: HfApi, space: str, files: Mapping[str, str]) -> bool:
    """Update the Space's files in one commit; returns whether there was a difference."""
    head = str(hub.retry(lambda: api.space_info(space)).sha)
    existing = set(hub.retry(lambda: api.list_repo_files(space, repo_type="space", revision=head))) - {hub.HUB_FILE}

    def content(name: str) -> str:
        file = hub.retry(lambda: api.hf_hub_download(space, name, repo_type="space", revision=head))
        return Path(file).read_text(encoding="utf-8")

    if existing == set(files) and all(content(name) == text for name, text in files.items()):
        return False
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in files.items():
            Path(scratch, name).write_text(text, encoding="utf-8")
        commit = hub.commit_folder(api, space, "space", Path(scratch), "main", head, "Deploy whisper-flow's Space")
    return commit is not None or _update_files(api, space, files)  # the head moved: try again


def _set_variables(api: HfApi, space: str, variables: Mapping[str, str]) -> bool:
    """Set the Space's variables; returns whether any changed. The Hub then restarts the Space."""
    current = hub.retry(lambda: api.get_space_variables(space))
    changed = [name for name, value in variables.items() if name not in current or current[name].value != value]
    for name in changed:
        hub.retry(lambda name=name: api.add_space_variable(space, name, variables[name]))  # type: ignore[misc]
    return bool(changed)


def _wait_until_running(api: HfApi, space: str, changed: bool, log: Callable[[str], None]) -> tuple[bool, str]:
    """Wait until the Space runs, restarting it if it sleeps; returns whether it runs, and its status in words."""
    deadline, last_stage = time.monotonic() + MAX_WAIT_SECONDS, ""
    while True:
        stage = str(hub.retry(lambda: api.get_space_runtime(space)).stage)
        if stage == "RUNNING":
            return True, "it runs" if changed else "it runs, and was up to date"
        if stage in ASLEEP or (stage in FAILED and not changed):
            hub.retry(lambda: api.restart_space(space))
            changed = True
        elif stage in FAILED:
            return False, f"it does not start ({stage}): {_read_log(api, space, 'BUILD' in stage)}"
        if stage != last_stage:
            log(f"Space {space}: {stage.lower().replace('_', ' ')}")
        last_stage = stage
        if time.monotonic() > deadline:
            return False, f"it did not start within {MAX_WAIT_SECONDS / 60:.0f} minutes, and is {stage}"
        time.sleep(POLL_SECONDS)


def _read_log(api: HfApi, space: str, build: bool) -> str:
    """The last lines of the Space's log."""
    lines = list(hub.retry(lambda: api.fetch_space_logs(space, build=build)))
    last = " | ".join(str(line).strip() for line in lines[-LOG_LINES:] if str(line).strip())
    return redact_text(last) or "its log is empty"
