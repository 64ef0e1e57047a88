"""Serving side by side: the pipeline of transformers as the original Space calls it, faster-whisper, whisper.cpp, ours.

    python tests/benchmarks/serving.py [small] [tiny] [long] [gap] [live] [--rounds N] [--release FOLDER]

Without a part, all. `small` and `tiny` hear one clip of 3 s with a Whisper of that geometry and random weights, all
systems on one thread, all made to write the same number of tokens; the figures are CPU seconds, the systems take turns,
the ratios are of medians. The pipeline is called as the original does, with its default of five beams; a row with one
beam stands beside it. whisper.cpp runs our GGML files as users of it do, and once more with its context cut to the
clip, which it leaves to its user. `rtfx` is the seconds of sound that a core hears in one. Our loops' second try is
off, since random weights go round in loops (faster-whisper's fallback too). `long` is wall time for ten minutes of the
sample's clips with pauses of 0.3 to 3 s, at tiny's geometry on all cores: faster-whisper's batched pipeline, writing 7
tokens for a second of what it decodes, and ours, writing as many tokens in all; both with its detector of speech. `gap`
is the release's own: WER as served less WER in floats. `live` speaks the test clips with pauses of 0.3 to 3 s to the
release for five minutes, half a second of sound at a time as the page does, and looks at the words shown after each: a
word's delay is from its end (by the engine's own times for the clip alone) until it first stands there, in its place
among the words said so far.
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
from asr import console  # noqa: E402

console.silence_libraries()
import machine  # noqa: E402
import numpy as np  # noqa: E402
import random_models  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
import transcriber as engine  # noqa: E402
from asr.release import folder, ggml  # noqa: E402
from asr.training import models  # noqa: E402

RATE, TOKENS, TOKENS_A_SECOND, LONG = 16_000, 20, 7, 600.0
CUT = 50 * 3 + 15  # positions of whisper.cpp's context: 3 s, and as much silence as ours adds
SAMPLE = ROOT / "flows" / "sample" / "test"


def clips() -> list[np.ndarray]:
    """The sample's test clips."""
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(SAMPLE.glob("*.ogg"))]


def made(shape: Any, place: Path) -> Path:
    """A release with random weights."""
    torch.manual_seed(0)
    source = models.save(place / "source", *random_models.build(shape, ["Klockan är halv åtta och Åsa köper ägg."]))
    folder.build_release(place / "ready", source, "sv")
    folder.write_json(place / "ready" / folder.RECORD, {"format": 2, "language": "sv"})
    return place / "ready"


class Wrapped:
    """A CTranslate2 model with another `generate`."""

    def __init__(self, model: Any, generate: Callable[..., Any]) -> None:
        self._model, self.generate = model, generate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def spent(clock: Callable[[], float], work: Callable[[], object]) -> float:
    began = clock()
    work()
    return clock() - began


