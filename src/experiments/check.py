"""Check a configuration before training: `python -m experiments.check model=cnn init=xavier`."""

import sys
from typing import Any

from .cli.entry import entry_point
from .cli.launch import help_printed, launch
from .cli.overrides import spelled_out
from .cli.project import with_project

EXAMPLES = (
    ("", "all checks of the default run"),
    ("model=cnn data=mnist", "another run: check takes the same overrides as train"),
    ("only=lr_range optimizer=sgd", "only one check: which learning rates work"),
    ("-m init=he,zeros", "two runs; the exit code is 1 if a check of one of them fails"),
)


def signatures() -> dict[str, type]:
    """Return the classes with the types of the settings by section, for the help about one of them."""
    from .assembly._signatures import SIGNATURES

    return SIGNATURES


def task(cfg: Any) -> None:
    """Check the composed run."""
    from .checks.running import check  # the heavy imports: only after Hydra has accepted the command line

    check(cfg)


@entry_point
def main() -> None:
    """Run the command line."""
    sys.argv[1:] = with_project(sys.argv[1:])
    if not help_printed("check", EXAMPLES, signatures):
        sys.argv[1:] = spelled_out(sys.argv[1:])
        launch(task, "check")


if __name__ == "__main__":
    main()
