"""Download the release of a run on another machine, from the run's datastore.

    python -m asr.release.fetch RUN_ID [--folder released]

It is stored where a run on this machine would have put it; `latest` points to it if it passed the gate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from asr import InputError
from asr.release import folder
from asr.store import Store


def fetch_release(run_id: str, releases: Path) -> Path:
    """Download the release of a run to a folder below `releases`. Raises `InputError` if there is none."""
    from metaflow import Run, namespace
    from metaflow.exception import MetaflowNotFound

    namespace(None)
    try:
        run = Run(f"WhisperFlow/{run_id}")
        evaluate, push = next(iter(run["evaluate"])), next(iter(run["push"]))
        key, release, latest = evaluate.data.release_key, push.data.release, push.data.latest
    except (MetaflowNotFound, KeyError, StopIteration, AttributeError):
        raise InputError(f"run {run_id} is unknown here, or has no release: see METAFLOW_PROFILE") from None
    with tempfile.TemporaryDirectory() as scratch:
        folder_path = Store.of_client(evaluate).fetch_folder(key, Path(scratch, "release"), "evaluate")
        return folder.publish_folder(folder_path, releases, Path(release["path"]).name, newest=latest)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m asr.release.fetch", description=__doc__.split("\n")[0])
    parser.add_argument("run_id")
    parser.add_argument("--folder", type=Path, default=Path("released"))
    options = parser.parse_args(arguments)
    try:
        print(fetch_release(options.run_id, options.folder))
    except InputError as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main(sys.argv[1:])
