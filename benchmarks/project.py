"""This project's training, built as the main job builds it, one epoch at a time."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments import assembly
from experiments.assembly.run import Parts, assembled
from experiments.cli.overrides import clipped
from experiments.common.conf import conf_folder
from experiments.common.screen import Screen
from experiments.folders.run import RunFolder
from experiments.runs._tensorboard import opened_writer
from experiments.runs.job import Job
from experiments.runs.run import offered
from experiments.training.engine import fit
from experiments.training.position import Position
from experiments.training.stop import Stop

LONG = 1000
"""The planned epochs of the training: more than any benchmark runs."""

OBSERVERS = ("progress", "metrics", "tensorboard", "histograms", "layers", "pictures")


def composed(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that a command line gives; the rate is that of the loops by hand."""
    own = [] if any(word.startswith("optimizer") for word in overrides) else ["optimizer=adam"]
    OmegaConf.register_new_resolver("clipped", clipped, replace=True)
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", overrides=[*own, *overrides]), resolve=True)
    return config


class AtEpochsEnd(Stop):
    """Stops when an epoch is complete, with its evaluation, observers and checkpoint."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.last = position.epoch + 1

    @property
    def requested(self) -> bool:  # type: ignore[override]
        """Whether the last epoch is complete."""
        return self.position.epoch >= self.last


class Project:
    """A training that `engine.fit` continues by one epoch at a time.

    What happens once (the model's graph, the hyperparameters, the first checkpoint) falls into the first epoch.

    Args:
        overrides: the command line.
        folder: where it writes.
        watched: the observers that are on.
    """

    def __init__(self, overrides: Sequence[str], folder: Path, watched: Sequence[str] = OBSERVERS) -> None:
        config = composed([*overrides, f"training.epochs={LONG}"])
        config["observers"] = {name: config["observers"][name] for name in watched}
        settings = assembly.training(config)
        self.device = torch.device(settings.device)
        self.stack = ExitStack()
        screen = self._screen(folder)
        parts = assembled(config, assembly.general(config), settings, self.device, RunFolder(folder), screen)
        self.data, self.program, self.member = parts.data, parts.program, parts.member
        self.model, self.streams = parts.program.model, parts.member.streams
        self.position = Position(parts.plan)
        self.member.observers = self._observers(config, parts, screen)
        self.stop = AtEpochsEnd(self.position)

    def _screen(self, folder: Path) -> Screen:
        folder.mkdir(parents=True, exist_ok=True)
        screen = Screen(folder / "train.log")
        self.stack.callback(screen.close)
        screen.terminal.file = self.stack.enter_context((folder / "stdout").open("w", encoding="utf-8"))
        return screen

    def _observers(self, config: dict[str, Any], parts: Parts, screen: Screen) -> list[Any]:
        self.writer = None
        if {"tensorboard", "histograms", "layers"} & set(config["observers"]):
            shown = {**config, "observers": {"tensorboard": {"enabled": True}}}
            self.writer = opened_writer(shown, parts.member.folder, self.position)
            self.stack.callback(self.writer.close)
        return assembly.observers(config, offered(Job(config, parts.member.folder), parts, screen, self.writer))

    def epoch(self, count: int = 1) -> None:
        """Train for some epochs, with all that belongs to them, until everything is written.

        The last of them is followed by what ends a run, such as flushing every file to the disk.
        """
        self.member.status = None
        (self.member.folder.path / "layers.csv").unlink(missing_ok=True)  # which a training that continues reads
        self.stop.last = self.position.epoch + count
        fit(self.program, [self.member], self.position, self.stop)
        if self.writer is not None:
            self.writer.flush()  # what is kept must not be left to the next one's time

    def close(self) -> None:
        """Close its files."""
        self.stack.close()

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
