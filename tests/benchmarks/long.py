"""Long recordings: the engine and faster-whisper's own pipelines, with the same int8 weights.

    python tests/benchmarks/long.py --base FOLDER [--language sv] [--context full] [--speech FOLDER] [--noise FOLDER]
        [--minutes 10] [--rounds 1] [--rule lenient]

`--base` is a Whisper in Hugging Face's format, or a release, with its own context. Clips of the test split of
`--speech` (audiofolder; by default the sample's) are joined to two recordings: `pauses` with 0.2 to 3 s of silence
between them, and `sounds` with 3 to 20 s of chords and, where `--noise` names a folder, of the recordings in it, at -35
to -20 dB of full scale. The systems take turns on all cores; all give the words' times.

For each: WER; percent of clips with a repetition loop (`scoring/diagnostics.py`); words per minute whose middle lies
half a second or more from any speech; the error of the start of correct words in seconds, in the median
and at the 90th percentile; wall seconds, the median of the rounds. The true start of a word comes from espeak-ng's
library for the sample. Of other speech only the start and the end of clips are known, by their loudness: the start of
the first word and the end of the last.

Left out: detection of the language (it is given), speech over noise, overlapping speakers, and recordings of one
speaker's connected speech: the speaker changes with each clip, so text as a prompt helps less here than elsewhere.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "flows"), str(ROOT / "space"), str(Path(__file__).parent)]

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the Space sets it: numpy's threads spin on after they are done
from asr import terminal  # noqa: E402

terminal.silence_libraries()
import espeak  # noqa: E402
import machine  # noqa: E402
import numpy as np  # noqa: E402
import transcriber as engine  # noqa: E402
from asr.corpus import audio, text  # noqa: E402
from asr.corpus import folder as folders  # noqa: E402
from asr.release import folder  # noqa: E402
from asr.scoring import diagnostics, rates  # noqa: E402
from sample import make  # noqa: E402

RATE, SAMPLE = 16_000, ROOT / "flows" / "sample"
PAUSES, SOUNDS = (0.2, 3.0), (3.0, 20.0)  # seconds between two clips
LEVELS = (-35.0, -20.0)  # decibels of full scale
MIN_DISTANCE = 0.5  # seconds from speech
SPEECH_THRESHOLD = 0.02  # of a clip's peak, above which it has begun
UNKNOWN = float("nan")

Words = list[tuple[str, float, float]]  # with start and end in seconds, NaN where unknown


@dataclass(frozen=True)
class Clip:
    sound: np.ndarray
    text: str
    words: Words


@dataclass(frozen=True)
class Recording:
    sound: np.ndarray
    clips: tuple[Clip, ...]
    begins: tuple[float, ...]  # of the clips, in seconds

    @property
    def ends(self) -> list[float]:
        return [begin + len(clip.sound) / RATE for begin, clip in zip(self.begins, self.clips, strict=True)]

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """The intervals without speech, as starts and ends in seconds."""
        return list(zip([0.0, *self.ends], [*self.begins, len(self.sound) / RATE], strict=True))


# ---- the recordings


def clips(root: Path) -> list[Clip]:
    """The test split, with the words' times as far as they are known."""
    lines = {line.file_name: line for line in make.script() if line.split == "test"} if root == SAMPLE else {}
    test_clips = []
    for row in folders.list_rows(root, 30.0):
        if row.split == "test" and row.audio is not None:
            sound = audio.Recording(row.audio).sound().samples
            line = lines.get(Path(row.clip).name)
            words = timed_words(line, len(sound)) if line else outer_words(sound, row.text)
            test_clips.append(Clip(sound, row.text, words))
    return test_clips


def outer_words(sound: np.ndarray, text: str) -> Words:
    """The words, with the start of the first and the end of the last."""
    loud = np.flatnonzero(np.abs(sound) > SPEECH_THRESHOLD * np.abs(sound).max()) / RATE
    words = text.split()
    starts, ends = [UNKNOWN] * len(words), [UNKNOWN] * len(words)
    starts[0], ends[-1] = float(loud[0]), float(loud[-1])
    return list(zip(words, starts, ends, strict=True))


