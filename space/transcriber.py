"""Speech to text: the one engine that serves a release, and that the training flow scores it with.

    python space/transcriber.py FILE... [--format txt|srt|vtt|json] [--beam N] [--prompt TEXT] [--hotwords A,B]

CTranslate2 runs the model in 8-bit integers on log-mels cut to the clip's own length: Whisper's usual 30 s
of padding is most of the work for a short clip. A model that needs its 30 s is given as much speech as they hold.
Sounds are (samples,) float32, mono, 16 kHz.
"""

import argparse
import ctypes
import html
import json
import os
import sys
import textwrap
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import ctranslate2
import numpy as np
from audio import RATE, Fault, Sound, Unreadable
from batching import Batcher, Stopped
from decoder import Recording
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.vad import VadOptions, get_speech_timestamps
from tokenizers import Tokenizer

SILENCE = 1e-3  # peak, of 1.0: -60 dB
SHORTEST = RATE // 10  # samples; anything shorter is padded, the spectrogram's window needs some
SHORTEST_WINDOW, LONGEST_WINDOW = 4, 30  # seconds
WINDOW = LONGEST_WINDOW * RATE  # samples: what Whisper hears at once
HOP = 160  # samples a frame
MAX_LENGTH = 448  # positions of a Whisper decoder; CTranslate2 makes at most half as many new tokens
TIMESTAMPS = 1_501  # Whisper's timestamp tokens, which stand behind <|notimestamps|> and are no words
BATCH = 16  # clips at once
MOST_BYTES = 1 << 26  # of a release's file of text; a tokenizer.json of Whisper's has 4 MB
MOST_BANDS, MOST_TOKENS, LARGEST = 1_024, 1_000_000, 1e6
CUBLAS = "libcublas.so.12"  # all that CTranslate2's wheel wants of CUDA beside the driver
MOST_WORKERS = 64
SPAN = 10 * RATE  # samples in which speech is looked for at once
CREDULOUS_SPAN = 60 * RATE  # and for a model that takes any noise for speech
GROUP = 64  # windows of a long sound at once, from which batches are made
TAIL = (
    30  # frames of silence after the longest clip: cut right at its end, digits lost 3 points of WER more than with it
)
FORMATS = range(1, 3)  # of releases
PADDING = 0.1  # of the longest clip in a batch, at most: padding costs time, and context a model may not know
EARLY = 0.2  # seconds by which a word's time may be off at most where it has a home: half of the quiet around speech
Cut = tuple[int, int]  # start and end, in samples
FORMS = ("txt", "srt", "vtt", "json")
SPACE = "\u0120"  # how a byte-level token writes the space that it begins with
SPACELESS = {"zh", "ja", "th", "lo", "my", "yue"}  # languages that Whisper splits into characters
LONGEST, WIDEST = 7.0, 84  # seconds and letters, two lines of 42, that a subtitle holds
RATIO = 2.4  # a text that compresses better goes round in a loop: Whisper's own rule, which needs a long text
PHRASE, REPEATS, ALIKE = 8, 3, 5  # so does a phrase of up to 8 words 3 times in a row; or 5 of one, for digits recur
# A published Whisper knows where nobody speaks, and so does, for a while, what is fine-tuned from it. The first is the
# probability of that, the second the mean log-probability of the tokens: Whisper's own rule, which asks for 0.6. Of 14
# cuts of noise and music that were taken for speech, 0.4 drops 13 and 0.6 eight; of 244 of speech both drop one.
NO_SPEECH, GUESSED = 0.4, -1.0
MOST_PROMPT = 223  # tokens of previous text: half of a decoder's positions, less its own token
NGRAM, PENALTY = 10, 1.1  # tokens that may not come twice, and the penalty on any that does, in the next try
# Where a word stands in time is read off the decoder's cross-attention, in the heads that the model's makers found to
# follow the sound. A model from nothing has no such list and CTranslate2 then takes all heads of the upper layers:
# in 120 of the sample's test clips (espeak-ng tells the true times) words then began 0.17 s off in the median, 0.61 s
# at the 90th percentile. Held to 0.05 s, and 0.03 s a second of sound, around where they would begin if every letter
# lasted the same, it is 0.07 and 0.21 s.
ASTRAY = (0.05, 0.03)
QUIET = 0.02  # of a sound's peak: what stays below it is a pause
FAULTS: dict[Fault, str] = {
    "incomplete": "a part of this recording is damaged or missing",
    "joined": "this file holds several recordings, of which only the first can be heard",
}
MADE_BY = "python flows/whisper_flow.py run"

# A pause of half a second ends a segment. The detector is set to let little pass for quiet, and 0.4 s of it is left
# around speech: at its defaults it cut whole words out of telephone-band digits (WER 17.8 % for 10.7 % without it).
# It is there since one second of silence at both ends of the sample's clips otherwise costs half their words.
#
# In a sound's first moments the detector takes anything for speech, and faint speech for none: so it hears a quarter
# of a second of quiet first, and everything at a peak of 0.3 at least. On the flow's probes of four seeds, 12.8 minutes
# without speech, the sample's release then invents nothing (52 words a minute where a short sound in which no speech
# was found was heard whole, 13 without that alone). No speech is missed by it in
# 216 clips of the sample and 280 human digits, as they are, at -40 dB (there it missed 25 % of digits before) or with
# silence around; in white noise as loud as the speech it misses 2 % of the digits and none of the sample's.
#
# It also grows deaf: after minutes of music and noise with a clip of human digits every 11 s, it missed 69 of 87 clips.
# It therefore begins afresh every 10 s, and misses 2 (24 if every minute, 11 if every 20 s); but it then takes 250 of
# 1,920 s of noise for speech, and not 95. A published Whisper knows better (`NO_SPEECH`); a model from nothing, which
# is told by its `peak`, writes a sentence into any of it (15 words a minute, for 8), and so has it begin every minute.
PAUSES = VadOptions(
    threshold=0.3,
    neg_threshold=0.05,
    max_speech_duration_s=30,
    min_silence_duration_ms=500,
    min_speech_duration_ms=0,
    speech_pad_ms=400,
)
LEAD, LOUD = RATE // 4, 0.3


