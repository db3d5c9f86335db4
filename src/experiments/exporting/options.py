"""The options of `export`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.cli import arguments
from experiments.evaluation.settings import MEANINGS_OF_RUNS, RunOptions

Format = Literal["torch", "onnx"]

MEANINGS = {
    "format": "torch or onnx; without it both, ONNX only if its packages are installed",
    **MEANINGS_OF_RUNS,
}
TEXTS = {"format", "trust"}


@dataclass(frozen=True)
class ExportOptions(RunOptions):
    """The options; see `MEANINGS`."""

    format: Format | None = None


def parsed(words: Sequence[str]) -> tuple[list[Path], ExportOptions]:
    """Read the command line; see `arguments.parsed`."""
    folders, given = arguments.parsed(words, ExportOptions, "export", MEANINGS, TEXTS)
    return folders, ExportOptions(**given)
