"""The environment of a command of the flow, before Metaflow reads its options."""

from __future__ import annotations

import itertools
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from asr import hardware, signals
from asr.redaction import redact_text

MAX_SPLITS = 10_000  # branches of a foreach; Metaflow's default is 100
DEFAULT_USER = "whisper"
FLOWS = Path(__file__).parents[1]


def prepare() -> None:
    """Set defaults for parallel tasks, the number of branches and the user; hide a token in the git remote."""
    if "METAFLOW_RUN_MAX_WORKERS" not in os.environ:
        os.environ["METAFLOW_RUN_MAX_WORKERS"] = str(hardware.max_workers())
    os.environ.setdefault("METAFLOW_RESUME_MAX_WORKERS", os.environ["METAFLOW_RUN_MAX_WORKERS"])
    for command in ("RUN", "RESUME"):
        os.environ.setdefault(f"METAFLOW_{command}_MAX_NUM_SPLITS", str(MAX_SPLITS))
    _set_user()
    if not signals.is_task():  # a task inherits it
        _hide_git_token()


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option on a command line, or None.

    >>> option(["resume", "--origin-run-id", "17"], "--origin-run-id"), option(["--a=b"], "--a"), option([], "--a")
    ('17', 'b', None)
    """
    values = [word.partition("=")[2] for word in arguments if word.startswith(f"{name}=")]
    values += [value for word, value in itertools.pairwise(arguments) if word == name]
    return values[0] if values else None


def _set_user() -> None:
    """Metaflow needs a user other than root, and looks only in its configuration and in environment variables."""
    from metaflow.util import get_username

    if get_username():
        return
    os.environ["USERNAME"] = _account() or DEFAULT_USER  # inherited by the tasks
    if os.environ["USERNAME"] == DEFAULT_USER:
        print(f"the only user here is root: runs are {DEFAULT_USER}'s, or METAFLOW_USER's where set", file=sys.stderr)


def _hide_git_token() -> None:
    """Metaflow stores the repository's remote URL with each task: remove a token from it."""
    with suppress(OSError):  # git is not installed
        command = ["git", "config", "--get", "remote.origin.url"]
        url = subprocess.run(command, cwd=FLOWS, capture_output=True, text=True, check=False).stdout.strip()
        if (clean := redact_text(url)) != url:
            number = int(os.environ.get("GIT_CONFIG_COUNT") or 0)  # the last entry wins
            os.environ |= {f"GIT_CONFIG_KEY_{number}": "remote.origin.url", f"GIT_CONFIG_VALUE_{number}": clean}
            os.environ["GIT_CONFIG_COUNT"] = str(number + 1)


def _account() -> str:
    """The name of this process's account; empty for root, or where the account has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name if os.getuid() else ""
    except KeyError:
        return ""
