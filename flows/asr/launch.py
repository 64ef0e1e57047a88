"""What a command of the flow finds in its environment, before Metaflow reads its options."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from asr import compute, signals
from asr.redaction import redacted

MOST_SPLITS = 10_000  # parts of a corpus; Metaflow's own limit is 100
NOBODY = "whisper"
FLOWS = Path(__file__).parents[1]


def prepare() -> None:
    """Set what is not set: how many branches run at once, how many there may be, and whose runs they are."""
    if "METAFLOW_RUN_MAX_WORKERS" not in os.environ:
        os.environ["METAFLOW_RUN_MAX_WORKERS"] = str(compute.workers())
    os.environ.setdefault("METAFLOW_RESUME_MAX_WORKERS", os.environ["METAFLOW_RUN_MAX_WORKERS"])
    for command in ("RUN", "RESUME"):
        os.environ.setdefault(f"METAFLOW_{command}_MAX_NUM_SPLITS", str(MOST_SPLITS))
    _name_user()
    if not signals.is_task():  # which inherits it
        _hide_login()


def _name_user() -> None:
    """Metaflow wants a name other than root, and looks for one in its configuration and in variables alone."""
    from metaflow.util import get_username

    if get_username():
        return
    os.environ["USERNAME"] = _account() or NOBODY  # which the tasks inherit
    if os.environ["USERNAME"] == NOBODY:
        print(f"no user has a name here but root: runs are {NOBODY}'s, or METAFLOW_USER's where set", file=sys.stderr)


def _hide_login() -> None:
    """Metaflow keeps the address of the flow's repository with each task: without the token that may stand in it."""
    with suppress(OSError):  # there is no git
        asked = ["git", "config", "--get", "remote.origin.url"]
        url = subprocess.run(asked, cwd=FLOWS, capture_output=True, text=True, check=False).stdout.strip()
        if (clean := redacted(url)) != url:
            number = int(os.environ.get("GIT_CONFIG_COUNT") or 0)  # the last counts
            os.environ |= {f"GIT_CONFIG_KEY_{number}": "remote.origin.url", f"GIT_CONFIG_VALUE_{number}": clean}
            os.environ["GIT_CONFIG_COUNT"] = str(number + 1)


def _account() -> str:
    """The name of the account that this process runs as; empty for root's, or where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name if os.getuid() else ""
    except KeyError:
        return ""
