"""Train a model, or a sweep of models: `python -m experiments.train optimizer=adam init=he`."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

from .cli.entry import entry_point
from .cli.launch import help_printed, launch
from .cli.project import with_project
from .cli.resuming import resumed_command_line
from .common.importing import heavy_imports

EXAMPLES = (
    ("", "the default run"),
    ("optimizer=sgd optimizer.lr=0.1", "another optimizer and learning rate"),
    ("model=cnn data=mnist", "another model and data set"),
    ("-m init=he,xavier seed=0,1,2", "six runs, one for each combination"),
)


DIVERGED = 1
"""The exit code of a run that diverged, and of a sweep in which a run did."""
TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
"""The environment variables that torchrun sets for each of its processes."""


def signatures() -> dict[str, type]:
    """Return the classes with the types of the settings by section, for the help about one of them."""
    from .assembly._signatures import SIGNATURES

    return SIGNATURES


def task(cfg: Any, typed: Sequence[str] = ()) -> float | None:
    """Train the composed run and return its objective, which a search needs.

    Args:
        cfg: the configuration.
        typed: the arguments of the command, from which it is composed together with the overrides of a resumed run.

    Raises:
        SystemExit: a single run has diverged; with the code of a sweep in which a run has.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from .training.stop import SignalStop

    statuses: list[str] = []
    stop = SignalStop()
    with stop.listening():  # the run's folder exists: a signal from now on leaves a summary in it
        with heavy_imports():
            from .runs.alone import run  # only after Hydra has accepted the command line

        result = run(cfg, stop, typed, statuses.append)
    if cfg.get("remedy") is True and not stop.requested:
        from .remedies.running import after_training

        after_training(cfg)
    if "diverged" in statuses and HydraConfig.get().mode != RunMode.MULTIRUN:
        sys.exit(DIVERGED)
    return result


@entry_point
def main() -> None:
    """Run the command line, or the part of one process under torchrun."""
    if not os.environ.keys() >= TORCHRUN:
        command_line(resumed_command_line)
        return
    from .runs.torchrun import joined, own_command_line

    with joined() as folder:
        command_line(partial(own_command_line, folder=folder))


def command_line(completed: Callable[[Sequence[str]], list[str]]) -> None:
    """Print help, or train the runs that the command line describes.

    Args:
        completed: returns the arguments for Hydra, given the typed ones.
    """
    sys.argv[1:] = with_project(sys.argv[1:])
    if not help_printed("train", EXAMPLES, signatures):
        typed = sys.argv[1:]
        sys.argv[1:] = completed(typed)
        launch(wraps(task)(lambda cfg: task(cfg, typed)), "train")


if __name__ == "__main__":
    main()
