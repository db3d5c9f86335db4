"""Compare runs and sweeps: `python -m experiments.compare outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli import arguments
from .cli.entry import entry_point, run_command_line
from .comparison.options import MEANINGS, parsed

COMMAND = "python -m experiments.compare"
PURPOSE = """
Reads the folders of runs and sweeps, or any folder above them, and prints a table of groups (runs that differ only in
the seed), the differences between them with their confidence intervals, and the effect of each factor. Writes
report.html, report.md, tables and figures into comparison/ in the folder, or in the folder above if there are several.
"""
EXAMPLES = (
    (f"{COMMAND} outputs/train/2026-11-21_12-00-00", "one sweep"),
    (f"{COMMAND} outputs by=optimizer metric=test/accuracy", "groups by optimizer, of all runs"),
    (f"{COMMAND} outputs where=model=mlp,init=he baseline=optimizer=sgd target=0.97", "some runs, compared with SGD"),
    (f"{COMMAND} outputs watch=true", "refreshes while a sweep runs"),
)


def help_text() -> str:
    """Return the text of `--help`."""
    return arguments.help_text(f"{COMMAND} <folders...> [option=value ...]", PURPOSE, EXAMPLES, MEANINGS)


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
    return run_command_line(command_line, help_text)


if __name__ == "__main__":
    main()
