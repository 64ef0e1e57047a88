"""Making and checking a release at whisper-small's size: seconds, and memory in addition to the imports.

    python tests/benchmarks/release.py

A Whisper of whisper-small's geometry with random weights becomes a release in its own process, exactly as `evaluate`
makes it: weights, processor, CTranslate2 in 8-bit integers, then each format is loaded and transcribes three clips. The
memory is the peak of the process (VmHWM) less what it used after its imports; the bar is twice the fp32 weights. The
test set's scoring and the push are not part of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FLOWS = Path(__file__).parents[2] / "flows"
sys.path[:0] = [str(FLOWS), str(Path(__file__).parent)]

BUILD_RELEASE = """
import json, re, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np, torch, transformers, ctranslate2, faster_whisper
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from asr.release import folder
from asr.training import models

def memory(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

random = np.random.default_rng(0)
sounds = [(0.1 * random.standard_normal(3 * 16_000)).astype(np.float32) for _ in range(3)]
before, began = memory("VmRSS"), time.perf_counter()
folder.build_release(Path(sys.argv[3]), sys.argv[2], "sv")
build_seconds, build_peak = time.perf_counter() - began, memory("VmHWM")
folder.check_formats(Path(sys.argv[3]), sounds, [""] * 3, "sv", 0)
seconds = time.perf_counter() - began
weights = 4 * folder.count_parameters(Path(sys.argv[3]))
print(json.dumps({"build_s": build_seconds, "check_s": seconds - build_seconds, "seconds": seconds,
                  "build_bytes": build_peak - before, "peak_bytes": memory("VmHWM") - before,
                  "weights_bytes": weights}))
"""


def main() -> None:
    import machine
    import random_models
    from asr.training import models

    with tempfile.TemporaryDirectory() as scratch:
        source = models.save(
            Path(scratch, "source"), *random_models.build(random_models.SMALL, ["Klockan är halv åtta."])
        )
        command = [sys.executable, "-c", BUILD_RELEASE, str(FLOWS), str(source), str(Path(scratch, "ready"))]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            sys.exit(process.stderr)
        figures = json.loads(process.stdout.splitlines()[-1])
    for name, value in figures.items():
        print(f"{name:14s} {value / 2**20:10,.0f} MiB" if name.endswith("bytes") else f"{name:14s} {value:10.1f} s")
    ratio = figures["peak_bytes"] / figures["weights_bytes"]
    print(f"{'peak/weights':14s} {ratio:10.2f}")
    machine.print_result({"seconds": round(figures["seconds"], 1), "peak_ratio": round(ratio, 2)})


if __name__ == "__main__":
    main()
