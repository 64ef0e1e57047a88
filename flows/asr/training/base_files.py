"""Checks of a base model's files before a library loads them.

The configuration is compared with the header of the weights: transformers would build a model of a million layers for
minutes before it finds that the file has two. Nothing here imports torch or runs code of the base.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CODE_KEY = "auto_map"  # names Python code of a base
MAX_BYTES = {"config.json": 1 << 20, "generation_config.json": 1 << 20}
MAX_OTHER_BYTES = 1 << 26  # of other text files; Whisper's tokenizer.json has 4 MB
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F16", "BF16", "F32", "F64")

Layers = Annotated[int, Field(gt=0, le=256, strict=True)]
Width = Annotated[int, Field(gt=0, le=16_384, strict=True)]
Inner = Annotated[int, Field(gt=0, le=131_072, strict=True)]
Positions = Annotated[int, Field(gt=0, le=100_000, strict=True)]
Token = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]
Tokens = Annotated[list[Annotated[int, Field(ge=-1, le=10_000_000, strict=True)]], Field(max_length=100_000)]


class FileModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Config(FileModel):
    """The needed part of config.json, with transformers' defaults."""

    model_type: Literal["whisper"]
    d_model: Width
    vocab_size: Annotated[int, Field(gt=0, le=10_000_000, strict=True)] = 51_865
    num_mel_bins: Annotated[int, Field(gt=0, le=1_024, strict=True)] = 80
    encoder_layers: Layers = 4
    decoder_layers: Layers = 4
    encoder_attention_heads: Width = 6
    decoder_attention_heads: Width = 6
    encoder_ffn_dim: Inner = 1_536
    decoder_ffn_dim: Inner = 1_536
    max_source_positions: Positions = 1_500
    max_target_positions: Positions = 448
    num_labels: Annotated[int, Field(ge=0, le=10_000)] = 2
    pad_token_id: Token | None = 50_256
    bos_token_id: Token | None = 50_256
    eos_token_id: Token | list[Token] | None = 50_256
    decoder_start_token_id: Token | None = 50_257
    suppress_tokens: Tokens | None = None
    begin_suppress_tokens: Tokens | None = None
    attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] | None = Field(
        None, validation_alias="_attn_implementation"
    )  # transformers fetches code of any other name from the Hub
    quantization_config: None = None
    auto_map: None = None


class Generation(FileModel):
    """The part of generation_config.json that can block `generate` or make it fail."""

    max_length: Annotated[int, Field(gt=0, le=100_000, strict=True)] | None = None
    max_new_tokens: Annotated[int, Field(gt=0, le=100_000, strict=True)] | None = None
    num_beams: Annotated[int, Field(gt=0, le=100, strict=True)] | None = None
    num_return_sequences: Annotated[int, Field(gt=0, le=100, strict=True)] | None = None
    eos_token_id: Token | list[Token] | None = None
    pad_token_id: Token | None = None
    bos_token_id: Token | None = None
    decoder_start_token_id: Token | None = None
    no_timestamps_token_id: Token | None = None
    prev_sot_token_id: Token | None = None
    suppress_tokens: Tokens | None = None
    begin_suppress_tokens: Tokens | None = None
    lang_to_id: dict[str, Token] | None = None
    task_to_id: dict[str, Token] | None = None
    alignment_heads: list[tuple[Token, Token]] | None = None
    language: str | None = None
    temperature: float | None = None
    custom_generate: None = None


class Features(FileModel):
    """The part of preprocessor_config.json that shapes spectrograms."""

    feature_size: Annotated[int, Field(gt=0, le=1_024, strict=True)] = 80
    sampling_rate: Literal[16_000] = 16_000
    hop_length: Annotated[int, Field(gt=0, le=1_600, strict=True)] = 160
    n_fft: Annotated[int, Field(gt=0, le=4_096, strict=True)] = 400
    chunk_length: Annotated[int, Field(gt=0, le=3_600, strict=True)] = 30
    auto_map: None = None


