"""Train one model: `python -m experiments.train optimizer=adam init=he`."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .cli.launch import answered, launch, say
from .cli.resuming import resumed_command_line
from .common.errors import UserError

EXAMPLES = (
    ("", "the default run"),
    ("optimizer=sgd optimizer.lr=0.1", "another choice, and one of its numbers"),
    ("model=cnn data=mnist training.epochs=3", "several of them"),
    ("-m init=he,xavier seed=0,1,2", "six runs, one for each combination"),
)

TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
"""What torchrun sets for each of its processes."""


def task(cfg: Any) -> float | None:
    """Train the composed run; a sweep is told its objective."""
    from .runs.alone import run  # the heavy imports: only once Hydra has found the command line in order

    return run(cfg)


def main() -> None:
    """Run the command line, or one process's part of it under torchrun."""
    if not os.environ.keys() >= TORCHRUN:
        command_line(resumed_command_line)
        return
    from .runs.torchrun import joined, own_command_line

    with joined() as folder:
        command_line(partial(own_command_line, folder=folder))


def command_line(completed: Callable[[Sequence[str]], list[str]]) -> None:
    """Answer the command line, or train what it describes.

    Args:
        completed: makes what Hydra is given of what was typed.
    """
    if answered("train", EXAMPLES):
        return
    try:
        sys.argv[1:] = completed(sys.argv[1:])
    except UserError as error:
        say(str(error))
        sys.exit(error.code)
    try:
        launch(task, "train")
    except KeyboardInterrupt:  # before the run listens itself
        sys.exit(130)


if __name__ == "__main__":
    main()
