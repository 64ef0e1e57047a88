"""Steps as pods on Google Kubernetes Engine: decorators from [compute] of a profile; steps themselves do not change.

Metaflow does the rest: `run` submits a Kubernetes job per task, `argo-workflows create` a workflow template.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metaflow import FlowMutator
from metaflow.packaging_sys import ContentType

from asr import extras
from asr.corpus import SAMPLE
from asr.errors import UserError
from asr.hardware import in_pod
from asr.release import engine
from asr.settings import Compute, Settings

GPU_STEPS = ("train", "evaluate")
CPU, MEMORY_GB = 2, 8  # of the pods of other steps
# GKE mounts the GPU driver here; the linker of a plain Python image does not look here by itself.
DRIVER = {"LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
SHARED_MEMORY_GB = 4  # the dataloader's workers pass batches through it
IMAGE = "METAFLOW_KUBERNETES_CONTAINER_IMAGE"
# The maximum of Metaflow for the step that checkpoints: a spot node may be preempted more than once.
RETRIES = {"train": {"times": 4, "minutes_between_retries": 0}}
DEFAULT_RETRY = {"times": 3, "minutes_between_retries": 1}


class on_kubernetes(FlowMutator):
    """Decorates a flow's steps as its Config `profile` says. Runs in every pod again, and reads nothing but that."""

    settings: Settings
    remote = False  # whether any step runs in a pod, by the profile or by `--with kubernetes`

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
        images = [arguments.get("image") for name, _, _, arguments in specs if name == "kubernetes"]  # by `--with`
        images += [compute.image] if compute.where != "local" else []
        self.remote = bool(images) or "argo-workflows" in sys.argv
        if not (all(images) or os.environ.get(IMAGE) or in_pod()):
            image_line = f"[compute] image: name the image of flows/Dockerfile in your registry, here or as {IMAGE}"
            raise UserError("Bad input", image_line)
        line = extras.missing("[compute] where", "kubernetes", "'whisper-flow[cloud]'")
        if self.remote and line and not in_pod():
            raise UserError("Bad input", line)
        if compute.where == "local":
            return
        sources = [{"type": "gcp-secret-manager", "id": secret} for secret in compute.secrets if "/" in secret]
        for name, step in mutable_flow.steps:
            decorators = {
                "kubernetes": pod_arguments(name, compute),
                "retry": RETRIES.get(name, DEFAULT_RETRY),
                "timeout": {"hours": compute.hours},
                **({"environment": {"vars": DRIVER}} if name in GPU_STEPS else {}),
                **({"secrets": {"sources": sources}} if sources else {}),
            }
            for decorator, arguments in decorators.items():
                step.add_decorator(decorator, deco_kwargs=arguments, duplicates=step.OVERRIDE)

    def add_to_package(self) -> Iterator[tuple[str, str, ContentType]]:
        """The Space, which the first step stores; and the sample corpus, where pods read it."""
        for file in engine.space_files():
            yield str(file), str(Path("space", file.name)), ContentType.USER_CONTENT
        reads = self.remote and any(source.source == "sample" for source in self.settings.corpus.all_sources)
        for file in sorted(SAMPLE.glob("*/*")) if reads else ():
            yield str(file), str(Path("sample", file.relative_to(SAMPLE))), ContentType.USER_CONTENT


def pod_arguments(step: str, compute: Compute) -> dict[str, Any]:
    """The arguments of `@kubernetes` for a step; memory and disk in MB. Requests equal limits."""
    arguments: dict[str, Any] = {
        "image": compute.image,
        "cpu": CPU,
        "memory": 1000 * MEMORY_GB,
        "disk": 1000 * compute.disk_gb,
        "qos": "Guaranteed",
        "secrets": [secret for secret in compute.secrets if "/" not in secret],
    }
    if step not in GPU_STEPS:
        return arguments
    nodes, taints = {"cloud.google.com/gke-accelerator": compute.gpu}, [_taint("nvidia.com/gpu", "present")]
    if compute.spot:
        nodes["cloud.google.com/gke-spot"] = "true"
        taints.append(_taint("cloud.google.com/gke-spot", "true"))
    return arguments | {
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
