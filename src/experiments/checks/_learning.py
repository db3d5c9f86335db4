"""Checks that train briefly: to memorise a few examples, and to compare the inputs with zeros."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from experiments.data.batches import Split
from experiments.data.split import stratified

from ._subject import CheckResult, Subject

FEW = 20
UPDATES = 500
RATES = (1e-3, 1e-2, 1e-4)
"""Adam's rates, tried in turn: the check is of the model and the data, not of the run's optimizer."""
STAGES = (50, 100, 200, 400)
"""Numbers of updates after which the check may end, as the inputs clearly make a difference."""
WHOLE_STAGES = (4,)
"""The same for an optimizer that takes the whole training split at once."""
CLEAR = 3
"""The standard errors by which the two losses must differ."""


def overfit(subject: Subject) -> CheckResult:
    """Memorise a few examples without regularisation: a network that cannot do this cannot learn (CS231n)."""
    few, y = few_examples(subject)
    task, targets = subject.criterion.task, few.y
    lowest = task.lowest(subject.criterion.in_units, targets)
    goal = lowest + task.memorized * (subject.criterion.chance(targets) - lowest)
    exact = task.stratified  # whether an answer is either right or wrong
    expected = f"100 %, loss below {goal:.2g}" if exact else f"loss below {goal:.2g}"
    least = 1.0 if exact else -float("inf")
    if not task.ratios:  # the loss may be negative
        least = 1 - task.memorized
        goal, expected = float("inf"), f"{task.metrics[0]} at least {least:g}"
    best = (0.0, float("inf"), 0)
    for rate in RATES:
        right, loss, updates = memorised(subject, few, rate, least, goal)
        best = max(best, (right, loss, updates), key=lambda result: (min(result[0], least), -result[1]))
        if right >= least and loss < goal:
            break
    right, loss, updates = best
    numbers = {"examples": len(y), task.metrics[0]: right, "loss": loss, "updates": updates}
    shown = f"{right:.0%}" if exact else f"{task.metrics[0]} {right:.4g}"
    measured = f"{shown}, loss {loss:.2g} after {updates} updates"
    if right >= least and loss < goal:
        return CheckResult(measured, expected, "pass", "", numbers)
    return CheckResult(measured, expected, "fail", why_not(few, y, subject), numbers)


def few_examples(subject: Subject) -> tuple[Split, Tensor]:
    """Return some training examples of every class as a separate split, and their classes, (examples,)."""
    train = subject.splits["train"]
    y = train.y.cpu()
    kept, _ = stratified(subject.criterion.task.strata(y), min(FEW, len(y)), subject.generator("overfit"))
    x, y = train.batch(kept.to(train.y.device))
    return Split(x, y, lambda prepared: prepared, subject.device), y


def memorised(subject: Subject, few: Split, rate: float, least: float, goal: float) -> tuple[float, float, int]:
    """Train on a few examples until they are memorised; return the running metric, the loss and the updates.

    Args:
        subject: the run.
        few: the examples.
        rate: Adam's.
        least: the running metric to reach.
        goal: the loss to get below.
    """
    model = subject.copy(dropout=False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    program = subject.program(model, train=few, optimizer=optimizer)
    index = torch.arange(len(few), device=program.index_device)[None]
    task, right, loss = subject.criterion.task, 0.0, float("inf")
    for update in range(UPDATES):
        measured = program.step(index, [rate])
        right, loss = task.running(measured.score.item() / len(few)), measured.loss.item()
        if (right >= least and loss < goal) or not loss < float("inf"):
            return right, loss, update
    return right, loss, UPDATES


def why_not(few: Split, y: Tensor, subject: Subject) -> str:
    """Return what may keep a network from memorising a few examples.

    Args:
        few: the examples, prepared.
        y: (examples,) or (examples, targets), encoded.
        subject: the run.
    """
    rows = few.x.flatten(1)
    targets = y.reshape(len(y), -1)
    same = (rows[:, None] == rows[None]).all(2) & (targets[:, None] != targets[None]).any(2)
    if bool(same.any()) and subject.criterion.task.form != "classes":
        return "Equal inputs have different targets: check data.path; some column that explains them may be missing."
    if bool(same.any()):
        one, other = (int(n) for n in same.nonzero()[0])
        names = f"{subject.classes[int(y[one])]} and {subject.classes[int(y[other])]}"
        return f"Equal inputs belong to different classes ({names}): check data.path and data.label_noise."
    return (
        "Look for a mistake in the model (an unused layer, an output that does not depend on the inputs) or in the "
        "data; otherwise the network is too small."
    )


def baseline(subject: Subject) -> CheckResult:
    """Train for a while on the inputs, and on zeros instead of them: the inputs must make a difference (CS231n)."""
    train = subject.splits["train"]
    zeros = Split(train.x, train.y, lambda x: torch.zeros_like(train.prepare(x)), train.device, train.rows)
    seeing, blind = stages(subject, train), stages(subject, zeros)
    for real, without in zip(seeing, blind, strict=True):
        gap = without.mean() - real.mean()
        error = (real.var() / len(real) + without.var() / len(without)).sqrt()
        if not subject.criterion.task.ratios:  # most of the spread is that of the targets, the same in both
            error = (real - without).std() / len(real) ** 0.5
        clear = bool(gap > CLEAR * error)
        if clear or not bool(real.isfinite().all()):
            break
    numbers = {"loss": real.mean().item(), "loss_of_zeros": without.mean().item(), "standard_error": error.item()}
    measured, expected = f"loss {real.mean():.3g}", f"below {without.mean():.3g}, with zeros as inputs"
    if not bool(real.isfinite().all()):
        advice = f"Training diverges within a few updates: try a smaller optimizer.lr than {subject.rate:g}."
        return CheckResult(measured, expected, "fail", advice, numbers)
    if clear:
        return CheckResult(measured, expected, "pass", "", numbers)
    updates = (WHOLE_STAGES if subject.program(subject.copy()).needs_closure else STAGES)[-1]
    advice = (
        f"The inputs make no difference within {updates} updates: optimizer.lr={subject.rate:g} may be too small "
        f"or too large, the initial weights may pass no signal on, or the inputs may not match the {subject.targets}."
    )
    return CheckResult(measured, expected, "fail", advice, numbers)


def stages(subject: Subject, train: Split) -> Iterator[Tensor]:
    """Train as the run would; at each stage yield the losses of the last quarter of the updates so far, (updates,).

    Args:
        subject: the run.
        train: the examples.
    """
    program = subject.program(subject.copy(), train=train)
    whole = torch.arange(len(train), device=train.x.device)[None]
    batches = itertools.repeat(whole) if program.needs_closure else subject.batches("baseline")
    losses: list[Tensor] = []
    for stage in WHOLE_STAGES if program.needs_closure else STAGES:
        losses += [program.step(next(batches), [subject.rate]).loss for _ in range(stage - len(losses))]
        yield torch.cat(losses[-max(2, stage // 4) :]).double().cpu()
