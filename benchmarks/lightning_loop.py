"""The same epoch by Lightning, where it is installed."""

import importlib
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .loops import LR, wait


def available() -> bool:
    """Whether Lightning is installed (the extra `bench`)."""
    found = find_spec("lightning")
    return found is not None and found.origin is not None  # a mere folder of that name has no origin


def lightning_epoch(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Callable[[], float]:
    """Return what trains for an epoch with everything optional off, and returns its seconds.

    The clock runs from the start of training to its end, so that building the trainer does not count.
    """
    lightning: Any = importlib.import_module("lightning")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        """The model and its updates."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], _number: int) -> Tensor:
            x, y = batch
            return F.cross_entropy(self.model(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=LR)

        def on_train_start(self) -> None:
            self.began = time.perf_counter()

        def on_train_end(self) -> None:
            wait(device)
            self.seconds = time.perf_counter() - self.began

    module = Module()

    def epoch() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                max_epochs=1,
                accelerator="gpu" if device.type == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(module, batches)
        seconds: float = module.seconds
        return seconds

    return epoch
