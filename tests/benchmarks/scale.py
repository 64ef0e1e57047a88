"""Time and memory of preprocessing as the corpus grows.

    python tests/benchmarks/scale.py [CLIPS]

The sample is repeated up to CLIPS (100,000) clips; in each copy a few samples differ, so that no two clips are the
same sound. For each size, two processes do what a run does: list the folder, judge and pack part by part, keep
the shards, join the records. Neither process ever starts again between parts, so what they lose would add up. The
folders' making and the processes' start are not counted.
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
from asr.corpus import audio, clips, folder, manifest, shards, sources  # noqa: E402
from asr.corpus.rows import Row  # noqa: E402
from asr.settings import Settings  # noqa: E402
from asr.store import Store  # noqa: E402

PROCESSES = 2
SIZES = 5  # from a hundredth of all clips to all, evenly by ratio
SPREAD = 100
STRIDE = 997  # through the sample, so that every stretch of it holds clips of every split


def peak_mb() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@cache
def _sample() -> list[tuple[Row, np.ndarray]]:
    every = folder.list_rows(sources.SAMPLE, 30.0)
    mixed = [every[at * STRIDE % len(every)] for at in range(len(every))]
    heard = [(row, audio.Recording(row.audio).sound()) for row in mixed if isinstance(row.audio, Path)]
    return [(row, clips.to_pcm16(sound.samples)) for row, sound in heard]


def _write(place: Path, first: int, last: int) -> None:
    for number in range(first, last):
        _, samples = _sample()[number % len(_sample())]
        unique = samples.copy()
        unique[100:108] += np.frombuffer(np.int64(number).tobytes(), np.int8)
        (place / f"{number}.flac").write_bytes(clips.encode_flac(unique))


def lay_out(place: Path, count: int, pool: ProcessPoolExecutor) -> None:
    place.mkdir()
    cuts = np.linspace(0, count, 8 * PROCESSES + 1).astype(int).tolist()
    for written in [pool.submit(_write, place, *span) for span in pairwise(cuts)]:
        written.result()


def part_of(everything: Path, place: Path, count: int) -> Path:
    """A folder of the first clips, linked."""
    import pandas as pd

    rows: dict[str, list[tuple[str, str, str]]] = {}
    for number in range(count):
        row, _ = _sample()[number % len(_sample())]
        (place / row.split).mkdir(parents=True, exist_ok=True)
        os.link(everything / f"{number}.flac", place / row.split / f"{number}.flac")
        line = (f"{number}.flac", row.text, f"{row.speaker} {number // len(_sample())}")
        rows.setdefault(row.split, []).append(line)
    for split, lines in rows.items():
        table = pd.DataFrame(lines, columns=["file_name", "text", "speaker_id"])
        table.to_csv(place / split / "metadata.csv", index=False)
    return place


def _pack(part: sources.Part, settings: Settings, place: Path) -> tuple[shards.PackedPart, float]:
    return shards.build_part(part, settings, Store.in_folder(place))[0], peak_mb()


def preprocess(corpus: Path, place: Path, pool: ProcessPoolExecutor) -> tuple[float, float]:
    """Seconds, and the most memory (MB) that a process working on parts ever held."""
    settings = Settings.model_validate({"corpus": {"source": "folder", "path": str(corpus)}})
    began = time.perf_counter()
    parts = sources.list_parts(settings.corpus)
    results = [one.result() for one in [pool.submit(_pack, part, settings, place) for part in parts]]
    joined = manifest.merge_parts([packed for packed, _ in results], settings.corpus)
    seconds = time.perf_counter() - began
    assert joined.summary["rejected"] == 0, joined.summary
    return seconds, max(peak for _, peak in results)


def main(most: int) -> None:
    sizes = [round(most / SPREAD ** (1 - at / (SIZES - 1))) for at in range(SIZES)]
    table = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool,
    ):
        print(f"making {most} clips", flush=True)
        lay_out(Path(scratch, "all"), most, pool)
        print("   clips   seconds   clips/s   MB, packing   MB, listing and joining", flush=True)
        for count in sizes:
            with (
                tempfile.TemporaryDirectory(dir=scratch) as place,
                ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as fresh,
            ):
                corpus = part_of(Path(scratch, "all"), Path(place, "corpus"), count)
                list(fresh.map(_ready, range(4 * PROCESSES)))
                seconds, packing = preprocess(corpus, Path(place, "store"), fresh)
            table.append((count, seconds, max(packing, peak_mb())))
            print(f"{count:8d} {seconds:9.1f} {count / seconds:9.0f} {packing:13.0f} {peak_mb():13.0f}", flush=True)
    counts, times, peaks = np.array(table).T
    slope = float(np.polyfit(np.log(counts), np.log(times), 1)[0])
    print(f"\ntime grows as clips ** {slope:.2f}; {PROCESSES} processes")
    machine.print_result({"peak_mb": round(max(peaks)), "time_exponent": round(slope, 2)})


def _ready(number: int) -> int:
    time.sleep(0.2)  # so that each process gets one, and has imported all by then
    return number


if __name__ == "__main__":
    main(*(int(given) for given in sys.argv[1:] or ["100000"]))
