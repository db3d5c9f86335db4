"""Losses against torch's own and against the formula written out."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.losses import cross_entropy, hinge, mse, quadratic

LOSSES = [cross_entropy, hinge, mse, quadratic]


def problem(examples: int = 7, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, class numbers and probabilities, in float64."""
    draw = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(examples, classes, generator=draw, dtype=torch.float64)
    soft = torch.rand(examples, classes, generator=draw, dtype=torch.float64)
    return scores, torch.arange(examples) % classes, soft / soft.sum(1, keepdim=True)


@pytest.mark.parametrize("loss", LOSSES)
def test_reductions_agree(loss: Callable[..., Tensor]) -> None:
    scores, classes, soft = problem()
    for targets in (classes, soft):
        each = loss(scores, targets, reduction="none")
        assert each.shape == (7,)
        torch.testing.assert_close(loss(scores, targets), each.mean())
        torch.testing.assert_close(loss(scores, targets, reduction="sum"), each.sum())


@pytest.mark.parametrize("loss", LOSSES)
def test_probabilities_of_one_class_are_that_class(loss: Callable[..., Tensor]) -> None:
    scores, classes, _ = problem()
    torch.testing.assert_close(loss(scores, F.one_hot(classes, 5).double()), loss(scores, classes))


@pytest.mark.parametrize("loss", [cross_entropy, hinge])
def test_a_mixture_is_the_expectation_over_its_classes(loss: Callable[..., Tensor]) -> None:
    scores, _, soft = problem()
    of_class = torch.stack([loss(scores, torch.full((7,), c), reduction="none") for c in range(5)], 1)
    torch.testing.assert_close(loss(scores, soft, reduction="none"), (soft * of_class).sum(1))


@pytest.mark.parametrize("margin", [1.0, 0.3, 2.5])
def test_hinge_is_the_sum_written_out(margin: float) -> None:
    scores, classes, _ = problem()
    expected = [
        sum(max(0.0, (scores[i, j] - scores[i, y]).item() + margin) for j in range(5) if j != y)
        for i, y in enumerate(classes.tolist())
    ]
    assert hinge(scores, classes, reduction="none", margin=margin).tolist() == pytest.approx(expected)
    torch.testing.assert_close(
        hinge(scores, classes, margin=margin), 5 * F.multi_margin_loss(scores, classes, margin=margin)
    )


def test_mse_and_cross_entropy_equal_torchs() -> None:
    scores, classes, _ = problem()
    torch.testing.assert_close(mse(scores, classes), F.mse_loss(scores, F.one_hot(classes, 5).double()))
    torch.testing.assert_close(
        cross_entropy(scores, classes, label_smoothing=0.2), F.cross_entropy(scores, classes, label_smoothing=0.2)
    )


def test_quadratic_has_the_gradient_that_backpropagation_is_written_with() -> None:
    scores, classes, _ = problem()
    scores.requires_grad_(True)
    quadratic(scores, classes).backward()
    outputs = scores.detach().sigmoid()
    delta = (outputs - F.one_hot(classes, 5)) * outputs * (1 - outputs)  # Nielsen 2015, equation BP1a, of one example
    torch.testing.assert_close(scores.grad, delta / len(scores))


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_equal_scores_have_the_losses_of_the_textbooks(classes: int) -> None:
    scores, y = torch.zeros(4, classes), torch.arange(4) % classes
    assert cross_entropy(scores, y).item() == pytest.approx(math.log(classes))
    assert hinge(scores, y).item() == pytest.approx(classes - 1)
    assert quadratic(scores, y).item() == pytest.approx(classes / 8)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: Callable[..., Tensor]) -> None:
    scores, classes, soft = problem()
    scores.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda s: loss(s, classes), (scores,))
    assert torch.autograd.gradcheck(lambda s: loss(s, soft), (scores,))
