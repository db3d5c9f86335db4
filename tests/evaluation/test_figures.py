"""The picture of calibration: its legend covers no bar, and every bar has its number of examples."""

from __future__ import annotations

import io
import itertools

import pytest

from experiments.evaluation._figures import compact, reliability_figure
from experiments.evaluation._scores import Bin


@pytest.mark.parametrize("first", [1, 1_234_567])
def test_bars_hold_their_examples_and_the_legend_is_beside_them(first: int) -> None:
    bins = [Bin(0.2, 0.3, 0.27, 1.0, first), Bin(0.8, 0.9, 0.86, 0.8, 386), Bin(0.9, 1.0, 0.99, 0.98, 8935)]
    figure = reliability_figure(bins, 0.02, "test split, weights of epoch 6")
    figure.savefig(io.BytesIO(), format="png")
    upper, lower = figure.axes
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= upper.get_window_extent().x1
    assert legend.x1 <= 100 * figure.get_figwidth()
    assert figure.legends[0].get_texts()[0].get_text() == "accuracy of the examples"
    assert [text.get_text() for text in lower.texts] == [compact(first), "386", "8,935"]
    boxes = [text.get_window_extent() for text in lower.texts]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert all(box.y1 <= upper.get_window_extent().y0 for box in boxes)


def test_counts_are_short() -> None:
    assert [compact(n) for n in (1, 8921, 99_999, 120_400, 3_400_000)] == ["1", "8,921", "99,999", "120k", "3.4M"]
