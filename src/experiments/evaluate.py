"""Evaluate trained runs, or predict: `python -m experiments.evaluate run=outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli import arguments
from .cli.entry import entry_point, run_command_line
from .evaluation.options import MEANINGS, OTHER_DATA, parsed

COMMAND = "python -m experiments.evaluate"
PURPOSE = """
Restores trained runs from their folders, with the weights of their best epoch, and evaluates them on a split of their
data: accuracy with its confidence interval, loss, results per class, calibration. Writes evaluation/<split>/ into each
folder. With input=<files> it predicts for your own files instead, and prepares them like the data of the run. With
data.<key>=<value> it evaluates on other data of the same shape.
"""
RUN = f"{COMMAND} run=outputs/train/2026-11-21_12-00-00"
SWEEP = f"{COMMAND} run=outputs/train/2026-11-21_12-30-00"
EXAMPLES = (
    (f"{COMMAND} run=latest", "the newest finished run that is not part of a sweep, on its test split"),
    (f"{RUN} split=val", "a run by its folder, on another split"),
    (f"{SWEEP} best=3", "the three best runs of a sweep"),
    (f"{SWEEP} best=5 ensemble=mean", "the five best runs and their ensemble"),
    (f"{RUN} ensemble=mean", "the ensemble of a run's kept checkpoints"),
    (f"{RUN} input=own/pictures", "predictions for your own files"),
    (f"{RUN} data.test_path=own/newer.csv", "on other data"),
)


def help_text() -> str:
    """Return the text of `--help`."""
    usage = f"{COMMAND} run=<folder> [more folders] [option=value ...]"
    return arguments.help_text(usage, PURPOSE, EXAMPLES, {**MEANINGS, **OTHER_DATA})


def command_line(words: Sequence[str]) -> None:
    """Evaluate the runs that the command line names.

    Raises:
        UserError: an option or a folder cannot be used.
        OSError: a folder cannot be written.
    """
    folders, options, other = parsed(words)
    from .evaluation.ensembles import combine  # torch: only for a valid command line
    from .evaluation.evaluating import chosen, evaluate
    from .evaluation.loading import limited
    from .evaluation.predicting import predict, predict_together

    runs = chosen(folders, options.best)
    restoring = options.restoring(options.device, other)
    with limited(options):
        if options.input is not None and options.ensemble is None:
            predict(runs, options.input, restoring)
        elif options.input is not None and options.ensemble is not None:
            predict_together(runs, options.input, arguments.above(folders), options.ensemble, restoring)
        elif options.ensemble is None:
            evaluate(runs, options.split, restoring)
        else:
            combine(runs, options.split, arguments.above(folders), options.ensemble, restoring)


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, help_text)


if __name__ == "__main__":
    main()
