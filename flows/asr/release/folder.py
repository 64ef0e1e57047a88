"""The release folder: a model in Hugging Face's format, CTranslate2's int8 model, the record, error counts and card."""

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

from asr import InputError, disk, first_line
from asr.corpus.audio import RATE
from asr.corpus.text import rate_unit
from asr.release import ggml
from asr.training import models

if TYPE_CHECKING:
    import numpy as np

RECORD, COUNTS = "release.json", "test-counts.json"
SERVED = "ct2-int8"
MAX_DIFFERENCE = 50.0  # percent of the float model's words that a working format may write differently


def build_release(folder: Path, source: str | Path, language: str, half: bool = False) -> None:
    """Write the weights, the processor and the CTranslate2 model to `folder`, with one model in memory at a time.

    `source` is the folder or Hub id of a Whisper. Raises `InputError` if it cannot be read.
    """
    from ctranslate2.converters import TransformersConverter

    model, processor = models.load(source)
    models.set_language(model, processor, language)
    models.save(folder, model.half() if half else model, processor)
    # faster-whisper and CTranslate2's converter need the processor's file under its older name.
    processor.feature_extractor.save_pretrained(folder)
    del model
    gc.collect()
    TransformersConverter(str(folder), copy_files=["tokenizer.json", "preprocessor_config.json"]).convert(
        str(folder / SERVED), quantization="int8"
    )


def check_formats(
    folder: Path, audio: Sequence[np.ndarray], expected: Sequence[str], language: str, context: int
) -> list[str]:
    """Load each format of the release and transcribe a few clips; returns the problems, a sentence each.

    faster-whisper and whisper.cpp pad to 30 s, so they are compared with the float model padded to 30 s. CTranslate2 is
    evaluated on the whole test set as the served engine.

    Args:
        folder: the release.
        audio: clips, (samples,) float32 at 16 kHz.
        expected: the float model's transcripts at `context`.
        language: Whisper's code.
        context: the smallest number of encoder frames.
    """
    from asr.scoring import rates

    formats: dict[str, tuple[Callable[[], list[str]], Callable[[], Sequence[str]]]] = {
        "transformers": (lambda: _transcribe_with_transformers(folder, audio, context), lambda: expected)
    }
    padded = cache(lambda: _transcribe_with_transformers(folder, audio, models.WINDOW_FRAMES))
    if vocabulary_size(folder) >= models.FULL_VOCABULARY:  # it treats a smaller vocabulary as English-only
        formats["faster-whisper"] = (lambda: _transcribe_with_faster_whisper(folder, audio, language), padded)
    for kind in ggml.list_kinds(folder):
        formats[f"whisper.cpp ({kind})"] = (partial(ggml.transcribe, folder, kind, audio, language), padded)
    problems = []
    for name, (transcribe, reference) in formats.items():
        try:
            difference = rates.wer(rates.count_errors(reference(), transcribe(), "basic", language))
        except Exception as error:  # any error of a library means that the format is broken
            problems.append(f"{name} cannot use it: {first_line(error)}")
            continue
        if difference > MAX_DIFFERENCE:
            problems.append(f"{name} writes {difference:.0f} % of the {rate_unit(language)}s differently")
        gc.collect()
    return problems


def _transcribe_with_transformers(folder: Path, audio: Sequence[np.ndarray], context: int) -> list[str]:
    from asr.training import decoding

    model, processor = models.load(folder)
    return decoding.transcribe_sounds(model.eval(), processor, audio, context)


def _transcribe_with_faster_whisper(folder: Path, audio: Sequence[np.ndarray], language: str) -> list[str]:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder / SERVED), device="cpu", compute_type="int8")
    texts = []
    for samples in audio:  # greedy decoding and the same token limit as the others
        max_tokens = models.max_tokens(round(models.FRAMES_PER_SECOND * len(samples) / RATE))
        segments, _ = model.transcribe(
            samples, language=language, beam_size=1, temperature=0.0, max_new_tokens=max_tokens, without_timestamps=True
        )
        texts.append(" ".join(segment.text.strip() for segment in segments))
    return texts


def vocabulary_size(folder: Path) -> int:
    """The number of tokens in the model's vocabulary."""
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"])


def count_parameters(folder: Path) -> int:
    """The number of the model's weights."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118


def write_description(folder: Path, record: dict[str, Any]) -> None:
    """Write the release's record, its training curve and its model card."""
    from asr.release import model_card, training_curve

    base = record["base"]
    is_local = base is not None and Path(base).is_absolute()  # do not publish a path of this machine
    record = {**record, "base": Path(base).name if is_local else base, "base_is_local": is_local}
    write_json(folder / RECORD, record)
    (folder / training_curve.CURVE_FILE).write_bytes(training_curve.render_curve(record))
    (folder / "README.md").write_text(model_card.render_card(record), encoding="utf-8")


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON with a line per key."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """The release's record. Raises `InputError` if the folder is not a release, or has another format version."""
    file = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} is no release: it has no readable {RECORD}") from None
    models.check_format(record, str(folder))
    return record


def publish_folder(source: Path, releases: Path, name: str, newest: bool) -> Path:
    """Copy a release to `releases/name` atomically; if it is the `newest`, `latest` then points to it.

    An identical copy from an earlier attempt of the same run is kept.

    Raises:
        InputError: another release has the name.
    """
    target = releases / name
    if target.exists() and not _has_same_files(source, target):
        raise InputError(f"[release] folder: {target} is there already, and releases are never overwritten")
    with disk.explained(releases):
        releases.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=releases, prefix=".") as scratch:
            if not target.exists():
                shutil.copytree(source, Path(scratch) / name)
                os.rename(Path(scratch) / name, target)
            if newest:
                os.symlink(name, Path(scratch) / "latest")
                os.replace(Path(scratch) / "latest", releases / "latest")
    return target


def list_files(folder: Path) -> dict[str, Path]:
    """The files in the folder, by their relative paths."""
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}


def _has_same_files(first: Path, second: Path) -> bool:
    files, others = list_files(first), list_files(second)
    return files.keys() == others.keys() and all(
        files[name].read_bytes() == others[name].read_bytes() for name in files
    )


def prune_releases(folder: Path, name: str, keep: int) -> list[Path]:
    """Delete a profile's releases except the newest `keep` and `latest`; returns the deleted ones."""
    releases = [
        path
        for path in folder.iterdir()
        if path.name.startswith(f"{name}-") and path.name[len(name) + 1 :].isdigit() and (path / RECORD).is_file()
    ]
    latest = (folder / "latest").resolve()
    by_run = sorted(releases, key=lambda path: int(path.name[len(name) + 1 :]))
    old = [path for path in by_run[:-keep] if path != latest]
    for path in old:
        shutil.rmtree(path)
    return old
