"""Sanity checks before training, each a function of a `Subject` that returns a `CheckResult`."""

from collections.abc import Callable

from ._data import examples, parts
from ._gradient_check import gradient
from ._layers import leak, signal, symmetry
from ._learning import baseline, overfit
from ._loss import initial_loss, penalty
from ._rate import lr_range
from ._reference import best_reference, reference
from ._subject import CheckResult, Subject, worst

CHECKS: dict[str, Callable[[Subject], CheckResult]] = {
    check.__name__: check
    for check in (
        examples,
        gradient,
        initial_loss,
        penalty,
        symmetry,
        signal,
        leak,
        overfit,
        baseline,
        reference,
        lr_range,
    )
}
"""Every check by name, in the order in which they run."""

__all__ = ["CHECKS", "CheckResult", "Subject", "best_reference", "refuse", "worst"]


def refuse(subject: Subject) -> None:
    """Refuse a run that cannot be checked.

    Raises:
        ValueError: with the cause.
    """
    if len(subject.splits["train"]) < 2:
        raise ValueError("data: there is only one training example; the checks need at least two")
    for name, split in subject.splits.items():
        numbered = subject.criterion.task.form == "classes"
        low, high = (int(split.y.min()), int(split.y.max())) if numbered else (0, -1)
        if low < 0 or high >= len(subject.classes):
            raise ValueError(
                f"data: labels of the {name} split run from {low} to {high}; they should be between 0 "
                f"and {len(subject.classes) - 1}"
            )
        for index in parts(split):
            x, _ = split.batch(index)
            if subject.criterion.task.form == "tokens":
                break
            if not x.is_floating_point():
                raise ValueError(
                    f"data.preprocess: inputs are whole numbers ({x.dtype}), which have no gradient; "
                    "use data.preprocess=scale or standardize"
                )
            padded = getattr(subject.model, "padded", False)
            bad = (~(x.isfinite() | x.isnan() if padded else x.isfinite()).flatten(1)).any(1).nonzero()
            if len(bad):
                raise ValueError(
                    f"data: example {int(index[bad[0]])} of the {name} split has an input that is nan or infinite; "
                    "correct it, or fill gaps (data.missing=mean for a table)"
                )
    model = subject.copy(dropout=False)
    scores = model(subject.splits["train"].first(2)[0])
    if not scores.requires_grad:
        raise ValueError(
            "model: its scores have no gradient; an operation such as argmax, round or detach cuts them off from "
            "its parameters"
        )
