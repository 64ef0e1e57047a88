"""`python -m asr.training.worker JOB`: the process of a rank above 0."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path

from asr.training import trial
from asr.training.distributed import Rank


def main(file: str) -> None:
    """Train as the rank in the environment, and end when rank 0 does: its pipe to stdin is closed then."""
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(1)), daemon=True).start()
    rank = Rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    trial.train_worker(pickle.loads(Path(file).read_bytes()), rank)


if __name__ == "__main__":
    main(sys.argv[1])
