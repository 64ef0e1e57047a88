"""The release in GGML, the format of whisper.cpp: in 16-bit floats and in five bits per weight.

The files equal those of whisper.cpp's converters (models/convert-h5-to-ggml.py and examples/quantize): sizes, mel
filters, the tokens' bytes, then the tensors. The package `gguf` quantizes the weights.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from asr import hardware
from asr.training.models import FULL_VOCABULARY

if TYPE_CHECKING:
    from transformers import WhisperProcessor

FOLDER = "ggml"
KINDS = ("f16", "q5_0")
MAGIC = 0x67676D6C  # "ggml"
QUANTIZATION_VERSION = 2_000  # the version of the quantization format, times a thousand, is added to a file's type
FILE_TYPES = {"f16": 1, "q5_0": QUANTIZATION_VERSION + 8}
NAME_RULES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^model\.", ""),
        (r"layers\.", "blocks."),
        (r"encoder_attn_layer_norm", "cross_attn_ln"),
        (r"self_attn_layer_norm", "attn_ln"),
        (r"final_layer_norm", "mlp_ln"),
        (r"^encoder\.layer_norm", "encoder.ln_post"),
        (r"^decoder\.layer_norm", "decoder.ln"),
        (r"encoder_attn", "cross_attn"),
        (r"self_attn", "attn"),
        (r"q_proj", "query"),
        (r"k_proj", "key"),
        (r"v_proj", "value"),
        (r"out_proj", "out"),
        (r"fc1", "mlp.0"),
        (r"fc2", "mlp.2"),
        (r"embed_positions\.weight", "positional_embedding"),
        (r"embed_tokens", "token_embedding"),
    )
)


def unsupported_reason(vocabulary: int) -> str:
    """Why a model with this vocabulary size cannot be converted, in a sentence; empty if it can."""
    if vocabulary >= FULL_VOCABULARY:  # whisper.cpp identifies special tokens by their number
        return ""
    return f"ggml is left out: whisper.cpp needs a published Whisper's {FULL_VOCABULARY:,} tokens, not {vocabulary:,}"


def write_models(folder: Path) -> None:
    """Write `ggml/model-f16.bin` and `ggml/model-q5_0.bin` from the model in Hugging Face's format in `folder`."""
    from safetensors import safe_open
    from transformers import WhisperConfig, WhisperProcessor

    config, processor = WhisperConfig.from_pretrained(folder), WhisperProcessor.from_pretrained(folder)
    (folder / FOLDER).mkdir()
    for kind in KINDS:
        with (
            safe_open(folder / "model.safetensors", framework="np") as weights,
            model_path(folder, kind).open("wb") as out,
        ):
            _write_header(out, config, processor, kind)
            for name in weights.keys():  # noqa: SIM118 - no dict
                if name != "proj_out.weight":  # tied to the token embedding
                    _write_tensor(out, ggml_name(name), weights.get_tensor(name), kind)


def model_path(folder: Path, kind: str) -> Path:
    """The path of a kind in a release."""
    return folder / FOLDER / f"model-{kind}.bin"


def list_kinds(folder: Path) -> list[str]:
    """The kinds in a release."""
    return [kind for kind in KINDS if model_path(folder, kind).is_file()]


def transcribe(folder: Path, kind: str, audio: Sequence[np.ndarray], language: str) -> list[str]:
    """Transcribe clips, (samples,) float32 at 16 kHz, with whisper.cpp: greedy, no timestamps, padded to 30 s.

    Runs in a process of its own, which a broken file may crash; then raises RuntimeError.
    """
    model, arrays = model_path(folder, kind), io.BytesIO()
    np.savez(arrays, *audio)
    command = [sys.executable, "-m", __spec__.name, str(model), language, str(hardware.cores())]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        command, input=arrays.getvalue(), capture_output=True, env=os.environ | {"PYTHONPATH": path}
    )
    if process.returncode:
        log = process.stderr.decode(errors="replace").splitlines()
        reason = next((line for line in log if "error" in line.lower()), f"it ended with {process.returncode}")
        raise RuntimeError(f"whisper.cpp does not read {model.name}: {reason}")
    texts: list[str] = json.loads(process.stdout)
    return texts


def main(model: str, language: str, threads: str) -> None:
    """Print the transcripts of the arrays in an .npz on standard input, as a JSON list."""
    from pywhispercpp.model import Model

    whisper = Model(
        model, n_threads=int(threads), language=language, print_progress=False, no_context=True, no_timestamps=True,
        single_segment=True, temperature_inc=0.0, greedy={"best_of": 1},
    )  # fmt: skip
    audio = np.load(io.BytesIO(sys.stdin.buffer.read()))
    print(json.dumps([" ".join(part.text for part in whisper.transcribe(audio[name])) for name in audio.files]))


def ggml_name(name: str) -> str:
    """A weight's name in whisper.cpp.

    >>> ggml_name("model.decoder.layers.3.encoder_attn.k_proj.weight")
    'decoder.blocks.3.cross_attn.key.weight'
    """
    for pattern, new in NAME_RULES:
        name = pattern.sub(new, name)
    return name


def _write_header(out: BinaryIO, config: Any, processor: WhisperProcessor, kind: str) -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    sizes = (
        config.vocab_size, config.max_source_positions, config.d_model, config.encoder_attention_heads,
        config.encoder_layers, config.max_target_positions, config.d_model, config.decoder_attention_heads,
        config.decoder_layers, config.num_mel_bins, FILE_TYPES[kind],
    )  # fmt: skip
    out.write(struct.pack("<I11i", MAGIC, *sizes))
    filters = np.asarray(processor.feature_extractor.mel_filters, "<f4").T  # (mel, bins)
    out.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    tokenizer = processor.tokenizer
    words = tokenizer.convert_ids_to_tokens(range(tokenizer.eos_token_id))  # special tokens follow, by number
    out.write(struct.pack("<i", len(words)))
    for word in words:
        encoded = bytes(byte_of[letter] for letter in word)
        out.write(struct.pack("<i", len(encoded)) + encoded)


def _write_tensor(out: BinaryIO, name: str, weight: np.ndarray, kind: str) -> None:
    """Write matrices in the file's type, convolutions in 16 bits and everything else in 32, as whisper.cpp needs it."""
    from gguf import GGMLQuantizationType, quantize

    if name.endswith("positional_embedding") or weight.ndim == 1:
        tensor_type = GGMLQuantizationType.F32
    elif weight.ndim == 3 or kind == "f16":
        tensor_type = GGMLQuantizationType.F16
    else:
        tensor_type = GGMLQuantizationType.Q5_0
    shape = (len(weight), 1) if re.search(r"conv\d\.bias", name) else weight.shape
    encoded_name = name.encode()
    out.write(
        struct.pack("<3i", len(shape), len(encoded_name), tensor_type)
        + struct.pack(f"<{len(shape)}i", *reversed(shape))
        + encoded_name
    )
    out.write(quantize(weight.astype(np.float32), tensor_type).tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
