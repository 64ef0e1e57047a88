"""The README's run as a new user starts it: its seconds and its test WER, for several seeds.

    python tests/benchmarks/default.py [--seeds N]

Each run is `python flows/whisper_flow.py run` in an empty folder, from the command to its end, with its own seed
for the weights, the draws and the search. Nothing else should run at the same time. A processor without AVX-512 is
simulated by ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

FLOW = Path(__file__).parents[2] / "flows" / "whisper_flow.py"
TEST_WER = re.compile(r"test WER +([\d.]+) %")
PROCESSOR_TIME = ("user", "system", "children_user", "children_system")


def run(seed: int, folder: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and test WER of a run."""
    profile = folder / "seed.toml"
    profile.write_text(f"[training]\nseed = {seed}\n[search]\nseed = {seed}\n", encoding="utf-8")
    options = ["--config", "profile", str(profile)] if seed else []
    began, before = time.monotonic(), os.times()
    process = subprocess.run(
        [sys.executable, str(FLOW), *options, "run"], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds, after = time.monotonic() - began, os.times()
    if process.returncode:
        sys.exit(process.stdout + process.stderr)
    cpu_seconds = sum(getattr(after, name) - getattr(before, name) for name in PROCESSOR_TIME)
    return seconds, cpu_seconds, float(TEST_WER.findall(process.stdout)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    rows = []
    print("seed  seconds  CPU seconds  test WER")
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(seed, Path(folder)))
        print("{:4d} {:8.0f} {:12.0f} {:7.2f} %".format(seed, *rows[-1]), flush=True)
    seconds, cpu_seconds, wers = zip(*rows, strict=True)
    machine.print_result({
        "seconds": round(statistics.median(seconds)),
        "cpu_seconds": round(statistics.median(cpu_seconds)),
        "test_wer": list(wers),
    })  # fmt: skip


if __name__ == "__main__":
    main()
