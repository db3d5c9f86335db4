"""Look before you train: `python -m experiments.check model=cnn init=xavier`."""

import sys
from typing import Any

from .cli.launch import answered, launch
from .cli.overrides import spelled_out

EXAMPLES = (
    ("", "all checks of the default run"),
    ("model=cnn data=mnist", "of another one: everything that train takes"),
    ("only=lr_range optimizer=sgd", "one check alone: which learning rates work"),
    ("-m init=he,zeros", "two runs; the code is 1 when a check of one of them fails"),
)


def task(cfg: Any) -> None:
    """Check the composed run."""
    from .checks.running import check  # the heavy imports: only once Hydra has found the command line in order

    check(cfg)


def main() -> None:
    """Run the command line."""
    if answered("check", EXAMPLES):
        return
    sys.argv[1:] = spelled_out(sys.argv[1:])
    try:
        launch(task, "check")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
