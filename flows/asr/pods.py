"""Steps as pods on Google Kubernetes Engine: decorators that [compute] of a profile asks for, and nothing in a step.

Metaflow's own engine does the rest: `run` submits a Kubernetes job a task, `argo-workflows create` a workflow template.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metaflow import FlowMutator
from metaflow.exception import MetaflowException
from metaflow.packaging_sys import ContentType

from asr.compute import in_pod
from asr.corpus.sources import SAMPLE
from asr.release import engine
from asr.settings import Compute, Settings

ON_GPU = ("train", "evaluate")
CPU, MEMORY_GB = 2, 8  # of the other steps' pods
# Where GKE mounts the GPU's driver; a plain Python image does not look there.
DRIVER = {"LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
SHARED_MEMORY_GB = 4  # through which the processes that make batches hand them to the one that trains
IMAGE = "METAFLOW_KUBERNETES_CONTAINER_IMAGE"
# The most that Metaflow allows, for the steps that checkpoint: a spot node may be taken away more than once.
RETRIES = {"train": {"times": 4, "minutes_between_retries": 0}}
OTHERS = {"times": 3, "minutes_between_retries": 1}


class NoImage(MetaflowException):
    headline = "Bad input"


class placed(FlowMutator):
    """Places a flow's steps where its Config `profile` says. It looks at that alone, for it runs in every pod again."""

    settings: Settings
    elsewhere = False  # whether some step runs in a pod, by the profile or by `--with kubernetes`

    def pre_mutate(self, mutable_flow: Any) -> None:
        self.settings = Settings.model_validate(dict(mutable_flow.configs)["profile"].to_dict())
        compute = self.settings.compute
        if compute.schedule:
            mutable_flow.add_decorator("schedule", deco_kwargs={"cron": compute.schedule, "timezone": compute.timezone})
        if compute.trigger:
            mutable_flow.add_decorator("trigger", deco_kwargs={"event": compute.trigger})

    def mutate(self, mutable_flow: Any) -> None:
        compute = self.settings.compute
        specs = [spec for _, step in mutable_flow.steps for spec in step.decorator_specs]
        asked = [given.get("image") for name, _, _, given in specs if name == "kubernetes"]  # by `--with`
        asked += [compute.image] if compute.where != "local" else []
        self.elsewhere = bool(asked) or "argo-workflows" in sys.argv
        if not (all(asked) or os.environ.get(IMAGE) or in_pod()):
            raise NoImage(f"[compute] image: name the image of flows/Dockerfile in your registry, here or as {IMAGE}")
        if compute.where == "local":
            return
        sources = [{"type": "gcp-secret-manager", "id": secret} for secret in compute.secrets if "/" in secret]
        for name, step in mutable_flow.steps:
            wanted = {
                "kubernetes": pod(name, compute),
                "retry": RETRIES.get(name, OTHERS),
                "timeout": {"hours": compute.hours},
                **({"environment": {"vars": DRIVER}} if name in ON_GPU else {}),
                **({"secrets": {"sources": sources}} if sources else {}),
            }
            for decorator, arguments in wanted.items():
                step.add_decorator(decorator, deco_kwargs=arguments, duplicates=step.OVERRIDE)

    def add_to_package(self) -> Iterator[tuple[str, str, ContentType]]:
        """The Space, which the run's first step keeps; and the sample, where it is what pods are to read."""
        for file in engine.space_files():
            yield str(file), str(Path("space", file.name)), ContentType.USER_CONTENT
        reads = self.elsewhere and any(source.source == "sample" for source in self.settings.corpus.mixed)
        for file in sorted(SAMPLE.glob("*/*")) if reads else ():
            yield str(file), str(Path("sample", file.relative_to(SAMPLE))), ContentType.USER_CONTENT


def pod(step: str, compute: Compute) -> dict[str, Any]:
    """`@kubernetes`'s arguments for a step; memory and disk in MB. Requests are limits too, so that they are true."""
    asked: dict[str, Any] = {
        "image": compute.image,
        "cpu": CPU,
        "memory": 1000 * MEMORY_GB,
        "disk": 1000 * compute.disk_gb,
        "qos": "Guaranteed",
        "secrets": [secret for secret in compute.secrets if "/" not in secret],
    }
    if step not in ON_GPU:
        return asked
    nodes, taints = {"cloud.google.com/gke-accelerator": compute.gpu}, [_taint("nvidia.com/gpu", "present")]
    if compute.spot:
        nodes["cloud.google.com/gke-spot"] = "true"
        taints.append(_taint("cloud.google.com/gke-spot", "true"))
    return asked | {
        "cpu": compute.cpu,
        "memory": 1000 * compute.memory_gb,
        "gpu": compute.gpus if step == "train" else 1,
        "gpu_vendor": "nvidia",
        "shared_memory": 1000 * SHARED_MEMORY_GB,
        "node_selector": nodes,
        "tolerations": taints,
    }


def _taint(key: str, value: str) -> dict[str, str]:
    return {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
