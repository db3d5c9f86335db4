"""Begin a project of one's own: `python -m experiments.new my_project`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .cli import arguments
from .cli.entry import entry_point, run_command_line
from .common.errors import UserError

COMMAND = "python -m experiments.new"
PURPOSE = """
Writes a small project of your own into a new folder: a package with a data set, a model, a metric and an observer,
their choices in conf/, a test, and experiments.toml, with which every command that is typed in the folder finds them.
It trains, sweeps and passes its tests as it is.
"""
EXAMPLES = ((f"{COMMAND} my_project", "a folder here"), (f"{COMMAND} ~/work/ring_study", "a folder elsewhere"))
MEANINGS: dict[str, str] = {}
"""It has no options."""


def help_text() -> str:
    """Return the text of `--help`."""
    return arguments.help_text(f"{COMMAND} <folder>", PURPOSE, EXAMPLES, MEANINGS)


def command_line(words: Sequence[str]) -> None:
    """Write the project that the command line names.

    Raises:
        UserError: there is not exactly one folder, or it cannot be used.
        OSError: a file cannot be written.
    """
    flags = [word for word in words if word.startswith("-") or "=" in word]
    if flags:
        raise UserError(f"unknown option {flags[0]!r} of new; give only the folder of the new project")
    if len(words) != 1:
        raise UserError(f"new takes one folder, but {len(words)} are given; give the folder of the new project")
    from .projects import write_project

    folder = Path(words[0]).expanduser()
    for path in write_project(folder):
        print(f"written  {folder / path}")
    print(f"next     {folder / 'README.md'} has the commands that train, sweep and test it")


@entry_point
def main() -> int | None:
    """Run the command line."""
    return run_command_line(command_line, help_text)


if __name__ == "__main__":
    main()
