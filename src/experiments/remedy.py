"""Try the advice on a run: `python -m experiments.remedy run=outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli import arguments
from .cli.entry import entry_point, run_command_line
from .remedies.options import MEANINGS, parsed

COMMAND = "python -m experiments.remedy"
RUN = f"{COMMAND} run=outputs/train/2026-11-21_12-00-00"
PURPOSE = """
Turns the advice on a run into configurations, trains them and the run itself with several seeds, and compares them on
the validation split: which remedies help, which do nothing, which harm, with intervals. Then it trains those that help
together, and prints the command of the best. Writes the runs, remedy.json and remedy.png into remedy/ in the folder of
the run. The same command continues one that was interrupted.
"""
EXAMPLES = (
    (f"{COMMAND} run=latest", "the advice on the newest finished run that is not part of a sweep"),
    (f"{RUN} seeds=16 most=4", "with more certainty, the first four remedies"),
    ("python -m experiments.train optimizer=sgd optimizer.lr=1 remedy=true", "after a training"),
)


def help_text() -> str:
    """Return the text of `--help`."""
    return arguments.help_text(f"{COMMAND} run=<folder> [option=value ...]", PURPOSE, EXAMPLES, MEANINGS)


def command_line(words: Sequence[str]) -> int:
    """Try the remedies of the run that the command line names, and return the exit code.

    Raises:
        UserError: an option or the folder cannot be used.
    """
    folder, options = parsed(words)
    from .remedies.running import remedy  # torch: only for a valid command line

    return remedy(folder, options)


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, help_text)


if __name__ == "__main__":
    main()
