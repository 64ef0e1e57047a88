"""Experiment trackers of a trial: TensorBoard, Weights & Biases or MLflow, by transformers' callbacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from asr.settings import Settings

if TYPE_CHECKING:
    from transformers import TrainerCallback


def callbacks(settings: Settings, name: str) -> list[TrainerCallback]:
    """The trackers' callbacks.

    TensorBoard writes to `name` below TENSORBOARD_LOGGING_DIR, by default `runs`. The others take their settings from
    environment variables (WANDB_PROJECT, MLFLOW_TRACKING_URI, ...).
    """
    from transformers import integrations

    result: list[TrainerCallback] = []
    for tracker in settings.training.trackers:
        if tracker == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            folder = Path(os.environ.get("TENSORBOARD_LOGGING_DIR", "runs"), name)
            result.append(integrations.TensorBoardCallback(SummaryWriter(str(folder))))
        elif tracker == "wandb":
            result.append(integrations.WandbCallback())
        else:
            result.append(integrations.MLflowCallback())
    return result
