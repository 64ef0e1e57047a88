"""A release's folder, which is checked before a model is built from it.

A folder may come from a stranger: the sizes of files are checked before they are read, and numbers are compared with
each other, since CTranslate2 does not check all its input (an alignment head that does not exist ends the process).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MADE_BY = "python flows/whisper_flow.py run"
FORMATS = range(1, 3)  # supported versions of release.json
ENGINE = "ct2-int8"  # the folder of CTranslate2's model
MAX_TEXT_BYTES = 1 << 26  # of a JSON or text file; a tokenizer.json of Whisper's has 4 MB
MAX_BANDS, MAX_TOKENS, MAX_NUMBER = 1_024, 1_000_000, 1e6
MAX_LANGUAGE = 16  # letters
SIZES = ("vocab_size", "d_model", "max_source_positions", "max_target_positions", "num_labels", "num_mel_bins")
SUPPRESSED = ("suppress_ids", "suppress_ids_begin")


@dataclass(frozen=True)
class Release:
    """The facts about a model from the files of its release.

    `record` is release.json: name, run_id, language, test_wer, ... A release without `ct2-int8/` is a plain Whisper in
    Hugging Face's format. `context` is "trimmed", log-mels cut to the recording, or "full", always 30 s of them.
    `longest` is the most seconds decoded at once, None for Whisper's own limit. `peak` is the peak that each
    window is scaled to, for a model that was trained on a single loudness. `is_aligned` tells whether the alignment
    heads are known.
    """

    folder: Path
    record: Mapping[str, Any]
    is_plain: bool
    language: str
    bands: int
    context: Literal["trimmed", "full"]
    longest: float | None
    peak: float | None
    is_aligned: bool

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    @property
    def engine(self) -> Path:
        return self.folder / ENGINE

    @classmethod
    def load(cls, folder: Path) -> Release:
        """Read and check a release. Raises ValueError, in one line that names the file."""
        folder = Path(folder)
        _check_files(folder)
        is_plain = not (folder / ENGINE).exists() and any(folder.glob("model*.safetensors"))
        record = {} if is_plain and not (folder / "release.json").exists() else _read(folder / "release.json")
        if not isinstance(version := record.get("format", 1), int) or version not in FORMATS:
            raise ValueError(
                f"{folder} is a release of format {version!r:.80}, and this engine reads {FORMATS[0]} to "
                f"{FORMATS[-1]}: one of the two is too old"
            )
        bands = _read(folder / "preprocessor_config.json").get("feature_size")
        if type(bands) is not int or not 1 < bands <= MAX_BANDS:
            raise ValueError(f"{folder / 'preprocessor_config.json'} has no feature_size")
        for file in ("tokenizer.json",) if is_plain else ("tokenizer.json", f"{ENGINE}/model.bin"):
            if not (folder / file).is_file():
                raise ValueError(f"{folder / file} is missing: the folder holds no finished release")
        language = record.get("language") or (_plain_language(folder) if is_plain else "")
        if not language:
            raise ValueError(f"{folder / 'release.json'} names no language")
        if not isinstance(language, str) or not language.isalpha() or len(language) > MAX_LANGUAGE:
            raise ValueError(f"{folder / 'release.json'}: {language!r:.80} is no language")
        for key in ("longest_seconds", "peak"):
            number = record.get(key)
            if number is not None and (type(number) not in (int, float) or not 0 < number <= MAX_NUMBER):
                raise ValueError(f"{folder / 'release.json'}: {key} is {number!r:.80}, and no number above 0")
        generation = folder / "generation_config.json"
        options = _read(generation) if generation.is_file() else {}
        if is_plain:
            _check_plain(folder)
            languages = options.get("lang_to_id")
            if languages and (not isinstance(languages, dict) or f"<|{language}|>" not in languages):
                raise ValueError(f"{generation} does not know the language {language}")
        return cls(
            folder,
            record,
            is_plain,
            language,
            bands,
            "full" if is_plain or record.get("context") == "full" else "trimmed",
            record.get("longest_seconds"),
            record.get("peak"),
            bool(options.get("alignment_heads")),
        )

    def check_engine(self, prompt: Mapping[str, int]) -> None:
        """Check CTranslate2's own settings. Raises ValueError, in one line that names the file.

        `prompt` has the special tokens at the start of decoding, and their ids in the tokenizer.
        """
        settings, vocabulary = _read(self.engine / "config.json"), _vocabulary(self.engine)
        for token, number in prompt.items():
            if vocabulary[number : number + 1] != [token]:
                raise ValueError(f"{self.engine}: its vocabulary has another token than {token} at {number}")
        for key in SUPPRESSED:
            if not _are_numbers(settings.get(key, []), len(vocabulary)):
                raise ValueError(f"{self.engine / 'config.json'}: {key} names tokens that are not in the vocabulary")
        config = _read(self.folder / "config.json") if (self.folder / "config.json").is_file() else {}
        limits = [
            number if isinstance(number := config.get(key, MAX_TOKENS), int) else math.inf
            for key in ("decoder_layers", "decoder_attention_heads")
        ]
        heads = settings.get("alignment_heads", [])
        if not isinstance(heads, list) or not all(_is_head(head, limits) for head in heads):
            raise ValueError(f"{self.engine / 'config.json'}: alignment_heads names heads that the model has not")


def find_release() -> Path:
    """The folder to serve: MODEL_ID, a folder or a Hub id (at MODEL_REVISION), else the newest release here.

    Raises ValueError in one line where there is none.
    """
    if model := os.environ.get("MODEL_ID"):
        if Path(model).is_dir():
            return Path(model).resolve()
        from huggingface_hub import snapshot_download

        try:
            revision = os.environ.get("MODEL_REVISION") or None
            folder = Path(snapshot_download(model, revision=revision, allow_patterns=["*.json", f"{ENGINE}/*"]))
            if not (folder / ENGINE).exists():
                patterns = ["*.json", "model*.safetensors"]
                folder = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
            return folder
        except (OSError, ValueError) as error:
            line = first_line(error)
            raise ValueError(f"MODEL_ID={model} is neither a folder nor a model on the Hub: {line}") from None
    for top in (Path.cwd(), Path(__file__).resolve().parents[1]):
        if (top / "released" / "latest").is_dir():
            return (top / "released" / "latest").resolve()
    raise ValueError(f"no model in released/latest: make one with `{MADE_BY}`, or name one by MODEL_ID")


def first_line(error: Exception) -> str:
    """An error's first line, of 300 letters at most, or its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _check_files(folder: Path) -> None:
    """Raises ValueError for a file that is too large or is not a regular file, before it is opened."""
    texts = [*folder.glob("*.json"), *(folder / ENGINE).glob("*.json"), *(folder / ENGINE).glob("*.txt")]
    for file in (*texts, *folder.glob("model*.safetensors"), *(folder / ENGINE).glob("model.bin")):
        if not file.is_file():
            raise ValueError(f"{file} is no file")
        if file in texts and (size := file.stat().st_size) > MAX_TEXT_BYTES:
            raise ValueError(f"{file} has {size:,} bytes, and {MAX_TEXT_BYTES:,} are the most it may have")


