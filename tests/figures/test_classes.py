"""Figures of classes whose names may contain anything."""

import io
import warnings

import numpy as np
import pytest

from experiments.figures.classes import confusion_figure


@pytest.mark.parametrize("name", ["$\\frac{$", "$", "$$", "a\nb", "\x1b[2J", "\\", "_hidden"])
def test_the_name_of_a_class_is_not_a_formula(name: str) -> None:
    figure = confusion_figure(np.eye(2, dtype=int), [name, "b"], "test split")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")
