"""The profile of an experiment: every knob, its unit and its default, checked once.

A profile is a TOML file that gives only what differs from the defaults below, which are the
sample's. `load` turns its text into frozen `Settings`, or refuses it in one line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asr import Refused

# Strict, so that "900" or true is not taken for a number.
Whole = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[int, Field(gt=0, strict=True)]
Real = Annotated[float, Field(ge=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Rate = Annotated[float, Field(gt=0, lt=1, strict=True)]


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Corpus(Table):
    """Where speech comes from, and which clips are fit to use."""

    source: Literal["sample", "folder"] = "sample"
    path: Path | None = None  # the audiofolder, for source = "folder"
    language: str = Field("sv", pattern="^[a-z]{2,3}$")  # Whisper's code for it
    min_seconds: Real = Field(0.3, ge=0.1)
    max_seconds: Real = Field(30.0, gt=0, le=30)  # Whisper hears no more at once
    shard_clips: Positive = 500
    limit_clips: Positive | None = None  # the first so many of each split, to try a profile out

    @model_validator(mode="after")
    def _path_and_seconds(self) -> Corpus:
        if (self.source == "folder") != (self.path is not None):
            raise ValueError('path goes with source = "folder", and only with it')
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds} is not below max_seconds {self.max_seconds}")
        return self


class Model(Table):
    """A base to fine-tune, or the shape of a Whisper to train from nothing."""

    base: str | None = None  # a release's folder, or a model's id on the Hub; None: from nothing
    # From nothing only:
    width: Positive = 128
    heads: Positive = 4
    encoder_layers: Positive = 2
    decoder_layers: Positive = 1
    vocabulary: Positive = Field(400, ge=257)  # byte-level BPE tokens, learnt from the training texts
    ctc_weight: Share = 0.5  # of the loss: an alignment head on the encoder, dropped after training

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Model:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not a multiple of twice the {self.heads} heads")
        return self


class Training(Table):
    """How one trial is trained; what trials differ in stands in [search]."""

    steps: Positive = 900
    batch_size: Positive = 8
    optimizer: Literal["auto", "muon", "adamw"] = "auto"  # auto: muon from nothing, adamw on a base
    warmup: Share = 0.1  # of the steps
    quiet_seconds: Real = Field(0.5, le=5)  # at most, added before and after a clip in half of the draws
    frequency_masks: Whole = 1  # SpecAugment: bands of up to MASK_BINS mel bins silenced
    time_masks: Whole = 0  # and stretches of up to MASK_FRAMES frames
    long_share: Share = 0.1  # of the steps, the last ones: some batches at long context
    evaluations: Positive = 3  # of the validation clips, evenly over the steps
    validation_clips: Positive = 200  # at most; the same ones in every trial
    seed: Whole = 0


class Search(Table):
    """Which hyperparameters are tried: the grid, or `trials` points of it drawn by `seed`."""

    trials: Positive = 3
    learning_rate: Literal["auto"] | Annotated[tuple[Rate, ...], Field(min_length=1)] = "auto"
    weight_decay: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.01, 0.1)
    seed: Whole = 0


class Release(Table):
    """Where the winner goes."""

    folder: Path = Path("released")
    max_served_gap: Real = 2.0  # WER points the served model may lose on the float one


class Settings(Table):
    name: str = Field("sample", pattern=r"^[a-z0-9][a-z0-9._-]*$")  # part of file names
    corpus: Corpus = Corpus()
    model: Model = Model()
    training: Training = Training()
    search: Search = Search()
    release: Release = Release()


def load(text: str, folder: Path | None = None) -> Settings:
    """A profile's text as settings; its relative paths mean `folder` (default: the current one).

    Raises `Refused`, in one line that names the key.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"profile: not TOML: {error}") from None
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise Refused("profile: " + _one_line(error.errors())) from None
    return _absolute(settings, folder or Path.cwd())


def _absolute(settings: Settings, folder: Path) -> Settings:
    """Remote steps and later commands run elsewhere: paths are made absolute where the run is launched."""
    corpus, model, release = settings.corpus, settings.model, settings.release
    if corpus.path:
        corpus = corpus.model_copy(update={"path": (folder / corpus.path.expanduser()).resolve()})
    if model.base and (base := folder / Path(model.base).expanduser()).is_dir():
        model = model.model_copy(update={"base": str(base.resolve())})
    release = release.model_copy(update={"folder": (folder / release.folder.expanduser()).resolve()})
    return settings.model_copy(update={"corpus": corpus, "model": model, "release": release})


def _one_line(errors: list[Any]) -> str:
    """pydantic's first complaint in the profile's own terms: `[training] steps: ... (got -3)`."""
    error = [one for one in errors if one["loc"][:2] == errors[0]["loc"][:2]][-1]  # of a union, the longer form's
    where = [str(part) for part in error["loc"] if not re.match("tuple|literal|constrained", str(part))]
    table: type[BaseModel] = Settings
    if where and where[0] in Settings.model_fields and len(where) > 1:
        table = Settings.model_fields[where[0]].annotation  # type: ignore[assignment]
    key = f"[{where[0]}] {'.'.join(where[1:])}".strip() if table is not Settings else ".".join(where)
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(where[-1], table.model_fields, n=1)
        return f"{key}: unknown key" + (f"; did you mean {close[0]}?" if close else "")
    if error["type"] == "value_error":
        return f"[{key}] {error['ctx']['error']}"
    return f"{key}: {error['msg'].replace('tuple', 'list')} (got {error['input']!r})".replace("\n", " ")
