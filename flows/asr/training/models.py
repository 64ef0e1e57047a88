"""Whisper models: loaded from a base or built from scratch, and run at a clip's own context.

Transformers' encoder accepts 30 s only. `encode` runs the same layers on fewer frames: at 3,000 frames the result is
the stock encoder's, at 300 it costs a tenth.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import InputError, disk, first_line, network
from asr.settings import Model, Settings
from asr.training import base_files

if TYPE_CHECKING:
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

FRAMES_PER_SECOND = 100
WINDOW_FRAMES = 3_000  # 30 s: the fixed input of a stock Whisper
POSITIONS = 448  # of a Whisper's decoder
FULL_VOCABULARY = 51_865  # tokens of a published multilingual Whisper
MAX_TOKENS = POSITIONS - 4  # less the prompt
PREVIOUS_TOKEN, MAX_PROMPT_TOKENS = "<|startofprev|>", 223  # the start of a prompt, and its maximum tokens
TIMESTAMPS = 1_501  # 0 to 30 s, 0.02 s apart
TINY_WIDTH = 384  # of the smallest published Whisper, tiny
FORMATS = range(1, 3)  # of releases that can be used; raised with what a release holds
MAX_BASE_LEARNING_RATE = 1e-4  # measured on Common Voice sv-SE: whisper-small at 5e-5 lost 8 points of WER, at 1e-4 11


@dataclass(frozen=True)
class Defaults:
    """The values of "auto" in a profile."""

    learning_rates: tuple[float, ...]
    limit: float  # a higher learning rate is an error
    optimizer: str


def default_hyperparameters(settings: Settings) -> Defaults:
    """The learning rates and optimiser for the model's size and origin.

    A published Whisper needs a small learning rate to keep what it learnt; a small base, such as the sample's release,
    has less to lose. Training from scratch and LoRA adapters, which start at zero, need a large one.
    Raises `InputError` where the base cannot be read.
    """
    model = settings.model
    if model.base is None:
        return Defaults((4e-3, 6e-3), 1e-1, "muon")
    width = base_config(model.base)["d_model"]
    if settings.training.lora_rank:
        return Defaults((2e-4, 1e-3), 1e-2, "adamw")
    if width < TINY_WIDTH:
        return Defaults((1e-3, 2e-3), 1e-2, "muon")
    return Defaults((1e-5, 2e-5), MAX_BASE_LEARNING_RATE, "adamw")


def optimizer_name(settings: Settings) -> str:
    """muon or adamw."""
    name = settings.training.optimizer
    return default_hyperparameters(settings).optimizer if name == "auto" else name


def base_config(base: str) -> dict[str, Any]:
    """The base's configuration, read without torch. Raises `InputError` where it is missing or not a Whisper."""
    from transformers.utils.hub import cached_file

    _check_release(base)
    with _loading(base, "is neither a model's folder nor available from the Hub") as options:
        if os.path.isdir(base):
            return base_files.read_config(Path(base, "config.json"))
        file = cached_file(base, "config.json", local_files_only=options["local_files_only"])
        return base_files.read_config(Path(str(file)))


def prepare(settings: Settings, texts: Sequence[str]) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """The model that training starts from, with its processor: the base, or new weights and a tokenizer of `texts`."""
    if settings.model.base:
        model, processor = load(settings.model.base)
    else:
        processor = new_processor(texts, settings.model.vocabulary)
        model = new_model(settings.model, processor)
    for language in (*settings.corpus.retained.values(), settings.corpus.language):  # the last one stays
        set_language(model, processor, language)
    if settings.training.silence_share:
        allow_empty_output(model)
    return model, processor


def load_processor(settings: Settings, texts: Sequence[str]) -> WhisperProcessor:
    """The processor that `prepare` gives, without the model. Raises `InputError` where the base has none."""
    from transformers import WhisperProcessor

    base = settings.model.base
    if not base:
        return new_processor(texts, settings.model.vocabulary)
    with _loading(base) as options:
        if Path(base).is_dir():
            base_files.check(Path(base))
        return WhisperProcessor.from_pretrained(base, **options)


@contextmanager
def _loading(base: str | Path, fault: str = "cannot be loaded") -> Iterator[dict[str, Any]]:
    """The arguments of `from_pretrained`; raises `InputError` for a missing or broken file.

    Without a connection to the Hub only the cache is used; otherwise each file would be requested six times.
    """
    from huggingface_hub import constants

    away = "" if Path(base).is_dir() else network.unreachable_reason()
    try:
        with disk.explained(Path(constants.HF_HUB_CACHE)):
            yield {"local_files_only": bool(away), "trust_remote_code": False}
    except InputError:
        raise
    except Exception as error:  # transformers, tokenizers and safetensors raise many types for a broken file
        reason = first_line(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
        reason = (
            f"the Hub cannot be reached: {away}" if away and isinstance(error, OSError) else " ".join(reason.split())
        )
        raise InputError(f"[model] base: {base} {fault}: {reason}") from None


def load(base: str | Path) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """A model in float32 and its processor, from a folder or the Hub. Raises `InputError` where a part is missing."""
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    base_config(str(base))
    with _loading(base) as options:
        if Path(base).is_dir():
            base_files.check(Path(base))
        processor = WhisperProcessor.from_pretrained(base, **options)
        model = WhisperForConditionalGeneration.from_pretrained(
            base, dtype=torch.float32, use_safetensors=True, **options
        )  # a pytorch_model.bin is a pickle
        if (tokens := len(processor.tokenizer)) > model.config.vocab_size:
            raise ValueError(f"its tokenizer has {tokens} tokens, and its model {model.config.vocab_size}")
        return model, processor


def _check_release(base: str | Path) -> None:
    if not (file := Path(base, "release.json")).is_file():
        return
    try:
        if file.stat().st_size > base_files.MAX_OTHER_BYTES:
            raise ValueError(f"it has more than {base_files.MAX_OTHER_BYTES:,} bytes")
        record = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"[model] base: {file} cannot be read: {first_line(error)}") from None
    check_format(record, str(base))


