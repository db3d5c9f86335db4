"""What do these runs show? `python -m experiments.compare outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli.launch import ended

HELP = """\
python -m experiments.compare <folders...> [option=value ...]

Reads run and sweep folders, or any folder above them, and says what they show: a table of groups (runs that differ
in nothing but the seed), differences with their certainty, what each factor does. Writes comparison/ into the folder,
or with several folders into the one that holds them all: report.html, report.md, tables and figures.

Examples:
  python -m experiments.compare outputs/train/2026-11-21_12-00-00      one sweep
  python -m experiments.compare outputs by=optimizer metric=test/accuracy
  python -m experiments.compare outputs where=model=mlp,init=he baseline=optimizer=sgd target=0.97
  python -m experiments.compare outputs watch=true                     refreshes while a sweep is running

Options:
"""


def command_line(arguments: Sequence[str]) -> int:
    """Compare what the command line names; returns the exit code.

    Raises:
        UserError: an option or a folder is wrong.
    """
    from .comparison.options import described, parsed

    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP + described())
        return 0 if arguments else 2
    folders, options = parsed(arguments)
    from .comparison.running import compare  # statistics and figures: only once the command line is in order

    return compare(folders, options)


def main() -> None:
    """Run the command line."""
    ended(command_line)


if __name__ == "__main__":
    main()
