"""Preprocessing and the widely copied recipe: clips per second and bytes per clip, both with two processes.

    python tests/benchmarks/preprocess.py [CLIPS] [ROUNDS]

The reference is `datasets.map(num_proc=2)` with `WhisperFeatureExtractor`: every clip becomes the log-mels of 30 s.
Ours lists the folder, checks every clip, packs FLAC in Parquet and joins the parts. Both read the same clips of the
sample, as 16 kHz FLAC, as its Opus files, and as 48 kHz MP3 (the format of Common Voice). They take turns; the table
shows medians.

The recipe runs twice: as it is published, where each process computes its log-mels with as many torch threads as
there are cores, and tuned, with one torch thread per process, which is uncommon but its best setting. The ratios
are to the published one; those to the tuned one are shown next to them. In favour of both: only `map` is timed, not the
listing of the folder; tokenising is left out; audio is decoded by soundfile, since torchcodec is not installed. Ours
leaves out log-mels, which training computes when it makes a batch (about 1 ms per clip).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

FLOWS = Path(__file__).parents[2] / "flows"
sys.path.insert(0, str(FLOWS))

import machine  # noqa: E402
from asr import hardware  # noqa: E402
from asr.corpus import SAMPLE, audio, clips, folder, manifest, shards, sources  # noqa: E402
from asr.settings import Settings  # noqa: E402
from asr.store import Store  # noqa: E402

PROCESSES = 2
CORES = hardware.cores()


def flac(source: Path, target: Path) -> None:
    target.with_suffix(".flac").write_bytes(clips.encode_flac(clips.to_pcm16(audio.Recording(source).sound().samples)))


def opus(source: Path, target: Path) -> None:
    target.with_suffix(".opus").write_bytes(source.read_bytes())


def mp3(source: Path, target: Path) -> None:
    """48 kHz mono at 64 kbit/s, as a Common Voice clip is."""
    sound = soxr.resample(audio.Recording(source).sound().samples, audio.RATE, 48_000)
    with av.open(str(target.with_suffix(".mp3")), "w") as container:
        stream = container.add_stream("libmp3lame", rate=48_000, layout="mono", bit_rate=64_000)
        for at in range(0, len(sound), 1152):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, at : at + 1152]), "fltp", "mono")
            frame.sample_rate = 48_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


FORMS: dict[str, Callable[[Path, Path], None]] = {"flac": flac, "opus": opus, "mp3": mp3}


def write_corpus(target: Path, count: int, form: str) -> Path:
    """Write an audiofolder of the sample's first clips, in proportion to its splits."""
    import pandas as pd

    all_rows = folder.list_rows(SAMPLE, 30.0)
    for split in ("train", "validation", "test"):
        rows = [row for row in all_rows if row.split == split]
        rows = rows[: max(1, count * len(rows) // len(all_rows))]
        (target / form / split).mkdir(parents=True)
        for index, row in enumerate(rows):
            assert isinstance(row.audio, Path)
            FORMS[form](row.audio, target / form / split / f"{index}")
        names = [f"{index}.{form}" for index in range(len(rows))]
        table = pd.DataFrame({"file_name": names, "transcription": [row.text for row in rows]})
        table.to_csv(target / form / split / "metadata.csv", index=False)
    return target / form


def published(corpus: Path, folder: Path, threads: int | None = None) -> tuple[float, int, int]:
    """Seconds, clips and bytes of the recipe."""
    import datasets
    import torch
    from transformers import WhisperFeatureExtractor

    torch.set_num_threads(threads or CORES)
    extractor = WhisperFeatureExtractor()
    splits = {  # `load_dataset("audiofolder")` would decode by torchcodec
        part.name: datasets.Dataset.from_dict({"audio": [str(file) for file in sorted(part.glob("*[0-9].*"))]})
        for part in corpus.iterdir()
    }

    def prepare(example: dict) -> dict:
        sound, rate = soundfile.read(example["audio"], dtype="float32")
        sound = sound if rate == audio.RATE else soxr.resample(sound, rate, audio.RATE)
        return {"input_features": extractor(sound, sampling_rate=audio.RATE).input_features[0]}

    (folder / "mapped").mkdir()
    began, count = time.perf_counter(), 0
    for split, dataset in splits.items():
        mapped = dataset.map(
            prepare,
            remove_columns=dataset.column_names,
            num_proc=min(PROCESSES, len(dataset)),
            cache_file_name=str(folder / "mapped" / f"{split}.arrow"),
        )
        count += len(mapped)
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in (folder / "mapped").iterdir())
    return seconds, count, size


def tuned(corpus: Path, folder: Path) -> tuple[float, int, int]:
    """The recipe with one torch thread per process."""
    return published(corpus, folder, threads=1)


def _pack(part: sources.Part, settings: Settings, folder: Path) -> shards.PackedPart:
    return shards.pack_rows(sources.read_part(part), settings, Store.in_folder(folder).put)[0]


def ours(corpus: Path, folder: Path) -> tuple[float, int, int]:
    """The same figures of our preprocessing, from listing the folder to the joined corpus."""
    settings = Settings.model_validate({"corpus": {"source": "folder", "path": str(corpus), "shard_clips": 100}})
    began = time.perf_counter()
    parts = sources.list_parts(settings.corpus)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("fork")) as pool:
        packed = [pool.submit(_pack, part, settings, folder) for part in parts]
        joined = manifest.merge_parts([future.result() for future in packed], settings.corpus)
    seconds = time.perf_counter() - began
    assert joined.summary["rejected"] == 0, joined.rejected
    return seconds, joined.summary["kept"], sum(shard.size for shard in joined.shards)


