"""Checks of the loss before training: its value, and what a penalty adds to it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.common.text import capital
from experiments.initializers import weighted_layers
from experiments.penalties import L2, Penalty
from experiments.training.criterion import penalized_weights
from experiments.training.doubts import Doubts, doubts_about
from experiments.training.single import Single

from ._layers import running_names
from ._subject import CheckResult, CheckVerdict, Subject

EXAMPLES = 1000
LARGE, TOO_LARGE = 2.0, 3.0
"""Multiples of the loss of equal scores. He's initialization of the last layer gives scores a standard deviation of
about 1.4, and ten classes a loss of 1.3 to 1.5 times ln 10; beyond 3 the first epochs only make up for the start."""
LARGE_NUMBERS, TOO_LARGE_NUMBERS = 3.0, 10.0
"""The same for numbers: scores as wide as the targets double the variance."""
WIDE = 3.0
"""The scores' standard deviation up to which a large loss, such as the squared error, soon falls."""
SCALED_TO = 1.1
PERMUTATIONS = 100
DEVIATIONS, SLACK = 4, 0.05
"""How far the loss may be from their mean: in standard deviations, plus a share of the loss of equal scores."""
TRIED = L2(1e-3)
TIMES = 10
EXACT = 1e-5


def initial_loss(subject: Subject) -> CheckResult:
    """Compare the loss with that of equal scores, ln C for softmax, and with what the scores' spread explains."""
    scores, y = scores_before_training(subject)
    chance = subject.chance
    measured = subject.criterion.in_units(scores, y, reduction="mean").item()
    explained, deviation = permuted_loss(subject, scores, y)
    spread = scores.std().item()
    numbers = {"loss": measured, "chance": chance, "explained_by_spread": explained, "score_std": spread}
    shown = f"{measured:.4g}" + (f" ({explained:.4g} with shuffled scores)" if abs(explained - chance) > 0.01 else "")
    expected = f"{chance:.4g} {subject.criterion.task.ignorance}"
    if not measured < float("inf"):
        advice = (
            "The loss is not finite before any update: try smaller initial weights or scaled inputs (data.preprocess)."
        )
        return CheckResult(shown, expected, "fail", advice, numbers)
    mistake = Doubts(normalized=doubts_about(subject.program(subject.copy()), probed=True).normalized)
    if mistake.sentences:
        advice = f"{capital(mistake.sentences[0])}."
        return CheckResult(shown, expected, "fail", advice, numbers)
    if not subject.criterion.task.ratios:
        return CheckResult(shown, expected, "pass", "", numbers)
    of_inputs = subject.criterion.task.of_inputs
    slack = DEVIATIONS * deviation + SLACK * chance
    if measured > explained + slack:
        advice = (
            "The loss is worse than that of a network that knows nothing: check the sign of the loss and of the scores."
        )
        return CheckResult(shown, expected, "fail", advice, numbers)
    if measured < explained - slack:
        advice = "" if of_inputs else "The model already knows something."
        return CheckResult(shown, expected, "pass", advice, numbers)
    large, too_large = (LARGE_NUMBERS, TOO_LARGE_NUMBERS) if numbers_only(subject) else (LARGE, TOO_LARGE)
    if explained <= large * chance or of_inputs:  # the last layer learns the scale of the inputs in a few updates
        return CheckResult(shown, expected, "pass", "", numbers)
    factor = right_scale(subject, scores, y, SCALED_TO * chance)
    advice = f"The scores are too large: {smaller(subject, factor, SCALED_TO * chance)}."
    verdict: CheckVerdict = "fail" if explained > too_large * chance and spread > WIDE else "warn"
    return CheckResult(shown, expected, verdict, advice, {**numbers, "scale": factor})


