"""The verbs of the command line. Each is a file, whose first line gives its purpose and an example."""

import re
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
VERBS = ("train", "check", "compare", "evaluate", "export", "reproduce", "remedy", "surface", "new")
"""In the order of the list that `experiments --help` prints."""
INSTALL_COMPLETION = 'eval "$(experiments -sc install=bash)"'
"""The command that a shell's user types once, or writes into a start-up file."""


@dataclass(frozen=True)
class Verb:
    """A verb.

    Args:
        name: of its module.
        purpose: a short sentence, without its full stop.
        example: the arguments of a command.
    """

    name: str
    purpose: str
    example: str


def path_of(verb: str) -> Path:
    """Return the file of a verb."""
    return PACKAGE / f"{verb}.py"


def described(verb: str) -> Verb:
    """Return a verb from the first line of its file, which is not imported: the imports of a verb take long."""
    with path_of(verb).open(encoding="utf-8") as file:
        line = file.readline().strip()
    match = re.fullmatch(rf'"""(.+): `python -m experiments\.{verb} (.+)`\."""', line)
    assert match, f'{verb}.py must begin with """<purpose>: `python -m experiments.{verb} <example>`."""'
    return Verb(verb, *match.groups())


def overview() -> str:
    """Return the text that `experiments --help` prints."""
    lines = ["usage: experiments <verb> ...", "", "Verbs:"]
    for verb in map(described, VERBS):
        lines += [f"  {verb.name:<10} {verb.purpose}", f"{'':13}experiments {verb.name} {verb.example}"]
    lines += ["", "More:"]
    more = (
        ("experiments <verb> --help", "how the verb is used"),
        ("experiments --version", "the version"),
        (INSTALL_COMPLETION, "completion with the Tab key; fish and zsh too"),
    )
    lines += [f"  {command:<{len(INSTALL_COMPLETION)}}  {meaning}" for command, meaning in more]
    return "\n".join([*lines, "", "`experiments train ...` is the same as `python -m experiments.train ...`."])
