"""Predictions of numbers or of labels: an answer for each target of each example."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from experiments.common.screen import table
from experiments.common.text import spreadsheet

from ._predictions import SHOWN, Predictions

MOST_TARGETS = 8
"""The targets that are printed."""


@dataclass(frozen=True, repr=False)
class Estimates(Predictions):
    """Examples with an answer for each target; its `repr` is a table.

    Args:
        names: of the examples: file names, or row numbers.
        classes: the names of the targets.
        probabilities: (examples, targets), float64: numbers in the units of the data, or probabilities of labels.
        true: the true values, in the same shape; None if they are not known.
    """

    true: NDArray[np.float64] | None = None

    @property
    def values(self) -> NDArray[np.float64]:
        """The answers, (examples, targets)."""
        return self.probabilities

    @property
    def labels(self) -> list[str]:
        """The answers of each example as a text."""
        return [", ".join(f"{value:.4g}" for value in row) for row in self.values]

    def as_table(self) -> Table:
        """Return a table of the answers for the first examples."""
        shown = self.classes[:MOST_TARGETS]
        printed = table("example", *shown, right=tuple(shown), wrapped=("example",))
        for name, row in zip(self.names[:SHOWN], self.values, strict=False):
            printed.add_row(name, *(f"{value:.4g}" for value in row[:MOST_TARGETS]))
        return printed

    def as_csv(self) -> str:
        """Return a CSV table: example, the true values if they are known, and the answer for each target."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        true = [] if self.true is None else [spreadsheet(f"true({name})") for name in self.classes]
        writer.writerow(["example", *true, *(spreadsheet(f"predicted({name})") for name in self.classes)])
        for number, name in enumerate(self.names):
            known = [] if self.true is None else self.true[number]
            cells = [f"{value:.7g}" for value in (*known, *self.values[number])]
            writer.writerow([spreadsheet(name), *cells])
        return text.getvalue()
