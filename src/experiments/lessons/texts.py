"""Language models of characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.evaluation.loading import load
from experiments.folders.reading import Record
from experiments.recipes.drawing import curves_of
from experiments.recipes.measured import Measured, best
from experiments.tasks.sequence import bigram_loss, bigrams, pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def against_bigrams(runs: Sequence[Record]) -> Measured:
    """Measure how much lower the test loss of a language model is than that of a table of pairs of characters.

    Args:
        runs: of different seeds.
    """
    run = load(runs[0].folder)
    splits = run.data.splits
    table = bigram_loss(bigrams(*pairs(splits["train"]), run.task.outputs), *pairs(splits["test"]))
    losses = [best(own, "test/loss") for own in runs]
    values = {"test loss of the model minus that of the table, largest": max(losses) - table}
    said = [
        f"The bigram table has a test loss of {table:.3f} nats per character, the models "
        f"{', '.join(f'{loss:.3f}' for loss in losses)}"
    ]

    def draw() -> Figure:
        return curves_of({"runs": runs}, "train/loss", "val/loss")

    return Measured(values, draw, said)
