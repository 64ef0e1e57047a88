"""All tables of a profile together."""

from __future__ import annotations

from pydantic import Field, model_validator

from asr.settings.compute import Compute
from asr.settings.corpus import Corpus, Text
from asr.settings.fields import Table
from asr.settings.release import Release
from asr.settings.search import Search
from asr.settings.training import Model, Training


class Settings(Table):
    name: str = Field("sample", pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)  # part of file names
    corpus: Corpus = Corpus()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    search: Search = Search()
    release: Release = Release()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _check_base(self) -> Settings:
        if self.release.base_share not in ("auto", 0) and not self.model.base:
            raise ValueError("[release] base_share goes with [model] base: from nothing there is none to average with")
        if self.corpus.retained and not self.model.base:
            name, language = next(iter(self.corpus.retained.items()))
            raise ValueError(
                f"[corpus] language: {name} is in {language}, and a model from nothing has no {language} to forget; "
                "give [model] base, or leave it out"
            )
        if self.release.max_forgotten is not None and not self.corpus.retained:
            raise ValueError("[release] max_forgotten: no source is in another language than the corpus'")
        return self

    @model_validator(mode="after")
    def _check_gpus(self) -> Settings:
        if self.training.accumulate % self.compute.gpus:
            raise ValueError(
                f"[compute] gpus: {self.compute.gpus} share the {self.training.accumulate} batches of a step, so "
                "accumulate must be a multiple of it"
            )
        return self