@torch.no_grad()
def scores_before_training(subject: Subject, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return scores of training examples, (examples, outputs), and their encoded targets.

    Dropout is off, and BatchNorm uses the batch's statistics.

    Args:
        subject: the run.
        scale: a factor of the weights that the initializer has filled.
    """
    split = subject.splits["train"]
    model = subject.copy(dropout=False)
    for layer in weighted_layers(model).values():
        layer.weight.mul_(scale)
    program = subject.program(model)
    x, y = split.first(EXAMPLES)
    return program.inspector.as_in_training(x), y


def smaller(subject: Subject, factor: float, wanted: float) -> str:
    """Return what makes the scores smaller: settings to paste, with the loss that they lead to, or else in words.

    Args:
        subject: the run.
        factor: for the scores; see `right_scale`.
        wanted: the loss, in the user's units.
    """

    def loss(scale: float) -> float:
        return permuted_loss(subject, *scores_before_training(subject, scale))[0]

    if subject.scale is not None:
        setting, value = subject.scale
        shown = f"{largest(lambda scale: loss(scale) <= wanted, 12) * value:.2g}"
        if float(shown) and (new := loss(float(shown) / value)) <= 2 * wanted:
            return f"with {setting}={shown} the loss starts near {new:.3g}"
    last = running_names(subject)[-1:] or ["the last layer"]
    return f"try init=torch, or multiply the weights of {last[0]} by {factor:.2g} in the code of the model"


def permuted_loss(subject: Subject, scores: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the mean and the standard deviation of the loss over random permutations of the scores.

    A network that knows nothing gives its scores to classes by chance: every order of the columns is equally likely. If
    the targets are no classes, every order of the examples is.

    Args:
        subject: the run.
        scores: (examples, outputs).
        y: encoded targets, (examples, ...).
    """
    draw, losses, loss = subject.generator("permutations"), [], subject.criterion.in_units
    classes = subject.criterion.task.form == "classes"
    for _ in range(PERMUTATIONS):
        order = torch.randperm(scores.shape[1] if classes else len(scores), generator=draw).to(scores.device)
        losses.append(loss(scores[:, order] if classes else scores[order], y, reduction="mean").item())
    return statistics.fmean(losses), statistics.stdev(losses)


def numbers_only(subject: Subject) -> bool:
    """Whether the targets are numbers."""
    return subject.criterion.task.form in ("numbers", "inputs")


def right_scale(subject: Subject, scores: Tensor, y: Tensor, wanted: float) -> float:
    """Return the largest factor of the scores for which they explain at most the wanted loss, by bisection.

    Args:
        subject: the run.
        scores: (examples, outputs).
        y: encoded targets, (examples, ...).
        wanted: the loss, in the user's units.
    """
    return largest(lambda factor: permuted_loss(subject, factor * scores, y)[0] <= wanted)


def largest(fits: Callable[[float], bool], rounds: int = 20) -> float:
    """Return the largest number up to 1 that fits, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def penalty(subject: Subject) -> CheckResult:
    """Raise the penalty's strength: the loss of the first update must rise by the term times the added strength."""
    own = subject.criterion.penalty
    tried = own if own.adds else TRIED
    seen = penalized_weights(subject.model)
    if not seen:
        return CheckResult("no weight to penalise", "strength times term", "skip")
    if not has_strength(tried):
        return CheckResult("no strength to raise", "strength times term", "skip")
    strength = getattr(tried, "strength") or TRIED.strength  # noqa: B009
    stronger = [strengthened(tried, factor * strength) for factor in (1, TIMES)]
    terms = [first_term(subject, one) for one in stronger]
    weights = [weight.detach().double() for weight in seen]
    term = (TIMES - 1) * stronger[0].term(weights).item()
    rise = terms[1] - terms[0]
    numbers = {"rise": rise, "expected_rise": term, "strength": strength}
    named = type(tried).__name__ + ("" if own.adds else ", tried")
    measured, expected = f"+{rise:.6g} ({named})", f"+{term:.6g}: {TIMES - 1} x strength x term"
    if abs(rise - term) <= EXACT * abs(term):
        return CheckResult(measured, expected, "pass", "", numbers)
    advice = f"The penalty in training is not the strength times a term: check {type(tried).__name__}.term."
    return CheckResult(measured, expected, "fail", advice, numbers)


def has_strength(tried: Any) -> bool:
    """Whether a penalty is proportional to a strength that can be replaced."""
    return is_dataclass(tried) and "strength" in {field.name for field in fields(tried)}


def strengthened(tried: Any, strength: float) -> Penalty:
    """Return a penalty with another strength."""
    stronger: Penalty = replace(tried, strength=strength)
    return stronger


def first_term(subject: Subject, tried: Penalty) -> float:
    """Return what a penalty adds to the loss of the first update of training."""
    model = subject.copy(dropout=False)
    own = replace(subject, criterion=replace(subject.criterion, penalty=tried), augments=())
    program: Single = own.program(model)
    if program.needs_closure:
        program = replace(own, optimizer=partial(plain_sgd, rate=subject.rate)).program(model)
    measured = program.step(next(own.batches("penalty")), [0.0])
    assert measured.penalty is not None
    return measured.penalty.double().item()


def plain_sgd(model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """Return an optimizer that any run can use for one update."""
    return torch.optim.SGD(model.parameters(), rate)
