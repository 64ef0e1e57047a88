"""From recordings to shards of validated clips."""

from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "sample"  # the recordings in the repository
