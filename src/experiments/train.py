"""Train one model: `python -m experiments.train optimizer=adam init=he`."""

import sys
from typing import Any

from .cli import launch
from .resume import resumed_command_line


def task(cfg: Any) -> float | None:
    """Train the composed run; a sweep is told its objective."""
    from .job import run  # the heavy imports: only once Hydra has found the command line in order

    return run(cfg)


def main() -> None:
    """Run the command line."""
    sys.argv[1:] = resumed_command_line(sys.argv[1:])
    try:
        launch(task, "train")
    except KeyboardInterrupt:  # before the run listens itself
        sys.exit(130)


if __name__ == "__main__":
    main()
