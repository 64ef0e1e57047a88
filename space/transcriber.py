"""Speech to text: the engine that serves a release, and that the training flow scores it with.

    python space/transcriber.py FILE... [--format txt|srt|vtt|json] [--beam N] [--prompt TEXT] [--hotwords A,B]

CTranslate2 runs the model in 8-bit integers on log-mels cut to the recording's own length: Whisper's usual 30 s of
padding is most of the work for a short recording. For a model that needs 30 s they are filled with speech. Sounds
are (samples,) float32, mono, 16 kHz.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from audio import RATE
from audio_files import FAULT_MESSAGES, read_file
from batching import Batcher, Cancelled
from decoding import (
    MAX_RATIO,
    DecodingOptions,
    Hypothesis,
    compression_ratio,
    find_repetition,
    parse_hotwords,
    remove_repetitions,
)
from features import BATCH, HOP, SHORTEST, WINDOW, LogMels, batch_by_length, stack
from hardware import Hardware
from release import Release, find_release, first_line
from speech_detection import CREDULOUS_SPAN, SPAN, Cut, find_speech
from subtitles import FORMATS, format_transcript, split_into_cues
from tokenizers import Tokenizer
from transcript import Segment, Transcript
from transformers_model import TransformersModel
from word_timing import CutText, TimedText, WordTimer, divide

SHORTEST_WINDOW, LONGEST_WINDOW = 4, WINDOW // RATE  # seconds
MAX_LENGTH = 448  # positions of a Whisper decoder; CTranslate2 makes at most half as many new tokens
MAX_PROMPT = 223  # tokens of previous text: half of a decoder's positions, less its own token
TIMESTAMPS = 1_501  # Whisper's timestamp tokens, which follow <|notimestamps|> and are not words
GROUP = 64  # windows of a long recording that are batched together
NGRAM, PENALTY = 10, 1.1  # tokens that may not repeat, and the penalty on repeated tokens, in the second attempt
SPACELESS = {"zh", "ja", "th", "lo", "my", "yue"}  # languages that Whisper splits into characters
DEFAULT_OPTIONS = DecodingOptions()
CPU = Hardware()
Window = tuple[np.ndarray, list[Cut]]  # a recording, and the cuts of it that are decoded together
IsWanted = Callable[[], bool]


def _always() -> bool:
    return True


class Transcriber:
    """A release, loaded and ready.

    `threads`: CPU threads, 0 for all cores, shared by the workers of `hardware`. `release` is the release's record:
    name, run_id, language, test_wer, ... `longest` is the most seconds that are decoded at once. `beam` is the number
    of beams, 1 for greedy decoding. `joint` is the text between words: a space, or nothing where the language has
    none. Raises ValueError, in one line that names the file, where the folder holds no release.
    """

    def __init__(self, folder: Path, threads: int = 0, hardware: Hardware = CPU) -> None:
        release = Release.load(folder)
        self.release, self.language, self.context = dict(release.record), release.language, release.context
        # A model trained from scratch fails on recordings longer than it was trained on.
        self.longest = float(min(LONGEST_WINDOW, max(SHORTEST_WINDOW, release.longest or LONGEST_WINDOW)))
        self.beam = 1
        self.joint = "" if self.language in SPACELESS else " "
        self._is_plain, self._span = release.is_plain, SPAN if release.peak is None else CREDULOUS_SPAN
        self._log_mels = LogMels(release.bands, release.peak)
        self._tokenizer, self._prompt = _tokenizer(release)
        self._model = _model(release, threads, hardware)
        self._previous = self._tokenizer.token_to_id("<|startofprev|>")
        special = (number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special)
        self._no_words = {*special, *range(self._prompt[-1] + 1, self._prompt[-1] + 1 + TIMESTAMPS)}
        self._timer = WordTimer(self._tokenizer, self.joint, release.is_aligned)
        is_batched = hardware.batches_callers and not release.is_plain
        self._batcher = Batcher(self._decode_batches, GROUP, hardware.workers) if is_batched else None
        # The callers that keep it busy, and another whose file is read meanwhile.
        self.callers = 1 + hardware.workers * (BATCH if is_batched else 1)

    def transcribe(self, sound: np.ndarray, options: DecodingOptions = DEFAULT_OPTIONS) -> Transcript:
        """The text of a recording of any length, with its words and their times.

        Silence gives an empty text. Raises ValueError for an empty array or one that is not mono.
        """
        return self.transcript(sound, list(self.segments(sound, options=options)))

    def transcribe_file(self, path: str | Path, options: DecodingOptions = DEFAULT_OPTIONS) -> Transcript:
        """The text of an audio or video file. Raises ValueError, in one line, if it is unreadable or silent."""
        return self.transcribe(read_file(path).samples, options)

    def transcribe_batch(self, sounds: Sequence[np.ndarray], options: DecodingOptions = DEFAULT_OPTIONS) -> list[str]:
        """The texts of many recordings, in their order: the words of `transcribe`, but faster."""
        windows = [[(sound, cuts) for cuts in self._windows(sound)] for sound in sounds]
        texts = iter(self._decode_windows([window for own in windows for window in own], options=options))
        return [self.joint.join(text.text for _ in own for text in next(texts)) for own in windows]

    def segments(
        self, sound: np.ndarray, words: bool = True, options: DecodingOptions = DEFAULT_OPTIONS,
        is_wanted: IsWanted = _always,
    ) -> Iterator[Segment]:  # fmt: skip
        """The segments of a recording in their order, as they are decoded.

        With `words`, speech without a pause is cut to the length of a subtitle; without, it is a single segment.
        Raises `Cancelled` before the next batch when they are no longer wanted.
        """
        windows, few = self._windows(sound), 1
        while group := list(islice(windows, few)):  # few at first, so that text appears soon; then full batches
            few = min(GROUP, 4 * few)
            for texts in self._decode_windows([(sound, cuts) for cuts in group], words, options, is_wanted):
                for text in texts:
                    yield from self._to_segments(text if words else replace(text, words=()))

    def transcript(self, sound: np.ndarray, segments: Sequence[Segment]) -> Transcript:
        """The segments of a recording as one text."""
        text = self.joint.join(segment.text for segment in segments)
        return Transcript(text, tuple(segments), round(len(sound) / RATE, 2), self.language)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self._tokenizer.encode(" " + text, add_special_tokens=False).ids) if text else []

    def _windows(self, sound: np.ndarray) -> Iterator[list[Cut]]:
        """The cuts that are decoded together: one, or as many as fit into 30 s for a model that always takes 30 s."""
        is_joined = self.context == "full" and self.longest == LONGEST_WINDOW and not self._is_plain
        window: list[Cut] = []
        for start, end in find_speech(sound, self.longest, self._span):
            if window and (not is_joined or sum(stop - begin for begin, stop in window) + end - start > WINDOW):
                yield window
                window = []
            window.append((start, end))
        if window:
            yield window

    def _decode_windows(
        self, windows: Sequence[Window], words: bool = False, options: DecodingOptions = DEFAULT_OPTIONS,
        is_wanted: IsWanted = _always,
    ) -> list[list[CutText]]:  # fmt: skip
        """The texts of the cuts of each window, in their order.

        A model may stop before the end of a full window, mostly if it was tuned on single sentences, or skip parts of
        it: the cuts without a word are decoded again.
        """
        texts: list[list[CutText]] = [[] for _ in windows]
        pending = list(enumerate(windows))
        while pending:
            is_joined = any(len(cuts) > 1 for _, (_, cuts) in pending)
            sounds = [_join(sound, cuts) for _, (sound, cuts) in pending]
            undecoded = []
            for (at, (sound, cuts)), timed in zip(
                pending, self._decode(sounds, words or is_joined, options, is_wanted), strict=True
            ):
                cut_texts, empty_cuts = divide(cuts, timed, self.joint)
                texts[at] += cut_texts
                if cut_texts and empty_cuts:
                    undecoded.append((at, (sound, empty_cuts)))
            pending = undecoded
        return [sorted(cut_texts, key=lambda text: text.start) for cut_texts in texts]

    def _decode(
        self, sounds: Sequence[np.ndarray], words: bool, options: DecodingOptions, is_wanted: IsWanted
    ) -> list[TimedText]:
        """The texts of sounds of up to 30 s each, decoded alone or in a batch with other callers' sounds."""
        if self._batcher:
            return self._batcher((words, options), sounds, is_wanted)
        return self._decode_batches((words, options), sounds, is_wanted)

    def _decode_batches(
        self, request: tuple[bool, DecodingOptions], sounds: Sequence[np.ndarray], is_wanted: IsWanted = _always
    ) -> list[TimedText]:
        """The texts of sounds of up to 30 s each, in their order, with words if requested.

        Raises `Cancelled` before the next batch when they are no longer wanted.
        """
        words, options = request
        results = [TimedText("")] * len(sounds)
        for batch in batch_by_length([len(sound) for sound in sounds]):
            if not is_wanted():
                raise Cancelled
            features = stack([self._log_mels(sounds[clip]) for clip in batch])
            # 25 tokens a second, beyond any speech: a decoder in a loop ends. The float model has the same limit.
            most = features.shape[2] // 4 + 16
            if self.context == "full":
                features = stack(list(features), WINDOW // HOP)
            encoded = ctranslate2.StorageView.from_array(features)
            if words:  # encoded once, to be decoded and aligned
                encoded = self._model.encode(encoded)
            hypotheses = [
                self._without_loops(encoded, row, hypothesis, most, options)
                for row, hypothesis in enumerate(self._generate(encoded, len(batch), most, options))
            ]
            texts = [TimedText(self._text(best.tokens), best.log_probability, best.no_speech) for best in hypotheses]
            if words:
                tokens = [hypothesis.tokens for hypothesis in hypotheses]
                texts = self._align(encoded, tokens, texts, [sounds[clip] for clip in batch])
            for clip, text in zip(batch, texts, strict=True):
                results[clip] = text
        return results

    def _generate(
        self, encoded: Any, rows: int, most: int, options: DecodingOptions, **settings: Any
    ) -> list[Hypothesis]:
        """A hypothesis of at most `most` tokens for each row of log-mels, or of the encoder's output."""
        prompt = self._previous_text(options) + self._prompt
        if options.temperature:
            settings |= {"sampling_temperature": options.temperature, "sampling_topk": 0}
        # CTranslate2 makes half of this at most, and counts the prompt as well.
        length = min(MAX_LENGTH, max(2 * most, most + len(prompt)))
        results = self._model.generate(
            encoded, [prompt] * rows, beam_size=1 if options.temperature else self.beam, max_length=length,
            return_scores=True, return_no_speech_prob=True, **settings,
        )  # fmt: skip
        hypotheses = []
        for result in results:
            tokens = [token for token in result.sequences_ids[0] if token not in self._no_words]
            hypothesis = Hypothesis(tokens, result.scores[0], result.no_speech_prob)
            hypotheses.append(hypothesis if hypothesis.is_speech else hypothesis._replace(tokens=[]))
        return hypotheses

    def _previous_text(self, options: DecodingOptions) -> list[int]:
        """The prompt and the hotwords as Whisper's previous text, of which it reads the last 223 tokens."""
        text = self.joint.join([", ".join(options.hotwords), options.prompt]).strip()
        if not text or self._previous is None:
            return []
        return [self._previous, *self.tokens(text)[-MAX_PROMPT:]]

    def _text(self, tokens: Sequence[int]) -> str:
        return " ".join(self._tokenizer.decode(tokens).split())

    def _without_loops(
        self, encoded: Any, row: int, first: Hypothesis, most: int, options: DecodingOptions
    ) -> Hypothesis:
        """The hypothesis, or a second attempt if it repeats itself, which is cut if it repeats itself too."""
        text = self._text(first.tokens)
        if not (repetition := find_repetition(self._units(text))) and compression_ratio(text) <= MAX_RATIO:
            return first
        phrase = self.joint.join(repetition.phrase) if repetition else ""
        size = len(self.tokens(phrase)) + 1 if phrase else NGRAM
        (second,) = self._generate(
            _rows(encoded, [row]), 1, most, replace(options, prompt="", hotwords=()), no_repeat_ngram_size=size,
            repetition_penalty=PENALTY,
        )  # fmt: skip
        units = self._units(self._text(second.tokens))
        if not find_repetition(units):
            return second
        return second._replace(tokens=self.tokens(self.joint.join(remove_repetitions(units))))

    def _units(self, text: str) -> list[str]:
        return text.split() if self.joint else list(text)

    def _align(
        self, encoded: Any, tokens: Sequence[list[int]], texts: Sequence[TimedText], sounds: Sequence[np.ndarray]
    ) -> list[TimedText]:
        """The texts with their words, timed by the decoder's attention."""
        aligned = list(texts)
        if self._is_plain or not (rows := [row for row, own in enumerate(tokens) if own]):
            return aligned
        if len(rows) < len(tokens):
            encoded = _rows(encoded, rows)
        frames = [min(WINDOW, max(SHORTEST, len(sounds[row]))) // HOP for row in rows]
        results = self._model.align(encoded, self._prompt, [tokens[row] for row in rows], frames)
        for row, result in zip(rows, results, strict=True):
            begins: dict[int, float] = {}  # of each token, and of the end
            for token, time in result.alignments:
                begins.setdefault(token, 2 * HOP / RATE * time)
            words, inner = self._timer.time(tokens[row], begins, result.text_token_probs, sounds[row])
            aligned[row] = aligned[row]._replace(words=words, inner=inner)
        return aligned

    def _to_segments(self, text: CutText) -> Iterator[Segment]:
        """A cut's segments, its words' times moved to where it starts: one, or as many as can be read."""
        start, end = round(text.start / RATE, 2), round(text.end / RATE, 2)
        scores = round(text.log_probability, 3), round(text.no_speech, 3)

        def moved(seconds: float) -> float:
            return round(min(end, start + seconds), 2)

        words = tuple(replace(word, start=moved(word.start), end=moved(word.end)) for word in text.words)
        cues = split_into_cues(words) if words else [words]
        for at, cue in enumerate(cues):
            yield Segment(
                start if at == 0 else cue[0].start,
                end if at == len(cues) - 1 else cue[-1].end,
                self.joint.join(word.text for word in cue) if len(cues) > 1 else text.text,
                cue,
                *scores,
            )


def _tokenizer(release: Release) -> tuple[Tokenizer, list[int]]:
    """The release's tokenizer, and the tokens that a text begins with."""
    try:
        tokenizer = Tokenizer.from_file(str(release.tokenizer))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{release.tokenizer} cannot be read: {first_line(error)}") from None
    prompt: dict[str, int] = {}
    # Explicit, since faster-whisper takes a small vocabulary for English and swaps the language.
    for token in ("<|startoftranscript|>", f"<|{release.language}|>", "<|transcribe|>", "<|notimestamps|>"):
        if (number := tokenizer.token_to_id(token)) is None:
            raise ValueError(f"{release.tokenizer} has no {token}")
        prompt[token] = number
    if not release.is_plain:
        release.check_engine(prompt)
    return tokenizer, list(prompt.values())


def _model(release: Release, threads: int, hardware: Hardware) -> Any:
    """CTranslate2's Whisper, or a model with its interface. Raises ValueError in one line."""
    try:
        if release.is_plain:
            model: Any = TransformersModel(release.folder, release.language, threads)
        else:
            model = ctranslate2.models.Whisper(
                str(release.engine),
                hardware.device,
                compute_type=hardware.compute_type,
                inter_threads=hardware.workers,
                intra_threads=threads or hardware.threads,
            )
    except Exception as error:  # the libraries raise no more than Exception and RuntimeError for a broken file
        raise ValueError(f"{release.folder} cannot be loaded: {first_line(error)}") from None
    if model.n_mels != release.bands:
        file = release.folder / "preprocessor_config.json"
        raise ValueError(f"{file} has {release.bands} mel bands, and the model {model.n_mels}")
    return model


def _join(sound: np.ndarray, cuts: Sequence[Cut]) -> np.ndarray:
    return np.concatenate([sound[start:end] for start, end in cuts])


def _rows(encoded: Any, rows: Sequence[int]) -> Any:
    """Some rows of the encoder's output, from any device."""
    if isinstance(encoded, ctranslate2.StorageView):
        encoded = encoded.to_device(ctranslate2.Device.cpu)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.array(encoded)[rows]))