@dataclass(frozen=True)
class Hardware:
    """What CTranslate2 runs on."""

    device: str = "cpu"  # or cuda
    compute_type: str = "int8"
    workers: int = 1  # copies of the model that work at once, each with its threads

    @property
    def joins(self) -> bool:
        """Whether the sounds of several callers are heard in one batch."""
        return self.device == "cuda"

    @property
    def threads(self) -> int:
        """CPU threads of each worker: 0, CTranslate2's own choice, where there is but one."""
        return max(1, (os.cpu_count() or 1) // self.workers) if self.workers > 1 else 0

    @classmethod
    def of_environment(cls) -> "Hardware":
        """By DEVICE (auto, cpu, cuda), COMPUTE_TYPE and WORKERS. Raises ValueError, in one line, for what is not."""
        device, workers = os.environ.get("DEVICE", "auto"), os.environ.get("WORKERS", "1")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"DEVICE={device} is neither auto nor cpu nor cuda")
        missing = "" if device == "cpu" else _missing_cuda()
        if device == "cuda" and missing:
            raise ValueError(f"DEVICE=cuda: {missing}")
        device = "cpu" if device == "cpu" or missing else "cuda"
        had = ctranslate2.get_supported_compute_types(device)
        compute_type = os.environ.get("COMPUTE_TYPE") or ("int8_float16" if "int8_float16" in had else "int8")
        if compute_type not in had:
            raise ValueError(f"COMPUTE_TYPE={compute_type} is not to be had on {device}: {', '.join(sorted(had))}")
        if not workers.isdecimal() or not 1 <= int(workers) <= MOST_WORKERS:
            raise ValueError(f"WORKERS={workers} is no number from 1 to {MOST_WORKERS}")
        return cls(device, compute_type, int(workers))


@dataclass(frozen=True)
class Word:
    """A word with its punctuation; times in seconds from the start of the sound."""

    start: float
    end: float
    text: str
    confidence: float  # 0 to 1: the mean probability of its tokens


@dataclass(frozen=True)
class Part:
    """A cut with what was said in it; words timed from its start."""

    start: int  # samples
    end: int
    text: str
    words: tuple[Word, ...]
    log_probability: float = 0.0  # of the window that it was heard in
    no_speech: float = 0.0


@dataclass(frozen=True)
class Decoding:
    """What a caller may ask of the decoder."""

    prompt: str = ""  # text that came before, in the spelling and style to go on in
    hotwords: tuple[str, ...] = ()  # names and terms that may be said
    temperature: float = 0.0  # 0: the likeliest text; up to 1: drawn, the likelier the sooner


PLAINLY = Decoding()


class Said(NamedTuple):
    """The tokens of a text, without special ones, and how sure the decoder was."""

    tokens: list[int]
    log_probability: float  # the tokens' mean
    no_speech: float  # the probability that nobody speaks


class Heard(NamedTuple):
    """What was said in a sound of up to 30 s; times from its start."""

    text: str
    log_probability: float = 0.0
    no_speech: float = 0.0
    words: tuple[Word, ...] = ()
    inner: tuple[tuple[float, ...], ...] = ()  # of each word, where its later tokens begin that hold a letter


@dataclass(frozen=True)
class Segment:
    """What was said between two pauses, or a readable part of it; times in seconds from the start of the sound."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    log_probability: float = 0.0  # the mean of the tokens' in the window that it was heard in
    no_speech: float = 0.0  # the probability that nobody speaks there

    @property
    def confidence(self) -> float:
        """The words' mean, weighted by their length; 1 without words."""
        letters = [len(word.text) for word in self.words]
        if not letters:
            return 1.0
        return sum(one * word.confidence for one, word in zip(letters, self.words, strict=True)) / sum(letters)


@dataclass(frozen=True)
class Transcript:
    text: str
    segments: tuple[Segment, ...]  # empty where nothing was heard
    seconds: float  # of the sound
    language: str  # Whisper's code for it


