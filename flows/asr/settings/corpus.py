"""The tables [corpus] and [text]."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from asr.settings.fields import (
    Flag,
    Fraction,
    Language,
    NonNegativeFloat,
    NonNegativeInt,
    NormalizedName,
    PathText,
    PositiveInt,
    ShortText,
    Table,
)

WritingStep = Literal["unicode", "quotes", "dashes", "asides", "abbreviations", "numbers", "lower", "unpunctuated"]


class Splits(Table):
    """The source's names of the splits."""

    train: ShortText | None = None
    validation: ShortText | None = None
    test: ShortText | None = None


class Columns(Table):
    """The column names of a Hub dataset; the others are found by their usual names."""

    audio: ShortText | None = None
    text: ShortText | None = None
    speaker: ShortText | None = None
    clip: ShortText | None = None  # the clip's id


class Source(Table):
    """One source of speech; KEYS lists the keys of each kind of source."""

    KEYS: ClassVar[dict[str, set[str]]] = {
        "sample": set(),
        "folder": {"path"},
        "common_voice": {"path", "id", "splits"},
        "hub": {"id", "config", "revision", "splits", "columns"},
    }

    source: Literal["sample", "folder", "common_voice", "hub"] = "sample"
    name: str | None = Field(None, pattern=r"^[^/\s\x00]+$", max_length=100)  # in reports; None: its id or kind
    # Of the speech, for the model card; None: the default of the kind, where it has one. With an open licence (CC0,
    # CC BY, CC BY-SA) a release contains a few test clips
    licence: ShortText | None = None
    language: Language | None = (
        None  # of its speech; None: the corpus'. The model must retain others: flows/docs/training.md
    )
    weight: NonNegativeFloat = 1.0  # how often each training clip is drawn in an epoch
    limit_clips: PositiveInt | None = None  # the first clips of each split, to try a profile
    limit_hours: Annotated[float, Field(gt=0, strict=True)] | None = None  # the most of each split
    path: PathText | None = None  # a local folder or gs://; of common_voice, or its .tar.gz
    id: PathText | None = None  # on the Hub, or a folder of Parquet; of common_voice, the id at Mozilla Data Collective
    config: ShortText | None = None
    revision: ShortText | None = None
    splits: Splits = Splits()
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _check_keys(self) -> Source:
        present = {
            key for key in Source.KEYS["hub"] | {"path"} if getattr(self, key) != Source.model_fields[key].default
        }
        for key in sorted(present - Source.KEYS[self.source]):
            kinds = " or ".join(f'"{kind}"' for kind, keys in Source.KEYS.items() if key in keys)
            raise ValueError(f"{key} goes with source = {kinds}, and only with it")
        needed = {"folder": ("path",), "common_voice": ("path", "id"), "hub": ("id",)}.get(self.source, ())
        if needed and len(present & set(needed)) != 1:
            raise ValueError(f'source = "{self.source}" needs {" or ".join(needed)}')
        return self

    @property
    def display_name(self) -> str:
        """The source's name in reports, without a folder's path, which may change."""
        default = self.id if self.id and not Path(self.id).is_absolute() else self.source
        return self.name or re.sub(r"[^\w.-]+", "-", default)


class Corpus(Source):
    """The sources of speech, and the limits outside of which a clip is rejected, each with its reason."""

    sources: Annotated[tuple[Source, ...], Field(max_length=1_000)] = ()  # several sources instead of one
    language: Language = "sv"  # that the model is fine-tuned for
    min_seconds: Annotated[float, Field(ge=0.1, strict=True)] = 0.3
    max_seconds: NonNegativeFloat = Field(30.0, gt=0, le=30)  # Whisper's window
    min_peak: Fraction = 0.001  # of full scale: a clip below it is silent
    max_clipped: Fraction = 0.01  # of the samples at full scale: a clip with more was recorded too loud
    max_words_per_second: Annotated[float, Field(gt=0, strict=True)] = 8.0  # the fastest speech
    max_foreign_letters: NonNegativeInt = 0  # see [text] alphabet
    duplicates_may_stay: Flag = False  # the same audio twice in a split; never in two splits
    speakers_may_cross: Flag = False  # the same speaker in several splits; the report then counts them
    exclude: tuple[NormalizedName, ...] | PathText = ()  # speakers and clips to leave out, or a file with one per line
    shard_clips: PositiveInt = Field(500, le=1_000_000)

    @model_validator(mode="after")
    def _check_sources_and_seconds(self) -> Corpus:
        if self.sources:
            keys = Source.model_fields.items()
            own_keys = sorted(key for key, field in keys if key != "language" and getattr(self, key) != field.default)
            if own_keys:
                raise ValueError(f"{own_keys[0]} stands beside a list of sources; it goes into each of them")
            repeated = [
                name for name, times in Counter(source.display_name for source in self.sources).items() if times > 1
            ]
            if repeated:
                raise ValueError(f"two sources are called {repeated[0]}; give one a name of its own")
            if len(self.retained) == len(self.sources):
                raise ValueError(f"no source is in {self.language}, the language that the model is tuned for")
        if self.min_seconds >= self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds} is not below max_seconds {self.max_seconds}")
        return self

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """All sources: those listed, or this one."""
        return self.sources or (self,)

    @property
    def retained(self) -> dict[str, str]:
        """The other languages that the model must retain, by the names of their sources."""
        return {
            source.display_name: source.language
            for source in self.sources
            if source.language and source.language != self.language
        }

    def language_of(self, source: str) -> str:
        """The language of the source with this name."""
        return self.retained.get(source, self.language)


class Text(Table):
    """How transcripts are normalised for training and for scoring."""

    # Normalisation of the training transcripts:
    writing: tuple[WritingStep, ...] = ("unicode", "quotes", "dashes")
    # Normalisation of reference and hypothesis. basic: Whisper's basic normaliser, as published figures use, which
    # keeps combining vowel signs; whisper: the original, which replaces them by spaces; lenient: basic, and 23 equals
    # tjugotre
    scoring: Literal["basic", "whisper", "lenient", "verbatim"] = "basic"
    # Names and terms that matter: the report has their recall with and without hotwords given to the engine. A list, or
    # a file with one per line
    hotwords: tuple[NormalizedName, ...] | PathText = ()
    alphabet: str | None = None  # letters allowed in a transcript of the corpus' language; None: the language's own
