"""Preprocessing against the widely copied recipe: clips a second and bytes a clip, both with two processes.

    python tests/benchmarks/preprocess.py [CLIPS] [ROUNDS]

The reference is `datasets.map(num_proc=2)` with `WhisperFeatureExtractor`: every clip becomes the log-mels of 30 s.
Ours lists the folder, judges every clip, packs FLAC in Parquet and joins the parts. Both read the same clips of the
sample, held as 16 kHz FLAC, as the Opus files they are, and as 48 kHz MP3 (the way Common Voice ships). They take
turns; the table shows medians.

The recipe runs twice: as it is published, where each process computes its log-mels with as many torch threads as
there are cores, and tuned, with one torch thread a process, which nobody writes but is its best setting. The ratios are
against the published one; those against the tuned one stand beside them. For both speaks: only `map` is timed, not the
listing of the folder; tokenising is left out; audio is decoded by soundfile, since torchcodec is not at hand. What ours
leaves for later: log-mels, which training computes when it makes a batch (about 1 ms a clip).
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
from asr import compute  # noqa: E402
from asr.corpus import audio, clips, folder, manifest, shards, sources  # noqa: E402
from asr.settings import Settings  # noqa: E402
from asr.store import Store  # noqa: E402

PROCESSES = 2
CORES = compute.cores()


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


def lay_out(place: Path, count: int, form: str) -> Path:
    """An audiofolder of the sample's first clips, in proportion of its splits."""
    import pandas as pd

    every = folder.list_rows(sources.SAMPLE, 30.0)
    for split in ("train", "validation", "test"):
        rows = [row for row in every if row.split == split]
        rows = rows[: max(1, count * len(rows) // len(every))]
        (place / form / split).mkdir(parents=True)
        for at, row in enumerate(rows):
            assert isinstance(row.audio, Path)
            FORMS[form](row.audio, place / form / split / f"{at}")
        names = [f"{at}.{form}" for at in range(len(rows))]
        table = pd.DataFrame({"file_name": names, "transcription": [row.text for row in rows]})
        table.to_csv(place / form / split / "metadata.csv", index=False)
    return place / form


def published(corpus: Path, place: Path, threads: int | None = None) -> tuple[float, int, int]:
    """Seconds, clips and bytes of the recipe."""
    import datasets
    import torch
    from transformers import WhisperFeatureExtractor

    torch.set_num_threads(threads or CORES)
    extractor = WhisperFeatureExtractor()
    loaded = {  # `load_dataset("audiofolder")` would decode by torchcodec
        part.name: datasets.Dataset.from_dict({"audio": [str(file) for file in sorted(part.glob("*[0-9].*"))]})
        for part in corpus.iterdir()
    }

    def prepare(example: dict) -> dict:
        sound, rate = soundfile.read(example["audio"], dtype="float32")
        sound = sound if rate == audio.RATE else soxr.resample(sound, rate, audio.RATE)
        return {"input_features": extractor(sound, sampling_rate=audio.RATE).input_features[0]}

    (place / "mapped").mkdir()
    began, count = time.perf_counter(), 0
    for split, dataset in loaded.items():
        mapped = dataset.map(
            prepare,
            remove_columns=dataset.column_names,
            num_proc=min(PROCESSES, len(dataset)),
            cache_file_name=str(place / "mapped" / f"{split}.arrow"),
        )
        count += len(mapped)
    seconds = time.perf_counter() - began
    stored = sum(file.stat().st_size for file in (place / "mapped").iterdir())
    return seconds, count, stored


def tuned(corpus: Path, place: Path) -> tuple[float, int, int]:
    """The recipe with one torch thread a process."""
    return published(corpus, place, threads=1)


def _pack(part: sources.Part, settings: Settings, place: Path) -> shards.PackedPart:
    return shards.pack_rows(sources.read_part(part), settings, Store.in_folder(place).put)[0]


def ours(corpus: Path, place: Path) -> tuple[float, int, int]:
    """The same of our own way, from listing the folder to the joined corpus."""
    settings = Settings.model_validate({"corpus": {"source": "folder", "path": str(corpus), "shard_clips": 100}})
    began = time.perf_counter()
    parts = sources.list_parts(settings.corpus)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("fork")) as pool:
        packed = [pool.submit(_pack, part, settings, place) for part in parts]
        joined = manifest.merge_parts([one.result() for one in packed], settings.corpus)
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
        corpora = {form: lay_out(Path(scratch), count, form) for form in FORMS}
        for _ in range(rounds):
            for form, corpus in corpora.items():
                for way in (published, tuned, ours):
                    with tempfile.TemporaryDirectory(dir=scratch) as place:
                        seconds, made, stored = way(corpus, Path(place))
                    speeds.setdefault((form, way.__name__), []).append(made / seconds)
                    sizes[way.__name__] = stored / made
                    print(
                        f"{form:9s} {way.__name__:10s} {made / seconds:7.0f} {stored / made / 1000:11.1f}", flush=True
                    )
    median = {key: statistics.median(values) for key, values in speeds.items()}
    print(f"\nmedians of {rounds}, {PROCESSES} processes each, clips/s")
    ratio, beside = {}, {}
    for form in FORMS:
        fast, slow, quick = (median[form, way] for way in ("ours", "published", "tuned"))
        ratio[form], beside[form] = round(fast / slow, 1), round(fast / quick, 1)
        told = f"published {slow:4.0f}: {ratio[form]:5.1f}   tuned {quick:4.0f}: {beside[form]:5.1f}"
        print(f"{form:6s} ours {fast:6.0f}   {told}")
    machine.print_result({
        "clips_per_second_ratio": ratio["flac"],
        "opus_ratio": ratio["opus"],
        "mp3_ratio": ratio["mp3"],
        "bytes_ratio": round(sizes["published"] / sizes["ours"], 1),
        "against_tuned": beside,
    })  # fmt: skip


if __name__ == "__main__":
    main(
        *(int(given) if given else usual for given, usual in zip([*sys.argv[1:], None, None], (1740, 2), strict=False))
    )