class Transcriber:
    """A release, loaded and ready.

    `threads`: CPU threads, 0 for all cores, shared by the workers of `hardware`. `release` is what the flow wrote
    down about the release: name, run_id, language, test_wer, ... `context` is "trimmed", log-mels cut to the sound,
    or "full", always 30 s of them. `longest` is how many seconds are heard at once: 30, or the release's
    `longest_seconds`. `peak` is the loudness that each window is brought to, for a release that knows but one. `beam`
    is how many texts are weighed at once, 1 for the likeliest token each time. `joint` stands between words: a space,
    or nothing where the language writes none. A folder without `ct2-int8/` is somebody's plain Whisper: transformers
    runs it, slower and without words. Raises ValueError, in one line that names the file, where the folder is
    neither.
    """

    def __init__(self, folder: Path, threads: int = 0, hardware: Hardware = Hardware()) -> None:
        folder = Path(folder)
        _check_files(folder)
        plain = not (folder / "ct2-int8").exists() and any(folder.glob("model*.safetensors"))
        self.release = {} if plain and not (folder / "release.json").exists() else _json(folder / "release.json")
        if not isinstance(made := self.release.get("format", 1), int) or made not in FORMATS:
            raise ValueError(
                f"{folder} is a release of format {made!r:.80}, and this engine reads {FORMATS[0]} to {FORMATS[-1]}: "
                "one of the two is too old"
            )
        feature_size = _json(folder / "preprocessor_config.json").get("feature_size")
        if not isinstance(feature_size, int) or not 1 < feature_size <= MOST_BANDS:
            raise ValueError(f"{folder / 'preprocessor_config.json'} has no feature_size")
        tokenizer = folder / "tokenizer.json"
        weights = folder / "ct2-int8" / "model.bin"
        for file in (tokenizer,) if plain else (tokenizer, weights):
            if not file.is_file():
                raise ValueError(f"{file} is missing: the folder holds no finished release")
        self.language: str = self.release.get("language") or (_plain_language(folder) if plain else "")
        if not self.language:
            raise ValueError(f"{folder / 'release.json'} names no language")
        if not isinstance(self.language, str) or not self.language.isalpha():
            raise ValueError(f"{folder / 'release.json'}: {self.language!r:.80} is no language")
        for key in ("longest_seconds", "peak"):
            told = self.release.get(key)
            if told is not None and (type(told) not in (int, float) or not 0 < told <= LARGEST):
                raise ValueError(f"{folder / 'release.json'}: {key} is {told!r:.80}, and no number above 0")
        held = not plain and self.release.get("context") != "full"
        self.context: Literal["trimmed", "full"] = "trimmed" if held else "full"
        # A model from nothing loses itself in sounds longer than it was trained on.
        self.longest = float(min(LONGEST_WINDOW, max(SHORTEST_WINDOW, self.release.get("longest_seconds") or np.inf)))
        self.peak: float | None = self.release.get("peak")
        self.beam = 1
        joins = hardware.joins and not plain
        self._joint_batches = Batcher(self._hear_together, GROUP, hardware.workers) if joins else None
        # How many callers keep it busy; one more is read from its file meanwhile.
        self.callers = 1 + hardware.workers * (BATCH if joins else 1)
        generation = folder / "generation_config.json"
        self._aligned = generation.is_file() and bool(_json(generation).get("alignment_heads"))
        self.joint = "" if self.language in SPACELESS else " "
        self._features = FeatureExtractor(feature_size=feature_size)
        self._model: Any
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._model = (
                _Plain(folder, self.language, threads)
                if plain
                else ctranslate2.models.Whisper(
                    str(weights.parent),
                    hardware.device,
                    compute_type=hardware.compute_type,
                    inter_threads=hardware.workers,
                    intra_threads=threads or hardware.threads,
                )
            )
        except Exception as error:  # the libraries raise no more than Exception and RuntimeError for a broken file
            raise ValueError(f"{folder} cannot be loaded: {_line(error)}") from None
        # Explicit, since faster-whisper takes a small vocabulary for English and swaps the language.
        prompt = ("<|startoftranscript|>", f"<|{self.language}|>", "<|transcribe|>", "<|notimestamps|>")
        self._prompt: list[int] = []
        for token in prompt:
            if (number := self._tokenizer.token_to_id(token)) is None:
                raise ValueError(f"{tokenizer} has no {token}")
            self._prompt.append(number)
        self._before = self._tokenizer.token_to_id("<|startofprev|>")
        special = (number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special)
        self._wordless = {*special, *range(self._prompt[-1] + 1, self._prompt[-1] + 1 + TIMESTAMPS)}

    def transcribe(self, sound: np.ndarray, decoding: Decoding = PLAINLY) -> Transcript:
        """The text of a sound of any length, with its words and their times.

        Silence gives an empty text. Raises ValueError for an empty array or one that is not mono.
        """
        return self.transcript(sound, list(self.segments(sound, decoding=decoding)))

    def transcript(self, sound: np.ndarray, segments: Sequence[Segment]) -> Transcript:
        """The segments of a sound as one."""
        text = self.joint.join(segment.text for segment in segments)
        return Transcript(text, tuple(segments), round(len(sound) / RATE, 2), self.language)

    def segments(
        self, sound: np.ndarray, words: bool = True, decoding: Decoding = PLAINLY,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Iterator[Segment]:  # fmt: skip
        """The segments of a sound in their order, as they are decoded.

        With `words`, speech that goes on without a pause is cut to what a subtitle holds; without, it is one segment.
        Raises `Stopped` before the next batch where they are not `wanted` any more.
        """
        windows, few = self._windows(sound), 1
        while group := list(islice(windows, few)):  # few at first, to have something to read soon; then whole batches
            few = min(GROUP, 4 * few)
            for parts in self._told([(sound, cuts) for cuts in group], words, decoding, wanted):
                for part in parts:
                    yield from self._readable(part if words else replace(part, words=()))

    def transcribe_file(self, path: str | Path, decoding: Decoding = PLAINLY) -> Transcript:
        """The text of an audio or video file. Raises ValueError, in one line, where there is nothing to hear."""
        return self.transcribe(listen(path).samples, decoding)

    def transcribe_batch(self, sounds: Sequence[np.ndarray], decoding: Decoding = PLAINLY) -> list[str]:
        """The texts of many sounds, in their order: the words of `transcribe`, sooner."""
        of = [[(sound, cuts) for cuts in self._windows(sound)] for sound in sounds]
        told = iter(self._told([window for windows in of for window in windows], decoding=decoding))
        return [self.joint.join(part.text for _ in windows for part in next(told)) for windows in of]

    def _told(
        self, windows: Sequence[tuple[np.ndarray, list[Cut]]], words: bool = False, decoding: Decoding = PLAINLY,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[list[Part]]:  # fmt: skip
        """What was said in the cuts of each window, a sound and its cuts, in their order.

        A model may stop before the end of a full window, above all one that was tuned on single sentences, or pass over
        some of it: it then hears those cuts in which it found no word.
        """
        told: list[list[Part]] = [[] for _ in windows]
        left = list(enumerate(windows))
        while left:
            joined = any(len(cuts) > 1 for _, (_, cuts) in left)
            heard = self._hear([_joined(sound, cuts) for _, (sound, cuts) in left], words or joined, decoding, wanted)
            rest = []
            for (at, (sound, cuts)), found in zip(left, heard, strict=True):
                parts, passed = _apart(cuts, found, self.joint)
                told[at] += parts
                if parts and passed:
                    rest.append((at, (sound, passed)))
            left = rest
        return [sorted(parts, key=lambda part: part.start) for parts in told]

    def _windows(self, sound: np.ndarray) -> Iterator[list[Cut]]:
        """What is heard at once: a cut each, or as many as 30 s hold where a model is given 30 s whatever it hears."""
        joins = self.context == "full" and self.longest == LONGEST_WINDOW and not isinstance(self._model, _Plain)
        window: list[Cut] = []
        for start, end in _cuts(sound, self.longest, SPAN if self.peak is None else CREDULOUS_SPAN):
            if window and (not joins or sum(stop - begin for begin, stop in window) + end - start > WINDOW):
                yield window
                window = []
            window.append((start, end))
        if window:
            yield window

    def _hear(
        self, sounds: Sequence[np.ndarray], words: bool = False, decoding: Decoding = PLAINLY,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Heard]:  # fmt: skip
        """What was said in sounds of up to 30 s each, in their order, with words where asked for.

        Raises `Stopped` before the next batch where they are not `wanted` any more.
        """
        if self._joint_batches:
            return self._joint_batches((words, decoding), sounds, wanted)
        return self._hear_together((words, decoding), sounds, wanted)

    def _hear_together(
        self, how: tuple[bool, Decoding], sounds: Sequence[np.ndarray], wanted: Callable[[], bool] = lambda: True
    ) -> list[Heard]:
        words, decoding = how
        heard = [Heard("")] * len(sounds)
        for batch in _batches([len(sound) for sound in sounds]):
            if not wanted():
                raise Stopped
            features = _stack([self._log_mels(sounds[clip]) for clip in batch])
            # 25 tokens a second, beyond any speech: a decoder in a loop ends. The float model is held to the same.
            tokens = features.shape[2] // 4 + 16
            if self.context == "full":
                features = _stack(list(features), WINDOW // HOP)
            spoken = ctranslate2.StorageView.from_array(features)
            if words:  # encoded once, to be decoded and aligned
                spoken = self._model.encode(spoken)
            said = [
                self._unlooped(spoken, row, one, tokens, decoding)
                for row, one in enumerate(self._decode(spoken, len(batch), tokens, decoding))
            ]
            found = [Heard(self._text(one.tokens), one.log_probability, one.no_speech) for one in said]
            if words:
                found = self._align(spoken, [one.tokens for one in said], found, [sounds[clip] for clip in batch])
            for clip, one in zip(batch, found, strict=True):
                heard[clip] = one
        return heard

    def _decode(self, spoken: Any, rows: int, tokens: int, decoding: Decoding, **options: Any) -> list[Said]:
        """At most so many tokens for each row of log-mels or of what the encoder made of them."""
        prompt = self._previous(decoding) + self._prompt
        if decoding.temperature:
            options |= {"sampling_temperature": decoding.temperature, "sampling_topk": 0}
        # CTranslate2 makes half of this at most, and counts the prompt as well.
        length = min(MAX_LENGTH, max(2 * tokens, tokens + len(prompt)))
        results = self._model.generate(
            spoken, [prompt] * rows, beam_size=1 if decoding.temperature else self.beam, max_length=length,
            return_scores=True, return_no_speech_prob=True, **options,
        )  # fmt: skip
        return [
            Said(
                [token for token in result.sequences_ids[0] if token not in self._wordless] if _is_speech(result)
                else [], result.scores[0], result.no_speech_prob,
            )
            for result in results
        ]  # fmt: skip

    def _previous(self, decoding: Decoding) -> list[int]:
        """The prompt and the hotwords as Whisper's previous text, of which it knows the last 223 tokens."""
        before = self.joint.join([", ".join(decoding.hotwords), decoding.prompt]).strip()
        if not before or self._before is None:
            return []
        return [self._before, *self.tokens(before)[-MOST_PROMPT:]]

    def tokens(self, text: str) -> list[int]:
        """How the model spells a text."""
        return list(self._tokenizer.encode(" " + text, add_special_tokens=False).ids) if text else []

    def _text(self, tokens: Sequence[int]) -> str:
        return " ".join(self._tokenizer.decode(tokens).split())

    def _unlooped(self, spoken: Any, row: int, first: Said, tokens: int, decoding: Decoding) -> Said:
        """What was said, or, where it goes round in a loop, another try, cut if it loops as well."""
        text = self._text(first.tokens)
        if not (phrase := _loop(self._units(text))) and ratio(text) <= RATIO:
            return first
        said = self.joint.join(phrase[1]) if phrase else ""
        size = len(self.tokens(said)) + 1 if said else NGRAM
        one = _rows(spoken, [row])
        (again,) = self._decode(
            one, 1, tokens, replace(decoding, prompt="", hotwords=()), no_repeat_ngram_size=size,
            repetition_penalty=PENALTY,
        )  # fmt: skip
        units = self._units(self._text(again.tokens))
        if not _loop(units):
            return again
        while phrase := _loop(units):
            start, once, times = phrase
            units[start : start + len(once) * times] = once
        return again._replace(tokens=self.tokens(self.joint.join(units)))

    def _units(self, text: str) -> list[str]:
        return text.split() if self.joint else list(text)

    def _align(
        self, spoken: Any, tokens: Sequence[list[int]], heard: Sequence[Heard], sounds: Sequence[np.ndarray]
    ) -> list[Heard]:
        """The same with each row's words, by where the decoder's attention went when it wrote them."""
        aligned = list(heard)
        if isinstance(self._model, _Plain) or not (said := [row for row, one in enumerate(tokens) if one]):
            return aligned
        if len(said) < len(tokens):
            spoken = _rows(spoken, said)
        frames = [min(WINDOW, max(SHORTEST, len(sounds[row]))) // HOP for row in said]
        results = self._model.align(spoken, self._prompt, [tokens[row] for row in said], frames)
        for row, result in zip(said, results, strict=True):
            begins: dict[int, float] = {}  # of each token, and of the end
            for token, time in result.alignments:
                begins.setdefault(token, 2 * HOP / RATE * time)
            words, inner = self._spell(tokens[row], begins, result.text_token_probs, sounds[row])
            aligned[row] = aligned[row]._replace(words=words, inner=inner)
        return aligned

    def _spell(
        self, tokens: list[int], begins: dict[int, float], odds: Sequence[float], sound: np.ndarray
    ) -> tuple[tuple[Word, ...], tuple[tuple[float, ...], ...]]:
        """Words of tokens, cut at spaces as Whisper does, or at characters where a language has none.

        Beside them, where the later tokens of each begin: none of punctuation, which is not heard.
        """
        groups: list[list[int]] = []
        for at, token in enumerate(tokens):
            if self.joint:
                new = (self._tokenizer.id_to_token(token) or "").startswith(SPACE)
            else:
                new = bool(groups) and "\ufffd" not in self._tokenizer.decode([tokens[one] for one in groups[-1]])
            if new or not groups:
                groups.append([])
            groups[-1].append(at)
        texts = [self._text([tokens[one] for one in group]) for group in groups]
        for at in range(len(groups) - 1, 0, -1):  # punctuation is no word
            if not any(letter.isalnum() for letter in texts[at]):
                groups[at - 1 : at + 1] = [groups[at - 1] + groups[at]]
                texts[at - 1 : at + 1] = [self._text([tokens[one] for one in groups[at - 1]])]
        seconds = len(sound) / RATE
        edges = np.array([begins.get(at, seconds) for at in (*(group[0] for group in groups), len(tokens))])
        loud = _loud(sound)
        if not self._aligned:
            spread = _spread([len(text) for text in texts], loud)
            edges = edges.clip(spread - ASTRAY[0] - ASTRAY[1] * seconds, spread + ASTRAY[0] + ASTRAY[1] * seconds)
        words, inner, edges = list[Word](), list[tuple[float, ...]](), np.maximum.accumulate(edges.clip(0, seconds))
        for group, text, (start, end) in zip(groups, texts, pairwise(edges.tolist()), strict=True):
            first = round(start * RATE / HOP)
            if len(sounding := np.flatnonzero(loud[first : round(end * RATE / HOP)])):  # no pause is part of a word
                start, end = first + float(sounding[0]), first + float(sounding[-1]) + 1
                start, end = start * HOP / RATE, min(end * HOP / RATE, seconds)
            if text:
                words.append(Word(start, end, text, round(min(1.0, float(np.mean([odds[one] for one in group]))), 3)))
                heard = [one for one in group[1:] if any(map(str.isalnum, self._tokenizer.decode([tokens[one]])))]
                inner.append(tuple(min(begins.get(one, start), end) for one in heard))
        return tuple(words), tuple(inner)

    def _readable(self, part: Part) -> Iterator[Segment]:
        """A cut's segments, its words' times moved to where it starts: one, or as many as can be read."""
        start, end = round(part.start / RATE, 2), round(part.end / RATE, 2)
        sure = round(part.log_probability, 3), round(part.no_speech, 3)
        words = tuple(
            Word(
                round(min(end, start + word.start), 2), round(min(end, start + word.end), 2), word.text, word.confidence
            )
            for word in part.words
        )
        pieces = _parts(words) if words else [words]
        for at, piece in enumerate(pieces):
            yield Segment(
                start if at == 0 else piece[0].start,
                end if at == len(pieces) - 1 else piece[-1].end,
                self.joint.join(word.text for word in piece) if len(pieces) > 1 else part.text,
                piece,
                *sure,
            )

    def _log_mels(self, sound: np.ndarray) -> np.ndarray:
        """(mel, frames) float32, one frame a hop as in training: faster-whisper's own padding would add one."""
        if self.peak and (loudest := np.abs(sound).max()):
            sound = sound * np.float32(self.peak / loudest)
        sound = np.pad(sound, (0, max(0, SHORTEST - len(sound))))
        return self._features(sound, padding=0)[:, : WINDOW // HOP]


class _Plain:
    """A Whisper in Hugging Face's format, run by transformers behind those calls of CTranslate2 that make its text."""

    def __init__(self, folder: Path, language: str, threads: int) -> None:
        _check_plain(folder)  # before anything is built
        import torch
        from transformers import WhisperForConditionalGeneration

        if threads:
            torch.set_num_threads(threads)
        self._model: Any = WhisperForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()
        self._language = language

    def encode(self, features: Any) -> Any:
        return features

    def generate(
        self, features: Any, prompts: Any, beam_size: int, max_length: int, return_scores: bool,
        return_no_speech_prob: bool, sampling_temperature: float = 0.0, sampling_topk: int = 1, **options: Any,
    ) -> list[Any]:  # fmt: skip
        """Neither scores nor whether it is speech are told: all is taken for speech. Previous text is not heeded."""
        import torch

        if sampling_temperature:
            options |= {"do_sample": True, "temperature": sampling_temperature, "top_k": sampling_topk}

        with torch.inference_mode():
            rows = self._model.generate(
                torch.from_numpy(np.array(features)), language=self._language, task="transcribe",
                num_beams=beam_size, max_new_tokens=max_length // 2, **options,
            )  # fmt: skip
        return [SimpleNamespace(sequences_ids=[row], scores=[0.0], no_speech_prob=0.0) for row in rows.tolist()]


def _check_files(folder: Path) -> None:
    """Raises ValueError for a file that would never end, or would fill the memory, before it is opened."""
    texts = [*folder.glob("*.json"), *(folder / "ct2-int8").glob("*.json"), *(folder / "ct2-int8").glob("*.txt")]
    for file in (*texts, *folder.glob("model*.safetensors"), *(folder / "ct2-int8").glob("model.bin")):
        if not file.is_file():
            raise ValueError(f"{file} is no file")
        if file in texts and (size := file.stat().st_size) > MOST_BYTES:
            raise ValueError(f"{file} has {size:,} bytes, and {MOST_BYTES:,} are the most it may have")


def _check_plain(folder: Path) -> None:
    """Raises ValueError where a plain Whisper's config.json asks for what its weights do not hold."""
    from safetensors import safe_open

    told, held = _json(folder / "config.json"), set[str]()
    if told.get("model_type") != "whisper" or told.get("auto_map") or told.get("quantization_config"):
        raise ValueError("its config.json is no plain Whisper's")
    for file in folder.glob("model*.safetensors"):
        with safe_open(file, framework="np") as weights:
            held.update(weights.keys())
    for side in ("encoder", "decoder"):
        layers = told.get(f"{side}_layers", 0)
        there = {name.split(f"{side}.layers.")[1].split(".")[0] for name in held if f"{side}.layers." in name}
        if type(layers) is not int or layers != len(there):
            raise ValueError(
                f"its config.json tells of {layers!r:.40} {side} layers, and its weights hold {len(there)}"
            )
    for key in ("vocab_size", "d_model", "max_source_positions", "max_target_positions", "num_labels", "num_mel_bins"):
        if type(number := told.get(key, 1)) is not int or not 0 < number <= MOST_TOKENS:
            raise ValueError(f"its config.json has the {key} {number!r:.40}")


def _plain_language(folder: Path) -> str:
    """The language that a plain Whisper is set to, or MODEL_LANGUAGE; empty where nobody tells."""
    try:
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
    except ImportError:
        raise ValueError(
            f"{folder} has no ct2-int8/, and nothing else runs it without torch and transformers"
        ) from None
    settings = folder / "generation_config.json"
    told = os.environ.get("MODEL_LANGUAGE") or (_json(settings).get("language") if settings.is_file() else "")
    name = (told if isinstance(told, str) else "").strip("<|>").lower()
    return TO_LANGUAGE_CODE.get(name, name)


def listen(path: str | Path) -> Sound:
    """A file's sound. Raises ValueError, in one line, where it is missing, is no audio, or is empty or silent."""
    if not Path(path).is_file():
        raise ValueError("there is no such file")
    sound = Recording(path).sound()
    if not len(sound.samples):
        raise Unreadable("the recording is empty")
    if np.abs(sound.samples).max() < SILENCE:
        raise ValueError("the recording is silent")
    return sound


def _cuts(sound: np.ndarray, longest: float, once: int = SPAN) -> Iterator[Cut]:
    """(start, end) in samples of what to transcribe at once: the speech between two pauses, `longest` seconds at most.

    None where nobody speaks.
    """
    if sound.ndim != 1 or not len(sound):
        raise ValueError(f"a sound is (samples,), mono and not empty; this one is {sound.shape}")
    if (peak := np.abs(sound).max()) < SILENCE:
        return
    at, span, pauses = 0, once, replace(PAUSES, max_speech_duration_s=longest)
    while at < len(sound):
        heard = np.pad(sound[at : at + span] * max(1.0, LOUD / peak), (LEAD, 0))
        found = [(part["start"], part["end"]) for part in get_speech_timestamps(heard, pauses) if part["end"] > LEAD]
        parts = [(at + max(0, start - LEAD), at + end - LEAD) for start, end in found]
        end = at + span
        if end < len(sound) and parts and parts[-1][1] >= end - RATE:  # it may go on after the span
            if len(parts) > 1 or parts[0][0] >= at + RATE:
                end = parts.pop()[0]
            elif span < once + longest * RATE:
                span *= 2
                continue
        yield from parts
        at, span = end, once


def _rows(spoken: Any, rows: Sequence[int]) -> Any:
    """Some rows of what the encoder made, wherever it lies."""
    if isinstance(spoken, ctranslate2.StorageView):
        spoken = spoken.to_device(ctranslate2.Device.cpu)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.array(spoken)[rows]))


def _joined(sound: np.ndarray, cuts: Sequence[Cut]) -> np.ndarray:
    return np.concatenate([sound[start:end] for start, end in cuts])


def _apart(cuts: Sequence[Cut], heard: Heard, joint: str) -> tuple[list[Part], list[Cut]]:
    """What was said in each cut of a window that holds words, and the cuts that hold none.

    Without the words' times it was said in all of them.
    """
    words, sure = heard.words, (heard.log_probability, heard.no_speech)
    if not heard.text:
        return [], list(cuts)
    if len(cuts) == 1 or not words:
        return [Part(cuts[0][0], cuts[-1][1], heard.text, words, *sure)], []
    begins = np.cumsum([0, *(end - start for start, end in cuts)]) / RATE
    parts, homes, told = list[Part](), list[int](), set[int]()
    for at, (word, inner) in enumerate(zip(words, heard.inner, strict=True)):
        # A pause before a word may count as its beginning, and speech that was passed over as the last one's end.
        middle = (word.start + word.end) / 2
        middle = max(middle, word.end - EARLY) if at < len(words) - 1 else min(middle, word.start + EARLY)
        said = np.searchsorted(begins[1:-1], inner or [middle], side="right").tolist()
        homes.append(max(min(said), homes[-1] if homes else 0))
        told.update(range(min(said), max(said) + 1))  # of several cuts where digits are one word: "3-8-6-2"
    for at, (start, end) in enumerate(cuts):
        begin, seconds = float(begins[at]), (end - start) / RATE
        own = tuple(
            replace(word, start=max(0.0, word.start - begin), end=min(seconds, word.end - begin))
            for word, home in zip(words, homes, strict=True)
            if home == at
        )
        if own:
            parts.append(Part(start, end, joint.join(word.text for word in own), own, *sure))
    return parts, [cut for at, cut in enumerate(cuts) if at not in told]


def _is_speech(result: Any) -> bool:
    """Whether the decoder does not both guess at its words and hold that nobody speaks."""
    return bool(result.no_speech_prob <= NO_SPEECH or result.scores[0] >= GUESSED)


def _loud(sound: np.ndarray) -> np.ndarray:
    """(frames,) bool, a frame a hop: what is no pause."""
    peaks = np.abs(np.pad(sound, (0, -len(sound) % HOP))).reshape(-1, HOP).max(1)
    return np.asarray(peaks >= QUIET * peaks.max())


def _spread(letters: Sequence[int], loud: np.ndarray) -> np.ndarray:
    """(words + 1,) seconds: where each word begins, and the last ends, if every letter and space lasts the same."""
    shares = np.cumsum([0, *(count + 1 for count in letters)]) / (sum(letters) + len(letters))
    return np.asarray(np.interp(shares, np.cumsum([0, *loud]) / loud.sum(), np.arange(len(loud) + 1) * HOP / RATE))


def _loop(units: Sequence[str]) -> tuple[int, list[str], int] | None:
    """Where a phrase begins that comes too often in a row, the phrase, and how many times it comes.

    >>> _loop("och tack för maten tack för maten Tack för maten.".split())
    (1, ['tack', 'för', 'maten'], 3)
    >>> _loop("nej nej nej".split())
    """
    plain = [unit.casefold().strip(".,!?") for unit in units]
    for length in range(1, PHRASE + 1):
        for start in range(len(plain) - 2 * length + 1):
            once, times = plain[start : start + length], 1
            while plain[start + times * length : start + (times + 1) * length] == once:
                times += 1
            if times >= (ALIKE if length == 1 else REPEATS):
                return start, list(units[start : start + length]), times
    return None


def ratio(text: str) -> float:
    """How much shorter the text gets when it is compressed."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def _parts(words: tuple[Word, ...]) -> list[tuple[Word, ...]]:
    """Words in as few parts as can be read as subtitles, cut where a sentence ends, at a gap, or near the middle."""
    first, last = words[0].start, words[-1].end
    if len(words) < 2 or (last - first <= LONGEST and len(" ".join(word.text for word in words)) <= WIDEST):
        return [words]

    def worth(at: int) -> float:
        before, after = words[at - 1], words[at]
        mark = 1.0 if before.text[-1] in ".?!…。？！" else 0.5 if before.text[-1] in ",;:–、，" else 0.0
        middle = abs((before.end + after.start) / 2 - (first + last) / 2) / max(last - first, 0.01)
        return mark + min(after.start - before.end, 1.0) - 2 * middle**2

    best = max(range(1, len(words)), key=worth)
    return _parts(words[:best]) + _parts(words[best:])


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions in batches of like lengths, longest first.

    >>> list(_batches([100, 10, 95, 20]))
    [[0, 2], [3], [1]]
    """
    batch: list[int] = []
    for clip in sorted(range(len(lengths)), key=lambda clip: -lengths[clip]):
        if batch and (len(batch) == BATCH or lengths[clip] < (1 - PADDING) * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


def _stack(features: Sequence[np.ndarray], fewest: int = 0) -> np.ndarray:
    """(batch, mel, frames) float32 of (mel, frames), with digital silence after the shorter ones.

    Silence lies 8 powers of ten below a clip's loudest bin, which Whisper's scale halves twice. Frames are even:
    the encoder halves them.
    """
    mels = features[0].shape[0]
    frames = min(WINDOW // HOP, max(fewest, TAIL + max(one.shape[1] for one in features)))
    frames += frames % 2
    if frames == 2 * mels:  # CTranslate2 takes what the encoder makes of as many for log-mels, and encodes it again
        frames += 2
    stack = np.empty((len(features), mels, frames), np.float32)
    for clip, one in enumerate(features):
        stack[clip, :, : one.shape[1]] = one
        stack[clip, :, one.shape[1] :] = one.max() - 2.0
    return stack


def _missing_cuda() -> str:
    """What CTranslate2 lacks to run on a GPU, in a sentence; empty where it can."""
    if not ctranslate2.get_cuda_device_count():
        return "no GPU of NVIDIA with a driver is found"
    try:
        ctypes.CDLL(CUBLAS)
    except OSError:
        return (
            f"{CUBLAS} is missing; pip install nvidia-cublas-cu12, and add its lib folder to LD_LIBRARY_PATH before "
            "the start"
        )
    return ""


def locate() -> Path:
    """The release to serve: MODEL_ID, a folder or a Hub id (at MODEL_REVISION), else the newest one here.

    Raises ValueError in one line where there is none.
    """
    if model := os.environ.get("MODEL_ID"):
        if Path(model).is_dir():
            return Path(model).resolve()
        from huggingface_hub import snapshot_download

        try:
            revision = os.environ.get("MODEL_REVISION") or None
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=["*.json", "ct2-int8/*"]))
            if not (folder / "ct2-int8").exists():
                wanted = ["*.json", "model*.safetensors"]
                folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
            return folder
        except (OSError, ValueError) as error:
            raise ValueError(f"MODEL_ID={model} is neither a folder nor a model on the Hub: {_line(error)}") from None
    for top in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (top / "released" / "latest").is_dir():
            return (top / "released" / "latest").resolve()
    raise ValueError(f"no model in released/latest: make one with `{MADE_BY}`, or name one by MODEL_ID")


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file} is missing: the folder holds no finished release") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read: {_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no JSON object")
    return content


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def listed(words: str) -> tuple[str, ...]:
    """Words with commas or lines between them.

    >>> listed("Kiruna,  Åre\n\nSörmland ")
    ('Kiruna', 'Åre', 'Sörmland')
    """
    return tuple(word for one in words.replace(",", "\n").splitlines() if (word := " ".join(one.split())))


def render(transcript: Transcript, form: str) -> str:
    """The transcript as a file of that form holds it: txt, srt, vtt or json."""
    segments = transcript.segments
    if form == "txt":
        return "".join(f"{segment.text}\n" for segment in segments)
    if form == "json":
        return json.dumps(asdict(transcript), ensure_ascii=False, indent=2) + "\n"
    comma = {"srt": ",", "vtt": "."}[form]

    def clock(seconds: float) -> str:
        whole, thousandths = divmod(round(1000 * seconds), 1000)
        return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{thousandths:03}"

    cues = []
    for number, segment in enumerate(segments, 1):
        lines = "\n".join(textwrap.wrap(segment.text.replace("-->", "->"), WIDEST // 2))
        times = f"{clock(segment.start)} --> {clock(segment.end)}"
        cues.append(f"{number}\n{times}\n{lines}\n" if form == "srt" else f"{times}\n{html.escape(lines, False)}\n")
    return "\n".join(cues if form == "srt" else ["WEBVTT\n", *cues])


def main(arguments: Sequence[str]) -> int:
    """Print what is said in a file as it is heard, or in several, each after its name. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python space/transcriber.py", description="Speech to text.")
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio or video")
    parser.add_argument("--format", choices=FORMS, default="txt", help="of the text; default: txt")
    parser.add_argument("--beam", type=int, default=1, help="texts weighed at once; default: 1, the fastest")
    parser.add_argument("--prompt", default="", help="text that came before, in the spelling to go on in")
    parser.add_argument("--hotwords", default="", help="names and terms that may be said, with commas between")
    asked = parser.parse_args(arguments)
    if asked.beam < 1:
        parser.error("--beam is 1 or more")
    decoding = Decoding(asked.prompt, listed(asked.hotwords))
    try:
        transcriber = Transcriber(locate(), hardware=Hardware.of_environment())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    transcriber.beam, alone, plain, status = asked.beam, len(asked.files) == 1, asked.format == "txt", 0
    for file in asked.files:
        try:
            sound = listen(file)
            if sound.fault:
                print(f"{file}: {FAULTS[sound.fault]}", file=sys.stderr)
            heard: list[Segment] = []
            for segment in transcriber.segments(sound.samples, decoding=decoding):
                heard.append(segment)
                if alone and plain:
                    print(segment.text, flush=True)
            if not heard:
                raise ValueError("no words were heard in this recording")
            if alone and plain:
                continue
            transcript = transcriber.transcript(sound.samples, heard)
            text = transcript.text if plain else render(transcript, asked.format)
            print(text if alone else f"{file}:{' ' if plain else chr(10)}{text}", end="" if alone else "\n")
        except ValueError as error:
            print(f"{file}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
