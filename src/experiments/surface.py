"""Follow optimizers down a surface: `python -m experiments.surface -m optimizer=sgd,momentum,adagrad,adam`."""

import sys
from collections.abc import Sequence
from typing import Any

from .cli.entry import cannot_write, entry_point
from .cli.launch import help_printed, launch
from .cli.project import with_project
from .common.errors import UserError

EXAMPLES = (
    ("", "momentum in a ravine"),
    ("-m optimizer=sgd,momentum,adagrad,adam", "four paths in one picture, with the textbook's learning rates"),
    ("surface=rosenbrock optimizer=adam optimizer.lr=0.3", "any optimizer, with any setting"),
    ("surface=saddle 'surface.start=[1,0.1]' scheduler=cosine", "from another start, with a schedule"),
)


@entry_point
def main() -> None:
    """Run the command line."""
    sys.argv[1:] = with_project(sys.argv[1:])
    if help_printed("surface", EXAMPLES):
        return
    traces: list[Any] = []

    def task(cfg: Any) -> None:
        """Follow the composed optimizer."""
        from .surfaces.running import follow  # the heavy imports: only after Hydra has accepted the command line

        traces.append(follow(cfg))

    try:
        launch(task, "surface")
    finally:
        report_together(traces)


def report_together(traces: Sequence[Any]) -> None:
    """Show the paths of a sweep in one picture and one table; those that failed are missing from both.

    Raises:
        UserError: the picture or the table cannot be written.
    """
    traces = [trace for trace in traces if trace.sweep]
    if not traces:
        return
    from .surfaces.running import report_sweep

    try:
        report_sweep(traces)
    except OSError as error:
        raise UserError(cannot_write(error)) from None


if __name__ == "__main__":
    main()
