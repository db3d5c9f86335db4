"""The heat map of the layers: one layer or two hundred, long names, zeros; nothing overlaps and no half is empty."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from experiments.folders.run import LayerRow
from experiments.observers import pictures
from experiments.observers.pictures import HEAT, layers_figure
from tests.helpers import NO_PICTURES, SMALL, Commands

LONG = "a_very_long_name_of_a_layer_that_has_eighty_characters_in_all_and_goes_on_to_{:03}"


def rows(
    names: Sequence[str], epochs: int, *, scale: float = 1.0, quantities: Sequence[str] = tuple(HEAT)
) -> list[LayerRow]:
    """Values that fall from layer to layer, as in a network whose signal vanishes."""
    return [
        LayerRow(epoch, epoch, name, quantity, scale * 0.7**number / (1 + epoch))
        for epoch in range(epochs)
        for number, name in enumerate(names)
        for quantity in quantities
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "epochs"),
    [
        (["head"], 2),
        (["features.hidden1.activation", "features.hidden2.activation", "head"], 7),
        ([LONG.format(number) for number in range(6)], 40),
        ([LONG.format(number) for number in range(200)], 3),
        ([f"features.block{number}.activation" for number in range(200)], 300),
    ],
)
def test_names_are_readable_and_the_maps_fill_the_figure(names: Sequence[str], epochs: int) -> None:
    figure = layers_figure(rows(names, epochs))
    figure.savefig(io.BytesIO(), format="png")
    width, height = 100 * figure.get_size_inches()
    maps = [axes for axes in figure.axes if axes.get_images()]
    assert len(maps) == len(HEAT)
    for axes in maps:
        labels = [label for label in axes.get_yticklabels() if label.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        assert all(box.x0 >= 0 and box.y0 >= 0 and box.y1 <= height for box in boxes)
        assert min(float(label.get_fontsize()) for label in labels) >= 8
        ordered = sorted(boxes, key=lambda box: box.y0)
        assert all(low.y1 <= high.y0 + 3 for low, high in itertools.pairwise(ordered))
        shown = ["".join(label.get_text().split()) for label in labels]
        if len(names) <= 6:
            assert [name.rpartition(".")[0].rpartition(".")[2] or name for name in names] == shown
        else:
            assert 20 < len(shown) < len(names)
    assert len(names) < 10 or sum(axes.get_window_extent().height for axes in maps) > 0.5 * height
    box = figure.get_tightbbox()
    assert box.width > 0.88 * width / 100
    assert box.height > 0.85 * height / 100


def test_hidden_layers_do_not_share_one_colour() -> None:
    """The logits have twenty times the spread of hidden layers, which differ by a factor of two."""
    values = {"hidden1": 0.5, "hidden2": 1.0, "head": 20.0}
    figure = layers_figure(
        [LayerRow(epoch, epoch, name, q, value) for epoch in (0, 1) for name, value in values.items() for q in HEAT]
    )
    for axes in (axes for axes in figure.axes if axes.get_images()):
        image = axes.get_images()[0]
        first, second, head = np.ma.asarray(image.norm(np.ma.asarray(image.get_array())[:, 0]))
        assert second - first > 0.15
        assert head == pytest.approx(1)
        assert [text.get_text() for text in axes.texts] == ["0.5", "0.5", "1", "1", "20", "20"]


def test_zeros_are_grey_and_said_to_be() -> None:
    own = [*rows(["hidden1", "head"], 3), *(LayerRow(epoch, epoch, "dead", q, 0.0) for epoch in range(3) for q in HEAT)]
    axes = layers_figure(own).axes[0]
    assert axes.get_title(loc="left") == "standard deviation of activations; grey: zero or missing"
    assert np.ma.getmaskarray(np.ma.asarray(axes.get_images()[0].get_array()))[2].all()
    assert layers_figure(rows(["head"], 2, scale=0.0)).axes[0].get_title(loc="left").endswith("grey: zero or missing")


def test_a_quantity_that_was_not_measured_has_no_map() -> None:
    figure = layers_figure(rows(["hidden1", "head"], 3, quantities=["gradient_norm"]))
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_images()] == ["norm of the gradient"]


def test_periods_of_steps_are_called_by_their_last_steps() -> None:
    own = [
        LayerRow(e, 7 * e - part, "head", q, 1.0) for e in range(4) for part in (3, 0) for q in HEAT if e or not part
    ]
    axes = layers_figure(own, by_step=True).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "7", "14", "21"]
    assert axes.get_xlabel() == "step (0 is before training)"
    axes = layers_figure(own).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "3"]
    assert axes.get_xlabel() == "epoch (0 is before training)"


def test_a_run_of_periods_draws_its_layers_over_steps(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def seen(own: Any, *, by_step: bool = False) -> Any:
        figure = layers_figure(own, by_step=by_step)
        drawn.extend(label.get_text() for label in figure.axes[0].get_xticklabels())
        return figure

    monkeypatch.setattr(pictures, "layers_figure", seen)
    own = [word for word in SMALL if word != NO_PICTURES]
    commands.trained(*own, "training.steps=5", "training.validate=every:2steps")
    assert drawn == ["0", "2", "4", "5"]


def test_layers_that_differ_only_in_a_common_part_keep_their_whole_names() -> None:
    figure = layers_figure(rows(["block.linear", "block.activation"], 2))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["block.linear", "block.activation"]
