"""The table [compute]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.settings.fields import Flag, PositiveInt, ShortText, Table


class Compute(Table):
    """Where steps run; flows/docs/cloud.md says what each key needs of a cluster."""

    where: Literal["local", "gke"] = "local"
    image: str | None = Field(
        None, pattern=r"^\S+$"
    )  # the image of flows/Dockerfile in a registry that the cluster reads
    gpu: str = Field("nvidia-tesla-t4", pattern=r"^[a-z0-9-]+$")  # GKE's node label
    gpus: PositiveInt = Field(1, le=1_000)  # per trial, in one machine: they share a step's `accumulate` batches
    cpu: PositiveInt = 7  # of the pods with a GPU; the others need less
    memory_gb: PositiveInt = 24  # likewise
    disk_gb: PositiveInt = 30  # of every pod; a node with 100 GB leaves 47 to pods
    spot: Flag = False  # preemptible GPU nodes, which cost less; a trial continues from its checkpoint
    hours: PositiveInt = Field(24, le=10_000)  # time limit of a step
    # Kubernetes secrets, or projects/NUMBER/secrets/NAME of Secret Manager, with HF_TOKEN and the like
    secrets: tuple[
        Annotated[str, Field(pattern=r"^([a-z0-9.-]+|projects/\d+/secrets/[\w-]+(/versions/\w+)?)$")], ...
    ] = ()
    # For `argo-workflows create`:
    schedule: str | None = Field(None, pattern=r"^\S+( \S+){4,5}$")  # cron: minute, hour, day, month, weekday
    timezone: ShortText = "UTC"
    trigger: str | None = Field(None, pattern=r"^[\w.-]+$")  # the event that starts a run

    @model_validator(mode="after")
    def _check_start(self) -> Compute:
        if self.schedule and self.trigger:
            raise ValueError("schedule and trigger both start runs; give one of them")
        return self
