"""Serving compared: the pipeline of transformers as the original Space calls it, faster-whisper, whisper.cpp, ours.

    python tests/benchmarks/serving.py [small] [tiny] [long] [gap] [live] [--rounds N] [--release FOLDER]

Without a part, all. `small` and `tiny` transcribe one clip of 3 s with a Whisper of that geometry and random weights;
all systems run on one thread and write the same number of tokens; the figures are CPU seconds, the systems take turns,
the ratios are of medians. The pipeline is called as the original calls it, with its default of five beams; another row
has one beam. whisper.cpp runs our GGML files with its defaults, and again with its context cut to the clip, which is an
option of its user. `rtfx` is the seconds of audio per second of a core. Our second attempt at repetition loops is off,
since random weights repeat themselves (and so is faster-whisper's fallback). `long` is wall time for ten minutes of the
sample's clips with pauses of 0.3 to 3 s, at tiny's geometry on all cores: faster-whisper's batched pipeline, writing 7
tokens per second that it decodes, and ours, writing as many tokens in all; both with its speech detector. `gap` is the
release's own: WER as served less WER in floats. `live` streams the test clips with pauses of 0.3 to 3 s to the release
for five minutes, half a second of audio at a time like the page, and reads the words shown after each: a word's delay
is from its end (by the engine's own times for the clip alone) until it is first shown, in its position among the words
spoken so far.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "flows"), str(ROOT / "space"), str(Path(__file__).parent)]

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the Space sets it: numpy's threads spin on after they are done
from asr import terminal  # noqa: E402

terminal.silence_libraries()
import machine  # noqa: E402
import numpy as np  # noqa: E402
import random_models  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
import transcriber as engine  # noqa: E402
from asr.release import folder, ggml  # noqa: E402
from asr.training import models  # noqa: E402

RATE, TOKENS, TOKENS_A_SECOND, LONG = 16_000, 20, 7, 600.0
CUT_CONTEXT = 50 * 3 + 15  # positions of whisper.cpp's context: 3 s, and as much silence as ours adds
SAMPLE = ROOT / "flows" / "sample" / "test"


def clips() -> list[np.ndarray]:
    """The sample's test clips."""
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(SAMPLE.glob("*.ogg"))]


def build_release(shape: Any, target: Path) -> Path:
    """A release with random weights."""
    torch.manual_seed(0)
    source = models.save(target / "source", *random_models.build(shape, ["Klockan är halv åtta och Åsa köper ägg."]))
    folder.build_release(target / "ready", source, "sv")
    folder.write_json(target / "ready" / folder.RECORD, {"format": 2, "language": "sv"})
    return target / "ready"


class PatchedModel:
    """A CTranslate2 model with another `generate`."""

    def __init__(self, model: Any, generate: Callable[..., Any]) -> None:
        self._model, self.generate = model, generate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def measure(clock: Callable[[], float], call: Callable[[], object]) -> float:
    began = clock()
    call()
    return clock() - began


