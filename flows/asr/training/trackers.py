"""Where a trial's figures go beside the cards: TensorBoard, Weights & Biases or MLflow, as transformers reports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from asr.settings import Settings

if TYPE_CHECKING:
    from transformers import TrainerCallback


def callbacks(settings: Settings, name: str) -> list[TrainerCallback]:
    """The trackers' callbacks. TensorBoard writes to `name` below TENSORBOARD_LOGGING_DIR, else below `runs` here;
    the others are set up by their own variables (WANDB_PROJECT, MLFLOW_TRACKING_URI, ...) and take it from the trainer.
    """
    from transformers import integrations

    made: list[TrainerCallback] = []
    for tracker in settings.training.trackers:
        if tracker == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            folder = Path(os.environ.get("TENSORBOARD_LOGGING_DIR", "runs"), name)
            made.append(integrations.TensorBoardCallback(SummaryWriter(str(folder))))
        elif tracker == "wandb":
            made.append(integrations.WandbCallback())
        else:
            made.append(integrations.MLflowCallback())
    return made