def check_format(record: dict[str, Any], source: str) -> None:
    """Raises `InputError` where a release is of a format that this program does not know."""
    version = record.get("format", FORMATS[0])
    if not isinstance(version, int) or version not in FORMATS:
        older = isinstance(version, int) and version < FORMATS[0]
        raise InputError(
            f"{source} is a release of format {version}, made by {record.get('program', 'another program')}; "
            f"this one reads {FORMATS[0]} to {FORMATS[-1]}: {'train it again' if older else 'update whisper-flow'}"
        )


def save(folder: Path, model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> Path:
    """Write both to `folder` in Hugging Face's format."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def set_language(model: WhisperForConditionalGeneration, processor: WhisperProcessor, language: str) -> None:
    """Set language and task in the tokenizer's prompt and in the defaults of `generate`."""
    tokenizer = processor.tokenizer
    if tokenizer.convert_tokens_to_ids(f"<|{language}|>") == tokenizer.unk_token_id:
        raise InputError(f"[corpus] language: Whisper has no language {language}")
    tokenizer.set_prefix_tokens(language=language, task="transcribe", predict_timestamps=False)
    generation: Any = model.generation_config
    generation.language, generation.task, generation.forced_decoder_ids = language, "transcribe", None


def allow_empty_output(model: WhisperForConditionalGeneration) -> None:
    """Let `generate`, and converted models, return an empty text.

    A stock Whisper suppresses the end token at the start, and so hallucinates on silence.
    """
    for config in (model.generation_config, model.config):
        if first := getattr(config, "begin_suppress_tokens", None):
            config.begin_suppress_tokens = [token for token in first if token != model.config.eos_token_id]


def new_processor(texts: Iterable[str], vocabulary: int) -> WhisperProcessor:
    """Whisper's processor with a byte-level BPE of `vocabulary` tokens learnt from the texts.

    All of Whisper's special tokens follow, in their order: 99 languages, tasks, 1,501 timestamps.
    """
    import json

    from tokenizers import ByteLevelBPETokenizer
    from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator((" " + text for text in texts), vocab_size=vocabulary, min_frequency=2, show_progress=False)
    learnt = json.loads(bpe.to_str())["model"]
    tokenizer = WhisperTokenizer(vocab=learnt["vocab"], merges=[tuple(merge) for merge in learnt["merges"]])
    specials = ["<|endoftext|>", "<|startoftranscript|>"]
    specials += [f"<|{code}|>" for code in list(LANGUAGES)[:99]]
    specials += [
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        PREVIOUS_TOKEN,
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    tokenizer.add_special_tokens({"extra_special_tokens": specials})
    tokenizer.add_tokens([f"<|{at * 0.02:.2f}|>" for at in range(TIMESTAMPS)])
    return WhisperProcessor(WhisperFeatureExtractor(), tokenizer)


def new_model(shape: Model, processor: WhisperProcessor) -> WhisperForConditionalGeneration:
    """A Whisper of that shape with random weights, from torch's seed."""
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids
    end, start = ids("<|endoftext|>"), ids("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=processor.feature_extractor.feature_size,
        d_model=shape.width,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        max_length=POSITIONS,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in list(LANGUAGES)[:99]},
        task_to_id={task: ids(f"<|{task}|>") for task in ("translate", "transcribe")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        prev_sot_token_id=ids(PREVIOUS_TOKEN),
        max_initial_timestamp_index=50,
        suppress_tokens=[],
        begin_suppress_tokens=[end],
        return_timestamps=False,
    )
    return model


def encode(model: WhisperForConditionalGeneration, features: torch.Tensor) -> torch.Tensor:
    """(batch, frames / 2, width) states of (batch, mel, frames) log-mels, for any frames up to 3,000."""
    from torch.nn import functional

    encoder = model.model.encoder
    states = functional.gelu(encoder.conv1(features))
    states = functional.gelu(encoder.conv2(states)).permute(0, 2, 1)
    states = states + encoder.embed_positions.weight[: states.shape[1]]
    states = functional.dropout(states, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        states = layer(states, None)
    return encoder.layer_norm(states)


def max_tokens(frames: int) -> int:
    """A limit of tokens for `frames` frames, 25 per second, which ends a decoder in a loop."""
    return min(MAX_TOKENS, frames // 4 + 16)


def transcribe(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, features: torch.Tensor, spoken: int = 0
) -> list[str]:
    """Greedy transcripts of (batch, mel, frames) log-mels, at the batch's own context.

    No more tokens are written than fit into the first `spoken` frames, where the rest is padding; 0: into all.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    with torch.inference_mode():
        states = encode(model, features.to(model.device))
        tokens = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            max_new_tokens=max_tokens(spoken or features.shape[2]),
            num_beams=1,
            do_sample=False,
            force_unique_generate_call=True,  # else a timestamp starts another pass, over features that are missing
        )
    return [text.strip() for text in processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