def clip(shape: Any, rounds: int) -> dict[str, float]:
    """CPU seconds for a clip of 3 s, by system."""
    from faster_whisper import WhisperModel
    from pywhispercpp.model import Model
    from transformers import pipeline

    sound = np.concatenate(clips()[:3])[: 3 * RATE]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder_name:
        ready = build_release(shape, Path(folder_name))
        original = pipeline("automatic-speech-recognition", model=str(ready))
        faster_whisper = WhisperModel(str(ready / "ct2-int8"), device="cpu", compute_type="int8", cpu_threads=1)
        ours = engine.Transcriber(ready, threads=1)
        ggml.write_models(ready)
        whisper_cpp = {
            kind: Model(
                str(ggml.model_path(ready, kind)), redirect_whispercpp_logs_to=None, n_threads=1, language="sv",
                print_progress=False, no_timestamps=True, single_segment=True, temperature_inc=0.0,
                greedy={"best_of": 1}, max_tokens=TOKENS,
            )
            for kind in ggml.KINDS
        }  # fmt: skip
    ours._without_loops = lambda encoded, row, hypothesis, most, options: hypothesis
    engine.MAX_LENGTH = 2 * TOKENS
    token_counts, generate = list[int](), faster_whisper.model.generate

    def counted(*args: Any, **kwargs: Any) -> Any:
        results = generate(*args, **kwargs)
        token_counts.append(len(results[0].sequences_ids[0]))
        return results

    faster_whisper.model = PatchedModel(faster_whisper.model, counted)

    def by_pipeline(**kwargs: Any) -> None:
        original(sound.copy(), generate_kwargs={"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, **kwargs})

    def by_faster_whisper(beams: int) -> None:
        segments, _ = faster_whisper.transcribe(
            sound, language="sv", beam_size=beams, temperature=0.0, max_new_tokens=TOKENS, without_timestamps=True
        )
        list(segments)

    systems: dict[str, Callable[[], object]] = {
        "pipeline, its 5 beams": lambda: by_pipeline(num_beams=5),
        "pipeline, 1 beam": lambda: by_pipeline(num_beams=1),
        "faster-whisper int8, 1 beam": lambda: by_faster_whisper(1),
        "whisper.cpp f16, 1 beam": lambda: whisper_cpp["f16"].transcribe(sound, audio_ctx=0),
        "whisper.cpp q5_0, 1 beam": lambda: whisper_cpp["q5_0"].transcribe(sound, audio_ctx=0),
        "whisper.cpp q5_0, cut to the clip": lambda: whisper_cpp["q5_0"].transcribe(sound, audio_ctx=CUT_CONTEXT),
        "ours, 1 beam": lambda: list(ours.segments(sound, words=False)),
        "ours, with words and their times": lambda: ours.transcribe(sound),
    }
    for run in systems.values():
        run()  # warm
    times = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            times[name].append(measure(time.process_time, run))
    print(f"faster-whisper wrote {min(token_counts)} to {max(token_counts)} tokens, the others {TOKENS}")
    return {name: statistics.median(values) for name, values in times.items()}


def long(rounds: int) -> dict[str, float]:
    """Wall seconds for ten minutes with pauses."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    random, parts, seconds = np.random.default_rng(0), list[np.ndarray](), 0.0
    test_clips = clips()
    while seconds < LONG:
        parts += [
            test_clips[len(parts) // 2 % len(test_clips)],
            np.zeros(int(random.uniform(0.3, 3.0) * RATE), np.float32),
        ]
        seconds += sum(map(len, parts[-2:])) / RATE
    sound, cores = np.concatenate(parts), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder_name:
        ready = build_release(random_models.TINY, Path(folder_name))
        batched = BatchedInferencePipeline(
            WhisperModel(str(ready / "ct2-int8"), device="cpu", compute_type="int8", cpu_threads=cores)
        )
        ours = engine.Transcriber(ready, threads=cores)
    ours._without_loops = lambda encoded, row, hypothesis, most, options: hypothesis
    own_generate = ours._model.generate

    their_generate = batched.model.model.generate
    written, rate = {"theirs": 0, "ours": 0}, [float(TOKENS_A_SECOND)]

    def counted(system: str, results: Any) -> Any:
        written[system] += sum(len(result.sequences_ids[0]) for result in results)
        return results

    def generate_as_many(features: Any, prompts: Any, **options: Any) -> Any:
        """Write `rate` tokens per second of the longest audio in a batch."""
        length = 2 * math.ceil(rate[0] * features.shape[2] / 100)
        return counted("ours", own_generate(features, prompts, **{**options, "max_length": length}))

    ours._model = PatchedModel(ours._model, generate_as_many)
    batched.model.model = PatchedModel(
        batched.model.model, lambda *args, **kwargs: counted("theirs", their_generate(*args, **kwargs))
    )
    systems: dict[str, Callable[[], object]] = {
        "faster-whisper, batched": lambda: list(
            batched.transcribe(
                sound, language="sv", beam_size=1, batch_size=8, temperature=0.0, without_timestamps=True,
                max_new_tokens=TOKENS_A_SECOND * 30,
            )[0]
        ),
        "ours": lambda: list(ours.segments(sound, words=False)),
    }  # fmt: skip
    for run in systems.values():
        run()
    rate[0] *= written["theirs"] / written["ours"]  # as many tokens in all: short windows have more edges
    written.update(theirs=0, ours=0)
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, run in systems.items():
            times[name].append(measure(time.perf_counter, run))
    print(f"tokens written: {written}")
    return {name: statistics.median(values) for name, values in times.items()}


TimedWord = tuple[str, float, float]  # a word, its start and its end, in seconds


def speech(transcriber: engine.Transcriber, seconds: float) -> tuple[np.ndarray, list[TimedWord]]:
    """The test clips with pauses of 0.3 to 3 s, and their words by the engine from each clip alone."""
    random, test_clips = np.random.default_rng(0), clips()
    parts, words, start = list[np.ndarray](), list[TimedWord](), 0.0
    while start < seconds:
        clip = test_clips[len(parts) // 2 % len(test_clips)]
        clip_words = (word for segment in transcriber.segments(clip) for word in segment.words)
        words += [(word.text, start + word.start, start + word.end) for word in clip_words]
        parts += [clip, np.zeros(int(random.uniform(0.3, 3.0) * RATE), np.float32)]
        start += sum(map(len, parts[-2:])) / RATE
    return np.concatenate(parts), words


def delays(words: Sequence[TimedWord], readings: Sequence[tuple[float, list[str]]]) -> dict[int, float]:
    """Seconds from the end of each word until it is first shown in its position, by the word's index."""
    delays_by_word = dict[int, float]()
    for seconds, shown in readings:
        spoken = [text for text, start, _ in words if start < seconds]
        for first, _, count in difflib.SequenceMatcher(None, spoken, shown, autojunk=False).get_matching_blocks():
            for word in range(first, first + count):
                delays_by_word.setdefault(word, seconds - words[word][2])
    return delays_by_word


def live(folder: Path, seconds: float = 300.0) -> dict[str, float]:
    """Seconds from a word's end until it is shown, and the share of words that were shown."""
    from live_transcription import LiveSession

    transcriber = engine.Transcriber(folder, threads=1)
    sound, words = speech(transcriber, seconds)
    readings = list[tuple[float, list[str]]]()
    session, began = LiveSession(transcriber), time.monotonic()
    for start in range(0, len(sound), RATE // 2):
        piece = sound[start : start + RATE // 2]
        time.sleep(max(0.0, began + (start + len(piece)) / RATE - time.monotonic()))
        session.add(piece)
        readings.append((time.monotonic() - began, session.final_words + session.tentative_words))
    session.finish()
    readings.append((time.monotonic() - began, session.final_words))
    delays_by_word = delays(words, readings)
    ends = {word: words[word][2] for word in delays_by_word}
    return {
        "seconds, median": statistics.median(delays_by_word.values()),
        "seconds, first minute": statistics.median(delays_by_word[word] for word in delays_by_word if ends[word] < 60),
        "seconds, last minute": statistics.median(
            delays_by_word[word] for word in delays_by_word if ends[word] > seconds - 60
        ),
        "seconds, 90th percentile": statistics.quantiles(delays_by_word.values(), n=10)[-1],
        "share of words shown": len(delays_by_word) / len(words),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["small", "tiny", "long", "gap", "live"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--release", type=Path, default=Path("released/latest"), help="for gap and live")
    arguments = parser.parse_args()
    result: dict[str, float] = {}

    def show(part: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            speed = f"   rtfx {3 / value:6.1f}" if part in ("small", "tiny") else ""
            print(f"{part:6s} {name:34s} {value:10.3f}{speed}", flush=True)

    for part, shape in (("small", random_models.SMALL), ("tiny", random_models.TINY)):
        if part in arguments.parts:
            times = clip(shape, arguments.rounds)
            show(part, times)
            own_time = times["ours, 1 beam"]
            result[f"{part}_rtfx"] = round(3 / own_time, 1)
            result[f"{part}_whisper_cpp_ratio"] = round(
                min(times[name] for name in times if "whisper.cpp" in name) / own_time, 2
            )
            result[f"{part}_ratio"] = round(times["pipeline, its 5 beams"] / own_time, 2)
            if part == "small" or "small" not in arguments.parts:
                result["faster_whisper_ratio"] = round(times["faster-whisper int8, 1 beam"] / own_time, 2)
    if "long" in arguments.parts:
        times = long(max(1, arguments.rounds // 2))
        show("long", times)
        result["long_ratio"] = round(times["faster-whisper, batched"] / times["ours"], 2)
    if "gap" in arguments.parts:
        record = json.loads((arguments.release / "release.json").read_text(encoding="utf-8"))
        result["served_wer_gap"] = round(record["served_wer"] - record["test_wer"], 3)
        show("gap", {"WER points": result["served_wer_gap"]})
    if "live" in arguments.parts:
        times = live(arguments.release)
        show("live", times)
        result["live_delay_s"] = round(times["seconds, median"], 2)
    machine.print_result(result)


if __name__ == "__main__":
    main()
