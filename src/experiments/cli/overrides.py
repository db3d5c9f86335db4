"""Overrides as they are typed: short forms, quoted paths, folder names."""

import re
from collections.abc import Sequence
from pathlib import Path

LONGEST_FOLDER_NAME = 120
SHORT = {"init_from": "init_from.path"}
"""Words of the command line, and the keys that they stand for."""


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """Return a command line with `init_from=<path>` as `init_from.path='<path>'`; several, with commas, to sweep over.

    A name of a file may hold what Hydra's grammar reserves, as the folders of a sweep's runs do. So what exists is
    quoted, and the longest name that exists is taken for one.
    """
    return [
        f"{SHORT[key]}={quoted_paths(value)}" if equals and key in SHORT else argument
        for argument in arguments
        for key, equals, value in [argument.partition("=")]
    ]


def quoted_paths(value: str) -> str:
    """Return paths with commas between, each quoted that exists or could not be read by Hydra otherwise."""
    done, rest = [], value.split(",")
    while rest:
        there = (n for n in range(len(rest), 0, -1) if rest[0] and Path(",".join(rest[:n])).exists())
        count = next(there, 0)
        piece = ",".join(rest[: count or 1])
        done.append(quoted(Path(piece)) if count or ("=" in piece and not set("'\"()[]{}") & set(value)) else piece)
        rest = rest[count or 1 :]
    return ",".join(done)


def clipped(name: str) -> str:
    """Return a job's overrides as a folder name that every file system takes and no shell misreads."""
    return re.sub(r"[^\w.=,+-]+", "_", name)[:LONGEST_FOLDER_NAME]


def quoted(path: Path) -> str:
    """Return a path as a quoted value in Hydra's grammar, where a backslash matters only before a quote."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(path))
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
