"""GGML: the release as whisper.cpp runs it, in 16-bit floats and in five bits a weight.

The file is the one that whisper.cpp's own converters write (models/convert-h5-to-ggml.py and examples/quantize there):
sizes, mel filters, the tokens' bytes, then tensor by tensor. `gguf`, of whisper.cpp's makers, packs the weights.
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

from asr import compute
from asr.training.models import FULL_VOCABULARY

if TYPE_CHECKING:
    from transformers import WhisperProcessor

FOLDER = "ggml"
KINDS = ("f16", "q5_0")
MAGIC = 0x67676D6C  # "ggml"
QUANTIZED = 2_000  # the version of the quantized forms, times a thousand, is added to a file's type
FILE_TYPES = {"f16": 1, "q5_0": QUANTIZED + 8}
NAMES = tuple(
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


def unfit(vocabulary: int) -> str:
    """Why a model with so many tokens cannot be had in this format, in a sentence; empty where it can."""
    if vocabulary >= FULL_VOCABULARY:  # whisper.cpp tells the special tokens apart by their number
        return ""
    return f"ggml is left out: whisper.cpp wants a published Whisper's {FULL_VOCABULARY:,} tokens, not {vocabulary:,}"


def build(folder: Path) -> None:
    """Write `ggml/model-f16.bin` and `ggml/model-q5_0.bin` from the model in Hugging Face's format in `folder`."""
    from safetensors import safe_open
    from transformers import WhisperConfig, WhisperProcessor

    config, processor = WhisperConfig.from_pretrained(folder), WhisperProcessor.from_pretrained(folder)
    (folder / FOLDER).mkdir()
    for kind in KINDS:
        with safe_open(folder / "model.safetensors", framework="np") as weights, file(folder, kind).open("wb") as out:
            _write_head(out, config, processor, kind)
            for name in weights.keys():  # noqa: SIM118 - no dict
                if name != "proj_out.weight":  # the embedding of tokens, once more
                    _write_tensor(out, renamed(name), weights.get_tensor(name), kind)


def file(folder: Path, kind: str) -> Path:
    """Where a release has that kind."""
    return folder / FOLDER / f"model-{kind}.bin"


def built(folder: Path) -> list[str]:
    """The kinds that a release has."""
    return [kind for kind in KINDS if file(folder, kind).is_file()]


def listen(folder: Path, kind: str, sounds: Sequence[np.ndarray], language: str) -> list[str]:
    """What whisper.cpp hears in (samples,) float32 at 16 kHz: greedy and once, without timestamps, at 30 s.

    It does so in a process of its own, which a broken file ends. Raises RuntimeError where that happens.
    """
    model, given = file(folder, kind), io.BytesIO()
    np.savez(given, *sounds)
    command = [sys.executable, "-m", __spec__.name, str(model), language, str(compute.cores())]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, input=given.getvalue(), capture_output=True, env=os.environ | {"PYTHONPATH": path})
    if done.returncode:
        log = done.stderr.decode(errors="replace").splitlines()
        why = next((line for line in log if "error" in line.lower()), f"it ended with {done.returncode}")
        raise RuntimeError(f"whisper.cpp does not read {model.name}: {why}")
    texts: list[str] = json.loads(done.stdout)
    return texts


def main(model: str, language: str, threads: str) -> None:
    """Print, as a JSON list, what is heard in the arrays of an .npz on standard input."""
    from pywhispercpp.model import Model

    whisper = Model(
        model, n_threads=int(threads), language=language, print_progress=False, no_context=True, no_timestamps=True,
        single_segment=True, temperature_inc=0.0, greedy={"best_of": 1},
    )  # fmt: skip
    sounds = np.load(io.BytesIO(sys.stdin.buffer.read()))
    print(json.dumps([" ".join(part.text for part in whisper.transcribe(sounds[name])) for name in sounds.files]))


def renamed(name: str) -> str:
    """A weight's name in whisper.cpp.

    >>> renamed("model.decoder.layers.3.encoder_attn.k_proj.weight")
    'decoder.blocks.3.cross_attn.key.weight'
    """
    for pattern, new in NAMES:
        name = pattern.sub(new, name)
    return name


def _write_head(out: BinaryIO, config: Any, processor: WhisperProcessor, kind: str) -> None:
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
    words = tokenizer.convert_ids_to_tokens(range(tokenizer.eos_token_id))  # the special ones come after, by number
    out.write(struct.pack("<i", len(words)))
    for word in words:
        spelt = bytes(byte_of[letter] for letter in word)
        out.write(struct.pack("<i", len(spelt)) + spelt)


def _write_tensor(out: BinaryIO, name: str, weight: np.ndarray, kind: str) -> None:
    """As whisper.cpp wants it: matrices in the file's type, convolutions in 16 bits, all else in 32."""
    from gguf import GGMLQuantizationType, quantize

    if name.endswith("positional_embedding") or weight.ndim == 1:
        of = GGMLQuantizationType.F32
    elif weight.ndim == 3 or kind == "f16":
        of = GGMLQuantizationType.F16
    else:
        of = GGMLQuantizationType.Q5_0
    shape = (len(weight), 1) if re.search(r"conv\d\.bias", name) else weight.shape
    spelt = name.encode()
    out.write(struct.pack("<3i", len(shape), len(spelt), of) + struct.pack(f"<{len(shape)}i", *reversed(shape)) + spelt)
    out.write(quantize(weight.astype(np.float32), of).tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
