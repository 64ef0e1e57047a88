"""The release: one folder in Hugging Face's format with CTranslate2's int8 model, its record and its card."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import Refused
from asr.training import models

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

RECORD = "release.json"
SERVED = "ct2-int8"


def build(folder: Path, model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
    """Write the weights, the processor and the CTranslate2 model to `folder`."""
    from ctranslate2.converters import TransformersConverter

    models.save(folder, model, processor)
    # faster-whisper and CTranslate2's converter know the older name of the processor's file.
    processor.feature_extractor.save_pretrained(folder)
    TransformersConverter(str(folder), copy_files=["tokenizer.json", "preprocessor_config.json"]).convert(
        str(folder / SERVED), quantization="int8"
    )


def describe(folder: Path, record: dict[str, Any]) -> None:
    """Write the release's record and its model card."""
    base = record["base"]
    write_record(folder, {**record, "base": Path(base).name if _is_local(base) else base})
    (folder / "README.md").write_text(card(record), encoding="utf-8")


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """What programs read of the release; the engine needs its language."""
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def card(record: dict[str, Any]) -> str:
    """The model card, with the metadata that the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    result = EvalResult(
        task_type="automatic-speech-recognition",
        dataset_type=record["name"],
        dataset_name=record["name"],
        dataset_split="test",
        metric_type="wer",
        metric_value=round(record["test_wer"], 2),
    )
    data = ModelCardData(
        language=record["language"],
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        tags=["whisper", "whisper-flow"],
        base_model=None if _is_local(record["base"]) else record["base"],
        model_name=record["name"],
        eval_results=[result],
    )
    low, high = record["test_wer_ci"]
    baseline = record["baseline_wer"]
    return f"""---
{data.to_yaml()}
---

# {record["name"]}

A Whisper for `{record["language"]}`, made by whisper-flow in run {record["run_id"]}.

| on {record["clips"]} test clips | WER |
|---|---|
| this model | {record["test_wer"]:.1f} % ({low:.1f} to {high:.1f}, 95 %, by {record["test_wer_ci_unit"]}) |
| as served: CTranslate2 int8 | {record["served_wer"]:.1f} % |
| before training | {"from nothing: no base" if baseline is None else f"{baseline:.1f} %"} |

CER {record["test_cer"]:.1f} %; WER with capitals and punctuation {record["orthographic_wer"]:.1f} %.
{_compared(record)} {_speaks_for(record)}

```python
from transformers import pipeline

print(pipeline("automatic-speech-recognition", model="FOLDER_OR_ID")("speech.wav")["text"])
```

Trained in {record["steps"]} steps with learning rate {record["learning_rate"]:g} and weight decay
{record["weight_decay"]:g}, the best of {record["trials"]} trials on validation. The corpus holds
{record["hours"]:.2f} hours (fingerprint `{record["fingerprint"]}`). Made by {record["program"]}.
"""


def _is_local(base: str | None) -> bool:
    """Whether the base is a folder: its path on this machine is nobody else's business."""
    return base is not None and Path(base).is_absolute()


def _compared(record: dict[str, Any]) -> str:
    rule = record["scoring"]
    if rule == "basic":
        return "Text is compared as Whisper's basic normaliser leaves it: lower case, no punctuation."
    return f"Text is compared by whisper-flow's rule `{rule}`, so no figure compares with those published elsewhere."


def _speaks_for(record: dict[str, Any]) -> str:
    if crossing := record["speakers_crossing"]:
        return f"{crossing} speakers stand in several splits: the figures do not speak for new speakers."
    if record["test_wer_ci_unit"] == "speaker":
        return "The interval speaks for new speakers."
    return "The interval speaks for new clips of the speakers in the test set, not for new speakers: they are too few."


def publish(ready: Path, folder: Path, name: str, newest: bool) -> Path:
    """Move the folder `ready` to `folder/name`, whole or not at all; where it is `newest`, `latest` then points to it.

    Raises `Refused` where a release of that name is there already.
    """
    target = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise Refused(f"[release] folder: {target} is there already, and releases are never overwritten")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        shutil.copytree(ready, Path(scratch) / name)
        os.rename(Path(scratch) / name, target)
        if newest:
            os.symlink(name, Path(scratch) / "latest")
            os.replace(Path(scratch) / "latest", folder / "latest")
    return target
