"""The table [release]."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from asr.settings.fields import Flag, FolderPath, Fraction, NonNegativeFloat, PositiveInt, RepoId, Table


class Release(Table):
    """Where the winner is published, and the quality gate for it."""

    folder: FolderPath = Path("released")
    keep: PositiveInt | None = None  # newest releases of this profile to keep; None: all
    weights: Literal["fp32", "fp16"] = "fp32"  # of the Hugging Face model
    # Beside the Hugging Face format: CTranslate2 for the Space and faster-whisper, and GGML for whisper.cpp
    formats: tuple[Literal["ct2-int8", "ggml"], ...] = ("ct2-int8",)
    license: str = Field("apache-2.0", pattern=r"^[a-z0-9.-]+$", max_length=100)  # of the model, as the Hub's id
    # Fraction of the base's weights in the released average; auto: chosen on the validation clips of the corpus and its
    # retained languages, 0 without those; see release/averaging.py
    base_share: Literal["auto"] | Fraction = "auto"

    # The gate: a release beyond one of these limits is not published, and `latest` stays as it was.
    max_served_gap: NonNegativeFloat = 2.0  # WER points that the served model may be worse than the float model
    max_invented: NonNegativeFloat | None = None  # words per minute of hallucination in noise
    max_timestamp_error: NonNegativeFloat | None = None  # seconds, the median, where reference times are known
    max_forgotten: NonNegativeFloat | None = (
        None  # WER points that each retained language may be worse than with the base
    )

    # The Hugging Face Hub; the token comes from HF_TOKEN or `hf auth login`.
    repo_id: RepoId | None = None
    private: Flag = True
    branch: str = Field("main", pattern=r"^[\w./-]+$", max_length=200)
    tag: str | None = Field(None, pattern=r"^[\w.-]+$", max_length=200)  # besides run-ID and the date, such as "v1.0"
    space_id: RepoId | None = None  # the Space that serves it
    space_hardware: str | None = Field(None, pattern=r"^[\w-]+$")  # such as "cpu-basic", "zero-a10g"; None: unchanged
    push_dataset: RepoId | None = None  # dataset repository for the corpus, audio and text; None: not published

    @model_validator(mode="after")
    def _check_formats(self) -> Release:
        if "ct2-int8" not in self.formats:
            raise ValueError("formats lacks ct2-int8, which the Space serves and the test measures")
        return self

    @model_validator(mode="after")
    def _check_space(self) -> Release:
        if self.space_id and not self.repo_id:
            raise ValueError("space_id needs repo_id: a Space serves a model of the Hub")
        return self