def main(arguments: Sequence[str]) -> int:
    """Print the text of a file as it is decoded, or of several, each after its name. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python space/transcriber.py", description="Speech to text.")
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio or video")
    parser.add_argument("--format", choices=FORMATS, default="txt", help="of the text; default: txt")
    parser.add_argument("--beam", type=int, default=1, help="texts weighed at once; default: 1, the fastest")
    parser.add_argument("--prompt", default="", help="text that came before, in the spelling to go on in")
    parser.add_argument("--hotwords", default="", help="names and terms that may be said, with commas between")
    args = parser.parse_args(arguments)
    if args.beam < 1:
        parser.error("--beam is 1 or more")
    options = DecodingOptions(args.prompt, parse_hotwords(args.hotwords))
    try:
        transcriber = Transcriber(find_release(), hardware=Hardware.from_environment())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    transcriber.beam, is_alone, is_text, status = args.beam, len(args.files) == 1, args.format == "txt", 0
    for file in args.files:
        try:
            sound = read_file(file)
            if sound.fault:
                print(f"{file}: {FAULT_MESSAGES[sound.fault]}", file=sys.stderr)
            segments: list[Segment] = []
            for segment in transcriber.segments(sound.samples, options=options):
                segments.append(segment)
                if is_alone and is_text:
                    print(segment.text, flush=True)
            if not segments:
                raise ValueError("no words were found in this recording")
            if is_alone and is_text:
                continue
            transcript = transcriber.transcript(sound.samples, segments)
            text = transcript.text if is_text else format_transcript(transcript, args.format)
            print(text if is_alone else f"{file}:{' ' if is_text else chr(10)}{text}", end="" if is_alone else "\n")
        except ValueError as error:
            print(f"{file}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