class Processor(FileModel):
    feature_extractor: Features | None = None
    auto_map: None = None


class TokenizerConfig(FileModel):
    auto_map: None = None


FileModelType = TypeVar("FileModelType", bound=FileModel)
OPTIONAL_FILES: dict[str, type[FileModel]] = {
    "generation_config.json": Generation,
    "preprocessor_config.json": Features,
    "processor_config.json": Processor,
    "tokenizer_config.json": TokenizerConfig,
}


def read_config(file: Path) -> dict[str, Any]:
    """Read and check a Whisper's config.json. Raises ValueError in one line."""
    config = _read_object(file)
    _validate(Config, config, file.name)
    return config


def check(folder: Path) -> None:
    """Raise ValueError, in one line, where the folder is not a Whisper that loads without running code."""
    _check_files(folder)
    config = _validate(Config, read_config(folder / "config.json"), "config.json")
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
        raise ValueError("tokenizer.json is missing")  # transformers would create an empty one
    optional = {
        name: _validate(schema, _read_object(folder / name), name)
        for name, schema in OPTIONAL_FILES.items()
        if (folder / name).exists()
    }
    generation = optional.get("generation_config.json")
    _check_tokens(config, generation if isinstance(generation, Generation) else Generation())
    extractor = optional.get("preprocessor_config.json")
    if isinstance(processor := optional.get("processor_config.json"), Processor):
        extractor = processor.feature_extractor or extractor
    if isinstance(extractor, Features) and extractor.feature_size != config.num_mel_bins:
        raise ValueError(f"its spectrograms have {extractor.feature_size} bands, and its model {config.num_mel_bins}")
    _check_weights(config, _read_shapes(folder))


def _check_files(folder: Path) -> None:
    for name in sorted(os.listdir(folder)):
        if name.endswith((".json", ".txt", ".jinja", ".safetensors")):
            _check_file(folder / name)


def _check_file(file: Path) -> None:
    if not file.is_file():  # a folder, a pipe, a broken link
        raise ValueError(f"{file.name} is no file")
    if file.is_symlink() and not _stays_inside(file):
        raise ValueError(f"{file.name} is a link that leads out of the folder")
    most = MAX_BYTES.get(file.name, MAX_OTHER_BYTES)
    if (size := file.stat().st_size) > most and file.suffix != ".safetensors":
        raise ValueError(f"{file.name} has {size:,} bytes, and {most:,} are the most it may have")


def _stays_inside(link: Path) -> bool:
    """Whether a link points into its folder, or into the blobs of the Hub's cache."""
    folder, end = Path(os.path.realpath(link.parent)), Path(os.path.realpath(link))
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    return end.is_relative_to(folder) or end.is_relative_to(blobs)


