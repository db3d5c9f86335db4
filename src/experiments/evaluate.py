"""What is a trained run worth? `python -m experiments.evaluate run=outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli import ended

HELP = """\
python -m experiments.evaluate run=<folder> [more folders] [option=value ...]

Restores trained runs from their folders, with the weights of their best epoch, and says what they are worth on a split
of their data: accuracy with its interval, loss, each class, calibration. Writes evaluation/<split>/ into each folder.

Examples:
  python -m experiments.evaluate run=outputs/train/2026-11-21_12-00-00             on the test split
  python -m experiments.evaluate run=outputs/train/2026-11-21_12-00-00 split=val
  python -m experiments.evaluate run=outputs/train/2026-11-21_12-30-00 best=3      of a sweep the best three
  python -m experiments.evaluate run=outputs/train/2026-11-21_12-30-00 best=5 ensemble=mean    and these together
  python -m experiments.evaluate run=outputs/train/2026-11-21_12-00-00 ensemble=mean    its kept checkpoints

Options:
"""


def command_line(words: Sequence[str]) -> int:
    """Evaluate what the command line names; returns the exit code.

    Raises:
        UserError: an option or a folder is wrong.
        OSError: nothing can be written there.
    """
    from .arguments import above
    from .evaluation.options import described, parsed

    if not words or {"-h", "--help"} & set(words):
        print(HELP + described())
        return 0 if words else 2
    folders, options = parsed(words)
    from .evaluation.ensembles import combine  # torch: only once the command line is in order
    from .evaluation.evaluating import chosen, evaluate

    runs = chosen(folders, options.best)
    if options.ensemble is None:
        evaluate(runs, options.split, options.trusted, options.device)
    else:
        combine(runs, options.split, above(folders), options.ensemble, options.trusted, options.device)
    return 0


def main() -> None:
    """Run the command line."""
    ended(command_line)


if __name__ == "__main__":
    main()
