"""Compare runs and sweeps: `python -m experiments.compare outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli.entry import entry_point, run_command_line
from .comparison.options import described, parsed

HELP = """\
python -m experiments.compare <folders...> [option=value ...]

Reads the folders of runs and sweeps, or any folder above them, and prints a table of groups (runs that differ only in
the seed), the differences between them with their confidence intervals, and the effect of each factor. Writes
report.html, report.md, tables and figures into comparison/ in the folder, or in the folder above if there are several.

Examples:
  python -m experiments.compare outputs/train/2026-11-21_12-00-00       one sweep
  python -m experiments.compare outputs by=optimizer metric=test/accuracy   each optimizer at its best other settings
  python -m experiments.compare outputs where=model=mlp,init=he baseline=optimizer=sgd target=0.97
  python -m experiments.compare outputs watch=true                      refreshes while a sweep runs

Options:
"""


def command_line(words: Sequence[str]) -> int:
    """Compare the runs that the command line names, and return the exit code.

    Raises:
        UserError: an option or a folder cannot be used.
    """
    folders, options = parsed(words)
    from .comparison.running import compare  # statistics and figures: only for a valid command line

    return compare(folders, options)


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, lambda: HELP + described())


if __name__ == "__main__":
    main()