def _read_object(file: Path) -> dict[str, Any]:
    if file.exists():
        _check_file(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file.name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return content


def _validate(schema: type[FileModelType], content: Mapping[str, Any], name: str) -> FileModelType:
    try:
        return schema.model_validate(content)
    except ValidationError as invalid:
        error = invalid.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        if CODE_KEY in error["loc"]:
            raise ValueError(f"{name} has {key}: it brings code of its own, which is not run") from None
        if key == "model_type":
            raise ValueError(
                f"it is a {content.get('model_type') or 'folder without a model'!s:.40}, not a Whisper"
            ) from None
        raise ValueError(f"{name}: {key}: {error['msg']}") from None


def _check_tokens(config: Config, generation: Generation) -> None:
    if config.d_model % config.encoder_attention_heads or config.d_model % config.decoder_attention_heads:
        raise ValueError(f"config.json: d_model {config.d_model} is not a multiple of its attention heads")
    for name, checked in (("config.json", config), ("generation_config.json", generation)):
        for key, value in checked.model_dump(exclude_none=True, exclude_unset=True).items():
            tokens = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            # config.json keeps the lists of a published Whisper where the vocabulary is small; they are not used.
            is_token = key.endswith("_token_id") or (checked is generation and key.endswith(("_tokens", "_to_id")))
            beyond = next((token for token in tokens if token >= config.vocab_size), None) if is_token else None
            if beyond is not None:
                raise ValueError(f"{name}: {key}: {beyond} is beyond the {config.vocab_size} tokens of the model")
    end = generation.eos_token_id if "eos_token_id" in generation.model_fields_set else config.eos_token_id
    if end is None or end == []:
        raise ValueError("it has no eos_token_id: no text would end")


def _read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights by name."""
    files = [folder / WEIGHTS_FILE]
    if not files[0].exists():
        if not (folder / INDEX_FILE).exists():
            raise ValueError(f"{WEIGHTS_FILE} is missing; weights in another format may hold code, and are not read")
        shards = _read_object(folder / INDEX_FILE).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise ValueError(f"{INDEX_FILE} has no weight_map")
        if odd := next(
            (shard for shard in shards.values() if Path(shard).name != shard or not shard.endswith(".safetensors")), ""
        ):
            raise ValueError(f"{INDEX_FILE}: {odd[:200]!r} is no file of the folder")
        files = [folder / shard for shard in sorted(set(shards.values()))]
    return {name: shape for file in files for name, shape in _shapes_in(file)}


def _shapes_in(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118
                part = weights.get_slice(name)
                if part.get_dtype() not in FLOATS:
                    raise ValueError(f"{file.name}: {name} is of {part.get_dtype()}, which is no float")
                yield name, tuple(part.get_shape())
    except FileNotFoundError:
        raise ValueError(f"{file.name} is missing") from None
    except (SafetensorError, OSError, OverflowError) as error:
        raise ValueError(f"{file.name} cannot be read: {' '.join(str(error).split())}") from None


def _check_weights(config: Config, stored: Mapping[str, tuple[int, ...]]) -> None:
    shapes = {name.removeprefix("model."): shape for name, shape in stored.items()}
    for name, shape in _expected_shapes(config):
        if name not in shapes:
            raise ValueError(f"its weights lack {name}, which config.json tells of")
        if shapes[name] != shape:
            raise ValueError(f"its weights hold {name} as {list(shapes[name])}, and config.json says {list(shape)}")
    for stack, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        start = f"{stack}.layers."
        numbers = (name.removeprefix(start).partition(".")[0] for name in shapes if name.startswith(start))
        if beyond := next((number for number in numbers if number not in map(str, range(layers))), None):
            raise ValueError(f"its weights hold {start}{beyond:.20}, and config.json says {layers} layers")


def _expected_shapes(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of a Whisper's weights that follow from its configuration."""
    width = config.d_model
    yield "encoder.conv1.weight", (width, config.num_mel_bins, 3)
    yield "encoder.conv2.weight", (width, width, 3)
    yield "encoder.embed_positions.weight", (config.max_source_positions, width)
    yield "decoder.embed_tokens.weight", (config.vocab_size, width)
    yield "decoder.embed_positions.weight", (config.max_target_positions, width)
    stacks = (
        ("encoder", config.encoder_layers, config.encoder_ffn_dim, ("self_attn",)),
        ("decoder", config.decoder_layers, config.decoder_ffn_dim, ("self_attn", "encoder_attn")),
    )
    for stack, layers, inner, attentions in stacks:
        for number in range(layers):
            layer = f"{stack}.layers.{number}"
            for attention in attentions:
                for part in ("k", "q", "v", "out"):
                    yield f"{layer}.{attention}.{part}_proj.weight", (width, width)
                    if part != "k":
                        yield f"{layer}.{attention}.{part}_proj.bias", (width,)
            yield f"{layer}.fc1.weight", (inner, width)
            yield f"{layer}.fc2.weight", (width, inner)
            for norm in (*(f"{attention}_layer_norm" for attention in attentions), "final_layer_norm"):
                yield f"{layer}.{norm}.weight", (width,)
                yield f"{layer}.{norm}.bias", (width,)
        yield f"{stack}.layer_norm.weight", (width,)
        yield f"{stack}.layer_norm.bias", (width,)
