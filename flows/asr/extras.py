"""Optional packages: which key of a profile needs which package, and the extra of setup.cfg that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from asr import InputError
from asr.settings import Settings


def check(settings: Settings) -> None:
    """Raise `InputError` where the profile uses a package that is not installed, before any work begins."""
    for key, package, source in _needed(settings):
        if line := missing(key, package, source):
            raise InputError(line)


def missing(key: str, package: str, source: str) -> str:
    """What to install for a key of the profile, in one line; empty where the package is installed."""
    return "" if find_spec(package) else f"{key} needs {package}: pip install {source}"


def _needed(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Key, package, and the requirement for pip."""
    corpus, text = settings.corpus, settings.text
    if any(source.source == "common_voice" and source.id for source in corpus.all_sources):
        yield "[corpus] id", "datacollective", "'whisper-flow[common-voice]'"
    if "numbers" in text.writing:
        yield "[text] writing: numbers", "num2words", "'whisper-flow[numbers]'"
    if text.scoring == "lenient":
        yield "[text] scoring: lenient", "num2words", "'whisper-flow[numbers]'"
    if settings.training.lora_rank:
        yield "[training] lora_rank", "peft", "'whisper-flow[lora]'"
    for tracker in settings.training.trackers:
        yield "[training] trackers", tracker, "'whisper-flow[trackers]'" if tracker == "tensorboard" else tracker
    if "ggml" in settings.release.formats:
        for package in ("gguf", "pywhispercpp"):
            yield "[release] formats: ggml", package, "'whisper-flow[ggml]'"
