"""Predictions: the class of each example, with the probabilities of all classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor

from experiments.common.screen import plain, table
from experiments.common.text import spreadsheet

SHOWN = 40
"""Examples in the printed table."""


@dataclass(frozen=True, repr=False)
class Predictions:
    """Examples with the probabilities of the classes; its `repr` is a table.

    Args:
        names: of the examples: file names, or row numbers.
        classes: their names.
        probabilities: (examples, classes), float64.
        targets: the names of the right classes; None if they are not known.
    """

    names: Sequence[str]
    classes: Sequence[str]
    probabilities: NDArray[np.float64]
    targets: Sequence[str] | None = None

    @classmethod
    def of_split(cls, probabilities: Tensor, y: Tensor, classes: Sequence[str], numbers: Tensor) -> Predictions:
        """Return the predictions for a split.

        Args:
            probabilities: (examples, classes), in float64, on the CPU.
            y: (examples,), the right classes.
            classes: their names.
            numbers: of the examples in the file, or in the split.
        """
        return cls(
            list(map(str, numbers.tolist())), classes, probabilities.numpy(), [classes[target] for target in y.tolist()]
        )

    @property
    def labels(self) -> list[str]:
        """The most probable class of each example."""
        return [self.classes[number] for number in self.probabilities.argmax(1)]

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        text = io.StringIO()
        console = plain(text)
        console.print(self.as_table())
        if self.left_out:
            console.print(f"and {self.left_out:,} more")
        return text.getvalue().rstrip("\n")

    @property
    def left_out(self) -> int:
        """The number of examples that are not printed."""
        return max(0, len(self) - SHOWN)

    def as_table(self) -> Table:
        """Return a table of the first examples with their two most probable classes."""
        header = ("example", "prediction", "probability", "second best", "probability")
        shown = table(*header, right=("probability",), wrapped=("example",))
        for name, row in zip(self.names[:SHOWN], self.probabilities, strict=False):
            order: list[Any] = np.argsort(-row, kind="stable")[:2].tolist()
            cells = [text for number in order for text in (self.classes[number], f"{row[number]:.1%}")]
            shown.add_row(name, *cells)
        return shown

    def as_csv(self) -> str:
        """Return a CSV table: example, target if it is known, prediction, and the probability of each class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        targets = [] if self.targets is None else [self.targets]
        header = ["example", *(["target"] if targets else []), "prediction"]
        writer.writerow([*header, *(spreadsheet(f"p({name})") for name in self.classes)])
        for name, *target, label, row in zip(self.names, *targets, self.labels, self.probabilities, strict=True):
            writer.writerow([*map(spreadsheet, (name, *target, label)), *(f"{value:.10g}" for value in row)])
        return text.getvalue()