def timed_words(line: make.Line, samples: int) -> Words:
    """The words of a line of the sample, with their starts if espeak-ng is installed."""
    if not espeak.installed():
        return [(word, UNKNOWN, UNKNOWN) for word in line.text.split()]
    speech = espeak.Synthesizer().synthesize(line.text, f"sv+{line.voice}", line.speed, line.pitch)
    sound = np.pad(speech.sound, (0, RATE))  # the program's output ends with silence
    loud = np.flatnonzero(np.abs(sound) > 0.01)  # as `make.speak` cuts it
    first, last = max(0, loud[0] - RATE // 10), loud[-1] + RATE // 10
    if abs(last - first - samples) > RATE // 20:
        slower = int(line.speed * 0.85)
        return timed_words(replace(line, speed=slower), samples) if slower > 60 else outer_words(np.ones(1), line.text)
    words, position = Words(), 0
    for word in line.text.split():
        words.append((word, speech.begins[position] - first / RATE if position in speech.begins else UNKNOWN, UNKNOWN))
        position += len(word) + 1
    return words


def chords(samples: int, random: np.random.Generator) -> np.ndarray:
    """Music: a new chord of three notes every 0.8 s."""
    seconds, parts = np.arange(int(0.8 * RATE)) / RATE, list[np.ndarray]()
    while len(parts) * len(seconds) < samples:
        notes = 220 * 2 ** (random.choice([0, 3, 5, 7, 10, 12, 15], 3, replace=False) / 12)
        parts.append(np.exp(-2 * seconds) * sum(np.sin(2 * np.pi * note * seconds) for note in notes))
    return np.concatenate(parts)[:samples]


def join_clips(clips: list[Clip], seconds: float, noises: list[np.ndarray] | None, seed: int = 0) -> Recording:
    """Clips in random order, with silence between them, or with music and `noises`."""
    random = np.random.default_rng(seed)
    order, parts, begins, position = random.permutation(len(clips)), list[np.ndarray](), list[float](), 0
    chosen = list[Clip]()
    while position < seconds * RATE:
        samples = int(random.uniform(*(PAUSES if noises is None else SOUNDS)) * RATE)
        gap = np.zeros(samples)
        if noises is not None:
            kind = int(random.integers(len(noises) + 1))
            if kind:
                start = int(random.integers(max(1, len(noises[kind - 1]) - samples)))
                gap = np.resize(noises[kind - 1][start : start + samples], samples)
            else:
                gap = chords(samples, random)
            gap = gap * 10 ** (random.uniform(*LEVELS) / 20) / np.sqrt(np.mean(np.square(gap)) + 1e-12)
        clip = clips[order[len(chosen) % len(clips)]]
        begins.append((position + samples) / RATE)
        chosen.append(clip)
        parts += [gap, clip.sound]
        position += samples + len(clip.sound)
    sound = np.concatenate([*parts, np.zeros(RATE)]).clip(-1, 1).astype(np.float32)
    return Recording(sound, tuple(chosen), tuple(begins))


# ---- the systems and their scores


def score(recording: Recording, hypothesis: Words, rule: str, language: str) -> dict[str, float]:
    """The scores of one system's words in a recording."""
    reference = " ".join(clip.text for clip in recording.clips)
    (errors,) = rates.count_errors([reference], [" ".join(word for word, _, _ in hypothesis)], rule, language)
    middles = np.array([(start + end) / 2 for _, start, end in hypothesis])
    gaps = recording.gaps
    misplaced_words = sum(
        ((middles > start + MIN_DISTANCE) & (middles < end - MIN_DISTANCE)).sum() for start, end in gaps
    )
    quiet_seconds = sum(max(0.0, end - start - 2 * MIN_DISTANCE) for start, end in gaps)
    borders = [0.0, *((start + end) / 2 for start, end in gaps[1:-1]), float("inf")]
    loops, offsets = 0, list[float]()
    for clip, begin, start, end in zip(recording.clips, recording.begins, borders, borders[1:], strict=False):
        words = [word for word, middle in zip(hypothesis, middles, strict=True) if start <= middle < end]
        loops += diagnostics.has_repetition_loop(clip.text, " ".join(word for word, _, _ in words), language)
        words_in_clip = [(word, first - begin, last - begin) for word, first, last in words]
        offsets += distances(clip.words, words_in_clip, rule, language)
    return {
        "wer": rates.wer([errors]),
        "inserted": 100 * errors.insertions / errors.words,
        "deleted": 100 * errors.deletions / errors.words,
        "loops": 100 * loops / len(recording.clips),
        "astray": 60 * float(misplaced_words) / quiet_seconds,
        "off": statistics.median(offsets) if offsets else UNKNOWN,
        "off_90": statistics.quantiles(offsets, n=10)[-1] if len(offsets) > 1 else UNKNOWN,
    }


def distances(reference: Words, hypothesis: Words, rule: str, language: str) -> Iterator[float]:
    """Seconds between the known and the given times, of correct words."""

    def to_units(words: Words) -> tuple[list[str], list[int]]:
        units = [(unit, at) for at, (word, _, _) in enumerate(words) for unit in text.split_units(word, rule, language)]
        return [unit for unit, _ in units], [at for _, at in units]

    (first_units, first_words), (second_units, second_words) = to_units(reference), to_units(hypothesis)
    matcher = difflib.SequenceMatcher(None, first_units, second_units, autojunk=False)
    for start, begin, length in matcher.get_matching_blocks():
        for at in range(length):
            true_times, given_times = reference[first_words[start + at]][1:], hypothesis[second_words[begin + at]][1:]
            for true_time, given_time in zip(true_times, given_times, strict=True):
                if not np.isnan(true_time):
                    yield abs(given_time - true_time)


def systems(ready: Path, language: str) -> dict[str, Callable[[np.ndarray], Words]]:
    """The systems by name: functions from audio to words."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    cores = len(os.sched_getaffinity(0))
    ours = engine.Transcriber(ready, threads=cores)
    plain = WhisperModel(str(ready / folder.SERVED), device="cpu", compute_type="int8", cpu_threads=cores)
    batched = BatchedInferencePipeline(plain)

    def by_engine(beam: int) -> Callable[[np.ndarray], Words]:
        def to_words(sound: np.ndarray) -> Words:
            ours.beam = beam
            words = (word for segment in ours.segments(sound) for word in segment.words)
            return [(word.text, word.start, word.end) for word in words]

        return to_words

    def by_faster_whisper(transcribe: Callable[..., Any], **options: Any) -> Callable[[np.ndarray], Words]:
        def to_words(sound: np.ndarray) -> Words:
            segments = list(transcribe(sound, language=language, word_timestamps=True, **options)[0])
            return [(word.word, word.start, word.end) for segment in segments for word in segment.words or ()]

        return to_words

    return {
        "ours, greedy": by_engine(1),
        "ours, 5 beams": by_engine(5),
        "faster-whisper, 5 beams": by_faster_whisper(plain.transcribe),
        "with vad, 5 beams": by_faster_whisper(plain.transcribe, vad_filter=True),
        "faster-whisper, greedy": by_faster_whisper(plain.transcribe, beam_size=1),
        "batched, 5 beams": by_faster_whisper(batched.transcribe, batch_size=16),
        "batched, greedy": by_faster_whisper(batched.transcribe, batch_size=16, beam_size=1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True, help="a Whisper's folder, or a release's")
    parser.add_argument("--language", default="sv")
    parser.add_argument("--context", choices=["full", "trimmed"], default="full", help="of a base that is no release")
    parser.add_argument("--speech", type=Path, default=SAMPLE, help="audiofolder with a test split")
    parser.add_argument("--noise", type=Path, help="folder of recordings without speech")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rule", default="lenient", help="what counts as the same word")
    parser.add_argument("--digits", action="store_true", help="the speech is digits: 325 is three words, not a number")
    arguments = parser.parse_args()
    test_clips, result = clips(arguments.speech), dict[str, dict[str, dict[str, float]]]()
    noise_files = sorted(arguments.noise.iterdir()) if arguments.noise else []
    noises = [audio.Recording(file).sound().samples for file in noise_files]
    seconds = 60 * arguments.minutes
    recordings = {"pauses": join_clips(test_clips, seconds, None), "sounds": join_clips(test_clips, seconds, noises)}
    with tempfile.TemporaryDirectory() as folder_name:
        ready = arguments.base
        if not (ready / folder.SERVED).is_dir():
            ready = Path(folder_name)
            folder.build_release(ready, arguments.base, arguments.language)
            record = {"format": 2, "language": arguments.language, "context": arguments.context}
            folder.write_json(ready / folder.RECORD, record)
        transcribers = systems(ready, arguments.language)
    print(f"{'':7s} {'':24s}    WER    ins    del  loops  astray/min   off  off 90 %  seconds", flush=True)
    for name, recording in recordings.items():
        times: dict[str, list[float]] = {system: [] for system in transcribers}
        hypotheses, result[name] = dict[str, Words](), {}
        for system in list(transcribers) * arguments.rounds:
            began = time.perf_counter()
            hypotheses[system] = transcribers[system](recording.sound)
            times[system].append(time.perf_counter() - began)
        for system, words in hypotheses.items():
            if arguments.digits:
                words = [(" ".join(re.sub(r"(\d)\D*", r"\1 ", word).split()), start, end) for word, start, end in words]
            scores = score(recording, words, arguments.rule, arguments.language)
            row = {**scores, "seconds": statistics.median(times[system])}
            result[name][system] = {key: round(value, 2) for key, value in row.items()}
            print(
                f"{name:7s} {system:24s} {row['wer']:6.1f} {row['inserted']:6.1f} {row['deleted']:6.1f}"
                f" {row['loops']:6.1f} {row['astray']:11.1f} {row['off']:5.2f} {row['off_90']:9.2f}"
                f" {row['seconds']:8.1f}",
                flush=True,
            )
    machine.print_result({"base": arguments.base.name, "language": arguments.language, **result})


if __name__ == "__main__":
    main()
