"""Export trained runs for use elsewhere: `python -m experiments.export run=outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli import arguments
from .cli.entry import entry_point, run_command_line
from .common.installing import install_command
from .exporting.options import MEANINGS, parsed

COMMAND = "python -m experiments.export"
PURPOSE = """
Writes trained runs, with the weights of their best epoch, as programs that do not need this package. The input is a
batch of raw examples, as the data set gives them, of any size; the output is the probabilities of the classes. Each
program is compared with the run before it is written. Writes into export/ in each folder: model.pt2 (torch.export),
model.onnx, and model.json, which describes the input, the output and how to call the programs.

model.onnx needs the extra onnx: @INSTALL@
"""
EXAMPLES = (
    (f"{COMMAND} run=latest", "both programs of the newest finished run that is not part of a sweep"),
    (f"{COMMAND} run=outputs/train/2026-11-21_12-00-00 format=onnx", "one of them, of a run by its folder"),
    (f"{COMMAND} run=outputs/train/2026-11-21_12-30-00 best=1", "those of the best run of a sweep"),
)


def help_text() -> str:
    """Return the text of `--help`."""
    purpose = PURPOSE.replace("@INSTALL@", install_command("onnx"))
    usage = f"{COMMAND} run=<folder> [more folders] [option=value ...]"
    return arguments.help_text(usage, purpose, EXAMPLES, MEANINGS)


def command_line(words: Sequence[str]) -> None:
    """Export the runs that the command line names.

    Raises:
        UserError: an option or a folder cannot be used, or a run cannot be exported.
        OSError: a folder cannot be written.
    """
    folders, options = parsed(words)
    from .evaluation.evaluating import chosen  # torch: only for a valid command line
    from .evaluation.loading import limited
    from .exporting.running import export

    with limited(options):
        export(chosen(folders, options.best), options.format, options.restoring())


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, help_text)


if __name__ == "__main__":
    main()
