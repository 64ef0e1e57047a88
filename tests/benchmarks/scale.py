"""Time and memory of preprocessing as the corpus grows.

    python tests/benchmarks/scale.py [CLIPS]

The sample is repeated up to CLIPS (100,000) clips; in each copy a few samples differ, so that no two clips have the
same audio. For each size, two processes do what a run does: list the folder, check and pack it part by part, store the
shards, join the records. Neither process restarts between parts, so leaks would add up. Making the folders and starting
the processes is not counted.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

FLOWS = Path(__file__).parents[2] / "flows"
sys.path.insert(0, str(FLOWS))

import machine  # noqa: E402
from asr.corpus import SAMPLE, audio, clips, folder, manifest, shards, sources  # noqa: E402
from asr.corpus.rows import Row  # noqa: E402
from asr.settings import Settings  # noqa: E402
from asr.store import Store  # noqa: E402

PROCESSES = 2
SIZES = 5  # from a hundredth of all clips to all, at equal ratios
SIZE_RATIO = 100
STRIDE = 997  # through the sample, so that every section of it has clips of every split


def peak_mb() -> float:
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@cache
def _sample() -> list[tuple[Row, np.ndarray]]:
    all_rows = folder.list_rows(SAMPLE, 30.0)
    rows = [all_rows[index * STRIDE % len(all_rows)] for index in range(len(all_rows))]
    recordings = [(row, audio.Recording(row.audio).sound()) for row in rows if isinstance(row.audio, Path)]
    return [(row, clips.to_pcm16(sound.samples)) for row, sound in recordings]


def _write(folder: Path, first: int, last: int) -> None:
    for number in range(first, last):
        _, samples = _sample()[number % len(_sample())]
        unique = samples.copy()
        unique[100:108] += np.frombuffer(np.int64(number).tobytes(), np.int8)
        (folder / f"{number}.flac").write_bytes(clips.encode_flac(unique))


def write_clips(folder: Path, count: int, pool: ProcessPoolExecutor) -> None:
    folder.mkdir()
    cuts = np.linspace(0, count, 8 * PROCESSES + 1).astype(int).tolist()
    for future in [pool.submit(_write, folder, *span) for span in pairwise(cuts)]:
        future.result()


def write_corpus(clips_folder: Path, folder: Path, count: int) -> Path:
    """Write an audiofolder of the first clips, as hard links."""
    import pandas as pd

    rows: dict[str, list[tuple[str, str, str]]] = {}
    for number in range(count):
        row, _ = _sample()[number % len(_sample())]
        (folder / row.split).mkdir(parents=True, exist_ok=True)
        os.link(clips_folder / f"{number}.flac", folder / row.split / f"{number}.flac")
        line = (f"{number}.flac", row.text, f"{row.speaker} {number // len(_sample())}")
        rows.setdefault(row.split, []).append(line)
    for split, lines in rows.items():
        table = pd.DataFrame(lines, columns=["file_name", "text", "speaker_id"])
        table.to_csv(folder / split / "metadata.csv", index=False)
    return folder


def _pack(part: sources.Part, settings: Settings, folder: Path) -> tuple[shards.PackedPart, float]:
    return shards.build_part(part, settings, Store.in_folder(folder))[0], peak_mb()


def preprocess(corpus: Path, folder: Path, pool: ProcessPoolExecutor) -> tuple[float, float]:
    """Seconds, and the peak memory (MB) of a process that works on parts."""
    settings = Settings.model_validate({"corpus": {"source": "folder", "path": str(corpus)}})
    began = time.perf_counter()
    parts = sources.list_parts(settings.corpus)
    results = [future.result() for future in [pool.submit(_pack, part, settings, folder) for part in parts]]
    joined = manifest.merge_parts([packed for packed, _ in results], settings.corpus)
    seconds = time.perf_counter() - began
    assert joined.summary["rejected"] == 0, joined.summary
    return seconds, max(peak for _, peak in results)


def main(max_clips: int) -> None:
    sizes = [round(max_clips / SIZE_RATIO ** (1 - index / (SIZES - 1))) for index in range(SIZES)]
    table = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool,
    ):
        print(f"making {max_clips} clips", flush=True)
        write_clips(Path(scratch, "all"), max_clips, pool)
        print("   clips   seconds   clips/s   MB, packing   MB, listing and joining", flush=True)
        for count in sizes:
            with (
                tempfile.TemporaryDirectory(dir=scratch) as folder_name,
                ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as workers,
            ):
                corpus = write_corpus(Path(scratch, "all"), Path(folder_name, "corpus"), count)
                list(workers.map(_warm_up, range(4 * PROCESSES)))
                seconds, packing = preprocess(corpus, Path(folder_name, "store"), workers)
            table.append((count, seconds, max(packing, peak_mb())))
            print(f"{count:8d} {seconds:9.1f} {count / seconds:9.0f} {packing:13.0f} {peak_mb():13.0f}", flush=True)
    counts, times, peaks = np.array(table).T
    slope = float(np.polyfit(np.log(counts), np.log(times), 1)[0])
    print(f"\ntime grows as clips ** {slope:.2f}; {PROCESSES} processes")
    machine.print_result({"peak_mb": round(max(peaks)), "time_exponent": round(slope, 2)})


def _warm_up(number: int) -> int:
    time.sleep(0.2)  # so that each process gets one, and has imported all by then
    return number


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:] or ["100000"]))
