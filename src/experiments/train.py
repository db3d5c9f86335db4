"""Train one model: `python -m experiments.train optimizer=adam init=he`."""

import sys
from typing import Any

from .cli import answered, launch
from .resume import resumed_command_line

EXAMPLES = (
    ("", "the default run"),
    ("optimizer=sgd optimizer.lr=0.1", "another choice, and one of its numbers"),
    ("model=cnn data=mnist training.epochs=3", "several of them"),
    ("-m init=he,xavier seed=0,1,2", "six runs, one for each combination"),
)


def task(cfg: Any) -> float | None:
    """Train the composed run; a sweep is told its objective."""
    from .job import run  # the heavy imports: only once Hydra has found the command line in order

    return run(cfg)


def main() -> None:
    """Run the command line."""
    if answered("train", EXAMPLES):
        return
    sys.argv[1:] = resumed_command_line(sys.argv[1:])
    try:
        launch(task, "train")
    except KeyboardInterrupt:  # before the run listens itself
        sys.exit(130)


if __name__ == "__main__":
    main()
