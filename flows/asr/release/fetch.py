"""Bring a release here that a run made elsewhere, from the run's datastore.

    python -m asr.release.fetch RUN_ID [--folder released]

It lands where a run on this machine would have put it; `latest` points to it if it passed the gate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from asr import InputError
from asr.release import folder
from asr.store import Store


def fetch(run_id: str, releases: Path) -> Path:
    """The release of a run, in a folder below `releases`. Raises `InputError` where there is none."""
    from metaflow import Run, namespace
    from metaflow.exception import MetaflowNotFound

    namespace(None)
    try:
        run = Run(f"WhisperFlow/{run_id}")
        made, pushed = next(iter(run["evaluate"])), next(iter(run["push"]))
        key, told, latest = made.data.release_key, pushed.data.release, pushed.data.latest
    except (MetaflowNotFound, KeyError, StopIteration, AttributeError):
        raise InputError(f"run {run_id} is not known here, or has made no release: see METAFLOW_PROFILE") from None
    with tempfile.TemporaryDirectory() as scratch:
        ready = Store.of_client(made).fetch_folder(key, Path(scratch, "release"), "evaluate")
        return folder.publish(ready, releases, Path(told["path"]).name, newest=latest)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m asr.release.fetch", description=__doc__.split("\n")[0])
    parser.add_argument("run_id")
    parser.add_argument("--folder", type=Path, default=Path("released"))
    asked = parser.parse_args(arguments)
    try:
        print(fetch(asked.run_id, asked.folder))
    except InputError as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main(sys.argv[1:])