def clip(shape: Any, rounds: int) -> dict[str, float]:
    """CPU seconds for a clip of 3 s, by system."""
    from faster_whisper import WhisperModel
    from pywhispercpp.model import Model
    from transformers import pipeline

    sound = np.concatenate(clips()[:3])[: 3 * RATE]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        ready = made(shape, Path(place))
        original = pipeline("automatic-speech-recognition", model=str(ready))
        plain = WhisperModel(str(ready / "ct2-int8"), device="cpu", compute_type="int8", cpu_threads=1)
        ours = engine.Transcriber(ready, threads=1)
        ggml.write_models(ready)
        cpp = {
            kind: Model(
                str(ggml.model_path(ready, kind)), redirect_whispercpp_logs_to=None, n_threads=1, language="sv",
                print_progress=False, no_timestamps=True, single_segment=True, temperature_inc=0.0,
                greedy={"best_of": 1}, max_tokens=TOKENS,
            )
            for kind in ggml.KINDS
        }  # fmt: skip
    ours._without_loops = lambda encoded, row, hypothesis, most, options: hypothesis
    engine.MAX_LENGTH = 2 * TOKENS
    wrote, generate = list[int](), plain.model.generate

    def counted(*given: Any, **more: Any) -> Any:
        results = generate(*given, **more)
        wrote.append(len(results[0].sequences_ids[0]))
        return results

    plain.model = Wrapped(plain.model, counted)

    def by_pipeline(**more: Any) -> None:
        original(sound.copy(), generate_kwargs={"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, **more})

    def by_faster_whisper(beams: int) -> None:
        segments, _ = plain.transcribe(
            sound, language="sv", beam_size=beams, temperature=0.0, max_new_tokens=TOKENS, without_timestamps=True
        )
        list(segments)

    systems: dict[str, Callable[[], object]] = {
        "pipeline, its 5 beams": lambda: by_pipeline(num_beams=5),
        "pipeline, 1 beam": lambda: by_pipeline(num_beams=1),
        "faster-whisper int8, 1 beam": lambda: by_faster_whisper(1),
        "whisper.cpp f16, 1 beam": lambda: cpp["f16"].transcribe(sound, audio_ctx=0),
        "whisper.cpp q5_0, 1 beam": lambda: cpp["q5_0"].transcribe(sound, audio_ctx=0),
        "whisper.cpp q5_0, cut to the clip": lambda: cpp["q5_0"].transcribe(sound, audio_ctx=CUT),
        "ours, 1 beam": lambda: list(ours.segments(sound, words=False)),
        "ours, with words and their times": lambda: ours.transcribe(sound),
    }
    for work in systems.values():
        work()  # warm
    times = {name: [] for name in systems}
    for _ in range(rounds):
        for name, work in systems.items():
            times[name].append(spent(time.process_time, work))
    print(f"faster-whisper wrote {min(wrote)} to {max(wrote)} tokens, the others {TOKENS}")
    return {name: statistics.median(taken) for name, taken in times.items()}


def long(rounds: int) -> dict[str, float]:
    """Wall seconds for ten minutes with pauses, and what each decoded."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    random, parts, seconds = np.random.default_rng(0), list[np.ndarray](), 0.0
    said = clips()
    while seconds < LONG:
        parts += [said[len(parts) // 2 % len(said)], np.zeros(int(random.uniform(0.3, 3.0) * RATE), np.float32)]
        seconds += sum(map(len, parts[-2:])) / RATE
    sound, cores = np.concatenate(parts), len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        ready = made(random_models.TINY, Path(place))
        batched = BatchedInferencePipeline(
            WhisperModel(str(ready / "ct2-int8"), device="cpu", compute_type="int8", cpu_threads=cores)
        )
        ours = engine.Transcriber(ready, threads=cores)
    ours._without_loops = lambda encoded, row, hypothesis, most, options: hypothesis
    generate = ours._model.generate

    theirs = batched.model.model.generate
    written, rate = {"theirs": 0, "ours": 0}, [float(TOKENS_A_SECOND)]

    def counted(of: str, results: Any) -> Any:
        written[of] += sum(len(result.sequences_ids[0]) for result in results)
        return results

    def as_many(features: Any, prompts: Any, **options: Any) -> Any:
        """So many tokens for each second of the longest sound in a batch."""
        length = 2 * math.ceil(rate[0] * features.shape[2] / 100)
        return counted("ours", generate(features, prompts, **{**options, "max_length": length}))

    ours._model = Wrapped(ours._model, as_many)
    batched.model.model = Wrapped(batched.model.model, lambda *given, **more: counted("theirs", theirs(*given, **more)))
    systems: dict[str, Callable[[], object]] = {
        "faster-whisper, batched": lambda: list(
            batched.transcribe(
                sound, language="sv", beam_size=1, batch_size=8, temperature=0.0, without_timestamps=True,
                max_new_tokens=TOKENS_A_SECOND * 30,
            )[0]
        ),
        "ours": lambda: list(ours.segments(sound, words=False)),
    }  # fmt: skip
    for work in systems.values():
        work()
    rate[0] *= written["theirs"] / written["ours"]  # as many tokens in all: short windows have more edges
    written.update(theirs=0, ours=0)
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, work in systems.items():
            times[name].append(spent(time.perf_counter, work))
    print(f"tokens written: {written}")
    return {name: statistics.median(taken) for name, taken in times.items()}


Spoken = tuple[str, float, float]  # a word, and when it begins and ends, in seconds


def speech(heard: engine.Transcriber, seconds: float) -> tuple[np.ndarray, list[Spoken]]:
    """The test clips with pauses of 0.3 to 3 s, and their words as the engine hears each clip alone."""
    random, said = np.random.default_rng(0), clips()
    parts, words, at = list[np.ndarray](), list[Spoken](), 0.0
    while at < seconds:
        clip = said[len(parts) // 2 % len(said)]
        spoken = (word for segment in heard.segments(clip) for word in segment.words)
        words += [(word.text, at + word.start, at + word.end) for word in spoken]
        parts += [clip, np.zeros(int(random.uniform(0.3, 3.0) * RATE), np.float32)]
        at += sum(map(len, parts[-2:])) / RATE
    return np.concatenate(parts), words


def delays(words: Sequence[Spoken], screens: Sequence[tuple[float, list[str]]]) -> dict[int, float]:
    """Seconds from the end of each word, by its place, until it first stands on a screen, in its place among them."""
    found = dict[int, float]()
    for now, shown in screens:
        sofar = [text for text, start, _ in words if start < now]
        for here, _, many in difflib.SequenceMatcher(None, sofar, shown, autojunk=False).get_matching_blocks():
            for word in range(here, here + many):
                found.setdefault(word, now - words[word][2])
    return found


def live(folder: Path, seconds: float = 300.0) -> dict[str, float]:
    """Seconds from a word's end until it is on the screen, and how many of the words came to be there."""
    from live_transcription import LiveSession

    heard = engine.Transcriber(folder, threads=1)
    sound, words = speech(heard, seconds)
    screens = list[tuple[float, list[str]]]()
    session, began = LiveSession(heard), time.monotonic()
    for start in range(0, len(sound), RATE // 2):
        piece = sound[start : start + RATE // 2]
        time.sleep(max(0.0, began + (start + len(piece)) / RATE - time.monotonic()))
        session.add(piece)
        screens.append((time.monotonic() - began, session.final_words + session.tentative_words))
    session.finish()
    screens.append((time.monotonic() - began, session.final_words))
    found = delays(words, screens)
    ends = {word: words[word][2] for word in found}
    return {
        "seconds, median": statistics.median(found.values()),
        "seconds, first minute": statistics.median(found[word] for word in found if ends[word] < 60),
        "seconds, last minute": statistics.median(found[word] for word in found if ends[word] > seconds - 60),
        "seconds, 90th percentile": statistics.quantiles(found.values(), n=10)[-1],
        "share of words shown": len(found) / len(words),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["small", "tiny", "long", "gap", "live"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--release", type=Path, default=Path("released/latest"), help="for gap and live")
    given = parser.parse_args()
    told: dict[str, float] = {}

    def show(part: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            speed = f"   rtfx {3 / value:6.1f}" if part in ("small", "tiny") else ""
            print(f"{part:6s} {name:34s} {value:10.3f}{speed}", flush=True)

    for part, shape in (("small", random_models.SMALL), ("tiny", random_models.TINY)):
        if part in given.parts:
            took = clip(shape, given.rounds)
            show(part, took)
            mine = took["ours, 1 beam"]
            told[f"{part}_rtfx"] = round(3 / mine, 1)
            told[f"{part}_whisper_cpp_ratio"] = round(
                min(took[name] for name in took if "whisper.cpp" in name) / mine, 2
            )
            told[f"{part}_ratio"] = round(took["pipeline, its 5 beams"] / mine, 2)
            if part == "small" or "small" not in given.parts:
                told["faster_whisper_ratio"] = round(took["faster-whisper int8, 1 beam"] / mine, 2)
    if "long" in given.parts:
        took = long(max(1, given.rounds // 2))
        show("long", took)
        told["long_ratio"] = round(took["faster-whisper, batched"] / took["ours"], 2)
    if "gap" in given.parts:
        record = json.loads((given.release / "release.json").read_text(encoding="utf-8"))
        told["served_wer_gap"] = round(record["served_wer"] - record["test_wer"], 3)
        show("gap", {"WER points": told["served_wer_gap"]})
    if "live" in given.parts:
        took = live(given.release)
        show("live", took)
        told["live_delay_s"] = round(took["seconds, median"], 2)
    machine.print_result(told)


if __name__ == "__main__":
    main()
