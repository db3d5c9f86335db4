"""Figures of classes: which examples they show, in which order and words, for few and many classes of any name."""

import io
import math
import re
import warnings

import numpy as np
import pytest
import torch

from experiments.data.batches import Split
from experiments.figures.classes import MOST_WORST, answer, confusion, confusion_figure, worst_figure, worst_first


def pictures(*y: int, size: int = 8) -> Split:
    """Examples of these classes, which are pictures."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (len(y), 1, size, size), dtype=torch.uint8, generator=draw)
    return Split(x, torch.tensor(y), lambda inputs: inputs.float(), torch.device("cpu"))


@pytest.mark.parametrize("name", ["$\\frac{$", "$", "$$", "a\nb", "\x1b[2J", "\\", "_hidden"])
def test_the_name_of_a_class_is_not_a_formula(name: str) -> None:
    figures = [
        confusion_figure(np.eye(2, dtype=int), [name, "b"], "test split"),
        worst_figure(pictures(0, 0, 1), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), [name, "b"], "test split"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in figures:
            figure.savefig(io.BytesIO(), format="png")


def test_wrong_examples_come_before_right_ones_and_the_least_probable_first() -> None:
    y = torch.tensor([0, 1, 2, 0, 1])
    probabilities = torch.tensor(
        [[0.34, 0.33, 0.33], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0], [0.05, 0.9, 0.05], [0.1, 0.6, 0.3]]
    )
    assert worst_first(y, probabilities.log()).tolist() == [3, 1, 0, 4, 2]
    broken = probabilities.log()
    broken[2] = math.nan
    assert worst_first(y, broken).tolist()[0] in (2, 3)


def test_each_example_says_what_it_is_and_what_it_was_taken_for() -> None:
    split = pictures(5, 5, 1)
    scores = torch.full((3, 10), -20.0)
    scores[0, 5] = 0.0  # right
    scores[1, 9], scores[1, 5] = math.log(0.92), math.log(0.08)
    scores[2, 7] = 0.0
    figure = worst_figure(split, scores, [str(number) for number in range(10)], "test split, weights of epoch 3")
    texts = [" ".join(text.get_text().split()) for text in figure.axes[0].texts]
    assert texts == ["\u2717 is 1, taken for 7 (100 %)", "\u2717 is 5, taken for 9 (92 %)", "\u2713 is 5 (100 %)"]
    dashes = [patch.get_linestyle() for patch in figure.axes[0].patches]
    assert dashes == ["-", "-", "--"], "right and wrong are told apart without colours"
    title = figure.get_suptitle()
    assert "2 of 3 are wrong" in title
    assert "\u2717 wrong, \u2713 right" in title


@pytest.mark.parametrize("probability", [0.5, math.nan])
def test_two_classes_of_one_short_name_are_told_apart(probability: float) -> None:
    long = "a class with a very long name, of the {} kind"
    text = answer(long.format("first"), long.format("fixst"), probability, wrong=True)
    assert "first" in text
    assert "fixst" in text
    assert text.startswith("\u2717")


@pytest.mark.parametrize("classes", [2, 2000])
def test_few_and_many_classes_are_drawn_inside_the_figure(classes: int) -> None:
    names = [f"a class whose name has about forty letters {number}" for number in range(classes)]
    y = [number * 37 % classes for number in range(30)]
    scores = torch.randn(30, classes, generator=torch.Generator().manual_seed(1))
    figure = worst_figure(pictures(*y), scores, names, "validation split, after epoch 3")
    figure.savefig(io.BytesIO(), format="png")
    width, height = figure.get_size_inches()
    assert len(figure.axes[0].texts) == MOST_WORST
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= 100 * width
    assert max(box.y1 for box in boxes) <= 100 * height - 40, "below the title"
    overlaps = [a for a in boxes for b in boxes if a is not b and a.overlaps(b)]
    assert not overlaps
    matrix = confusion_figure(confusion(scores, torch.tensor(y)), names, "test split")
    label = matrix.axes[0].get_xlabel()
    assert label == (
        "predicted class" if classes == 2 else "predicted class (2,000 classes in blocks of 20, names left out)"
    )
    assert not re.search(r"\\x", " ".join(text.get_text() for text in figure.axes[0].texts))


def test_the_confusion_of_many_classes_is_seen_in_blocks() -> None:
    counts = np.zeros((250, 250), dtype=int)
    counts[np.arange(250), np.arange(250)] = 9
    counts[249, 0] = 9
    image = confusion_figure(counts, [str(number) for number in range(250)], "test split").axes[0].get_images()[0]
    shares = np.asarray(image.get_array())
    assert shares.shape == (84, 84)
    assert shares[0, 0] == 1
    assert shares[83, 0] == shares[83, 83] == 0.5, "the last block holds one class"
    assert image.get_extent() == [-0.5, 251.5, 251.5, -0.5]
