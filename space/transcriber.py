"""Speech to text: the one engine that serves a release, and that the training flow scores it with.

    python space/transcriber.py FILE...

CTranslate2 runs the model in 8-bit integers on log-mels cut to the clip's own length: Whisper's usual 30 s
of padding is most of the work for a short clip. Sounds are (samples,) float32, mono, 16 kHz.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ctranslate2
import numpy as np
from faster_whisper.audio import decode_audio
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.vad import VadOptions, get_speech_timestamps
from tokenizers import Tokenizer

RATE = 16_000
SILENCE = 1e-3  # peak, of 1.0: -60 dB
SHORTEST = RATE // 10  # samples; anything shorter is padded, the spectrogram's window needs some
WINDOW = 30 * RATE  # samples: what Whisper hears at once
HOP = 160  # samples a frame
MAX_LENGTH = 448  # positions of a Whisper decoder; CTranslate2 makes at most half as many new tokens
TIMESTAMPS = 1_501  # Whisper's timestamp tokens, which stand behind <|notimestamps|> and are no words
BATCH = 16  # clips at once
TAIL = (
    30  # frames of silence after the longest clip: cut right at its end, digits lost 3 points of WER more than with it
)
FORMATS = range(1, 3)  # of releases
PADDING = 0.1  # of the longest clip in a batch, at most: padding costs time, and context a model may not know
MADE_BY = "python flows/whisper_flow.py run"

# A pause of half a second ends a segment. The detector is set to let little pass for quiet, and 0.4 s of it is left
# around speech: at its defaults it cut whole words out of telephone-band digits (WER 17.8 % for 10.7 % without it).
# It is there since one second of silence at both ends of the sample's clips otherwise costs half their words.
PAUSES = VadOptions(
    threshold=0.2, max_speech_duration_s=30, min_silence_duration_ms=500, min_speech_duration_ms=0, speech_pad_ms=400
)


@dataclass(frozen=True)
class Segment:
    """What was said between two pauses; times in seconds from the start of the sound."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    text: str
    segments: tuple[Segment, ...]  # empty where nothing was heard
    seconds: float  # of the sound
    language: str  # Whisper's code for it