def _check_plain(folder: Path) -> None:
    """Raises ValueError if a plain Whisper's configuration does not match its weights, or names other files."""
    from safetensors import SafetensorError, safe_open

    file = folder / "config.json"
    config, tensors, shards = _read(file), set[str](), {path.name for path in folder.glob("model*.safetensors")}
    if config.get("model_type") != "whisper" or config.get("auto_map") or config.get("quantization_config"):
        raise ValueError(f"{file} is no plain Whisper's")
    if (adapter := folder / "adapter_config.json").exists():  # transformers would fetch the model that it names
        raise ValueError(f"{adapter}: an adapter alone is no model; merge it into its base first")
    if (index := folder / "model.safetensors.index.json").exists():
        files = _read(index).get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(name, str) and name in shards for name in files.values()):
            raise ValueError(f"{index} names files that are not in the folder")
    for shard in sorted(shards):
        try:
            with safe_open(folder / shard, framework="np") as weights:
                tensors.update(weights.keys())
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{folder / shard} cannot be read: {first_line(error)}") from None
    for stack in ("encoder", "decoder"):
        layers = config.get(f"{stack}_layers", 0)
        stored = {name.split(f"{stack}.layers.")[1].split(".")[0] for name in tensors if f"{stack}.layers." in name}
        if type(layers) is not int or layers != len(stored):
            raise ValueError(f"{file} has {layers!r:.40} {stack} layers, and the weights hold {len(stored)}")
    for key in SIZES:
        if type(number := config.get(key, 1)) is not int or not 0 < number <= MAX_TOKENS:
            raise ValueError(f"{file} has the {key} {number!r:.40}")


def _plain_language(folder: Path) -> str:
    """The language that a plain Whisper is set to, or MODEL_LANGUAGE; empty where none is set."""
    try:
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
    except ImportError:
        raise ValueError(
            f"{folder} has no {ENGINE}/, and nothing else runs it without torch and transformers"
        ) from None
    file = folder / "generation_config.json"
    language = os.environ.get("MODEL_LANGUAGE") or (_read(file).get("language") if file.is_file() else "")
    name = (language if isinstance(language, str) else "").strip("<|>").lower()
    return TO_LANGUAGE_CODE.get(name, name)


def _vocabulary(engine: Path) -> list[str]:
    """CTranslate2's tokens by number."""
    if (lines := engine / "vocabulary.txt").is_file():  # of an older converter
        return lines.read_text(encoding="utf-8", errors="replace").splitlines()
    tokens = _parse(engine / "vocabulary.json")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{engine / 'vocabulary.json'} is no list of tokens")
    return tokens


def _are_numbers(values: object, below: float) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < below for value in values)


def _is_head(head: object, limits: Sequence[float]) -> bool:
    """Whether it is [layer, head] within the limits of layers and heads."""
    return (
        isinstance(head, list)
        and len(head) == len(limits)
        and all(_are_numbers([at], limit) for at, limit in zip(head, limits, strict=True))
    )


def _read(file: Path) -> dict[str, Any]:
    content = _parse(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no JSON object")
    return content


def _parse(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file} is missing: the folder holds no finished release") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read: {first_line(error)}") from None
