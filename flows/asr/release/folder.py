"""The release: one folder in Hugging Face's format with CTranslate2's int8 model, its record, counts and card."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import Refused, disk
from asr.corpus.audio import RATE
from asr.corpus.files import first_line
from asr.corpus.text import rate_unit
from asr.release import ggml
from asr.training import models

if TYPE_CHECKING:
    import numpy as np

RECORD, COUNTS = "release.json", "test-counts.json"
SERVED = "ct2-int8"
LOST = 50.0  # percent of the float model's text that a format may hear differently before it counts as broken


def build(folder: Path, source: str | Path, language: str, half: bool = False) -> None:
    """Write the weights, the processor and the CTranslate2 model to `folder`, one model in memory at a time.

    `source` is a Whisper's folder or its id on the Hub. Raises `Refused` where it cannot be read.
    """
    from ctranslate2.converters import TransformersConverter

    model, processor = models.load(source)
    models.speak(model, processor, language)
    models.save(folder, model.half() if half else model, processor)
    # faster-whisper and CTranslate2's converter know the older name of the processor's file.
    processor.feature_extractor.save_pretrained(folder)
    del model
    gc.collect()
    TransformersConverter(str(folder), copy_files=["tokenizer.json", "preprocessor_config.json"]).convert(
        str(folder / SERVED), quantization="int8"
    )


def faults(folder: Path, sounds: Sequence[np.ndarray], heard: Sequence[str], language: str, context: int) -> list[str]:
    """What is wrong with the folder's formats, a sentence each: every one is loaded back and hears a few sounds.

    `sounds` are (samples,) float32 at 16 kHz, `heard` what the float model heard in them at `context` frames or their
    own length. faster-whisper and whisper.cpp hear at 30 s, and so are held against the float model there. CTranslate2
    itself is judged on the whole test set, by what it loses as served.
    """
    from asr.scoring import rates

    ways: dict[str, tuple[Callable[[], list[str]], Callable[[], Sequence[str]]]] = {
        "transformers": (lambda: _by_transformers(folder, sounds, context), lambda: heard)
    }
    at_30_seconds = cache(lambda: _by_transformers(folder, sounds, models.WINDOW_FRAMES))
    if vocabulary(folder) >= models.FULL_VOCABULARY:  # it takes a smaller one for an English-only model
        ways["faster-whisper"] = (lambda: _by_faster_whisper(folder, sounds, language), at_30_seconds)
    for kind in ggml.built(folder):
        ways[f"whisper.cpp ({kind})"] = (partial(ggml.listen, folder, kind, sounds, language), at_30_seconds)
    found = []
    for name, (listen, wanted) in ways.items():
        try:
            lost = rates.wer(rates.count_errors(wanted(), listen(), "basic", language))
        except Exception as error:  # whatever a library makes of a broken folder, the release must not go out
            found.append(f"{name} cannot use it: {first_line(error)}")
            continue
        if lost > LOST:
            found.append(f"{name} hears {lost:.0f} % of the {rate_unit(language)}s differently")
        gc.collect()
    return found


def _by_transformers(folder: Path, sounds: Sequence[np.ndarray], context: int) -> list[str]:
    from asr.training import hearing

    model, processor = models.load(folder)
    return hearing.texts(model.eval(), processor, sounds, context)


def _by_faster_whisper(folder: Path, sounds: Sequence[np.ndarray], language: str) -> list[str]:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder / SERVED), device="cpu", compute_type="int8")
    texts = []
    for sound in sounds:  # greedy and once, as the others, with as many tokens as they may write
        most = models.most_tokens(round(models.FRAMES_PER_SECOND * len(sound) / RATE))
        parts, _ = model.transcribe(
            sound, language=language, beam_size=1, temperature=0.0, max_new_tokens=most, without_timestamps=True
        )
        texts.append(" ".join(part.text.strip() for part in parts))
    return texts


def vocabulary(folder: Path) -> int:
    """Tokens that the model tells apart."""
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"])


def parameters(folder: Path) -> int:
    """Weights of the model."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def describe(folder: Path, record: dict[str, Any]) -> None:
    """Write the release's record, its training curve and its model card."""
    from asr.release import card

    base = record["base"]
    local = base is not None and Path(base).is_absolute()  # its path on this machine is nobody else's business
    record = {**record, "base": Path(base).name if local else base, "base_is_local": local}
    write(folder / RECORD, record)
    (folder / card.CURVE).write_bytes(card.curve(record))
    (folder / "README.md").write_text(card.card(record), encoding="utf-8")


def write(file: Path, content: dict[str, Any]) -> None:
    """As JSON, a line a key."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def record(folder: Path) -> dict[str, Any]:
    """What the release tells of itself. Raises `Refused` where the folder is none, or of another age."""
    file = folder / RECORD
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Refused(f"{folder} is no release: it has no readable {RECORD}") from None
    models.check_format(told, str(folder))
    return told


def publish(ready: Path, folder: Path, name: str, newest: bool) -> Path:
    """Move the folder `ready` to `folder/name`, whole or not at all; where it is `newest`, `latest` then points to it.

    What an earlier life of the same run put there is left as it is. Raises `Refused` where another release of that
    name is there already.
    """
    target = folder / name
    if target.exists() and not _same(ready, target):
        raise Refused(f"[release] folder: {target} is there already, and releases are never overwritten")
    with disk.told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
            if not target.exists():
                shutil.copytree(ready, Path(scratch) / name)
                os.rename(Path(scratch) / name, target)
            if newest:
                os.symlink(name, Path(scratch) / "latest")
                os.replace(Path(scratch) / "latest", folder / "latest")
    return target


def files(folder: Path) -> dict[str, Path]:
    """The files in it, by their names there."""
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}


def _same(one: Path, other: Path) -> bool:
    mine, theirs = files(one), files(other)
    return mine.keys() == theirs.keys() and all(mine[name].read_bytes() == theirs[name].read_bytes() for name in mine)


def prune(folder: Path, name: str, keep: int) -> list[Path]:
    """Delete the older releases of a profile beyond the newest `keep`; those deleted. `latest` always stays."""
    mine = [
        path
        for path in folder.iterdir()
        if path.name.startswith(f"{name}-") and path.name[len(name) + 1 :].isdigit() and (path / RECORD).is_file()
    ]
    stays = (folder / "latest").resolve()
    old = [path for path in sorted(mine, key=lambda path: int(path.name[len(name) + 1 :]))[:-keep] if path != stays]
    for path in old:
        shutil.rmtree(path)
    return old