class Transcriber:
    """A release, loaded and ready.

    `threads`: CPU threads, 0 for CTranslate2's own choice. `release` is what the flow wrote down about the
    release: name, run_id, language, test_wer, ... `context` is "trimmed", log-mels cut to the sound, or "full", always
    30 s of them. Raises ValueError, in one line that names the file, where the
    folder is no release.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        folder = Path(folder)
        self.release = _json(folder / "release.json")
        if (made := self.release.get("format", 1)) not in FORMATS:
            raise ValueError(
                f"{folder} is a release of format {made}, and this engine reads {FORMATS[0]} to {FORMATS[-1]}: "
                "one of the two is too old"
            )
        feature_size = _json(folder / "preprocessor_config.json").get("feature_size")
        if not isinstance(feature_size, int):
            raise ValueError(f"{folder / 'preprocessor_config.json'} has no feature_size")
        tokenizer = folder / "tokenizer.json"
        weights = folder / "ct2-int8" / "model.bin"
        for file in (tokenizer, weights):
            if not file.is_file():
                raise ValueError(f"{file} is missing: the folder holds no finished release")
        if not (language := self.release.get("language")):
            raise ValueError(f"{folder / 'release.json'} names no language")
        self.language: str = language
        self.context: Literal["trimmed", "full"] = "trimmed"
        self._features = FeatureExtractor(feature_size=feature_size)
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._model = ctranslate2.models.Whisper(str(weights.parent), compute_type="int8", intra_threads=threads)
        except Exception as error:  # both libraries raise no more than Exception and RuntimeError for a broken file
            raise ValueError(f"{folder} cannot be loaded: {_line(error)}") from None
        # Explicit, since faster-whisper takes a small vocabulary for English and swaps the language.
        prompt = ("<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>")
        self._prompt: list[int] = []
        for token in prompt:
            if (number := self._tokenizer.token_to_id(token)) is None:
                raise ValueError(f"{tokenizer} has no {token}")
            self._prompt.append(number)
        self._timestamps = range(self._prompt[-1] + 1, self._prompt[-1] + 1 + TIMESTAMPS)

    def transcribe(self, sound: np.ndarray) -> Transcript:
        """The text of a sound of any length, a segment for the speech between two pauses.

        Silence gives an empty text. Raises ValueError for an empty array or one that is not mono.
        """
        windows = _windows(sound)
        texts = self._texts([sound[start:end] for start, end in windows])
        segments = tuple(
            Segment(round(start / RATE, 2), round(end / RATE, 2), text)
            for (start, end), text in zip(windows, texts, strict=True)
            if text
        )
        return Transcript(
            " ".join(segment.text for segment in segments), segments, round(len(sound) / RATE, 2), self.language
        )

    def transcribe_file(self, path: str | Path) -> Transcript:
        """The text of an audio or video file. Raises ValueError, in one line, where there is nothing to hear."""
        return self.transcribe(listen(path))

    def transcribe_batch(self, sounds: Sequence[np.ndarray]) -> list[str]:
        """The texts of many sounds, in their order: the words of `transcribe`, sooner."""
        cuts = [[sound[start:end] for start, end in _windows(sound)] for sound in sounds]
        texts = iter(self._texts([window for windows in cuts for window in windows]))
        return [" ".join(text for text in (next(texts) for _ in windows) if text) for windows in cuts]

    def _texts(self, sounds: Sequence[np.ndarray]) -> list[str]:
        """The texts of sounds of up to 30 s each, in their order."""
        texts = [""] * len(sounds)
        for batch in _batches([len(sound) for sound in sounds]):
            features = _stack([self._log_mels(sounds[clip]) for clip in batch])
            # 25 tokens a second, beyond any speech: a decoder in a loop ends. The float model is held to the same.
            tokens = features.shape[2] // 4 + 16
            if self.context == "full":
                features = _stack(list(features), WINDOW // HOP)
            results = self._model.generate(
                ctranslate2.StorageView.from_array(features),
                [self._prompt] * len(batch),
                beam_size=1,
                max_length=min(MAX_LENGTH, 2 * tokens),
            )
            for clip, result in zip(batch, results, strict=True):
                words = [token for token in result.sequences_ids[0] if token not in self._timestamps]
                texts[clip] = self._tokenizer.decode(words, skip_special_tokens=True).strip()
        return texts

    def _log_mels(self, sound: np.ndarray) -> np.ndarray:
        """(mel, frames) float32, one frame a hop as in training: faster-whisper's own padding would add one."""
        sound = np.pad(sound, (0, max(0, SHORTEST - len(sound))))
        return self._features(sound, padding=0)[:, : WINDOW // HOP]


def listen(path: str | Path) -> np.ndarray:
    """A file's sound. Raises ValueError, in one line, where it is missing, is no audio, or is empty or silent."""
    if not Path(path).is_file():
        raise ValueError("there is no such file")
    try:
        sound = decode_audio(str(path))
    except Exception:  # PyAV raises its own errors, IndexError, ValueError and more, by how the file is broken
        raise ValueError("no readable audio in this file") from None
    if not len(sound):
        raise ValueError("the recording is empty")
    if np.abs(sound).max() < SILENCE:
        raise ValueError("the recording is silent")
    return sound


def _windows(sound: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) in samples of what to transcribe at once: the speech between two pauses, at most 30 s of it.

    None for silence; all of a short sound in which no speech is found, since a detector may be wrong.
    """
    if sound.ndim != 1 or not len(sound):
        raise ValueError(f"a sound is (samples,), mono and not empty; this one is {sound.shape}")
    if np.abs(sound).max() < SILENCE:
        return []
    speech = [(part["start"], part["end"]) for part in get_speech_timestamps(sound, PAUSES)]
    return speech if speech or len(sound) > WINDOW else [(0, len(sound))]


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
    frames = min(WINDOW // HOP, max(fewest, TAIL + max(one.shape[1] for one in features)))
    stack = np.empty((len(features), features[0].shape[0], frames + frames % 2), np.float32)
    for clip, one in enumerate(features):
        stack[clip, :, : one.shape[1]] = one
        stack[clip, :, one.shape[1] :] = one.max() - 2.0
    return stack


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
            return Path(snapshot_download(model, revision=revision, allow_patterns=["*.json", "ct2-int8/*"]))
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
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no JSON object")
    return content


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def main(files: Sequence[str]) -> int:
    """Print each file's text, under its name where there are several. Returns the exit status."""
    if not files:
        print("usage: python space/transcriber.py FILE...", file=sys.stderr)
        return 2
    try:
        transcriber = Transcriber(locate())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    status = 0
    for file in files:
        try:
            text = transcriber.transcribe_file(file).text
            print(f"{file}: {text}" if len(files) > 1 else text)
        except ValueError as error:
            print(f"{file}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
