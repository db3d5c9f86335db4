"""Watch optimizers go down a surface: `python -m experiments.surface -m optimizer=sgd,momentum,adagrad,adam`."""

import sys
from collections.abc import Sequence
from typing import Any

from .cli.launch import answered, explained, launch, say

EXAMPLES = (
    ("", "momentum in a ravine"),
    ("-m optimizer=sgd,momentum,adagrad,adam", "four in one picture, at the textbook's rates"),
    ("surface=rosenbrock optimizer=adam optimizer.lr=0.3", "any optimizer, with any number"),
    ("surface=saddle 'surface.start=[1,0.1]' scheduler=cosine", "from elsewhere, with a schedule"),
)


def main() -> None:
    """Run the command line."""
    if answered("surface", EXAMPLES):
        return
    traces: list[Any] = []

    def task(cfg: Any) -> None:
        """Follow the composed optimizer."""
        from .surfaces.running import follow  # the heavy imports: only once Hydra has found the command line in order

        traces.append(follow(cfg))

    try:
        launch(task, "surface")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        together(traces)


def together(traces: Sequence[Any]) -> None:
    """Show the paths of a sweep in one picture and one table: those that could be followed, where others could not."""
    traces = [trace for trace in traces if trace.sweep]
    if not traces:
        return
    from .surfaces.running import report_sweep

    try:
        report_sweep(traces)
    except OSError as error:
        say(explained(error, "surface", sys.argv[1:]))
        sys.exit(2)


if __name__ == "__main__":
    main()