def main(count: int, rounds: int) -> None:
    import datasets

    datasets.disable_progress_bars()
    speeds: dict[tuple[str, str], list[float]] = {}
    sizes: dict[str, float] = {}
    print("clips     way        clips/s   kB a clip", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        Store.in_folder(Path(scratch))  # imports Metaflow's store, as the others were imported above
        corpora = {form: write_corpus(Path(scratch), count, form) for form in FORMS}
        for _ in range(rounds):
            for form, corpus in corpora.items():
                for method in (published, tuned, ours):
                    with tempfile.TemporaryDirectory(dir=scratch) as folder_name:
                        seconds, clip_count, size = method(corpus, Path(folder_name))
                    speeds.setdefault((form, method.__name__), []).append(clip_count / seconds)
                    sizes[method.__name__] = size / clip_count
                    print(
                        f"{form:9s} {method.__name__:10s} {clip_count / seconds:7.0f} {size / clip_count / 1000:11.1f}",
                        flush=True,
                    )
    median = {key: statistics.median(values) for key, values in speeds.items()}
    print(f"\nmedians of {rounds}, {PROCESSES} processes each, clips/s")
    ratios, tuned_ratios = {}, {}
    for form in FORMS:
        own_speed, published_speed, tuned_speed = (median[form, method] for method in ("ours", "published", "tuned"))
        ratios[form], tuned_ratios[form] = round(own_speed / published_speed, 1), round(own_speed / tuned_speed, 1)
        print(
            f"{form:6s} ours {own_speed:6.0f}   published {published_speed:4.0f}: {ratios[form]:5.1f}   "
            f"tuned {tuned_speed:4.0f}: {tuned_ratios[form]:5.1f}"
        )
    machine.print_result({
        "clips_per_second_ratio": ratios["flac"],
        "opus_ratio": ratios["opus"],
        "mp3_ratio": ratios["mp3"],
        "bytes_ratio": round(sizes["published"] / sizes["ours"], 1),
        "against_tuned": tuned_ratios,
    })  # fmt: skip


if __name__ == "__main__":
    main(
        *(
            int(argument) if argument else default
            for argument, default in zip([*sys.argv[1:], None, None], (1740, 2), strict=False)
        )
    )
