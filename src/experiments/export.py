"""Use a trained run elsewhere: `python -m experiments.export run=outputs/train/2026-11-21_12-00-00`."""

from __future__ import annotations

from collections.abc import Sequence

from .cli.launch import ended

HELP = """\
python -m experiments.export run=<folder> [more folders] [option=value ...]

Writes trained runs, with the weights of their best epoch, as programs that need nothing of this package: raw examples
go in, as the data set gives them, and probabilities of the classes come out, for a batch of any size. Each is compared
with the run first. Writes export/ into each folder: model.pt2 (torch.export), model.onnx (pip install
'experiments[onnx]'), and model.json, which says what goes in, what comes out, and how they are called.

Examples:
  python -m experiments.export run=outputs/train/2026-11-21_12-00-00
  python -m experiments.export run=outputs/train/2026-11-21_12-00-00 format=onnx
  python -m experiments.export run=outputs/train/2026-11-21_12-30-00 best=1      of a sweep the best one

Options:
"""


def command_line(words: Sequence[str]) -> int:
    """Export what the command line names; returns the exit code.

    Raises:
        UserError: an option or a folder is wrong, or a run cannot be exported.
        OSError: nothing can be written there.
    """
    from .exporting.options import described, parsed

    if not words or {"-h", "--help"} & set(words):
        print(HELP + described())
        return 0 if words else 2
    folders, options = parsed(words)
    from .evaluation.evaluating import chosen  # torch: only once the command line is in order
    from .exporting.running import export

    export(chosen(folders, options.best), options.format, options.trusted)
    return 0


def main() -> None:
    """Run the command line."""
    ended(command_line)


if __name__ == "__main__":
    main()
