"""The options of `export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from experiments.cli import arguments

Format = Literal["torch", "onnx"]

MEANINGS = {
    "format": "torch or onnx; without it both, ONNX only if its packages are installed",
    "best": "only the best N runs of a sweep or of several runs, by their objective",
    "strict": "true ends with code 1 if the weights of the best epoch cannot be read; false warns and uses the last",
    "trust": arguments.TRUST,
}
TEXTS = {"format", "trust"}


@dataclass(frozen=True)
class ExportOptions:
    """The options; see `MEANINGS`."""

    format: Format | None = None
    best: Annotated[int, Ge(1)] | None = None
    strict: bool = False
    trust: str | None = None

    @property
    def trusted(self) -> list[str]:
        """The modules in `trust`."""
        return arguments.listed(self.trust)


def described() -> str:
    """Return the options with their meanings, one per line."""
    return arguments.described(MEANINGS)


def parsed(words: Sequence[str]) -> tuple[list[Path], ExportOptions]:
    """Read the command line; see `arguments.parsed`."""
    folders, given = arguments.parsed(words, ExportOptions, "export", MEANINGS, TEXTS)
    return folders, ExportOptions(**given)
