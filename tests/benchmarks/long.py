"""Long recordings side by side: the engine, and faster-whisper's own pipelines on the same int8 weights.

    python tests/benchmarks/long.py --base FOLDER [--language sv] [--context full] [--speech FOLDER] [--noise FOLDER]
        [--minutes 10] [--rounds 1] [--rule lenient]

`--base` is a Whisper in Hugging Face's format, or a release, whose own context then counts. Clips of the test split of
`--speech` (audiofolder; by default the sample's) are joined to two recordings: `pauses` with 0.2 to 3 s of silence
between them, and `sounds` with 3 to 20 s of chords and, where `--noise` names a folder, of the recordings in it, at -35
to -20 dB of full scale. The systems take turns on all cores; all tell the words' times.

For each: WER; percent of clips that were heard as a loop (`scoring/behaviour.py`); words a minute whose middle lies
half a second or more inside a stretch without speech; seconds by which words that were heard rightly begin off, in the
median and at the 90th percentile; wall seconds, the median of the rounds. When a word truly begins is asked of
espeak-ng's library for the sample; of other speech only where clips begin and end is known, by their loudness: there it
is each clip's first word's begin and last word's end.

Left out: the language's detection (all are told it), speech with noise beneath it, several speakers at once,
and recordings whose clips are one speaker's connected talk: clips change their speaker, so that text as a
prompt helps less here than it may elsewhere.
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
from asr import console  # noqa: E402

console.silence_libraries()
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
INSIDE = 0.5  # seconds from speech
LOUD = 0.02  # of a clip's peak, below which it has not begun
UNKNOWN = float("nan")

Words = list[tuple[str, float, float]]  # with start and end in seconds, where they are known


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
    def stretches(self) -> list[tuple[float, float]]:
        """Where nobody speaks."""
        return list(zip([0.0, *self.ends], [*self.begins, len(self.sound) / RATE], strict=True))


# ---- what is said, and when


def clips(root: Path) -> list[Clip]:
    """The test split, its words' times as far as they are known."""
    lines = {line.file_name: line for line in make.script() if line.split == "test"} if root == SAMPLE else {}
    found = []
    for row in folders.list_rows(root, 30.0):
        if row.split == "test" and row.audio is not None:
            sound = audio.Recording(row.audio).sound().samples
            line = lines.get(Path(row.clip).name)
            found.append(Clip(sound, row.text, spoken(line, len(sound)) if line else edges(sound, row.text)))
    return found


def edges(sound: np.ndarray, said: str) -> Words:
    """The words, of which only the first one's start and the last one's end are known."""
    loud = np.flatnonzero(np.abs(sound) > LOUD * np.abs(sound).max()) / RATE
    told = said.split()
    starts, ends = [UNKNOWN] * len(told), [UNKNOWN] * len(told)
    starts[0], ends[-1] = float(loud[0]), float(loud[-1])
    return list(zip(told, starts, ends, strict=True))


def spoken(line: make.Line, samples: int) -> Words:
    """A sample's line with the times at which espeak-ng begins its words, if it is installed."""
    if not espeak.installed():
        return [(word, UNKNOWN, UNKNOWN) for word in line.text.split()]
    said = espeak.Synthesizer().say(line.text, f"sv+{line.voice}", line.speed, line.pitch)
    sound = np.pad(said.sound, (0, RATE))  # the program ends with some quiet
    loud = np.flatnonzero(np.abs(sound) > 0.01)  # as `make.speak` cuts it
    first, last = max(0, loud[0] - RATE // 10), loud[-1] + RATE // 10
    if abs(last - first - samples) > RATE // 20:
        slower = int(line.speed * 0.85)
        return spoken(replace(line, speed=slower), samples) if slower > 60 else edges(np.ones(1), line.text)
    words, at = Words(), 0
    for word in line.text.split():
        words.append((word, said.begins[at] - first / RATE if at in said.begins else UNKNOWN, UNKNOWN))
        at += len(word) + 1
    return words


def chords(samples: int, random: np.random.Generator) -> np.ndarray:
    """Music: three notes struck together every 0.8 s, each time others."""
    seconds, parts = np.arange(int(0.8 * RATE)) / RATE, list[np.ndarray]()
    while len(parts) * len(seconds) < samples:
        notes = 220 * 2 ** (random.choice([0, 3, 5, 7, 10, 12, 15], 3, replace=False) / 12)
        parts.append(np.exp(-2 * seconds) * sum(np.sin(2 * np.pi * note * seconds) for note in notes))
    return np.concatenate(parts)[:samples]


def recording(said: list[Clip], seconds: float, noises: list[np.ndarray] | None, seed: int = 0) -> Recording:
    """Clips in a drawn order, with silence between them, or with music and `noises`."""
    random = np.random.default_rng(seed)
    order, parts, begins, at = random.permutation(len(said)), list[np.ndarray](), list[float](), 0
    chosen = list[Clip]()
    while at < seconds * RATE:
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
        clip = said[order[len(chosen) % len(said)]]
        begins.append((at + samples) / RATE)
        chosen.append(clip)
        parts += [gap, clip.sound]
        at += samples + len(clip.sound)
    sound = np.concatenate([*parts, np.zeros(RATE)]).clip(-1, 1).astype(np.float32)
    return Recording(sound, tuple(chosen), tuple(begins))


# ---- what was heard


def score(of: Recording, heard: Words, rule: str, language: str) -> dict[str, float]:
    """The figures of one system's words in a recording."""
    said = " ".join(clip.text for clip in of.clips)
    (wrong,) = rates.count_errors([said], [" ".join(word for word, _, _ in heard)], rule, language)
    middles = np.array([(start + end) / 2 for _, start, end in heard])
    astray = sum(((middles > start + INSIDE) & (middles < end - INSIDE)).sum() for start, end in of.stretches)
    quiet = sum(max(0.0, end - start - 2 * INSIDE) for start, end in of.stretches)
    borders = [0.0, *((start + end) / 2 for start, end in of.stretches[1:-1]), float("inf")]
    loops, off = 0, list[float]()
    for clip, begin, start, end in zip(of.clips, of.begins, borders, borders[1:], strict=False):
        own = [word for word, middle in zip(heard, middles, strict=True) if start <= middle < end]
        loops += diagnostics.has_repetition_loop(clip.text, " ".join(word for word, _, _ in own), language)
        off += distances(clip.words, [(word, first - begin, last - begin) for word, first, last in own], rule, language)
    return {
        "wer": rates.wer([wrong]),
        "inserted": 100 * wrong.insertions / wrong.words,
        "deleted": 100 * wrong.deletions / wrong.words,
        "loops": 100 * loops / len(of.clips),
        "astray": 60 * float(astray) / quiet,
        "off": statistics.median(off) if off else UNKNOWN,
        "off_90": statistics.quantiles(off, n=10)[-1] if len(off) > 1 else UNKNOWN,
    }


def distances(said: Words, heard: Words, rule: str, language: str) -> Iterator[float]:
    """Seconds between the times that are known and those told, of the words that were heard rightly."""

    def apart(words: Words) -> tuple[list[str], list[int]]:
        units = [(unit, at) for at, (word, _, _) in enumerate(words) for unit in text.split_units(word, rule, language)]
        return [unit for unit, _ in units], [at for _, at in units]

    (one, ones), (other, others) = apart(said), apart(heard)
    for start, begin, length in difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks():
        for at in range(length):
            for true, told in zip(said[ones[start + at]][1:], heard[others[begin + at]][1:], strict=True):
                if not np.isnan(true):
                    yield abs(told - true)


def systems(ready: Path, language: str) -> dict[str, Callable[[np.ndarray], Words]]:
    """By name: a sound to its words."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    cores = len(os.sched_getaffinity(0))
    ours = engine.Transcriber(ready, threads=cores)
    plain = WhisperModel(str(ready / folder.SERVED), device="cpu", compute_type="int8", cpu_threads=cores)
    batched = BatchedInferencePipeline(plain)

    def by_engine(beam: int) -> Callable[[np.ndarray], Words]:
        def hear(sound: np.ndarray) -> Words:
            ours.beam = beam
            found = (word for segment in ours.segments(sound) for word in segment.words)
            return [(word.text, word.start, word.end) for word in found]

        return hear

    def theirs(transcribe: Callable[..., Any], **options: Any) -> Callable[[np.ndarray], Words]:
        def hear(sound: np.ndarray) -> Words:
            segments = list(transcribe(sound, language=language, word_timestamps=True, **options)[0])
            return [(word.word, word.start, word.end) for segment in segments for word in segment.words or ()]

        return hear

    return {
        "ours, greedy": by_engine(1),
        "ours, 5 beams": by_engine(5),
        "faster-whisper, 5 beams": theirs(plain.transcribe),
        "with vad, 5 beams": theirs(plain.transcribe, vad_filter=True),
        "faster-whisper, greedy": theirs(plain.transcribe, beam_size=1),
        "batched, 5 beams": theirs(batched.transcribe, batch_size=16),
        "batched, greedy": theirs(batched.transcribe, batch_size=16, beam_size=1),
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
    given = parser.parse_args()
    said, told = clips(given.speech), dict[str, dict[str, dict[str, float]]]()
    noises = [audio.Recording(file).sound().samples for file in sorted(given.noise.iterdir())] if given.noise else []
    seconds = 60 * given.minutes
    recordings = {"pauses": recording(said, seconds, None), "sounds": recording(said, seconds, noises)}
    with tempfile.TemporaryDirectory() as place:
        ready = given.base
        if not (ready / folder.SERVED).is_dir():
            ready = Path(place)
            folder.build_release(ready, given.base, given.language)
            told_of = {"format": 2, "language": given.language, "context": given.context}
            folder.write_json(ready / folder.RECORD, told_of)
        hearing = systems(ready, given.language)
    print(f"{'':7s} {'':24s}    WER    ins    del  loops  astray/min   off  off 90 %  seconds", flush=True)
    for name, of in recordings.items():
        taken: dict[str, list[float]] = {system: [] for system in hearing}
        heard, told[name] = dict[str, Words](), {}
        for system in list(hearing) * given.rounds:
            began = time.perf_counter()
            heard[system] = hearing[system](of.sound)
            taken[system].append(time.perf_counter() - began)
        for system, words in heard.items():
            if given.digits:
                words = [(" ".join(re.sub(r"(\d)\D*", r"\1 ", word).split()), start, end) for word, start, end in words]
            row = {**score(of, words, given.rule, given.language), "seconds": statistics.median(taken[system])}
            told[name][system] = {key: round(value, 2) for key, value in row.items()}
            print(
                f"{name:7s} {system:24s} {row['wer']:6.1f} {row['inserted']:6.1f} {row['deleted']:6.1f}"
                f" {row['loops']:6.1f} {row['astray']:11.1f} {row['off']:5.2f} {row['off_90']:9.2f}"
                f" {row['seconds']:8.1f}",
                flush=True,
            )
    machine.print_result({"base": given.base.name, "language": given.language, **told})


if __name__ == "__main__":
    main()
